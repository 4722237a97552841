//! Texts written at random within a schema's grammar satisfy the schema, as somebody else reads it.

use std::sync::Arc;

use serde_json::{Value, json};
use tutu_llm::grammar::{Grammar, Machine, Mask, Vocabulary, schema};

/// A generator of numbers that needs no dependency.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }
}

/// Single bytes, and pieces that run over the parts of JSON.
fn vocabulary() -> Vocabulary {
    let mut pieces: Vec<Vec<u8>> = (b' '..=b'~').map(|byte| vec![byte]).collect();
    pieces.extend((0xc3..=0xc3u8).chain(0xa0..=0xaf).map(|byte| vec![byte]));
    let words =
        ["\":", "\",", "{\"", "\"}", "}}", "]}", "[1", ",\"", "the", "null", "true", "12", "0.", "2024-", "\\\""];
    pieces.extend(words.map(|word| word.as_bytes().to_vec()));
    let end = pieces.len() as u32;
    Vocabulary::new(pieces.len() + 1, (0..end).zip(&pieces), [end])
}

/// Writes at random, mostly what is no space, and ends where it may with one chance in four.
fn write(grammar: &Arc<Grammar>, vocabulary: &Vocabulary, random: &mut Random) -> String {
    let mut machine = Machine::new(grammar.clone());
    let (mut mask, mut text) = (Mask::new(), Vec::new());
    let mut left = 60 + random.below(240);
    while !machine.is_done() {
        machine.limit(left as u32);
        machine.mask(vocabulary, &mut mask);
        let mut allowed: Vec<u32> = (0..vocabulary.len() as u32).filter(|&id| mask.contains(id)).collect();
        assert!(!allowed.is_empty(), "nothing may follow {}", String::from_utf8_lossy(&text));
        if allowed.iter().any(|&id| vocabulary.is_end(id)) && random.below(4) == 0 {
            break;
        }
        allowed.retain(|&id| !vocabulary.is_end(id));
        if allowed.len() > 1 && random.below(8) > 0 {
            allowed.retain(|&id| vocabulary.piece(id) != b" ");
        }
        let id = allowed[random.below(allowed.len())];
        assert!(machine.accept(vocabulary.piece(id)));
        text.extend_from_slice(vocabulary.piece(id));
        left = left.saturating_sub(1);
    }
    String::from_utf8(text).expect("characters are whole")
}

/// Checks many texts, and that they are not all the same unless there is only one.
fn check(schema: Value) {
    let grammar = Arc::new(schema::compile(&schema).unwrap_or_else(|error| panic!("{error}: {schema}")));
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let vocabulary = vocabulary();
    let mut random = Random(1);
    let mut texts = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let text = write(&grammar, &vocabulary, &mut random);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        if let Err(error) = validator.validate(&value) {
            panic!("{error}: {text}");
        }
        texts.insert(text);
    }
    assert!(texts.len() > 1, "{texts:?}");
}

#[test]
fn whatever_is_written_satisfies_the_schema() {
    for schema in [
        json!({}),
        json!({"type": ["integer", "null"], "minimum": -12, "exclusiveMaximum": 105}),
        json!({"type": "number", "exclusiveMinimum": 0, "maximum": 0.75}),
        json!({"type": "array", "items": {"type": "number", "minimum": -2.5, "maximum": 13}, "minItems": 2, "maxItems": 4}),
        json!({"enum": ["a", "ab", 1, null, {"b": ["\"\n"]}]}),
        json!({"type": "string", "minLength": 2, "maxLength": 5}),
        json!({"type": "string", "pattern": "^[A-Z]\\w{2,4}(-\\d+)?$"}),
        json!({"type": "string", "pattern": "q|[^a-z]x$", "minLength": 3, "maxLength": 9}),
        json!({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0},
            "tags": {"type": "array", "items": {"enum": ["x", "y"]}}}, "required": ["age"]}),
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "ab": {"type": "null"}, "b\n": true},
            "required": ["ab", "z"], "additionalProperties": {"type": "boolean"}}),
        json!({"prefixItems": [{"const": "point"}, {"type": "number", "minimum": 0}], "items": {"type": "string"}, "maxItems": 4}),
        json!({"type": "object", "properties": {"d": {"format": "date", "type": "string"},
            "i": {"format": "ipv4", "type": "string"}, "u": {"format": "uuid", "type": "string"},
            "m": {"format": "email", "type": "string"}, "t": {"format": "date-time", "type": "string"},
            "l": {"format": "uri", "type": "string"}, "c": {"format": "time", "type": "string"}}}),
        json!({"type": "object", "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["value", "next"], "additionalProperties": false}),
        json!({"$defs": {"tree": {"type": "object", "properties": {"leaf": {"type": "boolean"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}, "required": ["children"]}}, "$ref": "#/$defs/tree"}),
        json!({"oneOf": [
            {"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["kind", "x"], "additionalProperties": false},
            {"type": "object", "properties": {"kind": {"const": "b"}, "y": {"type": "boolean"}}, "required": ["kind", "y"], "additionalProperties": false}],
            "discriminator": {"propertyName": "kind", "mapping": {"a": "#/oneOf/0", "b": "#/oneOf/1"}}}),
        json!({"oneOf": [
            {"type": "object", "properties": {"kind": {"const": "circle"}, "r": {"type": "number", "exclusiveMinimum": 0}}, "required": ["kind", "r"]},
            {"type": "object", "properties": {"kind": {"enum": ["square", "box"]}, "side": {"type": "integer"}}, "required": ["kind"]},
            {"type": "string"}]}),
        json!({"allOf": [
            {"$ref": "#/definitions/named"},
            {"type": "object", "properties": {"id": {"type": "integer", "maximum": 99}}, "required": ["id"]}],
            "properties": {"id": {"minimum": 7}},
            "definitions": {"named": {"properties": {"name": {"type": "string", "maxLength": 3}}, "required": ["name"]}}}),
        json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "additionalProperties": false, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
        json!({"type": "object", "additionalProperties": {"type": "array", "minItems": 1, "items": {"type": ["string", "integer"]}}}),
    ] {
        check(schema);
    }
}

#[test]
fn instances_that_a_model_would_write_are_taken() {
    let schema = json!({"type": "object", "properties": {
        "city": {"type": "string"}, "temperature": {"type": "number", "minimum": -50, "maximum": 60},
        "sky": {"enum": ["clear", "cloudy"]}, "hours": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 23}}},
        "required": ["city", "sky"]});
    let grammar = Arc::new(schema::compile(&schema).unwrap());
    for text in [
        "{\"city\": \"Z\u{fc}rich\", \"sky\": \"clear\"}",
        "{\n  \"city\": \"\\u00c9ze\",\n  \"temperature\": -3.25,\n  \"sky\": \"cloudy\",\n  \"hours\": [0, 23, 7]\n}",
    ] {
        let mut machine = Machine::new(grammar.clone());
        assert!(machine.accept(text.as_bytes()) && machine.is_done(), "{text}");
    }
    for text in
        ["{\"sky\"", "{\"city\":\"a\",\"city\"", "{\"city\":\"a\",\"temperature\":61", "{\"city\":\"a\"}", "{\"x\""]
    {
        assert!(!Machine::new(grammar.clone()).accept(text.as_bytes()), "{text}");
    }
}

#[test]
fn what_cannot_be_followed_is_refused_by_name() {
    for (schema, said) in [
        (json!({"type": "object", "patternProperties": {}}), "\"patternProperties\" at \"#\" is not supported"),
        (json!({"properties": {"a/b": {"not": {}}}}), "\"not\" at \"#/properties/a~1b\""),
        (json!({"oneOf": [{"type": "number"}, {"type": "integer"}]}), "\"oneOf\" at \"#\" is not supported"),
        (json!({"$ref": "#/$defs/x"}), "leads to \"#/$defs/x\""),
        (json!({"$ref": "https://example.org/schema"}), "\"$ref\" at \"#\" is not supported"),
        (json!({"type": "text"}), "\"type\" at \"#\" is not what it must be"),
        (json!({"type": "string", "pattern": "(?=a)"}), "\"pattern\" at \"#\""),
        (json!({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}), "pattern within allOf"),
        (json!({"type": "integer", "multipleOf": 7}), "\"multipleOf\" at \"#\""),
        (json!({"type": "integer", "minimum": 3, "maximum": 2}), "no value satisfies the schema at \"#\""),
        (json!({"type": "object", "required": ["a"], "additionalProperties": false}), "no value satisfies"),
        (json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}), "can never end"),
        (json!({"$ref": "#"}), "\"#\""),
        (json!({"type": "string", "minLength": 1e9}), "too large"),
        (json!(3), "\"schema\" at \"#\""),
    ] {
        let error = schema::compile(&schema).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(said), "{error} for {schema}");
    }
}

#[test]
fn hostile_schemas_end() {
    let refused = |schema: &Value| schema::compile(schema).map(|_| ()).unwrap_err();
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({"items": deep});
    }
    assert_eq!(refused(&deep), schema::Error::Deep);
    // Lists of lists whose least lengths are multiplied.
    let mut long = json!({"type": "null"});
    for _ in 0..5 {
        long = json!({"type": "array", "minItems": 1000, "items": long});
    }
    assert_eq!(refused(&long), schema::Error::Large);
    // Each definition says the next one twice, and differs from it.
    let mut definitions = serde_json::Map::new();
    for at in 0..25 {
        let next = format!("#/$defs/d{}", at + 1);
        let twice = json!({"allOf": [{"$ref": next}, {"minItems": at}, {"$ref": next}]});
        definitions.insert(format!("d{at}"), twice);
    }
    definitions.insert("d25".into(), json!({"type": "array"}));
    assert_eq!(refused(&json!({"$ref": "#/$defs/d0", "$defs": definitions})), schema::Error::Large);
    let own = json!({"allOf": [{"$ref": "#"}, {"title": "round and round"}]});
    assert_eq!(refused(&own), schema::Error::Deep);
    let names: serde_json::Map<_, _> = (0..20_000).map(|at| (at.to_string(), json!({}))).collect();
    assert_eq!(refused(&json!({"properties": names})), schema::Error::Large);
    let endless = json!({"type": "string", "maxLength": 1e9});
    assert!(schema::compile(&endless).is_ok());
    let words: Vec<String> = (0..5000).map(|at| format!("word number {at}")).collect();
    assert!(schema::compile(&json!({"enum": words})).is_ok());
}
