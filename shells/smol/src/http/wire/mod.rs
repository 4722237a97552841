//! Connections: accepted, bounded in number, served by hyper on threads of their own, ended gracefully.

mod frame;
mod gate;
mod head;
mod service;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
    thread::JoinHandle,
    time::Duration,
};

use smol::{
    Async, Executor, Timer,
    channel::{Receiver, Sender},
    future::FutureExt,
    lock::Semaphore,
};

use self::service::Service;
use super::{Peer, Router};

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

/// A place where somebody may knock.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
}

impl Listener {
    /// Listens on a TCP port.
    ///
    /// # Errors
    /// The port is taken, or may not be used.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: std::net::TcpListener::bind(address)? })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A server that runs on threads of its own.
#[derive(Debug)]
pub struct Running {
    stop: Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Ends it: no new connections; what is being answered is finished, within [`Limits::drain`].
    ///
    /// # Errors
    /// It had ended by itself.
    pub fn stop(self) -> io::Result<()> {
        self.stop.close();
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the server broke down")))
    }
}

/// Serves the routes on all listeners.
///
/// Two threads run it, that compute nothing: the engine's threads and these do not wait for each other.
///
/// # Errors
/// A listener or a thread cannot be used.
pub fn serve<S: Send + Sync + 'static>(
    router: Router<S>,
    listeners: Vec<Listener>,
    limits: Limits,
) -> io::Result<Running> {
    let (stop, stopped) = smol::channel::bounded(1);
    let sockets = listeners.into_iter().map(|listener| Async::new(listener.socket)).collect::<io::Result<Vec<_>>>()?;
    let executor = Arc::new(Executor::new());
    let (done, ended) = smol::channel::bounded::<()>(1);
    let helper = {
        let executor = Arc::clone(&executor);
        std::thread::Builder::new().name("http-2".into()).spawn(move || {
            let _ = smol::block_on(executor.run(ended.recv()));
        })?
    };
    let serving = move || {
        let service = Arc::new(Service { router, limits, open: AtomicUsize::new(0) });
        let accepting = all(Arc::clone(&executor), service, sockets, stopped, limits);
        let result = smol::block_on(executor.run(accepting));
        drop(done);
        let _ = helper.join();
        result
    };
    Ok(Running { stop, thread: std::thread::Builder::new().name("http-1".into()).spawn(serving)? })
}

async fn all<S: Send + Sync + 'static>(
    executor: Arc<Executor<'static>>,
    service: Arc<Service<S>>,
    sockets: Vec<Async<std::net::TcpListener>>,
    stopped: Receiver<()>,
    limits: Limits,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let accepting: Vec<_> = sockets
        .into_iter()
        .map(|socket| {
            let (spawner, service, room, stopped) =
                (Arc::clone(&executor), Arc::clone(&service), Arc::clone(&room), stopped.clone());
            executor.spawn(accept(spawner, service, socket, room, stopped))
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
    Ok(())
}

async fn accept<S: Send + Sync + 'static>(
    executor: Arc<Executor<'static>>,
    service: Arc<Service<S>>,
    socket: Async<std::net::TcpListener>,
    room: Arc<Semaphore>,
    stopped: Receiver<()>,
) {
    let stop = async {
        let _ = stopped.recv().await;
    };
    let accepting = async {
        loop {
            let permit = room.acquire_arc().await;
            match socket.accept().await {
                Ok((stream, address)) => {
                    let (service, stopped) = (Arc::clone(&service), stopped.clone());
                    let serving = async move {
                        // Without it, small answers wait for the other side's delayed acknowledgement.
                        let _ = stream.get_ref().set_nodelay(true);
                        service.connection(stream, Peer::Tcp(address), stopped).await;
                        drop(permit);
                    };
                    executor.spawn(serving).detach();
                }
                // Out of files, or the other side is gone already: others may do better in a moment.
                Err(_) => {
                    Timer::after(Duration::from_millis(50)).await;
                }
            }
        }
    };
    accepting.or(stop).await;
}
