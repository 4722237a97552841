//! Encoders for embeddings: BERT (Devlin et al. 2019) and nomic-bert (rotary positions, gated feed-forward).
//! Norms stand after each half, and every token sees every other.

use alloc::format;

use libm::sqrtf;

use super::{Error, builder::Builder, rope};
use crate::plan::{Attention, Function, NormKind, Op, Pairs, Row, Slot, Write};

pub(super) fn build(b: &mut Builder<'_>) -> Result<(), Error> {
    let (width, heads) = (b.number("embedding_length")?, b.number("attention.head_count")?);
    let (layers, hidden) = (b.layers()?, b.number("feed_forward_length")?);
    let head = width / heads;
    if head == 0 || !width.is_multiple_of(heads) || !head.is_multiple_of(2) {
        return Err(b.refuse("attention.head_count", "does not divide the width into even heads"));
    }
    let epsilon = b.float("attention.layer_norm_epsilon")?;
    let nomic = b.arch() == "nomic-bert";
    let rope = if nomic { Some(rope::read(b, head, Pairs::Halves, 10_000.0)?) } else { None };

    let x = b.buffer(width);
    let qkv = b.buffer(3 * width);
    let mixed = b.buffer(width);
    let both = b.buffer(2 * hidden);
    let (q, k, v) = (qkv.band(0, width), qkv.band(width, width), qkv.band(2 * width, width));
    let norm = |b: &mut Builder<'_>, name: &str, x: Slot| b.norm(name, NormKind::Layer, width, epsilon, x, x);

    let vocabulary = b.rows("token_embd.weight")?;
    let table = b.tensor("token_embd.weight", &[width, vocabulary])?;
    b.push(Op::Embed { table, scale: 1.0, out: x });
    if b.has("token_types.weight") {
        let types = b.tensor("token_types.weight", &[width, b.rows("token_types.weight")?])?;
        b.push(Op::AddRow { table: types, row: Row::Fixed(0), out: x });
    }
    if !nomic {
        let table = b.tensor("position_embd.weight", &[width, b.trained()])?;
        b.push(Op::AddRow { table, row: Row::Position, out: x });
    }
    norm(b, "token_embd_norm", x)?;
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        if b.has(&name("attn_qkv.weight")) {
            b.linear(&name("attn_qkv"), x, qkv, Write::Set)?;
        } else {
            b.linear(&name("attn_q"), x, q, Write::Set)?;
            b.linear(&name("attn_k"), x, k, Write::Set)?;
            b.linear(&name("attn_v"), x, v, Write::Set)?;
        }
        if let Some(rope) = &rope {
            b.push(Op::Rope { rope: rope.clone(), x: q });
            b.push(Op::Rope { rope: rope.clone(), x: k });
        }
        let attention = Attention {
            cache: None,
            heads,
            kv_heads: heads,
            key: head,
            value: head,
            scale: 1.0 / sqrtf(head as f32),
            window: None,
            softcap: None,
            sinks: None,
        };
        b.push(Op::Attention { attention, q, k, v, out: mixed });
        b.linear(&name("attn_output"), mixed, x, Write::Add(1.0))?;
        norm(b, &name("attn_output_norm"), x)?;
        let inner = both.band(0, hidden);
        if nomic {
            let up = both.band(hidden, hidden);
            b.linear(&name("ffn_gate"), x, inner, Write::Set)?;
            b.linear(&name("ffn_up"), x, up, Write::Set)?;
            b.push(Op::Gated { function: Function::Silu, gate: inner, up, out: inner });
        } else {
            b.linear(&name("ffn_up"), x, inner, Write::Set)?;
            b.push(Op::Activate { function: Function::Gelu, x: inner });
        }
        b.linear(&name("ffn_down"), inner, x, Write::Add(1.0))?;
        norm(b, &name("layer_output_norm"), x)?;
    }
    let out = b.buffer(width);
    b.push(Op::Select { x, out });
    b.output(out);
    Ok(())
}
