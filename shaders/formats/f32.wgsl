// F32: eight words an octet; a row that ends in an octet is filled up with zeros.
fn eight(row: u32, octet: u32) -> Eight {
    let at = 8u * (row * p.octets + octet);
    return Eight(
        vec4<f32>(bitcast<f32>(w[at]), bitcast<f32>(w[at + 1u]), bitcast<f32>(w[at + 2u]), bitcast<f32>(w[at + 3u])),
        vec4<f32>(bitcast<f32>(w[at + 4u]), bitcast<f32>(w[at + 5u]), bitcast<f32>(w[at + 6u]), bitcast<f32>(w[at + 7u])),
    );
}
//#if BLOCKS
fn part(q: Quanta, i: u32) -> Eight {
    let at = 8u * q + 2u * i;
    return Eight(bitcast<vec4<f32>>(w4[at]), bitcast<vec4<f32>>(w4[at + 1u]));
}
//#end
