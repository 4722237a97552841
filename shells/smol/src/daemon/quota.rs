//! How much a key may ask for in a minute: a bucket that fills evenly and holds a minute's worth.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What a key may still ask for.
#[derive(Debug)]
pub struct Quota {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Quota {
    /// So many requests and tokens a minute; any number where none is said.
    pub fn new(requests: Option<u32>, tokens: Option<u32>) -> Self {
        let now = Instant::now();
        let bucket = |rate: Option<u32>| rate.map(|rate| Bucket::new(rate, now));
        Self { requests: bucket(requests), tokens: bucket(tokens) }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long to wait until there is room for one.
    pub fn request(&self) -> Result<(), Duration> {
        let now = Instant::now();
        if let Some(wait) = self.tokens.as_ref().and_then(|tokens| tokens.debt(now)) {
            return Err(wait);
        }
        self.requests.as_ref().map_or(Ok(()), |requests| requests.take(now))
    }

    /// Counts tokens that were read and written. How many they are is known only afterwards: the next requests wait
    /// until they are paid for.
    pub fn tokens(&self, count: u64) {
        if let Some(tokens) = &self.tokens {
            tokens.owe(Instant::now(), count as f64);
        }
    }
}

#[derive(Debug)]
struct Bucket {
    /// A second.
    rate: f64,
    size: f64,
    /// What is in it, less than nothing where more was taken; and when that was so.
    held: Mutex<(f64, Instant)>,
}

impl Bucket {
    fn new(a_minute: u32, now: Instant) -> Self {
        let size = f64::from(a_minute.max(1));
        Self { rate: size / 60.0, size, held: Mutex::new((size, now)) }
    }

    fn with<T>(&self, now: Instant, act: impl FnOnce(&mut f64) -> T) -> T {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(held.1).as_secs_f64();
        *held = ((held.0 + since * self.rate).min(self.size), now);
        act(&mut held.0)
    }

    fn take(&self, now: Instant) -> Result<(), Duration> {
        self.with(now, |held| {
            if *held < 1.0 {
                return Err(Duration::from_secs_f64((1.0 - *held) / self.rate));
            }
            *held -= 1.0;
            Ok(())
        })
    }

    fn owe(&self, now: Instant, count: f64) {
        self.with(now, |held| *held -= count);
    }

    /// How long until nothing is owed.
    fn debt(&self, now: Instant) -> Option<Duration> {
        self.with(now, |held| (*held < 0.0).then(|| Duration::from_secs_f64(-*held / self.rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_a_minutes_worth_and_fills_evenly() {
        let start = Instant::now();
        let bucket = Bucket::new(60, start);
        for _ in 0..60 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(start + Duration::from_millis(1001)), Ok(()));
        assert!(bucket.take(start + Duration::from_millis(1002)).is_err());
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| bucket.take(later).is_ok()).count(), 60);
    }

    #[test]
    fn tokens_are_paid_for_afterwards() {
        let start = Instant::now();
        let bucket = Bucket::new(600, start);
        assert_eq!(bucket.debt(start), None);
        bucket.owe(start, 700.0);
        assert_eq!(bucket.debt(start), Some(Duration::from_secs(10)));
        assert_eq!(bucket.debt(start + Duration::from_secs(11)), None);
        let quota = Quota::new(None, Some(10));
        assert_eq!(quota.request(), Ok(()));
        quota.tokens(1000);
        assert!(quota.request().is_err());
        assert_eq!(Quota::new(None, None).request(), Ok(()));
    }
}
