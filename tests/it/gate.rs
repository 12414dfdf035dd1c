//! Who is blocked, who is not, and what each of them sees: every row of the decision table, through a real server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use reset_gatekeeper::account::{Account, AccountId, Directory, DirectoryError};
use reset_gatekeeper::audit::Event;
use reset_gatekeeper::domain::Standing;
use reset_gatekeeper::testing::{Fault, Phase, SetClock, time};
use reset_gatekeeper::{Clock, Identifier, OnUnknown, Policy, Reason, Reply};
use tokio::sync::Semaphore;

use crate::stage::{Accounts, NOW, Stage, VERIFIED};

const DAY: Duration = Duration::from_secs(86_400);

/// INTERFACE: the lifecycle phases, each with its standing, its reasons, and whether it un-verifies.
#[tokio::test]
async fn every_phase_of_a_registration_is_judged_as_it_deserves() {
    let until = |text| Phase::Until(time(text));
    let rows: &[(&str, Phase, Standing, &[&str], bool)] = &[
        ("active.com", Phase::Active, Standing::Active, &[], false),
        ("added.com", Phase::AddPeriod, Standing::Active, &[], false),
        ("renewed.com", Phase::AutoRenewPeriod, Standing::Active, &[], false),
        ("unpaid.com", Phase::AutoRenewPeriodUnpaid(time("2026-01-20T00:00:00Z")), Standing::Expired, &["domain_expired"], true),
        ("soon.com", until("2026-02-20T00:00:00Z"), Standing::Active, &[], false),
        ("expiring.com", until("2026-02-07T11:59:59Z"), Standing::Expiring, &["domain_expiring"], false),
        ("week.com", until("2026-02-07T12:00:00Z"), Standing::Active, &[], false),
        ("expired.com", until("2026-01-31T12:00:00Z"), Standing::Expired, &["domain_expired"], true),
        ("client-hold.com", Phase::ClientHold, Standing::OnHold, &["domain_on_hold"], false),
        ("server-hold.com", Phase::ServerHold, Standing::OnHold, &["domain_on_hold"], false),
        ("redemption.com", Phase::Redemption, Standing::Redemption, &["domain_redemption"], true),
        ("restoring.com", Phase::PendingRestore, Standing::Redemption, &["domain_redemption"], true),
        ("dropping.com", Phase::PendingDelete, Standing::PendingDelete, &["domain_pending_delete"], true),
        ("reserved.com", Phase::Reserved, Standing::Unknown, &["domain_unknown"], false),
        ("gone.com", Phase::Unregistered, Standing::Unregistered, &["domain_unregistered"], true),
    ];
    let stage = Stage::open().await;
    for (domain, phase, standing, reasons, unverifies) in rows {
        let email = format!("a@{domain}");
        stage.healthy_account(&email);
        stage.registry.put(domain, *phase);
        let (seen, recorded) = (stage.seen().len(), stage.audit.records().len());

        let status = stage.ask_reset(&email).await;

        let is_blocked = !reasons.is_empty();
        assert_eq!(status, if is_blocked { 403 } else { 200 }, "{domain}");
        assert_eq!(stage.seen().len() - seen, usize::from(!is_blocked), "{domain}: the application is called only for what is allowed");
        assert_eq!(stage.last_reasons(), *reasons, "{domain}");
        let record = stage.audit.last();
        assert_eq!(record.event, if is_blocked { Event::ResetBlocked } else { Event::ResetAllowed }, "{domain}");
        assert_eq!(record.domain.unwrap().standing, *standing, "{domain}");
        assert_eq!(stage.accounts.is_verified(&email).await, !unverifies, "{domain}");
        let unverified: Vec<_> = stage.audit.records().drain(recorded..).filter(|record| record.event == Event::EmailUnverified).collect();
        assert_eq!(unverified.len(), usize::from(*unverifies), "{domain}: an un-verification is recorded");
    }
}

/// INTERFACE: `auto renew period` alone, and an expiration within `notice_within`, allow with a notice.
#[tokio::test]
async fn a_notice_does_not_block() {
    let stage = Stage::open().await;
    for (domain, phase, notice) in [
        ("renewed.com", Phase::AutoRenewPeriod, "domain_auto_renewed"),
        ("soon.com", Phase::Until(time("2026-02-20T00:00:00Z")), "domain_expires_soon"),
    ] {
        stage.healthy_account(&format!("a@{domain}"));
        stage.registry.put(domain, phase);
        assert_eq!(stage.ask_reset(&format!("a@{domain}")).await, 200);
        let notices: Vec<_> = stage.audit.last().notices.iter().map(|notice| notice.as_str()).collect();
        assert_eq!(notices, [notice]);
    }
}

#[tokio::test]
async fn registered_anew_after_verification_is_blocked() {
    let stage = Stage::open().await;
    stage.accounts.insert("a@example.com", true, Some("2020-01-01T00:00:00Z"));
    stage.registry.register("example.com", time("2021-06-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["domain_reregistered"]);
    assert_eq!(stage.audit.last().domain.unwrap().standing, Standing::Active, "a status alone can't show it");
    assert!(!stage.accounts.is_verified("a@example.com").await);

    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["email_unverified", "domain_reregistered"], "what is known already is reported beside");
    let unverified = stage.audit.records().iter().filter(|record| record.event == Event::EmailUnverified).count();
    assert_eq!(unverified, 1, "it is taken away once");
}

#[tokio::test]
async fn an_address_verified_by_the_new_holder_is_allowed() {
    let stage = Stage::open().await;
    stage.accounts.insert("a@example.com", true, Some("2021-06-02T00:00:00Z"));
    stage.registry.register("example.com", time("2021-06-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
}

/// A time of verification that lies ahead would hide every registration to come; the first sight stands in for it.
#[tokio::test]
async fn a_verification_of_the_future_hides_no_registration() {
    let stage = Stage::open().await;
    stage.accounts.insert("a@example.com", true, Some("2099-01-01T00:00:00Z"));
    stage.registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    stage.registry.register("example.com", time("2026-02-10T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    stage.clock.set(time("2026-02-20T00:00:00Z"));
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["domain_reregistered"]);
}

/// A new registration needs a lapse of days first, so clocks that differ by minutes block nobody.
#[tokio::test]
async fn clocks_that_differ_by_minutes_block_nobody() {
    let stage = Stage::open().await;
    stage.accounts.insert("a@example.com", true, Some("2021-06-01T00:00:00Z"));
    stage.registry.register("example.com", time("2021-06-01T00:05:00Z"), time("2030-01-01T00:00:00Z"));
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
}

/// An application's clock that is ahead of ours, or in local time.
#[tokio::test]
async fn a_verification_of_the_future_counts_as_one_of_this_moment() {
    /// A clock that goes on by a second each time it is read.
    struct Ticking(SetClock);
    impl Clock for Ticking {
        fn now(&self) -> SystemTime {
            self.0.advance(Duration::from_secs(1));
            self.0.now()
        }
    }
    let ticking = Ticking(SetClock::at(NOW));
    let stage = Stage::with(Reply::refuse(), |builder| builder.clock(ticking)).await;
    stage.healthy_account("a@example.com");
    stage.accounts.insert("a@example.com", true, Some("2026-01-31T21:00:00Z"));
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
}

#[tokio::test]
async fn without_a_time_of_verification_the_first_sight_of_the_domain_stands_in() {
    let stage = Stage::open().await;
    stage.accounts.insert("a@example.com", true, None);
    stage.registry.register("example.com", time("2021-06-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    stage.clock.advance(100 * DAY);
    stage.registry.register("example.com", time("2026-05-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["domain_reregistered"]);
}

#[tokio::test]
async fn an_unverified_address_is_blocked_and_its_domain_not_asked_about() {
    let stage = Stage::open().await;
    stage.accounts.insert("a@example.com", false, Some(VERIFIED));
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["email_unverified"]);
    assert_eq!(stage.registry.all_questions(), 0);
    assert!(stage.seen().is_empty());
}

#[tokio::test]
async fn an_address_without_account_passes_and_its_domain_is_not_asked_about() {
    let stage = Stage::open().await;
    stage.registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    assert_eq!(stage.ask_reset("nobody@example.com").await, 200);
    assert_eq!(stage.registry.all_questions(), 0);
    assert_eq!(stage.audit.last().event, Event::ResetAllowed);
    assert_eq!(stage.seen().len(), 1);
}

/// The stored address is the one that is judged.
#[tokio::test]
async fn the_requested_address_must_be_the_stored_one_but_for_ascii_case() {
    let stage = Stage::open().await;
    stage.healthy_account("Jo@Example.com");
    assert_eq!(stage.ask_reset(" jO@eXAMPLE.com ").await, 200);

    // A directory whose collation finds jo for jó, as many databases do.
    struct Lenient;
    #[async_trait]
    impl Directory for Lenient {
        async fn find(&self, _: &Identifier) -> Result<Vec<Account>, DirectoryError> {
            Ok(vec![Account { id: "1".into(), email: "jo@example.com".into(), verified: true, verified_at: Some(time(VERIFIED)) }])
        }
        async fn page(&self, _: Option<&AccountId>, _: usize) -> Result<Vec<Account>, DirectoryError> {
            Ok(Vec::new())
        }

        async fn unverify(&self, _: &Account, _: Reason) -> Result<bool, DirectoryError> {
            Ok(false)
        }
    }
    let stage = Stage::with(Reply::refuse(), |builder| builder.directory(Lenient)).await;
    stage.registry.register("example.com", time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    assert_eq!(stage.ask_reset("jó@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["target_mismatch"]);
    assert_eq!(stage.ask_reset("JO@example.com").await, 200);
}

/// A lookup may return several rows: one bad row blocks.
#[tokio::test]
async fn of_several_accounts_one_that_is_blocked_blocks() {
    let stage = Stage::open().await;
    stage.healthy_account("a@bücher.example");
    stage.accounts.insert("a@xn--bcher-kva.example", false, None);
    assert_eq!(stage.ask_reset("a@xn--bcher-kva.example").await, 403);
    assert_eq!(stage.last_reasons(), ["email_unverified"]);
    assert!(stage.seen().is_empty());
}

#[tokio::test]
async fn an_international_domain_is_found_in_both_forms() {
    let stage = Stage::open().await;
    stage.healthy_account("a@bücher.example");
    assert_eq!(stage.ask_reset("A@xn--bcher-kva.example").await, 200);
    assert_eq!(stage.ask_reset("a@bücher.example").await, 200);
    assert_eq!(stage.audit.last().account.unwrap().email, "a@bücher.example");
    assert_eq!(stage.registry.questions("xn--bcher-kva.example"), 1);
}

#[tokio::test]
async fn where_no_source_can_tell_the_policy_decides() {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    stage.registry.fault(Fault::Status(500, None));
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["domain_unknown"]);
    assert!(stage.accounts.is_verified("a@example.com").await, "not knowing takes nothing away");

    let policy = || {
        let mut policy = Policy::default();
        policy.on_unknown = OnUnknown::Allow;
        policy
    };
    let stage = Stage::with(Reply::refuse(), |builder| builder.policy(policy())).await;
    stage.healthy_account("a@example.com");
    stage.registry.fault(Fault::Status(500, None));
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    assert_eq!(stage.audit.last().domain.unwrap().standing, Standing::Unknown);
}

#[tokio::test]
async fn a_policy_may_leave_verifications_alone() {
    let mut policy = Policy::default();
    policy.unverify = false;
    let stage = Stage::with(Reply::refuse(), |builder| builder.policy(policy)).await;
    stage.healthy_account("a@example.com");
    stage.registry.lapse("example.com");
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    assert!(stage.accounts.is_verified("a@example.com").await);
}

/// What was lapsed once stays blocked for ever, whatever the domain does later.
#[tokio::test]
async fn a_lapse_takes_the_verification_away_for_good() {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    stage.registry.lapse("example.com");
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    stage.registry.put("example.com", Phase::Active);
    stage.clock.advance(DAY);
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    assert!(stage.last_reasons().contains(&"email_unverified"));
    // Until the application verifies the address again.
    stage.accounts.insert("a@example.com", true, Some("2026-02-01T11:00:00Z"));
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
}

#[tokio::test]
async fn a_blocked_caller_sees_a_reference_and_never_the_reason() {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    stage.registry.lapse("example.com");
    let ask = |accept: &'static str| {
        let request = stage.http.post(stage.url("/password-reset")).form(&[("email", "a@example.com")]);
        async move { request.header("accept", accept).send().await.unwrap() }
    };

    let response = ask("application/json").await;
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let problem: serde_json::Value = response.json().await.unwrap();
    let id = stage.audit.last().id.to_string();
    assert_eq!(problem["status"], 403);
    assert_eq!(problem["id"], id);
    assert_eq!(problem["instance"], format!("urn:uuid:{id}"));
    assert!(!problem.to_string().contains("redemption") && !problem.to_string().contains("domain"), "{problem}");

    let response = ask("text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    let page = response.text().await.unwrap();
    assert!(page.contains(&stage.audit.last().id.to_string()));
}

#[tokio::test]
async fn the_record_tells_who_asked_for_what() {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    let request = stage.http.post(stage.url("/password-reset?token=secret")).form(&[("email", "a@example.com")]);
    request.header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").send().await.unwrap();
    let record = serde_json::to_value(stage.audit.last()).unwrap();
    assert_eq!(record["time"], "2026-01-31T12:00:00Z");
    assert_eq!(record["event"], "reset_allowed");
    assert_eq!(record["verdict"], "allow");
    assert_eq!(record["enforced"], true);
    assert_eq!(record["account"]["email"], "a@example.com");
    assert_eq!(record["account"]["verified_at"], "2020-01-01T00:00:00Z");
    assert_eq!(record["domain"]["name"], "example.com");
    assert_eq!(record["domain"]["standing"], "active");
    assert_eq!(record["domain"]["registered_at"], "2009-01-01T00:00:00Z");
    assert_eq!(record["domain"]["source"], "rdap");
    assert_eq!(record["domain"]["cached"], false);
    assert_eq!(record["request"]["method"], "POST");
    assert_eq!(record["request"]["path"], "/password-reset");
    assert_eq!(record["request"]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert!(!record.to_string().contains("secret"));
}

#[tokio::test]
async fn the_verdict_reaches_the_application() {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    stage.ask_reset("a@example.com").await;
    let verdict = stage.seen()[0].verdict.clone().unwrap();
    assert!(verdict.is_allowed());
    assert_eq!(verdict.standing(), Some(Standing::Active));
    assert_eq!(verdict.reference(), Some(stage.audit.last().id));
}

#[tokio::test]
async fn a_handler_that_asks_by_itself_gets_the_same_verdict() {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    stage.healthy_account("b@lapsed.com");
    stage.registry.lapse("lapsed.com");
    assert!(stage.gatekeeper.assess("a@example.com").await.unwrap().is_allowed());
    let verdict = stage.gatekeeper.assess("b@lapsed.com").await.unwrap();
    assert_eq!(verdict.reasons(), [Reason::DomainRedemption]);
    assert_eq!(stage.audit.last().id, verdict.reference().unwrap());
    assert!(!stage.accounts.is_verified("b@lapsed.com").await);
    assert_eq!(stage.gatekeeper.assess("no address").await.unwrap().reasons(), [Reason::TargetInvalid]);
}

/// `observe` writes records and nothing else.
#[tokio::test]
async fn observing_blocks_and_changes_nothing() {
    let stage = Stage::with(Reply::observe(), |builder| builder).await;
    stage.healthy_account("a@example.com");
    stage.registry.lapse("example.com");
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    assert!(stage.accounts.is_verified("a@example.com").await, "it un-verifies nobody");
    let record = stage.audit.last();
    assert_eq!((record.event, record.enforced), (Event::ResetBlocked, false));
    assert_eq!(stage.last_reasons(), ["domain_redemption"]);

    // Not even what can't be read, or is too long, is kept from the application.
    let body = format!("email=a@example.com&email=b@example.com&x={}", "x".repeat(100_000));
    let request = stage.http.post(stage.url("/password-reset")).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(request.body(body.clone()).send().await.unwrap().status(), 200);
    assert_eq!(stage.last_reasons(), ["body_too_large"]);
    assert_eq!(stage.seen().pop().unwrap().body, body);

    stage.audit.fails.store(true, Ordering::SeqCst);
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
}

/// A directory or audit log that fails: 503, fail closed, guarded requests only.
#[tokio::test]
async fn a_directory_or_audit_log_that_fails_blocks_guarded_requests_alone() {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    for fails in [&stage.accounts.fails, &stage.audit.fails] {
        fails.store(true, Ordering::SeqCst);
        let request = stage.http.post(stage.url("/password-reset")).form(&[("email", "a@example.com")]);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(stage.seen().is_empty());
        assert_eq!(stage.http.get(stage.url("/password-reset")).send().await.unwrap().status(), 200);
        assert_eq!(stage.http.post(stage.url("/login")).send().await.unwrap().status(), 200);
        fails.store(false, Ordering::SeqCst);
        assert_eq!(stage.ask_reset("a@example.com").await, 200);
        stage.clear_seen();
    }
}

#[tokio::test]
async fn what_is_allowed_need_not_be_recorded() {
    let stage = Stage::with(Reply::refuse(), |builder| builder.record_allowed(false)).await;
    stage.healthy_account("a@example.com");
    stage.healthy_account("b@lapsed.com");
    stage.registry.lapse("lapsed.com");
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    assert_eq!(stage.ask_reset("nobody@example.com").await, 200);
    assert!(stage.audit.records().is_empty());
    assert_eq!(stage.seen()[0].verdict.as_ref().unwrap().reference(), None);
    assert_eq!(stage.ask_reset("b@lapsed.com").await, 403);
    assert_eq!(stage.audit.last().event, Event::ResetBlocked);
}

/// What takes a verification away is recorded, even if the caller hangs up between the two.
#[tokio::test]
async fn an_unverification_is_recorded_although_its_caller_hung_up() {
    /// Takes its time to un-verify.
    struct Slow(Arc<Accounts>, Arc<Semaphore>);
    #[async_trait]
    impl Directory for Slow {
        async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
            self.0.find(identifier).await
        }
        async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
            self.0.page(after, limit).await
        }

        async fn unverify(&self, account: &Account, reason: Reason) -> Result<bool, DirectoryError> {
            let unverified = self.0.unverify(account, reason).await;
            self.1.acquire().await.unwrap().forget();
            unverified
        }
    }
    let (accounts, go_on) = (Arc::<Accounts>::default(), Arc::new(Semaphore::new(0)));
    accounts.insert("a@example.com", true, Some(VERIFIED));
    let slow = Slow(Arc::clone(&accounts), Arc::clone(&go_on));
    let stage = Stage::with(Reply::refuse(), |builder| builder.directory(slow)).await;
    stage.registry.register("example.com", time("2021-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    let gatekeeper = stage.gatekeeper.clone();
    let caller = tokio::spawn(async move { gatekeeper.assess("a@example.com").await });
    while accounts.is_verified("a@example.com").await {
        tokio::task::yield_now().await;
    }
    caller.abort();
    assert!(caller.await.is_err() && stage.audit.records().is_empty());
    go_on.add_permits(1);
    while stage.audit.records().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.audit.records()[0].event, Event::EmailUnverified);
}

/// RFC 9083 §10.2.3: some registries keep the first registration's date and tell of the new one beside it.
#[tokio::test]
async fn a_reregistration_in_the_registrys_own_words_is_blocked() {
    let stage = Stage::open().await;
    stage.healthy_account("a@example.com");
    let body = r#"{"objectClassName":"domain","ldhName":"example.com","events":[
        {"eventAction":"registration","eventDate":"2009-01-01T00:00:00Z"},
        {"eventAction":"reregistration","eventDate":"2021-06-01T12:00:00Z"}]}"#;
    stage.registry.answer("example.com", 200, "application/rdap+json", body);
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["domain_reregistered"]);
}

/// A directory that always finds this account, and un-verifies as it is told.
struct Finding(&'static str, fn() -> Result<bool, DirectoryError>);

#[async_trait]
impl Directory for Finding {
    async fn find(&self, _: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        Ok(vec![Account { id: "1".into(), email: self.0.into(), verified: true, verified_at: Some(time(VERIFIED)) }])
    }
    async fn page(&self, _: Option<&AccountId>, _: usize) -> Result<Vec<Account>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn unverify(&self, _: &Account, _: Reason) -> Result<bool, DirectoryError> {
        (self.1)()
    }
}

#[tokio::test]
async fn the_stored_addresss_own_domain_is_the_one_that_is_judged() {
    let stage = Stage::with(Reply::refuse(), |builder| builder.directory(Finding("a@lapsed.com", || Ok(true)))).await;
    for domain in ["example.com", "lapsed.com"] {
        stage.registry.register(domain, time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
    }
    stage.registry.lapse("lapsed.com");
    assert_eq!(stage.ask_reset("a@example.com").await, 403);
    assert_eq!(stage.last_reasons(), ["target_mismatch", "domain_redemption"]);
    assert_eq!(stage.audit.last().domain.unwrap().name, "lapsed.com");
    assert_eq!(stage.registry.questions("example.com"), 0);
}

#[tokio::test]
async fn of_several_accounts_all_lose_their_verification() {
    let stage = Stage::open().await;
    stage.healthy_account("a@bücher.example");
    stage.healthy_account("a@xn--bcher-kva.example");
    stage.registry.lapse("xn--bcher-kva.example");
    assert_eq!(stage.ask_reset("a@bücher.example").await, 403);
    let unverified = stage.audit.records().iter().filter(|record| record.event == Event::EmailUnverified).count();
    assert_eq!(unverified, 2);
}

#[tokio::test]
async fn an_unverification_that_fails_or_was_anothers_blocks_all_the_same_and_is_not_claimed() {
    let fails = || Err(DirectoryError::unavailable("un-verifying an account", "it is meant to fail"));
    for unverify in [(|| Ok(false)) as fn() -> _, fails] {
        let stage = Stage::with(Reply::refuse(), |builder| builder.directory(Finding("a@lapsed.com", unverify))).await;
        stage.registry.register("lapsed.com", time("2009-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
        stage.registry.lapse("lapsed.com");
        assert_eq!(stage.ask_reset("a@lapsed.com").await, 403);
        let events: Vec<_> = stage.audit.records().iter().map(|record| record.event).collect();
        assert_eq!(events, [Event::ResetBlocked]);
    }
}

#[tokio::test]
async fn observing_shows_the_application_what_would_have_been() {
    let stage = Stage::with(Reply::observe(), |builder| builder).await;
    stage.accounts.insert("a@example.com", false, None);
    assert_eq!(stage.ask_reset("a@example.com").await, 200);
    assert_eq!(stage.seen()[0].verdict.as_ref().unwrap().reasons(), [Reason::EmailUnverified]);
}
