//! The SQLite directory over an application's own tables.

use std::path::PathBuf;

use reset_gatekeeper::account::{Account, AccountId, Directory, DirectoryError, IdKind, Queries, SqliteDirectory};
use reset_gatekeeper::testing::time;
use reset_gatekeeper::{Identifier, Identifies, Reason};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

const AT: &str = "2021-05-04T10:00:00Z";

/// An application's file.
struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
    pool: SqlitePool,
}

impl File {
    async fn create(schema: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&path).create_if_missing(true)).await.unwrap();
        let file = Self { _folder: folder, path, pool };
        file.run(schema).await;
        file
    }

    async fn users(id: &str, rows: &[&str]) -> Self {
        let file = Self::create(&format!(
            "CREATE TABLE users (id {id} PRIMARY KEY NOT NULL, email TEXT, username TEXT, verified BOOLEAN, verified_at DATETIME, why TEXT)"
        ))
        .await;
        for row in rows {
            file.run(&format!("INSERT INTO users (id, email, verified, verified_at) VALUES ({row})")).await;
        }
        file
    }

    async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn text(&self, sql: &str) -> String {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap()
    }

    async fn directory(&self, queries: Queries) -> Result<SqliteDirectory, DirectoryError> {
        SqliteDirectory::with_queries(&self.path, queries).await
    }
}

fn lookup(column: &str) -> String {
    format!("SELECT id, email, verified, verified_at FROM users WHERE {column} = $1")
}

fn queries(id: IdKind) -> Queries {
    Queries {
        lookup: [(Identifies::Email, lookup("email")), (Identifies::Username, lookup("username")), (Identifies::Id, lookup("id"))].into(),
        unverify: Some("UPDATE users SET verified = 0, why = $2 WHERE id = $1".to_owned()),
        page: Some("SELECT id, email, verified, verified_at FROM users WHERE id > $1 ORDER BY id LIMIT $2".to_owned()),
        id,
    }
}

fn named(kind: Identifies, text: &str) -> Identifier {
    Identifier::parse(kind, text).unwrap()
}

async fn pages(directory: &impl Directory) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), None::<AccountId>);
    while let Some(account) = directory.page(after.as_ref(), 1).await.unwrap().pop() {
        assert!(ids.len() < 10, "a page does not advance: {ids:?}");
        ids.push(account.id.to_string());
        after = Some(account.id);
    }
    ids
}

/// The file is the application's: it is read, and changed by `unverify` alone.
#[tokio::test]
async fn an_applications_file_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing.db");
    assert!(SqliteDirectory::with_queries(&path, queries(IdKind::Integer)).await.is_err());
    assert!(!path.exists());

    let file = File::users("INTEGER", &["1, 'a@example.com', 1, NULL"]).await;
    let (tables, before) = ("SELECT group_concat(name) FROM sqlite_schema", std::fs::read(&file.path).unwrap());
    let directory = file.directory(queries(IdKind::Integer)).await.unwrap();
    directory.find(&named(Identifies::Email, "a@example.com")).await.unwrap();
    assert!(matches!(directory.insert("b@example.com", true, None).await, Err(DirectoryError::NoQuery("insert"))));
    assert_eq!(file.text("PRAGMA journal_mode").await, "delete");
    assert!(file.text(tables).await.starts_with("users"));
    assert_eq!(std::fs::read(&file.path).unwrap(), before);
}

/// INTERFACE §2: `id = "integer" | "text" | "uuid"`. A key that is none of its kind is nobody's, however lax SQLite would be.
#[tokio::test]
async fn accounts_are_found_listed_and_unverified_by_keys_of_every_form() {
    let uuids = ["00000000-0000-0000-0000-0000000000a1", "67e55044-10b1-426f-9247-bb680e5fe0c8", "f0000000-0000-0000-0000-000000000000"];
    let simple = uuids.map(|id| id.replace('-', ""));
    let simple = [simple[0].as_str(), &simple[1], &simple[2]];
    for (kind, column, ids, written, nobody) in [
        (
            IdKind::Integer,
            "INTEGER",
            ["1", "42", "9223372036854775807"],
            ["1", "42", "9223372036854775807"],
            &["042", "+42", "42.0", "4_2"][..],
        ),
        (IdKind::Text, "TEXT", ["042", "42", "a"], ["'042'", "'42'", "'a'"], &["4", "A"]),
        (IdKind::Uuid, "TEXT", uuids, uuids, &["42"]),
        (IdKind::Uuid, "CHAR(32)", simple, simple, &["42"]),
        (IdKind::Uuid, "BLOB", uuids, simple, &["42"]),
    ] {
        let rows = written.map(|id| {
            let id = match (kind, column) {
                (IdKind::Uuid, "BLOB") => format!("x'{id}'"),
                (IdKind::Uuid, _) => format!("'{id}'"),
                _ => id.to_owned(),
            };
            format!("{id}, 'u' || hex({id}) || '@example.com', 1, '{AT}'")
        });
        let file = File::users(column, &[&rows[0], &rows[1], &rows[2]]).await;
        let directory = file.directory(queries(kind)).await.unwrap();
        // Also where a sweep goes on after a restart, and nothing was read yet.
        let rest = directory.page(Some(&ids[0].into()), 10).await.unwrap();
        assert_eq!(rest.iter().map(|account| account.id.as_str()).collect::<Vec<_>>(), ids[1..], "{kind} {column}");
        assert_eq!(pages(&directory).await, ids, "{kind} {column}");
        for id in ids {
            let found = directory.find(&named(Identifies::Id, id)).await.unwrap();
            assert_eq!(found.iter().map(|account| account.id.as_str()).collect::<Vec<_>>(), [id], "{kind} {column}");
            assert!(directory.unverify(&found[0], Reason::DomainExpired).await.unwrap(), "{kind} {column} {id}");
            assert!(!directory.unverify(&found[0], Reason::DomainExpired).await.unwrap(), "{kind} {column} {id}");
            assert!(!directory.find(&named(Identifies::Id, id)).await.unwrap()[0].verified, "{kind} {column} {id}");
        }
        for id in nobody {
            assert!(directory.find(&named(Identifies::Id, id)).await.unwrap().is_empty(), "{kind} {column} {id}");
        }
        if kind == IdKind::Uuid {
            for id in [uuids[1].to_uppercase(), simple[1].to_owned(), simple[1].to_uppercase()] {
                assert_eq!(directory.find(&named(Identifies::Id, &id)).await.unwrap().len(), 1, "{column} {id}");
            }
        }
        assert_eq!(file.text("SELECT group_concat(why, ' ') FROM users").await, "domain_expired domain_expired domain_expired");
    }
}

/// INTERFACE §2: a query's columns.
#[tokio::test]
async fn every_form_of_column_is_read() {
    let file = File::create("SELECT 1").await;
    let at = Some(time(AT));
    for (verified, verified_at, expected) in [
        ("1", "'2021-05-04T10:00:00Z'", Ok((true, at))),
        ("0", "'2021-05-04 10:00:00'", Ok((false, at))),
        ("'t'", "'2021-05-04 10:00:00+00:00'", Ok((true, at))),
        ("'f'", "'2021-05-04'", Ok((false, Some(time("2021-05-04T00:00:00Z"))))),
        ("NULL", "1620122400", Ok((false, at))),
        ("TRUE", "1620122400000", Ok((true, at))),
        ("1", "1620122400.0", Ok((true, at))),
        ("1", "1620122400000.0", Ok((true, at))),
        ("1", "strftime('%s', '2021-05-04 10:00:00') + 0", Ok((true, at))),
        ("1", "NULL", Ok((true, None))),
        ("1", "'secret'", Err("verified_at")),
        ("1", "''", Err("verified_at")),
        ("1", "-1", Err("verified_at")),
        ("1", "1620122400000000", Err("verified_at")),
        ("1", "x'00'", Err("verified_at")),
        ("1", "CAST(x'ff' AS TEXT)", Err("verified_at")),
        ("2", "NULL", Err("verified")),
        ("'secret'", "NULL", Err("verified")),
        ("1.5", "NULL", Err("verified")),
    ] {
        let select = format!("SELECT {verified_at} AS VERIFIED_AT, {verified} AS verified, $1 AS email, 'x' AS other, 1 AS id");
        let queries = Queries { lookup: [(Identifies::Email, select.clone())].into(), ..Queries::default() };
        let directory = file.directory(queries).await.unwrap();
        match (directory.find(&named(Identifies::Email, "a@example.com")).await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!((found[0].verified, found[0].verified_at), expected, "{select}"),
            (Err(error @ DirectoryError::Unreadable { column, .. }), Err(expected)) => {
                assert_eq!(column, expected, "{select}");
                assert!(error.to_string().contains("account 1") && !error.to_string().contains("secret"), "{error}");
            }
            (found, expected) => panic!("{select}: {found:?}, not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_said_when_the_directory_is_opened() {
    let file = File::users("INTEGER", &["1, 'a@example.com', 1, NULL"]).await;
    let email = |sql: &str| Queries { lookup: [(Identifies::Email, sql.to_owned())].into(), ..Queries::default() };
    let all = || queries(IdKind::Integer);
    for (queries, message) in [
        (email("SELEC 1"), "`lookup.email` is refused by the database"),
        (email("SELECT * FROM nothing WHERE a = $1"), "`lookup.email` is refused by the database"),
        (email("SELECT id, email, verified_at FROM users WHERE email = $1"), "`lookup.email` has no column `verified`"),
        (email("SELECT *, id FROM users WHERE email = $1"), "`lookup.email` has more than one column `id`"),
        (email("SELECT * FROM users"), "`lookup.email` has 0 parameters, not 1"),
        (email("SELECT * FROM users WHERE email = $1 OR username = $2"), "`lookup.email` has 2 parameters, not 1"),
        (email("SELECT * FROM users WHERE email = :email"), "`lookup.email` can't be asked"),
        (Queries { unverify: Some("UPDATE users SET verified = 0".to_owned()), ..all() }, "`unverify` has 0 parameters, not 1 or 2"),
        (
            Queries { lookup: [(Identifies::Username, lookup("username"))].into(), ..all() },
            "`unverify` needs `lookup.id` or `lookup.email`",
        ),
        (Queries { page: Some("SELECT * FROM users LIMIT $1".to_owned()), ..all() }, "`page` has 1 parameters, not 2"),
        (Queries { page: Some("SELECT id FROM users WHERE id > $1 LIMIT $2".to_owned()), ..all() }, "`page` has no column `email`"),
        (queries(IdKind::Text), "account of unknown key: column `id` holds an integer, which is no key where `directory.id` is \"text\""),
    ] {
        let error = file.directory(queries).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error} is not: {message}");
    }
    file.run("UPDATE users SET verified_at = 'yesterday'").await;
    let error = file.directory(all()).await.unwrap_err();
    assert_eq!(error.to_string(), "account 1: column `verified_at` holds a text that is no timestamp");
}

#[tokio::test]
async fn an_account_has_as_many_rows_as_addresses_and_each_is_found_once() {
    let schema = "CREATE TABLE emails (user INTEGER, email TEXT, verified INT); \
        INSERT INTO emails VALUES (1, 'a@example.com', 1), (1, 'b@example.com', 0), (2, 'c@example.com', 1)";
    let file = File::create(schema).await;
    let select = "SELECT user AS id, email, verified, NULL AS verified_at FROM emails WHERE";
    let lookup =
        [(Identifies::Username, format!("{select} user = (lower($1) = 'jo')")), (Identifies::Id, format!("{select} user = $1"))].into();
    // One parameter: the reason is not asked for.
    let unverify = Some("UPDATE emails SET verified = 0 WHERE user = $1".to_owned());
    let directory = file.directory(Queries { lookup, unverify, ..Queries::default() }).await.unwrap();
    let found = directory.find(&named(Identifies::Username, "Jo")).await.unwrap();
    assert_eq!(found.iter().map(|account| account.email.as_str()).collect::<Vec<_>>(), ["a@example.com", "b@example.com"]);
    assert!(!directory.unverify(&found[1], Reason::DomainExpired).await.unwrap());
    assert!(directory.unverify(&found[0], Reason::DomainExpired).await.unwrap());
    assert_eq!(file.text("SELECT group_concat(verified) FROM emails").await, "0,0,1");
    assert!(matches!(directory.page(None, 1).await, Err(DirectoryError::NoQuery("page"))));
}

#[tokio::test]
async fn a_verification_is_taken_away_once_and_only_as_it_was_read() {
    let file = File::users("INTEGER", &[&format!("1, 'a@example.com', 1, '{AT}'")]).await;
    let mut by_email = queries(IdKind::Integer);
    by_email.lookup.remove(&Identifies::Id);
    for queries in [queries(IdKind::Integer), by_email] {
        file.run("UPDATE users SET verified = 1").await;
        let directory = file.directory(queries).await.unwrap();
        let before = directory.find(&named(Identifies::Email, "a@example.com")).await.unwrap().remove(0);
        for change in ["verified_at = '2025-01-01'", "email = 'b@example.com'", "verified_at = NULL"] {
            file.run(&format!("UPDATE users SET email = 'a@example.com', verified_at = '{AT}'; UPDATE users SET {change}")).await;
            assert!(!directory.unverify(&before, Reason::DomainExpired).await.unwrap(), "{change}");
        }
        file.run(&format!("UPDATE users SET verified_at = '{AT}'")).await;
        let taken = futures_util::future::join_all((0..8).map(|_| {
            let (directory, before) = (directory.clone(), before.clone());
            tokio::spawn(async move { directory.unverify(&before, Reason::DomainRedemption).await.unwrap() })
        }))
        .await;
        assert_eq!(taken.into_iter().filter(|taken| *taken.as_ref().unwrap()).count(), 1);
    }
}

/// An account without an address is listed, so that a sweep goes on, and vouched for by no domain.
#[tokio::test]
async fn an_account_without_an_address_stops_nothing() {
    let file = File::users("INTEGER", &["1, NULL, 1, NULL", "2, 'a@example.com', 1, NULL"]).await;
    let directory = file.directory(queries(IdKind::Integer)).await.unwrap();
    let page = directory.page(None, 10).await.unwrap();
    assert_eq!(page.iter().map(|account| account.email.as_str()).collect::<Vec<_>>(), ["", "a@example.com"]);
}

/// One row that can't be read hides none of those after it, and what is found or changed is still read strictly.
#[tokio::test]
async fn an_account_that_cannot_be_read_is_listed_as_not_verified() {
    let unreadable = ["2, 'b@example.com', 'yes', NULL", "3, 'c@example.com', 1, '0000-00-00'", "4, x'ff', 1, NULL"];
    let rows = ["1, 'a@example.com', 1, NULL", unreadable[0], unreadable[1], unreadable[2], "5, 'e@example.com', 1, NULL"];
    let file = File::users("INTEGER", &rows).await;
    let directory = file.directory(queries(IdKind::Integer)).await.unwrap();
    let page = directory.page(None, 10).await.unwrap();
    let listed: Vec<_> = page.iter().map(|account| (account.id.as_str(), account.email.as_str(), account.verified)).collect();
    assert_eq!(listed, [("1", "a@example.com", true), ("2", "", false), ("3", "", false), ("4", "", false), ("5", "e@example.com", true)]);
    assert!(page.iter().all(|account| account.verified_at.is_none()));
    assert_eq!(pages(&directory).await, ["1", "2", "3", "4", "5"]);
    for (id, unreadable) in [("2", "verified"), ("3", "verified_at"), ("4", "email")] {
        let error = directory.find(&named(Identifies::Id, id)).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Unreadable { column, .. } if column == unreadable), "{id}: {error}");
        let read = Account { id: id.into(), email: "a@example.com".to_owned(), verified: true, verified_at: None };
        assert!(directory.unverify(&read, Reason::DomainExpired).await.is_err(), "{id}");
    }

    let file = File::users("ANY", &["1, 'a@example.com', 1, NULL"]).await;
    let directory = file.directory(queries(IdKind::Integer)).await.unwrap();
    file.run("INSERT INTO users (id, email, verified) VALUES ('x', 'b@example.com', 1)").await;
    assert!(matches!(directory.page(None, 10).await, Err(DirectoryError::Unreadable { column: "id", .. })));
}

/// An empty page would say that there are no more accounts.
#[tokio::test]
async fn a_page_after_what_is_no_key_is_an_error() {
    for (kind, column, others) in [
        (IdKind::Integer, "INTEGER", &["", "042", "x", "9223372036854775808"][..]),
        (IdKind::Text, "TEXT", &[""]),
        (IdKind::Uuid, "TEXT", &["", "42"]),
    ] {
        let directory = File::users(column, &[]).await.directory(queries(kind)).await.unwrap();
        for other in others {
            let page = directory.page(Some(&(*other).into()), 10).await;
            assert!(matches!(&page, Err(DirectoryError::NoKey(id)) if id.as_str() == *other), "{kind} {other:?}: {page:?}");
        }
    }
}
