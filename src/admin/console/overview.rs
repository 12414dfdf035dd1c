//! `GET /`: what happens, at a glance.

use std::ops::ControlFlow;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::super::Admin;
use super::chart::{Chart, Day};
use super::sources::Sources;
use super::{Failure, Frame, Row, page, seen};
use crate::audit::Event;
use crate::clock::rfc3339;
use crate::state::Lapsing;

/// How far ahead the end of a registration is shown.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How many domains are shown that are about to lapse.
const DOMAINS: u32 = 50;

/// How many blocks are shown.
const BLOCKS: usize = 10;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    days: Vec<Day>,
    blocks: Vec<Row>,
    seen: String,
    sources: Option<Sources>,
    lapsing: Vec<Lapsing>,
    last_sweep: Option<(String, u64)>,
    exempt: usize,
}

pub(super) async fn overview(State(admin): State<Admin>, frame: Frame) -> Result<Response, Failure> {
    let now = admin.gatekeeper.inner.clock.now();
    let ((chart, blocks), extent) = admin
        .records()?
        .read((Chart::until(now), Vec::new()), |(chart, blocks), line| {
            let Some(record) = line.record() else { return ControlFlow::Continue(()) };
            if record.event == Event::ResetBlocked && blocks.len() < BLOCKS {
                blocks.push(Row::of(&record));
            }
            if chart.count(&record) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await?;
    let sources = admin.metrics.as_ref().map(|render| Sources::of(&render()));
    let (lapsing, last_sweep, exempt) = match admin.state() {
        Some(state) => {
            let last_sweep = state.last_discovery().await?.map(|(at, accounts)| (rfc3339(at), accounts));
            (state.lapsing(now + SOON, DOMAINS).await?, last_sweep, state.exemptions(now).await?.len())
        }
        None => Default::default(),
    };
    page(&Overview { frame, days: chart.drawn(), blocks, seen: seen(&extent), sources, lapsing, last_sweep, exempt })
}

/// When a domain ends, for people.
fn day(domain: &Lapsing) -> String {
    domain.expires_at.map(rfc3339).and_then(|time| time.get(..10).map(str::to_owned)).unwrap_or_else(|| "not known".to_owned())
}
