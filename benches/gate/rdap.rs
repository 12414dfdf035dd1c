//! Reading a registry's answer about a domain, beside the response types of ICANN's own client reading the same bytes.
//!
//! The documents are made up, in the shape and of the length that a large registry, a registrar and a small country's registry send.

use std::hint::black_box;

use icann_rdap_common::response::RdapResponse;
use reset_gatekeeper::RegistrableDomain;
use reset_gatekeeper::domain::rdap;

use crate::meter::{CALLS, Failure, Peer, compare};
use crate::{Row, row};

const DOCUMENTS: [(&str, &str, &str); 3] = [
    ("a registry's answer", "example.com", include_str!("rdap/registry.json")),
    ("a registrar's answer", "example.com", include_str!("rdap/registrar.json")),
    ("a small country's answer", "example.no", include_str!("rdap/country.json")),
];

/// At most a tenth of the time.
const GOAL: Option<f64> = Some(0.1);

pub(crate) fn rows() -> Result<Vec<Row>, Failure> {
    DOCUMENTS
        .iter()
        .map(|(case, name, body)| {
            let domain = RegistrableDomain::of(name)?;
            let [ours, peer, _] = compare(
                &format!("Reading {case} of {} bytes", body.len()),
                [
                    Peer::new("rdap::read", |meter| {
                        meter.per_call(|| {
                            (0..CALLS)
                                .try_for_each(|_| black_box(rdap::read(black_box(body.as_bytes()), &domain)).map(drop))
                                .map_err(Failure::from)
                        })
                    }),
                    Peer::new("icann-rdap-common", |meter| {
                        meter.per_call(|| {
                            (0..CALLS)
                                .try_for_each(|_| black_box(serde_json::from_slice::<RdapResponse>(black_box(body.as_bytes()))).map(drop))
                                .map_err(Failure::from)
                        })
                    }),
                    Peer::new("a copy of the report", {
                        let report = rdap::read(body.as_bytes(), &domain)?;
                        move |meter| {
                            meter.per_call(|| {
                                (0..CALLS).for_each(|_| drop(black_box(black_box(&report).clone())));
                                Ok(())
                            })
                        }
                    }),
                ],
            )?;
            Ok(row(format!("{case}: rdap::read / icann-rdap-common"), ours, peer, GOAL))
        })
        .collect()
}
