//! What one answer says about the name that was asked about.

use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record};
use hickory_resolver::proto::serialize::binary::BinEncodable;

/// How many aliases are followed within an answer.
const MAX_ALIASES: usize = 16;

/// How many servers or keys of one name are reported. Its holder could list thousands.
const MAX_REPORTED: usize = 32;

/// An answer that tells something.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The records asked for: the name's or, where it is an alias, those at the alias's end.
    records: Vec<RData>,
    is_alias: bool,
    /// Whether the last name of the chain exists.
    is_name: bool,
}

impl Answer {
    /// Reads the answer to `question`.
    ///
    /// # Errors
    /// Where it does not tell.
    pub(super) fn read(answer: Result<DnsResponse, NetError>, question: &Query) -> Result<Self, NetError> {
        match answer {
            Ok(response) => Self::followed(&response, question),
            Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code: ResponseCode::NXDomain, .. }))) => Ok(Self::default()),
            // RFC 2308 §2.2: NODATA has an SOA record or nothing at all. Name servers alone refer elsewhere, which a resolver doesn't.
            Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code: ResponseCode::NoError, soa, ns, .. })))
                if soa.is_some() || ns.is_none() =>
            {
                Ok(Self { is_name: true, ..Self::default() })
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Err("a referral to other servers".into()),
            Err(error) => Err(error),
        }
    }

    fn followed(response: &DnsResponse, question: &Query) -> Result<Self, NetError> {
        if response.queries.first() != Some(question) {
            return Err("an answer to another question".into());
        }
        let mut owner = question.name();
        for followed in 0..=MAX_ALIASES {
            let records = || response.answers.iter().filter(|record| record.name == *owner);
            let asked_for: Vec<RData> =
                records().filter(|record| record.record_type() == question.query_type()).map(|record| record.data.clone()).collect();
            let is_alias = followed > 0;
            if !asked_for.is_empty() {
                return Ok(Self { records: asked_for, is_alias, is_name: true });
            }
            if let Some(target) = records().find_map(alias) {
                owner = target;
                continue;
            }
            let is_whole = response.soa().is_some() || response.recursion_available;
            return match response.response_code {
                // RFC 2308 §2.1: the code is about the last name of the chain.
                ResponseCode::NXDomain if is_alias => Ok(Self { is_alias, ..Self::default() }),
                ResponseCode::NoError if is_alias && is_whole => Ok(Self { is_alias, is_name: true, ..Self::default() }),
                _ => Err("an answer that lacks what was asked for".into()),
            };
        }
        Err("an answer whose aliases have no end".into())
    }

    /// Whether it has no record of the kind asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether the name asked about exists.
    pub(super) fn has_name(&self) -> bool {
        self.is_name || self.is_alias
    }

    /// Whether the name asked about exists or, where it is an alias, what it stands for.
    pub(super) fn reaches_a_name(&self) -> bool {
        self.is_name
    }

    /// The name's own name servers. An alias has none (RFC 1034 §3.6.2).
    pub(super) fn name_servers(&self) -> Vec<String> {
        let records = if self.is_alias { &[] } else { self.records.as_slice() };
        sorted(records.iter().filter_map(|record| if let RData::NS(server) = record { host(&server.0) } else { None }))
    }

    /// The mail servers that are to be tried.
    pub(super) fn exchanges(&self) -> Vec<String> {
        sorted(self.records.iter().filter_map(|record| if let RData::MX(mx) = record { host(&mx.exchange) } else { None }))
    }

    /// The digests of DS records. `None` where the name can't have any, being an alias or not there.
    pub(super) fn digests(&self) -> Option<Vec<String>> {
        // RFC 4034 §5.1: the digest stands behind key tag, algorithm and digest type. Taken from the bytes, since the type that holds a DS record depends on
        // whether anyone who links the resolver has switched on its validation.
        let digest = |record: &RData| record.to_bytes().ok()?.get(4..).map(hex::encode);
        (self.is_name && !self.is_alias).then(|| sorted(self.records.iter().filter_map(digest)))
    }
}

fn alias(record: &Record) -> Option<&Name> {
    if let RData::CNAME(target) = &record.data { Some(&target.0) } else { None }
}

/// `name` as reports have it. `None` for the root, which is no server.
fn host(name: &Name) -> Option<String> {
    (!name.is_root()).then(|| name.to_lowercase().to_ascii().trim_end_matches('.').to_owned())
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<String> = texts.collect();
    texts.sort_unstable();
    texts.dedup();
    texts.truncate(MAX_REPORTED);
    texts
}
