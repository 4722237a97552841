//! Objects: which keys, in which order.

use alloc::{collections::BTreeMap, format, string::ToString, vec, vec::Vec};

use serde_json::Value;

use super::{Compiler, Error, keywords::required, malformed, merge::Schema, never, possible};
use crate::grammar::{
    Chars, Expr,
    json::{plain, quoted},
};

impl Compiler<'_> {
    /// What an object schema stands for.
    pub(super) fn object(&mut self, flat: &Schema, pointer: &str, depth: usize) -> Result<Expr, Error> {
        let empty = Schema::new();
        let declared = match flat.get("properties") {
            None => None,
            Some(Value::Object(map)) => Some(map),
            Some(_) => return Err(malformed("properties", pointer)),
        };
        let more = flat.get("additionalProperties");
        let needed: Vec<&str> = match flat.get("required") {
            None => Vec::new(),
            Some(Value::Array(list)) if list.iter().all(Value::is_string) => required(flat).collect(),
            Some(_) => return Err(malformed("required", pointer)),
        };
        if declared.is_none() && more.is_none() && needed.is_empty() {
            return Ok(Expr::Rule(self.json.object));
        }
        let others = match more {
            Some(schema) => possible(self.value(schema, &format!("{pointer}/additionalProperties"), depth + 1))?,
            None if declared.is_some() => None,
            None => Some(self.json.value),
        };
        let declared = declared.unwrap_or(&empty);
        let mut names: Vec<&str> = Vec::new();
        let mut pairs = Vec::new();
        for (name, schema) in declared {
            let is_needed = needed.contains(&name.as_str());
            let pointer = format!("{pointer}/properties/{}", name.replace('~', "~0").replace('/', "~1"));
            names.push(name);
            match self.value(schema, &pointer, depth + 1) {
                Ok(value) => pairs.push((self.pair(name, value), is_needed)),
                Err(Error::Never { .. }) if !is_needed => {}
                Err(error) => return Err(error),
            }
        }
        for name in needed {
            if names.contains(&name) {
                continue;
            }
            // Undeclared, and closed only because nothing was said.
            let value = match more {
                None => self.json.value,
                Some(_) => others.ok_or_else(|| never(pointer))?,
            };
            names.push(name);
            pairs.push((self.pair(name, value), true));
        }
        let others = others.map(|value| {
            let key = self.other_key(&names);
            let pair = Expr::Seq(self.json.pair(key, Expr::Rule(value)));
            self.rules.add("others", pair)
        });
        Ok(self.members(&pairs, others))
    }

    fn pair(&mut self, name: &str, value: usize) -> usize {
        let key = Expr::text(&Value::from(name).to_string());
        let pair = Expr::Seq(self.json.pair(key, Expr::Rule(value)));
        self.rules.add(name, pair)
    }

    /// An object of pairs in this order, those that are not needed there or not, and then others.
    fn members(&mut self, pairs: &[(usize, bool)], others: Option<usize>) -> Expr {
        let space = Expr::Rule(self.json.space);
        let another = |pair: usize| Expr::Seq(vec![Expr::text(","), space.clone(), Expr::Rule(pair)]);
        // What follows when something stands there already, and when nothing does.
        let mut after = others.map_or_else(Expr::empty, |pair| another(pair).repeated(0, None));
        let mut first = others.map_or_else(Expr::empty, |pair| self.json.list(Expr::Rule(pair)).optional());
        for &(pair, is_needed) in pairs.iter().rev() {
            let tail = Expr::Rule(self.rules.add("after", after));
            let begun = Expr::Seq(vec![Expr::Rule(pair), tail.clone()]);
            let next = another(pair);
            if is_needed {
                first = begun;
                after = Expr::Seq(vec![next, tail]);
            } else {
                let skipped = Expr::Rule(self.rules.add("first", first));
                first = Expr::Alt(vec![begun, skipped]);
                after = Expr::Seq(vec![next.optional(), tail]);
            }
        }
        self.json.braced(b"{}", first)
    }

    /// A key that is none of `names`. It has no escapes, so that no name can be written in another way.
    fn other_key(&mut self, names: &[&str]) -> Expr {
        let any = Expr::Chars(plain()).repeated(0, None);
        let mut nodes: Vec<(BTreeMap<char, usize>, bool)> = vec![(BTreeMap::new(), false)];
        for name in names.iter().filter(|name| name.chars().all(|c| plain().contains(c))) {
            let mut node = 0;
            for c in name.chars() {
                let new = nodes.len();
                let next = *nodes[node].0.entry(c).or_insert(new);
                if next == new {
                    nodes.push((BTreeMap::new(), false));
                }
                node = next;
            }
            nodes[node].1 = true;
        }
        let rules: Vec<usize> = nodes.iter().map(|_| self.rules.declare("key")).collect();
        for ((children, is_name), &rule) in nodes.iter().zip(&rules) {
            let known = Chars::ranges(children.keys().map(|&c| (c as u32, c as u32)));
            let other = Expr::Seq(vec![Expr::Chars(plain().without(&known)), any.clone()]);
            let mut choice = vec![other];
            for (&c, &next) in children {
                choice.push(Expr::Seq(vec![Expr::text(c.encode_utf8(&mut [0; 4])), Expr::Rule(rules[next])]));
            }
            if !is_name {
                choice.push(Expr::empty());
            }
            self.rules.set(rule, Expr::Alt(choice));
        }
        quoted(Expr::Rule(rules[0]))
    }
}
