//! Options by the names that Modelfiles and Ollama's API give them.

use serde_json::Value;
use tutu_llm::sample;

use super::Ask;

/// How a model answers, apart from what it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How tokens are chosen.
    pub sampling: sample::Config,
    /// Whether a seed was given.
    pub seeded: bool,
    /// Most tokens of an answer; `None` until the model ends it.
    pub predict: Option<usize>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Tokens that stay when the context shifts.
    pub keep: usize,
    /// Tokens of the context; `None` for what is set.
    pub context: Option<usize>,
    /// The name of a small model that guesses ahead.
    pub draft: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sampling: sample::Config::default(),
            seeded: false,
            predict: None,
            stop: Vec::new(),
            keep: 4,
            context: None,
            draft: None,
        }
    }
}

/// Whether an option was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It counts.
    Used,
    /// It is known and changes nothing here: how a model is computed is this machine's matter.
    Unused,
    /// Nobody knows it.
    Unknown,
}

/// Known to Ollama, now or once, and without effect here.
const UNUSED: &[&str] = &[
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "num_thread",
    "draft_num_predict",
    "tfs_z",
    "penalize_newline",
    "numa",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "use_mlock",
    "embedding_only",
];

impl Options {
    /// Sets one option; null leaves it as it is.
    ///
    /// # Errors
    /// What is wrong with the value, with the option's name in it; then nothing was set.
    pub fn set(&mut self, key: &str, value: &Value) -> Result<Taken, String> {
        if value.is_null() {
            return Ok(Taken::Used);
        }
        let before = self.clone();
        let taken = self.put(key, value)?;
        self.sampling.check().map_err(|error| {
            *self = before;
            error.to_string()
        })?;
        Ok(taken)
    }

    fn put(&mut self, key: &str, value: &Value) -> Result<Taken, String> {
        let float = || value.as_f64().map(|x| x as f32).ok_or_else(|| wrong(key, "float32", value));
        let whole = || value.as_f64().map(|x| x as i64).ok_or_else(|| wrong(key, "integer", value));
        let natural =
            || whole().and_then(|n| u32::try_from(n).map_err(|_| format!("option {key:?} cannot be {value}")));
        let sampling = &mut self.sampling;
        match key {
            "temperature" => sampling.temperature = float()?,
            "top_k" => sampling.top_k = u32::try_from(whole()?.max(0)).unwrap_or(u32::MAX),
            "top_p" => sampling.top_p = float()?,
            "min_p" => sampling.min_p = float()?,
            "typical_p" => sampling.typical_p = float()?,
            "repeat_penalty" => sampling.repeat_penalty = float()?,
            "repeat_last_n" => sampling.repeat_last_n = u32::try_from(whole()?).ok(),
            "presence_penalty" => sampling.presence_penalty = float()?,
            "frequency_penalty" => sampling.frequency_penalty = float()?,
            "mirostat" => {
                sampling.mirostat = match whole()? {
                    0 => sample::Mirostat::Off,
                    1 => sample::Mirostat::V1,
                    2 => sample::Mirostat::V2,
                    _ => return Err(format!("option \"mirostat\" is 0, 1 or 2 and not {value}")),
                }
            }
            "mirostat_tau" => sampling.mirostat_tau = float()?,
            "mirostat_eta" => sampling.mirostat_eta = float()?,
            "seed" => {
                let seed = whole()?;
                self.seeded = seed >= 0;
                sampling.seed = seed as u64;
            }
            "num_ctx" => self.context = Some(natural()? as usize).filter(|context| *context > 0),
            "num_predict" => self.predict = usize::try_from(whole()?).ok(),
            "num_keep" => self.keep = usize::try_from(whole()?).unwrap_or(usize::MAX),
            "stop" => self.stop = texts(value).ok_or_else(|| wrong(key, "list of strings", value))?,
            "draft_model" => {
                let name = value.as_str().ok_or_else(|| wrong(key, "string", value))?;
                self.draft = Some(name.to_owned()).filter(|name| !name.is_empty());
            }
            key if UNUSED.contains(&key) => return Ok(Taken::Unused),
            _ => return Ok(Taken::Unknown),
        }
        Ok(Taken::Used)
    }

    /// What was stored with a model; what another program stored and we do not know is nobody's fault here.
    pub fn take_stored<'v>(&mut self, parameters: impl IntoIterator<Item = (&'v String, &'v Value)>) {
        parameters.into_iter().for_each(|(key, value)| drop(self.set(key, value)));
    }

    /// Puts them into an ask. Whoever gave no seed gets one that nobody chose.
    pub fn apply(&self, ask: &mut Ask) {
        let logit_bias = std::mem::take(&mut ask.sampling.logit_bias);
        ask.sampling = sample::Config { logit_bias, ..self.sampling.clone() };
        if !self.seeded {
            ask.sampling.seed = fresh_seed();
        }
        (ask.predict, ask.keep) = (self.predict, self.keep);
        ask.stop.clone_from(&self.stop);
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().map(String::from)).collect(),
        _ => None,
    }
}

fn wrong(key: &str, kind: &str, value: &Value) -> String {
    format!("option {key:?} must be of type {kind}, and {value} is not")
}

/// A seed that nobody chose.
pub fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's hasher keys are random for each process and differ for each call.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_are_set_by_name_and_whole_numbers_may_have_a_point() {
        let mut options = Options::default();
        for (key, value) in [
            ("temperature", json!(0.5)),
            ("top_k", json!(7.0)),
            ("num_ctx", json!(2048)),
            ("stop", json!(["a", "b"])),
            ("num_predict", json!(-1)),
            ("seed", json!(3)),
            ("top_p", Value::Null),
        ] {
            assert_eq!(options.set(key, &value), Ok(Taken::Used), "{key}");
        }
        assert_eq!((options.sampling.top_k, options.context, options.predict), (7, Some(2048), None));
        assert_eq!((options.stop.len(), options.seeded, options.sampling.seed), (2, true, 3));
        assert_eq!(options.set("num_gpu", &json!(1)), Ok(Taken::Unused));
        assert_eq!(options.set("colour", &json!(1)), Ok(Taken::Unknown));
    }

    #[test]
    fn what_cannot_be_is_said_with_its_name_and_changes_nothing() {
        let mut options = Options::default();
        for (key, value) in [
            ("num_ctx", json!("many")),
            ("temperature", json!("warm")),
            ("temperature", json!(-1)),
            ("stop", json!([1])),
            ("mirostat", json!(5)),
            ("num_ctx", json!(-4)),
        ] {
            let text = options.set(key, &value).unwrap_err();
            assert!(text.contains(key), "{text}");
        }
        assert_eq!(options, Options::default());
    }
}
