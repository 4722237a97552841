//! The loop around a node: one task owns it, everybody else talks to it through one bounded inbox.
//!
//! It owes the node four things and keeps them here: its `now` never goes back, an overdue tick goes before the next
//! input, effects are done in order, and all that a step saves is kept before anything of it leaves. What it cannot do
//! itself (answers, fetches, jobs, events) goes to `tell`; what comes of it comes back through the inbox.

use std::{
    io,
    time::{Duration, Instant as Clock},
};

use smol::{
    Timer,
    channel::{Receiver, Sender},
    future::{or, pending},
    net::UdpSocket,
};
use tutu_node::{
    kit::{Instant, Machine, Signer, Verifier},
    node::{Effect, Input, Kept, Node},
    wire::packet::PACKET_MAX,
};

/// A node that is to be driven, and what it needs.
pub struct Drive<K> {
    /// The node.
    pub node: Node<K>,
    /// When it woke: its instant 0.
    pub born: Clock,
    /// What it asked for when it woke.
    pub first: Vec<Effect>,
    /// Where its packets come and go.
    pub socket: UdpSocket,
    /// What it is told. Closed, the loop ends.
    pub inbox: Receiver<Input>,
    /// Who hears what the loop cannot do itself. Events are left out when it is full: the node waits for no listener.
    pub tell: Sender<Effect>,
}

/// What woke the loop.
enum Woken {
    Due,
    Told(Input),
    Came(io::Result<(usize, std::net::SocketAddr)>),
    Closed,
}

impl<K: Signer + Verifier + Clone> Drive<K> {
    /// Runs the node until its inbox is closed. `keep` makes records safe, all of a step at once, and returns only then.
    ///
    /// # Errors
    /// What `keep` says: the node must not go on with what is not kept. It begins again from what is.
    pub async fn run(mut self, mut keep: impl FnMut(&[&Kept]) -> io::Result<()>) -> io::Result<()> {
        // One byte more than a packet may have: what fills it is none, and the core refuses it.
        let mut buffer = [0; PACKET_MAX + 1];
        let mut out = std::mem::take(&mut self.first);
        loop {
            self.perform(&mut out, &mut keep).await?;
            let input = match self.woken(&mut buffer).await {
                Woken::Closed => return Ok(()),
                Woken::Due => None,
                Woken::Told(input) => Some(input),
                Woken::Came(Ok((count, from))) => Some(Input::Packet { from, bytes: buffer[..count].to_vec() }),
                // About an earlier packet that nobody took (ICMP); the next may come.
                Woken::Came(Err(_)) => None,
            };
            let now = Instant::from_micros(u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX));
            while self.node.deadline().is_some_and(|due| due <= now) {
                self.node.tick(now, &mut out);
            }
            if let Some(input) = input {
                self.node.handle(now, input, &mut out);
            }
        }
    }

    /// What is due goes before what was asked, and that before what came from outside.
    async fn woken(&self, buffer: &mut [u8]) -> Woken {
        let due = self.node.deadline().map(|due| self.born + Duration::from_micros(due.as_micros()));
        let timer = async {
            match due {
                Some(due) => drop(Timer::at(due).await),
                None => pending().await,
            }
            Woken::Due
        };
        let told = async { self.inbox.recv().await.map_or(Woken::Closed, Woken::Told) };
        let came = async { Woken::Came(self.socket.recv_from(buffer).await) };
        or(timer, or(told, came)).await
    }

    async fn perform(
        &self,
        out: &mut Vec<Effect>,
        keep: &mut impl FnMut(&[&Kept]) -> io::Result<()>,
    ) -> io::Result<()> {
        let saves = out.iter().filter_map(|effect| if let Effect::Save(kept) = effect { Some(kept) } else { None });
        let saves: Vec<&Kept> = saves.collect();
        if !saves.is_empty() {
            keep(&saves)?;
        }
        for effect in out.drain(..) {
            match effect {
                Effect::Save(_) => {}
                // A packet that cannot be sent is a packet that is lost.
                Effect::Send { to, packet } => drop(self.socket.send_to(&packet, to).await),
                Effect::Tell(_) => drop(self.tell.try_send(effect)),
                // If nobody listens any more, the node goes on all the same.
                effect => drop(self.tell.send(effect).await),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::mpsc};

    use smol::channel::bounded;
    use tutu_node::{
        kit::{NodeId, UnixTime},
        mesh::swim::{Event, Facts, State},
        node::{Answer, Ask, Birth, Config},
        trust::identity::Identity,
    };

    use super::*;

    struct Running {
        id: NodeId,
        addr: SocketAddr,
        inbox: Sender<Input>,
        told: Receiver<Effect>,
        kept: mpsc::Receiver<Kept>,
        task: smol::Task<io::Result<()>>,
    }

    async fn start(n: u8) -> Running {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let keys = Identity::new([n; 32]);
        let id = keys.key();
        let birth = Birth { keys, id, certificate: None, facts: Facts::at(addr), seed: n.into(), at: UnixTime(1) };
        let (born, mut first) = (Clock::now(), vec![]);
        let node = Node::restore(Config { check_engine: None, ..Config::default() }, birth, [], &mut first);
        let ((inbox, asks), (tell, told), (keep, kept)) = (bounded(16), bounded(64), mpsc::channel());
        let drive = Drive { node, born, first, socket, inbox: asks, tell };
        let task = smol::spawn(drive.run(move |records: &[&Kept]| {
            records.iter().for_each(|record| drop(keep.send((*record).clone())));
            Ok(())
        }));
        Running { id, addr, inbox, told, kept, task }
    }

    impl Running {
        async fn ask(&self, ask: Ask) {
            self.inbox.send(Input::Ask { from: 9, ask }).await.unwrap();
        }

        async fn until<T>(&self, what: impl Fn(Effect) -> Option<T>) -> T {
            loop {
                if let Some(found) = what(self.told.recv().await.unwrap()) {
                    return found;
                }
            }
        }
    }

    #[test]
    fn two_real_nodes_find_each_other_over_udp_and_one_leaves() {
        smol::block_on(async {
            let (one, two) = (start(1).await, start(2).await);
            two.ask(Ask::Join(vec![one.addr])).await;
            let joined = |who: NodeId| {
                move |effect| matches!(effect, Effect::Tell(Event::Joined(record)) if record.id == who).then_some(())
            };
            one.until(joined(two.id)).await;
            two.until(joined(one.id)).await;
            assert_eq!(one.kept.recv().unwrap(), Kept::Incarnation(1));
            one.ask(Ask::Members).await;
            let members = one
                .until(|effect| match effect {
                    Effect::Reply { to: 9, answer: Answer::Members(members) } => Some(members),
                    _ => None,
                })
                .await;
            let ids: Vec<_> = members.iter().map(|(record, state)| (record.id, *state)).collect();
            assert_eq!(ids, [(one.id, State::Alive), (two.id, State::Alive)]);
            two.ask(Ask::Leave).await;
            let left = |effect| matches!(effect, Effect::Tell(Event::Left(id)) if id == two.id).then_some(());
            one.until(left).await;
            one.inbox.close();
            one.task.await.unwrap();
        });
    }

    #[test]
    fn what_cannot_be_kept_stops_the_node_before_anything_leaves() {
        smol::block_on(async {
            let keys = Identity::new([5; 32]);
            let (id, socket) = (keys.key(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
            let facts = Facts::at(socket.local_addr().unwrap());
            let birth = Birth { keys, id, certificate: None, facts, seed: 1, at: UnixTime(1) };
            let mut first = vec![];
            let node = Node::restore(Config::default(), birth, [], &mut first);
            first.push(Effect::Reply { to: 1, answer: Answer::Done });
            let ((_inbox, asks), (tell, told)) = (bounded(1), bounded(8));
            let drive = Drive { node, born: Clock::now(), first, socket, inbox: asks, tell };
            let error = drive.run(|_: &[&Kept]| Err(io::Error::other("the disk is full"))).await.unwrap_err();
            assert_eq!(error.to_string(), "the disk is full");
            assert!(told.try_recv().is_err(), "nothing was said");
        });
    }
}
