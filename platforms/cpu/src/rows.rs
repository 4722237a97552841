//! What is done to one row of a buffer: norms, rotary embedding, activation functions.

use tutu_llm::plan::{Function, NormKind, Pairs, Rope};

use crate::lanes::{Lanes, Task};

/// Norms each group of a row: `out = norm(x) * weight + bias`.
pub struct Norm<'a> {
    /// What is divided by.
    pub kind: NormKind,
    /// Elements of a group.
    pub group: usize,
    /// Added to the square.
    pub epsilon: f32,
    /// One for each element of a group.
    pub weight: Option<&'a [f32]>,
    /// One for each element of a group.
    pub bias: Option<&'a [f32]>,
    /// The row, changed in place.
    pub x: &'a mut [f32],
}

impl Task for Norm<'_> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) {
        for group in self.x.chunks_exact_mut(self.group) {
            let count = group.len() as f32;
            if self.kind == NormKind::Layer {
                let mean = sum::<L, false>(l, group) / count;
                group.iter_mut().for_each(|x| *x -= mean);
            }
            let square = sum::<L, true>(l, group) / count;
            let scale = 1.0 / (square + self.epsilon).sqrt();
            match self.weight {
                Some(weight) => group.iter_mut().zip(weight).for_each(|(x, w)| *x = *x * scale * w),
                None => group.iter_mut().for_each(|x| *x *= scale),
            }
            if let Some(bias) = self.bias {
                group.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
            }
        }
    }
}

/// Sum of a row, or of its squares; the last vector is filled up with zeros.
#[inline(always)]
fn sum<L: Lanes, const SQUARES: bool>(l: L, x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<16>();
    let mut last = [0.0; 16];
    last[..rest.len()].copy_from_slice(rest);
    let mut sum = l.splat(0.0);
    for x in whole.iter().chain(core::iter::once(&last)) {
        let x = l.get(x);
        sum = l.add(sum, if SQUARES { l.mul(x, x) } else { x });
    }
    l.sum(sum)
}

/// `gate = f(gate) * up`, or `gate = f(gate)` without `up`.
pub struct Gate<'a> {
    /// Which.
    pub function: Function,
    /// Changed in place.
    pub gate: &'a mut [f32],
    /// As long as `gate`.
    pub up: Option<&'a [f32]>,
}

impl Task for Gate<'_> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) {
        let mut at = 0;
        let len = self.gate.len();
        while at < len {
            let count = (len - at).min(16);
            let (mut x, mut y) = ([0.0; 16], [1.0; 16]);
            x[..count].copy_from_slice(&self.gate[at..at + count]);
            if let Some(up) = self.up {
                y[..count].copy_from_slice(&up[at..at + count]);
            }
            let out = function(l, self.function, l.get(&x), l.get(&y));
            l.put(out, &mut x);
            self.gate[at..at + count].copy_from_slice(&x[..count]);
            at += count;
        }
    }
}

/// `x / (1 + e^-z)`.
#[inline(always)]
fn gated<L: Lanes>(l: L, x: L::F, z: L::F) -> L::F {
    l.div(x, l.add(l.splat(1.0), l.exp(l.sub(l.splat(0.0), z))))
}

#[inline(always)]
fn function<L: Lanes>(l: L, function: Function, x: L::F, y: L::F) -> L::F {
    match function {
        Function::Silu => l.mul(gated(l, x, x), y),
        Function::GeluTanh => {
            // 0.5 (1 + tanh u) = 1 / (1 + e^-2u); Hendrycks & Gimpel 2016.
            let cube = l.mul(l.mul(x, x), x);
            let u = l.mul(l.splat(2.0 * 0.797_884_6), l.fma(cube, l.splat(0.044_715), x));
            l.mul(gated(l, x, u), y)
        }
        Function::Relu => l.mul(l.max(x, l.splat(0.0)), y),
        Function::SwigluClamped { alpha, limit } => {
            let x = l.min(x, l.splat(limit));
            let y = l.max(l.min(y, l.splat(limit)), l.splat(-limit));
            l.mul(gated(l, x, l.mul(x, l.splat(alpha))), l.add(y, l.splat(1.0)))
        }
        Function::Gelu => {
            let mut values = [0.0; 16];
            l.put(x, &mut values);
            let values = values.map(|x| tutu_llm::reference::apply(Function::Gelu, x, 0.0));
            l.mul(l.get(&values), y)
        }
    }
}

/// Cosines and sines of every position, computed when first asked for.
#[derive(Clone, Debug)]
pub struct Angles {
    rope: Rope,
    factors: Option<Vec<f32>>,
    /// For each position `dims` numbers: cosine and sine of each pair.
    table: Vec<(f32, f32)>,
}

impl Angles {
    /// Angles of a rope whose factors, if it has any, are given, with room for `positions`; memory comes with their use.
    pub fn new(rope: &Rope, factors: Option<Vec<f32>>, positions: usize) -> Self {
        Self { rope: rope.clone(), factors, table: Vec::with_capacity(positions * rope.dims / 2) }
    }

    /// Whether these are the angles of `rope`.
    pub fn is_of(&self, rope: &Rope) -> bool {
        self.rope == *rope
    }

    /// Computes the positions below `count` that are not there yet.
    pub fn reserve(&mut self, count: usize) {
        let pairs = self.rope.dims / 2;
        for position in self.table.len() / pairs..count {
            self.table.extend(tutu_llm::reference::angles(&self.rope, self.factors.as_deref(), position as u32));
        }
    }

    /// Turns all heads of a row.
    pub fn turn(&self, position: usize, row: &mut [f32]) {
        let pairs = self.rope.dims / 2;
        let angles = &self.table[position * pairs..][..pairs];
        for head in row.chunks_exact_mut(self.rope.head) {
            match self.rope.pairs {
                Pairs::Adjacent => {
                    for (pair, (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
                        *pair = [pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos];
                    }
                }
                Pairs::Halves => {
                    let (low, high) = head[..self.rope.dims].split_at_mut(pairs);
                    for ((x, y), (cos, sin)) in low.iter_mut().zip(high).zip(angles) {
                        (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
                    }
                }
            }
        }
    }
}
