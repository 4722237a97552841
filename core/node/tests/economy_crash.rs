//! A payer, a payee and four witnesses; a script of a thousand postings; and a crash at every save of it.

mod common;

use std::sync::Arc;

use common::Name;
use tutu_node::{
    economy::{
        ledger::{
            Act, Closing, Fold, Log, Proven, Signed, Terms,
            session::{Chain, Meter},
        },
        witness::{
            Certificate, Set, Witness, certificate,
            vote::{Saved, Word},
        },
    },
    kit::{Credits, Digest, NodeId, Signer, UnixTime},
};

const LIMIT: Credits = Credits(u64::MAX >> 8);
const POSTINGS: u64 = 1000;
/// Records that are not yet put together.
const RECENT: usize = 60;

/// What a log came to once, and the entries since.
type Kept = (Fold, Vec<(Arc<Signed>, Option<Proven>)>);

/// What is on the disks, in the order in which it came there.
struct Disks {
    payer: Kept,
    payee: Kept,
    witnesses: [Vec<Saved>; 4],
    saves: usize,
    /// The machine stops before the save with this number.
    stop: usize,
}

/// The power went.
struct Crash;

impl Disks {
    fn new(stop: usize) -> Self {
        let log = |n| (Fold::new(name(n).key()), vec![]);
        Self { payer: log(1), payee: log(2), witnesses: Default::default(), saves: 0, stop }
    }

    /// Puts what came to something long ago into one record, as a node does to keep its disk small.
    fn compact(&mut self) {
        for (fold, entries) in [&mut self.payer, &mut self.payee] {
            let old = entries.len().saturating_sub(RECENT);
            entries
                .drain(..old)
                .for_each(|(signed, proven)| fold.apply(&signed.entry, proven.as_ref(), LIMIT).unwrap());
        }
        for (n, saved) in self.witnesses.iter_mut().enumerate() {
            let old: Vec<Saved> = saved.drain(..saved.len().saturating_sub(RECENT)).collect();
            let ward = Witness::restore(name(10 + n as u64), old).snapshot(&name(1).key());
            saved.splice(..0, ward);
        }
    }

    fn save(&mut self, keep: impl FnOnce(&mut Self)) -> Result<(), Crash> {
        if self.saves == self.stop {
            return Err(Crash);
        }
        self.saves += 1;
        keep(self);
        Ok(())
    }
}

/// Everybody, awake.
struct Scene {
    payer: Log,
    payee: Log,
    witnesses: [Witness<Name>; 4],
    set: Set,
}

fn name(n: u64) -> Name {
    Name(NodeId::number(n))
}

fn wake(disks: &Disks) -> Scene {
    let log = |(fold, entries): &Kept| Log::restore(fold.clone(), entries.iter().cloned());
    Scene {
        payer: log(&disks.payer),
        payee: log(&disks.payee),
        witnesses: [0, 1, 2, 3].map(|n| Witness::restore(name(10 + n as u64), disks.witnesses[n].iter().cloned())),
        set: Set::new(1, (10..14).map(|n| name(n).key()).collect()).unwrap(),
    }
}

impl Scene {
    /// The payer writes, if it has not yet, and its entry is on disk before anybody sees it.
    fn write(
        &mut self,
        disks: &mut Disks,
        number: u64,
        act: impl FnOnce(&Log) -> (Act, Option<Proven>),
    ) -> Result<(), Crash> {
        if self.payer.fold().next() > number {
            return Ok(());
        }
        let (act, proven) = act(&self.payer);
        let consent = act.counterparty().map(|_| act.consent(&name(1).key(), &name(2)));
        let signed = self.payer.write(act, consent, proven.as_ref(), LIMIT, &name(1)).unwrap();
        disks.save(|disks| disks.payer.1.push((signed, proven)))
    }

    fn certify(&mut self, disks: &mut Disks, number: u64, proven: Option<&Proven>) -> Result<Certificate, Crash> {
        let signed = self.payer.since(number).next().unwrap().clone();
        let mut votes = vec![];
        for (n, witness) in self.witnesses.iter_mut().enumerate() {
            let voted = witness.vote(&signed, proven, Some(&self.set), LIMIT).unwrap();
            if let Some(saved) = voted.saved {
                disks.save(|disks| disks.witnesses[n].push(saved))?;
            }
            votes.push((self.set.index(&name(10 + n as u64).key()).unwrap(), voted.signature));
        }
        votes.sort_unstable_by_key(|vote| vote.0);
        Ok(Certificate { statement: signed.entry.statement(), set: self.set.digest(), votes })
    }

    fn close(&mut self, disks: &mut Disks, closing: &Closing) -> Result<Option<Certificate>, Crash> {
        let consent = closing.sign(&name(2));
        let mut votes = vec![];
        for (n, witness) in self.witnesses.iter_mut().enumerate() {
            // One that took the release already says that the hold is over: then the rest of the script was done before.
            let Ok(voted) = witness.close(closing, Word::Payee(&consent), UnixTime(0)) else { return Ok(None) };
            if let Some(saved) = voted.saved {
                disks.save(|disks| disks.witnesses[n].push(saved))?;
            }
            votes.push((self.set.index(&name(10 + n as u64).key()).unwrap(), voted.signature));
        }
        votes.sort_unstable_by_key(|vote| vote.0);
        Ok(Some(Certificate { statement: closing.statement(), set: self.set.digest(), votes }))
    }

    fn receive(&mut self, disks: &mut Disks, proven: Proven) -> Result<(), Crash> {
        let Proven { payer, turn, amount, statement, .. } = proven;
        let act = Act::Receive { payer, turn, amount, statement };
        match self.payee.write(act, None, Some(&proven), Credits(0), &name(2)) {
            Ok(signed) => disks.save(|disks| disks.payee.1.push((signed, Some(proven)))),
            Err(tutu_node::economy::ledger::fold::Error::Repeated) => Ok(()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The whole script from its beginning: every third posting is a session, the others are payments. What was done is not
    /// done again, because every step says what it is.
    fn run(&mut self, disks: &mut Disks, from: u64) -> Result<(), Crash> {
        let open = Act::Open { witnesses: self.set.digest(), faults: 1 };
        self.write(disks, 0, |_| (open, None))?;
        self.certify(disks, 0, None)?;
        if self.payee.fold().next() == 0 {
            let signed = self.payee.write(open, None, None, Credits(0), &name(2)).unwrap();
            disks.save(|disks| disks.payee.1.push((signed, None)))?;
        }
        for turn in from..POSTINGS {
            // Sessions have two entries: the number of this one's first.
            let number = 1 + turn + turn.div_ceil(3);
            if turn % 3 == 0 { self.session(disks, number, turn)? } else { self.payment(disks, number, turn)? }
        }
        Ok(())
    }

    fn payment(&mut self, disks: &mut Disks, number: u64, turn: u64) -> Result<(), Crash> {
        let payee = name(2).key();
        self.write(disks, number, |_| (Act::Pay { payee, turn, amount: Credits(1000 + turn) }, None))?;
        let certificate = self.certify(disks, number, None)?;
        let signed = self.payer.since(number).next().unwrap().clone();
        self.receive(disks, certificate::payment(&certificate, &signed, &self.set, &name(2)).unwrap())
    }

    fn session(&mut self, disks: &mut Disks, number: u64, turn: u64) -> Result<(), Crash> {
        let mut chain = Chain::new(Digest(NodeId::number(turn).0), 4);
        let (payee, cap, tick) = (name(2).key(), Credits(4000), Credits(1000));
        let terms = Terms { payee, turn, cap, tick, until: UnixTime(100), root: chain.root() };
        self.write(disks, number, |_| (Act::Hold(terms), None))?;
        self.certify(disks, number, None)?;
        let mut meter = Meter::new(terms);
        (0..turn % 5).for_each(|_| meter.tick(chain.tick().unwrap()).unwrap());
        let closing = meter.closing(name(1).key());
        let proven = match self.close(disks, &closing)? {
            Some(certificate) => certificate::closing(&certificate, &closing, &self.set, &name(2)).unwrap(),
            None => {
                let Closing { payer, payee, turn, amount, .. } = closing;
                Proven { payer, payee, turn, amount, statement: closing.statement().digest }
            }
        };
        let Proven { amount, statement, .. } = proven;
        self.write(disks, number + 1, |_| (Act::Release { payee, turn, amount, statement }, Some(proven)))?;
        self.certify(disks, number + 1, Some(&proven))?;
        if amount > Credits(0) { self.receive(disks, proven) } else { Ok(()) }
    }
}

#[test]
fn a_crash_at_every_save_of_a_thousand_postings_loses_and_doubles_nothing() {
    // Once to the end, without a crash.
    let mut disks = Disks::new(usize::MAX);
    let mut scene = wake(&disks);
    assert!(scene.run(&mut disks, 0).is_ok());
    let (whole, saves) = (scene, disks.saves);
    assert_eq!(whole.payer.fold().balance(), -whole.payee.fold().balance(), "conserved");
    assert_eq!(whole.payer.fold().held(), Credits(0));
    assert!(saves > 6000, "{saves} saves");

    let mut disks = Disks::new(0);
    for stop in 0..saves {
        // On to the next save, which does not happen: everybody wakes with what is kept and begins the script again. What
        // lies far back is known to be done; some ten postings are repeated.
        disks.stop = stop;
        if stop % 500 == 0 {
            disks.compact();
        }
        let mut scene = wake(&disks);
        // Three postings are four entries.
        let from = (scene.payer.fold().next() * 3 / 4).saturating_sub(10);
        assert!(scene.run(&mut disks, from).is_err(), "save {stop} of {saves}");
        assert_eq!(disks.saves, stop);
    }
    disks.stop = usize::MAX;
    let mut scene = wake(&disks);
    assert!(scene.run(&mut disks, POSTINGS - 10).is_ok());
    assert_eq!(disks.saves, saves, "nothing was kept twice");
    assert_eq!((scene.payer.fold(), scene.payee.fold()), (whole.payer.fold(), whole.payee.fold()));
    assert_eq!(scene.witnesses, whole.witnesses);
}
