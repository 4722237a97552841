use alloc::{string::ToString, vec, vec::Vec};

use super::*;

fn config() -> Config {
    Config { top_k: 0, top_p: 1.0, temperature: 1.0, ..Config::default() }
}

fn many(config: Config, logits: &[f32], count: usize) -> Vec<usize> {
    let mut sampler = Sampler::new(config).unwrap();
    let mut seen = vec![0; logits.len()];
    for _ in 0..count {
        seen[sampler.sample(&mut logits.to_vec()) as usize] += 1;
    }
    seen
}

#[test]
fn at_temperature_0_the_best_wins_and_of_equals_the_first() {
    let mut sampler = Sampler::new(Config { temperature: 0.0, ..config() }).unwrap();
    assert_eq!(sampler.sample(&mut [0.0, 3.0, 3.0, f32::NAN]), 1);
}

#[test]
fn tokens_come_as_often_as_their_shares_say() {
    let seen = many(config(), &[logf(0.5), logf(0.3), logf(0.2)], 20_000);
    for (count, share) in seen.iter().zip([0.5, 0.3, 0.2]) {
        // Five standard deviations of a binomial with 20,000 trials are at most 0.018.
        assert!((*count as f32 / 20_000.0 - share).abs() < 0.018, "{seen:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_tokens_and_another_gives_others() {
    let logits: Vec<f32> = (0..1000).map(|i| (i * 7919 % 1000) as f32 / 300.0).collect();
    let run = |seed| {
        let mut sampler = Sampler::new(Config { seed, ..Config::default() }).unwrap();
        (0..50).map(|_| sampler.sample(&mut logits.clone())).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn each_filter_leaves_what_it_should() {
    let logits = [logf(0.4), logf(0.3), logf(0.2), logf(0.1)];
    let left = |config| many(config, &logits, 500).iter().filter(|&&n| n > 0).count();
    assert_eq!(left(Config { top_k: 2, ..config() }), 2);
    assert_eq!(left(Config { top_p: 0.65, ..config() }), 2);
    assert_eq!(left(Config { min_p: 0.45, ..config() }), 3);
    assert_eq!(left(Config { typical_p: 0.3, ..config() }), 1);
    assert_eq!(left(Config { logit_bias: vec![(0, -1e9)], ..config() }), 3);
}

#[test]
fn a_short_list_of_the_best_equals_the_sorted_whole() {
    let logits: Vec<f32> = (0..5000).map(|i| (i * 7919 % 4999) as f32).collect();
    let (mut short, mut whole) = (Vec::new(), Vec::new());
    take(&logits, 40, &mut short);
    take(&logits, 5000, &mut whole);
    assert_eq!(short, whole[..40]);
}

#[test]
fn the_best_tokens_alone_give_the_same_choice() {
    let mut rng = Rng::new(5);
    for (temperature, top_k, typical_p, min_p) in
        [(0.0, 0, 1.0, 0.0), (0.8, 40, 1.0, 0.0), (1.5, 3, 1.0, 0.1), (1.0, 100, 0.7, 0.0), (2.0, 128, 1.0, 0.0)]
    {
        let asked = Config { temperature, top_k, typical_p, min_p, seed: 9, ..Config::default() };
        let (mut all, mut few) = (Sampler::new(asked.clone()).unwrap(), Sampler::new(asked).unwrap());
        for _ in 0..200 {
            // Many are equal, so that ties count.
            let logits: Vec<f32> = (0..2000).map(|_| (rng.unit() * 40.0).round() / 4.0).collect();
            let mut best = Vec::new();
            take(&logits, few.needs().unwrap() + 2, &mut best);
            assert_eq!(all.sample(&mut logits.clone()), few.sample_best(&best));
        }
    }
}

#[test]
fn who_looks_at_all_tokens_says_so() {
    let needs = |config: Config| Sampler::new(config).unwrap().needs();
    assert_eq!(needs(Config::default()), Some(40));
    assert_eq!(needs(Config { temperature: 0.0, top_k: 0, ..Config::default() }), Some(1));
    for config in [
        Config { top_k: 0, ..Config::default() },
        Config { top_k: 5000, ..Config::default() },
        Config { mirostat: Mirostat::V2, ..Config::default() },
        Config { repeat_penalty: 1.1, ..Config::default() },
        Config { temperature: 0.0, logit_bias: vec![(3, 5.0)], ..Config::default() },
    ] {
        assert_eq!(needs(config), None);
    }
}

#[test]
fn penalties_push_down_what_was_said() {
    let mut sampler =
        Sampler::new(Config { temperature: 0.0, repeat_penalty: 2.0, repeat_last_n: Some(2), ..config() }).unwrap();
    sampler.accept(1);
    assert_eq!(sampler.sample(&mut [1.1, 2.0, -1.0]), 0);
    sampler.accept(2);
    sampler.accept(2);
    assert_eq!(sampler.sample(&mut [1.1, 2.0, -1.0]), 1, "the first has left the window");
}

#[test]
fn mirostat_holds_the_surprise() {
    let logits: Vec<f32> = (0..1000).map(|i| -1.2 * logf((i + 1) as f32)).collect();
    for version in [Mirostat::V1, Mirostat::V2] {
        let mut sampler = Sampler::new(Config { mirostat: version, mirostat_tau: 3.0, ..config() }).unwrap();
        let mut bits = 0.0;
        for _ in 0..3000 {
            let id = sampler.sample(&mut logits.clone());
            bits -= logprobs(&logits, id, 0).0 / core::f32::consts::LN_2;
        }
        assert!((bits / 3000.0 - 3.0).abs() < 0.8, "{version:?}: {}", bits / 3000.0);
    }
}

#[test]
fn a_constraint_is_asked_for_the_free_choice_first() {
    /// Allows one token; counts how often all were looked at.
    struct Only(u32, usize);
    impl Constraint for Only {
        fn allows(&mut self, id: u32) -> bool {
            id == self.0
        }
        fn restrict(&mut self, logits: &mut [f32]) {
            self.1 += 1;
            let refused = logits.iter_mut().enumerate().filter(|(id, _)| *id as u32 != self.0);
            refused.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
        }
    }
    let mut sampler = Sampler::new(Config { temperature: 0.0, ..config() }).unwrap();
    let mut only = Only(1, 0);
    assert_eq!((sampler.sample_within(&mut [0.0, 5.0, 1.0], &mut only), only.1), (1, 0));
    let mut only = Only(2, 0);
    assert_eq!((sampler.sample_within(&mut [0.0, 5.0, 1.0], &mut only), only.1), (2, 1));
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let error = Sampler::new(Config { top_p: 1.5, ..config() }).unwrap_err();
    assert_eq!(error.to_string(), "top_p is 1.5, and must be between 0 and 1");
    assert!(Sampler::new(Config { temperature: f32::NAN, ..config() }).is_err());
}
