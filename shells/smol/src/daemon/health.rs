//! Whether everything is as it must be: checks that try what they speak of.
//!
//! The same checks are `GET /health`, `tutu doctor` and a part of the page.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use smol::{
    future,
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tutu_node::kit::Bytes;

use super::Resident;
use crate::{
    engine,
    store::{Layer, Record, Store},
};

/// Below this much room on the disk no model can be fetched and no record be written for long.
const ROOM: Bytes = Bytes(500 << 20);
/// In which a server on this machine answers, or something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it must be.
    Ok,
    /// Not so.
    Failed,
    /// There is nothing that could be checked.
    Off,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `store`, `disk`, `models`, `api`, `gpu`, `network`.
    pub name: String,
    /// How it went.
    pub state: State,
    /// What was found.
    #[serde(default)]
    pub detail: String,
    /// What to do about it, where it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub todo: String,
}

impl Check {
    fn new(name: &str, state: State, detail: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { name: name.into(), state, detail: detail.into(), todo: todo.into() }
    }
}

/// As one line, and another with what to do.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.state {
            State::Ok => "ok",
            State::Failed => "FAILED",
            State::Off => "off",
        };
        write!(f, "{:<8} {mark:<7} {}", self.name, self.detail)?;
        if self.todo.is_empty() { Ok(()) } else { write!(f, "\n{:<17}{}", "", self.todo) }
    }
}

/// All checks of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether none failed.
    pub ok: bool,
    /// Each.
    pub checks: Vec<Check>,
}

impl Report {
    /// Of these checks.
    pub fn new(checks: Vec<Check>) -> Self {
        Self { ok: checks.iter().all(|check| check.state != State::Failed), checks }
    }
}

/// Reports of one server; checks write to the disk, so they are not made for everybody who asks.
#[derive(Default)]
pub struct Health {
    last: smol::lock::Mutex<Option<(Instant, Report)>>,
    /// Where the server listens.
    pub places: Vec<Place>,
}

/// A place to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl Health {
    /// A report that is not older than `age`.
    pub async fn report(&self, store: &Arc<Store>, residents: &[Resident], age: Duration) -> Report {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < age
        {
            return report.clone();
        }
        let held = Arc::clone(store);
        let mut checks = smol::unblock(move || on_disk(&held)).await;
        if let Some(models) = checks.iter_mut().find(|check| check.name == "models" && check.state == State::Ok) {
            *models = in_memory(residents, models);
        }
        checks.push(self.api().await);
        checks.push(smol::unblock(gpu).await);
        checks.push(network());
        let report = Report::new(checks);
        *last = Some((Instant::now(), report.clone()));
        report
    }

    /// Asks the server as anybody would.
    async fn api(&self) -> Check {
        for place in &self.places {
            let answer = async { asks(place).await.map_err(|error| error.to_string()) };
            let late = async {
                smol::Timer::after(PATIENCE).await;
                Err(format!("no answer in {PATIENCE:?}"))
            };
            if let Err(why) = future::or(answer, late).await {
                let todo = "it may be overloaded: see `in_flight` in /metrics; else start it again";
                return Check::new("api", State::Failed, format!("{}: {why}", place.address), todo);
            }
        }
        match self.places.first() {
            Some(place) => Check::new("api", State::Ok, format!("answers at {}", place.address), ""),
            None => Check::new("api", State::Off, "it listens on no port", ""),
        }
    }
}

async fn asks(place: &Place) -> std::io::Result<()> {
    let mut address = place.address;
    // Who listens everywhere is reached on this machine.
    if address.ip().is_unspecified() {
        let local = if address.is_ipv4() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(local);
    }
    let mut stream = TcpStream::connect(address).await?;
    if place.tls {
        // Whether its certificate is for this machine's own name is not asked here.
        return Ok(());
    }
    stream.write_all(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    if answer.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err(std::io::Error::other("it answers with an error")) }
}

/// Checks what can be checked without a server.
pub fn on_disk(store: &Store) -> Vec<Check> {
    let records = store.list();
    let written = store.probe();
    let folder = store.blobs().display();
    let first = match (&records, written) {
        (Err(error), _) => {
            Check::new("store", State::Failed, error.to_string(), "its records cannot be read: restore db/ in the home")
        }
        (_, Err(error)) => {
            let todo = "see who may write there, and whether the disk is full or mounted for reading only";
            Check::new("store", State::Failed, format!("cannot be written: {error}"), todo)
        }
        (Ok(records), Ok(())) => {
            Check::new("store", State::Ok, format!("{} models, can be read and written", records.len()), "")
        }
    };
    let disk = match tutu_os::disk_free(store.blobs()) {
        Ok(free) if free < ROOM.0 => {
            let todo = "remove models that are not needed (`tutu list`, `tutu rm`), or set models.dir to another disk";
            Check::new("disk", State::Failed, format!("{} left for {folder}", Bytes(free)), todo)
        }
        Ok(free) => Check::new("disk", State::Ok, format!("{} left", Bytes(free)), ""),
        Err(error) => Check::new("disk", State::Off, format!("the system does not tell: {error}"), ""),
    };
    let mut checks = vec![first, disk];
    checks.extend(records.ok().map(|records| files(store, &records)));
    checks
}

/// Whether the files of all models are there, as long as they must be.
fn files(store: &Store, records: &[Record]) -> Check {
    let is_whole = |record: &Record, layer: &Layer| {
        let path: PathBuf = store.layer(record, layer);
        if record.must_be_converted() {
            return path.is_dir();
        }
        std::fs::metadata(path).is_ok_and(|meta| meta.len() == layer.size)
    };
    for record in records {
        if let Some(layer) = record.layers.iter().find(|layer| !is_whole(record, layer)) {
            let detail = format!("{}: the file {} is gone or cut", record.name, layer.digest.short());
            let todo = format!("fetch it again: tutu pull {}", record.name);
            return Check::new("models", State::Failed, detail, todo);
        }
    }
    Check::new("models", State::Ok, format!("the files of {} models are whole", records.len()), "")
}

/// Whether the files of open models are still those that were opened.
fn in_memory(residents: &[Resident], found: &Check) -> Check {
    let changed = |one: &&Resident| one.handle.as_ref().is_some_and(|handle| !handle.shared().is_intact());
    match residents.iter().find(changed) {
        Some(one) => {
            let detail = format!("{}: its file was changed while it is in memory", one.name);
            let todo = format!("let go of it (`tutu stop {0}`), and fetch it again: tutu pull {0}", one.name);
            Check::new("models", State::Failed, detail, todo)
        }
        None => Check { detail: format!("{}, {} open", found.detail, residents.len()), ..found.clone() },
    }
}

/// Which GPU models are computed on.
pub fn gpu() -> Check {
    match engine::gpu::list() {
        Ok(lines) if lines.is_empty() => {
            Check::new("gpu", State::Off, "none is used: the processor computes all models", "")
        }
        Ok(lines) => {
            let state = if lines[0].starts_with("not used") { State::Off } else { State::Ok };
            Check::new("gpu", state, lines.join("; "), "")
        }
        Err(error) => {
            let todo = "see --gpu and TUTU_GPU, and whether its driver is installed; --gpu=off does without";
            Check::new("gpu", State::Failed, error.to_string(), todo)
        }
    }
}

/// What connects this machine with others.
pub fn network() -> Check {
    Check::new("network", State::Off, "this machine works for itself: it takes part in no network", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Details, Kind, Places};
    use tutu_node::work::models::Name;

    fn with_model() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), &home.path().join("models"), None, Places::default()).unwrap();
        let (digest, size) = store.import_bytes(b"weights").unwrap();
        let record = Record::new("a", vec![Layer { kind: Kind::Model, digest, size }], Details::default());
        store.put(&Name::parse("a").unwrap(), &record).unwrap();
        (home, store)
    }

    fn state(checks: &[Check], name: &str) -> State {
        checks.iter().find(|check| check.name == name).unwrap().state
    }

    #[test]
    fn a_whole_store_is_well() {
        let (_home, store) = with_model();
        let checks = on_disk(&store);
        assert_eq!((state(&checks, "store"), state(&checks, "models")), (State::Ok, State::Ok), "{checks:?}");
    }

    #[test]
    fn a_file_that_was_cut_fails_with_what_to_do() {
        let (_home, store) = with_model();
        let record = &store.list().unwrap()[0];
        let path = store.layer(record, &record.layers[0]);
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        #[allow(clippy::permissions_set_readonly_false, reason = "a folder of this test's own")]
        permissions.set_readonly(false);
        std::fs::set_permissions(&path, permissions).unwrap();
        std::fs::write(&path, "weig").unwrap();
        let checks = on_disk(&store);
        assert_eq!(state(&checks, "models"), State::Failed);
        assert!(!Report::new(checks.clone()).ok);
        assert!(checks.iter().any(|check| check.to_string().contains("tutu pull a")), "{checks:?}");
    }

    #[test]
    fn a_store_whose_folder_is_gone_fails() {
        let (home, store) = with_model();
        std::fs::remove_dir_all(home.path().join("models")).unwrap();
        assert_eq!(state(&on_disk(&store), "store"), State::Failed);
    }

    #[test]
    fn a_server_that_is_not_there_fails_and_a_report_is_kept_for_a_while() {
        let (_home, store) = with_model();
        let store = Arc::new(store);
        // Bound and closed again: nobody listens there.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut health = Health { places: vec![Place { address, tls: false }], ..Health::default() };
        let report = smol::block_on(health.report(&store, &[], Duration::ZERO));
        assert_eq!(state(&report.checks, "api"), State::Failed);
        health.places.clear();
        assert_eq!(smol::block_on(health.report(&store, &[], Duration::from_secs(3600))), report);
        assert_ne!(smol::block_on(health.report(&store, &[], Duration::ZERO)), report);
    }
}
