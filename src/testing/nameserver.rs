//! A simulated resolver.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, NS, NULL, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::lock;
use crate::domain::dns::Dns;
use crate::domain::{Mail, SourceError};

/// What the resolver does to questions instead of answering them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsFault {
    /// Answers that it failed (SERVFAIL), as it does also where a signature is wrong.
    ServFail,
    /// Refuses to answer.
    Refused,
    /// Never answers.
    Timeout,
    /// Answers with a part, over TCP as well.
    Truncate,
    /// Answers with something that is not DNS.
    Garbage,
    /// Answers another question than the one asked, by its identifier.
    WrongId,
    /// Answers with servers that are to be asked instead.
    Referral,
    /// Answers that the name does not exist (NXDOMAIN), even where it does.
    Deny,
    /// Answers as it should, but gives an address to names that do not exist.
    Rewrite,
}

/// A simulated resolver, which knows no names but those given to it. It serves until it is dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use reset_gatekeeper::RegistrableDomain;
/// use reset_gatekeeper::domain::{DomainSource, Mail};
/// use reset_gatekeeper::testing::NameServer;
///
/// let resolver = NameServer::start().await?;
/// resolver.delegate("example.com", ["ns1.host.net", "ns2.host.net"]);
/// resolver.mail("lists.example.com", Mail::Refused);
/// let dns = resolver.dns()?;
/// let report = dns.report(&RegistrableDomain::of("example.com")?).await?;
/// assert_eq!(report.name_servers, ["ns1.host.net", "ns2.host.net"]);
/// assert_eq!(dns.mail("lists.example.com").await?, Some(Mail::Refused));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NameServer {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    /// Ended when dropped.
    _servers: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The records of each name. A name without records exists all the same.
    names: BTreeMap<String, Vec<(RecordType, RData)>>,
    questions: HashMap<String, usize>,
    fault: Option<DnsFault>,
    faults: HashMap<RecordType, DnsFault>,
}

impl NameServer {
    /// Starts a resolver that knows no name, on a free port of the loopback interface, UDP and TCP.
    ///
    /// # Errors
    /// Where no port can be had.
    pub async fn start() -> io::Result<Self> {
        let mut tries = 10;
        let (listener, socket) = loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            match UdpSocket::bind(listener.local_addr()?).await {
                Ok(socket) => break (listener, socket),
                Err(error) if tries == 0 => return Err(error),
                // Taken by another program, over UDP alone.
                Err(_) => tries -= 1,
            }
        };
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let mut servers = JoinSet::new();
        servers.spawn(serve_datagrams(socket, Arc::clone(&state)));
        servers.spawn(serve_connections(listener, Arc::clone(&state)));
        Ok(Self { state, address, _servers: servers })
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A source that asks it.
    ///
    /// # Errors
    /// Those of [`Dns::resolver`].
    pub fn dns(&self) -> Result<Dns, SourceError> {
        Dns::resolver(self.address)
    }

    /// Delegates `domain` to `name_servers`. Mail for it is accepted until something else is [said](Self::mail).
    pub fn delegate<'a>(&self, domain: &str, name_servers: impl IntoIterator<Item = &'a str>) {
        let servers = name_servers.into_iter().map(|server| RData::NS(NS(name(server))));
        self.put(domain, RecordType::NS, servers.collect());
        if !self.has(domain, RecordType::MX) {
            self.mail(domain, Mail::Accepted);
        }
    }

    /// Signs `domain`, delegated or not, with keys that have these digests in hexadecimal.
    ///
    /// # Panics
    /// Where one is not hexadecimal.
    #[expect(clippy::panic, reason = "a test that writes no digest must fail")]
    pub fn sign<'a>(&self, domain: &str, digests: impl IntoIterator<Item = &'a str>) {
        let record = |digest: &str| {
            let digest = hex::decode(digest).unwrap_or_else(|_| panic!("`{digest}` is no digest"));
            // RFC 4034 §5.1: key tag, algorithm and digest type stand before the digest.
            let bytes = [&[0, 1, 13, 2], digest.as_slice()].concat();
            RData::Unknown { code: RecordType::DS, rdata: NULL::with(bytes) }
        };
        self.put(domain, RecordType::DS, digests.into_iter().map(record).collect());
    }

    /// Lets mail reach `host`, or not. A host of the form `*.com` stands for all names below `com` that are not known themselves (RFC 4592).
    pub fn mail(&self, host: &str, mail: Mail) {
        match mail {
            Mail::Accepted => self.mail_servers(host, [format!("mail.{}", host.trim_start_matches("*.")).as_str()]),
            Mail::Refused => self.mail_servers(host, ["."]),
            Mail::NoServer => self.put(host, RecordType::MX, Vec::new()),
            Mail::NoHost => self.remove(host),
        }
    }

    /// Lets `servers` take the mail for `host`, the first before the others.
    pub fn mail_servers<'a>(&self, host: &str, servers: impl IntoIterator<Item = &'a str>) {
        let record = |(preference, server)| RData::MX(MX::new(preference, name(server)));
        self.put(host, RecordType::MX, (0..).zip(servers).map(record).collect());
    }

    /// Makes `host` an alias of `target` (CNAME), and nothing else.
    pub fn alias(&self, host: &str, target: &str) {
        self.remove(host);
        self.put(host, RecordType::CNAME, vec![RData::CNAME(CNAME(name(target)))]);
    }

    /// Takes `host` out of the DNS.
    pub fn remove(&self, host: &str) {
        lock(&self.state).names.remove(host);
    }

    /// Breaks the resolver, or mends it.
    pub fn fault(&self, fault: impl Into<Option<DnsFault>>) {
        let mut state = lock(&self.state);
        state.fault = fault.into();
        state.faults.clear();
    }

    /// Breaks it for questions about records of `kind` alone, such as `MX`.
    ///
    /// # Panics
    /// Where there is no such kind.
    #[expect(clippy::panic, reason = "a test that names no kind of record must fail")]
    pub fn fault_for(&self, kind: &str, fault: DnsFault) {
        let kind = kind.parse().unwrap_or_else(|_| panic!("`{kind}` is no kind of record"));
        lock(&self.state).faults.insert(kind, fault);
    }

    /// How many questions were asked about `host`, over UDP and TCP.
    #[must_use]
    pub fn questions(&self, host: &str) -> usize {
        lock(&self.state).questions.get(host).copied().unwrap_or_default()
    }

    /// How many questions were asked about any name.
    #[must_use]
    pub fn all_questions(&self) -> usize {
        lock(&self.state).questions.values().sum()
    }

    fn put(&self, host: &str, kind: RecordType, records: Vec<RData>) {
        let mut state = lock(&self.state);
        let known = state.names.entry(host.to_owned()).or_default();
        known.retain(|(other, _)| *other != kind);
        known.extend(records.into_iter().map(|record| (kind, record)));
    }

    fn has(&self, host: &str, kind: RecordType) -> bool {
        lock(&self.state).names.get(host).is_some_and(|records| records.iter().any(|(other, _)| *other == kind))
    }
}

impl State {
    /// The answer to `request`, `None` for silence.
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let request = Message::from_vec(request).ok()?;
        let question = request.queries.first()?;
        let host = text(question.name());
        *self.questions.entry(host.clone()).or_default() += 1;
        let fault = self.faults.get(&question.query_type()).copied().or(self.fault);
        let mut response = Message::response(request.id, OpCode::Query);
        response.add_query(question.clone());
        response.metadata.recursion_desired = request.recursion_desired;
        response.metadata.recursion_available = true;
        match fault {
            None | Some(DnsFault::Rewrite) => self.fill(&mut response, host, question.query_type(), fault.is_some()),
            Some(DnsFault::ServFail) => response.metadata.response_code = ResponseCode::ServFail,
            Some(DnsFault::Refused) => response.metadata.response_code = ResponseCode::Refused,
            Some(DnsFault::Deny) => response.metadata.response_code = ResponseCode::NXDomain,
            Some(DnsFault::Timeout) => return None,
            Some(DnsFault::Truncate) => response.metadata.truncation = true,
            Some(DnsFault::Garbage) => return Some([&request.id.to_be_bytes(), [0xff; 40].as_slice()].concat()),
            Some(DnsFault::WrongId) => response.metadata.id = !request.id,
            Some(DnsFault::Referral) => {
                response.add_authority(record(&question.name().base_name(), RData::NS(NS(name("ns.test")))));
            }
        }
        response.to_vec().ok()
    }

    fn fill(&self, response: &mut Message, host: String, kind: RecordType, rewrites: bool) {
        let mut host = host;
        // An alias is followed, so far.
        for _ in 0..16 {
            let records = self.find(&host);
            let of_kind = |kind| records.into_iter().flatten().filter(move |(other, _)| *other == kind).map(|(_, data)| data.clone());
            let asked_for: Vec<RData> = of_kind(kind).collect();
            let owner = name(&host);
            if records.is_none() && rewrites && kind == RecordType::A {
                response.add_answer(record(&owner, RData::A(A::new(192, 0, 2, 1))));
                return;
            }
            let alias = of_kind(RecordType::CNAME).next();
            if asked_for.is_empty()
                && let Some(RData::CNAME(target)) = alias
            {
                response.add_answer(record(&owner, RData::CNAME(target.clone())));
                host = text(&target.0);
                continue;
            }
            if asked_for.is_empty() {
                let soa = SOA::new(name("ns.test"), name("hostmaster.test"), 1, 3_600, 600, 86_400, 60);
                response.add_authority(record(&owner.base_name(), RData::SOA(soa)));
            }
            if records.is_none() {
                response.metadata.response_code = ResponseCode::NXDomain;
            }
            response.add_answers(asked_for.into_iter().map(|data| record(&owner, data)));
            return;
        }
    }

    /// The records of `host` or of the wildcard that it falls under. `None` where it doesn't exist.
    fn find(&self, host: &str) -> Option<&[(RecordType, RData)]> {
        let parents = || std::iter::successors(Some(host), |name| name.split_once('.').map(|(_, parent)| parent)).skip(1);
        let below = format!(".{host}");
        let known = self.names.get(host).map(Vec::as_slice);
        known
            .or_else(|| self.names.keys().any(|name| name.ends_with(&below) && !name.starts_with('*')).then_some(&[]))
            .or_else(|| parents().find_map(|parent| self.names.get(&format!("*.{parent}")).map(Vec::as_slice)))
    }
}

async fn serve_datagrams(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = [0; 4_096];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let answer = buffer.get(..length).and_then(|request| lock(&state).answer(request));
        if let Some(answer) = answer {
            drop(socket.send_to(&answer, client).await); // a client that is gone is no concern of the resolver's
        }
    }
}

async fn serve_connections(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(serve_connection(stream, Arc::clone(&state)));
    }
}

/// RFC 1035 §4.2.2: each message comes after its length.
async fn serve_connection(mut stream: TcpStream, state: Arc<Mutex<State>>) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut request = vec![0; usize::from(length)];
        stream.read_exact(&mut request).await?;
        let answer = lock(&state).answer(&request);
        if let Some(answer) = answer {
            stream.write_u16(u16::try_from(answer.len()).map_err(io::Error::other)?).await?;
            stream.write_all(&answer).await?;
        }
    }
}

/// # Panics
/// Where `text` is no name.
#[expect(clippy::panic, reason = "a test that writes no name must fail")]
fn name(text: &str) -> Name {
    let absolute = |mut name: Name| {
        name.set_fqdn(true);
        name
    };
    Name::from_ascii(text).map_or_else(|error: ProtoError| panic!("`{text}` is no name: {error}"), absolute)
}

fn text(name: &Name) -> String {
    name.to_lowercase().to_ascii().trim_end_matches('.').to_owned()
}

fn record(owner: &Name, data: RData) -> Record {
    Record::from_rdata(owner.clone(), 60, data)
}
