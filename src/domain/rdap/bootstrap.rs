//! Which RDAP server is authoritative for a name (RFC 9224): IANA's bootstrap file, kept current.
//!
//! The file is loaded once at the start, where a failure is an error unless a site must start without it, and again a day later when somebody asks; while
//! that fails, the last good copy stays, and so it does while the file is unchanged (RFC 9110 §13.1). It is parsed leniently, since one bad entry must not blind us
//! to a thousand good ones. A listed domain none of whose servers may be asked, for want of https, stays listed: it has a service, and not one of another's choice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use http::header::{ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::Url;
use serde_json::Value;
use tokio::time::Instant;

use crate::address::RegistrableDomain;
use crate::domain::SourceError;
use crate::domain::client::Client;

/// IANA serves the file with `max-age=86400`.
const REFRESH_AFTER: Duration = Duration::from_secs(86_400);
const RETRY_AFTER: Duration = Duration::from_secs(600);
/// As long as there is no copy at all, nobody can be judged.
const FIRST_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Base URLs by the domain that they serve, in A-labels and lower case.
#[derive(Debug, Default)]
pub(super) struct Services(HashMap<String, Vec<Url>>);

impl Services {
    /// Reads a bootstrap file, skipping entries that are not as RFC 9224 §4 has them. `None` where nothing in it can be used.
    fn read(file: &[u8]) -> Option<Self> {
        let file: Value = serde_json::from_slice(file).ok()?;
        let mut services = Self::default();
        for service in file.get("services")?.as_array()? {
            let [labels, urls, ..] = service.as_array().map_or(&[][..], Vec::as_slice) else { continue };
            let mut urls: Vec<Url> = texts(urls).filter_map(base_url).collect();
            // RFC 9224 §4: prefer https. The order is kept otherwise.
            urls.sort_by_key(|url| url.scheme() != "https");
            for label in texts(labels) {
                services.add(label, urls.clone());
            }
        }
        (!services.0.is_empty()).then_some(services)
    }

    /// Makes `urls` the servers for `domain` and everything below it.
    pub(super) fn add(&mut self, domain: &str, urls: Vec<Url>) {
        if !urls.is_empty() {
            self.0.insert(domain.trim_matches('.').to_ascii_lowercase(), urls);
        }
    }

    /// Drops the servers that may not be asked. Gives the domains that have no other, sorted; they stay listed.
    fn retain(&mut self, permits: impl Fn(&Url) -> bool) -> Vec<&str> {
        let mut left_without = Vec::new();
        for (domain, urls) in &mut self.0 {
            urls.retain(&permits);
            if urls.is_empty() {
                left_without.push(domain.as_str());
            }
        }
        left_without.sort_unstable();
        left_without
    }

    /// The servers for `domain`, by the longest label-wise match (RFC 9224 §4). Where a registry below the top-level domain has the name, nobody above it is asked: it
    /// knows the registry's own name at most.
    pub(super) fn find(&self, domain: &RegistrableDomain) -> Option<&[Url]> {
        let (mut name, registry) = (domain.as_str(), domain.second_level_registry());
        loop {
            if let Some(urls) = self.0.get(name) {
                return Some(urls);
            }
            if registry == Some(name) {
                return None;
            }
            name = name.split_once('.')?.1;
        }
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// `text` as a base to which `domain/…` can be appended. RFC 9224 §4 wants a trailing slash; some entries lack it.
pub(super) fn base_url(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim()).ok()?;
    if url.path().ends_with('/') { Some(url) } else { Url::parse(&format!("{url}/")).ok() }
}

/// The bootstrap file at one location, a URL or a path.
#[derive(Debug)]
pub(super) struct Bootstrap {
    location: String,
    /// `None` as long as it could not be loaded.
    last: RwLock<Option<Loaded>>,
    refresh_at: Mutex<Instant>,
}

/// A file as it was loaded.
#[derive(Debug, Clone)]
struct Loaded {
    services: Arc<Services>,
    /// What asks for the file only where it is another by now.
    conditions: HeaderMap,
}

impl Bootstrap {
    /// Loads the file. Where it is elsewhere and can't be had now, that is an error unless `starts_without` it.
    pub(super) async fn load(location: String, starts_without: bool, client: &Client) -> Result<Arc<Self>, SourceError> {
        let (last, refresh_after) = match load(&location, None, client).await {
            Ok(loaded) => (Some(loaded), REFRESH_AFTER),
            Err(error) if starts_without && location.contains("://") => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the RDAP bootstrap file can't be had, so no domain can be looked up yet"
                );
                (None, FIRST_RETRY_AFTER)
            }
            Err(error) => return Err(error),
        };
        Ok(Arc::new(Self { location, last: RwLock::new(last), refresh_at: Mutex::new(Instant::now() + refresh_after) }))
    }

    /// The services as last loaded. Once a day, or soon where there are none yet, this starts a reload, which no caller waits for.
    pub(super) fn services(self: &Arc<Self>, client: &Client) -> Result<Arc<Services>, SourceError> {
        if self.claim_refresh() {
            let (this, client) = (Arc::clone(self), client.clone());
            tokio::spawn(async move { this.refresh(&client).await });
        }
        self.loaded()
    }

    /// The services as last loaded, without looking whether that is long ago.
    pub(super) fn loaded(&self) -> Result<Arc<Services>, SourceError> {
        let services = self.last().map(|last| last.services);
        services.ok_or_else(|| SourceError::Unusable { url: self.location.clone(), what: "the bootstrap file could not be loaded yet" })
    }

    fn last(&self) -> Option<Loaded> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a reload is due and this caller is the one to do it.
    fn claim_refresh(&self) -> bool {
        let mut refresh_at = self.refresh_at.lock().unwrap_or_else(PoisonError::into_inner);
        let due = *refresh_at <= Instant::now();
        if due {
            let is_there = self.last.read().unwrap_or_else(PoisonError::into_inner).is_some();
            *refresh_at = Instant::now() + if is_there { RETRY_AFTER } else { FIRST_RETRY_AFTER };
        }
        due
    }

    async fn refresh(&self, client: &Client) {
        match load(&self.location, self.last(), client).await {
            Ok(loaded) => {
                *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
                *self.refresh_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + REFRESH_AFTER;
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the RDAP bootstrap file could not be loaded anew; the last good copy stays, if there is one"
            ),
        }
    }
}

/// Loads the file, or gives `last` back where it is still the same.
async fn load(location: &str, last: Option<Loaded>, client: &Client) -> Result<Loaded, SourceError> {
    let (file, conditions) = match Url::parse(location) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            let asked = last.as_ref().map(|last| last.conditions.clone()).unwrap_or_default();
            let is_conditional = !asked.is_empty();
            let answer = client.get_with(&url, "application/json", asked).await?;
            match (answer.status, last) {
                (200, _) => (answer.body, conditions(&answer.headers)),
                (304, Some(last)) if is_conditional => return Ok(last),
                (status, _) => {
                    return Err(SourceError::Refused { url: location.to_owned(), status, retry_after: answer.retry_after });
                }
            }
        }
        _ => {
            let file = tokio::fs::read(location).await;
            let file = file.map_err(|source| SourceError::Transport { url: location.to_owned(), source: source.into() })?;
            (file.into(), HeaderMap::new())
        }
    };
    let unusable = || SourceError::Unusable { url: location.to_owned(), what: "not a bootstrap file as in RFC 9224" };
    let mut services = Services::read(&file).ok_or_else(unusable)?;
    let left_without = services.retain(|url| client.permits(url));
    if !left_without.is_empty() {
        tracing::warn!(
            count = left_without.len(),
            domains = left_without.join(" "),
            "the RDAP bootstrap file names no server for these that is https on a public address, so they can't be looked up"
        );
    }
    Ok(Loaded { services: Arc::new(services), conditions })
}

/// The conditions under which what was answered with `headers` is to be sent again (RFC 9110 §13.1.2, §13.1.3).
fn conditions(headers: &HeaderMap) -> HeaderMap {
    [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)]
        .into_iter()
        .filter_map(|(validator, condition)| Some((condition, headers.get(validator)?.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client::Pace;

    fn found(services: &Services, domain: &str) -> Option<String> {
        services.find(&RegistrableDomain::of(domain).unwrap()).map(|urls| urls[0].to_string())
    }

    #[test]
    fn the_longest_match_by_labels_wins() {
        let file = br#"{"services":[[["uk"],["https://uk.example/"]],[["co.uk","ORG.UK"],["https://co.example/rdap"]]],"more":1}"#;
        let services = Services::read(file).unwrap();
        assert_eq!(found(&services, "example.co.uk").unwrap(), "https://co.example/rdap/");
        assert_eq!(found(&services, "example.org.uk").unwrap(), "https://co.example/rdap/");
        assert_eq!(found(&services, "example.me.uk").unwrap(), "https://uk.example/");
        assert_eq!(found(&services, "exampleco.uk").unwrap(), "https://uk.example/");
        assert_eq!(found(&services, "example.com"), None);
    }

    #[test]
    fn nobody_above_a_registry_is_asked_about_its_names() {
        let file = br#"{"services":[[["com"],["https://com.example/"]],[["eu.com"],["https://eu.example/"]]]}"#;
        let services = Services::read(file).unwrap();
        assert_eq!(found(&services, "example.uk.com"), None);
        assert_eq!(found(&services, "example.eu.com").unwrap(), "https://eu.example/");
        assert_eq!(found(&services, "uk.com").unwrap(), "https://com.example/", "that name is registered in com");
        assert_eq!(found(&services, "notuk.com").unwrap(), "https://com.example/");
    }

    #[test]
    fn of_several_servers_one_with_https_is_asked_first_and_no_other_where_that_is_not_permitted() {
        let file = br#"{"services":[[["com"],["http://a.example/","https://b.example/","https://c.example/"]],[["kg","MG"],["http://d.example/"]]]}"#;
        let mut services = Services::read(file).unwrap();
        assert_eq!(found(&services, "example.com").unwrap(), "https://b.example/");
        assert_eq!(services.retain(|url| url.scheme() == "https"), ["kg", "mg"]);
        assert_eq!(services.find(&RegistrableDomain::of("example.com").unwrap()).unwrap().len(), 2);
        assert_eq!(services.find(&RegistrableDomain::of("example.kg").unwrap()), Some(&[][..]), "it is listed all the same");
    }

    #[test]
    fn one_bad_entry_hides_no_good_one() {
        let file = br#"{"services":[null,[],[["net"]],[["org"],["not a url"]],[["de"],[7,"https://de.example"]],[["com",5],["https://com.example/"]]]}"#;
        let services = Services::read(file).unwrap();
        assert_eq!(found(&services, "example.com").unwrap(), "https://com.example/");
        assert_eq!(found(&services, "example.de").unwrap(), "https://de.example/");
        assert_eq!(found(&services, "example.org"), None);
        assert!(Services::read(b"{}").is_none() && Services::read(b"[]").is_none() && Services::read(b"<html>").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_later_it_is_loaded_anew_and_a_bad_copy_replaces_no_good_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |base: &str| std::fs::write(file.path(), format!(r#"{{"services":[[["com"],["{base}"]]]}}"#)).unwrap();
        write("https://one.example/");
        let client = Client::new(false, Pace::default()).unwrap();
        let bootstrap = Bootstrap::load(file.path().display().to_string(), false, &client).await.unwrap();
        let current = || found(&bootstrap.services(&client).unwrap(), "example.com").unwrap();

        write("https://two.example/");
        tokio::time::advance(REFRESH_AFTER - Duration::from_secs(60)).await;
        assert_eq!(current(), "https://one.example/");
        tokio::time::advance(Duration::from_secs(60)).await;
        while current() != "https://two.example/" {
            tokio::task::yield_now().await;
        }

        std::fs::write(file.path(), "<html>").unwrap();
        tokio::time::advance(REFRESH_AFTER).await;
        assert!(bootstrap.claim_refresh());
        bootstrap.refresh(&client).await;
        assert_eq!(current(), "https://two.example/");
        assert!(!bootstrap.claim_refresh(), "the next try is some minutes off");
        tokio::time::advance(RETRY_AFTER).await;
        assert!(bootstrap.claim_refresh());
    }
}
