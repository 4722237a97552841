// The products of Op::Experts: each token with the matrices of the experts that were chosen for it.
//
// W: [width, each, experts]. Without DOWN: out[token, place] = W[expert] x[token] + bias[expert], a row for each of the
// `used` experts. PAIRED: of an expert there are `each` rows of a gate, then `each` rows of what it lets through, and
// out[token, place] = F(gate) * up. DOWN: out[token] += sum over places of share * (W[expert] x[token, place] + bias[expert]).
// A workgroup of LANES invocations computes ROWS rows, as in matvec.wgsl; a matrix may be cut into parts of whole experts.
// Workgroups: x and y together over each / ROWS, z over tokens (DOWN) or tokens * used.
// Oracle: reference::experts::mix.

// Rows of an expert, as times `each`.
//#if PAIRED
const SPAN: u32 = 2u;
//#else
const SPAN: u32 = 1u;
//#end
const SUMS: u32 = SPAN * ROWS;
//#if SUBGROUPS
var<workgroup> parts: array<f32, LANES * SUMS / 4u>;
//#else
var<workgroup> parts: array<f32, LANES * SUMS>;
//#end

// Row `r` of the sums, among the rows of an expert.
fn row_of(first: u32, r: u32) -> u32 { return (r / ROWS) * p.each + min(first + r % ROWS, p.each - 1u); }

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
//#if SUBGROUPS
    @builtin(subgroup_invocation_id) place: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
//#end
) {
    let first = (id.y * groups.x + id.x) * ROWS;
    if (first >= p.each) { return; }
    var sums: array<f32, SUMS>;
//#if DOWN
    let token = id.z;
    for (var slot = 0u; slot < p.used; slot++) {
        let begin = p.x_at + (token * p.used + slot) * p.x_stride;
//#else
    let token = id.z / p.used;
    let slot = id.z % p.used;
    {
        let begin = p.x_at + token * p.x_stride;
//#end
        let choice = p.choice_at + token * p.choice_stride + 2u * slot;
        let expert = u32(acts[choice]);
        let share = acts[choice + 1u];
        if (expert >= p.expert_first && expert < p.expert_end) {
            let base = (expert - p.expert_first) * SPAN * p.each;
            for (var octet = lane; octet < p.octets; octet += LANES) {
                let x = octet_of(begin, octet);
                let all = sum_of(x);
                for (var r = 0u; r < SUMS; r++) {
                    let row = base + row_of(first, r);
                    let s = group(row, octet);
                    let q = eight(row, octet);
                    let sum = s.x * (dot(q.a, x.a) + dot(q.b, x.b)) + s.y * all;
//#if DOWN
                    sums[r] += share * sum;
//#else
                    sums[r] += sum;
//#end
                }
            }
            if (lane == 0u && p.bias_at != NONE) {
                for (var r = 0u; r < SUMS; r++) {
                    let bias = lists[p.bias_at + expert * SPAN * p.each + row_of(first, r)];
//#if DOWN
                    sums[r] += share * bias;
//#else
                    sums[r] += bias;
//#end
                }
            }
        }
    }
//#if SUBGROUPS
    for (var i = 0u; i < SUMS; i++) {
        let sum = subgroupAdd(sums[i]);
        if (place == 0u) { parts[subgroup * SUMS + i] = sum; }
    }
    workgroupBarrier();
    let count_parts = subgroups;
//#else
    for (var i = 0u; i < SUMS; i++) { parts[lane * SUMS + i] = sums[i]; }
    workgroupBarrier();
    let count_parts = LANES;
//#end
    for (var i = lane; i < ROWS; i += LANES) {
        let row = first + i;
        if (row < p.each) {
            var sum = 0.0;
            for (var j = 0u; j < count_parts; j++) { sum += parts[j * SUMS + i]; }
//#if DOWN
            acts[p.out_at + token * p.out_stride + row] += sum;
//#else
            // Experts of other parts are somebody else's.
            let expert = u32(acts[p.choice_at + token * p.choice_stride + 2u * slot]);
            if (expert >= p.expert_first && expert < p.expert_end) {
//#if PAIRED
                var up = 0.0;
                for (var j = 0u; j < count_parts; j++) { up += parts[j * SUMS + ROWS + i]; }
                sum = gated(sum, up, p.factor, bitcast<f32>(p.row));
//#end
                acts[p.out_at + id.z * p.out_stride + row] = sum;
            }
//#end
        }
    }
}
