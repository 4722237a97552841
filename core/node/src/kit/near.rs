//! What somebody who mistyped probably meant.

use alloc::vec::Vec;

/// The known word that is nearest to `word`, if it is near enough to be meant: at most a third of the letters differ.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let near = known.into_iter().map(|candidate| (distance(word, candidate), candidate)).min_by_key(|pair| pair.0)?;
    (near.0 <= word.chars().count().max(3) / 3).then_some(near.1)
}

/// Optimal string alignment distance (Damerau 1964; Levenshtein 1966): letters inserted, left out, changed,
/// or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(100).collect(), b.chars().take(100).collect());
    let mut rows: Vec<Vec<usize>> = Vec::new();
    for i in 0..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        for j in 0..=b.len() {
            let cost = if i == 0 || j == 0 {
                i + j
            } else {
                let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swapped = if swap { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1).min(swapped)
            };
            row.push(cost);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["temperature", "top_k", "top_p", "num_ctx"];
        assert_eq!(nearest("temprature", known), Some("temperature"));
        assert_eq!(nearest("num_cxt", known), Some("num_ctx"));
        assert_eq!(nearest("flavour", known), None);
    }
}
