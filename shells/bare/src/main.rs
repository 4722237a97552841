//! A node on a board without an operating system: no std, no threads, no heap but the one in [`memory`].
//!
//! A board is a [`Board`]: a timer, a radio, a few bytes of flash. [`Driver::step`] is the whole loop; on real hardware it
//! is called whenever the timer fires or the radio has something. Here [`main`] puts two boards on one wire and lets an hour
//! pass in a moment: the program ends with 0 when they found each other, kept each other, and one saw the other leave.
//!
//! `ci/bare` links and runs it on the host, and links it for a Cortex-M4 where that target is installed.
#![no_std]
#![no_main]

extern crate alloc;

mod memory;

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::{ffi::c_int, net::SocketAddr, time::Duration};

use tutu_node::{
    kit::{Instant, Machine, Signer, UnixTime},
    mesh::swim::Facts,
    node::{Ask, Birth, Config, Effect, Input, Kept, Node},
    trust::identity::Identity,
};

// On a host, `memcpy` and what calls `main` are the C library's; a board's come with the compiler and its start-up code.
#[cfg(not(target_os = "none"))]
#[link(name = "c")]
unsafe extern "C" {}

/// Divisions of 128 bits come from a part of the host's compiler library that was built to unwind, and names who would
/// do it. Nothing here unwinds (`panic = "abort"`), so nobody calls it; a board's library does not ask for it.
#[cfg(not(target_os = "none"))]
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// What a board has to have.
trait Board {
    /// Time since it was switched on.
    fn now(&self) -> Instant;
    /// The next datagram, and who sent it.
    fn receive(&mut self) -> Option<(SocketAddr, Vec<u8>)>;
    /// Sends a datagram; it may be lost.
    fn send(&mut self, to: SocketAddr, packet: Vec<u8>);
    /// Keeps bytes under a key, through a loss of power.
    fn save(&mut self, key: &'static str, bytes: Vec<u8>);
}

/// A node and the board that it runs on.
struct Driver<B> {
    node: Box<Node<Identity>>,
    board: B,
    out: Vec<Effect>,
}

impl<B: Board> Driver<B> {
    /// Wakes a node with what the board kept.
    fn wake(secret: [u8; 32], addr: SocketAddr, board: B, kept: impl IntoIterator<Item = Kept>) -> Self {
        let keys = Identity::new(secret);
        let id = keys.key();
        let facts = Facts::at(addr);
        let birth = Birth { keys, id, certificate: None, facts, seed: id.short(), at: UnixTime(0) };
        let config = Config { check_engine: None, ..Config::default() };
        let mut out = Vec::new();
        let node = Box::new(Node::restore(config, birth, kept, &mut out));
        let mut driver = Self { node, board, out };
        driver.perform();
        driver
    }

    /// Everything that is due, and everything that came.
    fn step(&mut self) {
        self.catch_up();
        while let Some((from, bytes)) = self.board.receive() {
            self.hear(Input::Packet { from, bytes });
        }
    }

    /// One input, after whatever was due before it.
    fn hear(&mut self, input: Input) {
        self.catch_up();
        self.node.handle(self.board.now(), input, &mut self.out);
        self.perform();
    }

    fn catch_up(&mut self) {
        let now = self.board.now();
        while self.node.deadline().is_some_and(|due| due <= now) {
            self.node.tick(now, &mut self.out);
            self.perform();
        }
    }

    /// A step is a transaction: what it saves is kept before anything leaves.
    fn perform(&mut self) {
        for effect in &self.out {
            if let Effect::Save(kept) = effect {
                self.board.save(kept.key(), kept.encode());
            }
        }
        for effect in self.out.drain(..) {
            if let Effect::Send { to, packet } = effect {
                self.board.send(to, packet);
            }
        }
    }
}

/// One end of a wire between two boards.
struct End {
    now: Instant,
    addr: SocketAddr,
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    outbox: Vec<(SocketAddr, Vec<u8>)>,
    flash: Vec<(&'static str, Vec<u8>)>,
}

impl Board for End {
    fn now(&self) -> Instant {
        self.now
    }

    fn receive(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.inbox.pop_front()
    }

    fn send(&mut self, to: SocketAddr, packet: Vec<u8>) {
        self.outbox.push((to, packet));
    }

    fn save(&mut self, key: &'static str, bytes: Vec<u8>) {
        self.flash.retain(|entry| entry.0 != key);
        self.flash.push((key, bytes));
    }
}

fn driver(n: u8) -> Driver<End> {
    let addr = SocketAddr::from(([192, 168, 0, n], 7000));
    let end =
        End { now: Instant::default(), addr, inbox: VecDeque::new(), outbox: Vec::new(), flash: Vec::new() };
    Driver::wake([n; 32], addr, end, [])
}

/// Lets `time` pass on both boards, ten milliseconds at a time.
fn pass(boards: &mut [Driver<End>; 2], time: Duration) {
    let end = boards[0].board.now + time;
    while boards[0].board.now < end {
        for n in 0..2 {
            let from = boards[n].board.addr;
            for (to, packet) in core::mem::take(&mut boards[n].board.outbox) {
                if let Some(other) = boards.iter_mut().find(|other| other.board.addr == to) {
                    other.board.inbox.push_back((from, packet));
                }
            }
        }
        for driver in boards.iter_mut() {
            driver.board.now = driver.board.now + Duration::from_millis(10);
            driver.step();
        }
    }
}

/// 0 if two nodes met, stayed together and parted as they should; else the number of what went wrong.
fn story() -> c_int {
    let mut boards = [driver(1), driver(2)];
    let first = boards[0].board.addr;
    boards[1].hear(Input::Ask { from: 0, ask: Ask::Join(alloc::vec![first]) });
    pass(&mut boards, Duration::from_secs(3600));
    if boards.iter().any(|driver| driver.node.swim().living() != 1) {
        return 1;
    }
    if boards.iter().any(|driver| driver.board.flash.is_empty()) {
        return 2;
    }
    boards[1].hear(Input::Ask { from: 0, ask: Ask::Leave });
    pass(&mut boards, Duration::from_secs(10));
    if boards[0].node.swim().living() == 0 { 0 } else { 3 }
}

/// Where a C runtime begins, or the reset of a board jumps to.
#[unsafe(no_mangle)]
pub extern "C" fn main(_argc: c_int, _argv: *const *const u8) -> c_int {
    story()
}

/// There is nobody to tell.
#[panic_handler]
fn stop(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
