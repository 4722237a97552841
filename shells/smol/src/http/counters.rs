//! What was asked and how long it took, counted for whoever reads `/metrics`.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper ends of the histogram's buckets, in seconds. A generation may take minutes.
const BUCKETS: [f64; 14] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// Counts of one server.
#[derive(Debug, Default)]
pub struct Counters {
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    seconds: Mutex<BTreeMap<&'static str, Histogram>>,
    refused: Mutex<BTreeMap<u16, u64>>,
    /// Connections that are open.
    pub connections: AtomicU64,
    /// Requests that are being answered.
    pub in_flight: AtomicU64,
    /// Bytes of answers.
    pub sent_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Histogram {
    /// How many were in each bucket alone; the last is for those above all.
    counts: [u64; BUCKETS.len() + 1],
    sum: Duration,
}

impl Counters {
    /// Counts an answer: of no route, where there was none.
    pub fn answered(&self, method: &http::Method, route: Option<&'static str>, status: u16, took: Duration) {
        let route = route.unwrap_or("none");
        *held(&self.requests).entry((route, name(method), status)).or_default() += 1;
        let mut seconds = held(&self.seconds);
        let histogram = seconds.entry(route).or_default();
        let bucket = BUCKETS.iter().position(|end| took.as_secs_f64() <= *end).unwrap_or(BUCKETS.len());
        histogram.counts[bucket] += 1;
        histogram.sum += took;
    }

    /// Counts what was no request at all.
    pub fn refused(&self, status: u16) {
        *held(&self.refused).entry(status).or_default() += 1;
    }

    /// How many answers had this status.
    pub fn with_status(&self, status: u16) -> u64 {
        held(&self.requests).iter().filter(|((_, _, one), _)| *one == status).map(|(_, count)| count).sum()
    }
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A method as a label: strangers cannot make new ones up.
fn name(method: &http::Method) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|name| *name == method.as_str())
        .unwrap_or("other")
}

/// In the text format of Prometheus.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |f: &mut fmt::Formatter<'_>, name: &str, kind: &str, help: &str, value: &AtomicU64| {
            head(f, name, kind, help)?;
            writeln!(f, "{name} {}", value.load(Ordering::Relaxed))
        };
        plain(f, "tutu_http_connections", "gauge", "Connections that are open.", &self.connections)?;
        plain(f, "tutu_http_in_flight", "gauge", "Requests that are being answered.", &self.in_flight)?;
        plain(f, "tutu_http_sent_bytes_total", "counter", "Bytes of answers, without heads.", &self.sent_bytes)?;
        head(f, "tutu_http_requests_total", "counter", "Requests that were answered.")?;
        for ((route, method, status), count) in &*held(&self.requests) {
            writeln!(
                f,
                "tutu_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}} {count}"
            )?;
        }
        head(f, "tutu_http_refused_total", "counter", "What came and was no request.")?;
        for (status, count) in &*held(&self.refused) {
            writeln!(f, "tutu_http_refused_total{{status=\"{status}\"}} {count}")?;
        }
        head(f, "tutu_http_request_seconds", "histogram", "From the head of a request to the end of its answer.")?;
        for (route, histogram) in &*held(&self.seconds) {
            histogram.write(f, route)?;
        }
        Ok(())
    }
}

fn head(f: &mut fmt::Formatter<'_>, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

impl Histogram {
    fn write(&self, f: &mut fmt::Formatter<'_>, route: &str) -> fmt::Result {
        let name = "tutu_http_request_seconds";
        let mut count = 0;
        for (index, here) in self.counts.iter().enumerate() {
            count += here;
            let mut end = String::from("+Inf");
            if let Some(known) = BUCKETS.get(index) {
                end.clear();
                write!(end, "{known}")?;
            }
            writeln!(f, "{name}_bucket{{route=\"{route}\",le=\"{end}\"}} {count}")?;
        }
        writeln!(f, "{name}_sum{{route=\"{route}\"}} {}", self.sum.as_secs_f64())?;
        writeln!(f, "{name}_count{{route=\"{route}\"}} {count}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_printed_as_prometheus_reads_them() {
        let counters = Counters::default();
        let get = http::Method::GET;
        counters.answered(&get, Some("/api/tags"), 200, Duration::from_millis(3));
        counters.answered(&get, Some("/api/tags"), 200, Duration::from_secs(1000));
        counters.answered(&http::Method::from_bytes(b"BREW\"").unwrap_or(get), None, 404, Duration::ZERO);
        counters.refused(400);
        let text = counters.to_string();
        for line in [
            "tutu_http_requests_total{route=\"/api/tags\",method=\"GET\",status=\"200\"} 2",
            "tutu_http_refused_total{status=\"400\"} 1",
            "tutu_http_request_seconds_bucket{route=\"/api/tags\",le=\"0.001\"} 0",
            "tutu_http_request_seconds_bucket{route=\"/api/tags\",le=\"0.005\"} 1",
            "tutu_http_request_seconds_bucket{route=\"/api/tags\",le=\"300\"} 1",
            "tutu_http_request_seconds_bucket{route=\"/api/tags\",le=\"+Inf\"} 2",
            "tutu_http_request_seconds_count{route=\"/api/tags\"} 2",
            "tutu_http_request_seconds_sum{route=\"/api/tags\"} 1000.003",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\nin\n{text}");
        }
        assert_eq!(counters.with_status(404), 1);
    }
}
