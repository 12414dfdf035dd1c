//! Which records of a chain are signed.

/// The records of a signature, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// How far a chain is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coverage {
    /// The number of the last record that is, or of the last that need not be.
    end: u64,
    /// The first records before it that are not.
    missing: Option<Span>,
}

impl Coverage {
    /// Of a chain whose records after the number `start` must be signed.
    pub(super) const fn after(start: u64) -> Self {
        Self { end: start, missing: None }
    }

    /// Adds what the next signature is of.
    pub(super) fn add(&mut self, span: Span) {
        self.missing = self.missing.or(self.gap_before(span.first));
        self.end = self.end.max(span.last);
    }

    /// The first records of a chain that ends in `last` that are not signed.
    pub(super) fn missing(&self, last: u64) -> Option<Span> {
        self.missing.or(self.gap_before(last.saturating_add(1)))
    }

    fn gap_before(&self, next: u64) -> Option<Span> {
        let gap = Span { first: self.end.saturating_add(1), last: next.saturating_sub(1) };
        (gap.first <= gap.last).then_some(gap)
    }
}
