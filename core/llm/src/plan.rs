//! A forward pass as a value: a list of operations over numbered buffers with their shapes.
//!
//! An architecture ([`crate::arch`]) makes a plan once, when the model is loaded. `reference`
//! interprets it, the processor runs it and fuses what it likes, a GPU records it once and replays it.
//!
//! A buffer has one row for each token of the step (at most `tokens`), and after [`Op::Select`] one row
//! for each token whose output is wanted. Elements are `f32`. A [`Slot`] is a band of columns of
//! a buffer, so that fused projections (`qkv`, gate and up) need no copies.
//!
//! Operations are done in order. Unless an operation says otherwise its output may not overlap its inputs.

use alloc::vec::Vec;

use crate::weights::TensorId;

/// A whole forward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Width of each buffer in elements.
    pub buffers: Vec<usize>,
    /// What to do, in order.
    pub ops: Vec<Op>,
    /// One entry for each layer that keeps keys and values.
    pub caches: Vec<Cache>,
    /// Where the result lies after the last operation: logits over the vocabulary, or (for
    /// an embedding model) the hidden state of each wanted token.
    pub output: Slot,
}

/// What one layer keeps for each token of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Heads of keys and of values.
    pub heads: usize,
    /// Elements of one key.
    pub key: usize,
    /// Elements of one value.
    pub value: usize,
    /// How many of the latest positions are ever looked at; `None` for all.
    pub window: Option<u32>,
}

/// Columns `column .. column + width` of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which buffer; an index into [`Plan::buffers`].
    pub buffer: usize,
    /// First column.
    pub column: usize,
    /// Columns.
    pub width: usize,
}

/// One operation. `x` is what is read, `out` what is written.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are explained by their operation")]
pub enum Op {
    /// `out = scale * table[token id]`. Table: `[width, vocabulary]`.
    Embed { table: TensorId, scale: f32, out: Slot },
    /// `out += table[position]` (learned positions of BERT), or `out += table[row]` for all tokens
    /// (its token types, always row 0).
    AddRow { table: TensorId, row: Row, out: Slot },
    /// `out = norm(x) * weight + bias`, over each group of `group` elements alone (the whole width, or
    /// one head). `weight` has `group` elements. `out` may be `x`.
    Norm {
        kind: NormKind,
        group: usize,
        epsilon: f32,
        weight: Option<TensorId>,
        bias: Option<TensorId>,
        x: Slot,
        out: Slot,
    },
    /// `out = W x + bias`, or `out += scale * (W x + bias)`. W: `[x.width, out.width]`, one row for each output.
    Linear { weight: TensorId, bias: Option<TensorId>, x: Slot, out: Slot, write: Write },
    /// `out += share * scale * B (A x)` for the rows of sequences that take a share of adapter number `adapter`
    /// ([`crate::backend::Batch::shares`]); other rows stay as they are. `A x` lies in `inner` meanwhile. A:
    /// `[x.width, inner.width]`, B: `[inner.width, out.width]`.
    Adapt { adapter: usize, a: TensorId, b: TensorId, x: Slot, inner: Slot, out: Slot, scale: f32 },
    /// Rotary position embedding of each head, in place. `x.width` is a multiple of `rope.head`.
    Rope { rope: Rope, x: Slot },
    /// Appends `k` and `v` to cache `cache` at the tokens' positions, then
    /// `out = softmax(scale * q k + mask) v`, for every head; see [`Attention`].
    Attention { attention: Attention, q: Slot, k: Slot, v: Slot, out: Slot },
    /// `x = f(x)`.
    Activate { function: Function, x: Slot },
    /// `out = f(gate) * up`. `out` may be `gate`.
    Gated { function: Function, gate: Slot, up: Slot, out: Slot },
    /// A mixture of experts in place of one feed-forward: `out += experts(x)`, see [`Experts`].
    Experts { experts: Experts, x: Slot, out: Slot },
    /// `out += scale * x`.
    Add { scale: f32, x: Slot, out: Slot },
    /// `out = scale * x`. `out` may be `x`.
    Scale { scale: f32, x: Slot, out: Slot },
    /// `x = cap * tanh(x / cap)` (Gemma 2).
    Softcap { cap: f32, x: Slot },
    /// Keeps the rows of tokens whose output is wanted; buffers that are written after this have only
    /// those rows. Happens once, before the output head. Copies `x` to `out`.
    Select { x: Slot, out: Slot },
}

/// Which row [`Op::AddRow`] adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// The token's position.
    Position,
    /// The same for all.
    Fixed(u32),
}

/// How [`Op::Linear`] leaves its result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Write {
    /// `out = result`.
    Set,
    /// `out += factor * result`: residual connections, LoRA.
    Add(f32),
}

/// What a norm divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Root of the mean square (Zhang & Sennrich 2019).
    Rms,
    /// Mean taken away first, then root of the variance (Ba et al. 2016).
    Layer,
}

/// Elementwise functions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Phi(x)`, by erf (BERT).
    Gelu,
    /// The tanh form of GELU (Gemma).
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// gpt-oss: with `x = min(gate, limit)`, `y = clamp(up, -limit, limit)`:
    /// `x * sigmoid(alpha * x) * (y + 1)`. Only in [`Op::Gated`] and [`Experts`].
    #[allow(missing_docs, reason = "the formula's letters")]
    SwigluClamped { alpha: f32, limit: f32 },
}

/// Rotary embedding. Pair `i` of a head turns by `position * scale_i * base^(-2i/dims)` (divided by `factors[i]`).
///
/// Source: Su et al. 2021 (RoPE), Peng et al. 2023 (YaRN), Ding et al. 2024 (LongRoPE).
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Elements of a head.
    pub head: usize,
    /// How many of them turn; the rest stays. Even.
    pub dims: usize,
    /// Which elements make a pair.
    pub pairs: Pairs,
    /// Frequency base, 10000 and more.
    pub base: f32,
    /// Positions are multiplied with it (linear scaling: 1 / factor).
    pub scale: f32,
    /// One divisor of the frequency for each pair (`rope_freqs`, long and short factors), f32.
    pub factors: Option<TensorId>,
    /// YaRN, where the file asks for it.
    pub yarn: Option<Yarn>,
    /// Sine and cosine are multiplied with it; 1 unless YaRN or LongRoPE say otherwise.
    pub magnitude: f32,
}

/// Which elements of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// `(2i, 2i + 1)`: Llama as stored in GGUF.
    Adjacent,
    /// `(i, i + dims / 2)`: GPT-NeoX, Qwen, Gemma, Phi.
    Halves,
}

/// YaRN's ramp between extrapolation and interpolation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// Share of extrapolation, 1.
    pub factor: f32,
    /// Pair index at which the ramp begins (already computed from `beta_fast`).
    pub low: f32,
    /// Pair index at which it ends (from `beta_slow`).
    pub high: f32,
}

/// Scaled dot-product attention with grouped heads.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Which cache, an index into [`Plan::caches`]. `None`: no cache, every token of the step looks at
    /// all tokens of the same sequence in this step, before and after it (BERT).
    pub cache: Option<usize>,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of one query or key head.
    pub key: usize,
    /// Elements of one value head.
    pub value: usize,
    /// Scores are multiplied with it.
    pub scale: f32,
    /// A token at position `p` sees positions `q` with `p - window < q <= p`.
    pub window: Option<u32>,
    /// `cap * tanh(score / cap)` before the mask (Gemma 2).
    pub softcap: Option<f32>,
    /// One learned logit for each head that takes part in the softmax and has no value (gpt-oss), f32.
    pub sinks: Option<TensorId>,
}

/// A mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    /// `[x.width, experts]`.
    pub router: TensorId,
    /// `[experts]`, added to the router's scores.
    pub router_bias: Option<TensorId>,
    /// How many are used for each token.
    pub used: usize,
    /// How their weights are made from the scores.
    pub gating: Gating,
    /// The weights are multiplied with it.
    pub scale: f32,
    /// `f(gate) * up`.
    pub function: Function,
    /// `[x.width, hidden, experts]`.
    pub gate: TensorId,
    /// `[x.width, hidden, experts]`.
    pub up: TensorId,
    /// `[hidden, out.width, experts]`.
    pub down: TensorId,
    /// `[hidden, experts]`.
    pub gate_bias: Option<TensorId>,
    /// `[hidden, experts]`.
    pub up_bias: Option<TensorId>,
    /// `[out.width, experts]`.
    pub down_bias: Option<TensorId>,
}

/// From router scores to expert weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gating {
    /// Softmax over all experts, take the best, divide by their sum if asked (Mixtral, Qwen 3).
    SoftmaxThenTop {
        /// Whether the taken weights are made to sum to 1.
        renormalise: bool,
    },
    /// Take the best, softmax over those (gpt-oss).
    TopThenSoftmax,
}

impl Plan {
    /// How many operations lead to the last hidden states, and where those of the wanted tokens lie after them: what
    /// the last norm after [`Op::Select`] makes. All that follows it is the output head; a plan that has none ends
    /// with its hidden states.
    pub fn states(&self) -> (usize, Slot) {
        let select = self.ops.iter().position(|op| matches!(op, Op::Select { .. })).unwrap_or(self.ops.len());
        let after = self.ops.iter().enumerate().skip(select);
        let mut norm = after.filter_map(|(at, op)| match op {
            Op::Norm { out, .. } => Some((at + 1, *out)),
            _ => None,
        });
        norm.next_back().unwrap_or((self.ops.len(), self.output))
    }
}

impl Slot {
    /// The columns `column .. column + width` of this slot.
    pub const fn band(self, column: usize, width: usize) -> Self {
        assert!(column + width <= self.width, "a band lies inside its slot");
        Self { buffer: self.buffer, column: self.column + column, width }
    }
}
