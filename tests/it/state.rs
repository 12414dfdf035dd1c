//! Un-verifications that the state keeps, laid over a directory whose own flag isn't written: in SQLite, and in PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use reset_gatekeeper::account::{
    Account, AccountId, Directory, DirectoryError, MemoryDirectory, Overlay, PostgresDirectory, Queries, SqliteDirectory,
};
use reset_gatekeeper::audit::Head;
use reset_gatekeeper::testing::{SetClock, time};
use reset_gatekeeper::{Identifier, Identifies, Reason, State, StateError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};
use sqlx::{AssertSqlSafe, Connection};

use crate::postgres::Schema;

const VERIFIED: &str = "2021-05-04T10:00:00Z";
const NOW: &str = "2026-01-31T12:00:00Z";
const LATER: &str = "2026-02-01T12:00:00Z";

fn mailbox(text: &str) -> Identifier {
    Identifier::parse(Identifies::Email, text).unwrap()
}

fn account(id: &str, email: &str, verified_at: Option<&str>) -> Account {
    Account { id: id.into(), email: email.to_owned(), verified: true, verified_at: verified_at.map(time) }
}

/// Where a state is kept, opened as often as there are replicas.
pub(crate) enum Place {
    File(tempfile::TempDir),
    Database(Box<Schema>),
}

impl Place {
    pub(crate) fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn database() -> Self {
        Self::Database(Box::new(Schema::create().await))
    }

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("state.db")
    }

    pub(crate) async fn state(&self) -> State {
        match self {
            Self::File(folder) => State::open(Self::path(folder)).await.unwrap(),
            Self::Database(schema) => State::connect(&schema.url).await.unwrap(),
        }
    }

    /// The configuration's `state.url`.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::File(folder) => format!("sqlite:{}", Self::path(folder).display()),
            Self::Database(schema) => schema.url.clone(),
        }
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        match self {
            Self::File(folder) => {
                let mut connection = SqliteConnection::connect(&format!("sqlite:{}", Self::path(folder).display())).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            Self::Database(schema) => schema.run(sql).await,
        }
    }

    /// A directory at the same place, with one account.
    async fn directory(&mut self) -> Arc<dyn Directory> {
        let directory: Arc<dyn Directory> = match self {
            Self::File(folder) => Arc::new(SqliteDirectory::open(Self::path(folder)).await.unwrap()),
            Self::Database(schema) => Arc::new(PostgresDirectory::connect(&schema.url).await.unwrap()),
        };
        self.run(&format!("INSERT INTO accounts (email, verified, verified_at) VALUES ('a@example.com', true, '{VERIFIED}')")).await;
        directory
    }
}

/// Tests of what holds wherever the state is.
macro_rules! promised_of_both {
    ($($name:ident),* $(,)?) => {
        mod in_a_file {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::state::Place::file()).await;
            })*
        }
        mod in_a_database {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::state::Place::database().await).await;
            })*
        }
    };
}
pub(crate) use promised_of_both;

promised_of_both! {
    an_unverification_is_laid_over_the_row_and_taken_once,
    a_verification_after_it_ends_it,
    it_is_about_one_address_of_one_account,
    only_the_row_as_it_was_read_is_unverified,
    verified_again_it_is_verified_as_of_now,
    verified_again_is_who_has_that_address_and_no_other,
    requests_at_the_same_moment_take_a_verification_away_once,
    it_outlives_the_process_and_is_shared,
    a_directory_that_can_unverifies_itself,
    what_a_directory_cannot_take_away_after_all_the_state_keeps,
    a_directory_that_knows_usernames_alone_is_overlaid_too,
    more_accounts_than_one_statement_asks_about_are_laid_over,
    the_end_of_each_audit_log_is_kept,
    a_later_versions_tables_are_left_alone,
    the_command_finds_the_state_where_the_configuration_says,
}

struct Scene {
    accounts: Arc<MemoryDirectory>,
    state: State,
    clock: SetClock,
    overlay: Overlay<Arc<MemoryDirectory>>,
}

impl Scene {
    async fn with(place: &Place, rows: impl IntoIterator<Item = Account>) -> Self {
        let accounts = Arc::new(rows.into_iter().collect::<MemoryDirectory>());
        let (state, clock) = (place.state().await, SetClock::at(NOW));
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

async fn an_unverification_is_laid_over_the_row_and_taken_once(place: Place) {
    let scene = Scene::with(&place, [account("1", "Jo@example.com", Some(VERIFIED)), account("2", "b@example.com", None)]).await;
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
async fn a_verification_after_it_ends_it(place: Place) {
    let scene = Scene::with(&place, [account("1", "a@example.com", Some(VERIFIED))]).await;
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

async fn it_is_about_one_address_of_one_account(place: Place) {
    let scene = Scene::with(&place, [account("1", "a@example.com", None), account("2", "a@example.com", None)]).await;
    let both = scene.overlay.find(&mailbox("a@example.com")).await.unwrap();
    assert!(scene.unverify(both.iter().find(|row| row.id.as_str() == "1").unwrap()).await);
    let mut found = scene.overlay.find(&mailbox("a@example.com")).await.unwrap();
    found.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(found.iter().map(|row| row.verified).collect::<Vec<_>>(), [false, true]);
    // The address changes, in more than case.
    scene.accounts.insert(account("1", "b@example.com", None));
    assert!(scene.find("b@example.com").await.verified);
    let changed = Scene::with(&place, [account("1", "A@EXAMPLE.com", None)]).await;
    let overlay = Overlay::new(Arc::clone(&changed.accounts), scene.state.clone(), scene.clock.clone(), false);
    assert!(!overlay.find(&mailbox("a@example.com")).await.unwrap()[0].verified);
}

async fn only_the_row_as_it_was_read_is_unverified(place: Place) {
    let scene = Scene::with(&place, [account("1", "a@example.com", Some(VERIFIED))]).await;
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
async fn verified_again_it_is_verified_as_of_now(place: Place) {
    let rows = [account("1", "A@example.com", Some(VERIFIED)), account("2", "a@example.com", None), account("3", "b@example.com", None)];
    let scene = Scene::with(&place, rows).await;
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
async fn verified_again_is_who_has_that_address_and_no_other(place: Place) {
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
    let overlay = Overlay::new(lax, place.state().await, SetClock::at(NOW), false);
    assert!(overlay.unverify(&account("1", "jo@example.com", None), Reason::DomainExpired).await.unwrap());
    assert!(!overlay.verified("jö@example.com").await.unwrap());
    assert!(!overlay.find(&mailbox("jo@example.com")).await.unwrap()[0].verified);
}

async fn requests_at_the_same_moment_take_a_verification_away_once(place: Place) {
    let scene = Scene::with(&place, []).await;
    // Two replicas.
    let overlays = [place.state().await, place.state().await]
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

async fn it_outlives_the_process_and_is_shared(mut place: Place) {
    // The state may be where the directory is.
    let directory = place.directory().await;
    let overlay = |state| Overlay::new(Arc::clone(&directory), state, SetClock::at(NOW), false);
    let (one, other) = (overlay(place.state().await), overlay(place.state().await));
    let read = one.find(&mailbox("a@example.com")).await.unwrap().remove(0);
    assert!(one.unverify(&read, Reason::DomainRedemption).await.unwrap());
    assert!(!other.find(&mailbox("a@example.com")).await.unwrap()[0].verified);
    drop((one, other));
    let again = overlay(place.state().await);
    assert!(!again.find(&mailbox("a@example.com")).await.unwrap()[0].verified);
}

#[tokio::test]
async fn a_file_that_is_no_state_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let text = "these are notes, no state\n".repeat(100);
    std::fs::write(folder.path().join("notes.txt"), &text).unwrap();
    let opened = tokio::time::timeout(Duration::from_secs(20), State::open(folder.path().join("notes.txt"))).await.unwrap();
    assert!(opened.is_err());
    assert_eq!(std::fs::read_to_string(folder.path().join("notes.txt")).unwrap(), text);
}

/// Where the directory has an `unverify` it is asked, about the row as it is without what the state adds.
async fn a_directory_that_can_unverifies_itself(mut place: Place) {
    let directory = place.directory().await;
    let clock = SetClock::at(NOW);
    let overlay = Overlay::new(Arc::clone(&directory), place.state().await, clock.clone(), true);
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
async fn what_a_directory_cannot_take_away_after_all_the_state_keeps(place: Place) {
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
    let overlay = Overlay::new(Refusing(accounts), place.state().await, SetClock::at(NOW), true);
    let read = overlay.find(&mailbox("a@example.com")).await.unwrap().remove(0);
    assert!(overlay.unverify(&read, Reason::DomainExpired).await.unwrap());
    assert!(!overlay.find(&mailbox("a@example.com")).await.unwrap()[0].verified);
}

/// Found by username alone, a row can't be read again; it is un-verified all the same.
async fn a_directory_that_knows_usernames_alone_is_overlaid_too(place: Place) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&path).create_if_missing(true)).await.unwrap();
    let schema = "CREATE TABLE users (id INTEGER, email TEXT, name TEXT); INSERT INTO users VALUES (1, 'a@example.com', 'jo')";
    sqlx::raw_sql(schema).execute(&pool).await.unwrap();
    let lookup = "SELECT id, email, 1 AS verified, NULL AS verified_at FROM users WHERE name = $1";
    let queries = Queries { lookup: [(Identifies::Username, lookup.to_owned())].into(), ..Queries::default() };
    let directory = SqliteDirectory::with_queries(&path, queries).await.unwrap();
    let state = place.state().await;
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

async fn more_accounts_than_one_statement_asks_about_are_laid_over(place: Place) {
    let rows: Vec<_> = (0..2_001).map(|id| account(&format!("{id:04}"), "a@example.com", None)).collect();
    let scene = Scene::with(&place, rows.iter().cloned()).await;
    for row in [&rows[0], &rows[1_000], &rows[2_000]] {
        assert!(scene.unverify(row).await);
    }
    let page = scene.overlay.page(None, rows.len()).await.unwrap();
    let unverified: Vec<_> = page.iter().filter(|row| !row.verified).map(|row| row.id.as_str()).collect();
    assert_eq!((page.len(), unverified), (2_001, vec!["0000", "1000", "2000"]));
}

async fn the_end_of_each_audit_log_is_kept(mut place: Place) {
    let state = place.state().await;
    let (one, other) = (Path::new("/var/log/one.jsonl"), Path::new("two.jsonl"));
    assert_eq!(state.audit_head(one).await.unwrap(), None);
    // The last is late: another process wrote the log meanwhile.
    for (file, seq) in [(one, 1), (other, 7), (one, 2), (other, 6)] {
        state.keep_audit_head(file, &Head::new(seq, format!("hash of {seq}"))).await.unwrap();
    }
    drop(state);
    let state = place.state().await;
    assert_eq!(state.audit_head(one).await.unwrap(), Some(Head::new(2, "hash of 2".to_owned())));
    assert_eq!(state.audit_head(other).await.unwrap(), Some(Head::new(7, "hash of 7".to_owned())));
    // By any spelling of its path.
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
    state.keep_audit_head(&folder.path().join("log"), &Head::new(3, "hash of 3".to_owned())).await.unwrap();
    for spelling in ["./log", "link/log", "link/link/log"] {
        let spelled = state.audit_head(&folder.path().join(spelling)).await.unwrap();
        assert_eq!(spelled, Some(Head::new(3, "hash of 3".to_owned())), "{spelling}");
    }
    // Machines that share a database may have logs of the same name.
    if matches!(place, Place::Database(_)) {
        place.run("UPDATE gatekeeper_audit_heads SET file = 'another' || substr(file, strpos(file, ':')) WHERE seq = 2 AND strpos(file, ':') > 1").await;
        assert_eq!(state.audit_head(one).await.unwrap(), None);
        let there = std::path::absolute(other).unwrap();
        assert_eq!(state.audit_head(&there).await.unwrap(), Some(Head::new(7, "hash of 7".to_owned())));
    }
}

async fn a_later_versions_tables_are_left_alone(mut place: Place) {
    drop(place.state().await);
    let later =
        "INSERT INTO _gatekeeper_state_migrations (version, description, success, checksum, execution_time) VALUES (99, '', true, 'x', 0)";
    place.run(later).await;
    let opened = match &place {
        Place::File(folder) => State::open(Place::path(folder)).await,
        Place::Database(schema) => State::connect(&schema.url).await,
    };
    assert!(matches!(opened, Err(StateError::Tables(_))));
}

/// INTERFACE §1: `verified`. §2: `state.url`.
async fn the_command_finds_the_state_where_the_configuration_says(place: Place) {
    let folder = tempfile::tempdir().unwrap();
    let directory = SqliteDirectory::open(folder.path().join("accounts.db")).await.unwrap();
    directory.insert("a@example.com", true, Some(time(VERIFIED))).await.unwrap();
    let overlay = Overlay::new(directory, place.state().await, SetClock::at(NOW), false);
    let read = overlay.find(&mailbox("a@example.com")).await.unwrap().remove(0);
    assert!(overlay.unverify(&read, Reason::DomainExpired).await.unwrap());
    let site = "upstream = \"http://127.0.0.1:3000\"\n[reply]\nmode = \"refuse\"\n[directory]\nurl = \"sqlite:accounts.db\"\n\
                [[guard]]\npath = \"/reset\"\ntarget = \"form:email\"\n[state]\nurl_file = \"state-url\"\n";
    std::fs::write(folder.path().join("gatekeeper.toml"), site).unwrap();
    std::fs::write(folder.path().join("state-url"), place.url() + "\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
    let command = command.current_dir(folder.path()).args(["verified", "a@example.com", "--config", "gatekeeper.toml"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(overlay.find(&mailbox("a@example.com")).await.unwrap()[0].verified);
}

/// The first version's tables had other names.
#[tokio::test]
async fn a_file_of_an_earlier_version_is_taken_over() {
    let mut place = Place::file();
    drop(place.state().await);
    place
        .run(
            "ALTER TABLE gatekeeper_unverifications RENAME TO unverifications; ALTER TABLE gatekeeper_audit_heads RENAME TO audit_heads; \
             DROP TABLE gatekeeper_domains; DROP TABLE gatekeeper_watched; DROP TABLE gatekeeper_counted; DROP TABLE gatekeeper_passes; DROP TABLE gatekeeper_rations; DROP TABLE gatekeeper_deliveries; \
             DROP TABLE IF EXISTS gatekeeper_exemptions; DELETE FROM _gatekeeper_state_migrations WHERE version > 2; \
             INSERT INTO unverifications VALUES ('1', 'a@example.com', 1769860800000000, 'domain_expired', NULL); \
             INSERT INTO audit_heads VALUES ('audit.jsonl', 7, 'hash')",
        )
        .await;
    let scene = Scene::with(&place, [account("1", "a@example.com", Some(VERIFIED))]).await;
    assert!(!scene.find("a@example.com").await.verified);
    assert_eq!(scene.state.audit_head(Path::new("audit.jsonl")).await.unwrap(), Some(Head::new(7, "hash".to_owned())));
}

#[tokio::test]
async fn a_state_in_memory_ends_with_the_process() {
    let accounts = Arc::new([account("1", "a@example.com", Some(VERIFIED))].into_iter().collect::<MemoryDirectory>());
    for _ in 0..2 {
        let overlay = Overlay::new(Arc::clone(&accounts), State::memory().await.unwrap(), SetClock::at(NOW), false);
        let read = overlay.find(&mailbox("a@example.com")).await.unwrap().remove(0);
        assert!(overlay.unverify(&read, Reason::DomainExpired).await.unwrap());
        assert!(!overlay.find(&mailbox("a@example.com")).await.unwrap()[0].verified);
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_told_without_its_password() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (url, told) in [
        (format!("postgres://app:hunter2@127.0.0.1:{port}/app"), "refused"),
        ("postgres://app:hunter2@127.0.0.1:port/app".to_owned(), "port"),
    ] {
        let error = State::connect(&url).await.unwrap_err();
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let chain = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(chain.contains(told), "{chain}");
        assert!(!format!("{chain} {error:?}").contains("hunter2"), "{error:?}");
    }
    let schema = Schema::create().await;
    let state = State::connect(&schema.url.replace("postgres@", "postgres:hunter2@")).await.unwrap();
    assert!(!format!("{state:?}").contains("hunter2"));
}
