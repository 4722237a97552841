use alloc::{boxed::Box, format, string::String, vec, vec::Vec};

use super::{certificate::Registry, vote::*, *};
use crate::{
    economy::ledger::{
        Book, Log, Proven,
        entry::{Act, COMMONS, Closing, Entry, Signed, Terms},
        fold::Fold,
        session::{Chain, Meter},
    },
    kit::{Credits, Digest, Domain, NodeId, Rng, Signature, Signer, UnixTime, Verifier},
    trust::identity::Identity,
};

const LIMIT: Credits = Credits(1_000_000);

fn id(n: u8) -> Identity {
    Identity::new([n; 32])
}

/// A payer, a payee, four witnesses of the payer.
struct Scene {
    payer: Identity,
    payee: Identity,
    log: Log,
    set: Set,
    witnesses: Vec<Witness<Identity>>,
}

impl Scene {
    fn new() -> Self {
        let (payer, payee) = (id(1), id(2));
        let set = Set::new(1, (10..14).map(|n| id(n).key()).collect()).unwrap();
        let witnesses = (10..14).map(|n| Witness::new(id(n))).collect();
        let mut scene = Self { log: Log::new(payer.key()), payer, payee, set, witnesses };
        let open = scene.open();
        scene.votes(&open, None).unwrap();
        scene
    }

    fn open(&mut self) -> Signed {
        let act = Act::Open { witnesses: self.set.digest(), faults: 1 };
        self.log.write(act, None, None, LIMIT, &self.payer).unwrap()
    }

    fn pay(&mut self, amount: u64) -> Signed {
        let payee = self.payee.key();
        let act = Act::Pay { payee, turn: self.log.fold().turn(&payee), amount: Credits(amount) };
        let consent = act.consent(&self.payer.key(), &self.payee);
        self.log.write(act, Some(consent), None, LIMIT, &self.payer).unwrap()
    }

    fn hold(&mut self, ticks: u32) -> (Chain, Meter) {
        let chain = Chain::new(Digest([9; 32]), ticks);
        let (payee, tick) = (self.payee.key(), Credits(1000));
        let terms = Terms {
            payee,
            turn: self.log.fold().turn(&payee),
            cap: Credits(u64::from(ticks) * 1000),
            tick,
            until: UnixTime(100),
            root: chain.root(),
        };
        let act = Act::Hold(terms);
        let consent = act.consent(&self.payer.key(), &self.payee);
        let signed = self.log.write(act, Some(consent), None, LIMIT, &self.payer).unwrap();
        self.votes(&signed, None).unwrap();
        (chain, Meter::new(terms))
    }

    /// All four vote; the certificate of the first three.
    fn votes(&mut self, signed: &Signed, proven: Option<&Proven>) -> Result<Certificate, Refusal> {
        let set = &self.set;
        let votes: Result<Vec<Voted>, Refusal> =
            self.witnesses.iter_mut().map(|witness| witness.vote(signed, proven, Some(set), LIMIT)).collect();
        Ok(self.certificate(&votes?))
    }

    fn certificate(&self, votes: &[Voted]) -> Certificate {
        let ids = (10..14).map(|n| id(n).key());
        let mut list: Vec<(u8, Signature)> =
            ids.zip(votes).map(|(id, vote)| (self.set.index(&id).unwrap(), vote.signature)).collect();
        list.sort_unstable_by_key(|vote| vote.0);
        list.truncate(3);
        Certificate { statement: votes[0].statement, set: votes[0].set, votes: list }
    }

    fn close(&mut self, closing: &Closing, consent: Option<&Signature>, date: u64) -> Result<Certificate, Refusal> {
        let votes: Result<Vec<Voted>, Refusal> = self
            .witnesses
            .iter_mut()
            .map(|witness| witness.close(closing, consent.map_or(Word::Nobody, Word::Payee), UnixTime(date)))
            .collect();
        Ok(self.certificate(&votes?))
    }
}

#[test]
fn a_payment_is_certified_and_received_once() {
    let mut scene = Scene::new();
    let paid = scene.pay(5000);
    let certificate = scene.votes(&paid, None).unwrap();
    let proven = certificate::payment(&certificate, &paid, &scene.set, &scene.payee).unwrap();
    let mut payee = Log::new(scene.payee.key());
    let none = Credits(0);
    payee.write(Act::Open { witnesses: Digest([0; 32]), faults: 1 }, None, None, none, &scene.payee).unwrap();
    let act = Act::Receive { payer: proven.payer, turn: 0, amount: proven.amount, statement: proven.statement };
    payee.write(act, None, Some(&proven), none, &scene.payee).unwrap();
    assert_eq!((scene.log.fold().balance(), payee.fold().balance()), (-5000, 5000));
    assert!(payee.write(act, None, Some(&proven), none, &scene.payee).is_err());
    let other = scene.pay(1000);
    assert_eq!(certificate::payment(&certificate, &other, &scene.set, &scene.payee), Err(certificate::Error::Other));
}

#[test]
fn a_session_is_held_ticked_closed_released_and_received() {
    let mut scene = Scene::new();
    let (mut chain, mut meter) = scene.hold(10);
    assert_eq!(scene.log.fold().spendable(LIMIT), Credits(990_000));
    for _ in 0..4 {
        meter.tick(chain.tick().unwrap()).unwrap();
    }
    let closing = meter.closing(scene.payer.key());
    let consent = closing.sign(&scene.payee);
    let certificate = scene.close(&closing, Some(&consent), 0).unwrap();
    let proven = certificate::closing(&certificate, &closing, &scene.set, &scene.payee).unwrap();
    let act = Act::Release { payee: proven.payee, turn: 0, amount: proven.amount, statement: proven.statement };
    let release = scene.log.write(act, None, Some(&proven), LIMIT, &scene.payer).unwrap();
    scene.votes(&release, Some(&proven)).unwrap();
    assert_eq!((scene.log.fold().balance(), scene.log.fold().held()), (-4000, Credits(0)));
    assert_eq!(scene.close(&closing, Some(&consent), 0), Err(Refusal::Unheld), "it is over");
}

#[test]
fn every_refusal_of_a_closing_in_the_order_of_checks() {
    let mut scene = Scene::new();
    let (mut chain, mut meter) = scene.hold(10);
    let none = meter.closing(scene.payer.key());
    (0..3).for_each(|_| meter.tick(chain.tick().unwrap()).unwrap());
    let three = meter.closing(scene.payer.key());
    let more = Closing { ticks: 4, amount: Credits(4000), ..three };
    let sign = |closing: &Closing| Some(closing.sign(&id(2)));
    let by_payer = |closing: &Closing| Some(closing.sign(&id(1)));
    let elsewhere = Closing { payer: NodeId::number(3), ..three };
    let unheld = Closing { turn: 7, ..three };
    let mut lines = String::new();
    for (name, closing, consent, date) in [
        ("an account that it does not watch", elsewhere, None, 0),
        ("a hold that is not there", unheld, None, 0),
        ("nothing, by the payer, before its time", none, by_payer(&none), 0),
        ("nothing, by nobody, before its time", none, None, 99),
        ("one tick more than was given", more, sign(&more), 0),
        ("three ticks", three, sign(&three), 0),
        ("three ticks again", three, sign(&three), 0),
        ("three ticks again, and the payee not asked", three, None, 0),
        ("nothing, after its time", none, None, 100),
    ] {
        let outcome =
            scene.witnesses[0].close(&closing, consent.as_ref().map_or(Word::Nobody, Word::Payee), UnixTime(date));
        let text = match outcome {
            Ok(voted) if voted.saved.is_some() => "voted".into(),
            Ok(_) => "the same vote".into(),
            Err(refusal) => format!("{refusal}"),
        };
        lines += &format!("{name}: {text}\n");
    }
    assert_eq!(
        lines,
        "an account that it does not watch: this node is no witness of the account\n\
         a hold that is not there: there is no such open hold\n\
         nothing, by the payer, before its time: the payee did not sign this closing\n\
         nothing, by nobody, before its time: until 100 only the payee can close it\n\
         one tick more than was given: the link does not show these ticks at this price\n\
         three ticks: voted\n\
         three ticks again: the same vote\n\
         three ticks again, and the payee not asked: the same vote\n\
         nothing, after its time: another closing of this hold was voted for\n"
    );
    assert!(
        scene.witnesses[1].close(&none, Word::Nobody, UnixTime(100)).is_ok(),
        "who saw no closing lets go after its time"
    );
}

#[test]
fn every_refusal_of_an_entry_in_the_order_of_checks() {
    let mut scene = Scene::new();
    let paid = scene.pay(5000);
    let next = scene.pay(6000);
    let forged = Signed { signature: Signature([0; 64]), ..paid.clone() };
    let alone = Signed { consent: None, ..paid.clone() };
    let fork = {
        let act = Act::Pay { payee: NodeId::number(8), turn: 0, amount: Credits(5000) };
        Entry { act, ..paid.entry.clone() }.sign(None, &scene.payer)
    };
    let forged_fork = Signed { signature: Signature([0; 64]), ..fork.clone() };
    let mut other = Log::new(id(3).key());
    let foreign =
        other.write(Act::Open { witnesses: scene.set.digest(), faults: 2 }, None, None, LIMIT, &id(3)).unwrap();
    let mut lines = String::new();
    let set = scene.set.clone();
    for (name, signed, limit) in [
        ("an opening that names another f", &foreign, LIMIT),
        ("without the owner", &forged, LIMIT),
        ("without the payee", &alone, LIMIT),
        ("the one after", &next, LIMIT),
        ("more than the limit", &paid, Credits(4999)),
        ("a payment", &paid, LIMIT),
        ("again", &paid, LIMIT),
        ("again, when the limit is lower", &paid, Credits(0)),
        ("another with its number, that the owner did not sign", &forged_fork, LIMIT),
        ("another with its number", &fork, LIMIT),
        ("that one again", &fork, LIMIT),
        ("the first one again", &paid, LIMIT),
        ("the next", &next, LIMIT),
    ] {
        let text = match scene.witnesses[0].vote(signed, None, Some(&set), limit) {
            Ok(voted) if voted.saved.is_some() => "voted".into(),
            Ok(_) => "the same vote".into(),
            Err(refusal) => format!("{refusal}"),
        };
        lines += &format!("{name}: {text}\n");
    }
    assert_eq!(
        lines,
        "an opening that names another f: this node is no witness of the account\n\
         without the owner: the owner did not sign this entry\n\
         without the payee: the other side's consent is missing\n\
         the one after: the next entry is number 1\n\
         more than the limit: the account is 0.000001 short\n\
         a payment: voted\n\
         again: the same vote\n\
         again, when the limit is lower: the same vote\n\
         another with its number, that the owner did not sign: the owner did not sign this entry\n\
         another with its number: the owner signed another entry with this number\n\
         that one again: the owner forked its log\n\
         the first one again: the same vote\n\
         the next: the owner forked its log\n"
    );
}

#[test]
fn a_fork_freezes_its_owner_and_closings_are_paid_nevertheless() {
    let mut scene = Scene::new();
    let (mut chain, mut meter) = scene.hold(10);
    let paid = scene.pay(5000);
    scene.votes(&paid, None).unwrap();
    let act = Act::Pay { payee: NodeId::number(8), turn: 0, amount: Credits(1000) };
    let fork = Entry { act, ..paid.entry }.sign(None, &scene.payer);
    let refusal = scene.witnesses[0].vote(&fork, None, None, LIMIT).unwrap_err();
    let Refusal::Fork(fraud) = refusal else { panic!("{refusal:?}") };
    assert_eq!(fraud.check(&id(77)).unwrap().account, scene.payer.key());
    assert_eq!(scene.witnesses[0].fraud(&scene.payer.key()), Some(&*fraud));
    assert!(scene.witnesses[1].freeze(&fraud).is_some());
    assert_eq!(scene.witnesses[1].freeze(&fraud), None, "known");
    let next = scene.pay(1000);
    assert_eq!(scene.witnesses[1].vote(&next, None, None, LIMIT), Err(Refusal::Frozen));
    meter.tick(chain.tick().unwrap()).unwrap();
    let closing = meter.closing(scene.payer.key());
    let consent = closing.sign(&scene.payee);
    assert!(scene.close(&closing, Some(&consent), 0).is_ok());
}

/// S1: an owner that signs two branches, one faulty witness that votes for whatever it is shown, three honest ones that see
/// both branches in any order: never two certificates.
#[test]
fn one_slot_gets_one_certificate_in_any_order_of_votes() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut scene = Scene::new();
        let branch = |amount: u64, scene: &Scene| {
            let mut log = scene.log.clone();
            let payee = scene.payee.key();
            (0..3)
                .map(|turn| {
                    let act = Act::Pay { payee, turn, amount: Credits(amount) };
                    let consent = act.consent(&scene.payer.key(), &scene.payee);
                    log.write(act, Some(consent), None, LIMIT, &scene.payer).unwrap()
                })
                .collect::<Vec<_>>()
        };
        let branches = [branch(1000, &scene), branch(2000, &scene)];
        // Votes of honest ones by branch and number; the faulty one votes for all.
        let mut votes = [[1_usize; 3]; 2];
        let mut shown = [[0_usize; 2]; 3];
        for _ in 0..40 {
            let (witness, branch) = (rng.below(3) as usize, rng.below(2) as usize);
            let at = shown[witness][branch];
            if at < 3 && scene.witnesses[witness].vote(&branches[branch][at], None, None, LIMIT).is_ok() {
                votes[branch][at] += 1;
                shown[witness][branch] += 1;
            }
        }
        let certified = |number: usize| votes.iter().filter(|branch| branch[number] >= 3).count();
        assert!((0..3).all(|number| certified(number) <= 1), "seed {seed}: two certificates for one number");
    }
}

#[test]
fn witnesses_change_by_consent_of_those_before_and_new_ones_go_on_from_there() {
    let mut scene = Scene::new();
    let paid = scene.pay(5000);
    scene.votes(&paid, None).unwrap();
    let new = Set::new(1, (12..16).map(|n| id(n).key()).collect()).unwrap();
    let before = scene.log.fold().clone();
    let act = Act::Renew { witnesses: new.digest(), faults: 1, state: before.digest() };
    let renew = scene.log.write(act, None, None, LIMIT, &scene.payer).unwrap();
    assert_eq!(scene.witnesses[0].vote(&renew, None, None, LIMIT), Err(Refusal::Set), "the set is to be shown");
    let votes: Vec<Voted> =
        scene.witnesses.iter_mut().map(|witness| witness.vote(&renew, None, Some(&new), LIMIT).unwrap()).collect();
    let certificate = scene.certificate(&votes);
    assert_eq!(certificate.verify(&scene.set, &id(1)), Ok(()), "in the name of those before");

    let mut fresh = Witness::new(id(14));
    let adopt = |fresh: &mut Witness<Identity>, fold: &Fold, certificate: &Certificate| {
        fresh.adopt(fold.clone(), &renew, certificate, &scene.set, &new)
    };
    assert_eq!(adopt(&mut fresh, &Fold::new(scene.payer.key()), &certificate), Err(Refusal::Set));
    let few = Certificate { votes: certificate.votes[..2].to_vec(), ..certificate.clone() };
    assert_eq!(adopt(&mut fresh, &before, &few), Err(Refusal::Set));
    let saved = adopt(&mut fresh, &before, &certificate).unwrap();
    assert_eq!(adopt(&mut fresh, &before, &certificate), Err(Refusal::Stranger), "it sees each entry from now on");
    assert_eq!(Witness::restore(id(14), [saved]), fresh);
    assert_eq!(adopt(&mut Witness::new(id(9)), &before, &certificate), Err(Refusal::Stranger));

    let next = scene.pay(1000);
    assert_eq!(fresh.vote(&next, None, None, LIMIT).unwrap().set, new.digest());
    assert_eq!(scene.witnesses[3].vote(&next, None, None, LIMIT).unwrap().set, new.digest());
    assert_eq!(scene.witnesses[0].vote(&next, None, None, LIMIT), Err(Refusal::Stranger), "it was replaced");
    assert!(scene.witnesses[0].vote(&renew, None, None, LIMIT).is_ok(), "and still says what it said");

    let mut registry = Registry::default();
    let open = scene.log.since(0).next().unwrap().clone();
    assert!(!registry.open(&open, &new));
    assert!(registry.open(&open, &scene.set));
    assert_eq!(registry.renew(&few, &renew, &new, &id(1)), Err(certificate::Error::Few { quorum: 3 }));
    assert_eq!(registry.renew(&certificate, &renew, &scene.set, &id(1)), Err(certificate::Error::Set));
    assert_eq!(registry.renew(&certificate, &renew, &new, &id(1)), Ok(()));
    assert_eq!(registry.renew(&certificate, &renew, &new, &id(1)), Err(certificate::Error::Set), "once");
    assert_eq!(registry.set(&scene.payer.key()), Some(&new));
}

#[test]
fn a_witness_goes_on_after_a_crash_and_says_what_it_said() {
    let mut scene = Scene::new();
    let mut kept = vec![];
    let mut witness = Witness::new(id(10));
    let set = scene.set.clone();
    let mut shown = vec![scene.log.since(0).next().unwrap().clone()];
    shown.extend((0..5).map(|_| scene.pay(1000)));
    let mut said = vec![];
    for signed in &shown {
        let voted = witness.vote(signed, None, Some(&set), LIMIT).unwrap();
        kept.extend(voted.saved.clone());
        said.push(voted.signature);
        let mut again = Witness::restore(id(10), kept.clone());
        assert_eq!(again, witness);
        for (signed, signature) in shown.iter().zip(&said) {
            assert_eq!(again.vote(signed, None, Some(&set), LIMIT).unwrap().signature, *signature);
        }
    }
    let act = Act::Pay { payee: NodeId::number(8), turn: 0, amount: Credits(1000) };
    let fork = Entry { act, ..shown[2].entry.clone() }.sign(None, &scene.payer);
    let Err(Refusal::Fork(fraud)) = witness.vote(&fork, None, None, LIMIT) else { panic!("no fork") };
    kept.push(Saved::Frozen(Box::clone(&fraud)));
    assert_eq!(Witness::restore(id(10), kept), witness);
}

#[test]
fn every_refusal_of_a_certificate_in_the_order_of_checks() {
    let mut scene = Scene::new();
    let paid = scene.pay(5000);
    let good = scene.votes(&paid, None).unwrap();
    let check = |change: &dyn Fn(&mut Certificate)| {
        let mut certificate = good.clone();
        change(&mut certificate);
        match certificate.verify(&scene.set, &scene.payee) {
            Ok(()) => String::from("holds"),
            Err(error) => format!("{error}"),
        }
    };
    let lines = [
        check(&|c| {
            c.set = Digest([0; 32]);
            c.votes.clear();
        }),
        check(&|c| {
            c.votes.swap(0, 1);
            c.votes.truncate(2);
        }),
        check(&|c| {
            c.votes.swap(0, 1);
            c.statement.digest = Digest([0; 32]);
        }),
        check(&|c| c.votes[1] = c.votes[0]),
        check(&|c| c.votes[2].0 = 4),
        check(&|c| c.statement.digest = Digest([0; 32])),
        check(&|_| {}),
    ];
    assert_eq!(
        lines.join("\n"),
        "the certificate is by another set of witnesses\n\
         3 witnesses must sign\n\
         the votes are not those of different members in order\n\
         the votes are not those of different members in order\n\
         the votes are not those of different members in order\n\
         a vote is not signed by its witness\n\
         holds"
    );
    let mut reader = crate::kit::codec::Reader(&[]);
    assert!(Certificate::decode(&mut reader).is_err());
    let bytes = good.encode();
    assert_eq!(Certificate::decode(&mut crate::kit::codec::Reader(&bytes)), Ok(good.clone()));
    assert!((0..bytes.len()).all(|end| Certificate::decode(&mut crate::kit::codec::Reader(&bytes[..end])).is_err()));
}

/// A deposit of 4,000 for what has the digest 5, until 100.
fn deposit(scene: &mut Scene) -> (Signed, Terms, Certificate) {
    let terms = Terms::deposit(Digest([5; 32]), scene.log.fold().turn(&COMMONS), Credits(4000), UnixTime(100));
    let signed = scene.log.write(Act::Hold(terms), None, None, LIMIT, &scene.payer).unwrap();
    let certificate = scene.votes(&signed, None).unwrap();
    (signed, terms, certificate)
}

#[test]
fn every_refusal_of_what_is_shown_as_a_deposit_in_the_order_of_checks() {
    let mut scene = Scene::new();
    let (signed, _, certificate) = deposit(&mut scene);
    let paid = scene.pay(1000);
    let payment = scene.votes(&paid, None).unwrap();
    let held = scene.hold(4);
    let session = scene.log.since(0).last().unwrap().clone();
    drop(held);
    let few = Certificate { votes: certificate.votes[..2].to_vec(), ..certificate.clone() };
    let of_session = Certificate { statement: session.entry.statement(), ..certificate.clone() };
    let (me, other) = (scene.payer.key(), scene.payee.key());
    let (what, nothing) = (Digest([5; 32]), Digest([6; 32]));
    let mut lines = String::new();
    for (name, certificate, signed, owner, what, until) in [
        ("the certificate of a payment, with too few votes", &payment, &signed, me, what, 100),
        ("a payment", &payment, &paid, me, what, 100),
        ("a hold for somebody", &of_session, &session, me, what, 100),
        ("somebody else's, for something else, with too few votes", &few, &signed, other, nothing, 101),
        ("somebody else's", &certificate, &signed, other, what, 100),
        ("for something else", &certificate, &signed, me, nothing, 100),
        ("for too short a time", &certificate, &signed, me, what, 101),
        ("with too few votes", &few, &signed, me, what, 100),
        ("as it is", &certificate, &signed, me, what, 100),
    ] {
        let what = (&owner, &what, UnixTime(until));
        let text = match certificate::deposit(certificate, signed, &scene.set, what, &scene.payee) {
            Ok(credits) => format!("{credits}"),
            Err(error) => format!("{error}"),
        };
        lines += &format!("{name}: {text}\n");
    }
    assert_eq!(
        lines,
        "the certificate of a payment, with too few votes: the certificate is about something else\n\
         a payment: this entry does not pay for that\n\
         a hold for somebody: this entry does not pay for that\n\
         somebody else's, for something else, with too few votes: this entry does not pay for that\n\
         somebody else's: this entry does not pay for that\n\
         for something else: this entry does not pay for that\n\
         for too short a time: this entry does not pay for that\n\
         with too few votes: 3 witnesses must sign\n\
         as it is: 0.004\n"
    );
}

#[test]
fn every_refusal_of_the_end_of_a_deposit_in_the_order_of_checks() {
    let mut scene = Scene::new();
    let (_, terms, _) = deposit(&mut scene);
    let (back, lost) = (terms.concluded(scene.payer.key(), false), terms.concluded(scene.payer.key(), true));
    let half = Closing { amount: Credits(2000), ..lost };
    let elsewhere = Closing { link: Digest([6; 32]), ..lost };
    let signature = back.sign(&scene.payer);
    let own = |lost| Word::Own { lost };
    let mut lines = String::new();
    let session = scene.hold(2).1.closing(scene.payer.key());
    for (name, closing, word, date) in [
        ("one that is not there", Closing { turn: 7, ..back }, own(false), 0),
        ("back, on nobody's word", back, Word::Nobody, 99),
        ("lost, on nobody's word, after its time", lost, Word::Nobody, 100),
        ("back, as if somebody had the key of all", back, Word::Payee(&signature), 100),
        ("a session, as if members decided of it", session, own(false), 0),
        ("back, where it is lost", back, own(true), 100),
        ("lost, where it goes back", lost, own(false), 100),
        ("half of it", half, own(true), 0),
        ("for something else", elsewhere, own(true), 0),
        ("lost, as it is", lost, own(true), 0),
        ("again", lost, own(true), 0),
        ("back, after all", back, own(false), 100),
    ] {
        let text = match scene.witnesses[0].close(&closing, word, UnixTime(date)) {
            Ok(voted) if voted.saved.is_some() => "voted".into(),
            Ok(_) => "the same vote".into(),
            Err(refusal) => format!("{refusal}"),
        };
        lines += &format!("{name}: {text}\n");
    }
    assert_eq!(
        lines,
        "one that is not there: there is no such open hold\n\
         back, on nobody's word: until 100 only the payee can close it\n\
         lost, on nobody's word, after its time: what the deposit is for came to something else, or to nothing yet\n\
         back, as if somebody had the key of all: the payee did not sign this closing\n\
         a session, as if members decided of it: the payee did not sign this closing\n\
         back, where it is lost: what the deposit is for came to something else, or to nothing yet\n\
         lost, where it goes back: what the deposit is for came to something else, or to nothing yet\n\
         half of it: the link does not show these ticks at this price\n\
         for something else: the link does not show these ticks at this price\n\
         lost, as it is: voted\n\
         again: the same vote\n\
         back, after all: another closing of this hold was voted for\n"
    );
    assert!(scene.witnesses[1].close(&back, Word::Nobody, UnixTime(100)).is_ok(), "of what it never heard");
}

/// Takes every signature for a sound one.
struct Credulous(Identity);

impl Signer for Credulous {
    fn key(&self) -> NodeId {
        self.0.key()
    }

    fn sign(&self, domain: Domain, parts: &[&[u8]]) -> Signature {
        self.0.sign(domain, parts)
    }
}

impl Verifier for Credulous {
    fn verify(&self, _key: &NodeId, _domain: Domain, _parts: &[&[u8]], _signature: &Signature) -> bool {
        true
    }
}

#[test]
fn no_signature_ends_a_deposit_not_even_one_that_seems_sound() {
    let mut scene = Scene::new();
    let (_, terms, _) = deposit(&mut scene);
    let mut witness = Witness::new(Credulous(id(10)));
    for entry in scene.log.since(0) {
        witness.vote(entry, None, Some(&scene.set), LIMIT).unwrap();
    }
    let back = terms.concluded(scene.payer.key(), false);
    let word = Word::Payee(&Signature([7; 64]));
    assert!(matches!(witness.close(&back, word, UnixTime(0)), Err(Refusal::Forged)));
    assert!(witness.close(&back, Word::Own { lost: false }, UnixTime(0)).is_ok());
}

/// S2 and S4: what is deposited cannot be spent, and what is lost is the commons'.
#[test]
fn a_deposit_is_held_and_goes_back_or_to_all() {
    for lost in [false, true] {
        let mut scene = Scene::new();
        let (_, terms, _) = deposit(&mut scene);
        assert_eq!(scene.log.fold().spendable(LIMIT), Credits(LIMIT.0 - 4000));
        let closing = terms.concluded(scene.payer.key(), lost);
        let word = Word::Own { lost };
        let votes: Vec<Voted> =
            scene.witnesses.iter_mut().map(|one| one.close(&closing, word, UnixTime(0)).unwrap()).collect();
        let certificate = scene.certificate(&votes);
        let proven = certificate::closing(&certificate, &closing, &scene.set, &scene.payee).unwrap();
        let amount = if lost { Credits(4000) } else { Credits(0) };
        assert_eq!((proven.payee, proven.amount), (COMMONS, amount));
        let act = Act::Release { payee: COMMONS, turn: 0, amount, statement: proven.statement };
        let release = scene.log.write(act, None, Some(&proven), LIMIT, &scene.payer).unwrap();
        scene.votes(&release, Some(&proven)).unwrap();
        let fold = scene.log.fold();
        assert_eq!((fold.held(), fold.balance()), (Credits(0), -(amount.0 as i64)));
        let mut book = Book::default();
        let [payer, all] = [proven.payer, proven.payee].map(|id| book.account(id).unwrap());
        if lost {
            book.record(payer, all, proven.amount).unwrap();
        }
        assert_eq!((book.balance(all), book.sum()), (amount.0 as i64, 0));
    }
}
