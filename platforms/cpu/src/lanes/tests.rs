use super::*;

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
