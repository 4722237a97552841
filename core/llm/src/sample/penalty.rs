//! Penalties for what was said already.

use alloc::collections::{BTreeMap, VecDeque};

use super::Config;

/// The last tokens, and how often each of them came.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    /// `None`: all.
    most: Option<usize>,
    order: VecDeque<u32>,
    counts: BTreeMap<u32, u32>,
}

impl Recent {
    pub(super) fn new(most: Option<u32>) -> Self {
        Self { most: most.map(|n| n as usize), order: VecDeque::new(), counts: BTreeMap::new() }
    }

    pub(super) fn push(&mut self, id: u32) {
        if self.most == Some(0) {
            return;
        }
        if self.most == Some(self.order.len()) {
            let old = self.order.pop_front().expect("it is full and not of size 0");
            if let Some(count) = self.counts.get_mut(&old) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&old);
                }
            }
        }
        self.order.push_back(id);
        *self.counts.entry(id).or_default() += 1;
    }

    /// Keskar et al. 2019, §4.1 (CTRL) for the repeat penalty, with the sign handled as llama.cpp does;
    /// presence and frequency as in OpenAI's API.
    pub(super) fn penalise(&self, config: &Config, logits: &mut [f32]) {
        if !config.penalises() {
            return;
        }
        for (&id, &count) in &self.counts {
            let Some(logit) = logits.get_mut(id as usize) else { continue };
            if *logit > 0.0 {
                *logit /= config.repeat_penalty;
            } else {
                *logit *= config.repeat_penalty;
            }
            *logit -= count as f32 * config.frequency_penalty + config.presence_penalty;
        }
    }
}
