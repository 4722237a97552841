// The largest elements of each row of the result, so that a step brings back 4 KiB and not the vocabulary.
//
// x: [width] for each output; out: [64, 8] pairs of an index and its element, for each output. Workgroup `b` of 64 looks
// after every 64th run of 64 elements and finds its eight largest, largest first, of equals the first: with runs spread
// so, the forty best of all are among them but for rare cases, which whoever reads them notices.
// A workgroup of 64 invocations. Workgroups: x over the 64, y over outputs. Oracle: a sort.
struct Params {
    x_at: u32,
    x_stride: u32,
    out_at: u32,
    out_stride: u32,
    width: u32,
}
@group(0) @binding(0) var<uniform> p: Params;

const KEPT: u32 = 8u;
var<workgroup> best_value: array<f32, 64>;
var<workgroup> best_index: array<u32, 64>;

struct Pair { value: f32, index: u32 }
// The better of two; an index of NONE is none.
fn better(a: Pair, b: Pair) -> Pair {
    let first = a.index != NONE && (b.index == NONE || a.value > b.value || (a.value == b.value && a.index < b.index));
    return Pair(select(b.value, a.value, first), select(b.index, a.index, first));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
//#if SUBGROUPS
    @builtin(subgroup_invocation_id) place: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
//#end
) {
    let x = p.x_at + id.y * p.x_stride;
    let out = p.out_at + id.y * p.out_stride + id.x * KEPT * 2u;
    // What this invocation offers: the best of its own that comes after the one that it gave last.
    var given = 3.4e38;
    var given_index = 0u;
    var first = true;
    var value = LEAST;
    var index = NONE;
    var search = true;
    for (var round = 0u; round < KEPT; round++) {
        if (search) {
            value = LEAST;
            index = NONE;
            for (var i = lane + 64u * id.x; i < p.width; i += 4096u) {
                let next = acts[x + i];
                let after = first || next < given || (next == given && i > given_index);
                if (after && (index == NONE || next > value)) { value = next; index = i; }
            }
        }
//#if SUBGROUPS
        let highest = subgroupMax(value);
        let lowest = subgroupMin(select(NONE, index, value == highest));
        if (place == 0u) {
            best_value[subgroup] = highest;
            best_index[subgroup] = lowest;
        }
        let count = subgroups;
//#else
        best_value[lane] = value;
        best_index[lane] = index;
        let count = 64u;
//#end
        workgroupBarrier();
        var top = Pair(LEAST, NONE);
        for (var j = 0u; j < count; j++) { top = better(top, Pair(best_value[j], best_index[j])); }
        workgroupBarrier();
        search = top.index == index && index != NONE;
        if (search) {
            given = value;
            given_index = index;
            first = false;
        }
        if (lane == 0u) {
            // An index fits a float; none is -1.
            acts[out + 2u * round] = select(f32(top.index), -1.0, top.index == NONE);
            acts[out + 2u * round + 1u] = top.value;
        }
    }
}
