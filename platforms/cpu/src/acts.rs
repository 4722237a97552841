//! Activations as the kernels read them: quantised, and some tokens side by side.
//!
//! Tokens are taken in tiles of as many as a kernel computes at once, and what is left in tiles of 4, 2 and 1. In a
//! tile every block of 32 columns holds what the kernel wants next, in the order in which it wants it, so
//! that the inner loop has one pointer and constant distances.

use crate::lanes::Lanes;
use crate::panel::COLUMNS;

/// 32 columns of some tokens.
pub trait Block: Copy {
    /// All zero.
    const ZERO: Self;
    /// Quantises the columns of token `t` of the tile, whose row has this unit.
    fn fill<L: Lanes>(&mut self, l: L, t: usize, x: &[f32; COLUMNS], unit: f32);
}

/// One kind of block for every width of a tile.
pub trait Family: 'static {
    /// For tiles of `T` tokens.
    type Of<const T: usize>: Block + Send + Sync;

    /// What all scales of a row are multiples of; 1 where they are not.
    #[inline(always)]
    fn unit<L: Lanes>(_l: L, _row: &[f32]) -> f32 {
        1.0
    }
}

/// Eight bits, for weights of at most eight.
///
/// A scale for each 16 columns and not for 32 as in llama.cpp's Q8_0: one outlier spoils the precision of fewer
/// neighbours.
#[derive(Clone, Debug, Default)]
pub struct ByteBlocks;

/// Eight bits with scales that are whole numbers, so many times a unit of the row: for lanes that add products in 16 bits
/// and multiply pairs of such sums with a scale in the instruction that widens them.
#[derive(Clone, Debug, Default)]
pub struct WholeBlocks;

/// Twelve bits, for weights of sixteen: 32 products of the two still fit into 32 bits.
#[derive(Clone, Debug, Default)]
pub struct WordBlocks;

impl Family for ByteBlocks {
    type Of<const T: usize> = Bytes<T>;
}

impl Family for WholeBlocks {
    type Of<const T: usize> = Wholes<T>;

    #[inline(always)]
    fn unit<L: Lanes>(l: L, row: &[f32]) -> f32 {
        let mut most = l.splat(0.0);
        for x in row.as_chunks::<16>().0 {
            most = l.max(most, size(l, l.get(x)));
        }
        l.largest(most) / (127.0 * SCALE)
    }
}

impl Family for WordBlocks {
    type Of<const T: usize> = Words<T>;
}

/// See [`ByteBlocks`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Bytes<const T: usize> {
    /// For each step of four columns and each token: whole numbers from -127 to 127.
    pub quanta: [[[i8; 4]; T]; 8],
    /// Of the first and of the last 16 columns.
    pub scales: [[f32; T]; 2],
    /// What the columns sum up to: the first 16, the last 16, all.
    pub sums: [[f32; T]; 3],
}

/// See [`WholeBlocks`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Wholes<const T: usize> {
    /// As in [`Bytes`].
    pub quanta: [[[i8; 4]; T]; 8],
    /// Of the first and of the last 16 columns, from 1 to [`SCALE`], each twice: for both sums of a pair.
    pub scales: [[[i16; 2]; T]; 2],
    /// What quanta times scales sum up to: the first 16 columns, the last 16, all.
    pub sums: [[f32; T]; 3],
}

/// The largest scale of [`Wholes`]. With weights of five bits, 32 products and a scale sum up to at most
/// 31 * 127 * 32 * 16383, which is below 2^31; with weights of six, of which only 16 columns share a scale, to less.
///
/// A group whose largest number is a thousandth of its row's has a scale of at least 16, so that rounding it up costs at most
/// a sixteenth of the precision of numbers which weigh a thousandth of the others.
const SCALE: f32 = 16383.0;

/// See [`WordBlocks`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Words<const T: usize> {
    /// For each pair of columns and each token: whole numbers from -2047 to 2047.
    pub quanta: [[[i16; 2]; T]; 16],
    /// Of all columns.
    pub scales: [f32; T],
}

/// The largest whole number of [`Words`]. With weights of 15 bits and a sign, 32 products sum up to
/// 32767 * 2047 * 32, which is below 2^31.
const WORD: f32 = 2047.0;

impl<const T: usize> Block for Bytes<T> {
    const ZERO: Self = Self { quanta: [[[0; 4]; T]; 8], scales: [[0.0; T]; 2], sums: [[0.0; T]; 3] };

    #[inline(always)]
    fn fill<L: Lanes>(&mut self, l: L, t: usize, x: &[f32; COLUMNS], _unit: f32) {
        for (h, half) in x.as_chunks::<16>().0.iter().enumerate() {
            let x = l.get(half);
            let (scale, inverse) = scaled(l.largest(size(l, x)), 127.0);
            self.scales[h][t] = scale;
            self.sums[h][t] = scale * put(l, &mut self.quanta[4 * h..], t, x, inverse);
        }
        self.sums[2][t] = self.sums[0][t] + self.sums[1][t];
    }
}

impl<const T: usize> Block for Wholes<T> {
    const ZERO: Self = Self { quanta: [[[0; 4]; T]; 8], scales: [[[0; 2]; T]; 2], sums: [[0.0; T]; 3] };

    #[inline(always)]
    fn fill<L: Lanes>(&mut self, l: L, t: usize, x: &[f32; COLUMNS], unit: f32) {
        for (h, half) in x.as_chunks::<16>().0.iter().enumerate() {
            let x = l.get(half);
            let largest = l.largest(size(l, x));
            // A row of zeros has a unit of 0, and any scale will do.
            let scale = (largest / (127.0 * unit)).ceil().clamp(1.0, SCALE);
            let inverse = if largest > 0.0 { 1.0 / (scale * unit) } else { 0.0 };
            self.scales[h][t] = [scale as i16; 2];
            self.sums[h][t] = scale * put(l, &mut self.quanta[4 * h..], t, x, inverse);
        }
        self.sums[2][t] = self.sums[0][t] + self.sums[1][t];
    }
}

impl<const T: usize> Block for Words<T> {
    const ZERO: Self = Self { quanta: [[[0; 2]; T]; 16], scales: [0.0; T] };

    #[inline(always)]
    fn fill<L: Lanes>(&mut self, l: L, t: usize, x: &[f32; COLUMNS], _unit: f32) {
        let halves = x.as_chunks::<16>().0;
        let (low, high) = (l.get(&halves[0]), l.get(&halves[1]));
        let (scale, inverse) = scaled(l.largest(l.max(size(l, low), size(l, high))), WORD);
        for (h, x) in [low, high].into_iter().enumerate() {
            let mut whole = [0.0; 16];
            l.put(l.round(l.mul(x, l.splat(inverse))), &mut whole);
            for (i, two) in whole.map(|x| x as i16).as_chunks::<2>().0.iter().enumerate() {
                self.quanta[8 * h + i][t] = *two;
            }
        }
        self.scales[t] = scale;
    }
}

/// Puts sixteen columns of token `t` into the first four of these steps, as whole numbers; answers what those sum up to.
#[inline(always)]
fn put<L: Lanes, const T: usize>(l: L, steps: &mut [[[i8; 4]; T]], t: usize, x: L::F, inverse: f32) -> f32 {
    let whole = l.round(l.mul(x, l.splat(inverse)));
    for (step, four) in steps.iter_mut().zip(l.to_bytes(whole).as_chunks::<4>().0) {
        step[t] = *four;
    }
    l.sum(whole)
}

/// The scale with which `largest` becomes `most`, and its inverse.
#[inline(always)]
fn scaled(largest: f32, most: f32) -> (f32, f32) {
    (largest / most, if largest > 0.0 { most / largest } else { 0.0 })
}

/// Numbers without their signs.
#[inline(always)]
fn size<L: Lanes>(l: L, x: L::F) -> L::F {
    l.max(x, l.sub(l.splat(0.0), x))
}

/// Quantised rows.
#[derive(Clone, Debug)]
pub struct Acts<F: Family> {
    blocks: usize,
    most: usize,
    /// Of each row.
    units: Vec<f32>,
    eights: Vec<F::Of<8>>,
    fours: Vec<F::Of<4>>,
    twos: Vec<F::Of<2>>,
    ones: Vec<F::Of<1>>,
}

impl<F: Family> Default for Acts<F> {
    fn default() -> Self {
        Self {
            blocks: 0,
            most: 1,
            units: Vec::new(),
            eights: Vec::new(),
            fours: Vec::new(),
            twos: Vec::new(),
            ones: Vec::new(),
        }
    }
}

/// Tiles of `count` rows, at most `most` (a power of two up to 8) wide: where each begins, and its width.
pub fn tiles(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let left = (count - at).min(most);
        let width = if left == 0 { return None } else { 1 << left.ilog2() };
        at += width;
        Some((at - width, width))
    })
}

impl<F: Family> Acts<F> {
    /// Makes room for `rows` rows of `width` elements, a multiple of 32, in tiles of at most `most`.
    pub fn reserve(&mut self, rows: usize, width: usize, most: usize) {
        (self.blocks, self.most) = (width / COLUMNS, most);
        let mut counts = [0; 4];
        tiles(rows, most).for_each(|(_, width)| counts[width.ilog2() as usize] += self.blocks);
        self.units.resize(self.units.len().max(rows), 1.0);
        grow(&mut self.ones, counts[0]);
        grow(&mut self.twos, counts[1]);
        grow(&mut self.fours, counts[2]);
        grow(&mut self.eights, counts[3]);
    }

    /// The tiles of the first `rows` rows, to be filled, each with its first row.
    pub fn tiles_mut(&mut self, rows: usize) -> impl Iterator<Item = (usize, TileMut<'_, F>)> {
        let blocks = self.blocks;
        let mut units = &mut self.units[..];
        let mut eights = self.eights.chunks_exact_mut(blocks);
        let mut fours = self.fours.chunks_exact_mut(blocks);
        let mut twos = self.twos.chunks_exact_mut(blocks);
        let mut ones = self.ones.chunks_exact_mut(blocks);
        tiles(rows, self.most).map(move |(start, width)| {
            let blocks = match width {
                8 => eights.next().map(Blocks::Eight),
                4 => fours.next().map(Blocks::Four),
                2 => twos.next().map(Blocks::Two),
                _ => ones.next().map(Blocks::One),
            };
            let units = units.split_off_mut(..width).expect("there is a unit for each row");
            (start, TileMut { units, blocks: blocks.expect("there is room for all") })
        })
    }

    /// What the scales of a row are multiples of.
    #[inline(always)]
    pub fn unit(&self, row: usize) -> f32 {
        self.units[row]
    }

    /// The blocks of the tile of eight that begins at row `start`.
    #[inline(always)]
    pub fn eight(&self, start: usize) -> &[F::Of<8>] {
        &self.eights[start / 8 * self.blocks..][..self.blocks]
    }

    /// Of four. Tiles of less than the most there are only one each.
    #[inline(always)]
    pub fn four(&self, start: usize) -> &[F::Of<4>] {
        let at = if self.most == 4 { start / 4 } else { 0 };
        &self.fours[at * self.blocks..][..self.blocks]
    }

    /// Of two.
    #[inline(always)]
    pub fn two(&self, start: usize) -> &[F::Of<2>] {
        let at = if self.most == 2 { start / 2 } else { 0 };
        &self.twos[at * self.blocks..][..self.blocks]
    }

    /// Of one.
    #[inline(always)]
    pub fn one(&self, start: usize) -> &[F::Of<1>] {
        let at = if self.most == 1 { start } else { 0 };
        &self.ones[at * self.blocks..][..self.blocks]
    }
}

fn grow<B: Block>(list: &mut Vec<B>, len: usize) {
    if list.len() < len {
        list.resize(len, B::ZERO);
    }
}

/// A tile to be filled.
pub struct TileMut<'t, F: Family> {
    /// Of each of its tokens.
    units: &'t mut [f32],
    blocks: Blocks<'t, F>,
}

enum Blocks<'t, F: Family> {
    Eight(&'t mut [F::Of<8>]),
    Four(&'t mut [F::Of<4>]),
    Two(&'t mut [F::Of<2>]),
    One(&'t mut [F::Of<1>]),
}

impl<F: Family> TileMut<'_, F> {
    /// Tokens of it.
    pub fn width(&self) -> usize {
        self.units.len()
    }

    /// Quantises token `t` of it.
    #[inline(always)]
    pub fn fill<L: Lanes>(&mut self, l: L, t: usize, x: &[f32]) {
        #[inline(always)]
        fn all<L: Lanes, B: Block>(l: L, blocks: &mut [B], t: usize, x: &[f32], unit: f32) {
            for (block, x) in blocks.iter_mut().zip(x.as_chunks::<COLUMNS>().0) {
                block.fill(l, t, x, unit);
            }
        }
        let unit = F::unit(l, x);
        self.units[t] = unit;
        match &mut self.blocks {
            Blocks::Eight(blocks) => all(l, blocks, t, x, unit),
            Blocks::Four(blocks) => all(l, blocks, t, x, unit),
            Blocks::Two(blocks) => all(l, blocks, t, x, unit),
            Blocks::One(blocks) => all(l, blocks, t, x, unit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_all_rows_in_falling_width() {
        assert_eq!(tiles(15, 8).collect::<Vec<_>>(), [(0, 8), (8, 4), (12, 2), (14, 1)]);
        assert_eq!(tiles(9, 4).collect::<Vec<_>>(), [(0, 4), (4, 4), (8, 1)]);
        assert_eq!(tiles(3, 2).collect::<Vec<_>>(), [(0, 2), (2, 1)]);
        assert_eq!(tiles(0, 8).count(), 0);
    }
}
