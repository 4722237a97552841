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

// Row `r` of the sums, among the rows of an expert.
fn row_of(first: u32, r: u32) -> u32 { return (r / ROWS) * p.each + min(first + r % ROWS, p.each - 1u); }

fn work(here: Workgroup, at: Place) {
    let first = (here.id.y * here.groups.x + here.id.x) * ROWS;
    if (first >= p.each) { return; }
    var sums: array<f32, SUMS>;
//#if DOWN
    let token = here.id.z;
    for (var slot = 0u; slot < p.used; slot++) {
        let begin = p.x_at + (token * p.used + slot) * p.x_stride;
//#else
    let token = here.id.z / p.used;
    let slot = here.id.z % p.used;
    {
        let begin = p.x_at + token * p.x_stride;
//#end
        let choice = p.choice_at + token * p.choice_stride + 2u * slot;
        let expert = u32(acts[choice]);
        let share = acts[choice + 1u];
        if (expert >= p.expert_first && expert < p.expert_end) {
            let base = (expert - p.expert_first) * SPAN * p.each;
            for (var octet = at.lane; octet < p.octets; octet += LANES) {
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
            if (at.lane == 0u && p.bias_at != NONE) {
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
    lay_out(at, &sums);
    for (var i = at.lane; i < ROWS; i += LANES) {
        let row = first + i;
        if (row < p.each) {
            let sum = sum_of_parts(at, i);
//#if DOWN
            acts[p.out_at + token * p.out_stride + row] += sum;
//#else
            // Experts of other parts are somebody else's.
            let expert = u32(acts[p.choice_at + token * p.choice_stride + 2u * slot]);
            if (expert >= p.expert_first && expert < p.expert_end) {
                let out = p.out_at + here.id.z * p.out_stride + row;
//#if PAIRED
                acts[out] = gated(sum, sum_of_parts(at, ROWS + i), p.factor, bitcast<f32>(p.row));
//#else
                acts[out] = sum;
//#end
            }
//#end
        }
    }
}
