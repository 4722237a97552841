// The second half of Op::Attention: out = softmax(scale q k + mask) v over the cache, flash style.
//
// q: [heads * KEY], out: [heads * VALUE] for each token. A workgroup of LANES invocations computes HEADS query heads that
// share a head of keys, for one token and one segment of the positions: LANES positions at a time, one score each, a
// running softmax, then every invocation a word (two elements) of the values. Keys are read once for all HEADS.
// With more than one segment, what was found goes to scratch for combine.wgsl.
// Workgroups: x over kv_heads * tiles, y over tokens, z over segments.
// Oracle: reference::attention.

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
    let tile = tile_of(id);

    for (var i = lane; i < HEADS * KEY_WORDS; i += LANES) {
        let h = min(i / KEY_WORDS, tile.count - 1u);
        let e = 2u * (i % KEY_WORDS);
        let at = p.q_at + tile.token * p.q_stride + (tile.head + h) * KEY + e;
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
        for (var h = 0u; h < tile.count; h++) { top[h] = lists[p.sinks_at + tile.head + h]; }
        total = 1.0;
    }
    workgroupBarrier();

    for (var base = tile.first; base < tile.end; base += LANES) {
        let here = min(LANES, tile.end - base);
        if (lane < here) {
            let cell = cell_of(tile.table, base + lane);
            cells[lane] = cell;
            let at = (cell * p.kv_heads + tile.kv) * KEY_WORDS;
            var found: array<f32, HEADS>;
            for (var i = 0u; i < KEY_WORDS; i++) {
                let k = unpack2x16float(keys[at + i]);
                for (var h = 0u; h < HEADS; h++) { found[h] += dot(k, qs[h * KEY_WORDS + i]); }
            }
            for (var h = 0u; h < HEADS; h++) {
                scores[h * LANES + lane] = score_of(found[h]);
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
                let at = (cells[j] * p.kv_heads + tile.kv) * WORDS;
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
        // Uniform over the workgroup: `tile.count` is.
        if (h >= tile.count) { break; }
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
                if (word < WORDS) { write_out(tile.token, tile.head + h, id.z, word, sum, top[h], totals[h]); }
            }
        }
    }
}

fn write_out(token: u32, head: u32, segment: u32, word: u32, sum: vec2<f32>, top: f32, total: f32) {
    let goal = goal_of(token, head, segment, word == 0u, top, total);
    let value = sum / goal.total;
    let at = goal.at + 2u * word;
    acts[at] = value.x;
    if (2u * word + 1u < VALUE) { acts[at + 1u] = value.y; }
}
