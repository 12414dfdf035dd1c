//! What becomes of one domain: its terms, renewals and moves, and how it comes into other hands, if it does.
//!
//! A life is first a list of changes, each with its moment, made in any order; then [`lived`] makes faces of them, in the order of time.

use reset_gatekeeper::domain::cache::providers;

use crate::dice::Dice;
use crate::figures::*;
use crate::operators::Operators;
use crate::world::{Face, Holder, Kind, Phase, Servers, Taking, age, renews_by_itself, top_level, top_level_of};

pub(crate) struct Life {
    pub(crate) top_level: u8,
    pub(crate) faces: Vec<Face>,
    pub(crate) taking: Option<Taking>,
}

/// What changes.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// The term ends and the holder has not paid.
    Lapsed,
    /// The registry extends the term by itself.
    AutoRenewed,
    AutoRenewEnds,
    /// The holder pays the registrar, until then.
    Paid(i64),
    /// Paid and extended at the registry, by a year.
    Renewed,
    Held,
    /// Served by the registrar or a market, for want of payment.
    Parked(u16),
    /// Back to the holder's own servers.
    Resumed,
    Deleted,
    PendingDelete,
    Dropped,
    /// Out of redemption, until then.
    Restored(i64),
    AddEnds,
    /// Registered by a stranger.
    Caught(u16, Servers),
    /// The same registration is another's.
    HandedOver,
    Registrar(u16),
    Names(u16),
    Mail(u16),
    Keys(u32),
}

/// A life in the making.
struct Making<'w> {
    dice: Dice,
    operators: &'w Operators,
    end: i64,
    evasive: bool,
    way: &'static TopLevel,
    registrar: u16,
    changes: Vec<(i64, Change)>,
    taking: Option<Taking>,
}

impl Life {
    /// A mailbox provider's domain: it is kept well.
    pub(crate) fn of_provider(number: u32, operators: &Operators, end: i64) -> Self {
        let top_level = top_level_of(providers::KNOWN[number as usize]);
        let mut dice = Dice::of(7, u64::from(number));
        let registrar = operators.registrar(&mut dice);
        let first = first_face(20 * YEAR + 100 * DAY, number, registrar, operators.servers(registrar, &mut dice));
        let renewals = (0..=end / YEAR).map(|year| (year * YEAR + 10 * DAY, Change::Renewed)).collect();
        Self { top_level, faces: lived(first, renewals, end), taking: None }
    }

    /// The domain of a person or a firm.
    pub(crate) fn of_owner(seed: u64, number: u32, operators: &Operators, end: i64, evasive: bool) -> Self {
        let mut dice = Dice::of(seed, 0x5_0000_0000 | u64::from(number));
        let top_level = top_level(&mut dice);
        let way = &TOP_LEVELS[usize::from(top_level)];
        let registrar = operators.registrar(&mut dice);
        let servers = operators.servers(registrar, &mut dice);
        let mut first = first_face(age(&mut dice), number, registrar, servers);
        let mut making = Making { dice, operators, end, evasive, way, registrar, changes: Vec::new(), taking: None };
        let renewed_until = first.expires_at - YEAR + 45 * DAY;
        if renews_by_itself(top_level) && renewed_until > 0 && !making.dice.chance(RENEWED_EARLY) {
            first.auto_renewed = true;
            making.change(renewed_until, Change::AutoRenewEnds);
        }
        making.terms(first.expires_at);
        let kept_until = making.taking.map_or(end, |taking| taking.lost_at);
        making.moves(kept_until);
        Self { top_level, faces: lived(first, making.changes, end), taking: making.taking }
    }
}

fn first_face(age: i64, number: u32, registrar: u16, servers: Servers) -> Face {
    let expires_at = YEAR - age.rem_euclid(YEAR);
    Face {
        from: i64::MIN,
        holder: Holder::Owner,
        phase: Phase::Registered,
        added: false,
        auto_renewed: false,
        held: false,
        registered_at: -age,
        expires_at,
        paid_until: expires_at,
        handle: number,
        registrar,
        servers,
    }
}

impl Making<'_> {
    fn change(&mut self, at: i64, change: Change) {
        self.changes.push((at, change));
    }

    /// A moment so many days after `at`.
    fn after(&mut self, at: i64, low: f64, high: f64) -> i64 {
        at + days(self.dice.between(low, high))
    }

    /// Term after term, the first of which ends at `ends_at`, until the owner loses the name.
    fn terms(&mut self, mut ends_at: i64) {
        let sold_at = (self.dice.exponential(1.0 / SOLD) * YEAR as f64) as i64;
        while ends_at.min(sold_at) < self.end {
            if sold_at < ends_at {
                return self.sale(sold_at, ends_at);
            }
            if !self.dice.chance(RENEWED) {
                return self.lapse(ends_at);
            }
            self.renewal(ends_at);
            ends_at += YEAR;
        }
    }

    /// The owner keeps the name at the end of its term.
    fn renewal(&mut self, ends_at: i64) {
        let until = ends_at + YEAR;
        let how = self.dice.share();
        if how < RESTORED {
            return self.restoration(ends_at, until);
        }
        let is_late = how < RESTORED + RENEWED_LATE;
        let paid_at = match is_late {
            true => ends_at + days(self.dice.exponential(RENEWED_LATE_AFTER).clamp(0.2, 25.0)),
            false => self.after(ends_at, -30.0, -0.1),
        };
        match self.way.ends {
            Ends::Renewed if !is_late && self.dice.chance(RENEWED_EARLY) => self.change(paid_at, Change::Renewed),
            Ends::Renewed => {
                self.change(ends_at, Change::AutoRenewed);
                self.change(ends_at + 45 * DAY, Change::AutoRenewEnds);
                self.change(paid_at, Change::Paid(until));
            }
            Ends::Shown => self.change(paid_at, Change::Renewed),
            // Between the owner and the registrar alone.
            Ends::Hidden => {}
        }
        if is_late {
            if self.way.ends != Ends::Hidden {
                self.change(ends_at, Change::Lapsed);
            }
            let dark_at = self.after(ends_at, 1.0, 15.0);
            if dark_at < paid_at {
                self.interruption(dark_at);
                self.change(paid_at, Change::Resumed);
            }
        }
    }

    /// The owner comes when the name is deleted already.
    fn restoration(&mut self, ends_at: i64, until: i64) {
        let deleted_at = self.deletion(ends_at);
        // Where there is no redemption, a name that is gone is gone; the owner came the day before.
        if self.way.redemption == 0 {
            return self.change(deleted_at - DAY, Change::Restored(until));
        }
        self.change(deleted_at, Change::Deleted);
        let restored_at = self.after(deleted_at, 0.5, 20.0);
        self.change(restored_at, Change::Restored(until));
    }

    /// Up to the deletion of a name that nobody paid for: when that is.
    fn deletion(&mut self, ends_at: i64) -> i64 {
        self.change(ends_at, Change::Lapsed);
        match self.way.ends {
            Ends::Renewed => {
                self.change(ends_at, Change::AutoRenewed);
                let grace = Operators::grace(&mut self.dice);
                let dark_at = self.dice.between(0.1, (grace - DARK).max(0.2));
                self.interruption(ends_at + days(dark_at.min(grace)));
                ends_at + days(grace)
            }
            Ends::Shown => {
                self.change(ends_at + 30 * DAY, Change::Held);
                ends_at + self.way.grace * DAY
            }
            Ends::Hidden => ends_at + self.way.grace * DAY,
        }
    }

    /// Out of the holder's DNS, for want of payment.
    fn interruption(&mut self, at: i64) {
        let parking = Operators::parking(self.registrar, &mut self.dice);
        let how = if self.dice.chance(INTERRUPTED_BY_HOLD) { Change::Held } else { Change::Parked(parking) };
        self.change(at, how);
    }

    /// The owner lets the name go at the end of its term.
    fn lapse(&mut self, ends_at: i64) {
        let auctioned = if self.way.ends == Ends::Hidden { AUCTIONED_HIDDEN } else { AUCTIONED };
        if self.dice.chance(auctioned) {
            return self.auction(ends_at);
        }
        let deleted_at = self.deletion(ends_at);
        let pending_at = deleted_at + self.way.redemption * DAY;
        let dropped_at = pending_at + self.way.pending * DAY;
        self.change(deleted_at, Change::Deleted);
        self.change(pending_at, Change::PendingDelete);
        self.change(dropped_at, Change::Dropped);
        if self.dice.chance(CAUGHT) {
            self.catch(ends_at, dropped_at);
        }
    }

    /// A stranger registers the name after it was dropped.
    fn catch(&mut self, lost_at: i64, dropped_at: i64) {
        let caught_at = dropped_at
            + if self.dice.chance(CAUGHT_AT_ONCE / CAUGHT) {
                self.dice.between(0.0, 3.0) as i64
            } else if self.dice.chance(0.5) {
                self.dice.between(60.0, DAY as f64) as i64
            } else {
                days(self.dice.over_orders(1.0, 180.0))
            };
        let registrar = self.operators.registrar(&mut self.dice);
        let servers = self.operators.servers(registrar, &mut self.dice);
        self.change(caught_at, Change::Caught(registrar, servers));
        self.change(caught_at + 5 * DAY, Change::AddEnds);
        self.keep(caught_at + YEAR);
        let kind = if self.way.dated { Kind::Dated } else { Kind::Dateless };
        self.taken(kind, lost_at, caught_at);
    }

    /// The registrar sells the name of a holder who did not pay, before it would be deleted.
    fn auction(&mut self, ends_at: i64) {
        let is_early = self.dice.chance(AUCTIONED_EARLY);
        let sold_at = if is_early { self.after(ends_at, 1.0, 10.0) } else { self.after(ends_at, 25.0, 40.0) };
        self.change(ends_at, Change::Lapsed);
        if self.way.ends == Ends::Renewed {
            self.change(ends_at, Change::AutoRenewed);
            self.change(ends_at + 45 * DAY, Change::AutoRenewEnds);
        }
        if !(is_early && self.dice.chance(UNINTERRUPTED)) {
            let span = (sold_at - ends_at) as f64 / DAY as f64;
            let dark_at = self.dice.between(0.1, (span - DARK).max(span / 10.0));
            self.interruption(ends_at + days(dark_at));
        }
        self.change(sold_at, if self.way.ends == Ends::Shown { Change::Renewed } else { Change::Paid(ends_at + YEAR) });
        self.change(sold_at, Change::HandedOver);
        self.keep(ends_at + YEAR);
        let registrar = if self.dice.chance(SAME_REGISTRAR) { self.registrar } else { self.operators.registrar(&mut self.dice) };
        // To whom it goes by another registrar it goes some days later, as registries demand.
        let moved_at = if registrar == self.registrar { sold_at } else { self.after(sold_at, 2.0, 15.0) };
        self.change(moved_at, Change::Registrar(registrar));
        let own_at = if self.evasive {
            self.change(sold_at, Change::Keys(0));
            self.change(sold_at, Change::Resumed);
            self.after(sold_at, 21.0, 60.0)
        } else {
            self.after(moved_at, 0.0, 20.0)
        };
        let servers = self.operators.servers(registrar, &mut self.dice);
        self.serve(own_at, servers);
        self.change(own_at, Change::Resumed);
        let kind = if self.way.ends == Ends::Hidden { Kind::Hidden } else { Kind::Auction };
        if self.evasive {
            let asks_at = sold_at + ((own_at - sold_at) as f64 * self.dice.between(0.3, 1.0)) as i64;
            self.taking = Some(Taking { kind, lost_at: ends_at, asks_at });
        } else {
            self.taken(kind, ends_at, own_at);
        }
    }

    /// The owner sells the name.
    fn sale(&mut self, sold_at: i64, ends_at: i64) {
        self.change(sold_at, Change::HandedOver);
        self.keep(ends_at);
        let mut registrar = self.registrar;
        if self.dice.chance(SALE_REGISTRAR) {
            registrar = self.operators.registrar(&mut self.dice);
            let moved_at = self.after(sold_at, 0.0, 10.0);
            self.change(moved_at, Change::Registrar(registrar));
        }
        let mut own_at = sold_at;
        if self.dice.chance(SALE_SERVERS) {
            own_at = self.after(sold_at, 0.0, 20.0);
            let servers = self.operators.servers(registrar, &mut self.dice);
            self.change(own_at, Change::Names(servers.names));
            self.change(own_at, Change::Keys(servers.keys));
            if self.dice.chance(SALE_MAIL) {
                self.serve(own_at, servers);
            }
        }
        self.taken(Kind::Sale, sold_at, own_at);
    }

    fn serve(&mut self, at: i64, servers: Servers) {
        self.change(at, Change::Names(servers.names));
        self.change(at, Change::Keys(servers.keys));
        if let Some(mail) = servers.mail {
            self.change(at, Change::Mail(mail));
        }
    }

    /// A new holder renews in time.
    fn keep(&mut self, mut ends_at: i64) {
        while ends_at < self.end {
            if self.way.ends != Ends::Hidden {
                self.change(ends_at - 20 * DAY, Change::Renewed);
            }
            ends_at += YEAR;
        }
    }

    /// Minutes to months after the mail is the taker's.
    fn taken(&mut self, kind: Kind, lost_at: i64, ready_at: i64) {
        let asks_at = ready_at + days(self.dice.over_orders(0.007, 180.0));
        self.taking = Some(Taking { kind, lost_at, asks_at });
    }

    /// What the owner moves, as long as he has the name.
    fn moves(&mut self, until: i64) {
        self.repeatedly(MOVED_DNS, until, |making, at| {
            let servers = making.operators.servers(making.registrar, &mut making.dice);
            making.change(at, Change::Names(servers.names));
            making.change(at, Change::Keys(servers.keys));
        });
        self.repeatedly(MOVED_MAIL, until, |making, at| {
            let servers = making.operators.servers(making.registrar, &mut making.dice);
            let mail = making.operators.mail(making.registrar, servers.names, &mut making.dice);
            making.change(at, Change::Mail(mail));
        });
        self.repeatedly(MOVED_BOTH, until, |making, at| {
            let servers = making.operators.servers(making.registrar, &mut making.dice);
            making.serve(at, servers);
        });
        self.repeatedly(TRANSFERRED, until, |making, at| {
            let registrar = making.operators.registrar(&mut making.dice);
            making.change(at, Change::Registrar(registrar));
            if making.dice.chance(TRANSFERRED_WHOLE) {
                let own_at = making.after(at, -5.0, 5.0).max(1);
                let servers = Servers { names: registrar, mail: Some(registrar), keys: 0 };
                making.serve(own_at, servers);
            }
        });
        self.repeatedly(REKEYED, until, |making, at| {
            let keys = if making.dice.chance(0.5) { making.operators.keys(&mut making.dice) } else { 0 };
            making.change(at, Change::Keys(keys));
        });
    }

    fn repeatedly(&mut self, a_year: f64, until: i64, happens: impl Fn(&mut Self, i64)) {
        let mut at = 0;
        loop {
            at += (self.dice.exponential(1.0 / a_year) * YEAR as f64) as i64 + 1;
            if at >= until {
                return;
            }
            happens(self, at);
        }
    }
}

fn days(days: f64) -> i64 {
    (days * DAY as f64) as i64
}

/// The faces that the changes make of the first one.
fn lived(first: Face, mut changes: Vec<(i64, Change)>, end: i64) -> Vec<Face> {
    changes.sort_by_key(|(at, _)| *at);
    let (mut faces, mut face) = (vec![first], first);
    // What the holder has set up, whoever serves the name meanwhile.
    let (mut own, mut is_parked) = (first.servers, false);
    for (at, change) in changes.into_iter().take_while(|(at, _)| *at < end) {
        match change {
            Change::Lapsed => face.holder = Holder::Lapsed,
            Change::AutoRenewed => (face.expires_at, face.auto_renewed) = (face.expires_at + YEAR, true),
            Change::AutoRenewEnds => face.auto_renewed = false,
            Change::Paid(until) => face.paid_until = until,
            Change::Renewed => (face.expires_at, face.paid_until) = (face.expires_at + YEAR, face.paid_until + YEAR),
            Change::Held => face.held = true,
            Change::Parked(names) => (face.servers, is_parked) = (Servers { names, mail: None, keys: 0 }, true),
            Change::Resumed => (face.servers, face.held, is_parked) = (own, false, false),
            Change::Deleted => (face.phase, face.auto_renewed, face.held) = (Phase::Redemption, false, false),
            Change::PendingDelete => face.phase = Phase::PendingDelete,
            Change::Dropped => (face.phase, face.holder) = (Phase::Free, Holder::Nobody),
            Change::Restored(until) => {
                (face.phase, face.holder, face.held, is_parked) = (Phase::Registered, Holder::Owner, false, false);
                (face.expires_at, face.paid_until, face.servers) = (until, until, own);
            }
            Change::AddEnds => face.added = false,
            Change::Caught(registrar, servers) => {
                (own, is_parked) = (servers, false);
                face = Face { holder: Holder::Taker, added: true, handle: face.handle | 1 << 31, ..first_face(-at, 0, registrar, servers) };
                (face.registered_at, face.expires_at, face.paid_until) = (at, at + YEAR, at + YEAR);
            }
            Change::HandedOver => face.holder = Holder::Taker,
            Change::Registrar(registrar) => face.registrar = registrar,
            Change::Names(names) => own.names = names,
            Change::Mail(mail) => own.mail = Some(mail),
            Change::Keys(keys) => own.keys = keys,
        }
        if matches!(change, Change::Paid(_) | Change::Renewed) && face.holder == Holder::Lapsed {
            face.holder = Holder::Owner;
        }
        if !is_parked {
            face.servers = own;
        }
        face.from = at;
        match faces.last_mut() {
            Some(last) if last.from == at => *last = face,
            _ => faces.push(face),
        }
    }
    faces
}
