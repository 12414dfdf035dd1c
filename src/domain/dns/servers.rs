//! The resolvers, asked in turn.
//!
//! The library's own resolver is left aside for its pool of connections: it remembers answers, takes the first server's refusal for the last word, and tells a
//! name that is gone from an alias for one only in part.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::proto::op::{DnsRequestOptions, Query};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tokio::time::timeout;

use super::answer::Answer;
use crate::domain::SourceError;

/// How long a server has for an answer. A datagram is sent again within it, as it may get lost.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How often each server is asked. By the second time a resolver may have got at last what it was waiting for itself.
const ROUNDS: usize = 2;

/// How long a question may take, all servers and rounds together.
const LIMIT: Duration = Duration::from_secs(4);

type Server = NameServerPool<TokioRuntimeProvider>;

pub(super) struct Servers(Vec<Server>);

impl Servers {
    pub(super) fn of_system() -> Result<Self, SourceError> {
        let failed = |source: NetError| SourceError::Transport { url: "the system's resolvers".to_owned(), source: Box::new(source) };
        let (config, _) = read_system_conf().map_err(failed)?;
        config.name_servers().iter().cloned().map(server).collect::<Result<_, _>>().map(Self).map_err(failed)
    }

    pub(super) fn one(address: SocketAddr) -> Result<Self, SourceError> {
        server(at(address)).map(|server| Self(vec![server])).map_err(|source| failed(&address.to_string(), source))
    }

    /// Asks for the records of `kind` at `name`.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Answer, SourceError> {
        let question = Query::query(name.clone(), kind);
        let answer = timeout(LIMIT, self.ask_in_turn(&question)).await.unwrap_or(Err(NetError::Timeout));
        answer.map_err(|error| failed(&format!("{name} {kind}"), error))
    }

    async fn ask_in_turn(&self, question: &Query) -> Result<Answer, NetError> {
        let mut told = Err(NetError::NoConnections);
        for server in self.0.iter().cycle().take(self.0.len() * ROUNDS) {
            let answer = server.lookup(question.clone(), DnsRequestOptions::default()).first_answer().await;
            told = Answer::read(answer, question);
            if told.is_ok() {
                break;
            }
        }
        told
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Servers").field(&self.0.len()).finish()
    }
}

fn at(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn server(config: NameServerConfig) -> Result<Server, NetError> {
    let mut options = ResolverOpts::default();
    options.timeout = TIMEOUT;
    let context = PoolContext::new(options, TlsConfig::new()?);
    Ok(NameServerPool::from_config([config], Arc::new(context), TokioRuntimeProvider::default()))
}

pub(super) fn failed(name: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> SourceError {
    SourceError::Dns { name: name.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DnsFault, NameServer};

    #[tokio::test]
    async fn a_server_that_cannot_tell_is_not_the_last_word() {
        for fault in [DnsFault::Refused, DnsFault::ServFail, DnsFault::Timeout, DnsFault::Truncate] {
            let (broken, sound) = (NameServer::start().await.unwrap(), NameServer::start().await.unwrap());
            broken.fault(fault);
            sound.delegate("example.com", ["ns1.host.net"]);
            let servers = Servers([&broken, &sound].map(|one| server(at(one.address())).unwrap()).into());
            let answer = servers.ask(&Name::from_ascii("example.com.").unwrap(), RecordType::NS).await.unwrap();
            assert_eq!(answer.name_servers(), ["ns1.host.net"], "{fault:?}");
        }
    }
}
