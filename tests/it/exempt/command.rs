//! The command that gives, lists and takes back.

use std::process::{Command, Output};

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::state::{Place, promised_of_both};

promised_of_both! {
    the_command_gives_lists_and_takes_back,
}

/// A configuration whose state is at `place`, and a table of accounts.
struct Office {
    folder: tempfile::TempDir,
    user: Option<&'static str>,
}

impl Office {
    async fn open(state: &str, lookup: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(folder.path().join("app.db")).create_if_missing(true);
        let rows = "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, verified INTEGER, verified_at TEXT);
            INSERT INTO users VALUES (41, 'a@example.com', 1, NULL), (42, 'b@example.com', 1, NULL), (43, 'b@example.com', 0, NULL)";
        sqlx::raw_sql(rows).execute(&SqlitePool::connect_with(options).await.unwrap()).await.unwrap();
        let columns = "SELECT id, email, verified, verified_at FROM users WHERE";
        let email = format!("email = \"{columns} lower(email) = lower($1)\"");
        let id = if lookup == "id" { format!("id = \"{columns} id = $1\"") } else { String::new() };
        let state = if state.is_empty() { String::new() } else { format!("[state]\nurl = \"{state}\"\n") };
        let text = format!("[directory]\nurl = \"sqlite:app.db\"\n[directory.lookup]\n{email}\n{id}\n{state}");
        std::fs::write(folder.path().join("gatekeeper.toml"), text).unwrap();
        Self { folder, user: Some("jo") }
    }

    async fn exempt(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reset-gatekeeper"));
        command.arg("exempt").args(arguments).arg("--config").arg(self.folder.path().join("gatekeeper.toml"));
        command.env_remove("RUST_LOG").env_remove("USER").envs(self.user.map(|user| ("USER", user)));
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn listed(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.exempt(&[&["list", "--json"], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn the_command_gives_lists_and_takes_back(place: Place) {
    let state = place.state().await;
    let office = Office::open(&place.url(), "id").await;
    let add = async |arguments: &[&str]| office.exempt(&[&["add", "--reason", "the holder called"], arguments].concat()).await;
    let ten_days = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(240)).strftime("%Y-%m-%d").to_string();
    for (whom, end) in [
        (["--domain", "example.com"], ["--until", &ten_days]),
        (["--account", "A@example.com"], ["--for", "30d"]),
        (["--account", "42"], ["--for", "2h"]),
    ] {
        let output = add(&[whom, end].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(said(&output), "");
    }
    let listed = office.listed(&[]).await;
    let names: Vec<_> = listed.iter().map(|one| one["domain"].as_str().or(one["account"].as_str()).unwrap()).collect();
    assert_eq!(names, ["42", "41", "example.com"]);
    assert_eq!((&listed[2]["by"], &listed[2]["reason"]), (&"jo".into(), &"the holder called".into()));
    assert_eq!(listed[2]["until"], format!("{ten_days}T00:00:00Z"));
    assert_eq!(state.all_exemptions().await.unwrap().len(), 3);
    let output = add(&["--domain", "mail.example.com", "--for", "3d"]).await;
    let replaced = format!("it takes the place of {}, until {ten_days}T00:00:00Z", listed[2]["id"].as_str().unwrap());
    assert!(said(&output).contains(&replaced), "{output:?}");
    assert_eq!(office.listed(&[]).await.len(), 3, "one for each");

    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(office.exempt(&["remove", id, "--by", "mo"]).await.status.code(), Some(0));
    assert_eq!(office.exempt(&["remove", id]).await.status.code(), Some(1));
    assert_eq!(office.listed(&[]).await.len(), 2);
    assert_eq!(office.listed(&["--all"]).await[1]["removed_by"], "mo");
    let table = office.exempt(&["list", "--all"]).await;
    let table = String::from_utf8_lossy(&table.stdout);
    assert!(["domain example.com", "account 41", "by mo", "the holder called"].iter().all(|text| table.contains(text)), "{table}");
}

#[tokio::test]
async fn the_command_says_what_it_can_not_do_and_does_nothing() {
    let office = Office::open("sqlite:state.db", "id").await;
    let reason = ["--reason", "why"];
    for (arguments, exit, told) in [
        (&["--account", "nobody@example.com", "--for", "1d"][..], 1, "there is no account nobody@example.com"),
        (&["--account", "44", "--for", "1d"], 1, "there is no account 44"),
        (&["--account", "041", "--for", "1d"], 1, "there is no account 041"),
        (
            &["--account", "b@example.com", "--for", "1d"],
            2,
            "several accounts have the address b@example.com: say which by its id, of 42, 43",
        ),
        (&["--domain", "com", "--for", "1d"], 2, "no registrable domain"),
        (&["--domain", "example.com", "--for", "91d"], 2, "more than 90 days"),
        (&["--domain", "example.com", "--until", "2020-01-01"], 2, "over already"),
        (&["--domain", "example.com", "--until", "tomorrow"], 2, "invalid value"),
        (&["--domain", "example.com"], 2, "--until"),
        (&["--for", "1d"], 2, "--domain"),
        (&["--domain", "example.com", "--account", "41", "--for", "1d"], 2, "cannot be used with"),
        (&["--domain", "example.com", "--for", "1d", "--until", "2020-01-01"], 2, "cannot be used with"),
        (&["--domain", "example.com", "--for", "1d", "--by", ""], 2, "the name of who does it is missing"),
    ] {
        let output = office.exempt(&[&["add"], &reason[..], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {output:?}");
        assert!(said(&output).contains(told), "{arguments:?}: {}", said(&output));
        assert_eq!(output.stdout, b"");
    }
    assert_eq!(office.exempt(&["remove", "42"]).await.status.code(), Some(2));
    assert_eq!(office.listed(&["--all"]).await, [] as [Value; 0]);

    let output = office.exempt(&["add", "--domain", "a@mail.Example.com", "--for", "1d", "--reason", "why"]).await;
    assert!(said(&output).contains("the registrable domain of a@mail.Example.com is example.com"), "{output:?}");
    let output = office.exempt(&["add", "--domain", "gmail.com", "--for", "1d", "--reason", "why"]).await;
    assert!(output.status.success() && said(&output).contains("mailbox provider"), "{output:?}");

    let nameless = Office { user: None, ..office };
    let output = nameless.exempt(&["add", "--domain", "example.com", "--for", "1d", "--reason", "why"]).await;
    assert!(output.status.code() == Some(2) && said(&output).contains("--by"), "{output:?}");
    let stateless = Office::open("", "id").await;
    let output = stateless.exempt(&["list"]).await;
    assert!(output.status.code() == Some(2) && said(&output).contains("`state.url` is missing"), "{output:?}");
}

#[tokio::test]
async fn where_no_account_is_found_by_its_id_the_command_takes_the_id_and_says_so() {
    let office = Office::open("sqlite:state.db", "").await;
    let output = office.exempt(&["add", "--account", "43", "--for", "1d", "--reason", "why"]).await;
    assert!(output.status.success() && said(&output).contains("whether there is one is not known"), "{output:?}");
    assert_eq!(office.listed(&[]).await[0]["account"], "43");
    let output = office.exempt(&["add", "--account", "c@example.com", "--for", "1d", "--reason", "why"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
