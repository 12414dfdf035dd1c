//! How the sources answer, as this process has counted it since it began.

use std::collections::BTreeMap;

/// One source.
#[derive(Default)]
pub(super) struct Source {
    pub(super) answered: u64,
    pub(super) failed: u64,
}

/// The sources, and the servers that are left alone since they fail.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) sources: BTreeMap<String, Source>,
    pub(super) left_alone: Vec<String>,
}

impl Sources {
    /// What the [metrics](crate::metrics), in Prometheus's text format, say about them.
    pub(super) fn of(metrics: &str) -> Self {
        let mut found = Self::default();
        for line in metrics.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Some((name, labels)) = series.split_once('{') else { continue };
            let label = |label: &str| {
                let begins = format!("{label}=\"");
                let value = labels.split_once(begins.as_str())?.1;
                value.split_once('"').map(|(value, _)| value.to_owned())
            };
            match name {
                "reset_gatekeeper_live_checks_total" => {
                    let Some(source) = label("source") else { continue };
                    let (source, count) = (found.sources.entry(source).or_default(), value.parse().unwrap_or_default());
                    match label("outcome").as_deref() {
                        Some("answered") => source.answered = count,
                        Some("failed") => source.failed = count,
                        _ => {}
                    }
                }
                "reset_gatekeeper_breaker_open" if value == "1" => found.left_alone.extend(label("server")),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_from_what_is_counted() {
        let text = "# TYPE reset_gatekeeper_live_checks_total counter\n\
            reset_gatekeeper_live_checks_total{source=\"rdap\",outcome=\"answered\"} 12\n\
            reset_gatekeeper_live_checks_total{source=\"rdap\",outcome=\"failed\"} 3\n\
            reset_gatekeeper_breaker_open{server=\"rdap.example\"} 1\n\
            reset_gatekeeper_breaker_open{server=\"other.example\"} 0\n";
        let sources = Sources::of(text);
        assert_eq!(sources.sources.get("rdap").map(|rdap| (rdap.answered, rdap.failed)), Some((12, 3)));
        assert_eq!(sources.left_alone, ["rdap.example"]);
    }
}
