//! What models do here, counted while they do it, for whoever reads `/metrics` and `/api/status`.
//!
//! It is counted where tokens are chosen, so that every API counts alike. Names are Prometheus's.

mod histogram;

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tutu_llm::batch::Stepped;

pub use histogram::Histogram;

use crate::engine::{Counts, Event, Flow};

/// Models that are counted by name; further ones share one line, so that names cannot fill the memory.
const NAMES_MAX: usize = 64;

/// Upper ends of buckets in seconds: of waits that may take a model's loading or a long prompt.
const WAITS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Of the time between two tokens: from a small model on a fast machine to one that swaps.
const GAPS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
/// Of texts in one step.
const TEXTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// What all models of one process did.
#[derive(Debug)]
pub struct Measures {
    /// From the question to its first token.
    pub first_token: Histogram,
    /// From one token to the next.
    pub inter_token: Histogram,
    /// From the wish for a model to its turn, without the time that opening it took.
    pub queue_wait: Histogram,
    /// Texts that took part in a step.
    pub batch: Histogram,
    /// How long a step took.
    pub step: Histogram,
    /// Tokens of prompts.
    pub prompt: AtomicU64,
    /// How many of them were remembered from before.
    pub cached: AtomicU64,
    /// Tokens that were chosen.
    pub generated: AtomicU64,
    /// Of those, how many had been guessed before they were computed.
    pub guessed: AtomicU64,
    /// Answers that are being written or wait for their first step.
    pub active: AtomicU64,
    /// Answers that came to their end.
    pub completed: AtomicU64,
    /// Answers that failed.
    pub failed: AtomicU64,
    /// Answers whose reader left.
    pub left: AtomicU64,
    /// Wishes for a model that were refused.
    pub refused: AtomicU64,
    models: Mutex<BTreeMap<String, Arc<OfModel>>>,
}

/// What one model did.
#[derive(Debug)]
pub struct OfModel {
    /// From a question to the end of its answer.
    latency: Histogram,
    generated: AtomicU64,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            first_token: Histogram::new(WAITS),
            inter_token: Histogram::new(GAPS),
            queue_wait: Histogram::new(WAITS),
            batch: Histogram::new(TEXTS),
            step: Histogram::new(GAPS),
            prompt: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            generated: AtomicU64::new(0),
            guessed: AtomicU64::new(0),
            active: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            left: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            models: Mutex::default(),
        }
    }
}

impl Measures {
    /// The counts of a model.
    pub fn of(&self, name: &str) -> Arc<OfModel> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if models.contains_key(name) || models.len() < NAMES_MAX { name } else { "other" };
        let new = || Arc::new(OfModel { latency: Histogram::new(WAITS), generated: AtomicU64::new(0) });
        Arc::clone(models.entry(name.to_owned()).or_insert_with(new))
    }

    /// Counts a step.
    pub fn stepped(&self, stepped: &Stepped, took: Duration) {
        self.batch.record(stepped.texts as f64);
        self.step.record(took.as_secs_f64());
        self.guessed.fetch_add(stepped.guessed as u64, Ordering::Relaxed);
    }
}

/// Watches one answer. Dropped before its end, it counts a reader who left.
#[derive(Debug)]
pub struct Watch {
    measures: Arc<Measures>,
    model: Arc<OfModel>,
    asked: Instant,
    last: Option<Instant>,
    ended: bool,
    /// Whether the engine took it.
    joined: Arc<AtomicBool>,
}

impl Watch {
    /// An answer that was asked for then.
    pub fn new(measures: Arc<Measures>, model: Arc<OfModel>, asked: Instant) -> Self {
        measures.active.fetch_add(1, Ordering::Relaxed);
        Self { measures, model, asked, last: None, ended: false, joined: Arc::default() }
    }

    /// Something came of it, now: passes it on, and says what its reader says.
    pub fn pass(&mut self, event: Event, now: Instant, sink: &mut dyn FnMut(Event) -> Flow) -> Flow {
        match event {
            Event::Done(finished) => {
                let counts = finished.counts;
                // Who has left does not take the end any more.
                let flow = sink(Event::Done(finished));
                self.done(&counts, flow == Flow::Continue, now);
                return flow;
            }
            Event::Failed(_) => count(&self.measures.failed),
            // What was held back until the end is no token.
            Event::Piece(ref piece) if piece.id.is_none() => {}
            Event::Piece(_) => self.token(now),
        }
        self.ended |= matches!(event, Event::Failed(_));
        sink(event)
    }

    fn token(&mut self, now: Instant) {
        let since = |from| now.saturating_duration_since(from).as_secs_f64();
        match self.last.replace(now) {
            None => self.measures.first_token.record(since(self.asked)),
            Some(last) => self.measures.inter_token.record(since(last)),
        }
        self.measures.generated.fetch_add(1, Ordering::Relaxed);
        self.model.generated.fetch_add(1, Ordering::Relaxed);
    }

    fn done(&mut self, counts: &Counts, is_read: bool, now: Instant) {
        self.measures.prompt.fetch_add(counts.prompt as u64, Ordering::Relaxed);
        self.measures.cached.fetch_add(counts.cached as u64, Ordering::Relaxed);
        self.model.latency.record(now.saturating_duration_since(self.asked).as_secs_f64());
        self.ended = true;
        count(if is_read { &self.measures.completed } else { &self.measures.left });
    }

    /// To be set when the engine has taken the answer: until then it is no reader's leaving that ends it.
    pub fn joined(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.joined)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.ended {
            let joined = self.joined.load(Ordering::Relaxed);
            count(if joined { &self.measures.left } else { &self.measures.failed });
        }
        self.measures.active.fetch_sub(1, Ordering::Relaxed);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// In the text format of Prometheus.
impl fmt::Display for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        for (name, about, value) in [
            ("tutu_prompt_tokens_total", "Tokens of the prompts of answers that ended.", &self.prompt),
            ("tutu_prompt_tokens_cached_total", "How many of them were remembered from before.", &self.cached),
            ("tutu_generated_tokens_total", "Tokens that were chosen.", &self.generated),
            ("tutu_guessed_tokens_total", "Tokens that were guessed right before they were computed.", &self.guessed),
            ("tutu_scheduler_tasks_rejected_total", "Wishes for a model that were refused.", &self.refused),
        ] {
            head(f, name, "counter", about)?;
            writeln!(f, "{name} {}", read(value))?;
        }
        head(f, "tutu_tasks_active", "gauge", "Answers that are being written.")?;
        writeln!(f, "tutu_tasks_active {}", read(&self.active))?;
        head(f, "tutu_tasks_completed_total", "counter", "Answers that came to their end.")?;
        writeln!(f, "tutu_tasks_completed_total{{type=\"answer\"}} {}", read(&self.completed))?;
        head(f, "tutu_tasks_failed_total", "counter", "Answers that did not come to their end.")?;
        for (reason, value) in [("error", &self.failed), ("reader_left", &self.left)] {
            writeln!(f, "tutu_tasks_failed_total{{type=\"answer\",reason=\"{reason}\"}} {}", read(value))?;
        }
        for (name, about, histogram) in [
            ("tutu_time_to_first_token_seconds", "From a question to its first token.", &self.first_token),
            ("tutu_inter_token_seconds", "From one token to the next.", &self.inter_token),
            ("tutu_queue_wait_seconds", "From the wish for a model to its turn, opening aside.", &self.queue_wait),
            ("tutu_batch_texts", "Texts that took part in a step.", &self.batch),
            ("tutu_step_seconds", "How long a step took.", &self.step),
        ] {
            head(f, name, "histogram", about)?;
            histogram.write(f, name, "")?;
        }
        self.write_models(f)
    }
}

impl Measures {
    fn write_models(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        head(f, "tutu_inference_tokens_total", "counter", "Tokens that a model chose.")?;
        for (name, model) in &*models {
            let generated = model.generated.load(Ordering::Relaxed);
            writeln!(f, "tutu_inference_tokens_total{{model=\"{}\"}} {generated}", label(name))?;
        }
        head(f, "tutu_inference_latency_seconds", "histogram", "From a question to the end of its answer.")?;
        for (name, model) in &*models {
            let labels = format!("model=\"{}\"", label(name));
            model.latency.write(f, "tutu_inference_latency_seconds", &labels)?;
        }
        Ok(())
    }
}

/// The two lines before a metric.
///
/// # Errors
/// The writer's.
pub fn head(f: &mut impl Write, name: &str, kind: &str, about: &str) -> fmt::Result {
    writeln!(f, "# HELP {name} {about}\n# TYPE {name} {kind}")
}

/// A text as the value of a label.
pub fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Durations, Finished, Piece, Reason};

    fn token() -> Event {
        Event::Piece(Piece { id: Some(1), ..Piece::default() })
    }

    fn done() -> Event {
        let counts = Counts { prompt: 10, cached: 4, generated: 2 };
        Event::Done(Finished { tokens: Vec::new(), reason: Reason::Stop, counts, durations: Durations::default() })
    }

    fn reads(_: Event) -> Flow {
        Flow::Continue
    }

    #[test]
    fn the_first_token_and_those_after_it_are_timed_apart() {
        let measures = Arc::new(Measures::default());
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut watch = Watch::new(Arc::clone(&measures), measures.of("a\"b"), start);
        assert_eq!(measures.active.load(Ordering::Relaxed), 1);
        watch.pass(token(), at(200), &mut reads);
        watch.pass(token(), at(230), &mut reads);
        watch.pass(Event::Piece(Piece::default()), at(231), &mut reads);
        watch.pass(done(), at(232), &mut reads);
        drop(watch);
        let text = measures.to_string();
        for line in [
            "tutu_time_to_first_token_seconds_bucket{le=\"0.1\"} 0",
            "tutu_time_to_first_token_seconds_bucket{le=\"0.25\"} 1",
            "tutu_inter_token_seconds_sum 0.03",
            "tutu_inter_token_seconds_count 1",
            "tutu_prompt_tokens_total 10",
            "tutu_prompt_tokens_cached_total 4",
            "tutu_generated_tokens_total 2",
            "tutu_tasks_active 0",
            "tutu_tasks_completed_total{type=\"answer\"} 1",
            "tutu_tasks_failed_total{type=\"answer\",reason=\"reader_left\"} 0",
            "tutu_inference_tokens_total{model=\"a\\\"b\"} 2",
            "tutu_inference_latency_seconds_bucket{model=\"a\\\"b\",le=\"0.25\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn readers_who_leave_are_counted_once() {
        let measures = Arc::new(Measures::default());
        let mut watch = Watch::new(Arc::clone(&measures), measures.of("a"), Instant::now());
        watch.joined().store(true, Ordering::Relaxed);
        watch.pass(token(), Instant::now(), &mut reads);
        drop(watch);
        // This one's reader leaves while it is being ended.
        let mut watch = Watch::new(Arc::clone(&measures), measures.of("a"), Instant::now());
        watch.pass(done(), Instant::now(), &mut |_| Flow::Stop);
        drop(watch);
        // The engine would not take this one.
        drop(Watch::new(Arc::clone(&measures), measures.of("a"), Instant::now()));
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        assert_eq!((read(&measures.left), read(&measures.failed), read(&measures.completed)), (2, 1, 0));
        assert_eq!(read(&measures.active), 0);
    }

    #[test]
    fn names_without_end_share_a_line() {
        let measures = Measures::default();
        for number in 0..1000 {
            measures.of(&format!("model-{number}"));
        }
        assert!(measures.models.lock().unwrap().len() <= NAMES_MAX + 1);
    }
}
