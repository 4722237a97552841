//! Guessing the next tokens, so that several are computed in one step and those that were right are kept.
//!
//! A guess never changes an answer: the model computes every guessed token as it would have anyway, chooses what it
//! would have chosen, and what was guessed wrong is thrown away. A step that reads all weights for one token
//! reads them for some more at little cost.
//!
//! Source: Leviathan, Kalman & Matias 2023; Saxena 2023 (prompt look-up).

/// Tokens at the end of a text that must have stood there before, so that what followed then is guessed.
const MATCH: core::ops::RangeInclusive<usize> = 3..=5;

/// How far back is looked at most.
const BACK: usize = 8192;

/// Guesses that a text goes on as it did the last time when it had come to the same words.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// Tokens that may be guessed now.
    most: usize,
}

impl Default for Lookup {
    fn default() -> Self {
        Self { most: Self::START }
    }
}

impl Lookup {
    const START: usize = 3;
    const MOST: usize = 8;

    /// What may follow `tokens`: the end of a run of tokens that began as the text ends now. The longest match counts,
    /// of equals the latest.
    pub fn guess<'t>(&self, tokens: &'t [u32]) -> &'t [u32] {
        let past = &tokens[tokens.len().saturating_sub(BACK)..];
        for len in MATCH.rev() {
            let Some((before, end)) = past.split_at_checked(past.len().wrapping_sub(len)) else { continue };
            let found = before.windows(len).rposition(|window| window == end);
            if let Some(at) = found {
                let rest = &past[at + len..];
                return &rest[..rest.len().min(self.most)];
            }
        }
        &[]
    }

    /// Learns how many of the guessed tokens were right: more are guessed after success, fewer after failure.
    pub fn learn(&mut self, guessed: usize, right: usize) {
        if guessed > 0 {
            let next = if right == guessed { self.most + 1 } else { right + 1 };
            self.most = next.clamp(1, Self::MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_guessed_to_go_on_as_it_did() {
        let lookup = Lookup::default();
        assert_eq!(lookup.guess(&[1, 2, 3, 4, 5, 6, 9, 1, 2, 3]), [4, 5, 6]);
        // Two tokens are too little to go by.
        assert!(lookup.guess(&[1, 2, 3, 4, 5, 9, 1, 2]).is_empty());
        assert!([&[1, 2, 3][..], &[7], &[]].iter().all(|text| lookup.guess(text).is_empty()));
        // The longer match wins over the later one.
        assert_eq!(lookup.guess(&[4, 5, 1, 2, 8, 8, 8, 0, 5, 1, 2, 9, 4, 5, 1, 2]), [8, 8, 8]);
    }

    #[test]
    fn success_makes_it_bolder() {
        let mut lookup = Lookup::default();
        lookup.learn(3, 3);
        assert_eq!(lookup.most, 4);
        lookup.learn(4, 0);
        assert_eq!(lookup.most, 1);
        lookup.learn(0, 0);
        assert_eq!(lookup.most, 1);
    }
}
