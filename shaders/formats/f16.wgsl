// F16: four words an octet; a row that ends in an octet is filled up with zeros.
fn eight(row: u32, octet: u32) -> Eight {
    let at = 4u * (row * p.octets + octet);
    return Eight(vec4<f32>(halves(w[at]), halves(w[at + 1u])), vec4<f32>(halves(w[at + 2u]), halves(w[at + 3u])));
}
//#if BLOCKS
fn part(q: Quanta, i: u32) -> Eight {
    let four = w4[4u * q + i];
    return Eight(vec4<f32>(halves(four.x), halves(four.y)), vec4<f32>(halves(four.z), halves(four.w)));
}
//#end
