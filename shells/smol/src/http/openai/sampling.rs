//! What all routes that write text have in common: how tokens are chosen, how many, until when, in which context.

use serde_json::{Map, Value};
use tutu_node::kit::Keep;

use super::{Refused, ollama};
use crate::{
    daemon::{Client, Hearing, Named, Wish},
    talk::{Ask, Options, Overflow},
};

/// Stop texts at most. OpenAI takes four; local programs have always taken more.
const STOPS_MAX: usize = 64;
/// Answers to one question at most, as OpenAI has it.
const ANSWERS_MAX: i64 = 128;

/// What the least bias means: never, however sure the model is; but for a grammar that allows nothing else.
const BAN: f32 = -1e9;

/// Not among OpenAI's fields, and worth having: by the names that Ollama gives them.
const EXTRAS: &[&str] = &[
    "top_k",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "repeat_last_n",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "num_ctx",
    "num_keep",
    "draft_model",
];

/// See the module.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Sampling {
    settings: Vec<(&'static str, Value)>,
    bias: Vec<(u32, f32)>,
    keep: Option<Keep>,
    adapters: Vec<Wish>,
    /// What to do with a prompt that does not fit; `None` where nobody said.
    pub overflow: Option<Overflow>,
    /// How many answers.
    pub count: usize,
    /// Most tokens of each.
    pub most: Option<usize>,
}

impl Sampling {
    /// Takes its fields out of a request.
    ///
    /// # Errors
    /// A field that cannot be what it is.
    pub(in crate::http) fn take(fields: &mut Map<String, Value>) -> Result<Self, Refused> {
        Self::take_with(fields, 1)
    }

    /// The same, where an answer has at least so many tokens.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(in crate::http) fn take_with(fields: &mut Map<String, Value>, least: u64) -> Result<Self, Refused> {
        let mut sampling = Self { count: 1, ..Self::default() };
        for (name, least, most) in [
            ("temperature", 0.0, 2.0),
            ("top_p", 0.0, 1.0),
            ("presence_penalty", -2.0, 2.0),
            ("frequency_penalty", -2.0, 2.0),
        ] {
            if let Some(value) = fields.remove(name) {
                number(name, &value, least, most)?;
                sampling.settings.push((name, value));
            }
        }
        for name in EXTRAS {
            sampling.settings.extend(fields.remove(*name).map(|value| (*name, value)));
        }
        if let Some(seed) = fields.remove("seed") {
            let seed =
                seed.as_i64().ok_or_else(|| Refused::bad("seed", format!("seed is a whole number, not {seed}")))?;
            sampling.settings.push(("seed", seed.into()));
        }
        if let Some(stop) = fields.remove("stop") {
            sampling.settings.push(("stop", stops(stop)?));
        }
        if let Some(bias) = fields.remove("logit_bias") {
            sampling.bias = biases(&bias)?;
        }
        if let Some(count) = fields.remove("n") {
            let wrong = || Refused::bad("n", format!("n is a number from 1 to {ANSWERS_MAX}, not {count}"));
            let count = count.as_i64().filter(|n| (1..=ANSWERS_MAX).contains(n)).ok_or_else(wrong)?;
            sampling.count = count as usize;
        }
        let keep = ollama::keep(fields.remove("keep_alive").as_ref());
        sampling.keep = keep.map_err(|refused| Refused::bad("keep_alive", refused.text))?;
        let adapters = fields.remove("adapters").unwrap_or_default();
        sampling.adapters = Wish::read(&adapters).map_err(|why| Refused::bad("adapters", why))?;
        sampling.overflow = overflow(fields.remove("truncation"))?;
        for name in ["max_tokens", "max_completion_tokens", "max_output_tokens"] {
            if let Some(value) = fields.remove(name) {
                let wrong = || {
                    let text = format!("{name} is at least {least}, not {value}; leave it out for no limit");
                    Refused::bad(name, text)
                };
                let most = value.as_u64().filter(|n| *n >= least).ok_or_else(wrong)?;
                sampling.most = Some(usize::try_from(most).unwrap_or(usize::MAX));
            }
        }
        Ok(sampling)
    }

    /// Puts them into an ask, and says who hears its answer.
    ///
    /// What was stored with the model counts where the request says nothing, and after that what OpenAI has.
    ///
    /// # Errors
    /// A field that cannot be what it is.
    pub(in crate::http) fn apply(&self, ask: &mut Ask, named: &Named, client: Client) -> Result<Hearing, Refused> {
        let mut options = Options::default();
        (options.sampling.temperature, options.sampling.top_p) = (1.0, 1.0);
        options.take_stored(named.model.parameters.iter().flatten());
        for (key, value) in &self.settings {
            options.set(key, value).map_err(|why| Refused::bad(key, why))?;
        }
        let words = named.facts.vocabulary as u32;
        if let Some((id, _)) = self.bias.iter().find(|(id, _)| *id >= words) {
            return Err(Refused::bad("logit_bias", format!("there is no token {id}: this model has {words}")));
        }
        options.apply(ask);
        ask.sampling.logit_bias.clone_from(&self.bias);
        ask.predict = self.most.or(ask.predict);
        ask.overflow = self.overflow.unwrap_or_default();
        // An answer that nobody limited ends with the context, and a single message is never cut.
        ask.shift = false;
        let (adapters, draft) = (self.adapters.clone(), options.draft);
        Ok(Hearing { client, context: options.context, keep: self.keep, adapters, draft })
    }
}

/// A number within its range.
pub(in crate::http) fn number(name: &str, value: &Value, least: f64, most: f64) -> Result<f64, Refused> {
    let wrong = || Refused::bad(name, format!("{name} is a number from {least} to {most}, not {value}"));
    value.as_f64().filter(|x| (least..=most).contains(x)).ok_or_else(wrong)
}

fn stops(value: Value) -> Result<Value, Refused> {
    let wrong = || Refused::bad("stop", "stop is a text, or a list of texts");
    let list = match value {
        Value::String(text) => vec![Value::String(text)],
        Value::Array(list) if list.iter().all(Value::is_string) => list,
        _ => return Err(wrong()),
    };
    if list.len() > STOPS_MAX {
        return Err(Refused::bad("stop", format!("at most {STOPS_MAX} stop texts can be looked for")));
    }
    Ok(list.into_iter().filter(|text| text != "").collect())
}

fn biases(value: &Value) -> Result<Vec<(u32, f32)>, Refused> {
    let wrong = || Refused::bad("logit_bias", "logit_bias is an object from token ids to numbers from -100 to 100");
    let one = |(id, bias): (&String, &Value)| {
        let id = id.parse().map_err(|_| wrong())?;
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias)).ok_or_else(wrong)?;
        Ok((id, if bias <= -100.0 { BAN } else { bias as f32 }))
    };
    value.as_object().ok_or_else(wrong)?.iter().map(one).collect()
}

fn overflow(value: Option<Value>) -> Result<Option<Overflow>, Refused> {
    match value.as_ref().map(|value| value.as_str().unwrap_or_default()) {
        None => Ok(None),
        Some("auto") => Ok(Some(Overflow::Fit)),
        Some("disabled") => Ok(Some(Overflow::Refuse)),
        Some(_) => Err(Refused::bad("truncation", "truncation is \"auto\" or \"disabled\"")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn take(value: Value) -> Result<Sampling, Refused> {
        Sampling::take(&mut value.as_object().unwrap().clone())
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_its_name() {
        for (value, name) in [
            (json!({"temperature": 2.1}), "temperature"),
            (json!({"temperature": "warm"}), "temperature"),
            (json!({"top_p": -0.1}), "top_p"),
            (json!({"presence_penalty": 3}), "presence_penalty"),
            (json!({"frequency_penalty": -3}), "frequency_penalty"),
            (json!({"n": 0}), "n"),
            (json!({"n": 1.5}), "n"),
            (json!({"seed": "x"}), "seed"),
            (json!({"stop": 1}), "stop"),
            (json!({"stop": ["a", 1]}), "stop"),
            (json!({"logit_bias": {"a": 1}}), "logit_bias"),
            (json!({"logit_bias": {"1": 101}}), "logit_bias"),
            (json!({"logit_bias": [1]}), "logit_bias"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_completion_tokens": -1}), "max_completion_tokens"),
            (json!({"keep_alive": "soon"}), "keep_alive"),
            (json!({"truncation": "some"}), "truncation"),
        ] {
            let refused = take(value.clone()).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some(name), "{value}");
        }
    }

    #[test]
    fn its_fields_are_taken_and_the_others_stay() {
        let mut fields = json!({"temperature": 0, "n": 2, "top_k": 1, "stop": "a", "max_tokens": 3, "model": "m",
            "logit_bias": {"5": -100, "6": 2.5}});
        let sampling = Sampling::take(fields.as_object_mut().unwrap()).unwrap();
        assert_eq!(fields, json!({"model": "m"}));
        assert_eq!((sampling.count, sampling.most), (2, Some(3)));
        assert_eq!(sampling.bias, [(5, BAN), (6, 2.5)]);
    }
}
