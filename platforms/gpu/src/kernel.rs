//! The kernels there are, each with its variants, and the text of each.

use core::fmt::Write;

use tutu_llm::quant::Kind;

/// A kernel, with what is fixed when it is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "explained in the files that they name")]
pub enum Kernel {
    /// `matvec.wgsl`; `packed` where bytes are multiplied.
    Matvec { kind: Kind, tokens: u32, aligned: bool, subgroups: bool, packed: bool },
    /// `sweep.wgsl`: subgroups have `subgroup` invocations.
    Sweep { kind: Kind, tokens: u32, subgroup: u32 },
    /// `rows.wgsl`.
    Rows { kind: Kind, tokens: u32, aligned: bool },
    /// `blocks.wgsl`; `wide` where subgroups have eight invocations and not four.
    Blocks { kind: Kind, tokens: u32, wide: bool },
    /// `matmul.wgsl`.
    Matmul { kind: Kind, aligned: bool },
    /// `matmul_narrow.wgsl`; `packed` where bytes are multiplied, and halves otherwise.
    MatmulNarrow { kind: Kind, packed: bool },
    /// `matmul_matrices.wgsl`.
    MatmulMatrices { kind: Kind, matrices: Matrices },
    /// `embed.wgsl`.
    Embed { kind: Kind },
    /// `experts.wgsl`; `function` where gate and what it lets through are computed together.
    Experts { kind: Kind, down: bool, function: Option<u32>, aligned: bool, subgroups: bool },
    /// `choose.wgsl`.
    Choose,
    /// `norm.wgsl`.
    Norm { layer: bool, lanes: u32, subgroups: bool },
    /// `map.wgsl`; `paired` where a second operand is multiplied.
    Map { function: u32, paired: bool },
    /// `select.wgsl`.
    Select,
    /// `share.wgsl`.
    Share,
    /// `rope.wgsl`.
    Rope,
    /// `store.wgsl`.
    Store,
    /// `attend.wgsl`.
    Attend { key: u32, value: u32, heads: u32 },
    /// `attend_subgroup.wgsl`; `wide` where subgroups have eight invocations and not four.
    AttendSubgroup { key: u32, value: u32, heads: u32, wide: bool },
    /// `attend_streams.wgsl`: subgroups have `subgroup` invocations.
    AttendStreams { key: u32, value: u32, heads: u32, subgroup: u32 },
    /// `combine.wgsl`.
    Combine,
    /// `attend_all.wgsl`.
    AttendAll { key: u32, value: u32 },
    /// `best.wgsl`.
    Best { subgroups: bool },
}

/// What a subgroup multiplies at once, on devices that multiply matrices: squares, whose sums are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Matrices {
    /// Rows and columns: 8 or 16.
    pub size: u32,
    /// Whether their elements are halves, and f32 otherwise.
    pub halves: bool,
    /// Squares that each subgroup of a workgroup keeps, see [`Matrices::new`].
    pub each: u32,
    /// Subgroups of a workgroup at most.
    pub subgroups: u32,
}

impl Matrices {
    /// Invocations of a workgroup.
    const LANES: u32 = 128;

    /// Squares of `size` on a device whose subgroups have from `least` to `most` invocations: the fewest subgroups that a
    /// workgroup may have must keep all of its tile.
    pub fn new(size: u32, halves: bool, [least, most]: [u32; 2]) -> Self {
        let subgroups = |invocations: u32| (Self::LANES / invocations.max(1)).max(1);
        let each = (MATRICES_TILE[0] * MATRICES_TILE[1] / (size * size)).div_ceil(subgroups(most));
        Self { size, halves, each, subgroups: subgroups(least) }
    }

    /// Bytes of workgroup memory: rows and tokens of 64 halves or 32 f32 with some between them, and a square a subgroup.
    pub fn bytes(self) -> u32 {
        (MATRICES_TILE[0] + MATRICES_TILE[1]) * if self.halves { 144 } else { 160 }
            + self.subgroups * self.size * self.size * 4
    }
}

/// Rows that a workgroup of `matvec.wgsl` and `experts.wgsl` computes.
pub const ROWS: u32 = 4;
/// Subgroups of a workgroup of `attend_streams.wgsl`.
pub const STREAMS: u32 = 4;
/// Invocations of a workgroup of `sweep.wgsl`.
pub const SWEEP_LANES: u32 = 128;
/// Rows that each of its subgroups computes.
pub const SWEEP_ROWS: u32 = 2;
/// Invocations of a workgroup of `blocks.wgsl`, and rows that each computes.
pub const BLOCKS_LANES: u32 = 8;
/// See [`BLOCKS_LANES`].
pub const BLOCKS_ROWS: u32 = 4;
/// Elements of a block that `blocks.wgsl` reads at once.
pub const BLOCK: usize = 32;
/// Invocations of a workgroup, where a kernel does not say otherwise.
pub const LANES: u32 = 64;
/// Workgroups of `best.wgsl` for a row, and elements that each keeps.
pub const BEST_GROUPS: usize = 64;
/// See [`BEST_GROUPS`].
pub const BEST_KEPT: usize = 8;
/// Rows and tokens of a tile of `matmul.wgsl` and its kind.
pub const TILE: [u32; 2] = [64, 32];
/// The same of `matmul_matrices.wgsl`.
pub const MATRICES_TILE: [u32; 2] = [64, 64];

const FUNCTIONS: &str = include_str!("../../../shaders/functions.wgsl");
const COMMON: &str = include_str!("../../../shaders/common.wgsl");
const WEIGHTS: &str = include_str!("../../../shaders/weights.wgsl");
const PRODUCT: &str = include_str!("../../../shaders/product.wgsl");
const SUMS: &str = include_str!("../../../shaders/sums.wgsl");
const TILES: &str = include_str!("../../../shaders/tile.wgsl");
const ATTENTION: &str = include_str!("../../../shaders/attention.wgsl");

impl Kernel {
    /// A short name with its variant, for reports.
    pub fn name(self) -> String {
        let aligned = |aligned: bool| if aligned { "" } else { "_odd" };
        let subgroups = |subgroups: bool| if subgroups { "_subgroups" } else { "" };
        match self {
            Self::Matvec { kind, tokens, aligned: a, subgroups: s, packed } => {
                let packed = if packed { "_packed" } else { "" };
                format!("matvec_{kind}_x{tokens}{}{}{packed}", aligned(a), subgroups(s))
            }
            Self::Sweep { kind, tokens, subgroup } => format!("sweep_{kind}_x{tokens}_{subgroup}"),
            Self::Rows { kind, tokens, aligned: a } => format!("rows_{kind}_x{tokens}{}", aligned(a)),
            Self::Blocks { kind, tokens, wide } => format!("blocks_{kind}_x{tokens}_{}", if wide { 8 } else { 4 }),
            Self::Matmul { kind, aligned: a } => format!("matmul_{kind}{}", aligned(a)),
            Self::MatmulNarrow { kind, packed } => {
                format!("matmul_{kind}_{}", if packed { "packed" } else { "halves" })
            }
            Self::MatmulMatrices { kind, matrices: Matrices { size, halves, each, subgroups } } => {
                let halves = if halves { "_halves" } else { "" };
                format!("matmul_{kind}_{size}x{size}{halves}_{each}_of_{subgroups}")
            }
            Self::Embed { kind } => format!("embed_{kind}"),
            Self::Experts { kind, down, function, aligned: a, subgroups: s } => {
                let stage = match (down, function) {
                    (true, _) => "down".into(),
                    (_, None) => "up".into(),
                    (_, Some(function)) => format!("gated_{function}"),
                };
                format!("experts_{stage}_{kind}{}{}", aligned(a), subgroups(s))
            }
            Self::Choose => "choose".into(),
            Self::Norm { layer, lanes, subgroups: s } => {
                format!("norm_{}_{lanes}{}", if layer { "layer" } else { "rms" }, subgroups(s))
            }
            Self::Map { function, paired } => format!("map_{function}{}", if paired { "_paired" } else { "" }),
            Self::Select => "select".into(),
            Self::Share => "share".into(),
            Self::Rope => "rope".into(),
            Self::Store => "store".into(),
            Self::Attend { key, value, heads } => format!("attend_{key}_{value}_x{heads}"),
            Self::AttendSubgroup { key, value, heads, wide } => {
                format!("attend_{key}_{value}_x{heads}_subgroup_{}", if wide { 8 } else { 4 })
            }
            Self::AttendStreams { key, value, heads, subgroup } => {
                format!("attend_{key}_{value}_x{heads}_streams_{subgroup}")
            }
            Self::Combine => "combine".into(),
            Self::AttendAll { key, value } => format!("attend_all_{key}_{value}"),
            Self::Best { subgroups: s } => format!("best{}", subgroups(s)),
        }
    }

    /// Its text: constants, what it shares with others, its own file.
    pub fn source(self) -> String {
        let mut constants = String::new();
        let mut constant = |name: &str, value: u32| {
            writeln!(constants, "const {name}: u32 = {value}u;").expect("a string takes all");
        };
        let mut set: Vec<&str> = Vec::new();
        let mut on = |name, wanted| {
            if wanted {
                set.push(name)
            }
        };
        let mut asked = String::new();
        let mut enable = |what: &str| writeln!(asked, "enable {what};").expect("a string takes all");
        let (own, kind) = match self {
            Self::Matvec { kind, tokens, aligned, subgroups, packed } => {
                constant("LANES", LANES);
                constant("ROWS", ROWS);
                constant("TOKENS", tokens);
                on("ALIGNED", aligned);
                on("SUBGROUPS", subgroups);
                on("PACKED", packed);
                (include_str!("../../../shaders/matvec.wgsl"), Some(kind))
            }
            Self::Sweep { kind, tokens, subgroup } => {
                constant("LANES", SWEEP_LANES);
                constant("SUBGROUP", subgroup);
                constant("ROWS", SWEEP_ROWS);
                constant("TOKENS", tokens);
                constant("CHUNK", (4096 / tokens).max(1024));
                on("ALIGNED", true);
                on("BLOCKS", true);
                on("PACKED", true);
                (include_str!("../../../shaders/sweep.wgsl"), Some(kind))
            }
            Self::Rows { kind, tokens, aligned } => {
                constant("LANES", LANES);
                constant("TOKENS", tokens);
                on("ALIGNED", aligned);
                (include_str!("../../../shaders/rows.wgsl"), Some(kind))
            }
            Self::Blocks { kind, tokens, wide } => {
                constant("LANES", BLOCKS_LANES);
                constant("ROWS", BLOCKS_ROWS);
                constant("TOKENS", tokens);
                on("ALIGNED", true);
                on("BLOCKS", true);
                on("WIDE", wide);
                (include_str!("../../../shaders/blocks.wgsl"), Some(kind))
            }
            Self::Matmul { kind, aligned } => {
                on("ALIGNED", aligned);
                (include_str!("../../../shaders/matmul.wgsl"), Some(kind))
            }
            Self::MatmulNarrow { kind, packed } => {
                if !packed {
                    enable("f16");
                }
                on("ALIGNED", true);
                on("PACKED", packed);
                (include_str!("../../../shaders/matmul_narrow.wgsl"), Some(kind))
            }
            Self::MatmulMatrices { kind, matrices } => {
                if matrices.halves {
                    enable("f16");
                }
                enable("wgpu_cooperative_matrix");
                constant("EACH", matrices.each);
                constant("SUBGROUPS", matrices.subgroups);
                on("ALIGNED", true);
                on("BLOCKS", true);
                on("HALVES", matrices.halves);
                on("SIXTEEN", matrices.size == 16);
                (include_str!("../../../shaders/matmul_matrices.wgsl"), Some(kind))
            }
            Self::Embed { kind } => (include_str!("../../../shaders/embed.wgsl"), Some(kind)),
            Self::Experts { kind, down, function, aligned, subgroups } => {
                constant("F", function.unwrap_or(0));
                constant("LANES", LANES);
                constant("ROWS", ROWS);
                on("DOWN", down);
                on("PAIRED", function.is_some());
                on("ALIGNED", aligned);
                on("SUBGROUPS", subgroups);
                (include_str!("../../../shaders/experts.wgsl"), Some(kind))
            }
            Self::Choose => (include_str!("../../../shaders/choose.wgsl"), None),
            Self::Norm { layer, lanes, subgroups } => {
                constant("LANES", lanes);
                on("SUBGROUPS", subgroups);
                on("LAYER", layer);
                (include_str!("../../../shaders/norm.wgsl"), None)
            }
            Self::Map { function, paired } => {
                constant("F", function);
                on("PAIRED", paired);
                (include_str!("../../../shaders/map.wgsl"), None)
            }
            Self::Select => (include_str!("../../../shaders/select.wgsl"), None),
            Self::Share => (include_str!("../../../shaders/share.wgsl"), None),
            Self::Rope => (include_str!("../../../shaders/rope.wgsl"), None),
            Self::Store => (include_str!("../../../shaders/store.wgsl"), None),
            Self::Attend { key, value, heads } => {
                constant("LANES", LANES);
                constant("KEY", key);
                constant("VALUE", value);
                constant("HEADS", heads);
                (include_str!("../../../shaders/attend.wgsl"), None)
            }
            Self::AttendSubgroup { key, value, heads, wide } => {
                constant("LANES", if wide { 8 } else { 4 });
                constant("KEY", key);
                constant("VALUE", value);
                constant("HEADS", heads);
                on("RUNS", true);
                on("WIDE", wide);
                (include_str!("../../../shaders/attend_subgroup.wgsl"), None)
            }
            Self::AttendStreams { key, value, heads, subgroup } => {
                constant("LANES", STREAMS * subgroup);
                constant("SUBGROUP", subgroup);
                constant("KEY", key);
                constant("VALUE", value);
                constant("HEADS", heads);
                on("RUNS", true);
                (include_str!("../../../shaders/attend_streams.wgsl"), None)
            }
            Self::Combine => (include_str!("../../../shaders/combine.wgsl"), None),
            Self::AttendAll { key, value } => {
                constant("KEY", key);
                constant("VALUE", value);
                (include_str!("../../../shaders/attend_all.wgsl"), None)
            }
            Self::Best { subgroups } => {
                on("SUBGROUPS", subgroups);
                (include_str!("../../../shaders/best.wgsl"), None)
            }
        };
        let shared = kind.map_or([""; 3], |kind| [PRODUCT, WEIGHTS, format_text(kind)]);
        let functions = if matches!(self, Self::Map { .. } | Self::Experts { .. }) { FUNCTIONS } else { "" };
        let pieces = match self {
            Self::Matvec { .. } | Self::Experts { .. } | Self::Norm { .. } => SUMS,
            Self::Matmul { .. } | Self::MatmulNarrow { .. } => TILES,
            Self::Attend { .. } | Self::AttendSubgroup { .. } | Self::AttendStreams { .. } => ATTENTION,
            _ => "",
        };
        if kind.is_some_and(is_float) {
            set.push("FLOATS");
        }
        let text =
            [asked.as_str(), &constants, COMMON, functions, shared[0], shared[1], shared[2], pieces, own].join("\n");
        choose_lines(&text, &set)
    }

    /// Whether DX12 has it: HLSL has no cooperative matrices that naga could write.
    pub fn has_hlsl(self) -> bool {
        !matches!(self, Self::MatmulMatrices { .. })
    }

    /// Every kernel with every variant that a plan may ask for; head sizes and counts are those of known models.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Choose, Self::Select, Self::Share, Self::Rope, Self::Store, Self::Combine];
        for subgroups in [false, true] {
            all.push(Self::Best { subgroups });
            for layer in [false, true] {
                all.extend([4, 8, 64, 256].map(|lanes| Self::Norm { layer, lanes, subgroups }));
            }
        }
        for function in 0..8 {
            all.extend([false, true].map(|paired| Self::Map { function, paired }));
        }
        for (key, value, heads) in [(64, 64, 1), (64, 64, 3), (80, 80, 1), (96, 96, 1), (128, 128, 8), (256, 256, 4)] {
            all.push(Self::Attend { key, value, heads });
            all.extend([false, true].map(|wide| Self::AttendSubgroup { key, value, heads, wide }));
            all.extend([8, 32, 64].map(|subgroup| Self::AttendStreams { key, value, heads, subgroup }));
        }
        for width in [32, 64, 80, 128] {
            all.push(Self::AttendAll { key: width, value: width });
        }
        for kind in Kind::ALL {
            all.push(Self::Embed { kind });
            // Subgroups of 32, and of 32 or 64.
            for (size, halves, most) in [(16, true, 32), (16, true, 64), (8, true, 32), (8, false, 32)] {
                all.push(Self::MatmulMatrices { kind, matrices: Matrices::new(size, halves, [32, most]) });
            }
            if !is_float(kind) {
                all.extend([false, true].map(|packed| Self::MatmulNarrow { kind, packed }));
            }
            for tokens in [1, 2, 4, 8] {
                if !is_float(kind) {
                    all.push(Self::Matvec { kind, tokens, aligned: true, subgroups: true, packed: true });
                    all.extend([8, 32, 64].map(|subgroup| Self::Sweep { kind, tokens, subgroup }));
                }
                all.extend([false, true].map(|wide| Self::Blocks { kind, tokens, wide }));
            }
            for aligned in [false, true] {
                all.push(Self::Matmul { kind, aligned });
                for tokens in [1, 2, 4, 8] {
                    all.push(Self::Rows { kind, tokens, aligned });
                    let packed = false;
                    all.extend([false, true].map(|subgroups| Self::Matvec {
                        kind,
                        tokens,
                        aligned,
                        subgroups,
                        packed,
                    }));
                }
                // Of functions those that models with experts have: SiLU and the clamped one of gpt-oss.
                for (down, function) in [(true, None), (false, None), (false, Some(0)), (false, Some(4))] {
                    all.extend([false, true].map(|subgroups| Self::Experts {
                        kind,
                        down,
                        function,
                        aligned,
                        subgroups,
                    }));
                }
            }
        }
        all
    }
}

/// Whether a format has numbers and no quanta.
pub fn is_float(kind: Kind) -> bool {
    matches!(kind, Kind::F32 | Kind::F16 | Kind::Bf16)
}

fn format_text(kind: Kind) -> &'static str {
    match kind {
        Kind::F32 => include_str!("../../../shaders/formats/f32.wgsl"),
        Kind::F16 => include_str!("../../../shaders/formats/f16.wgsl"),
        Kind::Bf16 => include_str!("../../../shaders/formats/bf16.wgsl"),
        Kind::Q4_0 => include_str!("../../../shaders/formats/q4_0.wgsl"),
        Kind::Q4_1 => include_str!("../../../shaders/formats/q4_1.wgsl"),
        Kind::Q5_0 => include_str!("../../../shaders/formats/q5_0.wgsl"),
        Kind::Q5_1 => include_str!("../../../shaders/formats/q5_1.wgsl"),
        Kind::Q8_0 => include_str!("../../../shaders/formats/q8_0.wgsl"),
        Kind::Q2K => include_str!("../../../shaders/formats/q2_k.wgsl"),
        Kind::Q3K => include_str!("../../../shaders/formats/q3_k.wgsl"),
        Kind::Q4K => include_str!("../../../shaders/formats/q4_k.wgsl"),
        Kind::Q5K => include_str!("../../../shaders/formats/q5_k.wgsl"),
        Kind::Q6K => include_str!("../../../shaders/formats/q6_k.wgsl"),
        Kind::Iq4Nl => include_str!("../../../shaders/formats/iq4_nl.wgsl"),
        Kind::Iq4Xs => include_str!("../../../shaders/formats/iq4_xs.wgsl"),
        Kind::Mxfp4 => include_str!("../../../shaders/formats/mxfp4.wgsl"),
    }
}

/// Keeps the lines between `//#if NAME` (`//#else`) and `//#end` that belong to the names in `set`; they nest.
fn choose_lines(text: &str, set: &[&str]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut keep: Vec<bool> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("//#") {
            Some("else") => keep.iter_mut().last().into_iter().for_each(|keep| *keep = !*keep),
            Some("end") => drop(keep.pop()),
            Some(condition) => keep.push(condition.strip_prefix("if ").is_some_and(|name| set.contains(&name))),
            None if keep.iter().all(|keep| *keep) => {
                out.push_str(line);
                out.push('\n');
            }
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_name_are_kept_where_it_is_set() {
        let text = "a\n//#if X\nb\n//#else\nc\n//#end\nd\n";
        assert_eq!(choose_lines(text, &["X"]), "a\nb\nd\n");
        assert_eq!(choose_lines(text, &[]), "a\nc\nd\n");
        let nested = "//#if X\na\n//#if Y\nb\n//#else\nc\n//#end\nd\n//#else\ne\n//#end\nf\n";
        assert_eq!(choose_lines(nested, &["X", "Y"]), "a\nb\nd\nf\n");
        assert_eq!(choose_lines(nested, &["X"]), "a\nc\nd\nf\n");
        assert_eq!(choose_lines(nested, &["Y"]), "e\nf\n");
    }
}
