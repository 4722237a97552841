// Op::Linear for many tokens, on devices that multiply matrices: shapes as in matvec.wgsl.
//
// A workgroup of 128 invocations computes a tile of 64 rows for 32 tokens, 32 elements at a time, all of them decoded into
// workgroup memory once. A subgroup multiplies squares of SIZE, and keeps EACH of those of the tile. All subgroups do the
// same, since matrices are for those alone: where they keep more squares together than the tile has (SQUARES, which is as
// many as the smallest subgroups make), what comes of the last is not used.
// HALVES: weights and x are rounded to halves (x to the largest of them, where it is larger still), sums are f32.
// Workgroups: x and y together over rows / 64, z over tokens / 32. Workgroup memory: Matrices::bytes.
// Oracle: reference::linear::multiply.

//#if HALVES
alias Number = f16;
fn number(x: f32) -> Number { return Number(clamp(x, -65504.0, 65504.0)); }
//#else
alias Number = f32;
fn number(x: f32) -> Number { return x; }
//#end
//#if SIXTEEN
const SIZE: u32 = 16u;
alias Left = coop_mat16x16<Number, A>;
alias Right = coop_mat16x16<Number, B>;
alias Sum = coop_mat16x16<f32, C>;
//#else
const SIZE: u32 = 8u;
alias Left = coop_mat8x8<Number, A>;
alias Right = coop_mat8x8<Number, B>;
alias Sum = coop_mat8x8<f32, C>;
//#end

const HIGH: u32 = 64u;
const WIDE: u32 = 32u;
const DEEP: u32 = 32u;
// From one row to the next, in whole sixteen bytes.
const PITCH: u32 = 40u;
var<workgroup> ws: array<Number, HIGH * PITCH>;
var<workgroup> xs: array<Number, WIDE * PITCH>;
// Square by square, token by token.
var<workgroup> outs: array<f32, SQUARES * SIZE * SIZE>;

fn lay_weights(first: u32, base: u32, lane: u32) {
    for (var i = lane; i < HIGH * 4u; i += 128u) {
        let r = i >> 2u;
        let octet = base + (i & 3u);
        let at = r * PITCH + 8u * (i & 3u);
        let x = weights_or_nothing(min(first + r, p.rows - 1u), octet);
        for (var j = 0u; j < 4u; j++) {
            ws[at + j] = number(x.a[j]);
            ws[at + 4u + j] = number(x.b[j]);
        }
    }
}

// An octet each.
fn lay_x(token: u32, count: u32, base: u32, lane: u32) {
    let t = lane >> 2u;
    let octet = base + (lane & 3u);
    let at = t * PITCH + 8u * (lane & 3u);
    let x = octet_or_nothing(row_of_x(token + t, count), octet);
    for (var j = 0u; j < 4u; j++) {
        xs[at + j] = number(x.a[j]);
        xs[at + 4u + j] = number(x.b[j]);
    }
}

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let first = (id.y * groups.x + id.x) * HIGH;
    if (first >= p.rows) { return; }
    let token = id.z * WIDE;
    let count = batch[p.counted];
    var sums: array<Sum, EACH>;
    for (var base = 0u; base < p.octets; base += DEEP / 8u) {
        lay_weights(first, base, lane);
        lay_x(token, count, base, lane);
        workgroupBarrier();
        for (var i = 0u; i < EACH; i++) {
            let square = (subgroup + i * subgroups) % (HIGH * WIDE / (SIZE * SIZE));
            let row = SIZE * (square % (HIGH / SIZE));
            let column = SIZE * (square / (HIGH / SIZE));
            for (var k = 0u; k < DEEP; k += SIZE) {
                let left = coopLoadT<Left>(&ws[row * PITCH + k], PITCH);
                let right = coopLoad<Right>(&xs[column * PITCH + k], PITCH);
                sums[i] = coopMultiplyAdd(left, right, sums[i]);
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < EACH; i++) {
        coopStore(sums[i], &outs[(subgroup + i * subgroups) * SIZE * SIZE], SIZE);
    }
    workgroupBarrier();
    for (var i = lane; i < HIGH * WIDE; i += 128u) {
        let row = i % HIGH;
        let column = i / HIGH;
        let square = row / SIZE + column / SIZE * (HIGH / SIZE);
        let sum = outs[square * SIZE * SIZE + column % SIZE * SIZE + row % SIZE];
        if (first + row < p.rows && token + column < count) { put(token + column, first + row, sum); }
    }
}
