// The choice of Op::Experts: from the router's scores to the best experts and their shares.
//
// scores: [experts] for each token; out: [2 used], an expert's number and its share, best first; of equals the first.
// A workgroup of 64 invocations a token; each looks after every 64th expert. Workgroups: x over tokens.
// Oracle: reference::choose.
struct Params {
    x_at: u32,
    x_stride: u32,
    out_at: u32,
    out_stride: u32,
    experts: u32,
    used: u32,
    // 1: shares are taken from the softmax over all experts, else over the chosen ones.
    all: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;

var<workgroup> best_score: array<f32, 64>;
var<workgroup> best_expert: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let scores = p.x_at + id.x * p.x_stride;
    let out = p.out_at + id.x * p.out_stride;
    var before_score = 3.4e38;
    var before = 0u;
    var top = 0.0;
    var taken = 0.0;
    for (var slot = 0u; slot < p.used; slot++) {
        // The best of those that come after the one chosen last.
        var score = LEAST;
        var found = NONE;
        for (var e = lane; e < p.experts; e += 64u) {
            let s = acts[scores + e];
            let after = slot == 0u || s < before_score || (s == before_score && e > before);
            if (after && (found == NONE || s > score)) { score = s; found = e; }
        }
        best_score[lane] = score;
        best_expert[lane] = found;
        workgroupBarrier();
        for (var j = 0u; j < 64u; j++) {
            let s = best_score[j];
            let e = best_expert[j];
            if (e != NONE && (found == NONE || s > score || (s == score && e < found))) { score = s; found = e; }
        }
        workgroupBarrier();
        before_score = score;
        before = found;
        if (slot == 0u) { top = score; }
        taken += exp(score - top);
        if (lane == 0u) {
            acts[out + 2u * slot] = f32(min(found, p.experts - 1u));
            acts[out + 2u * slot + 1u] = exp(score - top);
        }
    }
    var sum = taken;
    if (p.all == 1u) {
        sum = 0.0;
        for (var e = 0u; e < p.experts; e++) { sum += exp(acts[scores + e] - top); }
    }
    if (lane == 0u) {
        for (var slot = 0u; slot < p.used; slot++) { acts[out + 2u * slot + 1u] *= p.scale / sum; }
    }
}
