//! Choosing the next token from its logits.
//!
//! The steps and their order are llama.cpp's: bias, penalties, `top_k`, `typical_p`, `top_p`, `min_p`, temperature,
//! then chance; or one of the two mirostats in place of everything after the penalties. At temperature 0 the
//! best token wins, of equals the one with the lowest id. The same seed gives the same tokens everywhere:
//! chance comes from a generator of our own, exponentials from `libm`.

mod config;
mod mirostat;
mod penalty;
mod rng;

use alloc::vec::Vec;
use core::cmp::Ordering;

use libm::{expf, logf};

pub use config::{Config, Error, Mirostat};
use penalty::Recent;
use rng::Rng;

/// One token that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which.
    pub id: u32,
    /// Its logit.
    pub logit: f32,
    /// Its share, once shares are computed.
    pub share: f32,
}

/// Most tokens that a sampler asks the backend to pick: beyond that, all logits are as good.
const NEEDS_MAX: u32 = 128;

/// What the next token must fit.
pub trait Constraint {
    /// Whether it may be this one.
    fn allows(&mut self, id: u32) -> bool;

    /// Makes the logits of all tokens that it may not be negative infinity.
    fn restrict(&mut self, logits: &mut [f32]);
}

/// Chooses tokens; remembers the last ones, its chance, and mirostat's aim.
#[derive(Clone, Debug)]
pub struct Sampler {
    config: Config,
    rng: Rng,
    recent: Recent,
    mirostat: mirostat::State,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler that has seen no token.
    ///
    /// # Errors
    /// [`Error`], for an option out of its range.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self {
            rng: Rng::new(config.seed),
            recent: Recent::new(config.repeat_last_n),
            mirostat: mirostat::State::new(&config),
            candidates: Vec::new(),
            config,
        })
    }

    /// Tells of a token that stands in the text, prompt or answer: penalties look back at it.
    pub fn accept(&mut self, id: u32) {
        self.recent.push(id);
    }

    /// How many of the best tokens it chooses among, where that is all it needs to know: [`Self::sample_best`] then
    /// gives what [`Self::sample`] gives. `None` where it looks at the whole vocabulary.
    pub fn needs(&self) -> Option<usize> {
        let Config { temperature, top_k, mirostat, logit_bias, .. } = &self.config;
        if !logit_bias.is_empty() || self.config.penalises() {
            None
        } else if *temperature <= 0.0 {
            Some(1)
        } else {
            (*mirostat == Mirostat::Off && (1..=NEEDS_MAX).contains(top_k)).then_some(*top_k as usize)
        }
    }

    /// Chooses from the best tokens, best first, of which there are at least [`Self::needs`].
    pub fn sample_best(&mut self, best: &[Candidate]) -> u32 {
        if self.config.temperature <= 0.0 || best.is_empty() {
            return best.first().map_or(0, |candidate| candidate.id);
        }
        self.candidates.clear();
        self.candidates.extend(best.iter().take(self.config.top_k as usize));
        self.filter()
    }

    /// Chooses from the logits of the whole vocabulary, which it changes by bias and penalties.
    pub fn sample(&mut self, logits: &mut [f32]) -> u32 {
        self.adjust(logits);
        self.choose(logits)
    }

    /// Chooses among the tokens that `constraint` allows. What is chosen freely is tried first, so that the whole
    /// vocabulary is looked at only when the constraint disagrees with the model.
    ///
    /// Where nothing is allowed, chooses the first token of all: the caller's constraint then has no way on.
    pub fn sample_within(&mut self, logits: &mut [f32], constraint: &mut dyn Constraint) -> u32 {
        self.adjust(logits);
        let id = self.choose(logits);
        if constraint.allows(id) {
            return id;
        }
        constraint.restrict(logits);
        self.choose(logits)
    }

    fn adjust(&mut self, logits: &mut [f32]) {
        for &(id, bias) in &self.config.logit_bias {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += bias;
            }
        }
        self.recent.penalise(&self.config, logits);
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        if self.config.temperature <= 0.0 {
            return best(logits);
        }
        match self.config.mirostat {
            Mirostat::Off => self.choose_plain(logits),
            version => {
                take(logits, logits.len(), &mut self.candidates);
                temper(&mut self.candidates, self.config.temperature);
                self.mirostat.choose(version, &self.config, &mut self.candidates, &mut self.rng)
            }
        }
    }

    fn choose_plain(&mut self, logits: &[f32]) -> u32 {
        let most = if self.config.top_k == 0 { logits.len() } else { self.config.top_k as usize };
        take(logits, most, &mut self.candidates);
        self.filter()
    }

    /// What the filters and chance leave of the candidates, best first.
    fn filter(&mut self) -> u32 {
        let Self { config, candidates, rng, .. } = self;
        if config.typical_p < 1.0 {
            typical(candidates, config.typical_p);
        }
        if config.top_p < 1.0 {
            shares(candidates);
            keep_mass(candidates, config.top_p);
        }
        if config.min_p > 0.0 {
            let least = candidates[0].logit + logf(config.min_p);
            let kept = candidates.iter().take_while(|c| c.logit >= least).count();
            candidates.truncate(kept.max(1));
        }
        temper(candidates, config.temperature);
        draw(candidates, rng)
    }
}

/// The `most` best tokens, at least one, best first.
pub fn take(logits: &[f32], most: usize, candidates: &mut Vec<Candidate>) {
    candidates.clear();
    let most = most.clamp(1, logits.len().max(1));
    let all =
        logits.iter().enumerate().map(|(id, &logit)| Candidate { id: id as u32, logit: sound(logit), share: 0.0 });
    if most * 8 >= logits.len() {
        candidates.extend(all);
        candidates.sort_unstable_by(order);
    } else {
        // Small lists: whoever beats the worst of the kept ones joins; the list is cut when it has doubled.
        let mut bar = f32::NEG_INFINITY;
        for candidate in all {
            if candidate.logit > bar || candidates.len() < most {
                candidates.push(candidate);
                if candidates.len() == 2 * most {
                    candidates.select_nth_unstable_by(most - 1, order);
                    candidates.truncate(most);
                    bar = candidates[most - 1].logit;
                }
            }
        }
        candidates.sort_unstable_by(order);
    }
    candidates.truncate(most);
}

/// Best first; of equals the lower id.
pub fn order(a: &Candidate, b: &Candidate) -> Ordering {
    // No logit is NaN here, and zeros of both signs are equal.
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

/// A logit that is no number must not win.
pub fn sound(logit: f32) -> f32 {
    if logit.is_nan() { f32::NEG_INFINITY } else { logit }
}

/// The token with the highest logit, of equals the first; 0 where there is none.
pub fn best(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (id as u32, logit);
        }
    }
    best.0
}

/// The natural logarithm of a token's share, and the `top` best tokens with theirs, best first.
pub fn logprobs(logits: &[f32], id: u32, top: usize) -> (f32, Vec<(u32, f32)>) {
    let highest = logits.iter().copied().map(sound).fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(expf(sound(logit) - highest))).sum();
    let total = highest + logf(sum as f32);
    let mut list: Vec<(u32, f32)> =
        logits.iter().enumerate().map(|(id, &logit)| (id as u32, sound(logit) - total)).collect();
    let by_share = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if top > 0 && top < list.len() {
        list.select_nth_unstable_by(top - 1, by_share);
    }
    list.truncate(top);
    list.sort_unstable_by(by_share);
    (logits.get(id as usize).map_or(f32::NEG_INFINITY, |&logit| sound(logit) - total), list)
}

fn temper(candidates: &mut [Candidate], temperature: f32) {
    candidates.iter_mut().for_each(|c| c.logit /= temperature);
}

/// Softmax; the first candidate is the best.
fn shares(candidates: &mut [Candidate]) {
    let top = candidates[0].logit;
    let mut sum = 0.0;
    for c in candidates.iter_mut() {
        // All impossible: all alike.
        c.share = if top == f32::NEG_INFINITY { 1.0 } else { expf(c.logit - top) };
        sum += c.share;
    }
    candidates.iter_mut().for_each(|c| c.share /= sum);
}

/// Keeps the first candidates that together reach `mass`, at least one.
fn keep_mass(candidates: &mut Vec<Candidate>, mass: f32) {
    let mut sum = 0.0;
    let kept = candidates.iter().position(|c| {
        sum += c.share;
        sum >= mass
    });
    if let Some(last) = kept {
        candidates.truncate(last + 1);
    }
}

/// Locally typical sampling: keeps those whose surprise is nearest to the expected one.
///
/// Source: Meister et al. 2022, §3.
fn typical(candidates: &mut Vec<Candidate>, mass: f32) {
    shares(candidates);
    let surprise = |c: &Candidate| if c.share > 0.0 { -logf(c.share) } else { f32::INFINITY };
    let entropy: f32 = candidates.iter().filter(|c| c.share > 0.0).map(|c| c.share * surprise(c)).sum();
    let distance = |c: &Candidate| (surprise(c) - entropy).abs();
    candidates.sort_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.id.cmp(&b.id)));
    keep_mass(candidates, mass);
    candidates.sort_unstable_by(order);
}

/// One of the candidates by their shares.
fn draw(candidates: &mut [Candidate], rng: &mut Rng) -> u32 {
    shares(candidates);
    let mut left = rng.unit();
    for c in candidates.iter() {
        left -= c.share;
        if left < 0.0 {
            return c.id;
        }
    }
    candidates[candidates.len() - 1].id
}

#[cfg(test)]
mod tests;
