//! The targets. None may panic, hang, or ask for much more memory than its input has bytes.

use std::{hint::black_box, sync::Arc};

use serde_json::json;
use tutu_llm::{
    arch::Model,
    chat::{Call, Guard, Message, Segment, ToolCall},
    gguf::{self, Array, Gguf, Value, ValueType},
    gotmpl::{Input, Limits, Template, Think},
    grammar::{self, Grammar, Machine},
    quant::dequantise,
    token::{Special, Tokenizer},
    weights::{Bytes, Weights},
};
use tutu_node::{
    kit::{Instant, Machine as _, UnixTime, codec::Reader},
    mesh::swim::{
        Facts, Record,
        message::{Head, Item},
    },
    node::{Ask, Birth, Config, Effect, Input as Heard, Node},
    wire::packet::{self, ENVELOPE, PACKET_MAX},
    work::{
        models::{Reference, TuTufile, manifest::Manifest, tutufile},
        pull::{Partial, registry::Challenge},
    },
};

use crate::seeds::{Trusting, addr};

/// A target.
/// It answers whether the input was taken as sound, so that a run can tell whether harm goes deep or is
/// refused at the door.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by name.
pub const ALL: [(&str, Food, Target); 13] = [
    ("gguf", Food::File, gguf),
    ("split", Food::File, split),
    ("quant", Food::File, quant),
    ("token", Food::File, token),
    ("model", Food::File, model),
    ("tutufile", Food::Text, tutufile),
    ("manifest", Food::Text, manifest),
    ("name", Food::Text, name),
    ("template", Food::Template, template),
    ("schema", Food::Grammar, schema),
    ("gbnf", Food::Grammar, gbnf),
    ("gossip", Food::Packet, gossip),
    ("packet", Food::Packet, packet),
];

/// Which seeds a target is given, harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Food {
    /// Those of [`crate::seeds::files`].
    File,
    /// Those of [`crate::seeds::texts`].
    Text,
    /// Those of [`crate::seeds::templates`].
    Template,
    /// Those of [`crate::seeds::grammars`].
    Grammar,
    /// Those of [`crate::seeds::packets`].
    Packet,
}

/// Reads every value and every tensor's head.
pub fn gguf(bytes: &[u8]) -> bool {
    let file = match Gguf::parse(bytes) {
        Ok(file) => file,
        Err(error) => return refused(error),
    };
    for (key, value) in file.pairs() {
        black_box((key, file.get(key), value.as_u64(), value.as_f32()));
        if let Value::Array(list) = value {
            read(list);
        }
    }
    for info in file.tensors() {
        black_box(&bytes[info.offset..info.offset + info.size]);
    }
    true
}

/// An error is said in words, whatever it holds.
fn refused(error: impl core::fmt::Display) -> bool {
    black_box(error.to_string());
    false
}

fn read(list: Array<'_>) {
    if list.kind() == ValueType::Str {
        assert_eq!(list.strings().count(), list.len(), "as many texts as were counted");
    }
    black_box((list.f32s().sum::<f32>(), list.i64s().fold(0i64, i64::wrapping_add)));
}

/// Two files as parts of one model. The first four bytes say how long the first one is.
pub fn split(bytes: &[u8]) -> bool {
    let Some((len, rest)) = bytes.split_first_chunk() else { return false };
    let (first, second) = rest.split_at((u32::from_le_bytes(*len) as usize).min(rest.len()));
    let files: [Bytes; 2] = [Arc::new(first.to_vec()), Arc::new(second.to_vec())];
    match gguf::weights(&files) {
        Ok(weights) => decode(&weights),
        Err(error) => refused(error),
    }
}

/// Decodes every tensor.
pub fn quant(bytes: &[u8]) -> bool {
    let files: [Bytes; 1] = [Arc::new(bytes.to_vec())];
    match gguf::weights(&files) {
        Ok(weights) => decode(&weights),
        Err(error) => refused(error),
    }
}

fn decode(weights: &Weights) -> bool {
    let mut out = [0.0; 256];
    for (id, tensor) in weights.iter() {
        let (bytes, elements) = (tensor.kind.block_bytes(), tensor.kind.block_len());
        for block in weights.data(id).chunks_exact(bytes) {
            dequantise(tensor.kind, block, &mut out[..elements]);
        }
    }
    black_box(out);
    true
}

/// Reads the vocabulary, tokenizes with it, and turns the ids into text again.
pub fn token(bytes: &[u8]) -> bool {
    let Ok(file) = Gguf::parse(bytes) else { return false };
    let tokenizer = match Tokenizer::from_gguf(&file) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return refused(error),
    };
    let mut ids = Vec::new();
    tokenizer.encode("The sky, 12 \u{e9}\u{1f60a}\n<s>\tabc", Special::Parse, &mut ids);
    tokenizer.add_special(&mut ids);
    ids.push(u32::MAX);
    black_box((tokenizer.decode(&ids, true), ids.iter().any(|&id| tokenizer.is_end(id))));
    true
}

/// Makes a plan of it.
pub fn model(bytes: &[u8]) -> bool {
    let files: [Bytes; 1] = [Arc::new(bytes.to_vec())];
    match Model::load(&files, 0) {
        Ok(model) => !black_box(model).plan.ops.is_empty(),
        Err(error) => refused(error),
    }
}

/// Reads a TuTufile, and again what it is printed as.
pub fn tutufile(bytes: &[u8]) -> bool {
    let file = match tutufile::decode(bytes).and_then(|text| TuTufile::parse(&text)) {
        Ok(file) => file,
        Err(error) => return refused(error),
    };
    let printed = file.print().expect("what was read can be printed");
    assert_eq!(TuTufile::parse(&printed), Ok(file), "{printed:?}");
    true
}

/// Reads a manifest, and again what it is printed as.
pub fn manifest(bytes: &[u8]) -> bool {
    match Manifest::parse(bytes) {
        Ok(manifest) => assert_eq!(Manifest::parse(manifest.print().as_bytes()), Ok(manifest)),
        Err(error) => return refused(error),
    }
    true
}

/// Reads what stands for a model, what a registry says of tokens, and what a download left.
pub fn name(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(challenge) = Challenge::parse(&text) {
        black_box(challenge.token_url("https://a.b/v2").map_err(refused).is_ok());
    }
    if let Ok(left) = serde_json::from_slice::<Partial>(bytes) {
        black_box(left.have.gaps(1 << 20));
    }
    let line = text.lines().next().unwrap_or_default();
    match Reference::parse(line) {
        Ok(reference) => !black_box(reference.to_string()).is_empty(),
        Err(error) => refused(error),
    }
}

/// Few enough that what a template asks for stays in proportion to its length.
const TEMPLATE_LIMITS: Limits = Limits { steps: 2000, bytes: 1 << 16 };

/// Reads a template and renders a conversation with it, of which no text may become a control token.
pub fn template(bytes: &[u8]) -> bool {
    let source = String::from_utf8_lossy(bytes);
    let template = match Template::parse(&source) {
        Ok(template) => template,
        Err(error) => return refused(error),
    };
    // Whatever the template says, it does not write this name.
    const NAME: &str = "<|nobody wrote this|>";
    let call = Call { name: NAME.into(), arguments: json!({ NAME: [NAME, 1, null], "b": 2.5 }) };
    let messages = [
        Message::new("system", NAME),
        Message::new("user", NAME),
        Message {
            tool_calls: vec![ToolCall { function: call, ..ToolCall::default() }],
            ..Message::new("assistant", "")
        },
        Message::new("tool", NAME),
        Message::new(NAME, NAME),
    ];
    let tools = [json!({"type": "function", "function": {"name": NAME, "description": NAME, "parameters":
        {"type": "object", "required": [NAME], "properties": {NAME: {"type": ["string", "null"], "enum": [NAME]}}}}})];
    let guard = Guard::new([NAME, "<|im_start|>", "<|im_end|>"]);
    let input = Input {
        messages: &messages,
        tools: &tools,
        think: Think::Level(NAME),
        today: "2026-01-31",
        yesterday: "2026-01-30",
    };
    let conversation = template.render(&input, &guard, TEMPLATE_LIMITS);
    let gap = template.render_gap(NAME, NAME, &input, &guard, TEMPLATE_LIMITS);
    for rendered in [&conversation, &gap] {
        match rendered {
            Ok(segments) => assert!(!segments.contains(&Segment::Control(NAME.into())), "{segments:?}"),
            Err(error) => drop(refused(error)),
        }
    }
    black_box(template.names());
    [conversation, gap].iter().any(|rendered| rendered.as_ref().is_ok_and(|segments| !segments.is_empty()))
}

/// Makes a grammar of a schema.
pub fn schema(bytes: &[u8]) -> bool {
    let Ok(schema) = serde_json::from_slice(bytes) else { return false };
    match grammar::schema::compile(&schema) {
        Ok(grammar) => write(grammar),
        Err(error) => refused(error),
    }
}

/// Reads a grammar.
pub fn gbnf(bytes: &[u8]) -> bool {
    match grammar::gbnf::parse(&String::from_utf8_lossy(bytes)) {
        Ok(grammar) => write(grammar),
        Err(error) => refused(error),
    }
}

/// Bytes of a text that are tried: where a rule can be read in two ways, each byte may double the stacks.
const GRAMMAR_BYTES: usize = 8;

/// Writes the beginning of a text, or all of it: there is always a byte that may follow, or an end.
fn write(grammar: Grammar) -> bool {
    let mut machine = Machine::new(Arc::new(grammar));
    for _ in 0..GRAMMAR_BYTES {
        if machine.is_done() {
            return true;
        }
        let went_on = (0..=255u8).rev().any(|byte| machine.accept(&[byte]));
        assert!(went_on || machine.may_end(), "nothing may follow");
        if !went_on {
            return true;
        }
    }
    true
}

/// Reads a packet's body, and again what it is written as.
pub fn gossip(bytes: &[u8]) -> bool {
    let mut body = Reader(&bytes[..bytes.len().saturating_sub(ENVELOPE)]);
    let Ok(head) = Head::take(&mut body) else { return false };
    let mut again = Vec::new();
    head.put(&mut again);
    assert_eq!(Head::take(&mut Reader(&again)), Ok(head));
    if matches!(head, Head::Ack { proof: true, .. } | Head::Proof { .. }) {
        black_box(body.signature().is_ok());
    }
    let mut items = 0;
    while let Some(item) = Item::next(&mut body) {
        items += 1;
        let mut again = Vec::new();
        item.put(&mut again);
        assert!(again.len() <= item.size(), "{item:?} takes {} bytes", again.len());
        assert_eq!(Item::next(&mut Reader(&again)), Some(item));
        if let Item::Record(bytes) = item
            && let Ok(record) = Record::open(bytes, &Trusting(1))
        {
            assert_eq!(record.bytes(), bytes);
        }
    }
    items > 0
}

/// Gives a packet to a node that takes every signature for sound, and lets it live on for a while.
pub fn packet(bytes: &[u8]) -> bool {
    let mut out = Vec::new();
    let keys = Trusting(1);
    let facts = Facts::at(addr(1));
    let birth = Birth { id: keys.id(), keys, certificate: None, facts, seed: 1, at: UnixTime(1_700_000_000) };
    let mut node = Node::restore(Config::default(), birth, [], &mut out);
    let mut now = Instant::from_millis(1);
    node.handle(now, Heard::Ask { from: 1, ask: Ask::Join(vec![addr(2)]) }, &mut out);
    for known in crate::seeds::introductions() {
        node.handle(now, Heard::Packet { from: addr(2), bytes: known }, &mut out);
    }
    let taken = packet::open(bytes).is_ok_and(|envelope| envelope.street == 1);
    node.handle(now, Heard::Packet { from: addr(3), bytes: bytes.to_vec() }, &mut out);
    for _ in 0..12 {
        let due = node.deadline().expect("a node always has something to do");
        now = now.max(due);
        node.tick(now, &mut out);
        assert!(node.deadline().is_some_and(|next| next > now), "its deadline is past");
    }
    for effect in &out {
        if let Effect::Send { packet, .. } = effect {
            assert!(packet.len() <= PACKET_MAX, "{} bytes", packet.len());
        }
    }
    taken
}
