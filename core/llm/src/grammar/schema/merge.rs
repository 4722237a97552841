//! Two schemas as one that says what both say.

use alloc::{string::String, vec, vec::Vec};

use serde_json::{Map, Value, json};

/// A schema that is an object.
pub(super) type Schema = Map<String, Value>;

/// Why two schemas are not merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// This keyword stands in both and differs.
    Keyword(String),
    /// Nothing satisfies both.
    Never,
}

/// The keywords that say what else may stand in an object or a list.
const SHAPE: [&str; 2] = ["properties", "additionalProperties"];

/// What satisfies both `a` and `b`, neither of which has `$ref` or `allOf`.
pub(super) fn merge(a: Schema, b: Schema) -> Result<Schema, Refusal> {
    let (a_shape, b_shape) = (shape(&a), shape(&b));
    let mut out = a;
    for (key, theirs) in b {
        if SHAPE.contains(&key.as_str()) {
            continue;
        }
        let Some(ours) = out.get(&key) else {
            out.insert(key, theirs);
            continue;
        };
        if same(ours, &theirs) {
            continue;
        }
        let both = keyword(&key, ours, &theirs)?;
        out.insert(key, both);
    }
    if let Some((properties, more)) = both_shapes(a_shape, b_shape) {
        for key in SHAPE {
            out.shift_remove(key);
        }
        if let Some(properties) = properties {
            out.insert("properties".into(), Value::Object(properties));
        }
        if let Some(more) = more {
            out.insert("additionalProperties".into(), more);
        }
    }
    Ok(out)
}

fn keyword(key: &str, ours: &Value, theirs: &Value) -> Result<Value, Refusal> {
    let refused = || Refusal::Keyword(key.into());
    match key {
        "type" => types(ours, theirs).ok_or(Refusal::Never),
        "enum" => {
            let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs) else { return Err(refused()) };
            let both: Vec<_> = ours.iter().filter(|one| theirs.iter().any(|other| same(one, other))).cloned().collect();
            if both.is_empty() { Err(Refusal::Never) } else { Ok(Value::Array(both)) }
        }
        "const" => Err(Refusal::Never),
        "required" => {
            let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs) else { return Err(refused()) };
            let mut both = ours.clone();
            both.extend(theirs.iter().filter(|name| !ours.contains(name)).cloned());
            Ok(Value::Array(both))
        }
        "minimum" | "exclusiveMinimum" | "minLength" | "minItems" => {
            let (a, b) = ours.as_f64().zip(theirs.as_f64()).ok_or_else(refused)?;
            Ok(if a >= b { ours.clone() } else { theirs.clone() })
        }
        "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" => {
            let (a, b) = ours.as_f64().zip(theirs.as_f64()).ok_or_else(refused)?;
            Ok(if a <= b { ours.clone() } else { theirs.clone() })
        }
        "items" => Ok(all_of(ours, theirs)),
        _ => Err(refused()),
    }
}

/// Equal; for numbers, equal in value.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}

/// The types that both name.
fn types(ours: &Value, theirs: &Value) -> Option<Value> {
    let list = |value: &Value| match value {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let (ours, theirs) = (list(ours), list(theirs));
    let has = |list: &[Value], name: &Value| {
        list.contains(name) || (name == "integer" && list.iter().any(|other| other == "number"))
    };
    let mut both: Vec<Value> = ours.iter().filter(|name| has(&theirs, name)).cloned().collect();
    both.extend(theirs.iter().filter(|name| !both.contains(name) && has(&ours, name)).cloned().collect::<Vec<_>>());
    if both.is_empty() { None } else { Some(Value::Array(both)) }
}

/// Declared properties, and what others must be; nothing where it is not said.
type Shape = (Option<Schema>, Option<Value>);

fn shape(schema: &Schema) -> Option<Shape> {
    let properties = schema.get("properties").and_then(Value::as_object).cloned();
    let more = schema.get("additionalProperties").cloned();
    (properties.is_some() || more.is_some()).then_some((properties, more))
}

fn both_shapes(ours: Option<Shape>, theirs: Option<Shape>) -> Option<Shape> {
    let (ours, theirs) = match (ours, theirs) {
        (Some(ours), Some(theirs)) => (ours, theirs),
        (one, other) => return one.or(other),
    };
    let more = match (&ours.1, &theirs.1) {
        (Some(ours), Some(theirs)) => Some(all_of(ours, theirs)),
        (one, other) => one.as_ref().or(other.as_ref()).cloned(),
    };
    let mut out = Schema::new();
    // What one declares is for the other one of its further properties.
    for (name, value) in ours.0.iter().flatten() {
        let other = theirs.0.as_ref().and_then(|list| list.get(name)).or(theirs.1.as_ref());
        out.insert(name.clone(), other.map_or_else(|| value.clone(), |other| all_of(value, other)));
    }
    for (name, value) in theirs.0.iter().flatten() {
        if !out.contains_key(name) {
            out.insert(name.clone(), ours.1.as_ref().map_or_else(|| value.clone(), |other| all_of(other, value)));
        }
    }
    let declared = ours.0.is_some() || theirs.0.is_some();
    Some((declared.then_some(out), more))
}

/// A schema that says what both say; they are merged when it is looked at.
fn all_of(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Bool(false), _) | (_, Value::Bool(false)) => Value::Bool(false),
        (Value::Bool(true), other) | (other, Value::Bool(true)) => other.clone(),
        (a, b) if a == b => a.clone(),
        (a, b) => json!({ "allOf": [a, b] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(a: Value, b: Value) -> Result<Value, Refusal> {
        let [Value::Object(a), Value::Object(b)] = [a, b] else { panic!("objects") };
        merge(a, b).map(Value::Object)
    }

    #[test]
    fn the_narrower_bound_holds() {
        let both =
            merged(json!({"minimum": 1, "maxLength": 5}), json!({"minimum": 2.5, "maxLength": 9, "minItems": 1}));
        assert_eq!(both, Ok(json!({"minimum": 2.5, "maxLength": 5, "minItems": 1})));
        let both = merged(json!({"type": ["number", "null"]}), json!({"type": ["integer", "string"]}));
        assert_eq!(both, Ok(json!({"type": ["integer"]})));
        assert_eq!(merged(json!({"type": "string"}), json!({"type": "null"})), Err(Refusal::Never));
        assert_eq!(merged(json!({"enum": [1, 2]}), json!({"enum": [2.0, 3]})), Ok(json!({"enum": [2]})));
        let differing = merged(json!({"pattern": "a"}), json!({"pattern": "b"}));
        assert_eq!(differing, Err(Refusal::Keyword("pattern".into())));
    }

    #[test]
    fn properties_of_both_are_declared_unless_one_is_closed() {
        let a = json!({"properties": {"x": {"type": "string"}}, "required": ["x"]});
        let b = json!({"properties": {"x": {"minLength": 1}, "y": true}, "required": ["y"]});
        let x = json!({"allOf": [{"type": "string"}, {"minLength": 1}]});
        let both = json!({"properties": {"x": x, "y": true}, "required": ["x", "y"]});
        assert_eq!(merged(a.clone(), b), Ok(both));
        let closed = json!({"properties": {}, "additionalProperties": false});
        let both = merged(a, closed).unwrap();
        assert_eq!(both["properties"]["x"], json!(false));
    }
}
