//! Which RDAP server is authoritative for a name (RFC 9224): IANA's bootstrap file, kept current.
//!
//! The file is loaded once at the start, where a failure is an error unless a site must start without it, and again a day later when somebody asks; while
//! that fails, the last good copy stays. It is parsed leniently, since one bad entry must not blind us to a thousand good ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

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
            let urls: Vec<Url> = texts(urls).filter_map(base_url).collect();
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

    /// The servers for `domain`, by the longest label-wise match (RFC 9224 §4).
    pub(super) fn find(&self, domain: &RegistrableDomain) -> Option<&[Url]> {
        let mut name = domain.as_str();
        loop {
            if let Some(urls) = self.0.get(name) {
                return Some(urls);
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
    services: RwLock<Option<Arc<Services>>>,
    refresh_at: Mutex<Instant>,
}

impl Bootstrap {
    /// Loads the file. Where it is elsewhere and can't be had now, that is an error unless `starts_without` it.
    pub(super) async fn load(location: String, starts_without: bool, client: &Client) -> Result<Arc<Self>, SourceError> {
        let (services, refresh_after) = match load(&location, client).await {
            Ok(services) => (Some(Arc::new(services)), REFRESH_AFTER),
            Err(error) if starts_without && location.contains("://") => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the RDAP bootstrap file can't be had, so no domain can be looked up yet"
                );
                (None, FIRST_RETRY_AFTER)
            }
            Err(error) => return Err(error),
        };
        Ok(Arc::new(Self { location, services: RwLock::new(services), refresh_at: Mutex::new(Instant::now() + refresh_after) }))
    }

    /// The services as last loaded. Once a day, or soon where there are none yet, this starts a reload, which no caller waits for.
    pub(super) fn services(self: &Arc<Self>, client: &Client) -> Result<Arc<Services>, SourceError> {
        if self.claim_refresh() {
            let (this, client) = (Arc::clone(self), client.clone());
            tokio::spawn(async move { this.refresh(&client).await });
        }
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner).clone();
        services.ok_or_else(|| SourceError::Unusable { url: self.location.clone(), what: "the bootstrap file could not be loaded yet" })
    }

    /// Whether a reload is due and this caller is the one to do it.
    fn claim_refresh(&self) -> bool {
        let mut refresh_at = self.refresh_at.lock().unwrap_or_else(PoisonError::into_inner);
        let due = *refresh_at <= Instant::now();
        if due {
            let is_there = self.services.read().unwrap_or_else(PoisonError::into_inner).is_some();
            *refresh_at = Instant::now() + if is_there { RETRY_AFTER } else { FIRST_RETRY_AFTER };
        }
        due
    }

    async fn refresh(&self, client: &Client) {
        match load(&self.location, client).await {
            Ok(services) => {
                *self.services.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(services));
                *self.refresh_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + REFRESH_AFTER;
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the RDAP bootstrap file could not be loaded anew; the last good copy stays, if there is one"
            ),
        }
    }
}

async fn load(location: &str, client: &Client) -> Result<Services, SourceError> {
    let file = match Url::parse(location) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            let answer = client.get(&url, "application/json").await?;
            if answer.status != 200 {
                return Err(SourceError::Refused { url: location.to_owned(), status: answer.status, retry_after: answer.retry_after });
            }
            answer.body
        }
        _ => tokio::fs::read(location)
            .await
            .map_err(|source| SourceError::Transport { url: location.to_owned(), source: source.into() })?
            .into(),
    };
    Services::read(&file).ok_or(SourceError::Unusable { url: location.to_owned(), what: "not a bootstrap file as in RFC 9224" })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let client = Client::new(false).unwrap();
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
