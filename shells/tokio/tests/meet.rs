//! Two nodes on loopback.

use std::{
    net::SocketAddr,
    time::{Duration, Instant as Clock},
};

use tokio::{
    net::UdpSocket,
    sync::mpsc::{Receiver, Sender, channel},
};
use tutu_node::{
    kit::{Signer, UnixTime},
    mesh::swim::{Event, Facts},
    node::{Ask, Birth, Config, Effect, Input, Kept, Node},
    trust::identity::Identity,
};

struct Running {
    id: tutu_node::kit::NodeId,
    addr: SocketAddr,
    inbox: Sender<Input>,
    told: Receiver<Effect>,
    kept: std::sync::mpsc::Receiver<Kept>,
}

async fn start(n: u8) -> Running {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    let keys = Identity::new([n; 32]);
    let id = keys.key();
    let birth = Birth { keys, id, certificate: None, facts: Facts::at(addr), seed: n.into(), at: UnixTime(1) };
    let mut first = vec![];
    let config = Config { check_engine: None, ..Config::default() };
    let (born, node) = (Clock::now(), Node::restore(config, birth, [], &mut first));
    let (inbox, asks) = channel(16);
    let (tell, told) = channel(64);
    let (keep, kept) = std::sync::mpsc::channel();
    tokio::spawn(tutu_tokio::drive(node, born, first, socket, asks, tell, move |record| {
        let _ = keep.send(record.clone());
        Ok(())
    }));
    Running { id, addr, inbox, told, kept }
}

/// Waits until `what` is told.
async fn until(running: &mut Running, what: impl Fn(&Event) -> bool) {
    let heard = async {
        while let Some(effect) = running.told.recv().await {
            if matches!(&effect, Effect::Tell(event) if what(event)) {
                return;
            }
        }
        panic!("the node stopped");
    };
    tokio::time::timeout(Duration::from_secs(60), heard).await.expect("a minute is enough for two");
}

#[tokio::test]
async fn two_nodes_find_each_other_and_one_sees_the_other_leave() {
    let (mut one, mut two) = (start(1).await, start(2).await);
    two.inbox.send(Input::Ask { from: 0, ask: Ask::Join(vec![one.addr]) }).await.unwrap();
    let (first, second) = (one.id, two.id);
    until(&mut one, |event| matches!(event, Event::Joined(record) if record.id == second)).await;
    until(&mut two, |event| matches!(event, Event::Joined(record) if record.id == first)).await;
    assert_eq!(one.kept.recv().unwrap(), Kept::Incarnation(1));
    two.inbox.send(Input::Ask { from: 0, ask: Ask::Leave }).await.unwrap();
    until(&mut one, |event| matches!(event, Event::Left(id) if *id == second)).await;
}
