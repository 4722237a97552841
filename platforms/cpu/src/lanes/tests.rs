use super::*;
use crate::acts::{Wholes, Words};

/// Everything that a lane set can do, on awkward values, as bits.
struct All;

impl Task for All {
    type Out = Vec<u32>;

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) -> Vec<u32> {
        let mut out = Vec::new();
        let bytes: [u8; 64] = core::array::from_fn(|i| (i * 37 + 200) as u8);
        let x: [f32; 16] = core::array::from_fn(|i| (i as f32 - 7.5) * 1.37);
        let y: [f32; 16] = core::array::from_fn(|i| 3.0 - i as f32 * 0.61);
        let halves: [u16; 16] = core::array::from_fn(|i| (i * 4001 % 0x7c00) as u16 | ((i as u16 & 1) << 15));
        let mut f = |v: L::F| {
            let mut a = [0.0; 16];
            l.put(v, &mut a);
            out.extend(a.map(f32::to_bits));
        };
        let (i, a, b) = (l.load(&bytes), l.get(&x), l.get(&y));
        for number in [[127, -128, 5, -1], [-128; 4], [127; 4]] {
            f(l.float(l.dot(l.whole(-77), i, number)));
            f(l.float(l.dot(l.whole(0), l.bytes(255), number)));
        }
        for pair in [[2047, -2047], [-1, 3], [0, -2047]] {
            f(l.float(l.dot2(l.whole(-77), i, pair)));
        }
        for wide in l.wide(i) {
            f(l.float(l.dot2(l.whole(0), wide, [3, -7])));
            f(l.float(l.right::<8>(wide)));
        }
        let low = l.and(i, l.bytes(15));
        let table: [u8; 16] = core::array::from_fn(|i| 255 - 3 * i as u8);
        f(l.float(l.dot(l.whole(0), l.lookup(&table, low), [1, 2, 3, 4])));
        f(l.float(l.dot(l.whole(0), l.or(l.right::<3>(i), l.left::<2>(i)), [1, -2, 3, -4])));
        for v in [
            l.halves(&halves),
            l.brains(&halves),
            l.add(a, b),
            l.sub(a, b),
            l.mul(a, b),
            l.div(a, b),
            l.max(a, b),
            l.min(a, b),
            l.round(a),
        ] {
            f(v);
        }
        f(l.scale2(a, l.round(b)));
        f(l.signed(&core::array::from_fn(|i| (i as i32 * 17 - 128) as i8)));
        out.extend(l.to_halves(a).map(u32::from));
        out.extend(l.to_bytes(l.round(l.mul(a, l.splat(9.0)))).map(|b| b as u32));
        out.push(l.sum(a).to_bits());
        out.push(l.largest(b).to_bits());
        out
    }
}

struct Exp(Vec<f32>);

impl Task for Exp {
    type Out = Vec<f32>;

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) -> Vec<f32> {
        let mut out = Vec::new();
        for x in self.0.as_chunks::<16>().0 {
            let mut y = [0.0; 16];
            l.put(l.exp(l.get(x)), &mut y);
            out.extend(y);
        }
        out
    }
}

fn on_all<T: Task>(task: impl Fn() -> T) -> Vec<(&'static str, T::Out)> {
    let mut results = vec![("portable", Portable.run(task()))];
    #[cfg(target_arch = "x86_64")]
    {
        results.extend(Avx2::detect().map(|l| ("avx2", l.run(task()))));
        results.extend(Avx2Vnni::detect().map(|l| ("avx2vnni", l.run(task()))));
        results.extend(Avx512::detect().map(|l| ("avx512", l.run(task()))));
        results.extend(Avx512Vnni::detect().map(|l| ("avx512vnni", l.run(task()))));
    }
    #[cfg(target_arch = "aarch64")]
    {
        results.extend(Neon::detect().map(|l| ("neon", l.run(task()))));
        results.extend(NeonDot::detect().map(|l| ("neondot", l.run(task()))));
        results.extend(NeonI8mm::detect().map(|l| ("neoni8mm", l.run(task()))));
    }
    results
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let results = on_all(|| All);
    for (name, result) in &results {
        assert_eq!(*result, results[0].1, "{name}");
    }
}

#[test]
fn exp_is_near_the_true_one() {
    let x: Vec<f32> = (0..4096).map(|i| -87.0 + i as f32 * 0.042).collect();
    for (name, y) in on_all(|| Exp(x.clone())) {
        for (x, y) in x.iter().zip(y) {
            let truth = f64::from(*x).exp();
            assert!((f64::from(y) - truth).abs() <= truth * 4e-7, "{name}: exp({x}) = {y}");
        }
    }
}

/// What three blocks give to the sums of four tokens, with the largest numbers that there may be among them: all at once,
/// or one by one.
struct Blocks {
    at_once: bool,
}

impl Blocks {
    /// Numbers without a pattern, the same for all.
    fn numbers() -> impl FnMut() -> u32 {
        let mut state = 9u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        }
    }

    #[inline(always)]
    fn wholes<L: Lanes, const BITS: u32, const GROUPS: usize>(&self, l: L, worst: bool, out: &mut Vec<f32>) {
        let mut next = Self::numbers();
        let mut parts = [WholePart::new(l); 3];
        let mut x = [Wholes { quanta: [[[127; 4]; 4]; 8], scales: [[[16383; 2]; 4]; 2], sums: [[3.5; 4]; 3] }; 3];
        for part in &mut parts {
            for step in part.steps.as_flattened_mut() {
                let top = (1 << BITS) - 1;
                *step = l.load(&core::array::from_fn(|_| if worst { top } else { next() as u8 & top }));
            }
            for list in [&mut part.scales, &mut part.minima] {
                *list = core::array::from_fn(|_| l.get(&core::array::from_fn(|_| next() as f32 / 1e6 - 4.0)));
            }
        }
        for x in x.iter_mut().filter(|_| !worst) {
            x.quanta.as_flattened_mut().as_flattened_mut().fill_with(|| ((next() % 255) as i32 - 127) as i8);
            x.scales.as_flattened_mut().fill_with(|| [(next() % 16383 + 1) as i16; 2]);
            x.sums.as_flattened_mut().fill_with(|| next() as f32 / 1e3 - 9.0);
        }
        let mut sums = [l.splat(0.25); 4];
        if self.at_once {
            l.wholes::<BITS, GROUPS>(&parts, &x, &mut sums);
            l.wholes::<BITS, GROUPS>(&parts[..0], &x, &mut sums);
        } else {
            parts.iter().zip(&x).for_each(|(part, x)| part.add::<4, BITS, GROUPS>(l, x, &mut sums));
        }
        Self::give(l, sums, out);
    }

    #[inline(always)]
    fn words<L: Lanes>(&self, l: L, out: &mut Vec<f32>) {
        let mut next = Self::numbers();
        let mut parts = [WordPart::new(l); 3];
        for part in &mut parts {
            part.pairs = core::array::from_fn(|_| l.load(&core::array::from_fn(|_| next() as u8)));
            part.scales = l.get(&core::array::from_fn(|_| next() as f32 / 1e6 - 4.0));
        }
        let mut x = [Words { quanta: [[[0; 2]; 4]; 16], scales: [0.5, 2.0, -3.0, 0.1] }; 3];
        for x in &mut x {
            x.quanta.as_flattened_mut().as_flattened_mut().fill_with(|| (next() % 4095) as i16 - 2047);
        }
        let mut sums = [l.splat(0.25); 4];
        if self.at_once {
            l.words(&parts, &x, &mut sums);
            l.words(&parts, &x[..0], &mut sums);
        } else {
            parts.iter().zip(&x).for_each(|(part, x)| part.add(l, x, &mut sums));
        }
        Self::give(l, sums, out);
    }

    #[inline(always)]
    fn give<L: Lanes>(l: L, sums: [L::F; 4], out: &mut Vec<f32>) {
        for sum in sums {
            let mut list = [0.0; 16];
            l.put(sum, &mut list);
            out.extend(list);
        }
    }
}

impl Task for Blocks {
    type Out = Vec<f32>;

    #[inline(always)]
    fn go<L: Lanes>(self, l: L) -> Vec<f32> {
        let mut out = Vec::new();
        for worst in [false, true] {
            self.wholes::<L, 5, 1>(l, worst, &mut out);
            self.wholes::<L, 5, 2>(l, worst, &mut out);
            self.wholes::<L, 6, 2>(l, worst, &mut out);
        }
        self.words(l, &mut out);
        out
    }
}

#[test]
fn blocks_at_once_give_the_bits_of_one_by_one() {
    let bits = |list: &[f32]| list.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let truth = Portable.run(Blocks { at_once: false });
    assert_eq!(bits(&Portable.run(Blocks { at_once: true })), bits(&truth));
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = Avx2::detect() {
        let found = avx2.run(Blocks { at_once: true });
        assert_eq!(bits(&found), bits(&avx2.run(Blocks { at_once: false })));
        // Plain Rust rounds between a product and its sum.
        let largest = truth.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        assert!(found.iter().zip(&truth).all(|(f, t)| (f - t).abs() <= 1e-6 * largest), "{found:?} is not {truth:?}");
    }
}
