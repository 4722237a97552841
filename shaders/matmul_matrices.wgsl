// Op::Linear for many tokens, on devices that multiply matrices: shapes as in matvec.wgsl.
//
// The width is a multiple of 32. A workgroup of 128 invocations computes a tile of 64 rows for 64 tokens, DEEP elements at a
// time, all of them decoded into workgroup memory once; what comes next is loaded before those are multiplied. A subgroup
// multiplies squares of SIZE, and keeps EACH of those of the tile. All subgroups do the same, since matrices are for those
// alone: where they keep more squares together than the tile has, what comes of the last is not used.
// HALVES: weights and x are rounded to halves (x to the largest of them, where it is larger still), sums are f32.
// Workgroups: x and y together over rows / 64, z over tokens / 64. Workgroup memory: Matrices::bytes.
// Oracle: reference::linear::multiply.

//#if HALVES
alias Number = f16;
fn numbers(x: vec4<f32>) -> vec4<Number> { return vec4<Number>(clamp(x, vec4<f32>(-65504.0), vec4<f32>(65504.0))); }
const DEEP: u32 = 64u;
//#else
alias Number = f32;
fn numbers(x: vec4<f32>) -> vec4<Number> { return x; }
const DEEP: u32 = 32u;
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
const WIDE: u32 = 64u;
const LANES: u32 = 128u;
// From one row to the next, in fours: whole sixteen bytes, and not all in the same banks.
const PITCH: u32 = DEEP / 4u + 2u;
// Sixteens of a row; sixteens of weights, and octets of x, that an invocation lays.
const SIXTEENS: u32 = DEEP / 16u;
const OWN: u32 = HIGH * SIXTEENS / LANES;
const OWN_X: u32 = WIDE * DEEP / 8u / LANES;
var<workgroup> ws: array<vec4<Number>, HIGH * PITCH>;
var<workgroup> xs: array<vec4<Number>, WIDE * PITCH>;
// One square of each subgroup, token by token.
var<workgroup> outs: array<f32, SUBGROUPS * SIZE * SIZE>;

// What an invocation loads: blocks of weights with their scales, and octets of x.
struct Own { q: array<Quanta, OWN>, s: array<Scales, OWN>, x: array<Eight, OWN_X> }

// From block `base` of each row on.
fn load(own: ptr<function, Own>, first: u32, token: u32, count: u32, base: u32, lane: u32) {
    let blocks = p.octets >> 2u;
    for (var i = 0u; i < OWN; i++) {
        let sixteen = lane * OWN + i;
        let row = min(first + sixteen / SIXTEENS, p.rows - 1u);
        let block = row * blocks + min(base + (sixteen % SIXTEENS) / 2u, blocks - 1u);
        (*own).q[i] = quanta(block);
        (*own).s[i] = scales(block / SPAN);
    }
    for (var i = 0u; i < OWN_X; i++) {
        let octet = lane + i * LANES;
        let at = row_of_x(token + octet / (DEEP / 8u), count);
        (*own).x[i] = octet_of(at, min(4u * base + octet % (DEEP / 8u), p.octets - 1u));
    }
}

// Decodes what was loaded from `base` on into workgroup memory.
fn lay(own: ptr<function, Own>, base: u32, lane: u32) {
    for (var i = 0u; i < OWN; i++) {
        let sixteen = lane * OWN + i;
        let at = sixteen / SIXTEENS * PITCH + 4u * (sixteen % SIXTEENS);
        let block = base + (sixteen % SIXTEENS) / 2u;
        let half = sixteen & 1u;
        // Nothing past the end of a row.
        let sm = select(vec2<f32>(), scale((*own).s[i], 2u * (block % SPAN) + half), 4u * block < p.octets);
        let a = part((*own).q[i], 2u * half);
        let b = part((*own).q[i], 2u * half + 1u);
        ws[at] = numbers(sm.x * a.a + sm.y);
        ws[at + 1u] = numbers(sm.x * a.b + sm.y);
        ws[at + 2u] = numbers(sm.x * b.a + sm.y);
        ws[at + 3u] = numbers(sm.x * b.b + sm.y);
    }
    for (var i = 0u; i < OWN_X; i++) {
        let octet = lane + i * LANES;
        let at = octet / (DEEP / 8u) * PITCH + 2u * (octet % (DEEP / 8u));
        xs[at] = numbers((*own).x[i].a);
        xs[at + 1u] = numbers((*own).x[i].b);
    }
}

@compute @workgroup_size(LANES)
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
    let blocks = p.octets >> 2u;
    var sums: array<Sum, EACH>;
    var own: Own;
    load(&own, first, token, count, 0u, lane);
    for (var base = 0u; base < blocks; base += DEEP / 32u) {
        lay(&own, base, lane);
        workgroupBarrier();
        // At the end the last once more.
        load(&own, first, token, count, base + DEEP / 32u, lane);
        for (var i = 0u; i < EACH; i++) {
            let square = (subgroup + i * subgroups) % (HIGH * WIDE / (SIZE * SIZE));
            let row = SIZE * (square % (HIGH / SIZE));
            let column = SIZE * (square / (HIGH / SIZE));
            for (var k = 0u; k < DEEP; k += SIZE) {
                let left = coopLoadT<Left>(&ws[row * PITCH + k / 4u], PITCH);
                let right = coopLoad<Right>(&xs[column * PITCH + k / 4u], PITCH);
                sums[i] = coopMultiplyAdd(left, right, sums[i]);
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < EACH; i++) {
        coopStore(sums[i], &outs[subgroup * SIZE * SIZE], SIZE);
        workgroupBarrier();
        for (var j = lane; j < subgroups * SIZE * SIZE; j += LANES) {
            let square = j / (SIZE * SIZE) + i * subgroups;
            let row = first + SIZE * (square % (HIGH / SIZE)) + j % SIZE;
            let which = token + SIZE * (square / (HIGH / SIZE)) + j / SIZE % SIZE;
            if (square < HIGH * WIDE / (SIZE * SIZE) && row < p.rows && which < count) { put(which, row, outs[j]); }
        }
        workgroupBarrier();
    }
}
