// Op::Attention without a cache: every token looks at all tokens of its text in the step, before and after it.
//
// q: [heads * KEY], k: [kv_heads * KEY], v: [kv_heads * VALUE], out: [heads * VALUE] for each token.
// A workgroup of 64 invocations a head of a token: 64 other tokens at a time, one score each, a running softmax, then
// every invocation some elements of the values. Workgroups: x over heads, y over tokens.
// Oracle: reference::attention.
struct Params {
    q_at: u32,
    q_stride: u32,
    k_at: u32,
    k_stride: u32,
    v_at: u32,
    v_stride: u32,
    out_at: u32,
    out_stride: u32,
    shared_by: u32,
    sinks_at: u32,
    scale: f32,
    softcap: f32,
}
@group(0) @binding(0) var<uniform> p: Params;

const EACH: u32 = (VALUE + 63u) / 64u;
var<workgroup> qs: array<f32, KEY>;
var<workgroup> scores: array<f32, 64>;
var<workgroup> shares: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let kv = id.x / p.shared_by;
    let token = id.y;
    let tokens = batch[0];
    for (var i = lane; i < KEY; i += 64u) { qs[i] = acts[p.q_at + token * p.q_stride + id.x * KEY + i]; }
    var top = LEAST;
    var total = 0.0;
    if (p.sinks_at != NONE) {
        top = lists[p.sinks_at + id.x];
        total = 1.0;
    }
    var sums: array<f32, EACH>;
    workgroupBarrier();
    for (var base = 0u; base < tokens; base += 64u) {
        let here = min(64u, tokens - base);
        var score = LEAST;
        if (lane < here && token_sequence(base + lane) == token_sequence(token)) {
            let at = p.k_at + (base + lane) * p.k_stride + kv * KEY;
            var found = 0.0;
            for (var i = 0u; i < KEY; i++) { found += acts[at + i] * qs[i]; }
            score = found * p.scale;
            if (p.softcap > 0.0) { score = p.softcap * tanh(clamp(score / p.softcap, -15.0, 15.0)); }
        }
        scores[lane] = score;
        workgroupBarrier();
        let before = top;
        for (var j = 0u; j < here; j++) { top = max(top, scores[j]); }
        let shrink = exp(before - top);
        total *= shrink;
        // Tokens of other texts have no share, also where nothing else was seen yet.
        shares[lane] = select(exp(score - top), 0.0, score == LEAST);
        workgroupBarrier();
        for (var j = 0u; j < here; j++) { total += shares[j]; }
        for (var e = 0u; e < EACH; e++) {
            let i = lane + 64u * e;
            sums[e] *= shrink;
            if (i < VALUE) {
                for (var j = 0u; j < here; j++) {
                    sums[e] += shares[j] * acts[p.v_at + (base + j) * p.v_stride + kv * VALUE + i];
                }
            }
        }
    }
    for (var e = 0u; e < EACH; e++) {
        let i = lane + 64u * e;
        if (i < VALUE) { acts[p.out_at + token * p.out_stride + id.x * VALUE + i] = sums[e] / total; }
    }
}
