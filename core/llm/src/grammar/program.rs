//! A grammar as it is followed: a list of small steps over bytes, and what it costs to come to the end from each.
//!
//! | step | what it does |
//! |---|---|
//! | `Byte`, `Set` | takes one byte, goes on with the next step |
//! | `Split(to)` | goes on with the next step, and at `to` too |
//! | `Jump(to)` | goes on at `to` |
//! | `Call` | goes on at the rule, and after its `Return` with the next step |
//! | `Loop` | goes through the steps that follow, up to their `Return`, as often as it says; then goes on at `next` |
//! | `Return` | ends a rule, or one round of a loop |

use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec,
    vec::Vec,
};

use super::{Chars, Error, Expr};

/// Steps of a grammar at most.
const STEPS_MAX: usize = 1 << 18;

/// Times that steps are looked at to find out what they cost, at most.
const LOOKS_MAX: usize = 50_000_000;

/// Rounds of a loop that may be empty, at most: each is written out.
const EMPTY_ROUNDS_MAX: u32 = 32;

/// Levels that may lie in each other. Readers of JSON give up at 128 or more.
const LEVELS_MAX: u16 = 64;

/// Sequences of byte ranges above which a set of characters becomes a rule of its own.
const SEQUENCES_MAX: usize = 4;

/// More bytes than any text has.
pub(super) const ENDLESS: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Byte(u8),
    Set(u32),
    Split(u32),
    Jump(u32),
    Call { rule: u32, level: bool },
    Loop { next: u32, min: u32, max: u32 },
    Return,
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bytes([u64; 4]);

impl Bytes {
    pub(super) fn insert(&mut self, from: u8, to: u8) {
        (from..=to).for_each(|byte| self.0[usize::from(byte >> 6)] |= 1 << (byte & 63));
    }

    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }
}

/// What the cheapest way from a step to the end of its rule takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// Bytes at least.
    pub(super) bytes: u32,
    /// Levels that open on the way that takes so few bytes.
    pub(super) levels: u16,
}

const FREE: Cost = Cost { bytes: 0, levels: 0 };
const NEVER: Cost = Cost { bytes: ENDLESS, levels: u16::MAX };

impl Cost {
    fn then(self, other: Self) -> Self {
        if self.bytes == ENDLESS || other.bytes == ENDLESS {
            return NEVER;
        }
        // One below `ENDLESS`: it has an end, beyond all limits.
        let bytes = self.bytes.saturating_add(other.bytes).min(ENDLESS - 1);
        Self { bytes, levels: self.levels.max(other.levels) }
    }

    fn times(self, count: u32) -> Self {
        match count {
            0 => FREE,
            _ if self.bytes == ENDLESS => NEVER,
            _ => Self { bytes: self.bytes.saturating_mul(count).min(ENDLESS - 1), levels: self.levels },
        }
    }
}

/// A grammar that a [`super::Machine`] can follow.
#[derive(Clone, Debug)]
pub struct Grammar {
    pub(super) steps: Vec<Step>,
    pub(super) sets: Vec<Bytes>,
    /// Where each rule begins.
    pub(super) starts: Vec<u32>,
    pub(super) costs: Vec<Cost>,
    /// The class of each byte: bytes of one class are taken alike everywhere.
    pub(super) classes: [u8; 256],
    /// A byte of each class.
    pub(super) examples: Vec<u8>,
    pub(super) root: u32,
}

impl Grammar {
    /// The fewest bytes that a text has.
    pub fn bytes_min(&self) -> u32 {
        self.costs[self.starts[self.root as usize] as usize].bytes
    }

    /// Levels that may lie in each other.
    pub(super) const fn levels_max() -> u16 {
        LEVELS_MAX
    }

    pub(super) fn compile(names: &[String], bodies: &[Expr], root: usize) -> Result<Self, Error> {
        if bodies.iter().map(Expr::size).sum::<usize>() > STEPS_MAX {
            return Err(Error::Large);
        }
        let mut writer = Writer::new(names, bodies);
        for (rule, body) in bodies.iter().enumerate() {
            writer.rule(rule, body)?;
        }
        writer.rest()?;
        let mut grammar = writer.grammar(root);
        grammar.weigh()?;
        grammar.refuse_left_recursion(names)?;
        if let Some((_, name)) =
            grammar.starts.iter().zip(names).find(|&(&start, _)| grammar.costs[start as usize] == NEVER)
        {
            return Err(Error::Endless(name.clone()));
        }
        if grammar.costs[grammar.starts[root] as usize].levels > LEVELS_MAX {
            return Err(Error::Deep);
        }
        Ok(grammar)
    }
}

/// Which rules may be empty.
fn nullable(bodies: &[Expr]) -> Vec<bool> {
    let callers = callers(bodies);
    let mut known = vec![false; bodies.len()];
    let mut work: Vec<usize> = (0..bodies.len()).collect();
    while let Some(rule) = work.pop() {
        if !known[rule] && bodies[rule].is_nullable(&known) {
            known[rule] = true;
            work.extend(&callers[rule]);
        }
    }
    known
}

/// For each rule, who calls it.
fn callers(bodies: &[Expr]) -> Vec<BTreeSet<usize>> {
    let mut callers = vec![BTreeSet::new(); bodies.len()];
    for (rule, body) in bodies.iter().enumerate() {
        body.rules(&mut |called| {
            callers[called].insert(rule);
        });
    }
    callers
}

/// Writes steps.
struct Writer<'a> {
    names: &'a [String],
    nullable: Vec<bool>,
    steps: Vec<Step>,
    starts: Vec<u32>,
    sets: Vec<Bytes>,
    set_ids: BTreeMap<Bytes, u32>,
    /// Rules that were made on the way: sets of characters with many sequences, and what lies a level deeper.
    chars: BTreeMap<Chars, u32>,
    inner: Vec<Inner<'a>>,
}

enum Inner<'a> {
    Chars(Chars),
    Level(usize, &'a Expr),
}

impl<'a> Writer<'a> {
    fn new(names: &'a [String], bodies: &'a [Expr]) -> Self {
        Self {
            names,
            nullable: nullable(bodies),
            steps: Vec::new(),
            starts: vec![0; bodies.len()],
            sets: Vec::new(),
            set_ids: BTreeMap::new(),
            chars: BTreeMap::new(),
            inner: Vec::new(),
        }
    }

    fn rule(&mut self, rule: usize, body: &'a Expr) -> Result<(), Error> {
        self.starts[rule] = self.steps.len() as u32;
        self.expr(rule, body)?;
        self.push(Step::Return)
    }

    /// The rules that came up while rules were written; these may bring up more.
    fn rest(&mut self) -> Result<(), Error> {
        let own = self.starts.len();
        let mut done = 0;
        while let Some(inner) = self.inner.get(done) {
            debug_assert_eq!(self.starts.len(), own + done);
            self.starts.push(self.steps.len() as u32);
            match *inner {
                Inner::Chars(ref chars) => {
                    let sequences = chars.sequences();
                    self.sequences(&sequences)?;
                }
                Inner::Level(rule, body) => self.expr(rule, body)?,
            }
            self.push(Step::Return)?;
            done += 1;
        }
        Ok(())
    }

    fn push(&mut self, step: Step) -> Result<(), Error> {
        if self.steps.len() == STEPS_MAX {
            return Err(Error::Large);
        }
        self.steps.push(step);
        Ok(())
    }

    fn here(&self) -> u32 {
        self.steps.len() as u32
    }

    /// A rule of the writer's own; its number follows those of the grammar.
    fn inner(&mut self, inner: Inner<'a>) -> u32 {
        self.inner.push(inner);
        // `starts` grows only in `rest`, one for each that is written; those that wait follow.
        (self.nullable.len() + self.inner.len() - 1) as u32
    }

    /// `rule` is the one that the expression stands in, for errors.
    fn expr(&mut self, rule: usize, expr: &'a Expr) -> Result<(), Error> {
        match expr {
            Expr::Bytes(bytes) => bytes.iter().try_for_each(|&byte| self.push(Step::Byte(byte))),
            Expr::Chars(chars) => self.chars(chars),
            Expr::Seq(list) => list.iter().try_for_each(|expr| self.expr(rule, expr)),
            Expr::Alt(list) if list.is_empty() => Err(Error::Endless(self.names[rule].to_owned())),
            Expr::Alt(list) => self.choice(list.len(), |writer, at| writer.expr(rule, &list[at])),
            Expr::Repeat(inner, min, max) => self.repeat(rule, inner, *min, *max),
            Expr::Rule(called) => self.push(Step::Call { rule: *called as u32, level: false }),
            Expr::Level(inner) => {
                let called = self.inner(Inner::Level(rule, inner));
                self.push(Step::Call { rule: called, level: true })
            }
        }
    }

    /// One of `count` branches, each written by `branch`.
    fn choice(
        &mut self,
        count: usize,
        mut branch: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut ends = Vec::new();
        for at in 0..count {
            let last = at + 1 == count;
            let split = self.here();
            if !last {
                self.push(Step::Split(0))?;
            }
            branch(self, at)?;
            if !last {
                ends.push(self.here());
                self.push(Step::Jump(0))?;
                self.steps[split as usize] = Step::Split(self.here());
            }
        }
        let end = self.here();
        ends.into_iter().for_each(|at| self.steps[at as usize] = Step::Jump(end));
        Ok(())
    }

    fn chars(&mut self, chars: &Chars) -> Result<(), Error> {
        let sequences = chars.sequences();
        if sequences.is_empty() {
            return Err(Error::Empty);
        }
        // Those of one byte become one step.
        let single = sequences.iter().filter(|sequence| sequence.len() == 1).count();
        if sequences.len() - single < SEQUENCES_MAX {
            return self.sequences(&sequences);
        }
        let rule = match self.chars.get(chars) {
            Some(&rule) => rule,
            None => {
                let rule = self.inner(Inner::Chars(chars.clone()));
                self.chars.insert(chars.clone(), rule);
                rule
            }
        };
        self.push(Step::Call { rule, level: false })
    }

    fn sequences(&mut self, sequences: &[Vec<(u8, u8)>]) -> Result<(), Error> {
        let mut single = Bytes::default();
        let (short, long): (Vec<_>, Vec<_>) = sequences.iter().partition(|sequence| sequence.len() == 1);
        short.iter().for_each(|sequence| single.insert(sequence[0].0, sequence[0].1));
        let first = usize::from(!short.is_empty());
        self.choice(first + long.len(), |writer, at| {
            if at < first {
                return writer.set(single);
            }
            long[at - first].iter().try_for_each(|&(from, to)| {
                let mut set = Bytes::default();
                set.insert(from, to);
                writer.set(set)
            })
        })
    }

    fn set(&mut self, set: Bytes) -> Result<(), Error> {
        let id = *self.set_ids.entry(set).or_insert_with(|| {
            self.sets.push(set);
            self.sets.len() as u32 - 1
        });
        self.push(Step::Set(id))
    }

    fn repeat(&mut self, rule: usize, inner: &'a Expr, min: u32, max: Option<u32>) -> Result<(), Error> {
        let empty = inner.is_nullable(&self.nullable);
        // Empty rounds fill up whatever is missing.
        let min = if empty { 0 } else { min };
        match (min, max) {
            (_, Some(0)) => Ok(()),
            (1, Some(1)) => self.expr(rule, inner),
            (_, Some(most)) if empty || (min == 0 && most == 1) => {
                if most > EMPTY_ROUNDS_MAX {
                    return Err(Error::Idle(self.names[rule].to_owned()));
                }
                let mut splits = Vec::new();
                for _ in 0..most {
                    splits.push(self.here());
                    self.push(Step::Split(0))?;
                    self.expr(rule, inner)?;
                }
                let end = self.here();
                splits.into_iter().for_each(|at| self.steps[at as usize] = Step::Split(end));
                Ok(())
            }
            (0, None) => {
                let start = self.here();
                self.push(Step::Split(0))?;
                self.expr(rule, inner)?;
                self.push(Step::Jump(start))?;
                self.steps[start as usize] = Step::Split(self.here());
                Ok(())
            }
            (1, None) => {
                let start = self.here();
                self.expr(rule, inner)?;
                let end = self.here() + 2;
                self.push(Step::Split(end))?;
                self.push(Step::Jump(start))
            }
            (min, max) => {
                let most = max.unwrap_or(u32::MAX);
                if most < min {
                    return Err(Error::Empty);
                }
                let start = self.here();
                self.push(Step::Loop { next: 0, min, max: most })?;
                self.expr(rule, inner)?;
                self.push(Step::Return)?;
                self.steps[start as usize] = Step::Loop { next: self.here(), min, max: most };
                Ok(())
            }
        }
    }

    fn grammar(self, root: usize) -> Grammar {
        let (classes, examples) = classes(&self.steps, &self.sets);
        let costs = vec![NEVER; self.steps.len()];
        Grammar { steps: self.steps, sets: self.sets, starts: self.starts, costs, classes, examples, root: root as u32 }
    }
}

/// Which bytes no step tells apart, and one of each such class.
fn classes(steps: &[Step], sets: &[Bytes]) -> ([u8; 256], Vec<u8>) {
    let mut classes = [0u8; 256];
    let mut count = 1usize;
    let mut cut = |set: &Bytes| {
        // Every class that lies on both sides is cut in two.
        let mut renamed: [Option<u8>; 256] = [None; 256];
        let mut outside = [false; 256];
        (0..=255u8)
            .filter(|&byte| !set.contains(byte))
            .for_each(|byte| outside[usize::from(classes[usize::from(byte)])] = true);
        for byte in (0..=255u8).filter(|&byte| set.contains(byte)) {
            let class = usize::from(classes[usize::from(byte)]);
            if outside[class] {
                let new = *renamed[class].get_or_insert_with(|| {
                    count += 1;
                    (count - 1) as u8
                });
                classes[usize::from(byte)] = new;
            }
        }
    };
    sets.iter().for_each(&mut cut);
    let mut single = Bytes::default();
    for step in steps {
        if let Step::Byte(byte) = *step
            && !single.contains(byte)
        {
            single.insert(byte, byte);
            let mut set = Bytes::default();
            set.insert(byte, byte);
            cut(&set);
        }
    }
    let mut examples = vec![0; count];
    (0..=255u8).for_each(|byte| examples[usize::from(classes[usize::from(byte)])] = byte);
    (classes, examples)
}

/// What the rules cost, and whether they call themselves too early.
impl Grammar {
    fn weigh(&mut self) -> Result<(), Error> {
        let rules = self.starts.len();
        let mut callers = vec![Vec::new(); rules];
        for rule in 0..rules {
            for at in self.range(rule) {
                if let Step::Call { rule: called, .. } = self.steps[at] {
                    callers[called as usize].push(rule);
                }
            }
        }
        let mut waits = vec![true; rules];
        let mut work: Vec<usize> = (0..rules).collect();
        let mut looks = 0;
        while let Some(rule) = work.pop() {
            waits[rule] = false;
            let start = self.starts[rule] as usize;
            let before = self.costs[start];
            // Loops go back: what lies in one is known only once its end is.
            while self.weigh_rule(rule) {
                looks += self.range(rule).len();
            }
            looks += self.range(rule).len();
            if looks > LOOKS_MAX {
                return Err(Error::Large);
            }
            if self.costs[start] != before {
                for &caller in &callers[rule] {
                    if !core::mem::replace(&mut waits[caller], true) {
                        work.push(caller);
                    }
                }
            }
        }
        Ok(())
    }

    fn range(&self, rule: usize) -> core::ops::Range<usize> {
        let end = self.starts.get(rule + 1).map_or(self.steps.len(), |&start| start as usize);
        self.starts[rule] as usize..end
    }

    /// Looks at the steps of a rule once; answers whether one has become cheaper.
    fn weigh_rule(&mut self, rule: usize) -> bool {
        let mut changed = false;
        for at in self.range(rule).rev() {
            let costs = &self.costs;
            let next = costs.get(at + 1).copied().unwrap_or(NEVER);
            let cost = match self.steps[at] {
                Step::Byte(_) | Step::Set(_) => Cost { bytes: 1, levels: 0 }.then(next),
                Step::Split(to) => next.min(costs[to as usize]),
                Step::Jump(to) => costs[to as usize],
                Step::Call { rule, level } => {
                    let called = costs[self.starts[rule as usize] as usize];
                    let levels = called.levels.saturating_add(u16::from(level));
                    Cost { levels, ..called }.then(next)
                }
                Step::Loop { next: to, min, .. } => next.times(min).then(costs[to as usize]),
                Step::Return => FREE,
            };
            if cost < self.costs[at] {
                self.costs[at] = cost;
                changed = true;
            }
        }
        changed
    }

    /// Refuses a rule that calls itself before it has taken a byte.
    fn refuse_left_recursion(&self, names: &[String]) -> Result<(), Error> {
        let rules = self.starts.len();
        let first: Vec<Vec<u32>> = (0..rules).map(|rule| self.first_calls(rule)).collect();
        // Depth first. A rule is open while what it calls is looked at, and closed after that.
        const OPEN: u8 = 1;
        const CLOSED: u8 = 2;
        let mut state = vec![0u8; rules];
        for start in 0..rules {
            if state[start] == CLOSED {
                continue;
            }
            let mut path = vec![(start, 0)];
            state[start] = OPEN;
            while let Some((rule, at)) = path.last_mut() {
                let Some(&called) = first[*rule].get(*at) else {
                    state[*rule] = CLOSED;
                    path.pop();
                    continue;
                };
                *at += 1;
                let called = called as usize;
                match state[called] {
                    OPEN => {
                        let mut circle = core::iter::once(called).chain(path.iter().rev().map(|&(rule, _)| rule));
                        let named = circle.find_map(|rule| names.get(rule));
                        return Err(Error::LeftRecursive(named.cloned().unwrap_or_default()));
                    }
                    CLOSED => {}
                    _ => {
                        state[called] = OPEN;
                        path.push((called, 0));
                    }
                }
            }
        }
        Ok(())
    }

    /// The rules that a rule may call before it has taken a byte.
    fn first_calls(&self, rule: usize) -> Vec<u32> {
        let (mut seen, mut calls) = (BTreeSet::new(), BTreeSet::new());
        let mut work = vec![self.starts[rule]];
        while let Some(at) = work.pop() {
            if !seen.insert(at) {
                continue;
            }
            match self.steps[at as usize] {
                Step::Byte(_) | Step::Set(_) | Step::Return => {}
                Step::Split(to) => work.extend([at + 1, to]),
                Step::Jump(to) => work.push(to),
                Step::Call { rule, .. } => {
                    calls.insert(rule);
                    if self.costs[self.starts[rule as usize] as usize].bytes == 0 {
                        work.push(at + 1);
                    }
                }
                Step::Loop { next, min, .. } => {
                    work.push(at + 1);
                    if min == 0 {
                        work.push(next);
                    }
                }
            }
        }
        calls.into_iter().collect()
    }
}
