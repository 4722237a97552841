//! What the keywords of one schema say, before anything is made of it.

use alloc::{format, vec, vec::Vec};

use serde_json::Value;

use super::{
    Error, malformed,
    merge::{Schema, same},
    never,
    number::{self, Bound},
    pattern::Lengths,
    unsupported,
};
use crate::grammar::BYTES_MAX;

/// Items or characters that a schema may ask for at least.
const LEAST_MAX: u64 = 1 << 16;

/// What says nothing about an instance.
pub(super) const ANNOTATIONS: [&str; 18] = [
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "$vocabulary",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "example",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentMediaType",
    "contentEncoding",
    // Of OpenAPI: a hint which of several schemas is meant, beside what they say themselves.
    "discriminator",
];

/// What we follow.
pub(super) const KEYWORDS: [&str; 24] = [
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "uniqueItems",
    "multipleOf",
];

const TYPES: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];

/// The types that a schema names.
pub(super) fn types<'s>(flat: &'s Schema, pointer: &str) -> Result<Option<Vec<&'s str>>, Error> {
    let list = match flat.get("type") {
        None => return Ok(None),
        Some(Value::Array(list)) => &list[..],
        Some(one) => core::slice::from_ref(one),
    };
    let names: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
    let mut names = names.ok_or_else(|| malformed("type", pointer))?;
    if names.is_empty() || names.iter().any(|name| !TYPES.contains(name)) {
        return Err(malformed("type", pointer));
    }
    let mut at = 0;
    while at < names.len() {
        if names[..at].contains(&names[at]) {
            names.remove(at);
        } else {
            at += 1;
        }
    }
    Ok(Some(names))
}

/// The types that the keywords of a schema without `type` are about.
pub(super) fn implied(flat: &Schema) -> Vec<&'static str> {
    let has = |keys: &[&str]| keys.iter().any(|key| flat.contains_key(*key));
    let mut types = Vec::new();
    if has(&["properties", "required", "additionalProperties"]) {
        types.push("object");
    }
    if has(&["items", "prefixItems", "minItems", "maxItems", "uniqueItems"]) {
        types.push("array");
    }
    if has(&["minLength", "maxLength", "pattern", "format"]) {
        types.push("string");
    }
    if has(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) {
        types.push("number");
    }
    types
}

/// The types that whatever satisfies a schema is of, where it says so.
pub(super) fn known_types(flat: &Schema) -> Option<Vec<&str>> {
    types(flat, "").ok().flatten()
}

/// The values that a schema lists.
pub(super) fn constants(flat: &Schema) -> Option<Vec<&Value>> {
    match (flat.get("enum"), flat.get("const")) {
        (Some(Value::Array(list)), None) => Some(list.iter().collect()),
        (None, Some(value)) => Some(vec![value]),
        (Some(Value::Array(list)), Some(value)) => Some(list.iter().filter(|one| same(one, value)).collect()),
        _ => None,
    }
}

pub(super) fn required(flat: &Schema) -> impl Iterator<Item = &str> {
    flat.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

pub(super) fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|real| libm::trunc(real) == real),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    }
}

/// Whether a listed value satisfies what stands beside the list.
pub(super) fn satisfies(value: &Value, flat: &Schema, pointer: &str) -> Result<bool, Error> {
    for (keyword, bound) in flat {
        let about = implied(&Schema::from_iter([(keyword.clone(), bound.clone())]));
        if keyword == "format" || !about.iter().any(|name| is_of(value, name)) {
            continue;
        }
        let limit = || bound.as_f64().ok_or_else(|| malformed(keyword, pointer));
        let (amount, limit) = match value {
            Value::Number(number) if keyword != "multipleOf" => (number.as_f64().unwrap_or(f64::NAN), limit()?),
            Value::String(text) if keyword != "pattern" => (text.chars().count() as f64, limit()?),
            Value::Array(list) if matches!(keyword.as_str(), "minItems" | "maxItems") => (list.len() as f64, limit()?),
            _ => return Err(unsupported(&format!("{keyword} beside enum"), pointer)),
        };
        let holds = match keyword.as_str() {
            "exclusiveMinimum" => amount > limit,
            "exclusiveMaximum" => amount < limit,
            name if name.starts_with("min") => amount >= limit,
            _ => amount <= limit,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn lengths(flat: &Schema, least: &str, most: &str, pointer: &str) -> Result<Lengths, Error> {
    let count = |keyword: &str| match flat.get(keyword) {
        None => Ok(None),
        Some(value) => {
            let real = value.as_f64().filter(|&real| real >= 0.0 && libm::trunc(real) == real);
            real.map(|real| Some(real as u64)).ok_or_else(|| malformed(keyword, pointer))
        }
    };
    let (min, max) = (count(least)?.unwrap_or(0), count(most)?);
    if min > LEAST_MAX {
        return Err(Error::Large);
    }
    if max.is_some_and(|max| max < min) {
        return Err(never(pointer));
    }
    // No text is so long; then it has no bound.
    let max = max.filter(|&max| max <= BYTES_MAX.into()).map(|max| max as u32);
    Ok(Lengths { min: min as u32, max })
}

/// The narrower of two bounds.
pub(super) fn bound(
    flat: &Schema,
    closed: &str,
    open: &str,
    is_low: bool,
    pointer: &str,
) -> Result<Option<Bound>, Error> {
    let read = |keyword: &str, open: bool| match flat.get(keyword) {
        None => Ok(None),
        Some(value) => {
            let whole = value.as_i64().map(number::Value::Whole);
            let value = whole.or_else(|| value.as_f64().map(number::Value::Real));
            value.map(|value| Some(Bound { value, open })).ok_or_else(|| malformed(keyword, pointer))
        }
    };
    let real = |bound: &Bound| match bound.value {
        number::Value::Whole(whole) => whole as f64,
        number::Value::Real(real) => real,
    };
    Ok(match (read(closed, false)?, read(open, true)?) {
        (Some(closed), Some(open)) => {
            let is_closed = if is_low { real(&closed) > real(&open) } else { real(&closed) < real(&open) };
            Some(if is_closed { closed } else { open })
        }
        (one, other) => one.or(other),
    })
}
