//! Sound small files of several kinds, to be harmed.

use std::net::SocketAddr;

use tutu_llm::{
    gguf::{Meta, Writer},
    quant::Kind,
};
use tutu_node::{
    kit::{Certificate, Domain, NodeId, Signature, Signer, Verifier},
    mesh::swim::{
        Facts, Record,
        message::{Accusation, Head, Item, Pulse},
    },
    wire::packet,
};

/// Elements of the tiny models' rows.
const WIDTH: usize = 32;

/// Text of every kind that is read.
pub fn texts() -> Vec<Vec<u8>> {
    [TUTUFILE, MANIFEST, "hf.co/user/repo:Q4_K_M\n", CHALLENGE].map(|text| text.as_bytes().to_vec()).into()
}

/// Schemas and a grammar.
pub fn grammars() -> Vec<Vec<u8>> {
    [SCHEMA, SHORT_SCHEMA, GBNF].map(|text| text.as_bytes().to_vec()).into()
}

/// Templates of both kinds.
pub fn templates() -> Vec<Vec<u8>> {
    [TEMPLATE, TURN].map(|text| text.as_bytes().to_vec()).into()
}

/// Takes every signature for sound, so that harm comes as far as it can. The number makes the key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trusting(pub u64);

impl Trusting {
    /// The key.
    pub fn id(self) -> NodeId {
        NodeId::number(self.0)
    }
}

impl Signer for Trusting {
    fn key(&self) -> NodeId {
        self.id()
    }

    fn sign(&self, _: Domain, _: &[&[u8]]) -> Signature {
        Signature([7; 64])
    }
}

impl Verifier for Trusting {
    fn verify(&self, _: &NodeId, _: Domain, _: &[&[u8]], _: &Signature) -> bool {
        true
    }
}

/// Where member `n` listens.
pub fn addr(n: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n as u8], 7000))
}

fn record(n: u64, incarnation: u64, certified: bool) -> Vec<u8> {
    let keys = Trusting(n);
    let certificate = certified.then(|| Certificate::issue(&keys, 3, NodeId::number(n + 100)));
    let mut facts = Facts::at(addr(n));
    facts.region = "eu-west".into();
    facts.models.insert(n);
    Record::sign(keys.id(), incarnation, false, facts, certificate.as_ref(), &keys).bytes().to_vec()
}

fn letter(from: u64, sequence: u64, head: Head, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = Vec::new();
    head.put(&mut body);
    write(&mut body);
    let keys = Trusting(from);
    packet::seal(&mut body, 1, sequence, keys.id(), Some(&Trusting(1).id()), &keys);
    body
}

/// What makes four members known, from 2 to 5.
pub fn introductions() -> Vec<Vec<u8>> {
    let head = Head::Gossip { introduce: false };
    let all = (2..6).map(|n| letter(n, 1, head, |body| Item::Record(&record(n, 1, false)).put(body)));
    all.collect()
}

/// One packet of each head, with gossip of each kind.
pub fn packets() -> Vec<Vec<u8>> {
    let short = |n: u64| NodeId::number(n).short();
    let pulse = Pulse { engine: true, load: 50, price: 1000 };
    let gossip = |body: &mut Vec<u8>| {
        Item::Record(&record(6, 2, true)).put(body);
        Item::Record(&record(3, 2, false)).put(body);
        let signature = Signature([7; 64]);
        let accused = |subject, accuser| Accusation {
            subject: short(subject),
            incarnation: 1,
            accuser: short(accuser),
            signature,
        };
        Item::Accusation(accused(4, 3), 9).put(body);
        Item::Accusation(accused(1, 2), 0).put(body);
        Item::Doubt { subject: short(5), incarnation: 1, age: 2, dead: true }.put(body);
        body.extend_from_slice(&[99, 3, 1, 2, 3]);
        Item::Doubt { subject: short(1), incarnation: 0, age: 2, dead: false }.put(body);
    };
    let proof = |body: &mut Vec<u8>| {
        body.extend_from_slice(&[7; 64]);
        gossip(body);
    };
    let numbers = |body: &mut Vec<u8>| {
        for n in 2..7 {
            body.extend_from_slice(&short(n).to_be_bytes());
            body.push(1);
        }
    };
    let hashes = |body: &mut Vec<u8>| (0..16).for_each(|n: u32| body.extend_from_slice(&(n * 77).to_be_bytes()));
    vec![
        letter(2, 2, Head::Gossip { introduce: true }, gossip),
        letter(2, 2, Head::Ping { nonce: 5, introduce: true, behalf: Some((short(3), 6)) }, gossip),
        letter(2, 2, Head::Ack { nonce: 5, introduce: true, proof: true, pulse }, proof),
        letter(2, 2, Head::Help { nonce: 5, target: short(4) }, gossip),
        letter(2, 2, Head::Proof { nonce: 5 }, proof),
        letter(2, 2, Head::Nack { nonce: 5 }, gossip),
        letter(2, 2, Head::Digest { bits: 4, cell: 0 }, hashes),
        letter(2, 2, Head::List { first: 0, last: u64::MAX, count: 5 }, numbers),
        letter(2, 2, Head::Records, gossip),
        letter(2, 2, Head::Want { count: 5 }, numbers),
        letter(2, 2, Head::Find { nonce: 5, target: 1 << 60 }, |_| {}),
        letter(2, 2, Head::Near { nonce: 5, bits: 3 }, gossip),
        letter(9, 2, Head::Ping { nonce: 5, introduce: false, behalf: None }, gossip),
    ]
}

/// All files, the parts of the split one in one input as the target takes them.
pub fn files() -> Vec<Vec<u8>> {
    let [first, second] = parts();
    let mut both = (first.len() as u32).to_le_bytes().to_vec();
    both.extend(first);
    both.extend(second);
    vec![formats(), llama(), pieces(), bert(), lists(), both]
}

/// Every command, and quotes of every kind.
pub const TUTUFILE: &str = r#"# a comment
FROM ./model.gguf
PARAMETER temperature 0.7
PARAMETER stop "<|im_end|>"
TEMPLATE """{{ .System }}
{{ .Prompt }}"""
SYSTEM "You are
kind."
LICENSE MIT
MESSAGE user hi
ADAPTER ./lora.gguf
REQUIRES 0.1.0
"#;

/// Keywords of every kind.
pub const SCHEMA: &str = r##"{"$defs": {"node": {"type": "object", "properties": {
  "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["next"], "additionalProperties": false}},
  "allOf": [{"properties": {"n": {"type": "integer", "minimum": -12, "exclusiveMaximum": 1e3}}}], "type": "object",
  "properties": {"n": {"type": ["integer", "null"]}, "x": {"type": "number", "minimum": 0.5, "maximum": 2},
  "list": {"$ref": "#/$defs/node"}, "s": {"type": "string", "pattern": "^[^a]\\w+(-\\d{2,3})?$"}, "d": {"type": "string", "format": "date", "maxLength": 10},
  "o": {"oneOf": [{"const": 1}, {"enum": ["a", null]}]}, "t": {"prefixItems": [true], "items": {"type": ["string", "boolean"]},
  "minItems": 1, "maxItems": 4}}, "required": ["x", "n"], "additionalProperties": {"type": "string", "minLength": 2}}"##;

/// Little that breaks, so that harm often makes another schema of it.
pub const SHORT_SCHEMA: &str = r##"{"title": "a description that says nothing of what may be written, and may be harmed",
  "items": {"enum": [12, 345, 6789, "words", "more words"], "description": "and one more of those"}, "maxItems": 12345}"##;

/// Every sign.
pub const GBNF: &str = r#"# a comment
root ::= (word | "\x41\u00e9" number{2,3})+ [^\n\]-] .? tail
word ::= [a-zA-Z_]* ("," word)?
number ::= [0-9]{1,} | "-"{2}
tail ::= "(" tail ")" |
  "\"" "\\"
"#;

/// Every block, and values of every kind.
pub const TEMPLATE: &str = r#"{{- define "head" }}<|im_start|>{{ . }}
{{ end -}}{{ $last := -1 }}{{/* the last turn */}}
{{- range $i, $m := .Messages }}{{ if eq $m.Role "user" "tool" }}{{ $last = $i }}{{ continue }}{{ end }}{{ end }}
{{- if or .System (and .Tools (not .Think)) }}{{ template "head" "system" }}{{ with .System }}{{ . }}{{ else }}-{{ end }}
{{ range .Tools }}{{ json .Function }}{{ .Function.Parameters.Properties | len | printf "%5d|%-4v" 0x1F }}{{ end }}<|im_end|>{{ end }}
{{- range $i, $_ := .Messages }}{{ template "head" .Role }}
{{- if gt (len (slice $.Messages $i)) 0x64 }}{{ break }}{{ else if .ToolCalls }}{{ range .ToolCalls }}{{ .Function.Name }}
{{- range $k, $v := .Function.Arguments }}{{ print $k '=' $v 1.5 `raw` }}{{ end }}{{ end }}{{ else }}{{ .Content }}{{ end }}<|im_end|>
{{ end }}{{ block "end" (index .Messages 0).Content }}{{ printf "%q %x" . (slice . 1) }}{{ end }}{{ currentDate }}"#;

/// A template of one turn.
pub const TURN: &str = r#"{{ if .System }}<<SYS>>{{ .System }}{{ end }}{{ if .Suffix }}{{ .Prompt }}{{ .Suffix }}{{ else }}[INST] {{ .Prompt }} [/INST]
{{- end }} {{ .Response }}</s>"#;

/// A model and its licence.
pub const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":485},"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","size":98362432},{"mediaType":"application/vnd.ollama.image.license","digest":"sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc","size":11}]}"#;

/// What a registry says when it wants a token.
const CHALLENGE: &str = r#"Bearer realm="https://a.b/token",service="a",scope="repository:a/b:pull""#;

/// Data that is not all zero.
fn data(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 37 + 11) as u8).collect()
}

/// The whole file, with as many bytes for each tensor as `tensors` says.
fn file(writer: &mut Writer, tensors: &[(&str, Kind, &[usize])]) -> Vec<u8> {
    for (name, kind, dims) in tensors {
        writer.tensor(name, *kind, dims);
    }
    writer.file(|wanted| {
        let (_, kind, dims) = tensors.iter().find(|tensor| tensor.0 == wanted).expect("it was announced");
        data(kind.row_bytes(dims[0]).expect("whole blocks") * dims[1..].iter().product::<usize>())
    })
}

/// One tensor of each block format.
pub fn formats() -> Vec<u8> {
    let tensors = Kind::ALL.map(|kind| (kind.name(), kind, &[256usize, 2] as &[usize]));
    file(Writer::new().set("general.architecture", text("none")), &tensors)
}

/// Values of every type, short and long.
pub fn lists() -> Vec<u8> {
    let mut writer = Writer::new();
    writer
        .set("u8", Meta::U8(200))
        .set("u64", Meta::U64(u64::MAX))
        .set("f64", Meta::F64(0.1))
        .set("bool", Meta::Bool(true))
        .set("general.alignment", Meta::U32(32))
        .set("none", Meta::Strings(Vec::new()))
        .set("words", Meta::Strings((0..500).map(|n| format!("word {n}")).collect()))
        .set("numbers", Meta::i32s(-300..300))
        .set("reals", Meta::f32s((0..300).map(|n| n as f32 / 7.0)));
    file(&mut writer, &[("a", Kind::F32, &[3]), ("b", Kind::F16, &[5, 3, 2, 2])])
}

/// A model in two parts.
pub fn parts() -> [Vec<u8>; 2] {
    [["a", "b"], ["c", "d"]].map(|names| {
        let mut writer = Writer::new();
        writer
            .set("split.no", Meta::U32(u32::from(names[0] == "c")))
            .set("split.count", Meta::U32(2))
            .set("split.tensors.count", Meta::I32(4));
        file(&mut writer, &names.map(|name| (name, Kind::Q8_0, &[64usize, 2] as &[usize])))
    })
}

/// A decoder of one layer with a byte-level vocabulary.
pub fn llama() -> Vec<u8> {
    // The letters that stand for bytes: those that can be seen stand for themselves, the others follow 255.
    let mut hidden = 0x100..;
    let seen = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut tokens: Vec<String> = (0..256)
        .map(|b| if seen(b) { b } else { hidden.next().expect("it has no end") })
        .map(|c| char::from_u32(c).expect("a letter").to_string())
        .collect();
    tokens.extend(["Th", "he", "The", "<s>", "</s>"].map(String::from));
    let count = tokens.len();
    let mut writer = Writer::new();
    numbers(&mut writer, "llama");
    writer
        .set("llama.attention.layer_norm_rms_epsilon", Meta::F32(1e-5))
        .set("llama.attention.head_count_kv", Meta::U32(2))
        .set("llama.rope.dimension_count", Meta::U32(8))
        .set("llama.vocab_size", Meta::U32(count as u32))
        .set("tokenizer.ggml.model", text("gpt2"))
        .set("tokenizer.ggml.pre", text("smollm"))
        .set("tokenizer.ggml.tokens", Meta::Strings(tokens))
        .set("tokenizer.ggml.token_type", Meta::i32s((0..count).map(|id| if id < count - 2 { 1 } else { 3 })))
        .set("tokenizer.ggml.merges", Meta::Strings(["T h", "h e", "T he"].map(String::from).into()))
        .set("tokenizer.ggml.bos_token_id", Meta::U32(count as u32 - 2))
        .set("tokenizer.ggml.eos_token_id", Meta::U32(count as u32 - 1))
        .set("tokenizer.chat_template", text("{% for m in messages %}{{ m.content }}{% endfor %}"));
    let tensors: [(&str, Kind, &[usize]); 11] = [
        ("token_embd.weight", Kind::Q8_0, &[WIDTH, count]),
        ("output_norm.weight", Kind::F32, &[WIDTH]),
        ("blk.0.attn_norm.weight", Kind::F32, &[WIDTH]),
        ("blk.0.attn_q.weight", Kind::Q4_0, &[WIDTH, WIDTH]),
        ("blk.0.attn_k.weight", Kind::Q5_0, &[WIDTH, WIDTH / 2]),
        ("blk.0.attn_v.weight", Kind::Q4_1, &[WIDTH, WIDTH / 2]),
        ("blk.0.attn_output.weight", Kind::Q5_1, &[WIDTH, WIDTH]),
        ("blk.0.ffn_norm.weight", Kind::F32, &[WIDTH]),
        ("blk.0.ffn_gate.weight", Kind::F16, &[WIDTH, 64]),
        ("blk.0.ffn_up.weight", Kind::Bf16, &[WIDTH, 64]),
        ("blk.0.ffn_down.weight", Kind::Iq4Nl, &[64, WIDTH]),
    ];
    file(&mut writer, &tensors)
}

/// An encoder of one layer with a vocabulary of word pieces.
pub fn bert() -> Vec<u8> {
    let marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(String::from);
    let letters = ('a'..='z').flat_map(|c| [format!("\u{2581}{c}"), c.to_string()]);
    let tokens: Vec<String> = marks.into_iter().chain(letters).collect();
    let count = tokens.len();
    let mut writer = Writer::new();
    numbers(&mut writer, "bert");
    writer
        .set("bert.attention.layer_norm_epsilon", Meta::F32(1e-12))
        .set("bert.attention.causal", Meta::Bool(false))
        .set("bert.pooling_type", Meta::U32(1))
        .set("tokenizer.ggml.model", text("bert"))
        .set("tokenizer.ggml.tokens", Meta::Strings(tokens))
        .set("tokenizer.ggml.token_type", Meta::i32s((0..count).map(|id| if id < 4 { 3 } else { 1 })))
        .set("tokenizer.ggml.unknown_token_id", Meta::U32(1))
        .set("tokenizer.ggml.cls_token_id", Meta::U32(2))
        .set("tokenizer.ggml.seperator_token_id", Meta::U32(3));
    let square: &[usize] = &[WIDTH, WIDTH];
    let row: &[usize] = &[WIDTH];
    let tensors: [(&str, Kind, &[usize]); 23] = [
        ("token_embd.weight", Kind::F16, &[WIDTH, count]),
        ("token_types.weight", Kind::F32, &[WIDTH, 2]),
        ("position_embd.weight", Kind::F32, &[WIDTH, 64]),
        ("token_embd_norm.weight", Kind::F32, row),
        ("token_embd_norm.bias", Kind::F32, row),
        ("blk.0.attn_q.weight", Kind::F32, square),
        ("blk.0.attn_q.bias", Kind::F32, row),
        ("blk.0.attn_k.weight", Kind::F32, square),
        ("blk.0.attn_k.bias", Kind::F32, row),
        ("blk.0.attn_v.weight", Kind::F32, square),
        ("blk.0.attn_v.bias", Kind::F32, row),
        ("blk.0.attn_output.weight", Kind::F32, square),
        ("blk.0.attn_output.bias", Kind::F32, row),
        ("blk.0.attn_output_norm.weight", Kind::F32, row),
        ("blk.0.attn_output_norm.bias", Kind::F32, row),
        ("blk.0.ffn_up.weight", Kind::Q8_0, &[WIDTH, 64]),
        ("blk.0.ffn_up.bias", Kind::F32, &[64]),
        ("blk.0.ffn_down.weight", Kind::Q8_0, &[64, WIDTH]),
        ("blk.0.ffn_down.bias", Kind::F32, row),
        ("blk.0.layer_output_norm.weight", Kind::F32, row),
        ("blk.0.layer_output_norm.bias", Kind::F32, row),
        ("cls.weight", Kind::F32, square),
        ("cls.bias", Kind::F32, row),
    ];
    file(&mut writer, &tensors)
}

/// A SentencePiece vocabulary with scores and bytes, without a model.
pub fn pieces() -> Vec<u8> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens
        .extend(["\u{2581}", "T", "h", "e", "s", "k", "y", "Th", "The", "\u{2581}The", "sk", "sky"].map(String::from));
    let count = tokens.len();
    let kind = |id: usize| match id {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ => 1,
    };
    let mut writer = Writer::new();
    writer
        .set("general.architecture", text("llama"))
        .set("tokenizer.ggml.model", text("llama"))
        .set("tokenizer.ggml.tokens", Meta::Strings(tokens))
        .set("tokenizer.ggml.scores", Meta::f32s((0..count).map(|id| -(id as f32))))
        .set("tokenizer.ggml.token_type", Meta::i32s((0..count).map(kind)))
        .set("tokenizer.ggml.add_bos_token", Meta::Bool(true));
    file(&mut writer, &[])
}

fn text(text: &str) -> Meta {
    Meta::Str(text.into())
}

/// The keys that every architecture has.
fn numbers(writer: &mut Writer, architecture: &str) {
    writer.set("general.architecture", text(architecture)).set("general.name", text("seed"));
    for (key, value) in [
        ("context_length", 64),
        ("embedding_length", WIDTH as u32),
        ("block_count", 1),
        ("feed_forward_length", 64),
        ("attention.head_count", 4),
    ] {
        writer.set(&format!("{architecture}.{key}"), Meta::U32(value));
    }
}
