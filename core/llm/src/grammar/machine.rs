//! Following a grammar byte by byte.
//!
//! Where a text stands in a grammar is a set of *stacks*: a step that waits for a byte, and below it the calls and
//! loops that it lies in. Stacks share what lies below them. A set of stacks is a *state*; states are numbered as
//! they come up, and where a state goes with a class of bytes is remembered. So whoever reads a second
//! string of a text finds one look-up a byte.
//!
//! From each state the fewest bytes to the end are known. With a limit on bytes, what would not leave
//! enough of them for the end is refused: every text ends, and ends well.

use alloc::{collections::BTreeMap, sync::Arc, vec, vec::Vec};

use hashbrown::HashTable;

use super::{
    Grammar,
    program::{ENDLESS, Step},
    vocabulary::{Mask, Vocabulary},
};

/// Bytes of a text at most, unless somebody else sets a limit.
pub const BYTES_MAX: u32 = 1 << 20;

/// Stacks of one state at most. What is beyond is left out: fewer texts are then possible, and none that is wrong.
const STACKS_MAX: usize = 1 << 12;

/// States that are remembered, and stacks below them, before all but the present one are forgotten.
const STATES_MAX: usize = 1 << 15;
const NODES_MAX: usize = 1 << 19;

/// Masks that are remembered.
const MASKS_MAX: usize = 128;

/// The number of a state.
pub(super) type State = u32;

const UNKNOWN: State = u32::MAX;
pub(super) const DEAD: State = u32::MAX - 1;

/// The stack of nothing.
const BOTTOM: u32 = u32::MAX;

/// A call or a loop that is under way, on top of what it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    /// The step that called, or the loop's.
    step: u32,
    /// Rounds of the loop that are done.
    count: u32,
    below: u32,
    /// Levels that are open in it and below.
    levels: u16,
    /// The fewest bytes from the return to it up to the end of everything.
    bytes: u32,
}

/// A step that waits for a byte, and its stack.
type Stack = (u32, u32);

#[derive(Clone, Debug)]
struct Known {
    /// Its stacks lie in `Machine::stacks` from here to there.
    from: u32,
    to: u32,
    may_end: bool,
    /// The fewest bytes to the end.
    bytes: u32,
}

/// Where a text stands in a grammar.
#[derive(Clone, Debug)]
pub struct Machine {
    grammar: Arc<Grammar>,
    now: State,
    /// Bytes that may still follow.
    left: u32,
    /// The same, as [`Self::limit`] says.
    limit: u32,
    nodes: Vec<Node>,
    node_ids: HashTable<u32>,
    states: Vec<Known>,
    state_ids: HashTable<State>,
    stacks: Vec<Stack>,
    /// Where each state goes with each class of bytes.
    next: Vec<State>,
    masks: BTreeMap<State, CachedMask>,
    scratch: Scratch,
}

/// A mask, for as long as there are so many bytes left.
#[derive(Clone, Debug)]
struct CachedMask {
    left_min: u32,
    mask: Mask,
}

#[derive(Clone, Debug, Default)]
struct Scratch {
    work: Vec<Stack>,
    seen: HashTable<Stack>,
    out: Vec<Stack>,
    may_end: bool,
}

/// Where a machine stood; see [`Machine::mark`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    stacks: Vec<(u32, Vec<(u32, u32)>)>,
    may_end: bool,
    left: u32,
    limit: u32,
}

impl Machine {
    /// At the beginning of a text.
    pub fn new(grammar: Arc<Grammar>) -> Self {
        let mut machine = Self {
            grammar,
            now: 0,
            left: BYTES_MAX,
            limit: u32::MAX,
            nodes: Vec::new(),
            node_ids: HashTable::new(),
            states: Vec::new(),
            state_ids: HashTable::new(),
            stacks: Vec::new(),
            next: Vec::new(),
            masks: BTreeMap::new(),
            scratch: Scratch::default(),
        };
        let start = machine.grammar.starts[machine.grammar.root as usize];
        machine.scratch.work.push((start, BOTTOM));
        machine.close();
        machine.now = machine.state();
        machine.left = machine.left.max(machine.bytes_min());
        machine
    }

    /// The grammar that is followed.
    pub fn grammar(&self) -> &Arc<Grammar> {
        &self.grammar
    }

    /// Lets so many bytes follow at most, whatever was said before. Where the end needs more, what it needs.
    ///
    /// A token has at least one byte: whoever says before each token how many tokens are left never has to cut.
    pub fn limit(&mut self, bytes: u32) {
        self.limit = bytes.max(self.bytes_min());
    }

    fn left(&self) -> u32 {
        self.left.min(self.limit)
    }

    /// The fewest bytes to the end.
    pub fn bytes_min(&self) -> u32 {
        self.states[self.now as usize].bytes
    }

    /// Whether the text may end here.
    pub fn may_end(&self) -> bool {
        self.states[self.now as usize].may_end
    }

    /// Whether nothing may follow, and the text ends here.
    pub fn is_done(&self) -> bool {
        let known = &self.states[self.now as usize];
        known.may_end && (known.from == known.to || self.left() == 0)
    }

    /// Whether all of `bytes` may follow; some must.
    pub fn allows(&mut self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && self.follow(bytes).is_some()
    }

    /// Takes `bytes` in, all of them; `false` where one may not follow, and then the machine stays where it was.
    pub fn accept(&mut self, bytes: &[u8]) -> bool {
        let Some(state) = self.follow(bytes) else { return false };
        self.now = state;
        let taken = bytes.len() as u32;
        self.left -= taken;
        self.limit -= taken.min(self.limit);
        if self.states.len() > STATES_MAX || self.nodes.len() > NODES_MAX {
            self.forget();
        }
        true
    }

    fn follow(&mut self, bytes: &[u8]) -> Option<State> {
        let mut state = self.now;
        let left = u64::from(self.left());
        for (at, &byte) in bytes.iter().enumerate() {
            state = self.step(state, byte);
            let left = left.checked_sub(at as u64 + 1)?;
            if state == DEAD || u64::from(self.states[state as usize].bytes) > left {
                return None;
            }
        }
        Some(state)
    }

    /// Where the machine stands, to come back to it.
    pub fn mark(&self) -> Mark {
        let known = &self.states[self.now as usize];
        let stacks = &self.stacks[known.from as usize..known.to as usize];
        let below = |mut node: u32| {
            let mut list = Vec::new();
            while node != BOTTOM {
                let Node { step, count, below, .. } = self.nodes[node as usize];
                list.push((step, count));
                node = below;
            }
            list
        };
        let stacks = stacks.iter().map(|&(step, node)| (step, below(node))).collect();
        Mark { stacks, may_end: known.may_end, left: self.left, limit: self.limit }
    }

    /// Comes back to where it was marked.
    pub fn rewind(&mut self, mark: &Mark) {
        (self.left, self.limit) = (mark.left, mark.limit);
        self.now = self.import(mark);
    }

    fn import(&mut self, mark: &Mark) -> State {
        self.scratch.out.clear();
        for (step, list) in &mark.stacks {
            let mut node = BOTTOM;
            for &(step, count) in list.iter().rev() {
                node = self.node(step, count, node);
            }
            self.scratch.out.push((*step, node));
        }
        self.scratch.may_end = mark.may_end;
        self.state()
    }

    /// Keeps only the present state.
    fn forget(&mut self) {
        let mark = self.mark();
        self.nodes.clear();
        self.node_ids.clear();
        self.states.clear();
        self.state_ids.clear();
        self.stacks.clear();
        self.next.clear();
        self.masks.clear();
        self.now = self.import(&mark);
    }

    /// Sets in `mask` which tokens may follow; the ends of a generation where the text may end.
    pub fn mask(&mut self, vocabulary: &Vocabulary, mask: &mut Mask) {
        if let Some(cached) = self.masks.get(&self.now)
            && cached.left_min <= self.left()
        {
            mask.clone_from(&cached.mask);
            return;
        }
        let now = self.now;
        let (left, may_end) = (self.left(), self.may_end());
        let left_min = vocabulary.mask(self, now, left, may_end, mask);
        if let Some(left_min) = left_min {
            if self.masks.len() == MASKS_MAX {
                self.masks.clear();
            }
            self.masks.insert(now, CachedMask { left_min, mask: mask.clone() });
        }
    }

    /// The fewest bytes from `state` to the end.
    pub(super) fn bytes_of(&self, state: State) -> u32 {
        self.states[state as usize].bytes
    }

    /// How many states are known.
    pub(super) fn states(&self) -> usize {
        self.states.len()
    }

    /// Where `state` goes with `byte`.
    #[inline]
    pub(super) fn step(&mut self, state: State, byte: u8) -> State {
        let class = self.grammar.classes[usize::from(byte)];
        let next = self.next[state as usize * self.grammar.examples.len() + usize::from(class)];
        if next == UNKNOWN { self.discover(state, class) } else { next }
    }

    #[cold]
    fn discover(&mut self, state: State, class: u8) -> State {
        let byte = self.grammar.examples[usize::from(class)];
        let Known { from, to, .. } = self.states[state as usize];
        let work = &mut self.scratch.work;
        work.clear();
        // The first stack is to be looked at first, and work is taken from the end.
        for &(step, node) in self.stacks[from as usize..to as usize].iter().rev() {
            let takes = match self.grammar.steps[step as usize] {
                Step::Byte(wanted) => wanted == byte,
                Step::Set(set) => self.grammar.sets[set as usize].contains(byte),
                _ => unreachable!("stacks wait for bytes"),
            };
            if takes {
                work.push((step + 1, node));
            }
        }
        self.close();
        let next = if self.scratch.out.is_empty() && !self.scratch.may_end { DEAD } else { self.state() };
        self.next[state as usize * self.grammar.examples.len() + usize::from(class)] = next;
        next
    }

    /// Goes on from all of `scratch.work` until a byte is needed; what waits then is in `scratch.out`.
    fn close(&mut self) {
        let mut scratch = core::mem::take(&mut self.scratch);
        scratch.seen.clear();
        scratch.out.clear();
        scratch.may_end = false;
        while let Some((at, node)) = scratch.work.pop() {
            let stack = (at, node);
            let hash = hash(&[at, node]);
            if scratch.seen.find(hash, |other| *other == stack).is_some() {
                continue;
            }
            scratch.seen.insert_unique(hash, stack, |other| self::hash(&[other.0, other.1]));
            let levels = if node == BOTTOM { 0 } else { self.nodes[node as usize].levels };
            if levels + self.grammar.costs[at as usize].levels > Grammar::levels_max() {
                continue;
            }
            match self.grammar.steps[at as usize] {
                Step::Byte(_) | Step::Set(_) => {
                    if scratch.out.len() < STACKS_MAX {
                        scratch.out.push(stack);
                    }
                }
                Step::Split(to) => scratch.work.extend([(to, node), (at + 1, node)]),
                Step::Jump(to) => scratch.work.push((to, node)),
                Step::Call { rule, .. } => {
                    // Nothing comes after the last call of a rule, so that nobody has to come back to it.
                    let last = self.grammar.steps[self.landing(at + 1) as usize] == Step::Return;
                    let below = if last { node } else { self.node(at, 0, node) };
                    scratch.work.push((self.grammar.starts[rule as usize], below));
                }
                Step::Loop { next, min, .. } => {
                    if min == 0 {
                        scratch.work.push((next, node));
                    }
                    let round = self.node(at, 0, node);
                    scratch.work.push((at + 1, round));
                }
                Step::Return if node == BOTTOM => scratch.may_end = true,
                Step::Return => self.leave(node, &mut scratch.work),
            }
        }
        self.scratch = scratch;
    }

    /// After the end of what lies on top of `node`.
    fn leave(&mut self, node: u32, work: &mut Vec<Stack>) {
        let Node { step, count, below, .. } = self.nodes[node as usize];
        let Step::Loop { next, min, max } = self.grammar.steps[step as usize] else {
            work.push((step + 1, below));
            return;
        };
        // Where there is no end, rounds beyond the least number are all alike.
        let count = if max == u32::MAX { (count + 1).min(min) } else { count + 1 };
        if count >= min {
            work.push((next, below));
        }
        if count < max {
            let round = self.node(step, count, below);
            work.push((step + 1, round));
        }
    }

    /// Where jumps lead.
    fn landing(&self, mut at: u32) -> u32 {
        while let Step::Jump(to) = self.grammar.steps[at as usize] {
            at = to;
        }
        at
    }

    fn node(&mut self, step: u32, count: u32, below: u32) -> u32 {
        let found = self.node_ids.find(hash(&[step, count, below]), |&id| {
            let node = &self.nodes[id as usize];
            (node.step, node.count, node.below) == (step, count, below)
        });
        if let Some(&id) = found {
            return id;
        }
        let (open, after) = match below {
            BOTTOM => (0, 0),
            below => (self.nodes[below as usize].levels, self.nodes[below as usize].bytes),
        };
        let costs = &self.grammar.costs;
        let (level, own) = match self.grammar.steps[step as usize] {
            Step::Loop { next, min, .. } => {
                // The round under way is counted where it is looked at.
                let rounds = costs[step as usize + 1].bytes.saturating_mul(min.saturating_sub(count + 1));
                (false, rounds.saturating_add(costs[next as usize].bytes))
            }
            Step::Call { level, .. } => (level, costs[step as usize + 1].bytes),
            _ => unreachable!("only calls and loops are come back to"),
        };
        let bytes = after.saturating_add(own).min(ENDLESS - 1);
        self.nodes.push(Node { step, count, below, levels: open + u16::from(level), bytes });
        let id = self.nodes.len() as u32 - 1;
        let nodes = &self.nodes;
        self.node_ids.insert_unique(hash(&[step, count, below]), id, |&id| {
            let node = &nodes[id as usize];
            hash(&[node.step, node.count, node.below])
        });
        id
    }

    /// The number of the state in `scratch`.
    fn state(&mut self) -> State {
        let (out, may_end) = (&self.scratch.out, self.scratch.may_end);
        let hash_of = |stacks: &[Stack], may_end: bool| {
            stacks.iter().fold(hash(&[u32::from(may_end)]), |hash, &(step, node)| mix(mix(hash, step), node))
        };
        let hash = hash_of(out, may_end);
        let (states, stacks) = (&self.states, &self.stacks);
        let same = |&id: &State| {
            let known = &states[id as usize];
            known.may_end == may_end && stacks[known.from as usize..known.to as usize] == out[..]
        };
        if let Some(&id) = self.state_ids.find(hash, same) {
            return id;
        }
        let cheapest = out.iter().map(|&(step, node)| {
            let after = if node == BOTTOM { 0 } else { self.nodes[node as usize].bytes };
            self.grammar.costs[step as usize].bytes.saturating_add(after)
        });
        let bytes = if may_end { 0 } else { cheapest.min().unwrap_or(ENDLESS) };
        let from = self.stacks.len() as u32;
        self.stacks.extend_from_slice(out);
        self.states.push(Known { from, to: self.stacks.len() as u32, may_end, bytes });
        self.next.extend(vec![UNKNOWN; self.grammar.examples.len()]);
        let id = self.states.len() as State - 1;
        let (states, stacks) = (&self.states, &self.stacks);
        self.state_ids.insert_unique(hash, id, |&id| {
            let known = &states[id as usize];
            hash_of(&stacks[known.from as usize..known.to as usize], known.may_end)
        });
        id
    }
}

fn hash(words: &[u32]) -> u64 {
    words.iter().fold(0, |hash, &word| mix(hash, word))
}

/// A step of FxHash, whose high bits are then brought down: the table looks at both ends.
fn mix(hash: u64, word: u32) -> u64 {
    let product = (hash.rotate_left(5) ^ u64::from(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
    product ^ product >> 29
}
