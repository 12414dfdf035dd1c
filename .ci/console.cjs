// A reset is blocked, its reference is taken from the refused page, found in the console, the domain is exempted, and the reset goes through.
const assert = require('node:assert/strict');
const { spawn, execFileSync } = require('node:child_process');
const { readFileSync, writeFileSync, mkdirSync } = require('node:fs');
const http = require('node:http');
const { chromium } = require('playwright-core');

const { FOLDER: folder, SCREENSHOTS: screenshots } = process.env;
const target = process.env.CARGO_TARGET_DIR ?? 'target';
const token = 'a token for the browser';
const children = [];

function start(program, args, options, said) {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
  children.push(child);
  return new Promise((resolve, reject) => {
    let text = '';
    const read = (chunk) => { text += chunk; if (said(text)) resolve(said(text)); };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.on('exit', (code) => reject(new Error(`${program} ended with ${code}: ${text}`)));
  });
}

const TABLE = `
import sqlite3, sys
accounts = sqlite3.connect(sys.argv[1])
accounts.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, verified INTEGER, verified_at TEXT)")
people = ["jo@lapsed-firm.com", "mo@lapsed-firm.com", "al@good-firm.com"] + [f"p{n}@soon-firm.com" for n in range(7)]
accounts.executemany("INSERT INTO users (email, verified, verified_at) VALUES (?, 1, '2020-01-01 00:00:00')", [[p] for p in people])
accounts.commit()
`;

const CONFIG = (upstream) => `
listen = "127.0.0.1:0"
upstream = "${upstream}"
admin = "127.0.0.1:0"
[reply]
mode = "refuse"
[[guard]]
path = "/reset"
target = "form:email"
[directory]
url = "sqlite:app.db"
unverify = "UPDATE users SET verified = 0 WHERE id = $1"
page = "SELECT id, email, verified, verified_at FROM users WHERE id > $1 ORDER BY id LIMIT $2"
[directory.lookup]
id = "SELECT id, email, verified, verified_at FROM users WHERE id = $1"
email = "SELECT id, email, verified, verified_at FROM users WHERE lower(email) = lower($1)"
[state]
url = "sqlite:state.db"
[domains]
sources = ["rdap"]
[domains.rdap]
bootstrap = "dns.json"
allow_insecure = true
`;

const FORM = '<!doctype html><title>Forgotten</title><form method="post" action="/reset"><input name="email"><button>Reset</button></form>';

async function site() {
  const application = http.createServer((request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end(request.method === 'POST' ? '<!doctype html><h1>We have mailed you</h1>' : FORM);
  });
  await new Promise((resolve) => application.listen(0, '127.0.0.1', resolve));
  writeFileSync(`${folder}/gatekeeper.toml`, CONFIG(`http://127.0.0.1:${application.address().port}`));
  execFileSync('python3', ['-c', TABLE, `${folder}/app.db`]);
  const soon = new Date(Date.now() + 12 * 86400e3).toISOString().slice(0, 10);
  const domains = ['good-firm.com', 'lapsed-firm.com=redemption', `soon-firm.com=2015-03-01..${soon}`];
  await start(`${target}/debug/examples/registry`, ['--bootstrap', `${folder}/dns.json`, ...domains], {}, (text) => text.includes('http://'));
  const environment = { ...process.env, GATEKEEPER_ADMIN_TOKEN: token };
  const found = (text, before) => text.match(new RegExp(`${before}(http://\\S+)\\s`))?.[1];
  const sidecar = await start(`${target}/debug/reset-gatekeeper`, ['serve', '--config', `${folder}/gatekeeper.toml`], { env: environment },
    (text) => found(text, '(?:^|\\n)listening on ') && [found(text, '(?:^|\\n)listening on '), found(text, 'admin at ')]);
  return { base: sidecar[0], admin: sidecar[1], application };
}

async function shoot(page, name) {
  if (screenshots) {
    mkdirSync(screenshots, { recursive: true });
    await page.screenshot({ path: `${screenshots}/${name}.png` });
  }
}

async function reset(browser, base, email) {
  const page = await browser.newPage();
  await page.goto(`${base}/`);
  await page.fill('[name=email]', email);
  await page.click('button');
  const text = await page.textContent('body');
  await page.close();
  return text;
}

async function operator(browser, admin, more) {
  const credentials = { username: 'jo', password: token };
  const context = await browser.newContext({ httpCredentials: credentials, javaScriptEnabled: false, viewport: { width: 1100, height: 760 }, ...more });
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => complaints.push(message.text()));
  await page.goto(`${admin}/`);
  return { page, complaints };
}

async function main() {
  const { base, admin, application } = await site();
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
  for (let count = 0; count < 9; count += 1) await reset(browser, base, 'al@good-firm.com');
  const refused = await reset(browser, base, 'jo@lapsed-firm.com');
  const reference = refused.match(/[0-9a-f]{8}-[0-9a-f-]{27}/)[0];
  assert(!refused.includes('redemption'), 'the refused page tells no reason');
  execFileSync(`${target}/debug/reset-gatekeeper`, ['sweep', '--config', `${folder}/gatekeeper.toml`], { stdio: 'ignore' });

  const { page, complaints } = await operator(browser, admin);
  await shoot(page, 'overview');
  await page.keyboard.press('Tab');
  assert.equal(await page.textContent(':focus'), 'Skip to the content');
  assert.match(await page.textContent('body'), /soon-firm\.com/);
  // By keyboard alone: the search box is three links further.
  for (let presses = 0; presses < 3; presses += 1) await page.keyboard.press('Tab');
  await page.keyboard.type(reference);
  await page.keyboard.press('Enter');
  await page.waitForURL(`**/records/${reference}`);
  const record = await page.textContent('main');
  assert.match(record, /domain_redemption/);
  assert.match(record, /jo@lapsed-firm\.com/);
  await shoot(page, 'record');
  const form = page.locator('form.exempt', { has: page.locator('[name=kind][value=domain]') });
  await form.locator('[name=reason]').fill('they called, and renew it today');
  await form.locator('button').click();
  await page.waitForURL('**/exemptions#*');
  assert.match(await page.textContent('main'), /domain lapsed-firm\.com/);
  assert.match(await reset(browser, base, 'jo@lapsed-firm.com'), /We have mailed you/);
  const records = readFileSync(`${folder}/audit.jsonl`, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  assert(records.some(({ id, event }) => id === reference && event === 'reset_blocked'), 'the block is recorded');
  const last = records.at(-1);
  assert.deepEqual([last.event, last.exemption.by, last.exemption.domain], ['reset_allowed', 'jo', 'lapsed-firm.com']);
  await page.goto(`${admin}/domains/lapsed-firm.com`);
  assert.match(await page.textContent('main'), /let through by an exemption/);
  await shoot(page, 'domain');
  await page.click('form.remove button');
  await page.waitForURL('**/exemptions#*');
  assert.match(await reset(browser, base, 'jo@lapsed-firm.com'), /[0-9a-f-]{36}/);
  assert.deepEqual(complaints, [], 'nothing on the pages breaks the content security policy');

  const phone = await operator(browser, admin, { viewport: { width: 375, height: 740 }, deviceScaleFactor: 2, colorScheme: 'dark', isMobile: true });
  for (const path of ['/', `/records/${reference}`, '/domains/lapsed-firm.com', '/exemptions']) {
    await phone.page.goto(`${admin}${path}`);
    const width = await phone.page.evaluate('document.documentElement.scrollWidth');
    assert(width <= 375, `${path} is ${width} wide on a phone`);
  }
  await phone.page.goto(`${admin}/records/${reference}`);
  assert.equal(await phone.page.evaluate('getComputedStyle(document.body).backgroundColor'), 'rgb(19, 19, 22)');
  await shoot(phone.page, 'phone');
  await browser.close();
  application.closeAllConnections();
  application.close();
}

main().then(() => console.log('the console works in the browser'), (error) => { console.error(error); process.exitCode = 1; })
  .finally(() => { children.forEach((child) => { child.removeAllListeners('exit'); child.kill(); }); setTimeout(() => process.exit(), 500); });
