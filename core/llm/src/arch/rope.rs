//! Rotary embedding, as the keys of a file ask for it.

use libm::{ceilf, floorf, logf};

use super::{Error, builder::Builder};
use crate::plan::{Pairs, Rope, Yarn};

/// Reads the rope of all layers. `base_default` serves where the file names none.
pub(super) fn read(builder: &Builder<'_>, head: usize, pairs: Pairs, base_default: f32) -> Result<Rope, Error> {
    let dims = builder.number_or("rope.dimension_count", head)?;
    if dims == 0 || dims > head || !dims.is_multiple_of(2) {
        return Err(builder.refuse("rope.dimension_count", "is no even part of a head"));
    }
    let base = builder.float_or("rope.freq_base", base_default)?;
    if base <= 1.0 {
        return Err(builder.refuse("rope.freq_base", "is no number above 1"));
    }
    let mut rope = Rope { head, dims, pairs, base, scale: 1.0, factors: None, yarn: None, magnitude: 1.0 };
    let factor = match builder.float_or("rope.scaling.factor", 0.0)? {
        0.0 => builder.float_or("rope.scale_linear", 1.0)?,
        factor => factor,
    };
    if factor <= 0.0 {
        return Err(builder.refuse("rope.scaling.factor", "is no number above 0"));
    }
    let trained = builder.number_or("rope.scaling.original_context_length", builder.trained())?;
    let attention = builder.float_or("rope.scaling.attn_factor", 1.0)?;
    match builder.text("rope.scaling.type") {
        Some("yarn") => yarn(builder, &mut rope, factor, trained, attention)?,
        Some("longrope") => {
            rope.magnitude = attention;
            let list =
                if builder.context() > trained { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
            rope.factors = builder.factors(list, dims / 2)?;
        }
        Some("none") => {}
        // Files of older converters give a factor without naming the kind: it is linear.
        _ => rope.scale = 1.0 / factor,
    }
    if rope.factors.is_none() {
        rope.factors = builder.factors("rope_freqs.weight", dims / 2)?;
    }
    // Some long-context files carry lists without naming the kind (Phi 3).
    if rope.factors.is_none() {
        let list = if builder.context() > trained { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
        rope.factors = builder.factors(list, dims / 2)?;
        if rope.factors.is_some() {
            rope.magnitude = attention;
        }
    }
    Ok(rope)
}

/// Peng et al. 2023, §3: which pairs are interpolated follows from how often they turn within the trained context.
fn yarn(builder: &Builder<'_>, rope: &mut Rope, factor: f32, trained: usize, attention: f32) -> Result<(), Error> {
    let turns = |beta: f32| {
        let ratio = trained as f32 / (beta * 2.0 * core::f32::consts::PI);
        rope.dims as f32 * logf(ratio) / (2.0 * logf(rope.base))
    };
    let fast = builder.float_or("rope.scaling.yarn_beta_fast", 32.0)?;
    let slow = builder.float_or("rope.scaling.yarn_beta_slow", 1.0)?;
    let low = floorf(turns(fast)).max(0.0);
    let high = ceilf(turns(slow)).min(rope.dims as f32 - 1.0);
    rope.scale = 1.0 / factor;
    rope.yarn = Some(Yarn { factor: builder.float_or("rope.scaling.yarn_ext_factor", 1.0)?, low, high });
    rope.magnitude = attention * (1.0 + 0.1 * logf(factor));
    Ok(())
}
