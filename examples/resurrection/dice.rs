//! Chance, by a seed: the same on every machine.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The dice of one thing of the world, which no other thing's throws change.
    pub(crate) fn of(seed: u64, thing: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(mixed(seed ^ mixed(thing))))
    }

    /// From 0 up to 1.
    pub(crate) fn share(&mut self) -> f64 {
        unit(self.0.next_u64())
    }

    pub(crate) fn chance(&mut self, share: f64) -> bool {
        self.share() < share
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.share() * count as f64) as usize
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.share()).ln() * mean
    }

    /// As often between one and ten as between ten and a hundred.
    pub(crate) fn over_orders(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    /// One of `count`, of which the second comes half as often as the first, the third a third as often.
    pub(crate) fn ranked(&mut self, count: usize) -> usize {
        let total: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
        let mut left = self.share() * total;
        (1..count)
            .find(|rank| {
                left -= 1.0 / *rank as f64;
                left < 0.0
            })
            .map_or(count - 1, |rank| rank - 1)
    }
}

/// A throw that needs no dice: always the same for the same things.
pub(crate) fn throw(seed: u64, things: [u64; 3]) -> f64 {
    unit(things.into_iter().fold(mixed(seed), |state, thing| mixed(state ^ mixed(thing))))
}

fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// SplitMix64.
fn mixed(seed: u64) -> u64 {
    let bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
