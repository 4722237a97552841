// The second half of Op::Attention: out = softmax(scale q k + mask) v over the cache, flash style.
//
// q: [heads * KEY], out: [heads * VALUE] for each token. A workgroup of LANES invocations computes HEADS query heads that
// share a head of keys, for one token and one segment of the positions: LANES positions at a time, one score each, a
// running softmax, then every invocation a word (two elements) of the values. Keys are read once for all HEADS.
// With more than one segment, what was found goes to scratch for combine.wgsl.
// Workgroups: x over kv_heads * tiles, y over tokens, z over segments.
// Oracle: reference::attention.
struct Params {
    q_at: u32,
    q_stride: u32,
    out_at: u32,
    out_stride: u32,
    scratch_at: u32,
    heads: u32,
    kv_heads: u32,
    // Query heads that share a head of keys, and in how many tiles.
    shared_by: u32,
    tiles: u32,
    // 0 for none.
    window: u32,
    sinks_at: u32,
    scale: f32,
    // 0 for none.
    softcap: f32,
}
@group(0) @binding(0) var<uniform> p: Params;

const KEY_WORDS: u32 = (KEY + 1u) / 2u;
const WORDS: u32 = (VALUE + 1u) / 2u;
// Words of an invocation; invocations that share one, each with some of the positions.
const EACH: u32 = (WORDS + LANES - 1u) / LANES;
const SHARES: u32 = max(LANES / WORDS, 1u);

var<workgroup> qs: array<vec2<f32>, HEADS * KEY_WORDS>;
var<workgroup> scores: array<f32, HEADS * LANES>;
var<workgroup> shares: array<f32, HEADS * LANES>;
var<workgroup> cells: array<u32, LANES>;
var<workgroup> mixed: array<vec2<f32>, LANES>;
var<workgroup> totals: array<f32, HEADS>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let kv = id.x / p.tiles;
    let tile = (id.x % p.tiles) * HEADS;
    let count = min(HEADS, p.shared_by - tile);
    let head = kv * p.shared_by + tile;
    let token = id.y;
    let position = token_position(token);
    let table = token_table(token);
    var first = 0u;
    if (p.window > 0u && position + 1u > p.window) { first = position + 1u - p.window; }
    first = max(first, id.z * batch[3]);
    let end = min(position + 1u, (id.z + 1u) * batch[3]);

    for (var i = lane; i < HEADS * KEY_WORDS; i += LANES) {
        let h = min(i / KEY_WORDS, count - 1u);
        let e = 2u * (i % KEY_WORDS);
        let at = p.q_at + token * p.q_stride + (head + h) * KEY + e;
        var second = 0.0;
        if (e + 1u < KEY) { second = acts[at + 1u]; }
        qs[i] = vec2<f32>(acts[at], second);
    }
    var top: array<f32, HEADS>;
    var sums: array<vec2<f32>, HEADS * EACH>;
    for (var h = 0u; h < HEADS; h++) { top[h] = LEAST; }
    // Of the head `lane`.
    var total = 0.0;
    if (id.z == 0u && p.sinks_at != NONE) {
        // A sink begins the softmax with a weight and no value.
        for (var h = 0u; h < count; h++) { top[h] = lists[p.sinks_at + head + h]; }
        total = 1.0;
    }
    workgroupBarrier();

    for (var base = first; base < end; base += LANES) {
        let here = min(LANES, end - base);
        if (lane < here) {
            let cell = cell_of(table, base + lane);
            cells[lane] = cell;
            let at = (cell * p.kv_heads + kv) * KEY_WORDS;
            var found: array<f32, HEADS>;
            for (var i = 0u; i < KEY_WORDS; i++) {
                let k = unpack2x16float(keys[at + i]);
                for (var h = 0u; h < HEADS; h++) { found[h] += dot(k, qs[h * KEY_WORDS + i]); }
            }
            for (var h = 0u; h < HEADS; h++) {
                var score = found[h] * p.scale;
                if (p.softcap > 0.0) { score = p.softcap * tanh(clamp(score / p.softcap, -15.0, 15.0)); }
                scores[h * LANES + lane] = score;
            }
        }
        workgroupBarrier();
        for (var h = 0u; h < HEADS; h++) {
            let before = top[h];
            var highest = before;
            for (var j = 0u; j < here; j++) { highest = max(highest, scores[h * LANES + j]); }
            top[h] = highest;
            let shrink = exp(before - highest);
            for (var e = 0u; e < EACH; e++) { sums[h * EACH + e] *= shrink; }
            if (lane == h) { total *= shrink; }
            if (lane < here) { shares[h * LANES + lane] = exp(scores[h * LANES + lane] - highest); }
        }
        workgroupBarrier();
        if (lane < HEADS) {
            for (var j = 0u; j < here; j++) { total += shares[lane * LANES + j]; }
        }
        if (lane < WORDS * SHARES) {
            for (var j = lane / WORDS; j < here; j += SHARES) {
                let at = (cells[j] * p.kv_heads + kv) * WORDS;
                for (var e = 0u; e < EACH; e++) {
                    let word = lane % WORDS + e * LANES;
                    if (word < WORDS) {
                        let v = unpack2x16float(values[at + word]);
                        for (var h = 0u; h < HEADS; h++) { sums[h * EACH + e] += shares[h * LANES + j] * v; }
                    }
                }
            }
        }
        // `cells` is written again.
        workgroupBarrier();
    }

    if (lane < HEADS) { totals[lane] = total; }
    for (var h = 0u; h < HEADS; h++) {
        // Uniform over the workgroup: `count` is.
        if (h >= count) { break; }
        if (SHARES > 1u) {
            workgroupBarrier();
            mixed[lane] = sums[h * EACH];
        }
        workgroupBarrier();
        if (lane < WORDS) {
            for (var e = 0u; e < EACH; e++) {
                let word = lane + e * LANES;
                var sum = sums[h * EACH + e];
                for (var s = 1u; s < SHARES; s++) { sum += mixed[lane + s * WORDS]; }
                if (word < WORDS) { write_out(token, head + h, id.z, word, sum, top[h], totals[h]); }
            }
        }
    }
}

fn write_out(token: u32, head: u32, segment: u32, word: u32, sum: vec2<f32>, top: f32, total: f32) {
    var at = p.out_at + token * p.out_stride + head * VALUE + 2u * word;
    var value = sum / total;
    if (batch[2] > 1u) {
        let place = p.scratch_at + ((token * p.heads + head) * batch[2] + segment) * (VALUE + 2u);
        value = sum;
        at = place + 2u + 2u * word;
        if (word == 0u) {
            acts[place] = top;
            acts[place + 1u] = total;
        }
    }
    acts[at] = value.x;
    if (2u * word + 1u < VALUE) { acts[at + 1u] = value.y; }
}
