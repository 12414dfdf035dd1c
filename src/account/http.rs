//! A directory that the application serves over HTTP, for those whose database can't be reached.
//!
//! The application answers three questions, JSON in and JSON out, by `POST` below a base address:
//!
//! | path | asked | answered |
//! |---|---|---|
//! | `find` | `{"by":"email","values":["a@example.com"]}` | `{"accounts":[{"id":"42","email":"a@example.com","verified":true,"verified_at":null}]}` |
//! | `unverify` | `{"id":"42","email":"a@example.com","verified_at":null,"reason":"domain_redemption"}` | `{"unverified":true}` |
//! | `page` | `{"after":"42","limit":500}` | `{"accounts":[…]}` |
//!
//! 1. `by` is `email`, `username`, `id` or `token`, and `values` are the spellings of one name: all accounts that have any of them are given, each once. An
//!    address is compared in any ASCII case.
//! 2. `id` is an integer or a text, and comes back as a text. `verified` is a boolean or 0 or 1. `verified_at` is RFC 3339 or SQL text (without a zone, UTC), seconds
//!    or (from 1e11) milliseconds since 1970, or `null` where it is not known. Other members are ignored.
//! 3. `unverify` changes an account only while it is verified, its address is `email` and its time of verification `verified_at`, and says whether it did.
//! 4. `page` gives at most `limit` accounts in the order of their keys, from the first on where `after` is `null`. An `after` that is no key of the application's is
//!    answered with an error, such as 400: an empty list says that there are no more accounts. In a page, an account whose key can be read but another member
//!    can't isn't verified and has no address; that is logged as an error. A member that is missing makes every answer unreadable.
//! 5. A success is 200. 501 says that the application doesn't serve a question, or finds no account by such a name.
//!
//! The server is https, or on loopback. Redirects are not followed, for a token would go with them.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::account::columns::{self, Value};
use crate::account::{Account, AccountId, Directory, DirectoryError, IdKind};
use crate::clock;
use crate::identifier::Identifier;
use crate::outbound::{self, Limits};
use crate::verdict::Reason;

const LIMITS: Limits = Limits { connect: Duration::from_secs(2), whole: Duration::from_secs(4) };
const MAX_ANSWER: usize = 1 << 20;
const MAX_PAGE: usize = 16 << 20;
const NOT_IMPLEMENTED: u16 = 501;

/// Accounts that the application serves over HTTP.
///
/// Cloning shares the connections.
#[derive(Clone)]
pub struct HttpDirectory {
    http: reqwest::Client,
    base: Url,
    authorization: Option<HeaderValue>,
    keys: IdKind,
}

/// One of the three questions.
#[derive(Clone, Copy)]
struct Question {
    path: &'static str,
    operation: &'static str,
    max_answer: usize,
}

const FIND: Question = Question { path: "find", operation: "finding accounts", max_answer: MAX_ANSWER };
const UNVERIFY: Question = Question { path: "unverify", operation: "un-verifying an account", max_answer: MAX_ANSWER };
const PAGE: Question = Question { path: "page", operation: "listing accounts", max_answer: MAX_PAGE };

#[derive(Serialize)]
struct Find<'q> {
    by: &'static str,
    values: &'q [String],
}

#[derive(Serialize)]
struct Unverify<'q> {
    id: &'q str,
    email: &'q str,
    verified_at: Option<String>,
    reason: &'static str,
}

#[derive(Serialize)]
struct Page<'q> {
    after: Option<&'q str>,
    limit: usize,
}

#[derive(Deserialize)]
struct Accounts {
    accounts: Vec<Row>,
}

/// Each member must be there, be it `null`.
#[derive(Deserialize)]
struct Row {
    id: serde_json::Value,
    email: serde_json::Value,
    verified: serde_json::Value,
    verified_at: serde_json::Value,
}

#[derive(Deserialize)]
struct Unverified {
    unverified: bool,
}

impl HttpDirectory {
    /// Asks below `base`, such as `https://app.example/gatekeeper`. Nothing is asked yet.
    ///
    /// # Errors
    /// Where `base` is no such address: neither https nor on loopback, or with a query, a fragment or credentials.
    pub fn new(base: &str) -> Result<Self, DirectoryError> {
        let unusable = |what| DirectoryError::Unusable { url: "the address of the HTTP directory".to_owned(), what };
        let mut base = Url::parse(base).map_err(|_| unusable("it is no URL"))?;
        if !is_permitted(&base) {
            return Err(unusable("it is neither https nor on loopback"));
        }
        if base.password().is_some() || !base.username().is_empty() {
            return Err(unusable("it holds credentials, whose place is a token"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(unusable("it has a query or a fragment"));
        }
        // So that what is joined to it comes after its last segment, not in its place.
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = outbound::client(LIMITS).build();
        let http = http.map_err(|error| DirectoryError::unavailable("starting the HTTP client", error))?;
        Ok(Self { http, base, authorization: None, keys: IdKind::Text })
    }

    /// What the application's keys are. Texts by default; a request that names its account by what is no such key is refused.
    #[must_use]
    pub const fn keys(mut self, kind: IdKind) -> Self {
        self.keys = kind;
        self
    }

    /// All texts under which the application may know a name.
    fn spellings(&self, identifier: &Identifier) -> Vec<String> {
        let mut spellings = identifier.spellings();
        if let (Identifier::Id(id), IdKind::Uuid) = (identifier, self.keys)
            && let Ok(uuid) = Uuid::parse_str(id.as_str())
        {
            let written = [uuid.hyphenated().to_string(), uuid.simple().to_string()];
            spellings.extend(written.iter().map(|text| text.to_ascii_uppercase()));
            spellings.extend(written);
            spellings.sort_unstable();
            spellings.dedup();
        }
        spellings
    }

    /// Sends `token` with each question, as a bearer token (RFC 6750 §2.1).
    ///
    /// # Errors
    /// Where it holds what a header can't.
    pub fn token(mut self, token: &str) -> Result<Self, DirectoryError> {
        let what = "its token holds what a header can't";
        let unusable = |_| DirectoryError::Unusable { url: self.base.to_string(), what };
        let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(unusable)?;
        header.set_sensitive(true);
        self.authorization = Some(header);
        Ok(self)
    }

    async fn ask(&self, question: Question, asked: &impl Serialize) -> Result<Bytes, DirectoryError> {
        let Question { path, operation, max_answer } = question;
        let unusable = |what| DirectoryError::Unusable { url: format!("{}{path}", self.base), what };
        let url = self.base.join(path).map_err(|_| unusable("it is no URL"))?;
        let mut request = self.http.post(url).json(asked);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(failed(operation))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(DirectoryError::Refused { url: format!("{}{path}", self.base), status });
        }
        let body = outbound::body(response, max_answer).await.map_err(failed(operation))?;
        body.ok_or_else(|| unusable("its answer is too long"))
    }

    /// `answer` as `T`. What is wrong with it is not told in detail, since that may quote it.
    fn read<T: for<'a> Deserialize<'a>>(&self, question: Question, answer: &Bytes) -> Result<T, DirectoryError> {
        let what = "its answer is not what was agreed";
        serde_json::from_slice(answer).map_err(|_| DirectoryError::Unusable { url: format!("{}{}", self.base, question.path), what })
    }
}

/// Without its token.
impl fmt::Debug for HttpDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpDirectory").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Directory for HttpDirectory {
    fn admits(&self, id: &AccountId) -> bool {
        self.keys.admits(id.as_str())
    }

    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        let asked = Find { by: identifier.kind().as_str(), values: &self.spellings(identifier) };
        let answer = self.ask(FIND, &asked).await.map_err(|error| match error {
            DirectoryError::Refused { status: NOT_IMPLEMENTED, .. } => DirectoryError::Unsupported(identifier.kind()),
            error => error,
        })?;
        self.read::<Accounts>(FIND, &answer)?.accounts.into_iter().map(account).collect()
    }

    async fn unverify(&self, account: &Account, reason: Reason) -> Result<bool, DirectoryError> {
        let verified_at = account.verified_at.and_then(clock::rfc3339_exactly);
        let asked = Unverify { id: account.id.as_str(), email: &account.email, verified_at, reason: reason.as_str() };
        let answer = self.ask(UNVERIFY, &asked).await.map_err(not_served(UNVERIFY))?;
        Ok(self.read::<Unverified>(UNVERIFY, &answer)?.unverified)
    }

    async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
        // Of what else is a key the application knows more: it may list others than those by which requests are admitted.
        if let Some(after) = after.filter(|after| after.as_str().is_empty()) {
            return Err(DirectoryError::NoKey(after.clone()));
        }
        let asked = Page { after: after.map(AccountId::as_str), limit };
        let answer = self.ask(PAGE, &asked).await.map_err(not_served(PAGE))?;
        self.read::<Accounts>(PAGE, &answer)?.accounts.into_iter().map(listed).collect()
    }
}

fn failed(operation: &'static str) -> impl FnOnce(reqwest::Error) -> DirectoryError {
    move |error| {
        if error.is_timeout() { DirectoryError::Timeout { operation } } else { DirectoryError::unavailable(operation, error.without_url()) }
    }
}

fn not_served(question: Question) -> impl FnOnce(DirectoryError) -> DirectoryError {
    move |error| match error {
        DirectoryError::Refused { status: NOT_IMPLEMENTED, .. } => DirectoryError::NoQuery(question.path),
        error => error,
    }
}

fn is_permitted(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default();
    let is_loopback = || host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match base.scheme() {
        "https" => true,
        "http" => is_loopback(),
        _ => false,
    }
}

fn account(row: Row) -> Result<Account, DirectoryError> {
    columns::account(key(&row.id)?, value(row.email), &value(row.verified), &value(row.verified_at))
}

fn listed(row: Row) -> Result<Account, DirectoryError> {
    Ok(columns::listed(key(&row.id)?, value(row.email), &value(row.verified), &value(row.verified_at)))
}

fn key(id: &serde_json::Value) -> Result<AccountId, DirectoryError> {
    match id {
        serde_json::Value::String(text) if !text.is_empty() => Ok(text.clone().into()),
        serde_json::Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string().into()),
        other => Err(columns::no_key(format!("{}, which is no key", describe(other)))),
    }
}

fn value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(boolean) => Value::Boolean(boolean),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::Integer(number),
            (None, Some(number)) => Value::Float(number),
            (None, None) => Value::Other("a number".to_owned()),
        },
        other => Value::Other(describe(&other).to_owned()),
    }
}

const fn describe(json: &serde_json::Value) -> &'static str {
    match json {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number with a fraction",
        serde_json::Value::String(_) => "a text",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}
