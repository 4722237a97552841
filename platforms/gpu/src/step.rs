//! What a step tells the device: its tokens, where their pages are, the angles of their positions.
//! How it lies in memory is said in `shaders/common.wgsl`.

#![allow(clippy::single_range_in_vec_init, reason = "a list of parts, each a range")]

use std::ops::Range;

use tutu_llm::{
    backend::{Batch, Fault, PAGE, Token},
    reference,
};

use crate::program::{Dispatch, Program};

/// One submission.
pub struct Step {
    /// What the device is told.
    pub words: Vec<u32>,
    /// Tokens.
    pub tokens: u32,
    /// Tokens whose output is wanted.
    pub outputs: u32,
    /// Parts into which the positions are cut in attention.
    pub segments: u32,
    /// Of each adapter of the program, whether somebody takes a share of it.
    pub adapters: Vec<bool>,
}

/// Words before the tokens.
const HEADER: usize = 16;
/// Positions of a segment of attention at the least: a few rounds of a workgroup, so that joining costs little.
const SEGMENT: u32 = 128;
/// Workgroups that keep a GPU busy; with fewer, long texts are cut.
const BUSY: usize = 128;

impl Step {
    /// Words of a step of so many tokens, without the tables.
    pub fn words(program: &Program, tokens: usize) -> usize {
        let angles: usize = program.ropes.iter().map(|(rope, _)| rope.dims).sum();
        HEADER + tokens * (5 + angles + program.adapters)
    }

    /// A step of a batch that fits.
    pub fn new(program: &Program, batch: &Batch<'_>, cached: bool) -> Self {
        let Batch { tokens, tables, .. } = *batch;
        let mut words = vec![0; HEADER];
        words.extend(tokens.iter().flat_map(|token| [token.id, token.position, 0, token.sequence]));
        words[4] = words.len() as u32;
        words.extend(tokens.iter().enumerate().filter(|(_, token)| token.output).map(|(i, _)| i as u32));
        let outputs = words.len() as u32 - words[4];
        for (i, (rope, factors)) in program.ropes.iter().enumerate() {
            words[5 + i] = words.len() as u32;
            for token in tokens {
                let angles = reference::angles(rope, factors.as_deref(), token.position);
                words.extend(angles.flat_map(|(cos, sin)| [cos.to_bits(), sin.to_bits()]));
            }
        }
        words[15] = words.len() as u32;
        let (mut adapters, mut shares) = (Vec::with_capacity(program.adapters), Vec::new());
        for adapter in 0..program.adapters {
            batch.shares_of(adapter, tokens.len(), &mut shares);
            adapters.push(!shares.is_empty());
            shares.resize(tokens.len(), 0.0);
            words.extend(shares.iter().map(|share| share.to_bits()));
        }
        if cached {
            for (sequence, pages) in needed(tokens) {
                let at = words.len() as u32;
                words.extend_from_slice(&tables[sequence as usize][..pages]);
                let own = tokens.iter().enumerate().filter(|(_, token)| token.sequence == sequence);
                own.for_each(|(i, _)| words[HEADER + 4 * i + 2] = at);
            }
        }
        let longest = tokens.iter().map(|token| token.position + 1).max().unwrap_or(1);
        let most = (program.segments_max / tokens.len().max(1)).max(1);
        let wanted = BUSY.div_ceil(program.attention_groups * tokens.len().max(1));
        let segments = longest.div_ceil(SEGMENT).min(most.min(wanted) as u32).max(1);
        // Segments end where a round of a workgroup does.
        let length = longest.div_ceil(segments).next_multiple_of(64);
        words[0] = tokens.len() as u32;
        words[1] = outputs;
        words[2] = segments;
        words[3] = length;
        Self { words, tokens: tokens.len() as u32, outputs, segments, adapters }
    }

    /// Whether there is something to do for a dispatch.
    pub fn wants(&self, dispatch: &Dispatch) -> bool {
        dispatch.adapter.is_none_or(|adapter| self.adapters[adapter])
    }
}

/// The texts of some tokens, and how many pages of each are looked at.
fn needed(tokens: &[Token]) -> Vec<(u32, usize)> {
    let mut all: Vec<(u32, usize)> = Vec::new();
    for token in tokens {
        let pages = token.position as usize / PAGE + 1;
        match all.iter_mut().find(|(sequence, _)| *sequence == token.sequence) {
            Some((_, most)) => *most = pages.max(*most),
            None => all.push((token.sequence, pages)),
        }
    }
    all
}

/// Cuts a batch into submissions: no more outputs and no more pages in each than there is room for.
///
/// # Errors
/// [`Fault::Batch`], where one token alone does not fit.
pub fn parts(batch: &Batch<'_>, cached: bool, outputs: usize, pages: usize) -> Result<Vec<Range<usize>>, Fault> {
    let tokens = batch.tokens;
    if !cached {
        // Tokens see those that come after them: all or nothing.
        return Ok(vec![0..tokens.len()]);
    }
    let fits = |range: Range<usize>| {
        let tokens = &tokens[range];
        tokens.iter().filter(|token| token.output).count() <= outputs
            && needed(tokens).iter().map(|(_, pages)| pages).sum::<usize>() <= pages
    };
    let (mut all, mut start) = (Vec::new(), 0);
    if fits(0..tokens.len()) {
        return Ok(vec![0..tokens.len()]);
    }
    while start < tokens.len() {
        let count = (1..=tokens.len() - start).take_while(|count| fits(start..start + count)).last();
        let end = start + count.ok_or(Fault::Batch)?;
        all.push(start..end);
        start = end;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(sequence: u32, position: u32, output: bool) -> Token {
        Token { id: 1, position, sequence, output }
    }

    #[test]
    fn a_batch_is_cut_where_outputs_or_pages_run_out() {
        let tokens: Vec<Token> = (0..10).map(|i| token(0, i, true)).collect();
        let batch = Batch::new(&tokens, &[&[0]]);
        assert_eq!(parts(&batch, true, 4, 8), Ok(vec![0..4, 4..8, 8..10]));
        assert_eq!(parts(&batch, true, 10, 8), Ok(vec![0..10]));
        let tokens: Vec<Token> = (0..3).map(|i| token(i, 70, false)).collect();
        let batch = Batch::new(&tokens, &[&[0; 3], &[0; 3], &[0; 3]]);
        assert_eq!(parts(&batch, true, 4, 6), Ok(vec![0..2, 2..3]));
        assert_eq!(parts(&batch, true, 4, 2), Err(Fault::Batch));
    }

    #[test]
    fn a_step_lists_its_outputs_and_the_pages_that_are_looked_at() {
        let program = Program { segments_max: 128, attention_groups: 1, ..Program::default() };
        let tokens = [token(1, 31, false), token(1, 32, true)];
        let step = Step::new(&program, &Batch::new(&tokens, &[&[9], &[7, 8, 9]]), true);
        assert_eq!(step.words[..5], [2, 1, 1, 64, 24]);
        assert_eq!(step.words[16..], [1, 31, 25, 1, 1, 32, 25, 1, 1, 7, 8]);
    }

    #[test]
    fn a_step_carries_what_each_token_takes_of_an_adapter() {
        let program = Program { segments_max: 128, attention_groups: 1, adapters: 2, ..Program::default() };
        let tokens = [token(0, 0, true), token(1, 0, true)];
        let batch = Batch { tokens: &tokens, tables: &[&[0], &[1]], shares: &[&[0.0, 0.5], &[]] };
        let step = Step::new(&program, &batch, true);
        let at = step.words[15] as usize;
        assert_eq!(step.words[at..at + 4], [0, 0, 0.5f32.to_bits(), 0]);
        assert_eq!(step.adapters, [false, true]);
    }

    #[test]
    fn long_texts_of_few_tokens_are_cut() {
        let program = Program { segments_max: 128, attention_groups: 4, ..Program::default() };
        let one = Step::new(&program, &Batch::new(&[token(0, 999, true)], &[&[0; 32]]), true);
        assert_eq!((one.segments, one.words[3]), (8, 128));
        let many: Vec<Token> = (0..100).map(|i| token(0, 900 + i, false)).collect();
        assert_eq!(Step::new(&program, &Batch::new(&many, &[&[0; 32]]), true).segments, 1);
    }
}
