//! Connections: accepted, bounded in number, served by hyper on a thread of their own, ended gracefully.

mod frame;
mod gate;
mod head;
mod listener;
mod service;
mod tls;

use std::{io, sync::Arc, thread::JoinHandle, time::Duration};

use smol::{
    Executor, Timer,
    channel::{Receiver, Sender},
    future::FutureExt,
    lock::Semaphore,
};

use self::service::{Door, Service};
pub use self::{
    listener::Listener,
    tls::{Error as TlsError, Tls},
};
use super::{Counters, Guard, Router, access::Log};

/// How long and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; further ones wait in the system's queue.
    pub connections_max: usize,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// From the end of an answer to the next request; less when connections are scarce.
    pub idle: Duration,
    /// For which a body may be waited for, beside what its bytes excuse ([`Limits::rate`]).
    pub body: Duration,
    /// For which a reader of an answer may be waited for, beside what its bytes excuse.
    pub write: Duration,
    /// Bytes a second that are fast enough.
    pub rate: u64,
    /// For streams that are being sent when the server is asked to end.
    pub drain: Duration,
}

impl Limits {
    /// How often clocks are looked at.
    fn tick(&self) -> Duration {
        let shortest = self.head.min(self.idle).min(self.body).min(self.write);
        (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            head: Duration::from_secs(10),
            // Clients keep connections for some minutes; a second try costs them little.
            idle: Duration::from_secs(120),
            body: Duration::from_secs(20),
            write: Duration::from_secs(60),
            // Slower than any modem of this century.
            rate: 1024,
            drain: Duration::from_secs(30),
        }
    }
}

/// A server that runs on a thread of its own.
#[derive(Debug)]
pub struct Running {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Ends it: no new connections; what is being answered is finished, within [`Limits::drain`].
    ///
    /// # Errors
    /// It had broken down.
    pub fn stop(self) -> io::Result<()> {
        self.stop.close();
        self.thread.join().map_err(|_| io::Error::other("the server broke down"))
    }
}

/// What answers, and who watches over it.
pub struct Server<S> {
    /// The routes.
    pub router: Router<S>,
    /// Who is let in.
    pub guard: Guard,
    /// How long and how much.
    pub limits: Limits,
    /// Where everything is counted.
    pub counters: Arc<Counters>,
    /// Where everything is written down.
    pub log: Option<Log>,
}

impl<S: Send + Sync + 'static> Server<S> {
    /// Serves these routes, for this machine and its pages.
    pub fn new(router: Router<S>) -> Self {
        let counters = Arc::new(Counters::default());
        Self { router, guard: Guard::new(), limits: Limits::default(), counters, log: None }
    }

    /// Serves on all listeners.
    ///
    /// One thread runs it, that computes nothing and waits for nothing else: it watches the sockets itself, so that no
    /// request passes from thread to thread. With two, each request cost three of the kernel's switches between them.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(self, listeners: Vec<Listener>) -> io::Result<Running> {
        let (stop, stopped) = smol::channel::bounded(1);
        let serving = move || {
            let executor = Arc::new(Executor::new());
            let service = Arc::new(Service::new(self));
            // The one block_on of this process that lasts and watches sockets: all others only wait to be woken.
            smol::block_on(executor.run(all(Arc::clone(&executor), service, listeners, stopped)));
        };
        let thread = std::thread::Builder::new().name("http".into()).spawn(serving)?;
        Ok(Running { stop, thread })
    }
}

async fn all<S: Send + Sync + 'static>(
    executor: Arc<Executor<'static>>,
    service: Arc<Service<S>>,
    listeners: Vec<Listener>,
    stopped: Receiver<()>,
) {
    let limits = service.limits;
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let (spawner, service, room, stopped) =
                (Arc::clone(&executor), Arc::clone(&service), Arc::clone(&room), stopped.clone());
            executor.spawn(accept(spawner, service, listener, room, stopped))
        })
        .collect();
    for task in accepting {
        task.await;
    }
    let finished = async {
        for _ in 0..limits.connections_max {
            room.acquire_arc().await.forget();
        }
    };
    let impatient = async {
        Timer::after(limits.drain).await;
    };
    finished.or(impatient).await;
}

async fn accept<S: Send + Sync + 'static>(
    executor: Arc<Executor<'static>>,
    service: Arc<Service<S>>,
    listener: Listener,
    room: Arc<Semaphore>,
    stopped: Receiver<()>,
) {
    let stop = async {
        let _ = stopped.recv().await;
    };
    let accepting = async {
        loop {
            let permit = room.acquire_arc().await;
            match listener.accept().await {
                Ok((knock, peer)) => {
                    let (service, stopped) = (Arc::clone(&service), stopped.clone());
                    let needs_key = listener.needs_key;
                    let serving = async move {
                        service.receive(knock, Door { peer, needs_key }, stopped).await;
                        drop(permit);
                    };
                    executor.spawn(serving).detach();
                }
                // Out of files, or the other side is gone already: others may do better in a moment.
                Err(_) => {
                    Timer::after(Duration::from_millis(20)).await;
                }
            }
        }
    };
    accepting.or(stop).await;
}

#[cfg(test)]
mod tests;
