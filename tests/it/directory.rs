//! The SQLite directory: the built-in table, and what applications write into it.

use std::time::{Duration, SystemTime};

use reset_gatekeeper::account::{Directory, SqliteDirectory};
use reset_gatekeeper::testing::time;
use reset_gatekeeper::{Identifier, Identifies, Reason};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

fn mailbox(text: &str) -> Identifier {
    Identifier::parse(Identifies::Email, text).unwrap()
}

async fn open() -> (tempfile::TempDir, SqlitePool, SqliteDirectory) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let directory = SqliteDirectory::open(&path).await.unwrap();
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&path)).await.unwrap();
    (folder, pool, directory)
}

#[tokio::test]
async fn accounts_are_found_in_any_case_and_idna_form() {
    let (_folder, _pool, directory) = open().await;
    let verified_at = Some(time("2021-05-04T00:00:00Z"));
    let id = directory.insert("Jo@Example.com", true, verified_at).await.unwrap();
    directory.insert("jo@bücher.example", false, None).await.unwrap();
    let found = directory.find(&mailbox("jO@eXample.COM")).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].id, found[0].email.as_str(), found[0].verified, found[0].verified_at),
        (&id, "Jo@Example.com", true, verified_at)
    );
    assert_eq!(directory.find(&mailbox("JO@xn--bcher-kva.example")).await.unwrap().len(), 1);
    assert!(directory.find(&mailbox("jo@example.org")).await.unwrap().is_empty());
}

/// INTERFACE §2: a query's columns.
#[tokio::test]
async fn a_time_of_verification_is_read_in_every_form() {
    let (_folder, pool, directory) = open().await;
    let at = time("2021-05-04T10:00:00Z");
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for value in [
        "'2021-05-04T10:00:00Z'".to_owned(),
        "'2021-05-04 10:00:00'".to_owned(),
        "'2021-05-04 10:00:00.000'".to_owned(),
        "'2021-05-04T12:00:00+02:00'".to_owned(),
        seconds.to_string(),
        (seconds * 1000).to_string(),
    ] {
        sqlx::query("DELETE FROM accounts").execute(&pool).await.unwrap();
        let insert = format!("INSERT INTO accounts (email, verified, verified_at) VALUES ('a@example.com', 1, {value})");
        sqlx::query(sqlx::AssertSqlSafe(insert)).execute(&pool).await.unwrap();
        assert_eq!(directory.find(&mailbox("a@example.com")).await.unwrap()[0].verified_at, Some(at), "{value}");
    }
    for (column, value) in [("verified_at", "'yesterday'"), ("verified_at", "-1"), ("verified", "7")] {
        let update = format!("UPDATE accounts SET {column} = {value}");
        sqlx::query(sqlx::AssertSqlSafe(update)).execute(&pool).await.unwrap();
        let error = directory.find(&mailbox("a@example.com")).await.unwrap_err();
        assert!(error.to_string().contains(column), "{error}");
    }
}

#[tokio::test]
async fn a_verification_is_taken_away_once_and_only_as_it_was_read() {
    let (_folder, pool, directory) = open().await;
    directory.insert("a@example.com", true, Some(time("2021-05-04T00:00:00Z"))).await.unwrap();
    let read = directory.find(&mailbox("a@example.com")).await.unwrap().remove(0);

    // The application verifies the address again between the two.
    sqlx::query("UPDATE accounts SET verified_at = '2026-01-01T00:00:00Z'").execute(&pool).await.unwrap();
    assert!(!directory.unverify(&read, Reason::DomainRedemption).await.unwrap());
    let read = directory.find(&mailbox("a@example.com")).await.unwrap().remove(0);
    assert!(read.verified);

    assert!(directory.unverify(&read, Reason::DomainRedemption).await.unwrap());
    assert!(!directory.unverify(&read, Reason::DomainRedemption).await.unwrap());
    assert!(!directory.find(&mailbox("a@example.com")).await.unwrap()[0].verified);
    let reason: String = sqlx::query_scalar("SELECT unverified_reason FROM accounts").fetch_one(&pool).await.unwrap();
    assert_eq!(reason, "domain_redemption");
}

#[tokio::test]
async fn it_lives_in_the_applications_file_beside_its_own_migrations() {
    let (folder, pool, directory) = open().await;
    sqlx::query("CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY)").execute(&pool).await.unwrap();
    directory.insert("a@example.com", true, None).await.unwrap();
    let again = SqliteDirectory::open(folder.path().join("accounts.db")).await.unwrap();
    assert_eq!(again.find(&mailbox("a@example.com")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "these are notes, not accounts\n".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let opened = tokio::time::timeout(Duration::from_secs(10), SqliteDirectory::open(&path)).await.unwrap();
    assert!(opened.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert!(SqliteDirectory::open(folder.path().join("no/such/folder.db")).await.is_err());
}

#[tokio::test]
async fn requests_at_the_same_moment_take_a_verification_away_once_and_none_fails() {
    let (_folder, _pool, directory) = open().await;
    for round in 0..20 {
        let email = format!("a{round}@example.com");
        directory.insert(&email, true, None).await.unwrap();
        let read = directory.find(&mailbox(&email)).await.unwrap().remove(0);
        let taken = futures_util::future::join_all((0..8).map(|_| {
            let (directory, read) = (directory.clone(), read.clone());
            tokio::spawn(async move { directory.unverify(&read, Reason::DomainRedemption).await.unwrap() })
        }))
        .await;
        assert_eq!(taken.into_iter().filter(|taken| *taken.as_ref().unwrap()).count(), 1);
    }
}
