// What attend.wgsl does, where a load costs more than everything that is done with what it brings (see blocks.wgsl): the
// same shapes, scratch and workgroups, but a workgroup is one subgroup of LANES invocations, eight (WIDE) or four.
//
// LANES positions at a time: an invocation reads all of the key of one of them and has q from the others, who hold a share of
// it each; then every invocation reads its runs of eight elements of all their values. KEY and VALUE are multiples of 8, and
// q can be read four elements at a time.
// Oracle: reference::attention.

struct Eight { a: vec4<f32>, b: vec4<f32> }
fn eight_halves(word: vec4<u32>) -> Eight {
    return Eight(
        vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y)),
        vec4<f32>(unpack2x16float(word.z), unpack2x16float(word.w)),
    );
}

// Runs of eight elements of a key and of a value; those of a value that an invocation has; quads of a q that it has.
const KEY_RUNS: u32 = KEY / 8u;
const RUNS: u32 = VALUE / 8u;
const EACH: u32 = (RUNS + LANES - 1u) / LANES;
const OWN: u32 = (2u * KEY_RUNS + LANES - 1u) / LANES;
// Runs of a key whose q are the same quad of all invocations.
const SPAN: u32 = LANES / 2u;

// Multiplies run `i` of the key with all q.
fn multiply(
    found: ptr<function, array<f32, HEADS>>,
    own: ptr<function, array<array<vec4<f32>, HEADS>, OWN>>,
    key: u32,
    quad: u32,
    i: u32,
) {
    if (quad * SPAN + i < KEY_RUNS) {
        let k = eight_halves(keys[key + quad * SPAN + i]);
        for (var h = 0u; h < HEADS; h++) {
            let a = subgroupShuffle((*own)[quad][h], 2u * i);
            let b = subgroupShuffle((*own)[quad][h], 2u * i + 1u);
            (*found)[h] += dot(k.a, a) + dot(k.b, b);
        }
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(id);

    var own: array<array<vec4<f32>, HEADS>, OWN>;
    for (var quad = 0u; quad < OWN; quad++) {
        let i = min(lane + LANES * quad, 2u * KEY_RUNS - 1u);
        for (var h = 0u; h < HEADS; h++) {
            let at = p.q_at + tile.token * p.q_stride + (tile.head + min(h, tile.count - 1u)) * KEY;
            own[quad][h] = acts4[(at >> 2u) + i];
        }
    }
    var top: array<f32, HEADS>;
    // Each invocation's part of it.
    var total: array<f32, HEADS>;
    var sums: array<array<Eight, HEADS>, EACH>;
    for (var h = 0u; h < HEADS; h++) {
        top[h] = LEAST;
        if (id.z == 0u && p.sinks_at != NONE) {
            // A sink begins the softmax with a weight and no value.
            top[h] = lists[p.sinks_at + tile.head + min(h, tile.count - 1u)];
            total[h] = select(0.0, 1.0, lane == 0u);
        }
    }

    for (var base = tile.first; base < tile.end; base += LANES) {
        let cell = cell_of(tile.table, min(base + lane, tile.end - 1u));
        let key = (cell * p.kv_heads + tile.kv) * KEY_RUNS;
        var found: array<f32, HEADS>;
        for (var quad = 0u; quad < OWN; quad++) {
            multiply(&found, &own, key, quad, 0u);
            multiply(&found, &own, key, quad, 1u);
//#if WIDE
            multiply(&found, &own, key, quad, 2u);
            multiply(&found, &own, key, quad, 3u);
//#end
        }
        var shares: array<f32, HEADS>;
        for (var h = 0u; h < HEADS; h++) {
            let score = select(LEAST, score_of(found[h]), base + lane < tile.end);
            let highest = max(top[h], subgroupMax(score));
            let shrink = exp(top[h] - highest);
            shares[h] = exp(score - highest);
            top[h] = highest;
            total[h] = total[h] * shrink + shares[h];
            for (var e = 0u; e < EACH; e++) {
                sums[e][h].a *= shrink;
                sums[e][h].b *= shrink;
            }
        }
        // Of positions past the end the last is read again, with a share of nothing.
        for (var j = 0u; j < LANES; j++) {
            let at = (subgroupShuffle(cell, j) * p.kv_heads + tile.kv) * RUNS;
            for (var e = 0u; e < EACH; e++) {
                let v = eight_halves(values[at + min(lane + LANES * e, RUNS - 1u)]);
                for (var h = 0u; h < HEADS; h++) {
                    let share = subgroupShuffle(shares[h], j);
                    sums[e][h].a += share * v.a;
                    sums[e][h].b += share * v.b;
                }
            }
        }
    }

    for (var h = 0u; h < HEADS; h++) {
        let all = subgroupAdd(total[h]);
        if (h < tile.count) {
            for (var e = 0u; e < EACH; e++) {
                let run = lane + LANES * e;
                if (run < RUNS) { write_out(tile.token, tile.head + h, id.z, run, sums[e][h], top[h], all); }
            }
        }
    }
}

fn write_out(token: u32, head: u32, segment: u32, run: u32, sum: Eight, top: f32, total: f32) {
    let goal = goal_of(token, head, segment, run == 0u, top, total);
    let scale = 1.0 / goal.total;
    let at = goal.at + 8u * run;
    for (var i = 0u; i < 4u; i++) {
        acts[at + i] = sum.a[i] * scale;
        acts[at + 4u + i] = sum.b[i] * scale;
    }
}
