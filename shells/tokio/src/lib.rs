//! A node in a program that uses tokio: [`drive`] is all it takes.
//!
//! One task owns the node; whoever wants something of it sends an [`Input`] into its bounded inbox, and hears what it does
//! from the [`Effect`]s that are not the driver's own: replies and events go to `tell`, saves to `keep`, which must not
//! return before they are safe. The two that need an engine or the web (`Run`, `Fetch`) go to `tell` as well; whoever
//! performs them answers through the inbox.
#![forbid(unsafe_code)]

use std::{io, time::Instant as Clock};

use tokio::{
    net::UdpSocket,
    sync::mpsc::{Receiver, Sender},
    time::sleep_until,
};
use tutu_node::{
    kit::{Instant, Machine, Signer, Verifier},
    node::{Effect, Input, Kept, Node},
    wire::packet::PACKET_MAX,
};

/// Runs `node`, which woke at `born` and asked for `first`, until its inbox is closed.
///
/// # Errors
/// What `keep` says. The node is gone then, and begins again from what was kept. A packet that cannot be sent is a packet
/// that is lost.
pub async fn drive<K: Signer + Verifier + Clone>(
    mut node: Node<K>,
    born: Clock,
    first: Vec<Effect>,
    socket: UdpSocket,
    mut inbox: Receiver<Input>,
    tell: Sender<Effect>,
    mut keep: impl FnMut(&Kept) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = first;
    // One byte more than a packet may have: what fills it is none, and the core says so.
    let mut buffer = [0; PACKET_MAX + 1];
    loop {
        perform(&mut out, &socket, &tell, &mut keep).await?;
        let due = node.deadline().map(|due| born + std::time::Duration::from_micros(due.as_micros()));
        let timer = async {
            match due {
                Some(due) => sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let input = tokio::select! {
            // In this order: what is due goes before what came.
            biased;
            () = timer => None,
            asked = inbox.recv() => match asked {
                Some(input) => Some(input),
                None => return Ok(()),
            },
            // An error here is about an earlier packet that nobody took (ICMP); the next may come.
            came = socket.recv_from(&mut buffer) => match came {
                Ok((count, from)) => Some(Input::Packet { from, bytes: buffer[..count].to_vec() }),
                Err(_) => continue,
            },
        };
        let now = Instant::from_micros(born.elapsed().as_micros() as u64);
        while node.deadline().is_some_and(|due| due <= now) {
            node.tick(now, &mut out);
        }
        if let Some(input) = input {
            node.handle(now, input, &mut out);
        }
    }
}

/// A step is a transaction: all that it saves is kept before anything leaves.
async fn perform(
    out: &mut Vec<Effect>,
    socket: &UdpSocket,
    tell: &Sender<Effect>,
    keep: &mut impl FnMut(&Kept) -> io::Result<()>,
) -> io::Result<()> {
    for effect in out.iter() {
        if let Effect::Save(kept) = effect {
            keep(kept)?;
        }
    }
    for effect in out.drain(..) {
        match effect {
            Effect::Save(_) => {}
            Effect::Send { to, packet } => drop(socket.send_to(&packet, to).await),
            // Whoever does not keep up with events misses some; the node waits for nobody.
            Effect::Tell(_) => drop(tell.try_send(effect)),
            // An answer that somebody waits for. If nobody listens any more, the node goes on all the same.
            effect => drop(tell.send(effect).await),
        }
    }
    Ok(())
}
