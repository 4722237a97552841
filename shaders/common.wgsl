// What every kernel sees: the step, the activations, the weights, the cache. Not a kernel.
//
// `batch` is written anew for each step, as whole numbers:
//   0 tokens | 1 outputs | 2 segments of attention | 3 positions of a segment | 4 where the list of outputs begins
//   5.. where the angles of each rope begin | 15 where shares of adapters begin | 16.. four numbers a token: id, position, where its table begins, sequence
// then outputs (token numbers), angles (cosine and sine of each pair, as bits), shares (of each adapter, a number as bits
// for each token), tables (pages).
//
// `acts` holds every buffer of the plan, one after the other; `acts4` is the same memory, to be read four at a time.
// No kernel reads through one what it writes through the other. So is `w4` the memory of `w`.

@group(0) @binding(1) var<storage, read> batch: array<u32>;
@group(0) @binding(2) var<storage, read_write> acts: array<f32>;
@group(0) @binding(3) var<storage, read_write> acts4: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> lists: array<f32>;
@group(0) @binding(5) var<storage, read> w: array<u32>;
//#if RUNS
@group(0) @binding(6) var<storage, read_write> keys: array<vec4<u32>>;
@group(0) @binding(7) var<storage, read_write> values: array<vec4<u32>>;
//#else
@group(0) @binding(6) var<storage, read_write> keys: array<u32>;
@group(0) @binding(7) var<storage, read_write> values: array<u32>;
//#end
@group(0) @binding(8) var<storage, read> w4: array<vec4<u32>>;

// Says that a list is not there.
const NONE: u32 = 0xffffffffu;
// Positions of a page.
const PAGE: u32 = 32u;
// Below every score.
const LEAST: f32 = -3.0e38;

fn token_id(token: u32) -> u32 { return batch[16u + 4u * token]; }
fn token_position(token: u32) -> u32 { return batch[17u + 4u * token]; }
fn token_table(token: u32) -> u32 { return batch[18u + 4u * token]; }
fn token_sequence(token: u32) -> u32 { return batch[19u + 4u * token]; }

// Where position `position` of the text lies in the cache, whose table begins at `table`.
fn cell_of(table: u32, position: u32) -> u32 {
    return batch[table + position / PAGE] * PAGE + position % PAGE;
}
