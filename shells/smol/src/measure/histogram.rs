//! How often a number fell between which bounds.

use std::{
    fmt::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

/// Counts numbers by size; anybody may record at any time.
#[derive(Debug)]
pub struct Histogram {
    /// Upper ends of the buckets, ascending.
    bounds: &'static [f64],
    /// How many were in each bucket alone; the last is for those above all.
    counts: Vec<AtomicU64>,
    /// Of all numbers, in millionths.
    sum: AtomicU64,
}

impl Histogram {
    /// Nothing yet.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Counts a number; what is negative counts as nothing.
    pub fn record(&self, value: f64) {
        let bucket = self.bounds.iter().position(|end| value <= *end).unwrap_or(self.bounds.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * 1e6).round() as u64, Ordering::Relaxed);
    }

    /// How many numbers there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// Below which the share `part` of all numbers lies, within the width of a bucket; `None` while there is no number.
    ///
    /// As Prometheus' `histogram_quantile`: numbers are taken to lie evenly in their bucket, and those above all
    /// buckets at the highest bound.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        if all == 0 {
            return None;
        }
        let (wanted, mut below) = (part * all as f64, 0.0);
        for (index, here) in counts.iter().enumerate() {
            let here = *here as f64;
            if here > 0.0 && below + here >= wanted {
                let Some(end) = self.bounds.get(index) else { break };
                let start = if index == 0 { 0.0 } else { self.bounds[index - 1] };
                return Some(start + (end - start) * (wanted - below) / here);
            }
            below += here;
        }
        self.bounds.last().copied()
    }

    /// Writes it as Prometheus reads it; `labels` stand beside the bound.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, f: &mut impl Write, name: &str, labels: &str) -> fmt::Result {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (index, here) in self.counts.iter().enumerate() {
            count += here.load(Ordering::Relaxed);
            let end = self.bounds.get(index).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            writeln!(f, "{name}_bucket{{{labels}{comma}le=\"{end}\"}} {count}")?;
        }
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        writeln!(f, "{name}_sum{labels} {}\n{name}_count{labels} {count}", self.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_in_the_bucket_of_their_number() {
        let histogram = Histogram::new(&[1.0, 2.0, 4.0]);
        assert_eq!(histogram.quantile(0.5), None);
        for value in [0.5, 1.5, 1.6, 3.0, 100.0] {
            histogram.record(value);
        }
        assert_eq!(histogram.quantile(0.0), Some(0.0));
        assert_eq!(histogram.quantile(0.4), Some(1.5));
        assert_eq!(histogram.quantile(1.0), Some(4.0));
        assert_eq!((histogram.count(), histogram.sum()), (5, 106.6));
        histogram.record(-1.0);
        assert_eq!(histogram.sum(), 106.6);
    }

    #[test]
    fn buckets_add_up() {
        let histogram = Histogram::new(&[1.0, 2.5]);
        [0.5, 2.0, 9.0].into_iter().for_each(|value| histogram.record(value));
        let mut text = String::new();
        histogram.write(&mut text, "x", "a=\"b\"").unwrap();
        assert_eq!(
            text,
            "x_bucket{a=\"b\",le=\"1\"} 1\nx_bucket{a=\"b\",le=\"2.5\"} 2\nx_bucket{a=\"b\",le=\"+Inf\"} 3\n\
             x_sum{a=\"b\"} 11.5\nx_count{a=\"b\"} 3\n"
        );
    }
}
