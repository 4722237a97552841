//! Weights as the kernels want them: sixteen rows side by side.
//!
//! A panel is sixteen rows of a matrix. It is cut along the rows into blocks of 32 columns, and a block into eight
//! *steps* of four columns: a step is 64 bytes, four of each row, one byte an element, which is what one
//! dot-product instruction takes. Elements of fewer bits share bytes over the steps:
//!
//! ```text
//! 8 bits  8 lines, one a step
//! 4 bits  4 lines: step s low, step s + 4 high half
//! 5 bits  4 bits, and a line whose bit s is the fifth bit of step s
//! 6 bits  4 bits, and two lines of two bits each for steps 0 to 3 and 4 to 7
//! 2 bits  2 lines, each for four steps
//! 3 bits  2 bits, and a line whose bit s is the third bit of step s
//! ```
//!
//! An element is `scale * (q - zero)` or `scale * q + minimum`, with 16 scales (and minima) for each group of 16 or
//! 32 columns, as halves. Products of two scales of the file (K-quants) are rounded to halves here: a
//! relative error of at most 2^-11, some hundred times below that of the quanta.
//!
//! Halves and bfloat16 become whole numbers of sixteen bits with a scale for each row: two columns of sixteen rows are
//! 64 bytes, and one instruction multiplies and adds twice as many of them as of floats.

use crate::{
    lanes::{Lanes, Task},
    memory::{Arena, List, Zeroed},
};
use tutu_llm::{
    quant::{IQ4_VALUES, Kind, MXFP4_VALUES, dequantise, e8m0_half, f16_to_f32, f32_to_bf16, k_scale},
    weights::Tensor,
};

/// Rows of a panel.
pub const ROWS: usize = 16;
/// Columns of a block.
pub const COLUMNS: usize = 32;

/// 64 bytes that do not cross a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Line(pub [u8; 64]);

// SAFETY: numbers.
unsafe impl Zeroed for Line {}

/// How the elements of a matrix are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// Bits of a quantum: 2, 3, 4, 5, 6 or 8. Lines of a block are as many.
    pub bits: usize,
    /// Columns that share a scale: 16 or 32.
    pub group: usize,
    /// Whether there are minima.
    pub minimum: bool,
    /// Taken from every quantum.
    pub zero: i32,
    /// What a quantum stands for, where that is not itself.
    pub table: Option<[u8; 16]>,
}

/// Sixteen bfloat16.
#[derive(Clone, Copy, Debug)]
pub struct Brains(pub [u16; ROWS]);

// SAFETY: numbers.
unsafe impl Zeroed for Brains {}

/// A matrix, or several of one shape (experts), in panels.
pub struct Packed {
    /// Elements of a row.
    pub width: usize,
    /// Rows of one matrix.
    pub rows: usize,
    /// The elements.
    pub data: Data,
}

/// The elements of a [`Packed`], panel after panel; panels of a matrix are filled up with rows of zeros.
pub enum Data {
    /// Quanta with scales: for each panel and group 16 scales, and after them 16 minima where there are any.
    Quanta { layout: Layout, lines: List<Line>, scales: List<[u16; ROWS]> },
    /// Whole numbers of sixteen bits: for each panel and pair of columns a line with both of 16 rows; a scale for each
    /// row.
    Words { lines: List<Line>, scales: List<[f32; ROWS]> },
    /// For each panel and column 16 halves.
    F16(List<[u16; ROWS]>),
    /// For each panel and column 16 bfloat16.
    Bf16(List<Brains>),
    /// For each panel and column 16 floats.
    F32(List<[f32; ROWS]>),
}

/// What a matrix is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Activations in eight bits.
    Bytes,
    /// The same, with scales that are whole numbers.
    Wholes,
    /// In twelve.
    Words,
    /// As they are.
    Floats,
}

impl Layout {
    /// The layout of a block format; `None` for floats.
    pub fn of(kind: Kind) -> Option<Self> {
        let plain = Self { bits: 4, group: 32, minimum: false, zero: 0, table: None };
        let shifted = |values: [i8; 16], zero: i32| Self {
            zero,
            table: Some(values.map(|v| (i32::from(v) + zero) as u8)),
            ..plain
        };
        Some(match kind {
            Kind::F32 | Kind::F16 | Kind::Bf16 => return None,
            Kind::Q4_0 => Self { zero: 8, ..plain },
            Kind::Q4_1 | Kind::Q4K => Self { minimum: true, ..plain },
            Kind::Q5_0 => Self { bits: 5, zero: 16, ..plain },
            Kind::Q5_1 | Kind::Q5K => Self { bits: 5, minimum: true, ..plain },
            Kind::Q8_0 => Self { bits: 8, zero: 128, ..plain },
            Kind::Q2K => Self { bits: 2, group: 16, minimum: true, ..plain },
            Kind::Q3K => Self { bits: 3, group: 16, zero: 4, ..plain },
            Kind::Q6K => Self { bits: 6, group: 16, zero: 32, ..plain },
            Kind::Iq4Nl | Kind::Iq4Xs => shifted(IQ4_VALUES, 128),
            Kind::Mxfp4 => shifted(MXFP4_VALUES, 12),
        })
    }

    /// Bits of what a quantum stands for.
    pub fn unpacked(&self) -> usize {
        match self.table {
            Some(table) if table.iter().any(|entry| *entry >= 32) => 8,
            Some(_) => 5,
            None => self.bits,
        }
    }

    /// Vectors of scales and minima for each block of 32 columns.
    pub fn scales(&self) -> usize {
        COLUMNS / self.group * if self.minimum { 2 } else { 1 }
    }
}

/// What becomes of a tensor, with how many blocks, panels or columns of panels there are.
enum Form {
    Quanta(Layout, usize),
    Words(usize),
    F16(usize),
    Bf16(usize),
    F32(usize),
}

fn form(tensor: &Tensor, bytes: &[u8]) -> Form {
    let [width, rows, matrices] = tensor.dims;
    let panels = rows.div_ceil(ROWS) * matrices;
    match (Layout::of(tensor.kind).filter(|_| fits_halves(tensor.kind, bytes)), tensor.kind) {
        (Some(layout), _) => Form::Quanta(layout, panels * (width / COLUMNS)),
        (None, Kind::F16 | Kind::Bf16) if width.is_multiple_of(COLUMNS) => Form::Words(panels),
        (None, Kind::F16) => Form::F16(panels * width),
        (None, Kind::F32) => Form::F32(panels * width),
        _ => Form::Bf16(panels * width),
    }
}

impl Packed {
    /// Room for a tensor, to be filled panel by panel.
    pub fn empty(tensor: &Tensor, bytes: &[u8], arena: &mut Arena) -> Self {
        let [width, rows, _] = tensor.dims;
        let data = match form(tensor, bytes) {
            Form::Quanta(layout, blocks) => Data::Quanta {
                layout,
                lines: arena.list(blocks * layout.bits),
                scales: arena.list(blocks * layout.scales()),
            },
            Form::Words(panels) => Data::Words { lines: arena.list(panels * width / 2), scales: arena.list(panels) },
            Form::F16(columns) => Data::F16(arena.list(columns)),
            Form::Bf16(columns) => Data::Bf16(arena.list(columns)),
            Form::F32(columns) => Data::F32(arena.list(columns)),
        };
        Self { width, rows, data }
    }

    /// Bytes of an arena that [`Self::empty`] takes.
    pub fn bytes(tensor: &Tensor, bytes: &[u8]) -> usize {
        match form(tensor, bytes) {
            Form::Quanta(layout, blocks) => {
                Arena::bytes::<Line>(blocks * layout.bits) + Arena::bytes::<[u16; ROWS]>(blocks * layout.scales())
            }
            Form::Words(panels) => {
                Arena::bytes::<Line>(panels * tensor.dims[0] / 2) + Arena::bytes::<[f32; ROWS]>(panels)
            }
            Form::F16(columns) => Arena::bytes::<[u16; ROWS]>(columns),
            Form::Bf16(columns) => Arena::bytes::<Brains>(columns),
            Form::F32(columns) => Arena::bytes::<[f32; ROWS]>(columns),
        }
    }

    /// Panels of one matrix.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    /// What activations must be for it, where the lanes are `L`.
    pub fn takes<L: Lanes>(&self) -> Takes {
        match &self.data {
            Data::Quanta { layout, .. } if L::UNPACKS && layout.unpacked() == 8 => Takes::Words,
            Data::Quanta { .. } if L::UNPACKS => Takes::Wholes,
            Data::Quanta { .. } => Takes::Bytes,
            Data::Words { .. } => Takes::Words,
            _ => Takes::Floats,
        }
    }

    /// Lines and scales of some blocks of a panel.
    ///
    /// # Panics
    /// If there are no quanta.
    #[inline(always)]
    pub fn blocks(&self, panel: usize, first: usize, count: usize) -> (&Layout, &[Line], &[[u16; ROWS]]) {
        let Data::Quanta { layout, lines, scales } = &self.data else { unreachable!("blocks are of quanta") };
        let (at, per_block) = (panel * (self.width / COLUMNS) + first, layout.scales());
        (layout, &lines[at * layout.bits..][..count * layout.bits], &scales[at * per_block..][..count * per_block])
    }

    /// Panels that can be filled side by side, each with its number over all matrices.
    pub fn parts(&mut self, each: usize) -> Vec<Part<'_>> {
        let (width, rows) = (self.width, self.rows);
        let blocks = width / COLUMNS;
        let part = |i: usize, slot| Part { width, rows, first: i * each, slot };
        match &mut self.data {
            Data::Quanta { layout, lines, scales } => {
                let lines = lines.chunks_mut(each * blocks * layout.bits);
                let scales = scales.chunks_mut(each * blocks * layout.scales());
                let slots = lines.zip(scales).map(|(lines, scales)| Slot::Quanta { layout: *layout, lines, scales });
                slots.enumerate().map(|(i, slot)| part(i, slot)).collect()
            }
            Data::Words { lines, scales } => {
                let slots = lines.chunks_mut(each * width / 2).zip(scales.chunks_mut(each));
                let slots = slots.map(|(lines, scales)| Slot::Words { lines, scales });
                slots.enumerate().map(|(i, slot)| part(i, slot)).collect()
            }
            Data::F16(list) => {
                list.chunks_mut(each * width).enumerate().map(|(i, list)| part(i, Slot::F16(list))).collect()
            }
            Data::Bf16(list) => {
                list.chunks_mut(each * width).enumerate().map(|(i, list)| part(i, Slot::Bf16(list))).collect()
            }
            Data::F32(list) => {
                list.chunks_mut(each * width).enumerate().map(|(i, list)| part(i, Slot::F32(list))).collect()
            }
        }
    }

    /// Row `row` of the first matrix, decoded: an embedding.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let (panel, lane) = (row / ROWS, row % ROWS);
        let floats = |decode: &dyn Fn(usize) -> f32, out: &mut [f32]| {
            out.iter_mut().enumerate().for_each(|(k, out)| *out = decode(panel * self.width + k));
        };
        match &self.data {
            Data::Quanta { layout, lines, scales } => {
                let blocks = self.width / COLUMNS;
                for (b, out) in out.chunks_exact_mut(COLUMNS).enumerate() {
                    let block = panel * blocks + b;
                    let lines = &lines[block * layout.bits..][..layout.bits];
                    let scales = &scales[block * layout.scales()..][..layout.scales()];
                    let groups = COLUMNS / layout.group;
                    for (k, out) in out.iter_mut().enumerate() {
                        let q = quantum(layout, lines, lane, k);
                        let group = k / layout.group;
                        let d = f16_to_f32(scales[group][lane]);
                        *out = if layout.minimum {
                            d * q as f32 + f16_to_f32(scales[groups + group][lane])
                        } else {
                            d * (q - layout.zero) as f32
                        };
                    }
                }
            }
            Data::Words { lines, scales } => {
                let word = |line: &Line, at: usize| f32::from(i16::from_le_bytes([line.0[at], line.0[at + 1]]));
                let lines = &lines[panel * self.width / 2..];
                out.iter_mut().enumerate().for_each(|(k, out)| {
                    *out = scales[panel][lane] * word(&lines[k / 2], lane * 4 + k % 2 * 2);
                });
            }
            Data::F16(list) => floats(&|at| f16_to_f32(list[at][lane]), out),
            Data::Bf16(list) => floats(&|at| f32::from_bits(u32::from(list[at].0[lane]) << 16), out),
            Data::F32(list) => floats(&|at| list[at][lane], out),
        }
    }
}

/// Element `k` of a block, of the row in `lane`.
fn quantum(layout: &Layout, lines: &[Line], lane: usize, k: usize) -> i32 {
    let (step, byte) = (k / 4, lane * 4 + k % 4);
    let at = |line: usize| lines[line].0[byte];
    let two = |base: usize| (at(base + step / 4) >> (2 * (step % 4))) & 3;
    let four = || if step < 4 { at(step) & 15 } else { at(step - 4) >> 4 };
    let q = match layout.bits {
        8 => at(step),
        4 => four(),
        5 => four() | ((at(4) >> step) & 1) << 4,
        6 => four() | two(4) << 4,
        2 => two(0),
        _ => two(0) | ((at(2) >> step) & 1) << 2,
    };
    i32::from(layout.table.map_or(q, |table| table[usize::from(q)]))
}

/// Panels that lie together, to be filled.
pub struct Part<'p> {
    width: usize,
    rows: usize,
    first: usize,
    slot: Slot<'p>,
}

enum Slot<'p> {
    Quanta { layout: Layout, lines: &'p mut [Line], scales: &'p mut [[u16; ROWS]] },
    Words { lines: &'p mut [Line], scales: &'p mut [[f32; ROWS]] },
    F16(&'p mut [[u16; ROWS]]),
    Bf16(&'p mut [Brains]),
    F32(&'p mut [[f32; ROWS]]),
}

impl Part<'_> {
    /// Fills the panels from the bytes of the whole tensor; answers which of them it read.
    pub fn fill<'b, L: Lanes>(&mut self, l: L, kind: Kind, bytes: &'b [u8]) -> &'b [u8] {
        let row_bytes = kind.row_bytes(self.width).expect("checked when the tensor was added");
        let panels = self.rows.div_ceil(ROWS);
        let count = match &self.slot {
            Slot::Quanta { layout, lines, .. } => lines.len() / (self.width / COLUMNS * layout.bits),
            Slot::Words { scales, .. } => scales.len(),
            Slot::F16(list) => list.len() / self.width,
            Slot::Bf16(list) => list.len() / self.width,
            Slot::F32(list) => list.len() / self.width,
        };
        let (all, first) = (self.rows, self.first);
        let row_of = |panel: usize, lane: usize| {
            let row = panel % panels * ROWS + lane;
            (row < all).then(|| (panel / panels * all + row) * row_bytes)
        };
        let (mut low, mut high) = (usize::MAX, 0);
        for i in 0..count {
            let rows: [Option<&[u8]>; ROWS] = core::array::from_fn(|lane| {
                let at = row_of(first + i, lane)?;
                (low, high) = (low.min(at), high.max(at + row_bytes));
                Some(&bytes[at..at + row_bytes])
            });
            self.fill_panel(l, i, kind, &rows);
        }
        if low < high { &bytes[low..high] } else { &[] }
    }

    fn fill_panel<L: Lanes>(&mut self, l: L, i: usize, kind: Kind, rows: &[Option<&[u8]>; ROWS]) {
        let width = self.width;
        match &mut self.slot {
            Slot::Quanta { layout, lines, scales } => {
                let blocks = width / COLUMNS;
                let lines = &mut lines[i * blocks * layout.bits..][..blocks * layout.bits];
                let scales = &mut scales[i * blocks * layout.scales()..][..blocks * layout.scales()];
                l.run(Fill { layout: *layout, kind, rows, lines, scales });
            }
            Slot::Words { lines, scales } => {
                let lines = &mut lines[i * width / 2..][..width / 2];
                let mut words = vec![0i16; width];
                for (lane, row) in rows.iter().enumerate() {
                    let Some(row) = row else { continue };
                    scales[i][lane] = l.run(Round { kind, row, out: &mut words });
                    for (line, two) in lines.iter_mut().zip(words.as_chunks::<2>().0) {
                        let both = u32::from(two[0] as u16) | u32::from(two[1] as u16) << 16;
                        line.0[lane * 4..lane * 4 + 4].copy_from_slice(&both.to_le_bytes());
                    }
                }
            }
            Slot::F16(list) => {
                fill_floats(&mut list[i * width..][..width], rows, 2, |b| u16::from_le_bytes([b[0], b[1]]))
            }
            Slot::Bf16(list) => {
                let mut decoded = vec![0.0; width];
                for (lane, row) in rows.iter().enumerate() {
                    let Some(row) = row else { continue };
                    dequantise(kind, row, &mut decoded);
                    for (out, x) in list[i * width..][..width].iter_mut().zip(&decoded) {
                        out.0[lane] = f32_to_bf16(*x);
                    }
                }
            }
            Slot::F32(list) => {
                fill_floats(&mut list[i * width..][..width], rows, 4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            }
        }
    }
}

/// Rounds a row of halves or bfloat16 to whole numbers of sixteen bits; answers their scale. An element loses at most
/// 2^-16 of the largest of its row: less than a half does at a sixteenth of that.
struct Round<'r> {
    kind: Kind,
    row: &'r [u8],
    out: &'r mut [i16],
}

impl Task for Round<'_> {
    type Out = f32;

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) -> f32 {
        let (row, _) = self.row.as_chunks::<32>();
        let mut most = l.splat(0.0);
        for bytes in row {
            let x = sixteen(l, self.kind, bytes);
            most = l.max(most, l.max(x, l.sub(l.splat(0.0), x)));
        }
        let largest = l.largest(most);
        let inverse = if largest > 0.0 { 32767.0 / largest } else { 0.0 };
        let mut whole = [0.0; 16];
        for (out, bytes) in self.out.as_chunks_mut::<16>().0.iter_mut().zip(row) {
            let x = sixteen(l, self.kind, bytes);
            l.put(l.round(l.mul(x, l.splat(inverse))), &mut whole);
            *out = whole.map(|x| x as i16);
        }
        largest / 32767.0
    }
}

#[inline(always)]
fn sixteen<L: Lanes>(l: L, kind: Kind, bytes: &[u8; 32]) -> L::F {
    let bits = core::array::from_fn(|i| u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]));
    if kind == Kind::F16 { l.halves(&bits) } else { l.brains(&bits) }
}

fn fill_floats<T>(out: &mut [[T; ROWS]], rows: &[Option<&[u8]>; ROWS], size: usize, read: impl Fn(&[u8]) -> T) {
    for (lane, row) in rows.iter().enumerate() {
        let Some(row) = row else { continue };
        for (out, x) in out.iter_mut().zip(row.chunks_exact(size)) {
            out[lane] = read(x);
        }
    }
}

/// Fills one panel of quanta.
struct Fill<'f> {
    layout: Layout,
    kind: Kind,
    rows: &'f [Option<&'f [u8]>; ROWS],
    lines: &'f mut [Line],
    scales: &'f mut [[u16; ROWS]],
}

impl Task for Fill<'_> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) {
        match self.kind {
            Kind::Q4_0 | Kind::Iq4Nl => self.direct::<4, 18, 2>(|four, line, lane| copy(four, line, lane, 0)),
            Kind::Q4_1 => self.direct::<4, 20, 4>(|four, line, lane| copy(four, line, lane, 0)),
            Kind::Q5_0 => self.direct::<4, 22, 6>(|four, line, lane| copy(four, line, lane, 0)),
            Kind::Q5_1 => self.direct::<4, 24, 8>(|four, line, lane| copy(four, line, lane, 0)),
            Kind::Q8_0 => self.direct::<8, 34, 2>(|four, line, lane| copy(four, line, lane, 0x8080_8080)),
            _ => self.by_elements(l),
        }
    }
}

/// Four bytes to where a row has them in a line, some bits turned over.
#[inline(always)]
fn copy(four: &[u8; 4], line: &mut Line, lane: usize, turn: u32) {
    let bits = u32::from_le_bytes(*four) ^ turn;
    line.0[lane * 4..lane * 4 + 4].copy_from_slice(&bits.to_le_bytes());
}

impl Fill<'_> {
    /// For formats whose blocks pair their elements as lines do: `STEPS` times four bytes of each row, `FROM` bytes into
    /// a block of `SIZE`, are the row's part of as many lines. Scales, and minima after them, are halves already.
    #[inline(always)]
    fn direct<const STEPS: usize, const SIZE: usize, const FROM: usize>(
        self,
        put: impl Fn(&[u8; 4], &mut Line, usize),
    ) {
        let Self { layout, rows, lines, scales, .. } = self;
        for (lane, row) in rows.iter().enumerate() {
            let Some(row) = row else { continue };
            let blocks = row.as_chunks::<SIZE>().0;
            let lines = lines.chunks_exact_mut(layout.bits).zip(scales.chunks_exact_mut(layout.scales()));
            for (block, (lines, scales)) in blocks.iter().zip(lines) {
                for (i, scale) in scales.iter_mut().enumerate() {
                    scale[lane] = u16::from_le_bytes([block[2 * i], block[2 * i + 1]]);
                }
                let steps = block[FROM..].as_chunks::<4>().0;
                for (four, line) in steps[..STEPS].iter().zip(lines.iter_mut()) {
                    put(four, line, lane);
                }
                if layout.bits == 5 {
                    let fifth =
                        u32::from_le_bytes([block[FROM - 4], block[FROM - 3], block[FROM - 2], block[FROM - 1]]);
                    let bytes: [u8; 4] = core::array::from_fn(|c| every_fourth(fifth >> c));
                    lines[4].0[lane * 4..lane * 4 + 4].copy_from_slice(&bytes);
                }
            }
        }
    }

    /// For all others: element by element.
    #[inline(always)]
    fn by_elements<L: Lanes>(self, l: L) {
        let Self { layout, kind, rows, lines, scales } = self;
        let (size, len) = (kind.block_bytes(), kind.block_len());
        let inner = len / COLUMNS;
        let groups = COLUMNS / layout.group;
        let mut loose = [[0u8; 64]; 8];
        let mut decoded = [Decoded::ZERO; ROWS];
        let blocks = lines.len() / layout.bits;
        for outer in 0..blocks / inner {
            for (lane, row) in rows.iter().enumerate() {
                match row {
                    Some(row) => decode(kind, &row[outer * size..][..size], &mut decoded[lane]),
                    None => decoded[lane] = Decoded::ZERO,
                }
            }
            for b in 0..inner {
                let block = outer * inner + b;
                for (lane, row) in decoded.iter().enumerate() {
                    let quanta = row.q[b * COLUMNS..][..COLUMNS].as_chunks::<4>().0;
                    for (step, four) in quanta.iter().enumerate() {
                        loose[step][lane * 4..][..4].copy_from_slice(four);
                    }
                }
                let at = block * layout.scales();
                for group in 0..groups {
                    let index = b * groups + group;
                    let (mut d, mut m) = ([0.0; ROWS], [0.0; ROWS]);
                    for (lane, row) in decoded.iter().enumerate() {
                        (d[lane], m[lane]) = (row.d[index], row.m[index]);
                    }
                    scales[at + group] = l.to_halves(l.get(&d));
                    if layout.minimum {
                        scales[at + groups + group] = l.to_halves(l.get(&m));
                    }
                }
                press(layout.bits, &loose, &mut lines[block * layout.bits..][..layout.bits]);
            }
        }
    }
}

/// Bits 0, 4, 8 and so on of a number, side by side.
#[inline(always)]
fn every_fourth(bits: u32) -> u8 {
    let x = bits & 0x1111_1111;
    let x = (x | x >> 3) & 0x0303_0303;
    let x = (x | x >> 6) & 0x000f_000f;
    (x | x >> 12) as u8
}

/// Eight steps of one byte an element, into as many lines as an element has bits.
#[inline(always)]
fn press(bits: usize, steps: &[[u8; 64]; 8], out: &mut [Line]) {
    let nibbles = |out: &mut [Line]| {
        for s in 0..4 {
            for i in 0..64 {
                out[s].0[i] = (steps[s][i] & 15) | steps[s + 4][i] << 4;
            }
        }
    };
    let pairs = |from: u32, out: &mut [Line]| {
        for (s, four) in steps.as_chunks::<4>().0.iter().enumerate() {
            for i in 0..64 {
                out[s].0[i] = (0..4).fold(0, |byte, t| byte | ((four[t][i] >> from) & 3) << (2 * t));
            }
        }
    };
    let single = |from: u32, out: &mut Line| {
        for i in 0..64 {
            out.0[i] = (0..8).fold(0, |byte, t| byte | ((steps[t][i] >> from) & 1) << t);
        }
    };
    match bits {
        8 => out.iter_mut().zip(steps).for_each(|(line, step)| line.0 = *step),
        4 => nibbles(out),
        5 => {
            nibbles(out);
            single(4, &mut out[4]);
        }
        6 => {
            nibbles(out);
            pairs(4, &mut out[4..]);
        }
        2 => pairs(0, out),
        _ => {
            pairs(0, out);
            single(2, &mut out[2]);
        }
    }
}

/// One block of the file: quanta without sign, scales and minima of its groups.
#[derive(Clone, Copy)]
struct Decoded {
    q: [u8; 256],
    d: [f32; 16],
    m: [f32; 16],
}

impl Decoded {
    const ZERO: Self = Self { q: [0; 256], d: [0.0; 16], m: [0.0; 16] };
}

/// As `tutu_llm::quant::dequantise` explains the layouts; here quanta and scales stay apart.
#[inline(always)]
fn decode(kind: Kind, block: &[u8], out: &mut Decoded) {
    let half = |at: usize| f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]));
    let Decoded { q, d, m } = out;
    let nibbles = |q: &mut [u8], bytes: &[u8]| {
        let (low, high) = q.split_at_mut(bytes.len());
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            *low = byte & 15;
            *high = byte >> 4;
        }
    };
    match kind {
        Kind::Mxfp4 => {
            d[0] = e8m0_half(block[0]);
            nibbles(&mut q[..32], &block[1..17]);
        }
        Kind::Q4K | Kind::Q5K => {
            let (big, least) = (half(0), half(2));
            for s in 0..8 {
                let (scale, minimum) = k_scale(&block[4..16], s);
                d[s] = big * f32::from(scale);
                m[s] = -least * f32::from(minimum);
            }
            let low = if kind == Kind::Q4K { 16 } else { 48 };
            for (s, q) in q.chunks_exact_mut(64).enumerate() {
                nibbles(q, &block[low + 32 * s..][..32]);
            }
            if kind == Kind::Q5K {
                for (i, q) in q.iter_mut().enumerate() {
                    *q |= ((block[16 + i % 32] >> (i / 32)) & 1) << 4;
                }
            }
        }
        Kind::Q2K => {
            let (big, least) = (half(80), half(82));
            for s in 0..16 {
                d[s] = big * f32::from(block[s] & 15);
                m[s] = -least * f32::from(block[s] >> 4);
            }
            for (i, q) in q.iter_mut().enumerate() {
                *q = (block[16 + 32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
            }
        }
        Kind::Q3K => {
            let (big, scales) = (half(108), &block[96..108]);
            for s in 0..16 {
                let four = if s < 8 { scales[s] & 15 } else { scales[s - 8] >> 4 };
                let two = (scales[8 + s % 4] >> (2 * (s / 4))) & 3;
                d[s] = big * (f32::from(four | two << 4) - 32.0);
            }
            for (i, q) in q.iter_mut().enumerate() {
                let low = (block[32 + 32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
                *q = low | ((block[i % 32] >> (i / 32)) & 1) << 2;
            }
        }
        Kind::Q6K => {
            let big = half(208);
            for s in 0..16 {
                d[s] = big * f32::from(block[192 + s] as i8);
            }
            for (i, q) in q.iter_mut().enumerate() {
                let (a, b, c) = (i / 128, i / 32 % 4, i % 32);
                let byte = block[64 * a + 32 * (b % 2) + c];
                let four = if b < 2 { byte & 15 } else { byte >> 4 };
                *q = four | ((block[128 + 32 * a + c] >> (2 * b)) & 3) << 4;
            }
        }
        Kind::Iq4Xs => {
            let (big, high) = (half(0), u16::from_le_bytes([block[2], block[3]]));
            for s in 0..8 {
                let low = u16::from((block[4 + s / 2] >> (4 * (s % 2))) & 15);
                d[s] = big * (f32::from(low | ((high >> (2 * s)) & 3) << 4) - 32.0);
                nibbles(&mut q[32 * s..][..32], &block[8 + 16 * s..][..16]);
            }
        }
        Kind::Q4_0 | Kind::Q4_1 | Kind::Q5_0 | Kind::Q5_1 | Kind::Q8_0 | Kind::Iq4Nl => {
            unreachable!("taken over as they lie")
        }
        Kind::F32 | Kind::F16 | Kind::Bf16 => unreachable!("floats have no quanta"),
    }
}

/// Whether all scales of the tensor are halves. Those of MXFP4 are powers of two that may lie outside.
fn fits_halves(kind: Kind, bytes: &[u8]) -> bool {
    // 2^(e - 128) from the smallest half, 2^-24, to the largest power of two among them, 2^15; and 0, as padding.
    kind != Kind::Mxfp4 || bytes.chunks_exact(17).all(|block| matches!(block[0], 104..=143))
}

#[cfg(test)]
mod tests {
    use tutu_llm::weights::Weights;

    use super::*;
    use crate::lanes::Portable;

    /// Any bytes, but scales that are sound halves.
    fn bytes(kind: Kind, count: usize) -> Vec<u8> {
        let mut state = 7u32;
        let mut bytes: Vec<u8> = core::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(count * kind.block_bytes())
        .collect();
        for block in bytes.chunks_exact_mut(kind.block_bytes()) {
            let halves: &[usize] = match kind {
                Kind::F32 => &[2],
                Kind::F16 | Kind::Bf16 | Kind::Q4_0 | Kind::Q5_0 | Kind::Q8_0 | Kind::Iq4Nl | Kind::Iq4Xs => &[0],
                Kind::Q4_1 | Kind::Q5_1 | Kind::Q4K | Kind::Q5K => &[0, 2],
                Kind::Q2K => &[80, 82],
                Kind::Q3K => &[108],
                Kind::Q6K => &[208],
                Kind::Mxfp4 => &[],
            };
            for &at in halves {
                block[at + 1] = block[at + 1] & 0x83 | 0x28;
            }
            if kind == Kind::Mxfp4 {
                block[0] = 120 + block[0] % 8;
            }
        }
        bytes
    }

    #[test]
    fn every_format_comes_back_out_of_its_panels() {
        for kind in Kind::ALL {
            let (width, rows) = (256, 37);
            let data = bytes(kind, width / kind.block_len() * rows);
            let mut weights = Weights::new();
            let id = weights.add_owned("w", kind, [width, rows, 1], data.clone()).unwrap();
            let mut packed =
                Packed::empty(weights.tensor(id), &data, &mut Arena::new(Packed::bytes(weights.tensor(id), &data)));
            for mut part in packed.parts(2) {
                part.fill(Portable, kind, &data);
            }
            let row_bytes = kind.row_bytes(width).unwrap();
            let (mut truth, mut found) = (vec![0.0; width], vec![0.0; width]);
            for row in 0..rows {
                dequantise(kind, &data[row * row_bytes..][..row_bytes], &mut truth);
                packed.row(row, &mut found);
                let large = truth.iter().fold(0.0f32, |a, x| a.max(x.abs()));
                for (t, f) in truth.iter().zip(&found) {
                    assert!((t - f).abs() <= large * 1.5e-3, "{kind}: {f} is not {t}");
                }
            }
        }
    }
}
