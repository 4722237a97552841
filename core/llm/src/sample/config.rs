//! What can be asked of a sampler, with the defaults that Ollama has.

use alloc::vec::Vec;
use core::fmt;

/// Options of a sampler.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Logits are divided by it; 0: always the best token. 0 to 100, default 0.8.
    pub temperature: f32,
    /// Only so many of the best tokens; 0 for all. Default 40.
    pub top_k: u32,
    /// Only the best tokens that together have this share. 0 to 1, default 0.9.
    pub top_p: f32,
    /// Only tokens with at least this part of the best one's share. 0 to 1, default 0.
    pub min_p: f32,
    /// Locally typical sampling; 1 switches it off. 0 to 1, default 1.
    pub typical_p: f32,
    /// Tokens that penalties look back at; `None` for all.
    pub repeat_last_n: Option<u32>,
    /// Logits of recent tokens are divided by it (multiplied where negative); 1 switches it off. Above 0.
    pub repeat_penalty: f32,
    /// Taken from the logit of every recent token. -100 to 100, default 0.
    pub presence_penalty: f32,
    /// Taken from the logit of a recent token as often as it came. -100 to 100, default 0.
    pub frequency_penalty: f32,
    /// Mirostat in place of the filters.
    pub mirostat: Mirostat,
    /// The surprise that mirostat aims at, in bits. Default 5.
    pub mirostat_tau: f32,
    /// How fast mirostat corrects itself. Default 0.1.
    pub mirostat_eta: f32,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Where chance begins.
    pub seed: u64,
}

/// Which mirostat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mirostat {
    /// None.
    #[default]
    Off,
    /// The first, with its estimate of the tail.
    V1,
    /// The second, which cuts at the aim.
    V2,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.0,
            typical_p: 1.0,
            repeat_last_n: Some(64),
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            mirostat: Mirostat::Off,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// An option out of its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Error {
    /// Its name.
    pub option: &'static str,
    /// What was asked.
    pub value: f32,
    /// The least that is possible.
    pub least: f32,
    /// The most that is possible.
    pub most: f32,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, and must be between {} and {}", self.option, self.value, self.least, self.most)
    }
}

impl core::error::Error for Error {}

impl Config {
    /// Whether what was said before changes logits.
    pub(super) fn penalises(&self) -> bool {
        self.repeat_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// Whether all options are in their ranges.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), Error> {
        let ranges = [
            ("temperature", self.temperature, 0.0, 100.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("typical_p", self.typical_p, 0.0, 1.0),
            ("repeat_penalty", self.repeat_penalty, f32::MIN_POSITIVE, 100.0),
            ("presence_penalty", self.presence_penalty, -100.0, 100.0),
            ("frequency_penalty", self.frequency_penalty, -100.0, 100.0),
            ("mirostat_tau", self.mirostat_tau, 0.0, 100.0),
            ("mirostat_eta", self.mirostat_eta, 0.0, 1.0),
        ];
        // Written so that NaN is outside.
        match ranges.into_iter().find(|&(_, value, least, most)| !(least..=most).contains(&value)) {
            Some((option, value, least, most)) => Err(Error { option, value, least, most }),
            None => Ok(()),
        }
    }
}
