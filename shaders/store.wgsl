// The first half of Op::Attention, with the two Op::Rope before it: turns q in place, turns k and writes it to the cache
// as halves, writes v to the cache.
//
// q: [heads * key], k: [kv_heads * key], v: [kv_heads * value] for each token. A cache row holds for each head
// `key_words` (`value_words`) words of two halves. Without a rope (`rope` is NONE) k is written as it is.
// A workgroup of 64 invocations; each turns one pair of q, or writes one word. Workgroups: x over pairs and words / 64,
// y over tokens. Oracle: reference::rope, reference::attention.
struct Params {
    q_at: u32,
    q_stride: u32,
    k_at: u32,
    k_stride: u32,
    v_at: u32,
    v_stride: u32,
    heads: u32,
    kv_heads: u32,
    key: u32,
    value: u32,
    key_words: u32,
    value_words: u32,
    dims: u32,
    rope: u32,
    halves: u32,
}
@group(0) @binding(0) var<uniform> p: Params;

fn angle(token: u32, i: u32) -> vec2<f32> {
    let at = batch[5u + p.rope] + token * p.dims + 2u * i;
    return vec2<f32>(bitcast<f32>(batch[at]), bitcast<f32>(batch[at + 1u]));
}

// Element `e` of the head of k at `at`, turned.
fn turned(token: u32, at: u32, e: u32) -> f32 {
    if (e >= p.key) { return 0.0; }
    let x = acts[at + e];
    if (p.rope == NONE || e >= p.dims) { return x; }
    let pairs = p.dims / 2u;
    let second = select((e & 1u) == 1u, e >= pairs, p.halves == 1u);
    let step = select(1u, pairs, p.halves == 1u);
    let i = select(e / 2u, e % pairs, p.halves == 1u);
    let a = angle(token, i);
    if (second) { return acts[at + e - step] * a.y + x * a.x; }
    return x * a.x - acts[at + e + step] * a.y;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let token = id.y;
    let pairs = p.dims / 2u;
    var i = id.x;
    if (p.rope != NONE) {
        if (i < p.heads * pairs) {
            let head = p.q_at + token * p.q_stride + (i / pairs) * p.key;
            let a = head + select(2u * (i % pairs), i % pairs, p.halves == 1u);
            let b = a + select(1u, pairs, p.halves == 1u);
            let turn = angle(token, i % pairs);
            let x = acts[a];
            let y = acts[b];
            acts[a] = x * turn.x - y * turn.y;
            acts[b] = x * turn.y + y * turn.x;
            return;
        }
        i -= p.heads * pairs;
    }
    let cell = cell_of(token_table(token), token_position(token));
    if (i < p.kv_heads * p.key_words) {
        let at = p.k_at + token * p.k_stride + (i / p.key_words) * p.key;
        let e = 2u * (i % p.key_words);
        keys[cell * p.kv_heads * p.key_words + i] = pack2x16float(vec2<f32>(turned(token, at, e), turned(token, at, e + 1u)));
        return;
    }
    i -= p.kv_heads * p.key_words;
    if (i < p.kv_heads * p.value_words) {
        let at = p.v_at + token * p.v_stride + (i / p.value_words) * p.value;
        let e = 2u * (i % p.value_words);
        var second = 0.0;
        if (e + 1u < p.value) { second = acts[at + e + 1u]; }
        values[cell * p.kv_heads * p.value_words + i] = pack2x16float(vec2<f32>(acts[at + e], second));
    }
}
