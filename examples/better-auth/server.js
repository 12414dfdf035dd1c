// An ordinary site with better-auth's accounts, and every way it has to get into an account by mail.
import { appendFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { emailOTP, magicLink } from "better-auth/plugins";
import Database from "better-sqlite3";

const data = process.env.DATA ?? "."; // where the database and the mails go
const mail = (to, text) => appendFileSync(join(data, "mails.jsonl"), JSON.stringify({ to, text }) + "\n");

const options = {
  // The public address, that of the gatekeeper: it is in the mailed links, and forms from other origins are refused.
  baseURL: process.env.BASE_URL ?? "http://127.0.0.1:8080",
  secret: process.env.BETTER_AUTH_SECRET ?? "only for trying it out, as is this site",
  database: new Database(join(data, "auth.db")),
  emailAndPassword: {
    enabled: true,
    sendResetPassword: async ({ user, url }) => mail(user.email, url),
  },
  emailVerification: {
    sendOnSignUp: true,
    sendVerificationEmail: async ({ user, url }) => mail(user.email, url),
  },
  plugins: [
    // Magic links are mailed to strangers too. For a blocked account the stranger is `…@gatekeeper.invalid`: nobody to mail.
    magicLink({ disableSignUp: true, sendMagicLink: async ({ email, url }) => email.endsWith(".invalid") || mail(email, url) }),
    emailOTP({ disableSignUp: true, sendVerificationOTP: async ({ email, otp }) => mail(email, otp) }),
  ],
  telemetry: { enabled: false },
};
const auth = betterAuth(options);
await (await getMigrations(options)).runMigrations();

const api = toNodeHandler(auth);
createServer((request, response) => {
  if (request.url.startsWith("/api/auth/")) return api(request, response);
  // An ordinary endpoint, with an address in it that is none of the gatekeeper's business.
  if (request.url === "/contact" && request.method === "POST") return request.pipe(response);
  response.end("Hello.");
}).listen(process.env.PORT ?? 3000, "127.0.0.1");
