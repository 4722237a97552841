// F16: four words an octet; a row that ends in an octet is filled up with zeros.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> { return vec2<f32>(1.0, 0.0); }
fn eight(row: u32, octet: u32) -> Eight {
    let at = 4u * (row * p.octets + octet);
    return Eight(vec4<f32>(halves(w[at]), halves(w[at + 1u])), vec4<f32>(halves(w[at + 2u]), halves(w[at + 3u])));
}
