//! Whether a device computes in narrow numbers, and with matrices, what it should: a small product, held against the
//! interpreter, before any model relies on it. Drivers are many, and these are the parts of them that few have used.

use std::sync::Arc;

use tutu_llm::{
    backend::{Backend, Batch, Token},
    plan::{Op, Plan, Slot, Write},
    quant::{Kind, quantise},
    reference::{self, Reference},
    weights::Weights,
};

use crate::{
    caps::Caps,
    device::Device,
    engine::{Engine, Options},
};

/// Tokens of the larger step: more than one tile has.
const TOKENS: usize = 40;
/// Elements of a row: some blocks.
const WIDTH: usize = 96;
/// Rows: more than one tile has.
const ROWS: usize = 70;
/// How far an element may be off, of the typical one. Bytes round to a 254th of the largest of some neighbours, which in a sum
/// of so many is below a hundredth; what is wrong is off by a whole element.
const OFF: f32 = 0.05;

/// Whether the kernels that `caps` allow compute what the interpreter does; not, where the driver refuses them.
pub(crate) fn passes(device: &Arc<Device>, caps: Caps) -> bool {
    let (weights, plan) = product();
    let (weights, plan) = (Arc::new(weights), Arc::new(plan));
    let options = reference::Options { tokens_max: TOKENS, pages: 0 };
    let mut truth = Reference::new(Arc::clone(&weights), Arc::clone(&plan), options);
    let options = Options { tokens_max: TOKENS, pages: 0, release: None, caps: Some(caps), lose_after: None };
    let Ok(mut engine) = Engine::new(Arc::clone(device), weights, plan, options) else { return false };
    [TOKENS, 1].into_iter().all(|count| {
        let (mut wanted, mut found) = (Vec::new(), Vec::new());
        let tokens: Vec<Token> =
            (0..count as u32).map(|id| Token { id, position: id, sequence: 0, output: true }).collect();
        let batch = Batch::new(&tokens, &[&[]]);
        truth.step(&batch, &mut wanted).is_ok() && engine.step(&batch, &mut found).is_ok() && agree(&found, &wanted)
    })
}

/// Whether no element is off by more than it may be.
fn agree(found: &[f32], truth: &[f32]) -> bool {
    let size = (truth.iter().map(|x| x * x).sum::<f32>() / truth.len() as f32).sqrt();
    found.len() == truth.len() && found.iter().zip(truth).all(|(found, truth)| (found - truth).abs() <= OFF * size)
}

/// A row of a table for each token, times a matrix of bytes.
fn product() -> (Weights, Plan) {
    let mut weights = Weights::new();
    let mut tensor = |name: &str, kind: Kind, rows: usize| {
        let mut bytes = Vec::new();
        for row in 0..rows {
            let numbers: Vec<f32> = (0..WIDTH).map(|i| noise((row * WIDTH + i) as u32)).collect();
            let at = bytes.len();
            bytes.resize(at + kind.row_bytes(WIDTH).expect("whole blocks"), 0);
            quantise(kind, &numbers, &mut bytes[at..]).expect("a kind that can be written");
        }
        weights.add_owned(name, kind, [WIDTH, rows, 1], bytes).expect("as many bytes as it says")
    };
    let table = tensor("x", Kind::F32, TOKENS);
    let weight = tensor("w", Kind::Q8_0, ROWS);
    let x = Slot { buffer: 0, column: 0, width: WIDTH };
    let out = Slot { buffer: 1, column: 0, width: ROWS };
    let ops =
        vec![Op::Embed { table, scale: 1.0, out: x }, Op::Linear { weight, bias: None, x, out, write: Write::Set }];
    (weights, Plan { buffers: vec![WIDTH, ROWS], ops, caches: vec![], output: out })
}

/// Between -1 and 1, always the same.
fn noise(i: u32) -> f32 {
    (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{Wanted, adapters, choose};

    #[test]
    fn narrow_kernels_of_a_sound_driver_pass() {
        let Ok(Some(adapter)) = choose(adapters(), &Wanted::parse("lavapipe")) else {
            eprintln!("skipped: lavapipe is not here");
            return;
        };
        let device = Device::open(&adapter, None).unwrap();
        let own = Caps { software: false, ..device.caps() };
        assert!(passes(&device, Caps { packed: true, matrices: None, ..own }));
        assert!(passes(&device, Caps { packed: false, matrices: None, ..own }));
        assert!(passes(&device, own));
    }

    #[test]
    fn one_wrong_element_is_noticed() {
        let truth: Vec<f32> = (0..ROWS as u32).map(noise).collect();
        assert!(agree(&truth, &truth));
        for wrong in [0.0, f32::NAN, f32::INFINITY] {
            let mut found = truth.clone();
            found[3] = wrong;
            assert!(!agree(&found, &truth), "{wrong}");
        }
        assert!(!agree(&truth[1..], &truth));
    }
}
