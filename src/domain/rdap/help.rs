//! Whether there is an RDAP server at all where a 404 came from (RFC 9082 §3.1.6).
//!
//! A wrong path, or a server whose application is down, gives 404 to every question, and would make every domain look unregistered. Who answers `help` as an RDAP server
//! does is one, so its 404s are its word. It is asked only where a 404 doesn't show by itself who sent it, and the answer is remembered.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use reqwest::Url;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::response::is_help;
use crate::domain::client::Client;

/// What a server's `help` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Help {
    /// The server speaks RDAP at this base URL.
    Speaks,
    /// It doesn't.
    Silent,
    /// It could not say.
    Unreached,
}

impl Help {
    const fn remembered_for(self) -> Duration {
        match self {
            Self::Speaks => Duration::from_secs(86_400),
            Self::Silent => Duration::from_secs(3_600),
            // Long enough for those who wait for the same answer not to ask one after the other.
            Self::Unreached => Duration::from_secs(5),
        }
    }
}

/// What is remembered of servers, by base URL.
///
/// Bounded by the servers that the bootstrap file, the overrides and our own table name.
#[derive(Debug, Default)]
pub(super) struct Helps(DashMap<Url, Arc<Mutex<Option<Known>>>>);

#[derive(Debug)]
struct Known {
    help: Help,
    until: Instant,
}

impl Helps {
    /// What the server at `base` shows. Callers that come while it is asked wait for the same answer.
    pub(super) async fn of(&self, base: &Url, client: &Client, accept: &'static str) -> Help {
        let known = Arc::clone(&self.0.entry(base.clone()).or_default());
        let mut known = known.lock().await;
        match *known {
            Some(Known { help, until }) if Instant::now() < until => help,
            _ => {
                let help = ask(base, client, accept).await;
                *known = Some(Known { help, until: Instant::now() + help.remembered_for() });
                help
            }
        }
    }
}

async fn ask(base: &Url, client: &Client, accept: &'static str) -> Help {
    let Ok(url) = base.join("help") else { return Help::Silent };
    match client.get(&url, accept).await {
        Ok(answer) if answer.status == 200 && is_help(&answer.body) => Help::Speaks,
        Ok(answer) if answer.status == 429 || answer.status >= 500 => Help::Unreached,
        Ok(_) => Help::Silent,
        Err(_) => Help::Unreached,
    }
}
