// Q4_K: quanta a word an octet, then four words a block of 256: halves d and m, and eight scales and minima of six bits,
// packed as in the file: `d scale q - m minimum`.
const MINIMA: bool = true;
// The six bits of scale and minimum `s` of the three words at `at`.
fn k_scale(at: u32, s: u32) -> vec2<f32> {
    let t = 8u * (s & 3u);
    let a = w[at] >> t;
    let b = w[at + 1u] >> t;
    let c = w[at + 2u] >> t;
    let low = vec2<u32>(a & 63u, b & 63u);
    let high = vec2<u32>((c & 15u) | (((a >> 6u) & 3u) << 4u), ((c >> 4u) & 15u) | (((b >> 6u) & 3u) << 4u));
    return vec2<f32>(select(high, low, s < 4u));
}
fn group(row: u32, octet: u32) -> vec2<f32> {
    let at = p.s_at + 4u * (row * (p.octets >> 5u) + (octet >> 5u));
    let dm = halves(w[at]) * k_scale(at + 1u, (octet & 31u) >> 2u);
    return vec2<f32>(dm.x, -dm.y);
}
fn eight(row: u32, octet: u32) -> Eight {
    let q = w[row * p.octets + octet];
    return Eight(vec4<f32>(low_nibbles(q)), vec4<f32>(high_nibbles(q)));
}
