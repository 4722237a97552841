//! Mirostat: keeps the surprise of a text at a wanted level.
//!
//! Source: Basu et al. 2021, "Mirostat: a neural text decoding algorithm that directly controls perplexity",
//! algorithms 1 and 2.

use alloc::vec::Vec;

use libm::{logf, powf};

use super::{Candidate, Config, Mirostat, draw, rng::Rng, shares};

/// Best tokens from which the first version estimates the tail (the paper's m).
const TAIL: usize = 100;

#[derive(Clone, Debug)]
pub(super) struct State {
    /// Surprise that is let through, in bits; begins at twice the aim.
    most: f32,
}

impl State {
    pub(super) fn new(config: &Config) -> Self {
        Self { most: 2.0 * config.mirostat_tau }
    }

    /// `candidates` are all tokens, best first, already tempered.
    pub(super) fn choose(
        &mut self,
        version: Mirostat,
        config: &Config,
        candidates: &mut Vec<Candidate>,
        rng: &mut Rng,
    ) -> u32 {
        shares(candidates);
        let kept = if version == Mirostat::V1 { self.keep_first(candidates) } else { self.keep_second(candidates) };
        candidates.truncate(kept.clamp(1, candidates.len()));
        let id = draw(candidates, rng);
        let share = candidates.iter().find(|c| c.id == id).map_or(1.0, |c| c.share);
        self.most -= config.mirostat_eta * (bits(share) - config.mirostat_tau);
        id
    }

    /// Estimates the exponent of the tail and from it how many tokens give the wanted surprise.
    fn keep_first(&self, candidates: &[Candidate]) -> usize {
        let (mut above, mut below) = (0.0, 0.0);
        for i in 0..TAIL.min(candidates.len()).saturating_sub(1) {
            let t = logf((i + 2) as f32 / (i + 1) as f32);
            let b = logf(candidates[i].share / candidates[i + 1].share.max(f32::MIN_POSITIVE));
            above += t * b;
            below += t * t;
        }
        let s = if below > 0.0 { above / below } else { 1.0 };
        let epsilon = s - 1.0;
        let n = candidates.len() as f32;
        let k = powf(epsilon * powf(2.0, self.most) / (1.0 - powf(n, -epsilon)), 1.0 / s);
        if k.is_finite() { k.min(n) as usize } else { candidates.len() }
    }

    fn keep_second(&self, candidates: &[Candidate]) -> usize {
        candidates.iter().take_while(|c| bits(c.share) <= self.most).count()
    }
}

fn bits(share: f32) -> f32 {
    -logf(share.max(f32::MIN_POSITIVE)) / core::f32::consts::LN_2
}
