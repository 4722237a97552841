//! `/metrics`, `/health` and `/api/status`: what goes on here, for those who watch over it.

use std::{
    fmt::Write,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Answer, Counters, Method, Request, Router, Scope, StatusCode};
use crate::{
    daemon::{
        Daemon, Resident,
        health::{Report, State},
    },
    measure::{Histogram, head, label},
};

/// Checks that are as old as this are good enough for those who ask for the health.
const FRESH: Duration = Duration::from_secs(1);
/// And for those who watch everything.
const RECENT: Duration = Duration::from_secs(15);

/// Adds all routes.
pub fn routes(router: &mut Router<Daemon>, counters: Arc<Counters>) {
    router.add(Method::GET, "/metrics", Scope::Read, move |daemon: Arc<Daemon>, _: Request| {
        let counters = Arc::clone(&counters);
        async move { metrics(&daemon, &counters).await }
    });
    router.add(Method::GET, "/health", Scope::Open, health);
    router.add(Method::GET, "/api/status", Scope::Read, status);
}

async fn report(daemon: &Daemon, residents: &[Resident], age: Duration) -> Report {
    daemon.health.report(&daemon.store, residents, age).await
}

async fn health(daemon: Arc<Daemon>, request: Request) -> Answer {
    let residents = daemon.pool.status().await;
    let mut report = report(&daemon, &residents, FRESH).await;
    if request.scope < Scope::Read {
        // Strangers learn whether it is well, and nothing of what is here.
        report.checks.iter_mut().for_each(|check| (check.detail, check.todo) = Default::default());
    }
    let status = if report.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if report.ok { "ok" } else { "failed" };
    Answer::json(status, &json!({"status": word, "checks": report.checks}))
}

async fn status(daemon: Arc<Daemon>, request: Request) -> Answer {
    let residents = daemon.pool.status().await;
    let age = if request.query("health").as_deref() == Some("fresh") { Duration::ZERO } else { RECENT };
    let report = report(&daemon, &residents, age).await;
    let measures = daemon.pool.measures();
    let read = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
    let value = json!({
        // Everything is computed here: there is no cloud that could be switched on.
        "cloud": {"disabled": true, "source": "none"},
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": daemon.started.elapsed().as_secs_f64(),
        "models": residents.iter().map(model).collect::<Vec<_>>(),
        "tokens": {
            "prompt": read(&measures.prompt),
            "prompt_cached": read(&measures.cached),
            "generated": read(&measures.generated),
            "guessed": read(&measures.guessed),
        },
        "answers": {
            "active": read(&measures.active),
            "completed": read(&measures.completed),
            "failed": read(&measures.failed),
            "left": read(&measures.left),
            "refused": read(&measures.refused),
        },
        "first_token_seconds": times(&measures.first_token),
        "inter_token_seconds": times(&measures.inter_token),
        "queue_wait_seconds": times(&measures.queue_wait),
        "batch_texts": times(&measures.batch),
        "memory_bytes": tutu_os::memory_used(),
        "kv_disk": daemon.disk.as_ref().map(|disk| {
            let (pages, bytes) = disk.size();
            json!({"pages": pages, "bytes": bytes, "limit_bytes": disk.limit()})
        }),
        "health": report,
    });
    Answer::json(StatusCode::OK, &value)
}

/// Sums are for those who look at differences; the rest is of all time.
fn times(histogram: &Histogram) -> Value {
    json!({
        "count": histogram.count(),
        "sum": histogram.sum(),
        "p50": histogram.quantile(0.5),
        "p99": histogram.quantile(0.99),
    })
}

fn model(resident: &Resident) -> Value {
    let status = &resident.status;
    let mut value = json!({
        "name": resident.name,
        "open": status.open,
        "memory_bytes": status.holds.main.0,
        "context_length": status.context,
        "running": status.running,
        "waiting": status.waiting,
        "expires_in_seconds": resident.expires_in.map(|time| time.as_secs_f64()),
    });
    if let Some(handle) = &resident.handle {
        let shared = handle.shared();
        value["memory_bytes"] = shared.measured().into();
        if let Some(gpu) = shared.gpu() {
            let (layers, all) = gpu.layers();
            value["gpu"] =
                json!({"name": gpu.adapter(), "layers": layers, "layers_all": all, "memory_bytes": gpu.bytes()});
        }
        value["load_seconds"] = shared.load.as_secs_f64().into();
        value["kv_pages_used"] = shared.gauges.pages.0.load(Ordering::Relaxed).into();
        value["kv_pages"] = shared.gauges.pages.1.load(Ordering::Relaxed).into();
    }
    value
}

async fn metrics(daemon: &Daemon, counters: &Counters) -> Answer {
    let residents = daemon.pool.status().await;
    let report = report(daemon, &residents, RECENT).await;
    let mut text = String::new();
    write(&mut text, daemon, counters, &residents, &report).expect("a text takes everything");
    Answer::bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

fn write(
    f: &mut String,
    daemon: &Daemon,
    counters: &Counters,
    residents: &[Resident],
    report: &Report,
) -> std::fmt::Result {
    write!(f, "{counters}{}", daemon.pool.measures())?;
    let open = residents.iter().filter(|one| one.status.open).count();
    let waiting: usize = residents.iter().map(|one| one.status.waiting).sum();
    let gauge = |f: &mut String, name: &str, about: &str, value: String| {
        head(f, name, "gauge", about)?;
        writeln!(f, "{name} {value}")
    };
    gauge(f, "tutu_models_loaded", "Models in memory.", open.to_string())?;
    gauge(f, "tutu_scheduler_queue_depth", "Asks that wait for their turn with a model.", waiting.to_string())?;
    gauge(f, "tutu_uptime_seconds", "Since the server began.", daemon.started.elapsed().as_secs_f64().to_string())?;
    if let Some(bytes) = tutu_os::memory_used() {
        gauge(f, "tutu_memory_usage_bytes", "Memory of this process.", bytes.to_string())?;
    }
    head(f, "tutu_model_memory_bytes", "gauge", "What a model takes in memory.")?;
    for one in residents {
        let bytes = one.handle.as_ref().map_or(one.status.holds.main.0, |handle| handle.shared().measured());
        writeln!(f, "tutu_model_memory_bytes{{model=\"{}\"}} {bytes}", label(&one.name))?;
    }
    head(f, "tutu_kv_pages", "gauge", "Pages of keys and values: in use, and all.")?;
    for one in residents {
        let Some(handle) = &one.handle else { continue };
        let pages = &handle.shared().gauges.pages;
        for (state, count) in [("used", &pages.0), ("all", &pages.1)] {
            let count = count.load(Ordering::Relaxed);
            writeln!(f, "tutu_kv_pages{{model=\"{}\",state=\"{state}\"}} {count}", label(&one.name))?;
        }
    }
    if let Some(disk) = &daemon.disk {
        let (pages, bytes) = disk.size();
        gauge(f, "tutu_kv_disk_pages", "Pages of keys and values on disk.", pages.to_string())?;
        gauge(f, "tutu_kv_disk_bytes", "What they take there.", bytes.to_string())?;
        gauge(f, "tutu_kv_disk_limit_bytes", "What they may take.", disk.limit().to_string())?;
    }
    head(f, "tutu_health_check_status", "gauge", "1 where a check is well or off, 0 where it failed.")?;
    for check in &report.checks {
        let well = u8::from(check.state != State::Failed);
        writeln!(f, "tutu_health_check_status{{check=\"{}\"}} {well}", check.name)?;
    }
    Ok(())
}
