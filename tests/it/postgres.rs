//! The PostgreSQL directory, on a real server: the built-in table, and an application's own tables.
//!
//! The server is that of `GATEKEEPER_POSTGRES`. Each test has a schema of its own there.

use std::collections::BTreeMap;

use reset_gatekeeper::account::{Account, AccountId, Directory, DirectoryError, IdKind, PostgresDirectory, Queries};
use reset_gatekeeper::testing::time;
use reset_gatekeeper::{Identifier, Identifies, Reason};
use sqlx::{Connection, PgConnection};

pub(crate) use crate::schema::{Schema, server};

const AT: &str = "2021-05-04T10:00:00Z";
const UUIDS: [&str; 3] =
    ["00000000-0000-0000-0000-0000000000a1", "67e55044-10b1-426f-9247-bb680e5fe0c8", "f0000000-0000-0000-0000-000000000000"];

impl Schema {
    /// The table `users` of an application, whose keys are of type `id`, with these rows.
    async fn users(&mut self, id: &str, email: &str, rows: &[&str]) {
        self.run(&format!(
            "CREATE TABLE users (id {id} PRIMARY KEY, email {email}, username varchar(80), verified bool, verified_at timestamptz, why varchar(40))"
        ))
        .await;
        for row in rows {
            self.run(&format!("INSERT INTO users (id, email, verified, verified_at) VALUES ({row})")).await;
        }
    }

    async fn directory(&self, queries: Queries) -> Result<PostgresDirectory, DirectoryError> {
        PostgresDirectory::connect_with(&self.url, queries).await
    }
}

fn lookup(column: &str) -> String {
    format!("SELECT id, email, verified, verified_at FROM users WHERE {column} = $1")
}

fn queries(id: IdKind) -> Queries {
    Queries {
        lookup: [(Identifies::Email, lookup("email")), (Identifies::Username, lookup("username")), (Identifies::Id, lookup("id"))].into(),
        unverify: Some("UPDATE users SET verified = false, why = $2 WHERE id = $1".to_owned()),
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

#[tokio::test]
async fn the_built_in_table_is_made_and_used() {
    let mut schema = Schema::create().await;
    let directory = PostgresDirectory::connect(&schema.url).await.unwrap();
    PostgresDirectory::connect(&schema.url).await.unwrap();
    schema.run(&format!("INSERT INTO accounts (email, verified, verified_at) VALUES ('Jo@Example.com', true, '{AT}')")).await;
    let account = Account { id: "1".into(), email: "Jo@Example.com".to_owned(), verified: true, verified_at: Some(time(AT)) };
    let found = directory.find(&named(Identifies::Email, "jO@eXample.COM")).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&account));
    assert_eq!(directory.find(&named(Identifies::Id, "1")).await.unwrap(), found);
    assert!(matches!(directory.find(&named(Identifies::Username, "jo")).await, Err(DirectoryError::Unsupported(Identifies::Username))));
    assert!(directory.unverify(&account, Reason::DomainRedemption).await.unwrap());
    assert!(!directory.unverify(&account, Reason::DomainRedemption).await.unwrap());
    let found = directory.page(None, 10).await.unwrap();
    assert_eq!(found, [Account { verified: false, ..account }]);
    let reason: String = sqlx::query_scalar("SELECT unverified_reason FROM accounts").fetch_one(&mut schema.connection).await.unwrap();
    assert_eq!(reason, "domain_redemption");
}

/// INTERFACE §2: `id = "integer" | "text" | "uuid"`. A key that is none of its kind is nobody's, however lax the database would be.
#[tokio::test]
async fn accounts_are_found_listed_and_unverified_by_keys_of_every_type() {
    for (kind, column, ids, nobody) in [
        (IdKind::Integer, "int2", ["1", "42", "32767"], &["042", "+42", "4_2", "32768", "9223372036854775808", "x"][..]),
        (IdKind::Integer, "int4", ["1", "42", "2147483647"], &["042", "2147483648"]),
        (IdKind::Integer, "int8", ["1", "42", "9223372036854775807"], &["042", "9223372036854775808"]),
        (IdKind::Text, "text", ["042", "42", "a"], &["4", "A"]),
        (IdKind::Text, "varchar(20)", ["042", "42", "a"], &["4", "A"]),
        (IdKind::Uuid, "uuid", UUIDS, &["42", "{67e55044-10b1-426f-9247-bb680e5fe0c8}"]),
        (IdKind::Uuid, "varchar(36)", UUIDS, &["42"]),
        (IdKind::Uuid, "char(32)", UUIDS.map(|id| &*id.replace('-', "").leak()), &["42"]),
    ] {
        let mut schema = Schema::create().await;
        let rows: Vec<_> = ids.iter().map(|id| format!("'{id}', 'u{id}@example.com', true, '{AT}'")).collect();
        schema.users(column, "text", &rows.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let directory = schema.directory(queries(kind)).await.unwrap();
        assert_eq!(pages(&directory).await, ids, "{column}");
        for id in ids {
            let found = directory.find(&named(Identifies::Id, id)).await.unwrap();
            assert_eq!(found.len(), 1, "{column} {id}");
            assert_eq!(found[0].id.as_str(), id, "{column}");
            assert!(directory.unverify(&found[0], Reason::DomainExpired).await.unwrap(), "{column} {id}");
            assert!(!directory.find(&named(Identifies::Id, id)).await.unwrap()[0].verified, "{column} {id}");
        }
        for id in nobody {
            assert!(directory.find(&named(Identifies::Id, id)).await.unwrap().is_empty(), "{column} {id}");
        }
        if kind == IdKind::Uuid {
            let id = UUIDS[1].replace('-', "").to_uppercase();
            assert_eq!(directory.find(&named(Identifies::Id, &id)).await.unwrap().len(), 1, "{column}");
        }
        let why: Vec<String> = sqlx::query_scalar("SELECT why FROM users").fetch_all(&mut schema.connection).await.unwrap();
        assert_eq!(why, ["domain_expired"; 3], "{column}");
    }
}

/// A parameter that is bound as `text` turns a comparison of `citext` into one of `text`.
#[tokio::test]
async fn an_address_is_compared_as_its_column_compares() {
    let mut schema = Schema::create().await;
    let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'";
    if sqlx::query_scalar::<_, i64>(available).fetch_one(&mut schema.connection).await.unwrap() > 0 {
        // A database has an extension once, so other runs of this test wait until it is gone with the schema.
        schema.run(&format!("SELECT pg_advisory_lock(7031); CREATE EXTENSION IF NOT EXISTS citext SCHEMA {}", schema.name)).await;
        schema.users("int4", "citext", &["1, 'Jo@Example.com', true, NULL"]).await;
        let directory = schema.directory(queries(IdKind::Integer)).await.unwrap();
        let found = directory.find(&named(Identifies::Email, "jo@example.COM")).await.unwrap();
        assert_eq!(found.iter().map(|account| account.email.as_str()).collect::<Vec<_>>(), ["Jo@Example.com"]);
        // Without a lookup by key the row is read again by its address.
        let mut by_email = queries(IdKind::Integer);
        by_email.lookup.remove(&Identifies::Id);
        let directory = schema.directory(by_email).await.unwrap();
        assert!(directory.unverify(&found[0], Reason::DomainExpired).await.unwrap());
    }
    drop(schema);

    for column in ["text", "varchar(100)", "char(20)"] {
        let mut schema = Schema::create().await;
        schema.users("int4", column, &["1, 'jo@example.com', true, NULL", "2, 'Jo@example.com', true, NULL"]).await;
        let directory = schema.directory(queries(IdKind::Integer)).await.unwrap();
        // Both spellings are asked for, the requested one and that in lower case; of a third nobody knows.
        assert_eq!(directory.find(&named(Identifies::Email, "Jo@example.com")).await.unwrap().len(), 2, "{column}");
        let other = directory.find(&named(Identifies::Email, "JO@example.com")).await.unwrap();
        assert_eq!(other.iter().map(|account| account.id.as_str()).collect::<Vec<_>>(), ["1"], "{column}");
    }
}

/// INTERFACE §2: a query's columns.
#[tokio::test]
async fn every_type_of_column_is_read() {
    let schema = Schema::create().await;
    let at = Some(time(AT));
    for (verified, verified_at, expected) in [
        ("true", "timestamptz '2021-05-04 12:00:00+02'", Ok((true, at))),
        ("1", "timestamp '2021-05-04 10:00:00'", Ok((true, at))),
        ("1::int2", "timestamp '2021-05-04 10:00:00.123456'", Ok((true, Some(time("2021-05-04T10:00:00.123456Z"))))),
        ("1::int8", "date '2021-05-04'", Ok((true, Some(time("2021-05-04T00:00:00Z"))))),
        ("0", "date '1999-12-31'", Ok((false, Some(time("1999-12-31T00:00:00Z"))))),
        ("'t'::text", "timestamptz '1969-12-31 23:59:59+00'", Ok((true, Some(time("1969-12-31T23:59:59Z"))))),
        ("false", "'2021-05-04T10:00:00Z'::text", Ok((false, at))),
        ("NULL::bool", "'2021-05-04 12:00:00+02'::varchar", Ok((false, at))),
        ("NULL", "1620122400", Ok((false, at))),
        ("true", "1620122400000", Ok((true, at))),
        ("true", "1620122400::float8", Ok((true, at))),
        ("true", "1620122400.0", Ok((true, at))),
        ("true", "1620122400000.00::numeric(20, 4)", Ok((true, at))),
        ("true", "extract(epoch FROM timestamptz '2021-05-04 10:00:00+00')", Ok((true, at))),
        ("true", "NULL::timestamptz", Ok((true, None))),
        ("true", "NULL", Ok((true, None))),
        ("true", "timestamptz 'infinity'", Err("verified_at")),
        ("true", "date '-infinity'", Err("verified_at")),
        ("true", "timestamp '294276-01-01'", Err("verified_at")),
        ("true", "'secret'::text", Err("verified_at")),
        ("true", "'NaN'::numeric", Err("verified_at")),
        ("true", "'NaN'::float8", Err("verified_at")),
        ("true", "-1.5", Err("verified_at")),
        ("true", "interval '1 day'", Err("verified_at")),
        ("true", "time '10:00'", Err("verified_at")),
        ("true", "true", Err("verified_at")),
        ("2", "NULL", Err("verified")),
        ("'secret'::text", "NULL", Err("verified")),
        ("array[true]", "NULL", Err("verified")),
    ] {
        let select = format!(
            "SELECT verified, {verified_at} AS verified_at, $1::text AS email, 'x' AS other, 1 AS id FROM (SELECT {verified} AS verified) AS users"
        );
        let queries = Queries { lookup: [(Identifies::Email, select.clone())].into(), ..Queries::default() };
        let directory = schema.directory(queries).await.unwrap();
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
    let mut schema = Schema::create().await;
    schema.users("int4", "text", &["1, 'a@example.com', true, 'now'"]).await;
    type Change = fn(&mut Queries);
    let with = |change: Change| {
        let mut queries = queries(IdKind::Integer);
        change(&mut queries);
        queries
    };
    let changes: [(Change, &str); 12] = [
        (|q| q.lookup = [(Identifies::Email, "SELEC 1".to_owned())].into(), "`lookup.email` is refused"),
        (|q| q.lookup = [(Identifies::Email, "SELECT * FROM nothing WHERE a = $1".to_owned())].into(), "`lookup.email` is refused"),
        (
            |q| q.lookup = [(Identifies::Email, "SELECT id, email, verified_at FROM users WHERE email = $1".to_owned())].into(),
            "`lookup.email` has no column `verified`",
        ),
        (
            |q| q.lookup = [(Identifies::Token, "SELECT *, id FROM users WHERE username = $1".to_owned())].into(),
            "`lookup.token` has more than one column `id`",
        ),
        (|q| q.lookup = [(Identifies::Email, "SELECT * FROM users".to_owned())].into(), "`lookup.email` has 0 parameters, not 1"),
        (
            |q| q.lookup = [(Identifies::Email, "SELECT * FROM users WHERE email = $1 OR username = $2".to_owned())].into(),
            "`lookup.email` has 2 parameters, not 1",
        ),
        (|q| q.lookup = [(Identifies::Email, lookup("id"))].into(), "`lookup.email` has a `$1` of type INT4"),
        (|q| q.id = IdKind::Uuid, "`lookup.id` has a `$1` of type INT4"),
        (|q| q.unverify = Some("UPDATE users SET verified = false".to_owned()), "`unverify` has 0 parameters, not 1 or 2"),
        (|q| q.lookup = BTreeMap::from([(Identifies::Username, lookup("username"))]), "`unverify` needs `lookup.id` or `lookup.email`"),
        (|q| q.page = Some("SELECT * FROM users ORDER BY id LIMIT $1".to_owned()), "`page` has 1 parameters, not 2"),
        (|q| q.page = Some("SELECT id, email FROM users WHERE id > $1 LIMIT $2".to_owned()), "`page` has no column `verified`"),
    ];
    for (change, message) in changes {
        let error = schema.directory(with(change)).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error} is not: {message}");
        assert_eq!(std::error::Error::source(&error).is_some(), message.contains("refused"), "{error}");
    }
    schema.run("ALTER TABLE users ALTER verified_at TYPE text USING 'yesterday'").await;
    let error = schema.directory(queries(IdKind::Integer)).await.unwrap_err();
    assert_eq!(error.to_string(), "account 1: column `verified_at` holds a text that is no timestamp");
    let error = PostgresDirectory::connect("postgres://nobody:hush@127.0.0.1:1/test").await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hush"), "{error:?}");
}

#[tokio::test]
async fn what_there_is_no_query_for_is_said() {
    let mut schema = Schema::create().await;
    schema.users("int4", "text", &["1, 'a@example.com', true, NULL"]).await;
    let lookup = [(Identifies::Email, lookup("email"))].into();
    let directory = schema.directory(Queries { lookup, ..Queries::default() }).await.unwrap();
    let account = directory.find(&named(Identifies::Email, "a@example.com")).await.unwrap().remove(0);
    assert!(matches!(directory.unverify(&account, Reason::DomainExpired).await, Err(DirectoryError::NoQuery("unverify"))));
    assert!(matches!(directory.page(None, 1).await, Err(DirectoryError::NoQuery("page"))));
    assert!(matches!(directory.find(&named(Identifies::Token, "t")).await, Err(DirectoryError::Unsupported(Identifies::Token))));
}

#[tokio::test]
async fn a_username_is_found_in_all_its_spellings_and_each_account_once() {
    let mut schema = Schema::create().await;
    schema.users("int4", "text", &["1, 'a@example.com', true, NULL", "2, 'b@example.com', true, NULL"]).await;
    schema.run("UPDATE users SET username = CASE id WHEN 1 THEN 'Jo' ELSE 'jo' END").await;
    let mut queries = queries(IdKind::Integer);
    let directory = schema.directory(queries.clone()).await.unwrap();
    let found = directory.find(&named(Identifies::Username, "Ｊo")).await.unwrap();
    assert_eq!(found.len(), 2);
    queries.lookup.insert(Identifies::Username, lookup("lower(username)").replace("$1", "lower($1)"));
    let directory = schema.directory(queries).await.unwrap();
    assert_eq!(directory.find(&named(Identifies::Username, "Jo")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_verification_is_taken_away_once_and_only_as_it_was_read() {
    let mut schema = Schema::create().await;
    schema.users("int4", "text", &[&format!("1, 'a@example.com', true, '{AT}'")]).await;
    let directory = schema.directory(queries(IdKind::Integer)).await.unwrap();
    let read = || async { directory.find(&named(Identifies::Id, "1")).await.unwrap().remove(0) };
    let before = read().await;
    for change in ["verified_at = now()", "email = 'b@example.com'", "verified_at = NULL"] {
        schema.run(&format!("UPDATE users SET email = 'a@example.com', verified_at = '{AT}'; UPDATE users SET {change}")).await;
        assert!(!directory.unverify(&before, Reason::DomainExpired).await.unwrap(), "{change}");
        assert!(read().await.verified, "{change}");
    }
    for round in 0..10 {
        schema.run(&format!("UPDATE users SET email = 'a@example.com', verified = true, verified_at = '{AT}'")).await;
        let taken = futures_util::future::join_all((0..8).map(|_| {
            let (directory, before) = (directory.clone(), before.clone());
            tokio::spawn(async move { directory.unverify(&before, Reason::DomainRedemption).await.unwrap() })
        }))
        .await;
        assert_eq!(taken.into_iter().filter(|taken| *taken.as_ref().unwrap()).count(), 1, "{round}");
        assert!(!read().await.verified);
    }
}

/// The application verifies the address again between our reading and our writing.
#[tokio::test]
async fn a_change_that_comes_between_is_not_overwritten() {
    let mut schema = Schema::create().await;
    schema.users("int4", "text", &[&format!("1, 'a@example.com', true, '{AT}'")]).await;
    let directory = schema.directory(queries(IdKind::Integer)).await.unwrap();
    let before = directory.find(&named(Identifies::Id, "1")).await.unwrap().remove(0);
    let mut other = PgConnection::connect(&schema.url).await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    sqlx::query("UPDATE users SET verified_at = now()").execute(&mut *transaction).await.unwrap();
    let unverify = tokio::spawn({
        let (directory, before) = (directory.clone(), before.clone());
        async move { directory.unverify(&before, Reason::DomainExpired).await }
    });
    // Until our transaction waits for the other's.
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = 'reset-gatekeeper' AND query LIKE '%users%')";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut schema.connection).await.unwrap() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    transaction.commit().await.unwrap();
    assert!(!unverify.await.unwrap().unwrap());
    assert!(directory.find(&named(Identifies::Id, "1")).await.unwrap()[0].verified);
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_broken_off() {
    let mut schema = Schema::create().await;
    schema.users("int4", "text", &["1, 'a@example.com', true, NULL"]).await;
    let slow = "SELECT id, email, verified, verified_at FROM users, pg_sleep(60) WHERE email = $1".to_owned();
    let directory = schema.directory(Queries { lookup: [(Identifies::Email, slow)].into(), ..Queries::default() }).await.unwrap();
    let started = tokio::time::Instant::now();
    let error = directory.find(&named(Identifies::Email, "a@example.com")).await.unwrap_err();
    assert!(matches!(error, DirectoryError::Timeout { .. }), "{error:?}");
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
}

/// One row that can't be read hides none of those after it, and what is found is still read strictly.
#[tokio::test]
async fn an_account_that_cannot_be_read_is_listed_as_not_verified() {
    let mut schema = Schema::create().await;
    schema
        .users(
            "int4",
            "text",
            &["1, 'a@example.com', true, NULL", "2, 'b@example.com', true, 'infinity'", "3, 'c@example.com', true, NULL"],
        )
        .await;
    let directory = schema.directory(queries(IdKind::Integer)).await.unwrap();
    let page = directory.page(None, 10).await.unwrap();
    let listed: Vec<_> = page.iter().map(|account| (account.id.as_str(), account.email.as_str(), account.verified)).collect();
    assert_eq!(listed, [("1", "a@example.com", true), ("2", "", false), ("3", "c@example.com", true)]);
    assert_eq!(page[1].verified_at, None);
    assert_eq!(pages(&directory).await, ["1", "2", "3"]);
    let error = directory.find(&named(Identifies::Id, "2")).await.unwrap_err();
    assert!(matches!(error, DirectoryError::Unreadable { column: "verified_at", .. }), "{error}");
    let read = Account { id: "2".into(), email: "b@example.com".to_owned(), verified: true, verified_at: None };
    assert!(directory.unverify(&read, Reason::DomainExpired).await.is_err());

    let null = "SELECT NULLIF(id, 3) AS id, email, verified, verified_at FROM users WHERE id > $1 ORDER BY id LIMIT $2".to_owned();
    let directory = schema.directory(Queries { page: Some(null), ..queries(IdKind::Integer) }).await.unwrap();
    assert!(matches!(directory.page(None, 10).await, Err(DirectoryError::Unreadable { column: "id", .. })));
}

/// An empty page would say that there are no more accounts.
#[tokio::test]
async fn a_page_after_what_is_no_key_is_an_error() {
    for (kind, column, others) in [
        (IdKind::Integer, "int4", &["", "042", "x", "2147483648"][..]),
        (IdKind::Text, "text", &[""]),
        (IdKind::Uuid, "uuid", &["", "42"]),
        (IdKind::Uuid, "varchar(36)", &["", "42"]),
    ] {
        let mut schema = Schema::create().await;
        schema.users(column, "text", &[]).await;
        let directory = schema.directory(queries(kind)).await.unwrap();
        for other in others {
            let page = directory.page(Some(&(*other).into()), 10).await;
            assert!(matches!(&page, Err(DirectoryError::NoKey(id)) if id.as_str() == *other), "{column} {other:?}: {page:?}");
        }
    }
}
