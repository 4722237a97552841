//! Panels times activations.
//!
//! For each output the products of a group of columns are added as whole numbers, exactly; the groups are added as
//! floats from the first column to the last. That order depends on nothing else: not on how many tokens
//! are computed together, nor on how the work is shared out. So the same token gives the same bits always.

use crate::{
    acts::{Acts, ByteBlocks, Bytes, WholeBlocks, Wholes, WordBlocks, Words, tiles},
    lanes::{Lanes, Task},
    panel::{Brains, COLUMNS, Data, Layout, Line, Packed, ROWS},
    place::Place,
    unpacked::{MANY, PART, TOKENS, WholePart, WordPart},
};

/// What a matrix is multiplied with.
#[derive(Clone, Copy)]
pub enum Input<'x> {
    /// For quanta.
    Bytes(&'x Acts<ByteBlocks>),
    /// For quanta of less than eight bits where [`Lanes::UNPACKS`].
    Wholes(&'x Acts<WholeBlocks>),
    /// For weights of sixteen bits; of eight where [`Lanes::UNPACKS`].
    Words(&'x Acts<WordBlocks>),
    /// For floats: rows, `stride` apart.
    Floats { x: &'x [f32], stride: usize },
}

/// Computes panel after panel for all tokens, and puts sixteen outputs of a token at a time in their place.
pub(crate) struct Multiply<'a> {
    /// The matrix.
    pub packed: &'a Packed,
    /// Which panels, counted over all matrices.
    pub panels: core::ops::Range<usize>,
    /// The activations.
    pub input: Input<'a>,
    /// How many tokens.
    pub count: usize,
    /// Where the outputs go.
    pub place: Place<'a>,
}

impl Task for Multiply<'_> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) {
        if L::UNPACKS && self.count >= MANY {
            match (self.input, &self.packed.data) {
                (Input::Wholes(x), _) => return self.many_wholes(l, x),
                (Input::Words(x), Data::Quanta { layout, .. }) if layout.bits == 8 => {
                    return self.many_words::<L, 8, 8>(l, x);
                }
                (Input::Words(x), Data::Quanta { .. }) => return self.many_words::<L, TABLE, 4>(l, x),
                _ => {}
            }
        }
        for panel in self.panels.clone() {
            for (at, width) in tiles(self.count, L::TILE) {
                match (width, self.input) {
                    (8, Input::Bytes(x)) if !L::UNPACKS => self.quanta::<L, 8>(l, panel, at, x.eight(at)),
                    (4, Input::Bytes(x)) if !L::UNPACKS => self.quanta::<L, 4>(l, panel, at, x.four(at)),
                    (2, Input::Bytes(x)) if !L::UNPACKS => self.quanta::<L, 2>(l, panel, at, x.two(at)),
                    (1, Input::Bytes(x)) if !L::UNPACKS => self.quanta::<L, 1>(l, panel, at, x.one(at)),
                    (_, Input::Bytes(_)) => unreachable!("only where lanes do not unpack, in tiles of at most eight"),
                    (4, Input::Wholes(x)) if L::UNPACKS => self.wholes::<L, 4>(l, panel, at, x.four(at), x),
                    (2, Input::Wholes(x)) if L::UNPACKS => self.wholes::<L, 2>(l, panel, at, x.two(at), x),
                    (1, Input::Wholes(x)) if L::UNPACKS => self.wholes::<L, 1>(l, panel, at, x.one(at), x),
                    (_, Input::Wholes(_)) => unreachable!("only where lanes unpack, in tiles of at most four"),
                    (8, Input::Words(x)) => self.words::<L, 8>(l, panel, at, x.eight(at)),
                    (4, Input::Words(x)) => self.words::<L, 4>(l, panel, at, x.four(at)),
                    (2, Input::Words(x)) => self.words::<L, 2>(l, panel, at, x.two(at)),
                    (_, Input::Words(x)) => self.words::<L, 1>(l, panel, at, x.one(at)),
                    (8, Input::Floats { x, stride }) => self.floats::<L, 8>(l, panel, at, x, stride),
                    (4, Input::Floats { x, stride }) => self.floats::<L, 4>(l, panel, at, x, stride),
                    (2, Input::Floats { x, stride }) => self.floats::<L, 2>(l, panel, at, x, stride),
                    (_, Input::Floats { x, stride }) => self.floats::<L, 1>(l, panel, at, x, stride),
                }
            }
        }
    }
}

impl Multiply<'_> {
    #[inline(always)]
    fn hand<L: Lanes, const T: usize>(&self, l: L, panel: usize, at: usize, sums: [L::F; T]) {
        for (t, sum) in sums.into_iter().enumerate() {
            self.place.put(l, at + t, panel, sum);
        }
    }

    /// One panel for `T` tokens from the `at`-th. The kernel is chosen here, so that every question about the layout
    /// is answered before its loop.
    #[inline(always)]
    fn quanta<L: Lanes, const T: usize>(&self, l: L, panel: usize, at: usize, x: &[Bytes<T>]) {
        let (layout, lines, scales) = self.packed.blocks(panel, 0, self.packed.width / COLUMNS);
        let sums = match (layout.bits, layout.minimum, layout.table) {
            (4, true, _) => kernel::<L, T, 4, 4, 1, true>(l, layout, lines, scales, x),
            (4, false, None) => kernel::<L, T, 4, 4, 1, false>(l, layout, lines, scales, x),
            (4, false, Some(_)) if layout.unpacked() < 8 => {
                kernel::<L, T, SMALL_TABLE, 4, 1, false>(l, layout, lines, scales, x)
            }
            (4, false, Some(_)) => kernel::<L, T, TABLE, 4, 1, false>(l, layout, lines, scales, x),
            (5, true, _) => kernel::<L, T, 5, 5, 1, true>(l, layout, lines, scales, x),
            (5, false, _) => kernel::<L, T, 5, 5, 1, false>(l, layout, lines, scales, x),
            (8, ..) => kernel::<L, T, 8, 8, 1, false>(l, layout, lines, scales, x),
            (6, ..) => kernel::<L, T, 6, 6, 2, false>(l, layout, lines, scales, x),
            (3, ..) => kernel::<L, T, 3, 3, 2, false>(l, layout, lines, scales, x),
            _ => kernel::<L, T, 2, 2, 2, true>(l, layout, lines, scales, x),
        };
        self.hand(l, panel, at, sums);
    }

    /// The same for lanes that unpack.
    #[inline(always)]
    fn wholes<L: Lanes, const T: usize>(
        &self,
        l: L,
        panel: usize,
        at: usize,
        x: &[Wholes<T>],
        acts: &Acts<WholeBlocks>,
    ) {
        let (layout, lines, scales) = self.packed.blocks(panel, 0, self.packed.width / COLUMNS);
        let mut sums = match (layout.bits, layout.minimum, layout.table) {
            (4, true, _) => wholes::<L, T, 4, 4, 1, true>(l, layout, lines, scales, x),
            (4, false, None) => wholes::<L, T, 4, 4, 1, false>(l, layout, lines, scales, x),
            (4, false, Some(_)) => wholes::<L, T, SMALL_TABLE, 4, 1, false>(l, layout, lines, scales, x),
            (5, true, _) => wholes::<L, T, 5, 5, 1, true>(l, layout, lines, scales, x),
            (5, false, _) => wholes::<L, T, 5, 5, 1, false>(l, layout, lines, scales, x),
            (6, ..) => wholes::<L, T, 6, 6, 2, false>(l, layout, lines, scales, x),
            (3, ..) => wholes::<L, T, 3, 3, 2, false>(l, layout, lines, scales, x),
            (2, ..) => wholes::<L, T, 2, 2, 2, true>(l, layout, lines, scales, x),
            _ => unreachable!("eight bits are multiplied as words"),
        };
        for t in 0..T {
            sums[t] = l.mul(sums[t], l.splat(acts.unit(at + t)));
        }
        self.hand(l, panel, at, sums);
    }

    /// All tokens, part by part of each panel. The kernel is chosen here.
    #[inline(always)]
    fn many_wholes<L: Lanes>(&self, l: L, x: &Acts<WholeBlocks>) {
        let Data::Quanta { layout, .. } = &self.packed.data else { unreachable!("quanta take bytes") };
        match (layout.bits, layout.minimum, layout.table) {
            (4, true, _) => self.many_of::<L, 4, 4, 1, true>(l, x),
            (4, false, None) => self.many_of::<L, 4, 4, 1, false>(l, x),
            (4, false, Some(_)) => self.many_of::<L, SMALL_TABLE, 4, 1, false>(l, x),
            (5, true, _) => self.many_of::<L, 5, 5, 1, true>(l, x),
            (5, false, _) => self.many_of::<L, 5, 5, 1, false>(l, x),
            (6, ..) => self.many_of::<L, 6, 6, 2, false>(l, x),
            (3, ..) => self.many_of::<L, 3, 3, 2, false>(l, x),
            (2, ..) => self.many_of::<L, 2, 2, 2, true>(l, x),
            _ => unreachable!("eight bits are multiplied as words"),
        }
    }

    #[inline(always)]
    fn many_of<L: Lanes, const FORM: usize, const LINES: usize, const GROUPS: usize, const MINIMUM: bool>(
        &self,
        l: L,
        x: &Acts<WholeBlocks>,
    ) {
        let mut parts = [WholePart::new(l); PART];
        let mut sums = [l.splat(0.0); TOKENS];
        for (panel, from, first, blocks) in self.parts() {
            let (layout, lines, scales) = self.packed.blocks(panel, first, blocks);
            let scales = scales.chunks_exact(if MINIMUM { 2 * GROUPS } else { GROUPS });
            for (part, (lines, scales)) in parts.iter_mut().zip(lines.as_chunks::<LINES>().0.iter().zip(scales)) {
                part.fill::<FORM, GROUPS, MINIMUM>(l, layout, lines, scales);
            }
            let parts = &parts[..blocks];
            for (at, width) in tiles((self.count - from).min(TOKENS), L::TILE) {
                let (start, sums) = (from + at, &mut sums[at..at + width]);
                self.begin(l, panel, start, first, blocks, sums);
                match width {
                    4 => four::<L, FORM, GROUPS>(l, parts, &x.four(start)[first..], sums),
                    2 => add::<L, 2, FORM, GROUPS>(l, parts, &x.two(start)[first..], sums),
                    _ => add::<L, 1, FORM, GROUPS>(l, parts, &x.one(start)[first..], sums),
                }
                if self.ends(first, blocks) {
                    for (token, sum) in (start..).zip(sums) {
                        self.place.put(l, token, panel, l.mul(*sum, l.splat(x.unit(token))));
                    }
                }
            }
        }
    }

    /// The same for weights of eight bits.
    #[inline(always)]
    fn many_words<L: Lanes, const FORM: usize, const LINES: usize>(&self, l: L, x: &Acts<WordBlocks>) {
        let mut parts = [WordPart::new(l); PART];
        let mut sums = [l.splat(0.0); TOKENS];
        for (panel, from, first, blocks) in self.parts() {
            let (layout, lines, scales) = self.packed.blocks(panel, first, blocks);
            for (part, (lines, scales)) in parts.iter_mut().zip(lines.as_chunks::<LINES>().0.iter().zip(scales)) {
                part.fill::<FORM>(l, layout, lines, scales);
            }
            let parts = &parts[..blocks];
            for (at, width) in tiles((self.count - from).min(TOKENS), L::TILE) {
                let (start, sums) = (from + at, &mut sums[at..at + width]);
                self.begin(l, panel, start, first, blocks, sums);
                match width {
                    4 => l.words(parts, &x.four(start)[first..], sums.first_chunk_mut().expect("four")),
                    2 => add_words::<L, 2>(l, parts, &x.two(start)[first..], sums),
                    _ => add_words::<L, 1>(l, parts, &x.one(start)[first..], sums),
                }
                if self.ends(first, blocks) {
                    for (token, sum) in (start..).zip(sums) {
                        self.place.put(l, token, panel, *sum);
                    }
                }
            }
        }
    }

    /// Before some blocks are computed for a tile of tokens from the `start`-th: sums begin at nothing with the first block,
    /// and where they go is asked for before the last.
    #[inline(always)]
    fn begin<L: Lanes>(&self, l: L, panel: usize, start: usize, first: usize, blocks: usize, sums: &mut [L::F]) {
        if first == 0 {
            sums.fill(l.splat(0.0));
        }
        if self.ends(first, blocks) {
            (start..start + sums.len()).for_each(|token| self.place.ready(l, token, panel));
        }
    }

    /// Whether these blocks are the last ones of a row.
    fn ends(&self, first: usize, blocks: usize) -> bool {
        first + blocks == self.packed.width / COLUMNS
    }

    /// Each panel, first token, first block and number of blocks, in the order in which they are computed.
    fn parts(&self) -> impl Iterator<Item = (usize, usize, usize, usize)> + use<> {
        let (panels, count, all) = (self.panels.clone(), self.count, self.packed.width / COLUMNS);
        panels.flat_map(move |panel| {
            let part = move |first: usize| (first, (all - first).min(PART));
            let parts = move |from| (0..all).step_by(PART).map(part).map(move |(a, n)| (panel, from, a, n));
            (0..count).step_by(TOKENS).flat_map(parts)
        })
    }

    #[inline(always)]
    fn words<L: Lanes, const T: usize>(&self, l: L, panel: usize, at: usize, x: &[Words<T>]) {
        let (lines, scales) = match &self.packed.data {
            Data::Words { lines, scales } => (lines, scales),
            _ => return self.eights(l, panel, at, x),
        };
        let steps = self.packed.width / 2;
        let lines = lines[panel * steps..][..steps].as_chunks::<16>().0;
        let mut sums = [l.splat(0.0); T];
        for (lines, x) in lines.iter().zip(x) {
            let mut dots = [l.whole(0); T];
            for (line, x) in lines.iter().zip(&x.quanta) {
                let w = l.load(&line.0);
                for t in 0..T {
                    dots[t] = l.dot2(dots[t], w, x[t]);
                }
            }
            for t in 0..T {
                sums[t] = l.fma(l.float(dots[t]), l.splat(x.scales[t]), sums[t]);
            }
        }
        let scales = l.get(&scales[panel]);
        self.hand(l, panel, at, sums.map(|sum| l.mul(sum, scales)));
    }

    /// Weights of eight bits times words.
    #[inline(always)]
    fn eights<L: Lanes, const T: usize>(&self, l: L, panel: usize, at: usize, x: &[Words<T>]) {
        let (layout, lines, scales) = self.packed.blocks(panel, 0, self.packed.width / COLUMNS);
        let sums = match layout.bits {
            8 => eights::<L, T, 8, 8>(l, layout, lines, scales, x),
            _ => eights::<L, T, TABLE, 4>(l, layout, lines, scales, x),
        };
        self.hand(l, panel, at, sums);
    }

    #[inline(always)]
    fn floats<L: Lanes, const T: usize>(&self, l: L, panel: usize, at: usize, x: &[f32], stride: usize) {
        let width = self.packed.width;
        let x: [&[f32]; T] = core::array::from_fn(|t| &x[(at + t) * stride..][..width]);
        let range = panel * width..(panel + 1) * width;
        let sums = match &self.packed.data {
            Data::F16(list) => columns::<L, _, T>(l, &list[range], x),
            Data::Bf16(list) => columns::<L, _, T>(l, &list[range], x),
            Data::F32(list) => columns::<L, _, T>(l, &list[range], x),
            Data::Quanta { .. } | Data::Words { .. } => unreachable!("floats take floats"),
        };
        self.hand(l, panel, at, sums);
    }
}

/// `sums` are `T`.
#[inline(always)]
fn add<L: Lanes, const T: usize, const FORM: usize, const GROUPS: usize>(
    l: L,
    parts: &[WholePart<L>],
    x: &[Wholes<T>],
    sums: &mut [L::F],
) {
    let sums: &mut [L::F; T] = sums.first_chunk_mut().expect("as many as the tile is wide");
    for (part, x) in parts.iter().zip(x) {
        match bits(FORM) {
            ..=5 => part.add::<T, 5, GROUPS>(l, x, sums),
            _ => part.add::<T, 6, GROUPS>(l, x, sums),
        }
    }
}

/// The same for tiles of four.
#[inline(always)]
fn four<L: Lanes, const FORM: usize, const GROUPS: usize>(
    l: L,
    parts: &[WholePart<L>],
    x: &[Wholes<4>],
    sums: &mut [L::F],
) {
    let sums = sums.first_chunk_mut().expect("as many as the tile is wide");
    match bits(FORM) {
        ..=5 => l.wholes::<5, GROUPS>(parts, x, sums),
        _ => l.wholes::<6, GROUPS>(parts, x, sums),
    }
}

/// `sums` are `T`.
#[inline(always)]
fn add_words<L: Lanes, const T: usize>(l: L, parts: &[WordPart<L>], x: &[Words<T>], sums: &mut [L::F]) {
    let sums: &mut [L::F; T] = sums.first_chunk_mut().expect("as many as the tile is wide");
    for (part, x) in parts.iter().zip(x) {
        part.add(l, x, sums);
    }
}

/// Sixteen weights of one column.
trait Column {
    fn get<L: Lanes>(&self, l: L) -> L::F;
}

impl Column for [u16; ROWS] {
    #[inline(always)]
    fn get<L: Lanes>(&self, l: L) -> L::F {
        l.halves(self)
    }
}

impl Column for [f32; ROWS] {
    #[inline(always)]
    fn get<L: Lanes>(&self, l: L) -> L::F {
        l.get(self)
    }
}

impl Column for Brains {
    #[inline(always)]
    fn get<L: Lanes>(&self, l: L) -> L::F {
        l.brains(&self.0)
    }
}

#[inline(always)]
fn columns<L: Lanes, W: Column, const T: usize>(l: L, columns: &[W], x: [&[f32]; T]) -> [L::F; T] {
    let mut sums = [l.splat(0.0); T];
    for (k, column) in columns.iter().enumerate() {
        let w = column.get(l);
        for t in 0..T {
            sums[t] = l.fma(w, l.splat(x[t][k]), sums[t]);
        }
    }
    sums
}

/// How far ahead of a single token's kernel weights are asked for.
const AHEAD: usize = 6144;

/// The form of four bits that stand for entries of a table.
const TABLE: usize = 9;

/// The same, where no entry is above 31.
const SMALL_TABLE: usize = 10;

/// The bits of what a form is unpacked to.
const fn bits(form: usize) -> u32 {
    match form {
        TABLE => 8,
        SMALL_TABLE => 5,
        bits => bits as u32,
    }
}

/// `FORM` is the number of bits or one of the tables, `LINES` of a block hold them; `GROUPS` of a block have a scale of
/// their own.
///
/// With quanta `q`, activations `a * x`, scale `d` and zero `z` (or minimum `m`), a group gives
/// `d * a * sum(q * x) + m * sum(a * x)`, where `m = -z * d` if there are no minima. The loops over tokens are
/// short, so that the compiler unrolls them and sums stay in registers.
#[inline(always)]
fn kernel<L: Lanes, const T: usize, const FORM: usize, const LINES: usize, const GROUPS: usize, const MINIMUM: bool>(
    l: L,
    layout: &Layout,
    lines: &[Line],
    scales: &[[u16; ROWS]],
    x: &[Bytes<T>],
) -> [L::F; T] {
    let per_block = if MINIMUM { 2 * GROUPS } else { GROUPS };
    // The zero of eight bits is the sign of the same bits turned over.
    let signed = L::SIGNED && bits(FORM) == 8;
    let turn = if signed { 0x80 } else { 0 };
    let table = layout.table.unwrap_or([0; 16]).map(|entry| entry ^ turn);
    let zero = l.splat(-(layout.zero as f32));
    let mut sums = [l.splat(0.0); T];
    for ((lines, scales), x) in lines.as_chunks::<LINES>().0.iter().zip(scales.chunks_exact(per_block)).zip(x) {
        if T == 1 {
            ahead(l, lines, &scales[0]);
        }
        // Where there are few registers, the second half is unpacked only when it is needed.
        let early = (L::TILE >= 8).then(|| unpack_all::<L, FORM>(l, lines, &table));
        let mut part = [l.splat(0.0); T];
        for half in 0..2 {
            let w = match &early {
                Some(w) => w[half],
                None => unpack::<L, FORM>(l, lines, half, &table),
            };
            let steps = x.quanta[4 * half..].first_chunk().expect("eight steps are two halves");
            part = match bits(FORM) {
                ..=4 => l.dots::<4, T>(part, w, steps, &x.scales[half]),
                5 => l.dots::<5, T>(part, w, steps, &x.scales[half]),
                6 => l.dots::<6, T>(part, w, steps, &x.scales[half]),
                _ => l.dots::<8, T>(part, w, steps, &x.scales[half]),
            };
            // A group ends here: at the half, or at the whole.
            if GROUPS == 2 || half == 1 {
                let (group, sum) = if GROUPS == 2 { (half, half) } else { (0, 2) };
                let d = l.halves(&scales[group]);
                for t in 0..T {
                    sums[t] = l.fma(d, part[t], sums[t]);
                    part[t] = l.splat(0.0);
                }
                if !signed {
                    let m = if MINIMUM { l.halves(&scales[GROUPS + group]) } else { l.mul(d, zero) };
                    for t in 0..T {
                        sums[t] = l.fma(m, l.splat(x.sums[sum][t]), sums[t]);
                    }
                }
            }
        }
    }
    sums
}

/// Panels of eight bits for `T` tokens, which are words.
#[inline(always)]
fn eights<L: Lanes, const T: usize, const FORM: usize, const LINES: usize>(
    l: L,
    layout: &Layout,
    lines: &[Line],
    scales: &[[u16; ROWS]],
    x: &[Words<T>],
) -> [L::F; T] {
    let mut sums = [l.splat(0.0); T];
    for ((lines, scales), x) in lines.as_chunks::<LINES>().0.iter().zip(scales).zip(x) {
        if T == 1 {
            ahead(l, lines, scales);
        }
        let mut part = WordPart::new(l);
        part.fill::<FORM>(l, layout, lines, scales);
        part.add(l, x, &mut sums);
    }
    sums
}

/// Panels of less than eight bits for `T` tokens, where lanes unpack. `FORM` and the rest are those of [`kernel`].
#[inline(always)]
fn wholes<L: Lanes, const T: usize, const FORM: usize, const LINES: usize, const GROUPS: usize, const MINIMUM: bool>(
    l: L,
    layout: &Layout,
    lines: &[Line],
    scales: &[[u16; ROWS]],
    x: &[Wholes<T>],
) -> [L::F; T] {
    let per_block = if MINIMUM { 2 * GROUPS } else { GROUPS };
    let mut sums = [l.splat(0.0); T];
    for ((lines, scales), x) in lines.as_chunks::<LINES>().0.iter().zip(scales.chunks_exact(per_block)).zip(x) {
        if T == 1 {
            ahead(l, lines, &scales[0]);
        }
        let mut part = WholePart::new(l);
        part.fill::<FORM, GROUPS, MINIMUM>(l, layout, lines, scales);
        match bits(FORM) {
            ..=5 => part.add::<T, 5, GROUPS>(l, x, &mut sums),
            _ => part.add::<T, 6, GROUPS>(l, x, &mut sums),
        }
    }
    sums
}

/// Asks for what a single token's kernel will read.
#[inline(always)]
fn ahead<L: Lanes>(l: L, lines: &[Line], scales: &[u16; ROWS]) {
    for line in lines {
        l.prefetch(line.0.as_ptr().wrapping_add(AHEAD));
    }
    l.prefetch(scales.as_ptr().cast::<u8>().wrapping_add(AHEAD / 8));
}

#[inline(always)]
pub fn unpack_all<L: Lanes, const FORM: usize>(l: L, lines: &[Line], table: &[u8; 16]) -> [[L::I; 4]; 2] {
    [unpack::<L, FORM>(l, lines, 0, table), unpack::<L, FORM>(l, lines, 1, table)]
}

/// The four steps of one half of a block, one byte an element.
///
/// Written without closures: the compiler does not always inline those, and an intrinsic that is not inlined
/// costs a call.
#[inline(always)]
fn unpack<L: Lanes, const FORM: usize>(l: L, lines: &[Line], half: usize, table: &[u8; 16]) -> [L::I; 4] {
    match FORM {
        8 => {
            let at = 4 * half;
            let w = [line(l, lines, at), line(l, lines, at + 1), line(l, lines, at + 2), line(l, lines, at + 3)];
            if L::SIGNED { turned(l, w) } else { w }
        }
        4 => nibbles(l, lines, half),
        TABLE | SMALL_TABLE => {
            let mut w = nibbles(l, lines, half);
            for w in &mut w {
                *w = l.lookup(table, *w);
            }
            w
        }
        5 => {
            let h = line(l, lines, 4);
            let high = if half == 0 {
                [l.left::<4>(h), l.left::<3>(h), l.left::<2>(h), l.left::<1>(h)]
            } else {
                [h, l.right::<1>(h), l.right::<2>(h), l.right::<3>(h)]
            };
            join(l, nibbles(l, lines, half), high, l.bytes(16))
        }
        6 => {
            let h = line(l, lines, 4 + half);
            let high = [l.left::<4>(h), l.left::<2>(h), h, l.right::<2>(h)];
            join(l, nibbles(l, lines, half), high, l.bytes(48))
        }
        3 => {
            let h = line(l, lines, 2);
            let high = if half == 0 {
                [l.left::<2>(h), l.left::<1>(h), h, l.right::<1>(h)]
            } else {
                [l.right::<2>(h), l.right::<3>(h), l.right::<4>(h), l.right::<5>(h)]
            };
            join(l, pairs(l, lines, half), high, l.bytes(4))
        }
        _ => pairs(l, lines, half),
    }
}

#[inline(always)]
fn line<L: Lanes>(l: L, lines: &[Line], i: usize) -> L::I {
    l.load(&lines[i].0)
}

/// The sign bit of every byte turned over.
#[inline(always)]
fn turned<L: Lanes>(l: L, w: [L::I; 4]) -> [L::I; 4] {
    let sign = l.bytes(0x80);
    [l.xor(w[0], sign), l.xor(w[1], sign), l.xor(w[2], sign), l.xor(w[3], sign)]
}

#[inline(always)]
fn nibbles<L: Lanes>(l: L, lines: &[Line], half: usize) -> [L::I; 4] {
    let low = l.bytes(15);
    let w = [line(l, lines, 0), line(l, lines, 1), line(l, lines, 2), line(l, lines, 3)];
    if half == 0 {
        [l.and(w[0], low), l.and(w[1], low), l.and(w[2], low), l.and(w[3], low)]
    } else {
        [
            l.and(l.right::<4>(w[0]), low),
            l.and(l.right::<4>(w[1]), low),
            l.and(l.right::<4>(w[2]), low),
            l.and(l.right::<4>(w[3]), low),
        ]
    }
}

#[inline(always)]
fn pairs<L: Lanes>(l: L, lines: &[Line], half: usize) -> [L::I; 4] {
    let (two, a) = (l.bytes(3), line(l, lines, half));
    [l.and(a, two), l.and(l.right::<2>(a), two), l.and(l.right::<4>(a), two), l.and(l.right::<6>(a), two)]
}

/// Low bits, and those of the high ones that the mask names.
#[inline(always)]
fn join<L: Lanes>(l: L, mut low: [L::I; 4], high: [L::I; 4], mask: L::I) -> [L::I; 4] {
    for (low, high) in low.iter_mut().zip(high) {
        *low = l.or(*low, l.and(high, mask));
    }
    low
}
