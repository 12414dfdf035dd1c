//! What leads to an account by a mail works for a healthy domain, and not for a lapsed one.

use std::net::SocketAddr;

use accounts::app::App;
use accounts::models::users::{Model, RegisterParams};
use loco_rs::app::{AppContext, Hooks};
use loco_rs::boot::StartMode;
use loco_rs::environment::Environment;
use reqwest::{Client, Response, StatusCode};
use reset_gatekeeper::testing::{time, Registry};
use sea_orm::IntoActiveModel;
use serde_json::{json, Value};
use tempfile::TempDir;

// The starter mails magic links to these two domains alone.
const HEALTHY: &str = "jo@gmail.com";
const LAPSED: &str = "jo@example.com";
const PASSWORD: &str = "12341234";

/// The application on a port of its own, with a verified user on a healthy domain and one on a lapsed.
struct Site {
    base: String,
    http: Client,
    ctx: AppContext,
    folder: TempDir,
    _registry: Registry,
}

impl Site {
    async fn start() -> Self {
        let registry = Registry::start().await.unwrap();
        for domain in ["gmail.com", "example.com"] {
            registry.register(domain, time("1995-08-14T04:00:00Z"), time("2099-01-01T00:00:00Z"));
        }
        registry.lapse("example.com");

        let folder = tempfile::tempdir().unwrap();
        let mut config = Environment::Test.load().unwrap();
        config.database.uri = format!("sqlite://{}?mode=rwc", folder.path().join("accounts.sqlite").display());
        config.settings =
            Some(json!({"gatekeeper": {"audit": folder.path().join("audit.jsonl"), "simulated_registries": registry.bootstrap_url()}}));
        let booted = App::boot(StartMode::ServerOnly, &Environment::Test, config).await.unwrap();

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/api/auth", listener.local_addr().unwrap());
        let service = booted.router.unwrap().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });

        for email in [HEALTHY, LAPSED] {
            let user = RegisterParams { email: email.to_owned(), password: PASSWORD.to_owned(), name: "Jo".to_owned() };
            let user = Model::create_with_password(&booted.app_context.db, &user).await.unwrap();
            user.into_active_model().verified(&booted.app_context.db).await.unwrap();
        }
        let http = Client::builder().no_proxy().build().unwrap();
        Self { base, http, ctx: booted.app_context, folder, _registry: registry }
    }

    async fn post(&self, path: &str, body: Value) -> StatusCode {
        self.http.post(format!("{}{path}", self.base)).json(&body).send().await.unwrap().status()
    }

    async fn follow(&self, token: &str) -> Response {
        self.http.get(format!("{}/magic-link/{token}", self.base)).send().await.unwrap()
    }

    async fn user(&self, email: &str) -> Model {
        Model::find_by_email(&self.ctx.db, email).await.unwrap()
    }

    /// To whom mails went, in order.
    fn mailed(&self) -> Vec<String> {
        let mails = self.ctx.mailer.as_ref().unwrap().deliveries().messages;
        let to = |mail: &String| mail.lines().find_map(|line| line.strip_prefix("To: ")).unwrap().to_owned();
        mails.iter().map(to).collect()
    }

    fn audit_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap()
    }
}

#[tokio::test]
async fn a_forgotten_password_is_mailed_for_a_healthy_domain_alone() {
    let site = Site::start().await;
    assert_eq!(site.post("/forgot", json!({"email": HEALTHY})).await, StatusCode::OK);
    assert!(site.user(HEALTHY).await.reset_token.is_some());

    assert_eq!(site.post("/forgot", json!({"email": LAPSED})).await, StatusCode::FORBIDDEN);
    let lapsed = site.user(LAPSED).await;
    assert_eq!((lapsed.reset_token, lapsed.reset_sent_at), (None, None));
    assert_eq!(site.mailed(), [HEALTHY]);
    let log = site.audit_log();
    assert!(log.contains("domain_redemption") && log.contains("127.0.0.1"), "{log}");
}

#[tokio::test]
async fn a_magic_link_is_mailed_for_a_healthy_domain_alone() {
    let site = Site::start().await;
    assert_eq!(site.post("/magic-link", json!({"email": HEALTHY})).await, StatusCode::OK);
    assert!(site.user(HEALTHY).await.magic_link_token.is_some());

    assert_eq!(site.post("/magic-link", json!({"email": LAPSED})).await, StatusCode::FORBIDDEN);
    let lapsed = site.user(LAPSED).await;
    assert_eq!((lapsed.magic_link_token, lapsed.magic_link_expiration), (None, None));
    assert_eq!(site.mailed(), [HEALTHY]);
}

#[tokio::test]
async fn a_reset_token_that_was_mailed_before_the_lapse_sets_no_password() {
    let site = Site::start().await;
    for (email, status) in [(HEALTHY, StatusCode::OK), (LAPSED, StatusCode::FORBIDDEN)] {
        let mailed = site.user(email).await.into_active_model().set_forgot_password_sent(&site.ctx.db).await.unwrap();
        let asked = json!({"token": mailed.reset_token, "password": "another"});
        assert_eq!(site.post("/reset", asked).await, status, "{email}");
    }
    assert!(site.user(HEALTHY).await.verify_password("another"));
    assert!(site.user(LAPSED).await.verify_password(PASSWORD));
}

#[tokio::test]
async fn a_magic_link_that_was_mailed_before_the_lapse_logs_nobody_in() {
    let site = Site::start().await;
    let mut answers = Vec::new();
    for email in [HEALTHY, LAPSED] {
        let mailed = site.user(email).await.into_active_model().create_magic_link(&site.ctx.db).await.unwrap();
        answers.push(site.follow(&mailed.magic_link_token.unwrap()).await);
    }
    let [healthy, lapsed] = answers.try_into().unwrap();
    assert_eq!(healthy.status(), StatusCode::OK);
    assert!(healthy.json::<Value>().await.unwrap()["token"].is_string());
    assert_eq!(lapsed.status(), StatusCode::FORBIDDEN);
    assert_eq!(lapsed.headers()["content-type"], "application/problem+json");
    assert!(site.user(LAPSED).await.magic_link_token.is_some(), "the handler did not run");
}

#[tokio::test]
async fn a_lapsed_address_loses_its_verification_and_cannot_be_verified_again_by_mail() {
    let site = Site::start().await;
    assert_eq!(site.post("/forgot", json!({"email": LAPSED})).await, StatusCode::FORBIDDEN);
    assert_eq!(site.user(LAPSED).await.email_verified_at, None);
    assert!(site.user(HEALTHY).await.email_verified_at.is_some());
    assert_eq!(site.post("/resend-verification-mail", json!({"email": LAPSED})).await, StatusCode::FORBIDDEN);
    assert!(site.mailed().is_empty());
}

#[tokio::test]
async fn what_is_not_guarded_works_as_before() {
    let site = Site::start().await;
    for email in [HEALTHY, LAPSED] {
        assert_eq!(site.post("/login", json!({"email": email, "password": PASSWORD})).await, StatusCode::OK);
    }
    assert_eq!(site.post("/forgot", json!({"email": "nobody@example.com"})).await, StatusCode::OK);
    assert!(site.mailed().is_empty());
}
