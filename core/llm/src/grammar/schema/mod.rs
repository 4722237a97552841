//! A JSON schema (draft 2020-12) as a grammar: every text that it takes satisfies the schema.
//!
//! Not every instance of the schema can be written: a grammar is narrower where a schema leaves things open.
//!
//! | where | what is written |
//! |---|---|
//! | no `type` | the types that the keywords are about; any value where there is none |
//! | `properties` without `additionalProperties` | only what is declared or required |
//! | neither of them | any object |
//! | `properties` | in the schema's order; no declared one twice |
//! | `prefixItems` | all of them; others behind them where `items` or `minItems` says so |
//! | bounds on a `number` | decimals without an exponent |
//! | `pattern` beside `format` | the pattern |
//! | a `format` that is not known | any string |
//!
//! What is not known is refused by its name, so that nobody believes a promise that is not kept.

mod keywords;
mod merge;
mod number;
mod object;
mod pattern;

use alloc::{
    borrow::ToOwned,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;

use serde_json::Value;

use self::{
    keywords::{
        ANNOTATIONS, KEYWORDS, bound, constants, implied, is_of, known_types, lengths, required, satisfies, types,
    },
    merge::{Schema, merge, same},
    pattern::{Lengths, Sets},
};
use super::{
    BYTES_MAX, Expr, Grammar, Rules,
    json::{Json, SPACES_MAX, quoted},
    words,
};

/// Schemas inside each other at most, references and parts of `allOf` among them.
const DEPTH_MAX: usize = 64;

/// Schemas that are looked at, at most, and values that are copied to merge them.
const SCHEMAS_MAX: usize = 1 << 13;
const COPIES_MAX: usize = 1 << 20;

/// Alternatives of a `oneOf` at most: each is compared with each.
const ONE_OF_MAX: usize = 128;

/// Why a schema makes no grammar. A pointer says where: the empty one is the whole schema.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A keyword that cannot be followed, here or at all.
    Unsupported {
        /// Its name.
        keyword: String,
        /// The schema that has it.
        pointer: String,
    },
    /// A keyword whose value is not what it must be.
    Malformed {
        /// Its name.
        keyword: String,
        /// The schema that has it.
        pointer: String,
    },
    /// A pattern that cannot be followed.
    Pattern {
        /// What is wrong with it.
        what: &'static str,
        /// The schema that has it.
        pointer: String,
    },
    /// A `$ref` to what is not in the schema.
    Reference {
        /// What it says.
        name: String,
        /// The schema that has it.
        pointer: String,
    },
    /// No value satisfies this schema.
    Never {
        /// The schema.
        pointer: String,
    },
    /// Schemas inside each other, more than 64.
    Deep,
    /// More schemas, or a longer least text, than are allowed.
    Large,
    /// The rules that come of it are no grammar.
    Grammar(super::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported { keyword, pointer } => {
                write!(f, "the schema's {keyword:?} at \"#{pointer}\" is not supported")
            }
            Self::Malformed { keyword, pointer } => {
                write!(f, "the schema's {keyword:?} at \"#{pointer}\" is not what it must be")
            }
            Self::Pattern { what, pointer } => write!(f, "the schema's \"pattern\" at \"#{pointer}\" {what}"),
            Self::Reference { name, pointer } => {
                write!(f, "the schema's \"$ref\" at \"#{pointer}\" leads to {name:?}, which is not there")
            }
            Self::Never { pointer } => write!(f, "no value satisfies the schema at \"#{pointer}\""),
            Self::Deep => f.write_str("the schema has more schemas inside each other than 64"),
            Self::Large => f.write_str("the schema is too large, or asks for too long a text"),
            Self::Grammar(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl From<super::Error> for Error {
    fn from(error: super::Error) -> Self {
        Self::Grammar(error)
    }
}

/// Whether a keyword says nothing about which values there may be.
pub fn is_annotation(keyword: &str) -> bool {
    ANNOTATIONS.contains(&keyword) || keyword.starts_with("x-")
}

/// The grammar of a schema.
///
/// # Errors
/// A schema that cannot be followed, by the name of what is in the way.
pub fn compile(schema: &Value) -> Result<Grammar, Error> {
    let (rules, root) = rules(schema)?;
    let grammar = rules.compile(root)?;
    if grammar.bytes_min() > BYTES_MAX {
        return Err(Error::Large);
    }
    Ok(grammar)
}

/// The rules of a schema, and which of them its values are.
///
/// # Errors
/// As [`compile`], but for what is wrong with the rules as a whole.
pub fn rules(schema: &Value) -> Result<(Rules, usize), Error> {
    if is_deep(schema, 2 * DEPTH_MAX) {
        return Err(Error::Deep);
    }
    let mut rules = Rules::new();
    let space = rules.add("space", Expr::one_of(" \t\n\r").repeated(0, Some(SPACES_MAX)));
    let json = Json::new(&mut rules, space);
    let mut compiler = Compiler {
        root: schema,
        rules,
        json,
        sets: Sets::default(),
        references: BTreeMap::new(),
        schemas: 0,
        copies: 0,
    };
    let value = compiler.value(schema, "", 0)?;
    let body = Expr::Seq(vec![Expr::Rule(space), Expr::Rule(value)]);
    let root = compiler.rules.add("root", body);
    Ok((compiler.rules, root))
}

fn is_deep(value: &Value, left: usize) -> bool {
    match value {
        _ if left == 0 => true,
        Value::Array(list) => list.iter().any(|value| is_deep(value, left - 1)),
        Value::Object(map) => map.values().any(|value| is_deep(value, left - 1)),
        _ => false,
    }
}

/// How many values there are in it.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

fn never(pointer: &str) -> Error {
    Error::Never { pointer: pointer.to_owned() }
}

fn malformed(keyword: &str, pointer: &str) -> Error {
    Error::Malformed { keyword: keyword.to_owned(), pointer: pointer.to_owned() }
}

fn unsupported(keyword: &str, pointer: &str) -> Error {
    Error::Unsupported { keyword: keyword.to_owned(), pointer: pointer.to_owned() }
}

/// A rule, or nothing where no value satisfies the schema.
fn possible(rule: Result<usize, Error>) -> Result<Option<usize>, Error> {
    match rule {
        Ok(rule) => Ok(Some(rule)),
        Err(Error::Never { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

struct Compiler<'a> {
    root: &'a Value,
    rules: Rules,
    json: Json,
    sets: Sets,
    /// The rules of what references lead to.
    references: BTreeMap<String, usize>,
    schemas: usize,
    copies: usize,
}

impl<'a> Compiler<'a> {
    /// The rule of a schema.
    fn value(&mut self, schema: &Value, pointer: &str, depth: usize) -> Result<usize, Error> {
        self.schemas += 1;
        if self.schemas > SCHEMAS_MAX {
            return Err(Error::Large);
        }
        if depth > DEPTH_MAX {
            return Err(Error::Deep);
        }
        let map = match schema {
            Value::Bool(true) => return Ok(self.json.value),
            Value::Bool(false) => return Err(never(pointer)),
            Value::Object(map) => map,
            _ => return Err(malformed("schema", pointer)),
        };
        let says = |key: &String| key != "$ref" && !ANNOTATIONS.contains(&key.as_str());
        if let Some(reference) = map.get("$ref")
            && !map.keys().any(says)
        {
            return self.reference(reference, pointer, depth);
        }
        let flat = self.flat(map, pointer, depth)?;
        let body = self.body(flat, pointer, depth)?;
        Ok(match body {
            Expr::Rule(rule) => rule,
            body => self.rules.add(&format!("#{pointer}"), body),
        })
    }

    fn reference(&mut self, reference: &Value, pointer: &str, depth: usize) -> Result<usize, Error> {
        let target = self.target(reference, pointer)?;
        let path = reference.as_str().unwrap_or_default()[1..].to_owned();
        if let Some(&rule) = self.references.get(&path) {
            return Ok(rule);
        }
        let rule = self.rules.declare(&format!("#{path}"));
        self.references.insert(path.clone(), rule);
        // What can never be has no end; the grammar then is refused by this name.
        self.rules.set(rule, Expr::Alt(Vec::new()));
        let value = self.value(target, &path, depth + 1)?;
        self.rules.set(rule, Expr::Rule(value));
        Ok(rule)
    }

    /// What a reference leads to.
    fn target(&self, reference: &Value, pointer: &str) -> Result<&'a Value, Error> {
        let name = reference.as_str().ok_or_else(|| malformed("$ref", pointer))?;
        let path = name.strip_prefix('#').filter(|path| path.is_empty() || path.starts_with('/'));
        let path = path.ok_or_else(|| unsupported("$ref", pointer))?;
        self.root.pointer(path).ok_or_else(|| Error::Reference { name: name.to_owned(), pointer: pointer.to_owned() })
    }

    /// A schema without annotations, with its reference and the parts of its `allOf` merged into it.
    fn flat(&mut self, map: &Schema, pointer: &str, depth: usize) -> Result<Schema, Error> {
        if depth > DEPTH_MAX {
            return Err(Error::Deep);
        }
        self.copies += map.values().map(size).sum::<usize>() + 1;
        if self.copies > COPIES_MAX {
            return Err(Error::Large);
        }
        let mut flat = Schema::new();
        for (key, value) in map {
            let name = key.as_str();
            if name == "$ref" || name == "allOf" || is_annotation(name) {
                continue;
            }
            if !KEYWORDS.contains(&name) {
                return Err(unsupported(name, pointer));
            }
            flat.insert(key.clone(), value.clone());
        }
        let mut parts: Vec<&Value> = Vec::new();
        if let Some(reference) = map.get("$ref") {
            parts.push(self.target(reference, pointer)?);
        }
        match map.get("allOf") {
            None => {}
            Some(Value::Array(list)) if !list.is_empty() => parts.extend(list),
            Some(_) => return Err(malformed("allOf", pointer)),
        }
        for part in parts {
            match part {
                Value::Bool(true) => {}
                Value::Bool(false) => return Err(never(pointer)),
                Value::Object(part) => {
                    let part = self.flat(part, pointer, depth + 1)?;
                    self.copies += flat.values().map(size).sum::<usize>();
                    flat = merge(flat, part).map_err(|refusal| match refusal {
                        merge::Refusal::Never => never(pointer),
                        merge::Refusal::Keyword(name) => unsupported(&format!("{name} within allOf"), pointer),
                    })?;
                }
                _ => return Err(malformed("allOf", pointer)),
            }
        }
        Ok(flat)
    }

    /// What a flat schema stands for.
    fn body(&mut self, mut flat: Schema, pointer: &str, depth: usize) -> Result<Expr, Error> {
        for keyword in ["anyOf", "oneOf"] {
            let Some(list) = flat.shift_remove(keyword) else { continue };
            let Value::Array(list) = list else { return Err(malformed(keyword, pointer)) };
            return self.choice(keyword, list, flat, pointer, depth);
        }
        if flat.contains_key("enum") || flat.contains_key("const") {
            return self.values(&flat, pointer);
        }
        let types = types(&flat, pointer)?.unwrap_or_else(|| implied(&flat));
        if types.is_empty() {
            return Ok(Expr::Rule(self.json.value));
        }
        let mut choice = Vec::new();
        let mut last = never(pointer);
        // A number is also an integer: once is enough.
        let whole = types.contains(&"number");
        for name in types.into_iter().filter(|&name| name != "integer" || !whole) {
            match self.typed(name, &flat, pointer, depth) {
                Ok(expr) => choice.push(expr),
                Err(error @ Error::Never { .. }) => last = error,
                Err(error) => return Err(error),
            }
        }
        match choice.len() {
            0 => Err(last),
            1 => Ok(choice.remove(0)),
            _ => Ok(Expr::Alt(choice)),
        }
    }

    /// The alternatives of an `anyOf` or `oneOf`, each together with what stands beside them.
    fn choice(
        &mut self,
        keyword: &str,
        list: Vec<Value>,
        beside: Schema,
        pointer: &str,
        depth: usize,
    ) -> Result<Expr, Error> {
        let beside_size = beside.values().map(size).sum::<usize>();
        let mut rules = Vec::new();
        let mut flats = Vec::new();
        for (at, alternative) in list.into_iter().enumerate() {
            let pointer = format!("{pointer}/{keyword}/{at}");
            self.copies += beside_size;
            if self.copies > COPIES_MAX {
                return Err(Error::Large);
            }
            let whole = if beside.is_empty() {
                alternative
            } else {
                let parts = vec![Value::Object(beside.clone()), alternative];
                Value::Object(Schema::from_iter([("allOf".to_owned(), Value::Array(parts))]))
            };
            let Some(rule) = possible(self.value(&whole, &pointer, depth + 1))? else { continue };
            rules.push(Expr::Rule(rule));
            if keyword == "oneOf" {
                flats.push(match &whole {
                    Value::Object(map) => self.flat(map, &pointer, depth + 1)?,
                    _ => Schema::new(),
                });
            }
        }
        if flats.len() > ONE_OF_MAX {
            return Err(Error::Large);
        }
        for (at, one) in flats.iter().enumerate() {
            for other in &flats[..at] {
                if !self.is_apart(one, other, depth) {
                    return Err(unsupported("oneOf", pointer));
                }
            }
        }
        match rules.len() {
            0 => Err(never(pointer)),
            1 => Ok(rules.remove(0)),
            _ => Ok(Expr::Alt(rules)),
        }
    }

    /// Whether it is plain that nothing satisfies both.
    fn is_apart(&mut self, a: &Schema, b: &Schema, depth: usize) -> bool {
        if let (Some(a), Some(b)) = (known_types(a), known_types(b)) {
            let among = |name: &&str, list: &[&str]| {
                list.contains(name)
                    || (*name == "integer" && list.contains(&"number"))
                    || (*name == "number" && list.contains(&"integer"))
            };
            if !a.iter().any(|name| among(name, &b)) {
                return true;
            }
        }
        if let (Some(a), Some(b)) = (constants(a), constants(b))
            && !a.iter().any(|one| b.iter().any(|other| same(one, other)))
        {
            return true;
        }
        // Both must be objects: whatever is none satisfies neither's `required`, or does not come up.
        let both = required(a).filter(|name| required(b).any(|other| other == *name));
        let names: Vec<String> = both.map(ToOwned::to_owned).collect();
        names.iter().any(|name| {
            let mut of = |schema: &Schema| {
                let property = schema.get("properties")?.get(name)?.as_object()?;
                let flat = self.flat(property, "", depth + 1).ok()?;
                Some(constants(&flat)?.into_iter().cloned().collect::<Vec<Value>>())
            };
            match (of(a), of(b)) {
                (Some(a), Some(b)) => !a.iter().any(|one| b.iter().any(|other| same(one, other))),
                _ => false,
            }
        })
    }

    /// The values that a schema lists, those which satisfy the rest of it.
    fn values(&mut self, flat: &Schema, pointer: &str) -> Result<Expr, Error> {
        let list = constants(flat).ok_or_else(|| malformed("enum", pointer))?;
        let types = types(flat, pointer)?;
        let mut texts = Vec::new();
        for value in list {
            if let Some(types) = &types
                && !types.iter().any(|name| is_of(value, name))
            {
                continue;
            }
            if satisfies(value, flat, pointer)? {
                texts.push(value.to_string().into_bytes());
            }
        }
        if texts.is_empty() { Err(never(pointer)) } else { Ok(words(texts)) }
    }

    fn typed(&mut self, name: &str, flat: &Schema, pointer: &str, depth: usize) -> Result<Expr, Error> {
        match name {
            "object" => self.object(flat, pointer, depth),
            "array" => self.array(flat, pointer, depth),
            "string" => self.string(flat, pointer),
            "integer" | "number" => self.number(name, flat, pointer),
            "boolean" => Ok(Expr::Alt(vec![Expr::text("true"), Expr::text("false")])),
            _ => Ok(Expr::text("null")),
        }
    }

    fn array(&mut self, flat: &Schema, pointer: &str, depth: usize) -> Result<Expr, Error> {
        if !matches!(flat.get("uniqueItems"), None | Some(Value::Bool(false))) {
            return Err(unsupported("uniqueItems", pointer));
        }
        let Lengths { min, max } = lengths(flat, "minItems", "maxItems", pointer)?;
        let prefix = match flat.get("prefixItems") {
            None => &[][..],
            Some(Value::Array(list)) => list,
            Some(_) => return Err(malformed("prefixItems", pointer)),
        };
        if prefix.is_empty() && min == 0 && max.is_none() && !flat.contains_key("items") {
            return Ok(Expr::Rule(self.json.array));
        }
        let space = self.json.space;
        let mut firsts = Vec::new();
        for (at, schema) in prefix.iter().enumerate().take(max.unwrap_or(u32::MAX) as usize) {
            match self.value(schema, &format!("{pointer}/prefixItems/{at}"), depth + 1) {
                Ok(rule) => firsts.push(Expr::Seq(vec![Expr::Rule(rule), Expr::Rule(space)])),
                // The list ends before it.
                Err(Error::Never { .. }) if at >= min as usize => return Ok(self.list(firsts, None)),
                Err(error) => return Err(error),
            }
        }
        let count = firsts.len() as u32;
        let (least, most) = (min.saturating_sub(count), max.map(|max| max - count));
        let item = match flat.get("items") {
            Some(Value::Array(_)) => return Err(unsupported("items", pointer)),
            Some(_) if most == Some(0) => None,
            Some(schema) => possible(self.value(schema, &format!("{pointer}/items"), depth + 1))?,
            None if count > 0 && least == 0 => None,
            None => Some(self.json.value),
        };
        match item {
            Some(rule) if most != Some(0) => {
                let item = Expr::Seq(vec![Expr::Rule(rule), Expr::Rule(space)]);
                Ok(self.list(firsts, Some((item, least, most))))
            }
            _ if least > 0 => Err(never(pointer)),
            _ => Ok(self.list(firsts, None)),
        }
    }

    /// A list of these items and then, so many times, of others alike. Each ends with its space.
    fn list(&self, firsts: Vec<Expr>, others: Option<(Expr, u32, Option<u32>)>) -> Expr {
        let comma = || Expr::Seq(vec![Expr::text(","), Expr::Rule(self.json.space)]);
        let mut seq = Vec::new();
        for first in firsts {
            if !seq.is_empty() {
                seq.push(comma());
            }
            seq.push(first);
        }
        if let Some((item, min, max)) = others {
            let another = Expr::Seq(vec![comma(), item.clone()]);
            if seq.is_empty() {
                let more = another.repeated(min.saturating_sub(1), max.map(|max| max - 1));
                let list = Expr::Seq(vec![item, more]);
                seq.push(if min == 0 { list.optional() } else { list });
            } else {
                seq.push(another.repeated(min, max));
            }
        }
        self.json.braced(b"[]", Expr::Seq(seq))
    }

    fn string(&mut self, flat: &Schema, pointer: &str) -> Result<Expr, Error> {
        let lengths = lengths(flat, "minLength", "maxLength", pointer)?;
        let text = |keyword: &str| match flat.get(keyword) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(malformed(keyword, pointer)),
        };
        let wanted = match text("pattern")? {
            Some(pattern) => Some(pattern),
            None => text("format")?.and_then(|name| pattern::format(&name)),
        };
        let letter = self.json.letter;
        match wanted {
            Some(wanted) => {
                let inner = pattern::pattern(&wanted, lengths, letter, &mut self.rules, &mut self.sets);
                Ok(quoted(inner.map_err(|what| Error::Pattern { what, pointer: pointer.to_owned() })?))
            }
            None if lengths.min == 0 && lengths.max.is_none() => Ok(Expr::Rule(self.json.string)),
            None => Ok(quoted(Expr::Rule(letter).repeated(lengths.min, lengths.max))),
        }
    }

    fn number(&mut self, name: &str, flat: &Schema, pointer: &str) -> Result<Expr, Error> {
        match flat.get("multipleOf") {
            None => {}
            Some(step) if name == "integer" && step.as_f64() == Some(1.0) => {}
            Some(_) => return Err(unsupported("multipleOf", pointer)),
        }
        let low = bound(flat, "minimum", "exclusiveMinimum", true, pointer)?;
        let high = bound(flat, "maximum", "exclusiveMaximum", false, pointer)?;
        let made = match name {
            "integer" => number::integer(low, high),
            _ if low.is_none() && high.is_none() => return Ok(Expr::Rule(self.json.number)),
            _ => number::number(low, high),
        };
        made.map_err(|refusal| match refusal {
            number::Refusal::Empty => never(pointer),
            number::Refusal::Fine => unsupported(if low.is_some() { "minimum" } else { "maximum" }, pointer),
        })
    }
}
