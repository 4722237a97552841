//! The objects that `/v1/completions` answers with.

use serde_json::{Map, Value, json};

use super::{fingerprint, record};
use crate::{
    daemon::Named,
    engine::Scored,
    talk::{Delta, End, Text},
};

/// A prompt that is given back before its answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Echo {
    /// As it was sent.
    pub text: String,
    /// Its tokens, where probabilities are wanted.
    pub tokens: Vec<Scored>,
}

/// An answer, whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    text: String,
    scored: Vec<Scored>,
}

impl Written {
    /// Takes more of it in. What a model marks as thoughts is text here.
    pub(super) fn take(&mut self, delta: Delta) {
        if let Delta::Thinking(text) | Delta::Content(text) = delta {
            self.text.push_str(&text.text);
            self.scored.extend(text.scored);
        }
    }

    /// The mean logarithm of its tokens' probabilities.
    fn mean(&self) -> f32 {
        let sum: f32 = self.scored.iter().map(|scored| scored.logprob).sum();
        sum / self.scored.len().max(1) as f32
    }
}

/// Makes the objects of one request.
pub(super) struct Records {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    /// Answers to each prompt.
    each: usize,
    /// Whether probabilities are wanted.
    scored: bool,
    /// One for each prompt, or none at all.
    echoes: Vec<Echo>,
}

impl Records {
    pub(super) fn new(named: &Named, model: &str, each: usize, scored: bool, echoes: Vec<Echo>) -> Self {
        Self {
            id: super::name("cmpl-"),
            created: super::now(),
            model: model.into(),
            fingerprint: fingerprint(named),
            each,
            scored,
            echoes,
        }
    }

    fn object(&self, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }

    fn chunk(&self, index: usize, text: &str, logprobs: Value, reason: Option<&str>) -> Value {
        let choice = json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason});
        self.object(vec![choice])
    }

    /// The prompt of an answer, if it is to be given back, and where the answer begins.
    pub(super) fn echo(&self, index: usize) -> (Option<Value>, usize) {
        let mut offset = 0;
        let echo = self.echoes.get(index / self.each).map(|echo| {
            let logprobs = self.logprobs(&echo.tokens, true, &mut offset);
            offset = echo.text.chars().count();
            self.chunk(index, &echo.text, logprobs, None)
        });
        (echo, offset)
    }

    /// More of an answer.
    pub(super) fn piece(&self, index: usize, text: &Text, offset: &mut usize) -> Value {
        let logprobs = if text.scored.is_empty() { Value::Null } else { self.logprobs(&text.scored, false, offset) };
        self.chunk(index, &text.text, logprobs, None)
    }

    /// The last piece of an answer.
    pub(super) fn last(&self, index: usize, end: &End) -> Value {
        self.chunk(index, "", Value::Null, Some(reason(end)))
    }

    /// What it took, after the last piece.
    pub(super) fn usage_chunk(&self, ends: &[End]) -> Value {
        let mut chunk = self.object(Vec::new());
        chunk["usage"] = self.usage(ends);
        chunk
    }

    /// Everything at once: of each prompt's answers the `count` best, where there are more.
    pub(super) fn whole(&self, written: &[Written], ends: &[End], count: usize) -> Value {
        let mut choices = Vec::new();
        for (prompt, answers) in written.chunks(self.each).enumerate() {
            let mut order: Vec<usize> = (0..answers.len()).collect();
            if count < answers.len() {
                order.sort_by(|a, b| answers[*b].mean().total_cmp(&answers[*a].mean()));
            }
            for at in order.into_iter().take(count) {
                let choice = self.choice(choices.len(), prompt, &answers[at], &ends[prompt * self.each + at]);
                choices.push(choice);
            }
        }
        let mut object = self.object(choices);
        object["usage"] = self.usage(ends);
        object
    }

    fn choice(&self, index: usize, prompt: usize, written: &Written, end: &End) -> Value {
        let echo = self.echoes.get(prompt).cloned().unwrap_or_default();
        let is_first = !echo.tokens.is_empty();
        let tokens: Vec<Scored> = echo.tokens.into_iter().chain(written.scored.iter().cloned()).collect();
        let logprobs = self.logprobs(&tokens, is_first, &mut 0);
        let text = echo.text + &written.text;
        json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason(end)})
    }

    /// Tokens, their probabilities and where they begin, counted in characters; `offset` goes on with them. Of a text
    /// that begins with the prompt nobody knows how probable its first token was.
    fn logprobs(&self, scored: &[Scored], from_start: bool, offset: &mut usize) -> Value {
        if !self.scored {
            return Value::Null;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (mut offsets, mut tops) = (Vec::new(), Vec::new());
        for (at, token) in scored.iter().enumerate() {
            offsets.push(*offset);
            // What goes on a character begins none.
            *offset += token.bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
            let is_first = from_start && at == 0;
            let best = token.top.iter().map(|(bytes, logprob)| (text(bytes), json!(logprob)));
            let best: Map<String, Value> = best.collect();
            tops.push(if is_first { Value::Null } else { best.into() });
        }
        let logprob = |(at, token): (usize, &Scored)| (!(from_start && at == 0)).then_some(token.logprob);
        json!({
            "tokens": scored.iter().map(|token| text(&token.bytes)).collect::<Vec<_>>(),
            "token_logprobs": scored.iter().enumerate().map(logprob).collect::<Vec<_>>(),
            "top_logprobs": tops,
            "text_offset": offsets,
        })
    }

    /// Tokens of each prompt, once, and of all answers.
    fn counts(&self, ends: &[End]) -> (usize, usize, usize) {
        let first = || ends.chunks(self.each).filter_map(<[End]>::first);
        let prompt = first().map(|end| end.counts.prompt).sum();
        let cached = first().map(|end| end.counts.cached).sum();
        (prompt, cached, ends.iter().map(|end| end.counts.generated).sum())
    }

    fn usage(&self, ends: &[End]) -> Value {
        let (prompt, cached, generated) = self.counts(ends);
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": {"cached_tokens": cached},
        })
    }
}

/// Why an answer ended; nothing is called here.
fn reason(end: &End) -> &'static str {
    match record::reason(&end.reason) {
        "length" => "length",
        _ => "stop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(scored: bool) -> Records {
        Records {
            id: "cmpl-x".into(),
            created: 1,
            model: "m".into(),
            fingerprint: "fp".into(),
            each: 1,
            scored,
            echoes: Vec::new(),
        }
    }

    fn token(text: &str, logprob: f32) -> Scored {
        Scored { bytes: text.into(), logprob, top: vec![(b"x".to_vec(), -0.5)] }
    }

    #[test]
    fn tokens_have_their_places_and_the_first_of_a_prompt_no_probability() {
        let tokens = [token("é", 0.0), token(" b", -1.0), token("c", -2.0)];
        let mut offset = 0;
        assert_eq!(
            records(true).logprobs(&tokens, true, &mut offset),
            json!({"tokens": ["é", " b", "c"], "token_logprobs": [null, -1.0, -2.0],
                "top_logprobs": [null, {"x": -0.5}, {"x": -0.5}], "text_offset": [0, 1, 3]})
        );
        assert_eq!(offset, 4);
        assert!(records(false).logprobs(&tokens, true, &mut offset).is_null());
    }

    #[test]
    fn of_many_answers_the_most_probable_are_given() {
        let written = |text: &str, logprob| Written { text: text.into(), scored: vec![token(text, logprob)] };
        let end = End {
            reason: crate::talk::Reason::Length,
            tokens: Vec::new(),
            counts: crate::engine::Counts { prompt: 3, cached: 0, generated: 1 },
            thinking: 0,
            durations: crate::engine::Durations::default(),
        };
        let records = Records { each: 3, ..records(false) };
        let all = [written("a", -3.0), written("b", -1.0), written("c", -2.0)];
        let whole = records.whole(&all, &[end.clone(), end.clone(), end], 2);
        let texts: Vec<&str> = (0..2).map(|i| whole["choices"][i]["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["b", "c"]);
        assert_eq!(whole["choices"][2], Value::Null);
        assert_eq!(whole["usage"]["total_tokens"], 6);
    }
}
