//! What is asked of a real model is what comes back: schemas, calls, thoughts, stops, and prompts that do not fit.
//!
//! Needs real models: `TUTU_TEST_MODELS` names their folder (`ci/models`). `TUTU_SAMPLES` says how many answers to each
//! schema are looked at (2; `just schemas` for 50).

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tutu::{
    engine::{Engine, Flow, Options, Sources},
    talk::{
        Ask, Choice, Delta, End, Error, Form, Heard, Input, Overflow, Prepared, Reason, Think, Tool, prepare, render,
    },
};
use tutu_llm::{chat::Message, sample};

const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// A template that lets its model think.
const THINKS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    <|im_start|>assistant\n{% if enable_thinking is not false %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}";

fn open(options: Options) -> Option<Engine> {
    let Some(folder) = std::env::var_os("TUTU_TEST_MODELS").map(PathBuf::from) else {
        println!("skipped: TUTU_TEST_MODELS is not set");
        return None;
    };
    let sources = Sources { files: vec![folder.join(SMOLLM2)], ..Sources::default() };
    Some(Engine::open(&sources, options).expect("the model is sound"))
}

fn small() -> Options {
    Options { context: 512, threads: 2, ..Options::default() }
}

fn question(text: &str) -> Ask {
    Ask { input: Input::Chat(vec![Message::new("user", text)]), predict: Some(120), ..Ask::default() }
}

/// Chance as wild as the samplers let it be.
fn wild(seed: u64) -> sample::Config {
    sample::Config { temperature: 1.5, top_k: 0, top_p: 1.0, seed, ..sample::Config::default() }
}

/// All that was heard of an answer.
#[derive(Default)]
struct Answer {
    thinking: String,
    content: String,
    /// Name and arguments of each call that is complete.
    calls: Vec<(String, Value)>,
    open: (String, String),
    scored: Vec<u8>,
    end: Option<End>,
}

impl Answer {
    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Delta(Delta::Thinking(text)) => self.thinking += &text.text,
            Heard::Delta(Delta::Content(text)) => {
                self.content += &text.text;
                text.scored.into_iter().for_each(|scored| self.scored.extend(scored.bytes));
            }
            Heard::Delta(Delta::Call { name, .. }) => self.open = (name, String::new()),
            Heard::Delta(Delta::Arguments { text, .. }) => self.open.1 += &text.text,
            Heard::Delta(Delta::CallEnd { .. }) => {
                let (name, arguments) = std::mem::take(&mut self.open);
                let arguments = serde_json::from_str(&arguments).unwrap_or_else(|e| panic!("{e}: {arguments}"));
                self.calls.push((name, arguments));
            }
            Heard::End(end) => self.end = Some(end),
            Heard::Failed(error) => panic!("{error}"),
        }
    }

    fn reason(&self) -> &Reason {
        &self.end.as_ref().expect("every answer ends").reason
    }
}

/// The answers, some of them at once.
fn answers(engine: &mut Engine, prepared: Vec<Prepared>, at_once: usize) -> Vec<Answer> {
    let answers: Vec<Arc<Mutex<Answer>>> = prepared.iter().map(|_| Arc::default()).collect();
    let mut rest = prepared.into_iter().zip(&answers);
    loop {
        while engine.busy() < at_once
            && let Some((prepared, answer)) = rest.next()
        {
            let answer = Arc::clone(answer);
            let sink = prepared.sink(move |heard| {
                answer.lock().unwrap().hear(heard);
                Flow::Continue
            });
            engine.submit(prepared.request, sink).unwrap();
        }
        if engine.busy() == 0 {
            break;
        }
        engine.step().unwrap();
    }
    let own = |answer: Arc<Mutex<Answer>>| std::mem::take(&mut *answer.lock().unwrap());
    answers.into_iter().map(own).collect()
}

fn answer(engine: &mut Engine, ask: &Ask) -> Answer {
    let prepared = prepare(engine.card(), ask).unwrap();
    answers(engine, vec![prepared], 1).remove(0)
}

/// Ten schemas of growing difficulty.
fn schemas() -> Vec<Value> {
    vec![
        json!({"type": "boolean"}),
        json!({"type": "integer", "minimum": -17, "maximum": 4096}),
        json!({"enum": ["red", "green", "blue", 7, null]}),
        json!({"type": "object", "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 130}},
            "required": ["name", "age"], "additionalProperties": false}),
        json!({"type": "array", "items": {"type": "number", "exclusiveMinimum": -1.5, "maximum": 2.25}, "minItems": 2, "maxItems": 5}),
        json!({"type": "object", "properties": {"id": {"type": "string", "pattern": "^[A-Z]{3}-\\d{2,4}$"}, "when": {"type": "string", "format": "date"},
            "mail": {"type": "string", "format": "email"}}, "required": ["id", "when"]}),
        json!({"type": "object", "properties": {"kind": {"const": "order"}, "lines": {"type": "array", "minItems": 1, "maxItems": 3,
            "items": {"type": "object", "properties": {"sku": {"type": "string", "pattern": "^[a-z0-9]{4,8}$"}, "count": {"type": "integer", "minimum": 1},
                "price": {"type": "number", "minimum": 0}}, "required": ["sku", "count"], "additionalProperties": false}}},
            "required": ["kind", "lines"]}),
        json!({"oneOf": [
            {"type": "object", "properties": {"shape": {"const": "circle"}, "radius": {"type": "number", "exclusiveMinimum": 0}}, "required": ["shape", "radius"]},
            {"type": "object", "properties": {"shape": {"enum": ["square", "box"]}, "side": {"type": "integer", "minimum": 1}}, "required": ["shape", "side"]},
            {"type": "string", "maxLength": 12}]}),
        json!({"$defs": {"node": {"type": "object", "properties": {"value": {"type": ["integer", "null"]},
            "children": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/node"}}}, "required": ["value", "children"], "additionalProperties": false}},
            "$ref": "#/$defs/node"}),
        json!({"allOf": [{"$ref": "#/definitions/named"}, {"type": "object", "properties": {"level": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["level"]}],
            "properties": {"tags": {"type": "array", "items": {"anyOf": [{"type": "string", "maxLength": 6}, {"type": "integer"}]}, "maxItems": 3},
                "extra": {"type": "object", "additionalProperties": {"type": "boolean"}}},
            "required": ["tags"],
            "definitions": {"named": {"type": "object", "properties": {"name": {"type": "string", "minLength": 2, "maxLength": 16}}, "required": ["name"]}}}),
    ]
}

#[test]
fn whatever_the_chance_each_answer_satisfies_its_schema() {
    let Some(mut engine) = open(Options { texts: 32, ..small() }) else { return };
    let samples = std::env::var("TUTU_SAMPLES").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let schemas = schemas();
    let mut prepared = Vec::new();
    for schema in &schemas {
        for seed in 0..samples {
            let ask = Ask {
                form: Form::Schema(schema.clone()),
                sampling: wild(seed),
                ..question("Give me an example as JSON.")
            };
            prepared.push(prepare(engine.card(), &ask).unwrap());
        }
    }
    let answers = answers(&mut engine, prepared, 32);
    let mut texts = std::collections::BTreeSet::new();
    for (schema, answers) in schemas.iter().zip(answers.chunks(samples as usize)) {
        let validator = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
        for answer in answers {
            let text = &answer.content;
            let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text} for {schema}"));
            if let Err(error) = validator.validate(&value) {
                panic!("{error}: {text} for {schema}");
            }
            texts.insert(text.clone());
        }
    }
    println!("{} answers, {} of them different, all valid", answers.len(), texts.len());
    assert!(texts.len() > schemas.len(), "chance had no say");
}

fn weather() -> Vec<Tool> {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
        "required": ["city", "days"], "additionalProperties": false});
    let tool =
        |name: &str, parameters| Tool { name: name.into(), description: "A tool.".into(), parameters, strict: true };
    vec![
        tool("get_weather", parameters),
        tool(
            "get_time",
            json!({"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"]}),
        ),
    ]
}

#[test]
fn a_call_that_is_required_comes_and_fits_its_schema() {
    let Some(mut engine) = open(Options { texts: 8, ..small() }) else { return };
    let tools = weather();
    for (choice, parallel) in [(Choice::Required, true), (Choice::Named("get_time".into()), false)] {
        let prepared = (0..8).map(|seed| {
            let (tools, choice) = (tools.clone(), choice.clone());
            let ask = Ask { tools, choice, parallel, sampling: wild(seed), ..question("What is the weather in Rome?") };
            prepare(engine.card(), &ask).unwrap()
        });
        let prepared = prepared.collect();
        for answer in answers(&mut engine, prepared, 8) {
            assert!(!answer.calls.is_empty() && answer.content.is_empty(), "{}", answer.content);
            assert!(parallel || answer.calls.len() == 1);
            // A call that the limit of tokens cut off is none of the complete ones.
            assert!(matches!(answer.reason(), Reason::Calls | Reason::Length));
            for (name, arguments) in &answer.calls {
                assert!(parallel || name == "get_time");
                let tool = tools.iter().find(|tool| tool.name == *name).expect("one of the tools");
                assert!(jsonschema::is_valid(&tool.parameters, arguments), "{arguments}");
            }
        }
    }
}

#[test]
fn thoughts_come_first_and_end_when_they_take_too_long() {
    let Some(mut engine) = open(small()) else { return };
    for seed in 0..3 {
        let ask = Ask {
            template: Some(THINKS.into()),
            thinking_max: Some(12),
            form: Form::Schema(
                json!({"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}),
            ),
            sampling: sample::Config { seed, ..sample::Config::default() },
            ..question("What is two plus two?")
        };
        let thought = answer(&mut engine, &ask);
        assert!(!thought.thinking.is_empty());
        assert!(thought.end.as_ref().unwrap().thinking < 12 + 8, "the mark has few tokens");
        let value: Value = serde_json::from_str(&thought.content).unwrap();
        assert!(value["sum"].is_i64(), "{value}");
        let still = answer(&mut engine, &Ask { think: Think::Off, ..ask });
        assert_eq!((still.thinking.as_str(), still.end.as_ref().unwrap().thinking), ("", 0));
        assert!(serde_json::from_str::<Value>(&still.content).is_ok());
    }
}

#[test]
fn a_stop_text_ends_the_answer_and_tokens_with_their_chances_are_its_text() {
    let Some(mut engine) = open(small()) else { return };
    let ask = Ask {
        logprobs: Some(2),
        sampling: sample::Config { temperature: 0.0, ..sample::Config::default() },
        ..question("Name three fruits.")
    };
    let whole = answer(&mut engine, &ask);
    assert_eq!(String::from_utf8(whole.scored).unwrap(), whole.content);
    let words: Vec<&str> = whole.content.split(' ').collect();
    let stop = words[words.len() / 2].to_owned();
    let cut = answer(&mut engine, &Ask { stop: vec![stop.clone(), "\u{0}".into()], ..ask });
    assert_eq!(Some(cut.content.as_str()), whole.content.split(&stop).next());
    assert_eq!(cut.reason(), &Reason::StopText(stop));
    assert!(cut.end.unwrap().counts.generated < whole.end.unwrap().counts.generated);
}

#[test]
fn what_does_not_fit_is_left_out_and_counted_or_refused() {
    let Some(engine) = open(small()) else { return };
    let card = engine.card();
    let long = "word ".repeat(60);
    let mut messages = vec![Message::new("system", "Be brief.")];
    for at in 0..10 {
        messages.push(Message::new("user", &format!("{at} {long}")));
        messages.push(Message::new("assistant", "Yes."));
    }
    messages.push(Message::new("user", "The last one."));
    let ask = Ask { input: Input::Chat(messages.clone()), ..Ask::default() };
    let fitted = render(card, &ask).unwrap();
    assert!(fitted.tokens.len() < card.context());
    assert!(fitted.text.contains("Be brief.") && fitted.text.contains("The last one."));
    assert!(!fitted.text.contains("0 word") && fitted.text.contains("9 word"));
    assert!(fitted.dropped.messages > 0 && fitted.dropped.messages.is_multiple_of(2), "{:?}", fitted.dropped);
    let prepared = prepare(card, &ask).unwrap();
    assert_eq!((prepared.dropped, prepared.request.prompt.len()), (fitted.dropped, fitted.tokens.len()));
    let refused = Ask { overflow: Overflow::Refuse, ..ask };
    assert!(matches!(prepare(card, &refused), Err(Error::TooLong { tokens, context: 512 }) if tokens > 512));
    // One message that is too long by itself.
    let one = Ask { input: Input::Chat(vec![Message::new("user", &"word ".repeat(1000))]), ..Ask::default() };
    let cut = render(card, &one).unwrap();
    assert_eq!(cut.tokens.len(), 256, "half of the context");
    assert_eq!((cut.dropped.messages, cut.dropped.tokens > 700), (0, true));
    assert!(matches!(prepare(card, &Ask { shift: false, ..one }), Err(Error::TooLong { .. })));
}

#[test]
fn what_cannot_be_had_is_refused_or_said() {
    let Some(engine) = open(small()) else { return };
    let refusal = |ask: Ask| prepare(engine.card(), &ask).map(|_| ()).unwrap_err().to_string();
    let strict = Tool { name: "f".into(), parameters: json!({"not": {}}), strict: true, ..Tool::default() };
    for (ask, said) in [
        (Ask { form: Form::Schema(json!({"not": {}})), ..question("a") }, "\"not\""),
        (Ask { form: Form::Gbnf("root ::= a".into()), ..question("a") }, "\"a\""),
        (Ask { tools: vec![strict.clone()], ..question("a") }, "the tool \"f\""),
        (Ask { choice: Choice::Named("g".into()), tools: weather(), ..question("a") }, "\"g\""),
        (Ask { choice: Choice::Required, ..question("a") }, "must be called"),
        (Ask { template: Some("{{ if }}".into()), ..question("a") }, "template"),
        (Ask { input: Input::Raw(String::new()), ..Ask::default() }, "nothing to go on from"),
        (Ask { input: Input::Gap { prompt: "a".into(), suffix: "b".into() }, ..Ask::default() }, "gap"),
        (Ask { sampling: sample::Config { top_p: 2.0, ..sample::Config::default() }, ..question("a") }, "top_p"),
    ] {
        let refusal = refusal(ask);
        assert!(refusal.contains(said), "{refusal}");
    }
    let lax = Tool { strict: false, ..strict };
    assert!(prepare(engine.card(), &Ask { tools: vec![lax], ..question("a") }).is_ok());
    let think = Ask { think: Think::On, ..question("a") };
    assert_eq!(prepare(engine.card(), &think).unwrap().unused, ["think"]);
}

#[test]
fn a_raw_prompt_is_read_as_it_is_and_its_control_tokens_are_such() {
    let Some(engine) = open(small()) else { return };
    let of = |input| render(engine.card(), &Ask { input, ..Ask::default() }).unwrap().tokens;
    let chat = of(Input::Chat(vec![Message::new("system", "S"), Message::new("user", "Q")]));
    let raw = of(Input::Raw(
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n".into(),
    ));
    assert_eq!(chat, raw);
    assert_eq!(of(Input::Tokens(chat.clone())), chat);
    let prompt = of(Input::Prompt { system: Some("S".into()), prompt: "Q".into(), context: vec![1, 2, 3] });
    assert_eq!(prompt[..3], [1, 2, 3]);
    assert_eq!(prompt[3..], chat);
    // An answer that was begun is gone on with.
    let begun = of(Input::Chat(vec![
        Message::new("system", "S"),
        Message::new("user", "Q"),
        Message::new("assistant", "Well,"),
    ]));
    assert_eq!(begun[..chat.len()], chat);
    assert!(begun.len() > chat.len());
}
