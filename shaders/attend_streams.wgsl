// The second half of Op::Attention, as attend.wgsl, where subgroups always have SUBGROUP invocations and heads have whole
// octets: KEY and VALUE are multiples of 8.
//
// Each subgroup of a workgroup takes runs of SUBGROUP positions, a score each, and keeps a softmax of its own; then GROUPS
// groups of invocations take every GROUPSth of these positions, an invocation an octet of the values. Nobody waits for the
// other subgroups before the end, where all that was found is put together.
// Workgroups: x over kv_heads * tiles, y over tokens, z over segments. Workgroup memory: 9 KiB at the most.
// Oracle: reference::attention.

const KEY_OCTETS: u32 = KEY / 8u;
const OCTETS: u32 = VALUE / 8u;
const SUBGROUPS: u32 = LANES / SUBGROUP;
// Groups of invocations with an octet each; octets of each, where there are more of them than invocations.
const GROUPS: u32 = max(SUBGROUP / OCTETS, 1u);
const EACH: u32 = (OCTETS + SUBGROUP - 1u) / SUBGROUP;
const ROUNDS: u32 = (SUBGROUP + GROUPS - 1u) / GROUPS;

var<workgroup> qs: array<vec4<f32>, HEADS * KEY / 4u>;
var<workgroup> tops: array<f32, HEADS * SUBGROUPS>;
var<workgroup> totals: array<f32, HEADS * SUBGROUPS>;
var<workgroup> mixed: array<vec4<f32>, 2u * LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) place: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let tile = tile_of(id);
    for (var i = lane; i < HEADS * KEY / 4u; i += LANES) {
        let h = min(i / (KEY / 4u), tile.count - 1u);
        qs[i] = acts4[(p.q_at + tile.token * p.q_stride + (tile.head + h) * KEY) / 4u + i % (KEY / 4u)];
    }
    var top: array<f32, HEADS>;
    // What this invocation's positions add to the weights of all.
    var total: array<f32, HEADS>;
    var sums: array<vec4<f32>, HEADS * EACH * 2u>;
    for (var h = 0u; h < HEADS; h++) { top[h] = LEAST; }
    if (id.z == 0u && p.sinks_at != NONE && subgroup == 0u) {
        // A sink begins the softmax with a weight and no value.
        for (var h = 0u; h < tile.count; h++) {
            top[h] = lists[p.sinks_at + tile.head + h];
            total[h] = select(0.0, 1.0, place == 0u);
        }
    }
    workgroupBarrier();

    // Of its group, and of the octets.
    let part = place / OCTETS;
    let octet = place % OCTETS;
    // The same number of rounds for all of a workgroup.
    for (var base = tile.first; base < tile.end; base += LANES) {
        let position = base + subgroup * SUBGROUP + place;
        let here = position < tile.end;
        let cell = cell_of(tile.table, min(position, tile.end - 1u)) * p.kv_heads + tile.kv;
        var found: array<f32, HEADS>;
        for (var i = 0u; i < KEY_OCTETS; i++) {
            let words = keys[cell * KEY_OCTETS + i];
            let a = vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
            let b = vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w));
            for (var h = 0u; h < HEADS; h++) {
                let q = h * (KEY / 4u) + 2u * i;
                found[h] += dot(a, qs[q]) + dot(b, qs[q + 1u]);
            }
        }
        var share: array<f32, HEADS>;
        for (var h = 0u; h < HEADS; h++) {
            let score = select(LEAST, score_of(found[h]), here);
            let highest = max(top[h], subgroupMax(score));
            let shrink = exp(top[h] - highest);
            top[h] = highest;
            share[h] = select(0.0, exp(score - highest), here);
            total[h] = total[h] * shrink + share[h];
            for (var e = 0u; e < 2u * EACH; e++) { sums[h * EACH * 2u + e] *= shrink; }
        }
        for (var j = 0u; j < ROUNDS; j++) {
            let source = j * GROUPS + part;
            let there = source < SUBGROUP && part < GROUPS;
            let other = subgroupShuffle(cell, min(source, SUBGROUP - 1u));
            for (var e = 0u; e < EACH; e++) {
                let words = values[other * OCTETS + min(octet + e * SUBGROUP, OCTETS - 1u)];
                let a = vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
                let b = vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w));
                for (var h = 0u; h < HEADS; h++) {
                    let weight = select(0.0, subgroupShuffle(share[h], min(source, SUBGROUP - 1u)), there);
                    sums[(h * EACH + e) * 2u] += weight * a;
                    sums[(h * EACH + e) * 2u + 1u] += weight * b;
                }
            }
        }
    }

    for (var h = 0u; h < HEADS; h++) {
        let all = subgroupAdd(total[h]);
        if (place == 0u) {
            tops[h * SUBGROUPS + subgroup] = top[h];
            totals[h * SUBGROUPS + subgroup] = all;
        }
    }
    workgroupBarrier();
    for (var h = 0u; h < HEADS; h++) {
        // Uniform over the workgroup: `tile.count` is.
        if (h >= tile.count) { break; }
        var highest = LEAST;
        for (var s = 0u; s < SUBGROUPS; s++) { highest = max(highest, tops[h * SUBGROUPS + s]); }
        var all = 0.0;
        for (var s = 0u; s < SUBGROUPS; s++) { all += totals[h * SUBGROUPS + s] * exp(tops[h * SUBGROUPS + s] - highest); }
        let shrink = exp(top[h] - highest);
        for (var e = 0u; e < EACH; e++) {
            mixed[2u * (subgroup * SUBGROUP + place)] = shrink * sums[(h * EACH + e) * 2u];
            mixed[2u * (subgroup * SUBGROUP + place) + 1u] = shrink * sums[(h * EACH + e) * 2u + 1u];
            workgroupBarrier();
            // Two invocations an octet.
            let own = (lane >> 1u) + e * SUBGROUP;
            if (lane < 2u * min(OCTETS, SUBGROUP) && own < OCTETS) {
                var sum = vec4<f32>();
                for (var s = 0u; s < SUBGROUPS; s++) {
                    for (var g = 0u; g < GROUPS; g++) {
                        sum += mixed[2u * (s * SUBGROUP + g * OCTETS + (lane >> 1u)) + (lane & 1u)];
                    }
                }
                write_out(tile.token, tile.head + h, id.z, 2u * own + (lane & 1u), sum, highest, all);
            }
            workgroupBarrier();
        }
    }
}

// Elements `4 four ..` of a head.
fn write_out(token: u32, head: u32, segment: u32, four: u32, sum: vec4<f32>, top: f32, total: f32) {
    let goal = goal_of(token, head, segment, four == 0u, top, total);
    let value = sum / goal.total;
    let at = goal.at + 4u * four;
    for (var i = 0u; i < 4u; i++) { acts[at + i] = value[i]; }
}
