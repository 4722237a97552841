//! Which format each tensor of a model gets, under the names by which people ask for it.
//!
//! What is read for every token (the output matrix) or feeds everything (attention values, the way down out
//! of the feed-forward net) keeps more bits. Names, numbers and the choice of tensors are those of llama.cpp
//! (`llama-quant.cpp`, `llama_ftype`), so that a file is what users of the name expect.

use super::Kind;

/// A named mixture of formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    name: &'static str,
    /// `general.file_type`.
    number: u32,
    base: Kind,
    output: Kind,
    more: More,
}

/// Where a recipe spends more bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Nowhere,
    /// In the first and last eighth of the layers and every third between.
    Chosen(Kind),
    /// In the first eighth of the layers the way down, in the first four the values.
    First(Kind),
    /// In all layers: values, the way down, attention output.
    All {
        value: Kind,
        down: Kind,
        output: Kind,
    },
}

const RECIPES: [Recipe; 19] = {
    use Kind::*;
    use More::*;
    const fn recipe(name: &'static str, number: u32, base: Kind, output: Kind, more: More) -> Recipe {
        Recipe { name, number, base, output, more }
    }
    [
        recipe("F32", 0, F32, F32, Nowhere),
        recipe("F16", 1, F16, F16, Nowhere),
        recipe("BF16", 32, Bf16, Bf16, Nowhere),
        recipe("Q8_0", 7, Q8_0, Q8_0, Nowhere),
        recipe("Q6_K", 18, Q6K, Q6K, Nowhere),
        recipe("Q5_K_M", 17, Q5K, Q6K, Chosen(Q6K)),
        recipe("Q5_K_S", 16, Q5K, Q6K, Nowhere),
        recipe("Q5_1", 9, Q5_1, Q6K, Nowhere),
        recipe("Q5_0", 8, Q5_0, Q6K, Nowhere),
        recipe("Q4_K_M", 15, Q4K, Q6K, Chosen(Q6K)),
        recipe("Q4_K_S", 14, Q4K, Q6K, First(Q5K)),
        recipe("Q4_1", 3, Q4_1, Q6K, Nowhere),
        recipe("Q4_0", 2, Q4_0, Q6K, Nowhere),
        recipe("IQ4_NL", 25, Iq4Nl, Q6K, First(Q5K)),
        recipe("IQ4_XS", 30, Iq4Xs, Q6K, First(Q5K)),
        recipe("Q3_K_L", 13, Q3K, Q6K, All { value: Q5K, down: Q5K, output: Q5K }),
        recipe("Q3_K_M", 12, Q3K, Q6K, All { value: Q4K, down: Q4K, output: Q4K }),
        recipe("Q3_K_S", 11, Q3K, Q6K, Nowhere),
        recipe("Q2_K", 10, Q2K, Q6K, All { value: Q3K, down: Q3K, output: Q3K }),
    ]
};

/// What must be known of the model to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Layers of the model.
    pub layers: usize,
    /// Whether it has an output matrix of its own; else the token embedding is that too.
    pub has_output: bool,
}

impl Recipe {
    /// The recipe called `name`, in any case; `Q3_K`, `Q4_K` and `Q5_K` mean the middle ones.
    pub fn find(name: &str) -> Option<Self> {
        let name = match name {
            n if n.eq_ignore_ascii_case("Q3_K") => "Q3_K_M",
            n if n.eq_ignore_ascii_case("Q4_K") => "Q4_K_M",
            n if n.eq_ignore_ascii_case("Q5_K") => "Q5_K_M",
            n => n,
        };
        RECIPES.into_iter().find(|recipe| recipe.name.eq_ignore_ascii_case(name))
    }

    /// The names of all recipes, from many bits to few.
    pub fn names() -> impl Iterator<Item = &'static str> {
        RECIPES.into_iter().map(|recipe| recipe.name)
    }

    /// Its name, `Q4_K_M`.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Its number, for `general.file_type`.
    pub const fn file_type(self) -> u32 {
        self.number
    }

    /// The format for the tensor `name`, `dims` fastest first. Norms, biases and the like stay F32; rows
    /// that are no whole number of blocks get the next format with shorter ones.
    pub fn kind(self, name: &str, dims: &[usize], shape: Shape) -> Kind {
        let rows: usize = dims.iter().skip(1).product();
        let whole = [".weight", "_exps"].iter().any(|end| name.ends_with(end));
        let kept = ["_norm", "ffn_gate_inp", "position_embd", "token_types", "rope_freqs"];
        if rows <= 1 || !whole || kept.iter().any(|part| name.contains(part)) {
            return Kind::F32;
        }
        fitting(self.wanted(name, shape), dims[0])
    }

    fn wanted(self, name: &str, shape: Shape) -> Kind {
        let last = if shape.has_output { "output.weight" } else { "token_embd.weight" };
        if name == last {
            return self.output;
        }
        let value = name.contains("attn_v.") || name.contains("attn_qkv.");
        let down = name.contains("ffn_down");
        if self.more == More::Nowhere || !(value || down || name.contains("attn_output.")) {
            return self.base;
        }
        let layer = name.split('.').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        let eighth = shape.layers / 8;
        match self.more {
            // Q3_K_M spends one bit more on the very first layers.
            More::All { value: Kind::Q4K, .. } if value && layer < 2 || down && layer < shape.layers / 16 => Kind::Q5K,
            More::All { value: kind, .. } if value => kind,
            More::All { down: kind, .. } if down => kind,
            More::All { output, .. } => output,
            More::Chosen(kind) if (value || down) && chosen(layer, shape.layers) => kind,
            More::First(kind) if value && layer < 4 || down && layer < eighth => kind,
            _ => self.base,
        }
    }
}

fn chosen(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// `kind`, or the nearest with blocks that a row of `len` is a whole number of.
fn fitting(kind: Kind, len: usize) -> Kind {
    if len.is_multiple_of(kind.block_len()) {
        return kind;
    }
    let shorter = match kind {
        Kind::Q2K | Kind::Q3K => Kind::Q4_0,
        Kind::Iq4Xs => Kind::Iq4Nl,
        Kind::Q4K => Kind::Q5_0,
        Kind::Q5K => Kind::Q5_1,
        Kind::Q6K => Kind::Q8_0,
        _ => Kind::F16,
    };
    if len.is_multiple_of(shorter.block_len()) { shorter } else { Kind::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { layers: 24, has_output: false };

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Recipe::find("q4_k_m").unwrap().file_type(), 15);
        assert_eq!(Recipe::find("Q4_K").unwrap().name(), "Q4_K_M");
        assert_eq!(Recipe::find("q9"), None);
        assert!(Recipe::names().all(|name| Recipe::find(name).unwrap().name() == name));
    }

    #[test]
    fn q4_k_m_is_what_users_of_the_name_expect() {
        let recipe = Recipe::find("Q4_K_M").unwrap();
        let kind = |name: &str, dims: &[usize]| recipe.kind(name, dims, SHAPE);
        assert_eq!(kind("token_embd.weight", &[2048, 9]), Kind::Q6K);
        assert_eq!(kind("blk.4.attn_q.weight", &[2048, 9]), Kind::Q4K);
        assert_eq!(kind("blk.4.attn_v.weight", &[2048, 9]), Kind::Q4K);
        assert_eq!(kind("blk.5.attn_v.weight", &[2048, 9]), Kind::Q6K);
        assert_eq!(kind("blk.0.ffn_down.weight", &[2048, 9]), Kind::Q6K);
        assert_eq!(kind("blk.0.attn_norm.weight", &[2048]), Kind::F32);
        assert_eq!(kind("blk.0.attn_q.bias", &[2048]), Kind::F32);
        let own = Shape { has_output: true, ..SHAPE };
        assert_eq!(recipe.kind("token_embd.weight", &[2048, 9], own), Kind::Q4K);
        assert_eq!(recipe.kind("output.weight", &[2048, 9], own), Kind::Q6K);
    }

    #[test]
    fn the_first_layers_keep_more_in_the_small_recipes() {
        let kind = |recipe: &str, name: &str| Recipe::find(recipe).unwrap().kind(name, &[2048, 9], SHAPE);
        assert_eq!(kind("Q4_K_S", "blk.3.attn_v.weight"), Kind::Q5K);
        assert_eq!(kind("Q4_K_S", "blk.3.ffn_down.weight"), Kind::Q4K);
        assert_eq!(kind("Q3_K_M", "blk.1.attn_v.weight"), Kind::Q5K);
        assert_eq!(kind("Q3_K_M", "blk.1.ffn_down.weight"), Kind::Q4K);
    }

    #[test]
    fn rows_that_do_not_fit_get_shorter_blocks() {
        let recipe = Recipe::find("Q4_K_M").unwrap();
        assert_eq!(recipe.kind("blk.4.attn_q.weight", &[896, 9], SHAPE), Kind::Q5_0);
        assert_eq!(recipe.kind("blk.5.attn_v.weight", &[896, 9], SHAPE), Kind::Q8_0);
        assert_eq!(recipe.kind("blk.5.attn_v.weight", &[100, 9], SHAPE), Kind::F16);
    }
}
