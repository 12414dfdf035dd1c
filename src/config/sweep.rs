//! The section `[sweep]`: how all accounts are gone through.

use super::sections::{Mode, Sections, SweepSection};
use super::{Config, ConfigError, Origin, Store, Stores};
use crate::sweep::SweepSettings;

impl Config {
    /// How a sweep is done. `None` where nothing is said about it, and none runs beside `serve`.
    #[must_use]
    pub fn sweep(&self) -> Option<SweepSettings> {
        self.sections.sweep.as_ref().map(settings)
    }

    /// The stores of the site, for a sweep of its accounts.
    ///
    /// # Errors
    /// Where a key that they need is missing, or the accounts can't be gone through.
    pub fn swept_stores(&self) -> Result<Stores, ConfigError> {
        let stores = self.stores()?;
        can_be_swept(&stores, &self.sections, &self.origin)?;
        Ok(stores)
    }

    /// Whether the site is only observed, `mode = "observe"`: then nobody is un-verified.
    #[must_use]
    pub fn only_observes(&self) -> bool {
        self.sections.reply.as_ref().is_some_and(|reply| matches!(reply.mode, Mode::Observe))
    }
}

fn settings(section: &SweepSection) -> SweepSettings {
    SweepSettings {
        every: section.every.value.0,
        recheck_after: section.recheck_after.value.0,
        rate: Some(section.rate.value.0),
        brake: section.brake.value.0,
        ..SweepSettings::default()
    }
}

/// Whether all accounts can be gone through.
pub(super) fn can_be_swept(stores: &Stores, sections: &Sections, origin: &Origin) -> Result<(), ConfigError> {
    let is_http = matches!(stores.directory.store, Store::Http { .. });
    let lacks_page = stores.directory.queries.as_ref().is_some_and(|queries| queries.page.is_none());
    match &sections.directory {
        Some(section) if lacks_page && !is_http => {
            let what = "`directory.page` is missing: the sweep goes through all accounts with it".to_owned();
            Err(origin.at(section.span(), what))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_the_library_has_it() {
        assert_eq!(settings(&SweepSection::default()), SweepSettings::default());
        // And is written as it is read.
        let read: SweepSection = toml::from_str(&toml::to_string(&SweepSection::default()).unwrap()).unwrap();
        assert_eq!(settings(&read), SweepSettings::default());
    }

    #[test]
    fn a_rate_is_by_the_second_and_a_brake_a_part_of_all() {
        for (text, rate, brake) in [
            ("rate = '600/m'\nbrake = '0%'", 10.0, 0.0),
            ("rate = '3600/h'\nbrake = '100%'", 1.0, 1.0),
            ("rate = '5/s'\nbrake = '2.5 %'", 5.0, 0.025),
        ] {
            let settings = settings(&toml::from_str(text).unwrap());
            assert_eq!((settings.rate, settings.brake), (Some(rate), brake), "{text}");
        }
    }
}
