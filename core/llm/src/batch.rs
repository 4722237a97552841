//! Many texts at once through one backend.
//!
//! Texts join and leave between any two steps. A step computes the next token of every text that is being written, then
//! as much of the prompts as there is room for; a text's beginning that was computed before is not computed again
//! ([`crate::prefix`]). When pages run out, the text that joined last gives its pages back and is computed again
//! later. What a text gets does not depend on its neighbours, as far as the backend keeps that promise.
//!
//! This is a structure: whoever owns it calls [`Batcher::step`] while there is work.

use alloc::{collections::BTreeMap, vec::Vec};
use core::slice::{self, ChunksExactMut};

use crate::{
    backend::{Backend, Batch, Fault, PAGE, Token},
    guess::Lookup,
    kv::Pages,
    prefix::{Place, Prefixes, Remembered},
    sample::Candidate,
};

/// Names a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

/// What follows the logits of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This token.
    Next(u32),
    /// Nothing: the text is done and leaves.
    End,
    /// The text is replaced by this one, which is computed as far as it is not known (a full context gives way).
    Replace(Vec<u32>),
}

/// What a choice is made from.
#[derive(Debug)]
pub enum Scores<'l> {
    /// The logits of all tokens, which may be changed.
    All(&'l mut [f32]),
    /// The best tokens, best first: at least as many as were needed.
    Best(&'l [Candidate]),
}

/// Chooses what follows. Called once for each token of an answer, in order.
pub trait Choose {
    /// What follows the text `id`, whose tokens so far are `tokens`.
    fn choose(&mut self, id: Id, tokens: &[u32], scores: Scores<'_>) -> Choice;

    /// How many of the best tokens are enough to choose what follows the text `id`; `None` for all, unless overridden.
    /// Where all texts of a step need only some, logits of the whole vocabulary are not even written.
    fn needs(&self, _id: Id) -> Option<usize> {
        None
    }

    /// Tokens that may follow `tokens`, at most `most`, as a small model would guess them; none unless overridden.
    fn guess(&mut self, _id: Id, _tokens: &[u32], _most: usize) -> Vec<u32> {
        Vec::new()
    }
}

/// Which adapters of the backend's plan a text takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mix {
    /// Differs for mixes that differ, even if one is gone: what was computed with one is of no use to another. 0 is that
    /// of texts that take none.
    pub id: u64,
    /// How much of each adapter.
    pub shares: Vec<f32>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stepped {
    /// Tokens of prompts that were computed.
    pub prompt: usize,
    /// Tokens that were chosen.
    pub chosen: usize,
    /// Of these, tokens that had been guessed.
    pub guessed: usize,
    /// Texts that were part of the step.
    pub texts: usize,
}

/// How a batcher works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tokens of prompts in a step while other texts are being written: longer steps read faster, shorter ones
    /// make nobody's stream wait.
    pub prompt_share: usize,
    /// Whether computed beginnings are remembered.
    pub remember: bool,
    /// Whether texts are guessed to repeat themselves.
    pub lookup: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { prompt_share: 64, remember: true, lookup: false }
    }
}

/// Guessing pays while few texts share the cost of a step.
const GUESS_TEXTS: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Batcher {
    options: Options,
    pages: Pages,
    prefixes: Prefixes,
    texts: BTreeMap<Id, Text>,
    next: u64,
    /// Logits of one token.
    width: usize,
    logits: Vec<f32>,
    best: Vec<Vec<Candidate>>,
    tokens: Vec<Token>,
}

#[derive(Debug)]
struct Text {
    tokens: Vec<u32>,
    mix: Mix,
    /// Tokens of the prompt; what follows was chosen.
    prompt: usize,
    /// Tokens whose keys and values are there.
    computed: usize,
    /// Of the prompt's tokens, those that were there when it joined.
    known: usize,
    pages: Vec<u32>,
    /// Its first so many pages are in the tree of prefixes, and end there.
    put: usize,
    place: Place,
    lookup: Lookup,
    /// Takes no part in steps, but keeps its pages as long as nobody needs them more.
    paused: bool,
}

/// What one text brings into a step.
struct Part {
    id: Id,
    /// Tokens of the text itself that are computed.
    own: usize,
    guess: Vec<u32>,
}

impl Batcher {
    /// For a backend with `pages` pages whose logits have `vocabulary` numbers.
    pub fn new(pages: usize, vocabulary: usize, options: Options) -> Self {
        Self {
            options,
            pages: Pages::new(pages),
            prefixes: Prefixes::new(),
            texts: BTreeMap::new(),
            next: 0,
            width: vocabulary,
            logits: Vec::new(),
            best: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// Lets a text join.
    ///
    /// # Panics
    /// If it has no token, or more than all pages hold.
    pub fn join(&mut self, tokens: Vec<u32>, mix: Mix) -> Id {
        assert!(!tokens.is_empty() && tokens.len() <= self.pages.len() * PAGE, "a text fits into the cache");
        let id = Id(self.next);
        self.next += 1;
        let prompt = tokens.len();
        let mut text = Text {
            tokens,
            mix,
            prompt,
            computed: 0,
            known: 0,
            pages: Vec::new(),
            put: 0,
            place: Place::ROOT,
            lookup: Lookup::default(),
            paused: false,
        };
        self.recall(&mut text);
        text.known = text.computed;
        self.texts.insert(id, text);
        id
    }

    /// Lets a text leave; nothing where it has left already.
    pub fn leave(&mut self, id: Id) {
        if let Some(text) = self.texts.remove(&id) {
            text.pages.into_iter().for_each(|page| self.pages.give_back(page));
        }
    }

    /// Lets a text rest: it takes no part in steps until it may go on.
    pub fn pause(&mut self, id: Id, paused: bool) {
        if let Some(text) = self.texts.get_mut(&id) {
            text.paused = paused;
        }
    }

    /// Texts that are here.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Tokens of a text's prompt that were known when it joined.
    pub fn known(&self, id: Id) -> usize {
        self.texts.get(&id).map_or(0, |text| text.known)
    }

    /// Pages: in use by texts or remembered, and all.
    pub fn pages(&self) -> (usize, usize) {
        (self.pages.len() - self.pages.free(), self.pages.len())
    }

    /// The mixes of texts that are here.
    pub fn mixes(&self) -> impl Iterator<Item = &Mix> + Clone {
        self.texts.values().map(|text| &text.mix)
    }

    /// Sees to it that so many pages are free, as far as remembered beginnings make room; `on` is told of each page that
    /// goes, while it still holds what it held.
    pub fn make_room(&mut self, count: usize, on: &mut dyn FnMut(Remembered)) {
        while self.pages.free() < count.min(self.pages.len()) {
            let standing = |place| self.texts.values().any(|text| text.place == place);
            if !self.prefixes.part(standing, &mut self.pages, on) {
                return;
            }
        }
    }

    /// All pages that are remembered, what was used last first.
    pub fn remembered(&self) -> impl Iterator<Item = Remembered> {
        self.prefixes.all()
    }

    /// How many tokens of a text's beginning are remembered.
    pub fn recalled(&mut self, mix: u64, tokens: &[u32]) -> usize {
        let (pages, _) = self.prefixes.find(mix, tokens, &mut self.pages);
        let count = pages.len();
        self.take_back(pages);
        count * PAGE
    }

    /// Remembers more of a text's beginning: `bring` is asked for block after block of the tokens, counted from 0, that
    /// is not known, and puts its keys and values into the page it is given, or says that it has them not. Ends there,
    /// or when no page is free. Answers how many blocks were brought.
    pub fn plant(&mut self, mix: u64, tokens: &[u32], bring: &mut dyn FnMut(usize, u32) -> bool) -> usize {
        let (known, mut place) = self.prefixes.find(mix, tokens, &mut self.pages);
        let first = known.len();
        let mut count = 0;
        for (at, block) in tokens.as_chunks::<PAGE>().0.iter().enumerate().skip(first) {
            let Some(mut page) = self.pages.take() else { break };
            let brought = bring(at, page);
            if brought {
                place = self.prefixes.put(place, mix, block, &mut page, &mut self.pages);
                count += 1;
            }
            self.pages.give_back(page);
            if !brought {
                break;
            }
        }
        self.take_back(known);
        count
    }

    /// Forgets all that was computed before, for example because it was computed wrongly.
    pub fn forget(&mut self) {
        self.texts.values_mut().for_each(|text| text.drop_pages(&mut self.pages));
        while self.prefixes.forget(|_| false, &mut self.pages) {}
    }

    /// Lends out pages for something that is no text. Remembered beginnings make room, and then texts, the one that
    /// joined last first, which are computed again later. `None` where there are not so many at all.
    pub fn lend(&mut self, count: usize) -> Option<Vec<u32>> {
        if count > self.pages.len() {
            return None;
        }
        let mut lent = Vec::new();
        while lent.len() < count {
            let standing = |place| self.texts.values().any(|text| text.place == place);
            if let Some(page) = self.pages.take() {
                lent.push(page);
            } else if !self.prefixes.forget(standing, &mut self.pages) {
                let holder = self.texts.values_mut().rev().find(|text| !text.pages.is_empty());
                let Some(text) = holder else {
                    self.take_back(lent);
                    return None;
                };
                text.drop_pages(&mut self.pages);
            }
        }
        Some(lent)
    }

    /// Takes pages back that were lent.
    pub fn take_back(&mut self, pages: Vec<u32>) {
        pages.into_iter().for_each(|page| self.pages.give_back(page));
    }

    /// Computes one step and lets `choose` choose what follows it. Where the backend moved to another device nothing is
    /// chosen, and the steps that follow compute all texts again.
    ///
    /// # Errors
    /// [`Fault`]; all texts are then as they were before, with nothing of them computed.
    pub fn step(&mut self, backend: &mut dyn Backend, choose: &mut dyn Choose) -> Result<Stepped, Fault> {
        let parts = self.plan(backend.tokens_max(), choose);
        let mut stepped = Stepped { texts: parts.len(), ..Stepped::default() };
        if parts.is_empty() {
            return Ok(stepped);
        }
        self.tokens.clear();
        for (sequence, part) in parts.iter().enumerate() {
            let text = &self.texts[&part.id];
            let last = text.computed + part.own == text.tokens.len();
            let ids = text.tokens[text.computed..][..part.own].iter().chain(&part.guess);
            self.tokens.extend(ids.enumerate().map(|(i, &id)| Token {
                id,
                position: (text.computed + i) as u32,
                sequence: sequence as u32,
                output: last && i + 1 >= part.own,
            }));
        }
        let tables: Vec<&[u32]> = parts.iter().map(|part| self.texts[&part.id].pages.as_slice()).collect();
        let needs = self.needs(&parts, choose);
        let shares: Vec<&[f32]> = parts.iter().map(|part| self.texts[&part.id].mix.shares.as_slice()).collect();
        let batch = Batch { tokens: &self.tokens, tables: &tables, shares: &shares };
        let (mut logits, mut best) = (core::mem::take(&mut self.logits), core::mem::take(&mut self.best));
        let result = match needs {
            Some(most) => backend.step_best(&batch, most, &mut best),
            None => backend.step(&batch, &mut logits),
        };
        if result.is_ok() {
            let mut rows = match needs {
                Some(_) => Rows::Best(best.iter()),
                None => Rows::All(logits.chunks_exact_mut(self.width.max(1))),
            };
            for part in parts {
                self.settle(part, &mut rows, choose, &mut stepped);
            }
        } else {
            self.forget();
        }
        (self.logits, self.best) = (logits, best);
        if result == Err(Fault::Moved) { Ok(stepped) } else { result.map(|()| stepped) }
    }

    /// How many of the best tokens are enough for every text whose logits this step computes.
    fn needs(&self, parts: &[Part], choose: &dyn Choose) -> Option<usize> {
        let asked = |part: &&Part| {
            let text = &self.texts[&part.id];
            text.computed + part.own == text.tokens.len()
        };
        parts.iter().filter(asked).try_fold(1, |most, part| Some(choose.needs(part.id)?.max(most)))
    }

    /// What each text brings: all that are being written first, then prompts in the order in which they joined.
    fn plan(&mut self, most: usize, choose: &mut dyn Choose) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let writing = |text: &Text| text.tokens.len() - text.computed == 1 && text.tokens.len() > text.prompt;
        let ids = |texts: &BTreeMap<Id, Text>, wanted: bool| -> Vec<Id> {
            texts.iter().filter(|(_, text)| !text.paused && writing(text) == wanted).map(|(id, _)| *id).collect()
        };
        let (writers, readers) = (ids(&self.texts, true), ids(&self.texts, false));
        let mut room = most;
        let guessing = writers.len() <= GUESS_TEXTS && readers.is_empty();
        for id in writers.iter().copied() {
            if room == 0 {
                break;
            }
            let guess =
                if guessing { self.guess(id, (room - 1).min(most / writers.len()), choose) } else { Vec::new() };
            if let Some(part) = self.reserve(Part { id, own: 1, guess }, &parts) {
                room -= 1 + part.guess.len();
                parts.push(part);
            }
        }
        let mut share = if writers.is_empty() { room } else { room.min(self.options.prompt_share) };
        for id in readers {
            let Some(text) = self.texts.get(&id) else { continue };
            let own = (text.tokens.len() - text.computed).min(share);
            if own == 0 {
                break;
            }
            if let Some(part) = self.reserve(Part { id, own, guess: Vec::new() }, &parts) {
                share -= part.own;
                parts.push(part);
            }
        }
        parts
    }

    fn guess(&self, id: Id, most: usize, choose: &mut dyn Choose) -> Vec<u32> {
        let Some(text) = self.texts.get(&id) else { return Vec::new() };
        let mut guess = choose.guess(id, &text.tokens, most);
        if guess.is_empty() && self.options.lookup {
            guess = text.lookup.guess(&text.tokens).to_vec();
        }
        guess.truncate(most.min((self.pages.len() * PAGE).saturating_sub(text.tokens.len() + 1)));
        guess
    }

    /// Sees to it that a text has pages for its part; a guess is given up where there are none. `None` where the text
    /// must wait.
    fn reserve(&mut self, mut part: Part, parts: &[Part]) -> Option<Part> {
        let mut text = self.texts.remove(&part.id)?;
        let mut fits = true;
        if text.computed == 0 {
            self.recall(&mut text);
        }
        part.own = part.own.min(text.tokens.len() - text.computed);
        while text.pages.len() * PAGE < text.computed + part.own + part.guess.len() {
            if let Some(page) = self.page(&text) {
                text.pages.push(page);
            } else if !part.guess.is_empty() {
                part.guess.clear();
            } else if !self.push_out(part.id, parts) {
                fits = false;
                break;
            }
        }
        self.texts.insert(part.id, text);
        fits.then_some(part)
    }

    /// A free page; remembered beginnings make room.
    fn page(&mut self, text: &Text) -> Option<u32> {
        loop {
            if let Some(page) = self.pages.take() {
                return Some(page);
            }
            let standing = |place| place == text.place || self.texts.values().any(|text| text.place == place);
            if !self.prefixes.forget(standing, &mut self.pages) {
                return None;
            }
        }
    }

    /// Takes the pages of the text that joined last, if that was after `id` and it is not part of the step.
    fn push_out(&mut self, id: Id, parts: &[Part]) -> bool {
        let free = |(other, text): &(&Id, &mut Text)| {
            **other > id && !text.pages.is_empty() && parts.iter().all(|part| part.id != **other)
        };
        match self.texts.iter_mut().rev().find(free) {
            Some((_, text)) => {
                text.drop_pages(&mut self.pages);
                true
            }
            None => false,
        }
    }

    /// Takes over what is known of a text that has no pages. At least one token is left to compute: what is remembered
    /// are keys and values, not logits.
    fn recall(&mut self, text: &mut Text) {
        if self.options.remember {
            let known = &text.tokens[..text.tokens.len() - 1];
            let (pages, place) = self.prefixes.find(text.mix.id, known, &mut self.pages);
            // It may hold some already, of which nothing was computed yet.
            text.pages.drain(..).for_each(|page| self.pages.give_back(page));
            (text.put, text.computed) = (pages.len(), pages.len() * PAGE);
            (text.pages, text.place) = (pages, place);
        }
    }

    /// Takes in what the step computed of one text.
    fn settle(&mut self, part: Part, rows: &mut Rows<'_>, choose: &mut dyn Choose, stepped: &mut Stepped) {
        let Part { id, own, guess } = part;
        let Some(text) = self.texts.get_mut(&id) else { return };
        let before = text.computed;
        text.computed += own;
        stepped.prompt += text.computed.min(text.prompt).saturating_sub(before);
        if text.computed < text.tokens.len() {
            self.remember(id);
            return;
        }
        let mut right = 0;
        let mut end = None;
        for i in 0..=guess.len() {
            let Some(scores) = rows.next() else { break };
            if end.is_some() || right < i {
                // What was computed of a wrong guess; its row is passed over.
                continue;
            }
            match choose.choose(id, &text.tokens, scores) {
                Choice::Next(token) => {
                    stepped.chosen += 1;
                    text.tokens.push(token);
                    if guess.get(i) == Some(&token) {
                        right += 1;
                        text.computed += 1;
                    }
                }
                other => end = Some(other),
            }
        }
        stepped.guessed += right;
        text.lookup.learn(guess.len(), right);
        self.remember(id);
        match end {
            Some(Choice::Replace(tokens)) => self.replace(id, tokens),
            Some(_) => self.leave(id),
            None => {}
        }
    }

    /// Puts the whole pages of a text into the tree.
    fn remember(&mut self, id: Id) {
        let Some(text) = self.texts.get_mut(&id).filter(|_| self.options.remember) else { return };
        let blocks = text.tokens[..text.computed].as_chunks::<PAGE>().0;
        for (block, page) in blocks.iter().zip(&mut text.pages).skip(text.put) {
            text.place = self.prefixes.put(text.place, text.mix.id, block, page, &mut self.pages);
            text.put += 1;
        }
    }

    fn replace(&mut self, id: Id, tokens: Vec<u32>) {
        let Some(mut text) = self.texts.remove(&id) else { return };
        text.drop_pages(&mut self.pages);
        text.prompt = text.prompt.min(tokens.len() - 1);
        text.tokens = tokens;
        self.recall(&mut text);
        self.texts.insert(id, text);
    }
}

/// What a step computed, row by row.
enum Rows<'l> {
    All(ChunksExactMut<'l, f32>),
    Best(slice::Iter<'l, Vec<Candidate>>),
}

impl<'l> Iterator for Rows<'l> {
    type Item = Scores<'l>;

    fn next(&mut self) -> Option<Scores<'l>> {
        match self {
            Self::All(rows) => rows.next().map(Scores::All),
            Self::Best(rows) => rows.next().map(|row| Scores::Best(row)),
        }
    }
}

impl Text {
    fn drop_pages(&mut self, pages: &mut Pages) {
        self.pages.drain(..).for_each(|page| pages.give_back(page));
        (self.computed, self.put, self.place) = (0, 0, Place::ROOT);
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;

    /// Remembers tokens in its pages as a model does keys and values; the logits of a token depend on all before it.
    struct Memory {
        pages: Vec<[u32; PAGE]>,
        tokens_max: usize,
        steps: usize,
        computed: usize,
    }

    const WORDS: usize = 50;

    impl Memory {
        fn new(pages: usize, tokens_max: usize) -> Self {
            Self { pages: vec![[u32::MAX; PAGE]; pages], tokens_max, steps: 0, computed: 0 }
        }
    }

    /// The token that follows; texts repeat themselves often, so that guesses are right sometimes.
    fn follows(text: impl Iterator<Item = u32>) -> u32 {
        let (mut hash, mut len, mut last) = (7u32, 0u32, 0);
        for token in text {
            hash = hash.wrapping_mul(31).wrapping_add(token);
            (last, len) = (token, len + 1);
        }
        if len % 16 < 11 { (last + 1) % 7 } else { hash % WORDS as u32 }
    }

    impl Backend for Memory {
        fn tokens_max(&self) -> usize {
            self.tokens_max
        }
        fn pages(&self) -> usize {
            self.pages.len()
        }
        fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
            self.step(batch, out)
        }
        fn step(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
            out.clear();
            self.steps += 1;
            self.computed += batch.tokens.len();
            assert!(!batch.tokens.is_empty() && batch.tokens.len() <= self.tokens_max);
            for token in batch.tokens {
                let (table, at) = (batch.tables[token.sequence as usize], token.position as usize);
                self.pages[table[at / PAGE] as usize][at % PAGE] = token.id;
            }
            for token in batch.tokens.iter().filter(|token| token.output) {
                let table = batch.tables[token.sequence as usize];
                let before = (0..=token.position as usize).map(|at| self.pages[table[at / PAGE] as usize][at % PAGE]);
                let next = follows(before);
                out.extend((0..WORDS).map(|word| if word as u32 == next { 1.0 } else { 0.0 }));
            }
            Ok(())
        }
    }

    /// Writes until a text has its length.
    struct Until(BTreeMap<Id, (usize, Vec<u32>)>);

    impl Choose for Until {
        fn needs(&self, id: Id) -> Option<usize> {
            // Every fourth text wants to see everything.
            (!id.0.is_multiple_of(4)).then_some(1 + id.0 as usize % 3)
        }

        fn choose(&mut self, id: Id, tokens: &[u32], scores: Scores<'_>) -> Choice {
            assert_eq!(self.0[&id].1, tokens);
            let next = match scores {
                Scores::All(logits) => logits.iter().position(|x| *x == 1.0).unwrap() as u32,
                Scores::Best(best) => {
                    assert!(self.needs(id).is_some_and(|needs| needs <= best.len()));
                    best[0].id
                }
            };
            let (len, text) = self.0.get_mut(&id).unwrap();
            text.push(next);
            if text.len() == *len { Choice::End } else { Choice::Next(next) }
        }
    }

    fn alone(prompt: &[u32], len: usize) -> Vec<u32> {
        let mut text = prompt.to_vec();
        while text.len() < len {
            text.push(follows(text.iter().copied()));
        }
        text
    }

    /// Runs texts that join at any time, on few pages; every one must end as it would alone.
    fn run(seed: u32, pages: usize, options: Options) -> (Memory, Stepped) {
        let mut state = seed;
        let mut chance = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        let mut backend = Memory::new(pages, 48);
        let mut batcher = Batcher::new(pages, WORDS, options);
        let (mut until, mut total, mut waiting) = (Until(BTreeMap::new()), Stepped::default(), 24);
        let mut prompts = BTreeMap::new();
        let shared: Vec<u32> = (0..100).map(|i| i % 13).collect();
        while waiting > 0 || !batcher.is_empty() {
            if waiting > 0 && chance(3) == 0 {
                waiting -= 1;
                let mut prompt = shared[..chance(100)].to_vec();
                prompt.extend((0..1 + chance(40)).map(|_| chance(WORDS) as u32));
                let len = prompt.len() + 1 + chance(60);
                let id = batcher.join(prompt.clone(), Mix::default());
                until.0.insert(id, (len, prompt.clone()));
                prompts.insert(id, prompt);
            }
            let stepped = batcher.step(&mut backend, &mut until).unwrap();
            total.guessed += stepped.guessed;
            total.chosen += stepped.chosen;
        }
        for (id, (len, text)) in until.0 {
            assert_eq!(text, alone(&prompts[&id], len));
        }
        batcher.forget();
        assert_eq!(batcher.pages().0, 0, "every page comes back");
        (backend, total)
    }

    #[test]
    fn every_text_ends_as_it_would_alone() {
        for seed in 0..40 {
            for pages in [8, 20, 200] {
                for lookup in [false, true] {
                    run(seed, pages, Options { lookup, ..Options::default() });
                }
            }
        }
    }

    #[test]
    fn a_text_that_rests_takes_no_part_and_goes_on_as_it_was() {
        let (mut backend, mut batcher) = (Memory::new(20, 48), Batcher::new(20, WORDS, Options::default()));
        let prompts = [vec![1, 2, 3], vec![4, 5]];
        let ids = prompts.clone().map(|prompt| batcher.join(prompt, Mix::default()));
        let mut until = Until(ids.iter().zip(&prompts).map(|(id, prompt)| (*id, (30, prompt.clone()))).collect());
        batcher.pause(ids[0], true);
        for _ in 0..100 {
            batcher.step(&mut backend, &mut until).unwrap();
        }
        assert_eq!((until.0[&ids[0]].1.len(), until.0[&ids[1]].1.len()), (3, 30));
        batcher.pause(ids[0], false);
        while !batcher.is_empty() {
            batcher.step(&mut backend, &mut until).unwrap();
        }
        assert_eq!(until.0[&ids[0]].1, alone(&prompts[0], 30));
    }

    #[test]
    fn pages_that_are_lent_out_take_nothing_from_a_text_but_time() {
        let (mut backend, mut batcher) = (Memory::new(8, 48), Batcher::new(8, WORDS, Options::default()));
        let prompts = [vec![1; 100], vec![2; 90]];
        let ids = prompts.clone().map(|prompt| batcher.join(prompt, Mix::default()));
        let mut until = Until(ids.iter().zip(&prompts).map(|(id, prompt)| (*id, (120, prompt.clone()))).collect());
        for turn in 0..400 {
            batcher.step(&mut backend, &mut until).unwrap();
            if turn % 20 == 3 {
                let lent = batcher.lend(6).expect("there are eight");
                assert!(batcher.lend(9).is_none(), "there are eight");
                for page in &lent {
                    backend.pages[*page as usize] = [u32::MAX; PAGE];
                }
                batcher.take_back(lent);
            }
        }
        for (id, prompt) in ids.iter().zip(&prompts) {
            assert_eq!(until.0[id].1, alone(prompt, 120));
        }
        batcher.forget();
        assert_eq!(batcher.pages().0, 0, "every page comes back");
    }

    /// Is another device from some step on, whose cache is empty.
    struct Moves(Memory, usize);

    impl Backend for Moves {
        fn tokens_max(&self) -> usize {
            self.0.tokens_max
        }
        fn pages(&self) -> usize {
            self.0.pages.len()
        }
        fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
            self.step(batch, out)
        }
        fn step(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
            if self.0.steps == self.1 {
                self.0 = Memory { steps: usize::MAX / 2, ..Memory::new(self.pages(), self.0.tokens_max) };
                return Err(Fault::Moved);
            }
            self.0.step(batch, out)
        }
    }

    #[test]
    fn a_move_to_another_device_changes_no_text() {
        for at in [0, 1, 5, 20] {
            let mut batcher = Batcher::new(8, WORDS, Options::default());
            let prompts = [vec![1; 50], vec![2; 3]];
            let ids = prompts.clone().map(|prompt| batcher.join(prompt, Mix::default()));
            let mut until = Until(ids.iter().zip(&prompts).map(|(id, prompt)| (*id, (90, prompt.clone()))).collect());
            let mut backend = Moves(Memory::new(8, 48), at);
            while !batcher.is_empty() {
                batcher.step(&mut backend, &mut until).unwrap();
            }
            assert!(backend.0.steps > usize::MAX / 2, "it moved");
            for (id, prompt) in ids.iter().zip(&prompts) {
                assert_eq!(until.0[id].1, alone(prompt, 90));
            }
        }
    }

    #[test]
    fn what_was_computed_is_not_computed_again() {
        let with = run(3, 200, Options::default()).0.computed;
        let without = run(3, 200, Options { remember: false, ..Options::default() }).0.computed;
        assert!(with * 4 < without * 3, "{with} of {without}");
    }

    #[test]
    fn guesses_save_steps_and_change_nothing() {
        let prompt: Vec<u32> = (0..40).collect();
        let steps = |lookup| {
            let mut backend = Memory::new(20, 48);
            let mut batcher = Batcher::new(20, WORDS, Options { lookup, ..Options::default() });
            let id = batcher.join(prompt.clone(), Mix::default());
            let mut until = Until(BTreeMap::from([(id, (400, prompt.clone()))]));
            while !batcher.is_empty() {
                batcher.step(&mut backend, &mut until).unwrap();
            }
            assert_eq!(until.0[&id].1, alone(&prompt, 400));
            backend.steps
        };
        assert!(steps(true) < steps(false), "{} and {}", steps(true), steps(false));
    }

    #[test]
    fn a_second_turn_computes_only_what_is_new() {
        let (mut backend, mut batcher) = (Memory::new(40, 48), Batcher::new(40, WORDS, Options::default()));
        let turn = |batcher: &mut Batcher, backend: &mut Memory, prompt: Vec<u32>| {
            let id = batcher.join(prompt.clone(), Mix::default());
            let known = batcher.known(id);
            let mut until = Until(BTreeMap::from([(id, (prompt.len() + 20, prompt))]));
            while !batcher.is_empty() {
                batcher.step(backend, &mut until).unwrap();
            }
            (known, until.0.remove(&id).unwrap().1)
        };
        let (known, mut text) = turn(&mut batcher, &mut backend, (0..300).map(|i| i % 50).collect());
        assert_eq!(known, 0);
        text.extend([1, 2, 3]);
        let (known, _) = turn(&mut batcher, &mut backend, text);
        assert_eq!(known, 319 / PAGE * PAGE);
    }

    /// Lets one text be written to its end; how many of its tokens were known, and what it became.
    fn write(batcher: &mut Batcher, backend: &mut Memory, prompt: &[u32], mix: Mix) -> (usize, Vec<u32>) {
        let id = batcher.join(prompt.to_vec(), mix);
        let known = batcher.known(id);
        let mut until = Until(BTreeMap::from([(id, (prompt.len() + 20, prompt.to_vec()))]));
        while !batcher.is_empty() {
            batcher.step(backend, &mut until).unwrap();
        }
        (known, until.0.remove(&id).unwrap().1)
    }

    #[test]
    fn what_was_computed_with_adapters_is_of_use_only_with_the_same() {
        let (mut backend, mut batcher) = (Memory::new(40, 48), Batcher::new(40, WORDS, Options::default()));
        let prompt: Vec<u32> = (0..100).map(|i| i % 50).collect();
        let mix = |id| Mix { id, shares: vec![1.0] };
        let mut known = |mix| write(&mut batcher, &mut backend, &prompt, mix).0;
        let found = [mix(1), mix(2), Mix::default(), mix(1), Mix::default()].map(&mut known);
        assert_eq!(found, [0, 0, 0, 3 * PAGE, 3 * PAGE]);
    }

    #[test]
    fn pages_that_go_can_be_brought_back() {
        let (mut backend, mut batcher) = (Memory::new(8, 48), Batcher::new(8, WORDS, Options::default()));
        let prompt: Vec<u32> = (0..100).map(|i| i % 50).collect();
        let (_, text) = write(&mut batcher, &mut backend, &prompt, Mix::default());
        let mut kept = BTreeMap::new();
        batcher.make_room(8, &mut |gone| {
            kept.insert(gone.tokens.len() / PAGE - 1, backend.pages[gone.page as usize]);
        });
        assert_eq!((batcher.pages().0, kept.len()), (0, 3));
        kept.remove(&2);
        let mut bring = |at: usize, page: u32| {
            let found = kept.get(&at);
            found.inspect(|words| backend.pages[page as usize] = **words).is_some()
        };
        assert_eq!(batcher.plant(0, &prompt, &mut bring), 2);
        assert_eq!((batcher.recalled(0, &prompt), batcher.recalled(1, &prompt)), (2 * PAGE, 0));
        assert_eq!((batcher.pages().0, batcher.remembered().count()), (2, 2));
        assert_eq!(write(&mut batcher, &mut backend, &prompt, Mix::default()), (2 * PAGE, text));
    }
}
