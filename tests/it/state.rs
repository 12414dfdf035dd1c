//! Un-verifications that the state keeps, laid over a directory whose own flag isn't written.

use std::sync::Arc;
use std::time::Duration;

use reset_gatekeeper::account::{Account, AccountId, Directory, DirectoryError, MemoryDirectory, Overlay, Queries, SqliteDirectory};
use reset_gatekeeper::testing::{SetClock, time};
use reset_gatekeeper::{Identifier, Identifies, Reason, State};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

const VERIFIED: &str = "2021-05-04T10:00:00Z";
const NOW: &str = "2026-01-31T12:00:00Z";
const LATER: &str = "2026-02-01T12:00:00Z";

fn mailbox(text: &str) -> Identifier {
    Identifier::parse(Identifies::Email, text).unwrap()
}

fn account(id: &str, email: &str, verified_at: Option<&str>) -> Account {
    Account { id: id.into(), email: email.to_owned(), verified: true, verified_at: verified_at.map(time) }
}

struct Scene {
    accounts: Arc<MemoryDirectory>,
    state: State,
    clock: SetClock,
    overlay: Overlay<Arc<MemoryDirectory>>,
}

impl Scene {
    async fn with(rows: impl IntoIterator<Item = Account>) -> Self {
        let accounts = Arc::new(rows.into_iter().collect::<MemoryDirectory>());
        let (state, clock) = (State::memory().await.unwrap(), SetClock::at(NOW));
        let overlay = Overlay::new(Arc::clone(&accounts), state.clone(), clock.clone(), false);
        Self { accounts, state, clock, overlay }
    }

    async fn find(&self, email: &str) -> Account {
        self.overlay.find(&mailbox(email)).await.unwrap().remove(0)
    }

    async fn unverify(&self, account: &Account) -> bool {
        self.overlay.unverify(account, Reason::DomainRedemption).await.unwrap()
    }
}

#[tokio::test]
async fn an_unverification_is_laid_over_the_row_and_taken_once() {
    let scene = Scene::with([account("1", "Jo@example.com", Some(VERIFIED)), account("2", "b@example.com", None)]).await;
    let read = scene.find("jo@example.com").await;
    assert_eq!(read, account("1", "Jo@example.com", Some(VERIFIED)));
    assert!(scene.unverify(&read).await);
    assert!(!scene.unverify(&read).await);
    let unverified = Account { verified: false, ..read.clone() };
    assert_eq!(scene.find("jo@example.com").await, unverified);
    assert_eq!(scene.overlay.page(None, 10).await.unwrap(), [unverified.clone(), account("2", "b@example.com", None)]);
    assert!(!scene.unverify(&unverified).await);
    assert!(scene.accounts.find(&mailbox("jo@example.com")).await.unwrap()[0].verified, "the row itself is as it was");
    let read = scene.find("b@example.com").await;
    assert!(scene.unverify(&read).await, "without a time of verification too");
    assert!(!scene.find("b@example.com").await.verified);
}

/// INTERFACE §3: an application's newer `verified_at` ends an un-verification.
#[tokio::test]
async fn a_verification_after_it_ends_it() {
    let scene = Scene::with([account("1", "a@example.com", Some(VERIFIED))]).await;
    assert!(scene.unverify(&scene.find("a@example.com").await).await);
    for (verified_at, verified) in [("2026-01-31T11:59:59Z", false), (NOW, false), ("2026-01-31T12:00:01Z", true)] {
        scene.accounts.insert(account("1", "a@example.com", Some(verified_at)));
        let found = scene.find("a@example.com").await;
        assert_eq!((found.verified, found.verified_at), (verified, Some(time(verified_at))), "{verified_at}");
    }
    // And it may be taken away again.
    scene.clock.set(time(LATER));
    let read = scene.find("a@example.com").await;
    assert!(scene.unverify(&read).await);
    assert!(!scene.unverify(&read).await);
    assert!(!scene.find("a@example.com").await.verified);
}

#[tokio::test]
async fn it_is_about_one_address_of_one_account() {
    let scene = Scene::with([account("1", "a@example.com", None), account("2", "a@example.com", None)]).await;
    let both = scene.overlay.find(&mailbox("a@example.com")).await.unwrap();
    assert!(scene.unverify(both.iter().find(|row| row.id.as_str() == "1").unwrap()).await);
    let mut found = scene.overlay.find(&mailbox("a@example.com")).await.unwrap();
    found.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(found.iter().map(|row| row.verified).collect::<Vec<_>>(), [false, true]);
    // The address changes, in more than case.
    scene.accounts.insert(account("1", "b@example.com", None));
    assert!(scene.find("b@example.com").await.verified);
    let changed = Scene::with([account("1", "A@EXAMPLE.com", None)]).await;
    let overlay = Overlay::new(Arc::clone(&changed.accounts), scene.state.clone(), scene.clock.clone(), false);
    assert!(!overlay.find(&mailbox("a@example.com")).await.unwrap()[0].verified);
}

#[tokio::test]
async fn only_the_row_as_it_was_read_is_unverified() {
    let scene = Scene::with([account("1", "a@example.com", Some(VERIFIED))]).await;
    let read = scene.find("a@example.com").await;
    scene.accounts.insert(account("1", "a@example.com", Some("2026-01-31T11:00:00Z")));
    assert!(!scene.unverify(&read).await, "verified again since");
    scene.accounts.insert(Account { verified: false, ..read.clone() });
    assert!(!scene.unverify(&read).await, "un-verified by the application");
    scene.accounts.insert(read.clone());
    scene.overlay.verified("a@example.com").await.unwrap();
    assert!(!scene.unverify(&read).await, "said to be verified again");
    assert!(scene.find("a@example.com").await.verified);
    let gone = account("9", "gone@example.com", None);
    assert!(!scene.unverify(&gone).await);
}

/// INTERFACE §3: verified again.
#[tokio::test]
async fn verified_again_it_is_verified_as_of_now() {
    let rows = [account("1", "A@example.com", Some(VERIFIED)), account("2", "a@example.com", None), account("3", "b@example.com", None)];
    let scene = Scene::with(rows).await;
    for row in scene.overlay.find(&mailbox("a@example.com")).await.unwrap() {
        assert!(scene.unverify(&row).await);
    }
    assert!(scene.unverify(&scene.find("b@example.com").await).await);
    scene.clock.set(time(LATER));
    assert!(scene.overlay.verified("a@EXAMPLE.com").await.unwrap());
    let found = scene.overlay.find(&mailbox("a@example.com")).await.unwrap();
    assert_eq!(found.iter().map(|row| (row.verified, row.verified_at)).collect::<Vec<_>>(), [(true, Some(time(LATER))); 2]);
    assert!(!scene.find("b@example.com").await.verified);
    for nobody in ["c@example.com", "nonsense", ""] {
        assert!(!scene.overlay.verified(nobody).await.unwrap(), "{nobody}");
    }
    // The application's own time counts where it is later, and a new lapse un-verifies the address anew.
    scene.clock.set(time("2026-03-01T00:00:00Z"));
    scene.accounts.insert(account("1", "A@example.com", Some("2026-02-15T00:00:00Z")));
    let found = scene.overlay.find(&Identifier::parse(Identifies::Id, "1").unwrap()).await.unwrap().remove(0);
    assert_eq!(found.verified_at, Some(time("2026-02-15T00:00:00Z")));
    let read = scene.overlay.find(&Identifier::parse(Identifies::Id, "2").unwrap()).await.unwrap().remove(0);
    assert!(scene.unverify(&read).await);
    assert!(!scene.overlay.find(&Identifier::parse(Identifies::Id, "2").unwrap()).await.unwrap()[0].verified);
}

/// A lookup that is laxer than addresses are finds somebody else, who did not prove anything.
#[tokio::test]
async fn verified_again_is_who_has_that_address_and_no_other() {
    struct Lax(MemoryDirectory);

    #[async_trait::async_trait]
    impl Directory for Lax {
        async fn find(&self, _: &Identifier) -> Result<Vec<Account>, DirectoryError> {
            self.0.page(None, 10).await
        }

        async fn unverify(&self, _: &Account, _: Reason) -> Result<bool, DirectoryError> {
            Ok(false)
        }

        async fn page(&self, _: Option<&reset_gatekeeper::account::AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
            self.0.page(None, limit).await
        }
    }

    let lax = Lax([account("1", "jo@example.com", None)].into_iter().collect());
    let overlay = Overlay::new(lax, State::memory().await.unwrap(), SetClock::at(NOW), false);
    assert!(overlay.unverify(&account("1", "jo@example.com", None), Reason::DomainExpired).await.unwrap());
    assert!(!overlay.verified("jö@example.com").await.unwrap());
    assert!(!overlay.find(&mailbox("jo@example.com")).await.unwrap()[0].verified);
}

#[tokio::test]
async fn requests_at_the_same_moment_take_a_verification_away_once() {
    let scene = Scene::with([]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    // Two replicas.
    let overlays = [State::open(&path).await.unwrap(), State::open(&path).await.unwrap()]
        .map(|state| Arc::new(Overlay::new(Arc::clone(&scene.accounts), state, SetClock::at(NOW), false)));
    for round in 0..10 {
        let row = account(&round.to_string(), "a@example.com", Some(VERIFIED));
        scene.accounts.insert(row.clone());
        let taken = futures_util::future::join_all((0..8).map(|call| {
            let (overlay, row) = (Arc::clone(&overlays[call % 2]), row.clone());
            tokio::spawn(async move { overlay.unverify(&row, Reason::DomainRedemption).await.unwrap() })
        }))
        .await;
        assert_eq!(taken.into_iter().filter(|taken| *taken.as_ref().unwrap()).count(), 1, "{round}");
    }
}

#[tokio::test]
async fn it_outlives_the_process_and_is_shared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    // The state may be in the directory's own file.
    let directory = SqliteDirectory::open(&path).await.unwrap();
    directory.insert("a@example.com", true, Some(time(VERIFIED))).await.unwrap();
    let overlay = |state| Overlay::new(directory.clone(), state, SetClock::at(NOW), false);
    let (one, other) = (overlay(State::open(&path).await.unwrap()), overlay(State::open(&path).await.unwrap()));
    let read = one.find(&mailbox("a@example.com")).await.unwrap().remove(0);
    assert!(one.unverify(&read, Reason::DomainRedemption).await.unwrap());
    assert!(!other.find(&mailbox("a@example.com")).await.unwrap()[0].verified);
    drop((one, other));
    let again = overlay(State::open(&path).await.unwrap());
    assert!(!again.find(&mailbox("a@example.com")).await.unwrap()[0].verified);

    let text = "these are notes, no state\n".repeat(100);
    std::fs::write(folder.path().join("notes.txt"), &text).unwrap();
    let opened = tokio::time::timeout(Duration::from_secs(20), State::open(folder.path().join("notes.txt"))).await.unwrap();
    assert!(opened.is_err());
    assert_eq!(std::fs::read_to_string(folder.path().join("notes.txt")).unwrap(), text);
}

/// Where the directory has an `unverify` it is asked, about the row as it is without what the state adds.
#[tokio::test]
async fn a_directory_that_can_unverifies_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let directory = SqliteDirectory::open(&path).await.unwrap();
    directory.insert("a@example.com", true, Some(time(VERIFIED))).await.unwrap();
    let clock = SetClock::at(NOW);
    let overlay = Overlay::new(directory.clone(), State::memory().await.unwrap(), clock.clone(), true);
    let old = overlay.find(&mailbox("a@example.com")).await.unwrap().remove(0);
    assert!(overlay.verified("a@example.com").await.unwrap());
    clock.set(time(LATER));
    assert!(!overlay.unverify(&old, Reason::DomainExpired).await.unwrap(), "verified again since");
    let read = overlay.find(&mailbox("a@example.com")).await.unwrap().remove(0);
    assert_eq!(read.verified_at, Some(time(NOW)));
    assert!(overlay.unverify(&read, Reason::DomainExpired).await.unwrap());
    assert!(!overlay.unverify(&read, Reason::DomainExpired).await.unwrap());
    assert!(!directory.find(&mailbox("a@example.com")).await.unwrap()[0].verified);
}

/// An application that is asked by HTTP may tell only then that it can't un-verify.
#[tokio::test]
async fn what_a_directory_cannot_take_away_after_all_the_state_keeps() {
    struct Refusing(MemoryDirectory);

    #[async_trait::async_trait]
    impl Directory for Refusing {
        async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
            self.0.find(identifier).await
        }

        async fn unverify(&self, _: &Account, _: Reason) -> Result<bool, DirectoryError> {
            Err(DirectoryError::NoQuery("unverify"))
        }

        async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
            self.0.page(after, limit).await
        }
    }
    let accounts = [account("1", "a@example.com", Some(VERIFIED))].into_iter().collect();
    let overlay = Overlay::new(Refusing(accounts), State::memory().await.unwrap(), SetClock::at(NOW), true);
    let read = overlay.find(&mailbox("a@example.com")).await.unwrap().remove(0);
    assert!(overlay.unverify(&read, Reason::DomainExpired).await.unwrap());
    assert!(!overlay.find(&mailbox("a@example.com")).await.unwrap()[0].verified);
}

/// Found by username alone, a row can't be read again; it is un-verified all the same.
#[tokio::test]
async fn a_directory_that_knows_usernames_alone_is_overlaid_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&path).create_if_missing(true)).await.unwrap();
    let schema = "CREATE TABLE users (id INTEGER, email TEXT, name TEXT); INSERT INTO users VALUES (1, 'a@example.com', 'jo')";
    sqlx::raw_sql(schema).execute(&pool).await.unwrap();
    let lookup = "SELECT id, email, 1 AS verified, NULL AS verified_at FROM users WHERE name = $1";
    let queries = Queries { lookup: [(Identifies::Username, lookup.to_owned())].into(), ..Queries::default() };
    let directory = SqliteDirectory::with_queries(&path, queries).await.unwrap();
    let state = State::memory().await.unwrap();
    let overlay = Overlay::new(directory, state.clone(), SetClock::at(NOW), false);
    let jo = Identifier::parse(Identifies::Username, "jo").unwrap();
    let read = overlay.find(&jo).await.unwrap().remove(0);
    assert!(overlay.unverify(&read, Reason::DomainExpired).await.unwrap());
    assert!(!overlay.unverify(&read, Reason::DomainExpired).await.unwrap());
    assert!(!overlay.find(&jo).await.unwrap()[0].verified);
    assert!(matches!(overlay.verified("a@example.com").await, Err(DirectoryError::Unsupported(Identifies::Email))));
    // Another replica is told that the address was verified again: what was read before that takes nothing away.
    let others = [account("1", "a@example.com", None)].into_iter().collect::<MemoryDirectory>();
    assert!(Overlay::new(others, state, SetClock::at(LATER), false).verified("a@example.com").await.unwrap());
    assert!(!overlay.unverify(&read, Reason::DomainExpired).await.unwrap());
    assert!(overlay.find(&jo).await.unwrap()[0].verified);
}
