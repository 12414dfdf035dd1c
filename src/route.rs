//! Which requests are recovery requests: a [`Guard`] names them by path and method.
//!
//! What an application might take for a guarded request is judged, however it is spelled:
//!
//! 1. Paths are compared in every way in which servers read them, the strict and the lenient: see the file `route/path.rs`.
//! 2. Methods are compared in any case. A method override of a POST counts as both methods.
//! 3. Every guard that matches judges the request, and each may block it.
//! 4. A path that is long and odd, and so would take long to read in every way, counts as that of every guard, and is refused.
//! 5. A connection is not turned into a tunnel (an upgrade, CONNECT) by a request for a guarded path.
//!
//! What a deployment can break: the path is compared as this layer sees it. Inside a nested router that strips a prefix, guards are written
//! without the prefix.

mod path;

use std::cell::LazyCell;
use std::collections::HashMap;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request};
use hyper::upgrade::OnUpgrade;
use percent_encoding::percent_decode_str;

use self::path::{ENCODED_SLASH, Reading, fold, readings};

pub(crate) use self::path::is_readable;
use crate::clock::Clock;
use crate::identifier::Identifies;
use crate::limit::{Counter, Limit};
use crate::target::{Decode, Missing, Target};

/// How many bytes of body a guarded request may have by default.
const BODY_LIMIT: usize = 64 * 1024;

/// Headers by which a POST may stand for another method.
const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Why a guard can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not a path that can be guarded: {what}")]
pub struct GuardError {
    path: String,
    what: String,
}

/// One recovery endpoint: which requests are for it, and where they name the account.
#[derive(Debug, Clone)]
pub struct Guard {
    pattern: Pattern,
    methods: Option<Vec<Method>>,
    pub(crate) targets: Vec<Target>,
    pub(crate) missing: Missing,
    pub(crate) identifies: Identifies,
    pub(crate) decode: Option<Decode>,
    pub(crate) body_limit: usize,
    limit: Option<Limit>,
    /// What counts requests against the limit. It begins to with the layer.
    pub(crate) counter: Option<Counter>,
    pub(crate) host: Option<HeaderValue>,
}

impl Guard {
    /// Guards `path`, in the syntax of `matchit` (`/reset/{name}`, `/account/{*rest}`), for every method but GET, HEAD and OPTIONS.
    ///
    /// # Errors
    /// Where `path` does not begin with a slash, or is not of that syntax.
    pub fn new(path: &str) -> Result<Self, GuardError> {
        let pattern = Pattern::new(path).map_err(|what| GuardError { path: path.to_owned(), what })?;
        Ok(Self {
            pattern,
            methods: None,
            targets: Vec::new(),
            missing: Missing::default(),
            identifies: Identifies::default(),
            decode: None,
            body_limit: BODY_LIMIT,
            limit: None,
            counter: None,
            host: None,
        })
    }

    /// Guards `path` for every method but GET, HEAD and OPTIONS.
    ///
    /// # Panics
    /// Where `path` is no path that can be guarded. It is a literal of the program, so this shows at its first start;
    /// for a path that comes from elsewhere use [`Guard::new`].
    #[must_use]
    pub fn path(path: &'static str) -> Self {
        #[expect(clippy::panic, reason = "a literal of the program's own, as in `HeaderName::from_static`")]
        Self::new(path).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Guards `path` for POST.
    ///
    /// # Panics
    /// As [`Guard::path`].
    #[must_use]
    pub fn post(path: &'static str) -> Self {
        Self::path(path).methods([Method::POST])
    }

    /// Guards these methods, in any case, instead.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = Some(methods.into_iter().collect());
        self
    }

    /// Adds a place where the request may name the account. All places are examined; a request may leave any of them out, but not all.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// What to do with a request that names nobody. It is refused by default.
    #[must_use]
    pub const fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// Which of an account's names stands in the targets. Its address by default.
    #[must_use]
    pub const fn identifies(mut self, identifies: Identifies) -> Self {
        self.identifies = identifies;
        self
    }

    /// How the name is encoded in what stands in the targets. It stands there plainly by default.
    #[must_use]
    pub fn decode(mut self, decode: Decode) -> Self {
        self.decode = Some(decode);
        self
    }

    /// How many requests for one account are let through. As many as come, by default.
    #[must_use]
    pub const fn limit(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The host that the application sees in this endpoint's requests, whatever the caller sent: `example.org`, with a port where it is not the scheme's.
    /// An application that builds the links it mails from `Host` or `X-Forwarded-Host` would mail a caller's choice of link otherwise.
    #[must_use]
    pub fn host(mut self, host: HeaderValue) -> Self {
        self.host = Some(host);
        self
    }

    /// How many bytes the body may have. 64 KiB by default.
    #[must_use]
    pub const fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Whether a request of this method is for this guard.
    pub(crate) fn covers(&self, method: &Method) -> bool {
        let is = |one: &Method| one.as_str().eq_ignore_ascii_case(method.as_str());
        match &self.methods {
            None => !is_safe(method),
            // What answers GET answers HEAD too (RFC 9110 §9.3.2), and what CONNECT opens can't be judged.
            Some(methods) => {
                methods.iter().any(|one| is(one) || (one.as_str().eq_ignore_ascii_case("GET") && is(&Method::HEAD))) || is(&Method::CONNECT)
            }
        }
    }

    /// Whether the path has a parameter of this name.
    #[cfg(feature = "cli")]
    pub(crate) fn has_parameter(&self, name: &str) -> bool {
        [format!("{{{name}}}"), format!("{{*{name}}}")].iter().any(|parameter| self.pattern.text.contains(parameter))
    }

    /// Whether a JSON number is a name. No address is one.
    pub(crate) fn counts_numbers(&self) -> bool {
        self.identifies != Identifies::Email
    }

    /// Whether `other` limits the same requests alike, by whatever names are in them.
    pub(crate) fn limits_like(&self, other: &Self) -> bool {
        self.pattern.text == other.pattern.text && self.methods == other.methods && self.limit == other.limit
    }

    /// Whether `other` also reads the same names from them.
    pub(crate) fn names_like(&self, other: &Self) -> bool {
        self.limits_like(other) && self.identifies == other.identifies && self.targets == other.targets
    }

    fn covers_a_safe_method(&self) -> bool {
        self.methods.as_ref().is_some_and(|methods| methods.iter().any(is_safe))
    }

    /// What `name` stands for in the path, once for each way of reading it.
    pub(crate) fn path_parameters(&self, path: &str, name: &str) -> Vec<String> {
        readings(path).iter().filter_map(|reading| self.pattern.parameter(reading, name)).collect()
    }

    /// The bytes of `path` that `value` stands in as the parameter `name`. `None` where the path is not spelled plainly enough to tell.
    pub(crate) fn span_in_path(&self, path: &str, name: &str, value: &str) -> Option<Range<usize>> {
        self.pattern.span(path, name).filter(|span| path.get(span.clone()).is_some_and(|raw| is_written(raw, value)))
    }
}

/// The methods that ask for nothing to be done (RFC 9110 §9.2.1, without TRACE), in any case.
fn is_safe(method: &Method) -> bool {
    match *method {
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE => false,
        Method::GET | Method::HEAD | Method::OPTIONS => true,
        _ => ["GET", "HEAD", "OPTIONS"].iter().any(|safe| method.as_str().eq_ignore_ascii_case(safe)),
    }
}

/// As [`Guard::new`].
impl FromStr for Guard {
    type Err = GuardError;

    fn from_str(path: &str) -> Result<Self, GuardError> {
        Self::new(path)
    }
}

/// What a request is to a set of guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concern {
    /// Nothing.
    None,
    /// Not a recovery request, but it asks to turn its connection into something that could carry one.
    Tunnel,
    /// It may be a recovery request.
    Recovery,
}

/// All guards of a layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guards {
    guards: Vec<Guard>,
    /// Which of them may have a path that begins with this segment, so that a path is compared with few.
    by_first_segment: HashMap<String, Vec<usize>, foldhash::fast::RandomState>,
    /// Which may have one that begins with any other: they have a parameter there.
    with_any_first_segment: Vec<usize>,
    cover_a_safe_method: bool,
}

impl Guards {
    pub(crate) fn push(&mut self, mut guard: Guard, clock: Arc<dyn Clock>) {
        guard.counter = guard.counter.or_else(|| guard.limit.map(|limit| Counter::new(limit, clock)));
        self.cover_a_safe_method |= guard.covers_a_safe_method();
        let at = self.guards.len();
        let first = first_segment(&guard.pattern.text);
        if first.contains(['{', '}']) {
            self.by_first_segment.values_mut().chain([&mut self.with_any_first_segment]).for_each(|guards| guards.push(at));
        } else {
            self.by_first_segment.entry(first.to_owned()).or_insert_with(|| self.with_any_first_segment.clone()).push(at);
        }
        self.guards.push(guard);
    }

    /// All of them, with what they have counted.
    pub(crate) fn all(&self) -> Vec<Guard> {
        self.guards.clone()
    }

    /// Decides, without allocating for a path in plain spelling, whether the request has to be looked at.
    #[inline]
    pub(crate) fn concern<B>(&self, request: &Request<B>) -> Concern {
        // The server leaves this where the caller asks for an upgrade; without it, nobody can take the connection over.
        let is_upgrade = request.extensions().get::<OnUpgrade>().is_some();
        let is_usual = *request.method() == Method::GET && !self.cover_a_safe_method && !is_upgrade;
        if is_usual { Concern::None } else { self.concern_at(request.uri().path(), request.method(), is_upgrade) }
    }

    fn concern_at(&self, path: &str, method: &Method, is_upgrade: bool) -> Concern {
        if !is_upgrade && !self.cover_a_safe_method && is_safe(method) {
            return Concern::None;
        }
        // A POST may stand for another method.
        let judges = |guard: &Guard| guard.covers(method) || is_post(method);
        let (mut is_judged, mut is_guarded) = (false, false);
        self.visit(path, |guard| {
            is_judged |= judges(guard);
            is_guarded = true;
        });
        match (is_judged, is_guarded && is_upgrade) {
            (true, _) => Concern::Recovery,
            (false, true) => Concern::Tunnel,
            (false, false) => Concern::None,
        }
    }

    /// The guards whose path this may be: all of them where it is not [readable](is_readable).
    pub(crate) fn at(&self, path: &str) -> Vec<&Guard> {
        let mut guards = Vec::new();
        self.visit(path, |guard| guards.push(guard));
        guards
    }

    fn visit<'g>(&'g self, path: &str, mut visit: impl FnMut(&'g Guard)) {
        if let Some(path) = path::plain(path) {
            let alike = self.by_first_segment.get(first_segment(path)).unwrap_or(&self.with_any_first_segment);
            let guards = alike.iter().filter_map(|at| self.guards.get(*at));
            return guards.filter(|guard| guard.pattern.is(path)).for_each(visit);
        }
        if !is_readable(path) {
            return self.guards.iter().for_each(visit);
        }
        let readings = readings(path);
        let matches = |guard: &&Guard| readings.iter().any(|reading| guard.pattern.matches(reading));
        self.guards.iter().filter(matches).for_each(&mut visit);
    }
}

/// What stands between the first two slashes of `path`.
fn first_segment(path: &str) -> &str {
    let rest = path.strip_prefix('/').unwrap_or(path);
    // Segments are short, so that bytes are quicker than a search.
    rest.bytes().position(|byte| byte == b'/').and_then(|end| rest.get(..end)).unwrap_or(rest)
}

/// Those of `guards` that judge a request whose query and form hold these values of `_method`.
pub(crate) fn judging<'g>(guards: &[&'g Guard], parts: &Parts, fields: &[&str]) -> impl Iterator<Item = &'g Guard> {
    // Most guards cover the request's own method, and then nobody needs to know the others.
    let others = LazyCell::new(move || overrides(&parts.method, &parts.headers, fields));
    guards.iter().copied().filter(move |guard| guard.covers(&parts.method) || others.iter().any(|other| guard.covers(other)))
}

pub(crate) fn is_post(method: &Method) -> bool {
    *method == Method::POST || method.as_str().eq_ignore_ascii_case("POST")
}

/// The methods that a request with these headers and values of `_method` counts as besides its own, if it is a POST.
fn overrides(method: &Method, headers: &HeaderMap, fields: &[&str]) -> Vec<Method> {
    if !is_post(method) {
        return Vec::new();
    }
    // CGI and its heirs make one of `_` and `-` in a header's name.
    let is_override = |name: &str| OVERRIDES.contains(&name.replace('_', "-").as_str());
    let headers = headers.iter().filter(|(name, _)| is_override(name.as_str())).filter_map(|(_, value)| value.to_str().ok());
    let named = headers.flat_map(|value| value.split(',')).chain(fields.iter().copied());
    named.filter_map(|name| Method::from_bytes(name.trim().to_ascii_uppercase().as_bytes()).ok()).collect()
}

/// Whether `raw` is `value`, percent-encoded or not.
fn is_written(raw: &str, value: &str) -> bool {
    percent_decode_str(raw).decode_utf8().is_ok_and(|decoded| decoded == value)
}

/// A path pattern, in lower case but for the names of its parameters.
#[derive(Debug, Clone)]
struct Pattern {
    /// What stands before the first parameter, or all there is, which then needs no router.
    literal: String,
    is_literal: bool,
    /// All of it.
    text: String,
    /// A parameter takes all of its segment, dots included.
    ends_in_parameter: bool,
    router: matchit::Router<()>,
}

impl Pattern {
    fn new(path: &str) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err("it does not begin with a slash".to_owned());
        }
        if path.contains(['%', '?', '#', '\\']) || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("it is compared decoded and without query, so it holds no `%`, `?`, `#`, `\\` or blank".to_owned());
        }
        if path.contains("//") || path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err("it is compared without empty and dot segments, so it has none".to_owned());
        }
        let trimmed = path.trim_end_matches('/');
        let path = if trimmed.is_empty() { "/" } else { trimmed };
        let (mut folded, mut in_parameter) = (String::with_capacity(path.len()), false);
        for c in path.chars() {
            in_parameter = (in_parameter || c == '{') && c != '}';
            folded.push(if in_parameter { c } else { fold(c) });
        }
        let mut router = matchit::Router::new();
        router.insert(folded.as_str(), ()).map_err(|error| error.to_string())?;
        let literal = folded.split(['{', '}']).next().unwrap_or_default().to_owned();
        Ok(Self { is_literal: literal == folded, ends_in_parameter: folded.ends_with('}'), literal, text: folded, router })
    }

    fn matches(&self, reading: &Reading<'_>) -> bool {
        self.is(&reading.folded) || (reading.has_other_ends && !self.ends_in_parameter && reading.other_ends().any(|path| self.is(path)))
    }

    fn is(&self, folded: &str) -> bool {
        if self.is_literal { self.literal == folded } else { folded.starts_with(&self.literal) && self.router.at(folded).is_ok() }
    }

    /// Where the parameter `name` stands in a path of as many segments as the pattern has.
    fn span(&self, path: &str, name: &str) -> Option<Range<usize>> {
        let catch_all = format!("{{*{name}}}");
        let (before, after) = self.text.split_once(&format!("{{{name}}}")).or_else(|| self.text.split_once(&catch_all))?;
        let takes_all = self.text.contains(&catch_all);
        let is_alone = |other: &str| !other.contains('{');
        let (lead, prefix) = before.rsplit_once('/')?;
        let (suffix, rest) = after.split_once('/').map_or((after, ""), |(suffix, rest)| (suffix, rest));
        let segments = |text: &str| text.split('/').filter(|segment| !segment.is_empty()).count();
        let path = path.trim_end_matches('/');
        let is_as_long = segments(path) == segments(lead) + 1 + segments(rest) || (takes_all && segments(path) > segments(lead));
        if !is_alone(prefix) || !is_alone(suffix) || path.contains("//") || !is_as_long {
            return None;
        }
        let mut start = 1;
        for segment in path.get(1..)?.split('/').take(segments(lead)) {
            start += segment.len() + 1;
        }
        let end = path.get(start..)?.find('/').filter(|_| !takes_all).map_or(path.len(), |length| start + length);
        let span = start + prefix.len()..end.checked_sub(suffix.len())?;
        (span.start < span.end).then_some(span)
    }

    fn parameter(&self, reading: &Reading<'_>, name: &str) -> Option<String> {
        let folded: &str = &reading.folded;
        let in_path = |path| self.router.at(path).ok().and_then(|found| found.params.get(name));
        let value = in_path(folded).or_else(|| {
            let mut others = reading.other_ends().filter(|_| reading.has_other_ends && !self.ends_in_parameter);
            others.find_map(in_path)
        })?;
        // The router saw the path in lower case; the value stands at the same characters of the path as it was spelled.
        let before = folded.get(..(value.as_ptr() as usize).checked_sub(folded.as_ptr() as usize)?)?.chars().count();
        let spelled = reading.spelled.chars().skip(before).take(value.chars().count());
        Some(spelled.map(|c| if c == ENCODED_SLASH { '/' } else { c }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn guards(guard: Guard) -> Guards {
        let mut guards = Guards::default();
        guards.push(guard, Arc::new(SystemClock));
        guards
    }

    fn concern(guards: &Guards, method: &str, path: &str) -> Concern {
        guards.concern(&Request::builder().method(method).uri(path).body(()).unwrap())
    }

    #[test]
    fn a_path_is_guarded_however_it_is_spelled() {
        let guards = guards(Guard::post("/Accounts/password-reset/"));
        for path in [
            "/accounts/password-reset",
            "/accounts/password-reset/",
            "/accounts/password-reset?x=1",
            "/ACCOUNTS/Password-Reset",
            "//accounts//password-reset//",
            "/accounts/./password-reset",
            "/x/../accounts/password-reset",
            "/accounts/password-reset/x/..",
            "/accounts/password%2Dreset",
            "/%61ccounts/password-reset",
            "/accounts%2fpassword-reset",
            "/accounts%5Cpassword-reset",
            "/accounts/%2e/password-reset",
            "/x/%2E%2e/accounts/password-reset",
            "/accounts/password-reset;jsessionid=1",
            "/accounts;a=b/password-reset",
            "/x/..;/accounts/password-reset",
            "/accounts/password-reset%3bx",
            "/accounts/password-reset%00.css",
            "/accounts/password-reset.json",
            "/accounts/password-reset.%6Ason",
            "/accounts/password-reset%0a",
            "/accounts/password-reset/%0A",
            "/accounts/password-reset%20",
            "/accounts/password-reset.",
            "/index.php/accounts/password-reset",
            "/accounts/password-reset/x.php/..",
            "/accounts//../password-reset",
            "/x%2fy/../accounts%2fpassword-reset",
            "/x%2f/../accounts/password-reset//../%2f",
            "/accounts/%2f../password-reset",
            "/accounts/..;/../accounts/password-reset",
            "/(S(x))/accounts/password-reset",
            "/accounts/password-reset/%5c..\\..",
            "/accounts/password-reset/%2e/..",
            "http://other.example/accounts/password-reset",
        ] {
            assert_eq!(concern(&guards, "POST", path), Concern::Recovery, "{path}");
        }
        for path in [
            "/",
            "/accounts",
            "/accounts/password-reset/done",
            "/accounts/password-resets",
            "/accounts/password%252Dreset",
            "/x/accounts/password-reset",
        ] {
            assert_eq!(concern(&guards, "POST", path), Concern::None, "{path}");
        }
    }

    #[test]
    fn a_path_is_compared_with_each_guard_that_it_may_be_for_in_their_order() {
        let patterns = ["/a/reset", "/{who}/reset", "/b/reset", "/a/{*rest}", "/a{who}/reset", "/", "/A/{who}"];
        let mut guards = Guards::default();
        for pattern in patterns {
            guards.push(Guard::path(pattern), Arc::new(SystemClock));
        }
        let all: Vec<&Guard> = guards.guards.iter().collect();
        for path in [
            "/a/reset",
            "/a/reset/",
            "/b/reset",
            "/c/reset",
            "/ab/reset",
            "/a/x/y",
            "/a/x",
            "/a",
            "/",
            "/x",
            "/A/reset",
            "/%61/reset",
            "//a/reset",
        ] {
            let expected = all.iter().filter(|guard| readings(path).iter().any(|reading| guard.pattern.matches(reading)));
            let texts = |guard: &&Guard| guard.pattern.text.clone();
            let found: Vec<String> = guards.at(path).iter().map(texts).collect();
            assert_eq!(found, expected.copied().map(|guard| texts(&guard)).collect::<Vec<_>>(), "{path}");
        }
        assert_eq!(guards.at("/a/reset").len(), 4);
    }

    #[test]
    fn methods_are_compared_in_any_case() {
        let any = guards(Guard::path("/reset"));
        for (method, expected) in [
            ("POST", Concern::Recovery),
            ("PUT", Concern::Recovery),
            ("post", Concern::Recovery),
            ("FOO", Concern::Recovery),
            ("GET", Concern::None),
            ("head", Concern::None),
        ] {
            assert_eq!(concern(&any, method, "/reset"), expected, "{method}");
        }
        let get = guards(Guard::path("/reset").methods([Method::GET]));
        assert_eq!(concern(&get, "GET", "/reset"), Concern::Recovery);
        assert_eq!(concern(&get, "get", "/reset"), Concern::Recovery);
        assert_eq!(concern(&get, "HEAD", "/reset"), Concern::Recovery, "what answers GET answers HEAD");
        let lower = guards(Guard::path("/reset").methods([Method::from_bytes(b"get").unwrap()]));
        assert_eq!(concern(&lower, "HEAD", "/reset"), Concern::Recovery, "in any case");
        assert_eq!(concern(&get, "CONNECT", "/reset"), Concern::Recovery, "what a tunnel carries can't be judged");
        assert_eq!(concern(&get, "OPTIONS", "/reset"), Concern::None);
        assert_eq!(concern(&get, "PUT", "/reset"), Concern::None);
    }

    #[test]
    fn an_override_of_a_post_counts_as_both_methods() {
        let put = guards(Guard::path("/reset").methods([Method::PUT]));
        let (mut parts, ()) = Request::post("/reset").body(()).unwrap().into_parts();
        assert_eq!(judging(&put.at("/reset"), &parts, &[]).count(), 0);
        assert_eq!(judging(&put.at("/reset"), &parts, &["put"]).count(), 1);
        parts.headers.append("x-http-method-override", "get".parse().unwrap());
        assert_eq!(judging(&put.at("/reset"), &parts, &[]).count(), 0);
        parts.headers.append("x_http_method_override", "Patch, Put".parse().unwrap());
        assert_eq!(judging(&put.at("/reset"), &parts, &[]).count(), 1);
        parts.method = Method::GET;
        assert_eq!(judging(&put.at("/reset"), &parts, &[]).count(), 0);
    }

    #[test]
    fn a_path_parameter_is_read_in_every_way_that_servers_read_it() {
        let guard = Guard::post("/reset/{Who}");
        let read = |path: &str| guard.path_parameters(path, "Who");
        assert_eq!(read("/reset/a@example.com"), ["a@example.com"]);
        assert_eq!(read("/reset/a@example.com."), ["a@example.com."], "a parameter takes all of its segment");
        assert_eq!(read("/Reset/A@Example.com"), ["A@Example.com"]);
        assert_eq!(read("/reset/a%40example.com/"), ["a@example.com"]);
        assert!(read("/reset/a%2Fb").contains(&"a/b".to_owned()));
        assert!(read("/reset/a;b@example.com").contains(&"a".to_owned()));
        assert!(read("/reset//a%00b").contains(&"a".to_owned()));
        assert!(read("/reset//a%00b").contains(&"a\0b".to_owned()));
        assert!(read("/reset/a;b@example.com").contains(&"a;b@example.com".to_owned()));
        assert_eq!(read("/reset/%E2%84%AA%C3%84x"), ["\u{212a}Äx"]);
    }

    #[test]
    fn a_bad_pattern_is_an_error_that_says_why() {
        for path in ["", "reset", "/reset/{", "/reset/{a}{b}", "/reset/{*rest}/more"] {
            assert!(Guard::new(path).is_err(), "{path}");
        }
    }
}
