use alloc::{boxed::Box, format, string::String, sync::Arc, vec, vec::Vec};

use super::{terms::Standing, vote::*, *};
use crate::{
    economy::ledger::{
        Book, Log, Proven,
        entry::{Act, COMMONS, Closing, Entry, Signed, Slot, Terms as Promised},
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

    fn open(&mut self) -> Arc<Signed> {
        let act = Act::Open { witnesses: self.set.digest(), faults: 1 };
        self.log.write(act, None, None, LIMIT, &self.payer).unwrap()
    }

    fn pay(&mut self, amount: u64) -> Arc<Signed> {
        let payee = self.payee.key();
        let act = Act::Pay { payee, turn: self.log.fold().turn(&payee), amount: Credits(amount) };
        let consent = act.consent(&self.payer.key(), &self.payee);
        self.log.write(act, Some(consent), None, LIMIT, &self.payer).unwrap()
    }

    fn hold(&mut self, ticks: u32) -> (Chain, Meter) {
        let chain = Chain::new(Digest([9; 32]), ticks);
        let (payee, tick) = (self.payee.key(), Credits(1000));
        let terms = Promised {
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
    fn votes(&mut self, signed: &Arc<Signed>, proven: Option<&Proven>) -> Result<Certificate, Refusal> {
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
    let forged = Arc::new(Signed { signature: Signature([0; 64]), ..(*paid).clone() });
    let alone = Arc::new(Signed { consent: None, ..(*paid).clone() });
    let fork = {
        let act = Act::Pay { payee: NodeId::number(8), turn: 0, amount: Credits(5000) };
        Arc::new(Entry { act, ..paid.entry.clone() }.sign(None, &scene.payer))
    };
    let forged_fork = Arc::new(Signed { signature: Signature([0; 64]), ..(*fork).clone() });
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
    let refusal = scene.witnesses[0].vote(&fork.into(), None, None, LIMIT).unwrap_err();
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

/// Those of term 5 who come after: the last two of those before, and two more.
fn later() -> Set {
    Set::new(1, (12..16).map(|n| id(n).key()).collect()).unwrap().of_term(5)
}

impl Scene {
    /// The log names `set`; what it came to before.
    fn renew(&mut self, set: &Set) -> (Arc<Signed>, Fold) {
        let before = self.log.fold().clone();
        let act = Act::Renew { witnesses: set.digest(), faults: set.faults(), state: before.digest() };
        (self.log.write(act, None, None, LIMIT, &self.payer).unwrap(), before)
    }

    /// Those before certify that `set` comes next.
    fn change(&mut self, set: &Set) -> (Renewal, Fold) {
        let (signed, before) = self.renew(set);
        let votes: Vec<Voted> =
            self.witnesses.iter_mut().map(|witness| witness.vote(&signed, None, Some(set), LIMIT).unwrap()).collect();
        let certificate = self.certificate(&votes);
        (Renewal { signed: (*signed).clone(), certificate, set: set.clone() }, before)
    }
}

#[test]
fn witnesses_change_by_consent_of_those_before_and_new_ones_go_on_from_there() {
    let mut scene = Scene::new();
    let paid = scene.pay(5000);
    scene.votes(&paid, None).unwrap();
    let new = later();
    let (renewal, before) = scene.change(&new);
    let mut bytes = vec![];
    renewal.encode(&mut bytes);
    assert_eq!(Renewal::decode(&mut crate::kit::codec::Reader(&bytes)), Ok(renewal.clone()));
    assert_eq!(renewal.verify(&scene.set, &id(1)), Ok(()), "in the name of those before");
    let mut fresh = Witness::new(id(14));
    let voted = fresh.adopt(before.clone(), &renewal, &scene.set).unwrap();
    assert_eq!(voted.set, new.digest(), "it says that it has taken over");
    assert_eq!(Witness::restore(id(14), voted.saved), fresh);
    let again = fresh.adopt(before, &renewal, &scene.set).unwrap();
    assert_eq!((again.signature, again.saved), (voted.signature, None));

    let next = scene.pay(1000);
    assert_eq!(fresh.vote(&next, None, None, LIMIT).unwrap().set, new.digest());
    assert_eq!(scene.witnesses[3].vote(&next, None, None, LIMIT).unwrap().set, new.digest());
    assert_eq!(scene.witnesses[0].vote(&next, None, None, LIMIT), Err(Refusal::Stranger), "it was replaced");
    assert!(scene.witnesses[0].vote(&renewal.signed.into(), None, None, LIMIT).is_ok(), "and still says what it said");
    let fold = scene.witnesses[0].fold(&scene.payer.key()).unwrap();
    assert!(fold.next() == 3 && fold.since() == 3, "what came before the change it let go");
    assert_eq!(scene.witnesses[0].vote(&paid, None, None, LIMIT), Err(Refusal::Old));
    assert!(scene.witnesses[3].vote(&paid, None, None, LIMIT).is_ok(), "who goes on watching has it all");
}

#[test]
fn every_refusal_of_a_change_in_the_order_of_checks() {
    let mut scene = Scene::new();
    let new = later();
    let (signed, before) = scene.renew(&new);
    let wrong_state = {
        let act = Act::Renew { witnesses: new.digest(), faults: 1, state: Digest([3; 32]) };
        Entry { act, ..signed.entry.clone() }.sign(None, &scene.payer)
    };
    let back = {
        let old = new.clone().of_term(0);
        let act = Act::Renew { witnesses: old.digest(), faults: 1, state: before.digest() };
        (Entry { act, ..signed.entry.clone() }.sign(None, &scene.payer), old)
    };
    let mut lines = String::new();
    let mut say = |name: &str, outcome: Result<Voted, Refusal>| {
        let text = match outcome {
            Ok(voted) if voted.saved.is_some() => "voted".into(),
            Ok(_) => "the same vote".into(),
            Err(refusal) => format!("{refusal}"),
        };
        lines += &format!("{name}: {text}\n");
    };
    let old = &mut scene.witnesses[0];
    say("a change of which the set is not shown", old.vote(&signed, None, None, LIMIT));
    say("with another set", old.vote(&signed, None, Some(&scene.set), LIMIT));
    say("to a term that is over", old.vote(&back.0.into(), None, Some(&back.1), LIMIT));
    say("that says the log came to something else", old.vote(&wrong_state.into(), None, Some(&new), LIMIT));
    say("a change", old.vote(&signed, None, Some(&new), LIMIT));
    say("again", old.vote(&signed, None, None, LIMIT));
    let set = scene.set.clone();
    let votes: Vec<Voted> =
        scene.witnesses.iter_mut().map(|one| one.vote(&signed, None, Some(&new), LIMIT).unwrap()).collect();
    let good = Renewal { certificate: scene.certificate(&votes), signed: (*signed).clone(), set: new.clone() };
    let with = |change: &dyn Fn(&mut Renewal)| {
        let mut renewal = good.clone();
        change(&mut renewal);
        renewal
    };
    let few = with(&|renewal| renewal.certificate.votes.truncate(2));
    let other = with(&|renewal| renewal.certificate.statement.digest = Digest([0; 32]));
    let chosen = with(&|renewal| renewal.set = Set::new(1, (13..17).map(|n| id(n).key()).collect()).unwrap());
    let mut nodes = [Witness::new(id(9)), Witness::new(id(13)), Witness::new(id(14))];
    let frozen = &mut nodes[1];
    frozen.vote(scene.log.since(0).next().unwrap(), None, Some(&set), LIMIT).unwrap();
    let act = Act::Pay { payee: scene.payee.key(), turn: 0, amount: Credits(1000) };
    let fork = Entry { act, ..good.signed.entry.clone() }.sign(None, &scene.payer);
    frozen.freeze(&crate::economy::ledger::Fraud::Fork { one: good.signed.clone(), other: fork }).unwrap();
    for (name, who, fold, renewal) in [
        ("who is not in it takes over", 0, &before, &good),
        ("who knows that the owner forked", 1, &before, &good),
        ("another change than is certified", 2, &before, &other),
        ("another set than is named", 2, &before, &chosen),
        ("a change that too few saw", 2, &before, &few),
        ("with another log", 2, &Fold::new(scene.payer.key()), &good),
        ("who comes after takes over", 2, &before, &good),
        ("again", 2, &before, &good),
    ] {
        say(name, nodes[who].adopt(fold.clone(), renewal, &set));
    }
    assert_eq!(
        lines,
        "a change of which the set is not shown: the set is not the one that the entry names\n\
         with another set: the set is not the one that the entry names\n\
         to a term that is over: the set is not the one that the entry names\n\
         that says the log came to something else: the state is not that of the log\n\
         a change: voted\n\
         again: the same vote\n\
         who is not in it takes over: this node is no witness of the account\n\
         who knows that the owner forked: the owner forked its log\n\
         another change than is certified: the set is not the one that the entry names\n\
         another set than is named: the set is not the one that the entry names\n\
         a change that too few saw: the set is not the one that the entry names\n\
         with another log: the set is not the one that the entry names\n\
         who comes after takes over: voted\n\
         again: the same vote\n"
    );
}

/// Who pays shows what it writes to a quorum, and may leave the others out.
#[test]
fn a_hold_that_a_witness_was_not_shown_is_closed_on_its_certificate() {
    let mut scene = Scene::new();
    let mut left_out = scene.witnesses.pop().unwrap();
    let (mut chain, mut meter) = scene.hold(4);
    let signed = scene.log.since(0).last().unwrap().clone();
    let votes: Vec<Voted> =
        scene.witnesses.iter_mut().map(|witness| witness.vote(&signed, None, None, LIMIT).unwrap()).collect();
    let certificate = scene.certificate(&votes);
    meter.tick(chain.tick().unwrap()).unwrap();
    let closing = meter.closing(scene.payer.key());
    let consent = closing.sign(&scene.payee);
    let (word, date) = (Word::Payee(&consent), UnixTime(5));
    assert_eq!(left_out.close(&closing, word, date), Err(Refusal::Unheld));
    let few = Certificate { votes: certificate.votes[1..].to_vec(), ..certificate.clone() };
    assert_eq!(left_out.close_unseen(&closing, word, date, (&signed, &few)), Err(Refusal::Unheld), "too few saw it");
    let other = Closing { turn: 1, ..closing };
    assert_eq!(left_out.close_unseen(&other, word, date, (&signed, &certificate)), Err(Refusal::Unheld));
    let dear = Closing { amount: Credits(2000), ..closing };
    let signature = dear.sign(&scene.payee);
    let shown = (&*signed, &certificate);
    assert_eq!(left_out.close_unseen(&dear, Word::Payee(&signature), date, shown), Err(Refusal::Ticks));
    let before = left_out.clone();
    let voted = left_out.close_unseen(&closing, word, date, shown).unwrap();
    assert_eq!(voted.statement, closing.statement());
    let nothing = Closing { ticks: 0, amount: Credits(0), link: meter.terms().root, ..closing };
    let late = UnixTime(500);
    assert_eq!(
        left_out.close_unseen(&nothing, Word::Nobody, late, shown),
        Err(Refusal::Taken),
        "one statement for each"
    );
    // It sees the log later, and then the hold is over.
    assert_ne!(before, left_out);
    left_out.vote(&signed, None, None, LIMIT).unwrap();
    let certificate = scene.close(&closing, Some(&consent), 5).unwrap();
    let proven = certificate::closing(&certificate, &closing, &scene.set, &scene.payer).unwrap();
    let Proven { payee, turn, amount, statement, .. } = proven;
    let act = Act::Release { payee, turn, amount, statement };
    let release = scene.log.write(act, None, Some(&proven), LIMIT, &scene.payer).unwrap();
    left_out.vote(&release, Some(&proven), None, LIMIT).unwrap();
    let again = left_out.close_unseen(&nothing, Word::Nobody, late, (&signed, &few));
    assert_eq!(again, Err(Refusal::Unheld), "what is over is not closed again");
    assert_eq!(left_out.close_unseen(&nothing, Word::Nobody, late, shown), Err(Refusal::Unheld));
}

/// Whoever owns an account may have two changes certified by accomplices that both name one honest set.
#[test]
fn who_took_over_by_one_change_says_so_of_no_other() {
    let mut scene = Scene::new();
    let (first, new, earlier) = (scene.set.clone(), later(), scene.log.fold().clone());
    let act = Act::Renew { witnesses: new.digest(), faults: 1, state: earlier.digest() };
    let other = earlier.draft(act).sign(None, &scene.payer);
    let other = Renewal { certificate: certify(&other, &first), signed: other, set: new.clone() };
    let paid = scene.pay(5000);
    scene.votes(&paid, None).unwrap();
    let (one, before) = scene.change(&new);
    let mut fresh = Witness::new(id(14));
    assert!(fresh.adopt(before.clone(), &one, &first).is_ok());
    assert_eq!(fresh.adopt(earlier.clone(), &other, &first), Err(Refusal::Old), "two certificates would name it");
    assert!(fresh.adopt(before, &one, &first).is_ok(), "what it said it says again");
    let mut terms = Terms::default();
    assert!(terms.judged(scene.payer.key(), &first));
    assert_eq!((terms.renew(&one, &id(77)), terms.renew(&one, &id(77))), (Ok(true), Ok(false)));
    assert!(terms.renew(&other, &id(77)).is_err(), "a set begins once");
}

#[test]
fn every_set_that_claims_to_watch_an_account() {
    let mut scene = Scene::new();
    let (account, keys) = (scene.payer.key(), id(77));
    let (first, new) = (scene.set.clone(), later());
    let (renewal, _) = scene.change(&new);
    let few = {
        let mut renewal = renewal.clone();
        renewal.certificate.votes.truncate(2);
        renewal
    };
    let mut terms = Terms::default();
    let mut lines = String::new();
    let mut say = |name: &str, text: String| lines += &format!("{name}: {text}\n");
    let standing = |terms: &Terms, set: &Set| format!("{:?}", terms.standing(&account, set));
    let change = |terms: &mut Terms, renewal: &Renewal| match terms.renew(renewal, &keys) {
        Ok(true) => String::from("taken"),
        Ok(false) => String::from("known"),
        Err(error) => format!("{error}"),
    };
    say("any of which nothing is known", standing(&terms, &new));
    say("a change of which nothing is known", change(&mut terms, &renewal));
    assert!(terms.judged(account, &first));
    say("the first", standing(&terms, &first));
    say("another in its place", standing(&terms, &Set::new(1, (30..34).map(NodeId::number).collect()).unwrap()));
    say("one that comes after", standing(&terms, &new));
    say("a change that too few saw", change(&mut terms, &few));
    say("the change", change(&mut terms, &renewal));
    say("the change again", change(&mut terms, &renewal));
    say("the first", standing(&terms, &first));
    say("the second", standing(&terms, &new));
    say("one between them", standing(&terms, &new.clone().of_term(3)));
    assert_eq!(terms.current(&account), Some(&new));
    assert_eq!(terms.after(&account, 0, 4), core::slice::from_ref(&renewal));
    assert_eq!(terms.after(&account, 5, 4), []);
    let number = renewal.signed.entry.number;
    for (name, set, slot) in [
        ("the change, by the first", &first, Slot::Entry(number)),
        ("the entry after it, by the first", &first, Slot::Entry(number + 1)),
        ("the change, by the second", &new, Slot::Entry(number)),
        ("the entry after it, by the second", &new, Slot::Entry(number + 1)),
        ("a closing, by the first", &first, Slot::Closing { payee: account, turn: 0 }),
    ] {
        say(name, if terms.may_certify(&account, set, &slot) { "counts".into() } else { "counts not".into() });
    }
    assert_eq!(
        lines,
        "any of which nothing is known: Open\n\
         a change of which nothing is known: the certificate is by another set of witnesses\n\
         the first: Known\n\
         another in its place: Other\n\
         one that comes after: Later\n\
         a change that too few saw: 3 witnesses must sign\n\
         the change: taken\n\
         the change again: known\n\
         the first: Known\n\
         the second: Known\n\
         one between them: Other\n\
         the change, by the first: counts\n\
         the entry after it, by the first: counts not\n\
         the change, by the second: counts not\n\
         the entry after it, by the second: counts\n\
         a closing, by the first: counts\n"
    );
    // Only so many are kept of one account.
    let mut many = Terms::default();
    (0..12).for_each(|term| assert!(many.judged(account, &first.clone().of_term(term))));
    assert_eq!((many.standing(&account, &first), many.current(&account).unwrap().term()), (Standing::Open, 11));
}

/// What `set` certifies: of those whose keys are known here, so many.
fn certify(signed: &Signed, set: &Set) -> Certificate {
    let statement = signed.entry.statement();
    let digest = statement.vote_digest(&set.digest());
    let members = (10..24).map(id).filter_map(|keys| Some((set.index(&keys.key())?, keys)));
    let mut votes: Vec<(u8, Signature)> =
        members.map(|(at, keys)| (at, keys.sign(Domain::Vote, &[&digest.0]))).collect();
    votes.sort_unstable_by_key(|vote| vote.0);
    votes.truncate(set.quorum());
    Certificate { statement, set: set.digest(), votes }
}

/// Three sets that watch the account of `scene` one after the other, and the changes between them.
fn three_sets(scene: &mut Scene) -> ([Set; 3], [Renewal; 2]) {
    let of = |from: u8, term| Set::new(1, (from..from + 4).map(|n| id(n).key()).collect()).unwrap().of_term(term);
    let sets = [scene.set.clone(), of(12, 5), of(16, 9)];
    let changes = [0, 1].map(|at| {
        scene.pay(1000);
        let signed = scene.renew(&sets[at + 1]).0;
        Renewal { certificate: certify(&signed, &sets[at]), signed: (*signed).clone(), set: sets[at + 1].clone() }
    });
    (sets, changes)
}

/// As after a restart that found the sets by what they certified, and only then how one followed the other.
#[test]
fn sets_that_were_judged_one_by_one_have_their_borders_when_the_changes_are_shown() {
    let mut scene = Scene::new();
    let (account, keys) = (scene.payer.key(), id(77));
    let (sets, changes) = three_sets(&mut scene);
    let (mut followed, mut judged) = (Terms::default(), Terms::default());
    assert!(followed.judged(account, &sets[0]));
    assert_eq!([0, 1].map(|at| followed.renew(&changes[at], &keys)), [Ok(true), Ok(true)]);
    assert!(sets.iter().all(|set| judged.judged(account, set)));
    let wrong = Renewal { certificate: certify(&changes[1].signed, &sets[0]), ..changes[1].clone() };
    assert_eq!(judged.renew(&wrong, &keys), Err(certificate::Error::Set), "it is not by the one before");
    assert_eq!([1, 0, 0].map(|at| judged.renew(&changes[at], &keys)), [Ok(true), Ok(true), Ok(false)]);
    assert_eq!(judged, followed);
    let may = |set: &Set, number| judged.may_certify(&account, set, &Slot::Entry(number));
    let table = sets.each_ref().map(|set| (1..7).map(|number| u8::from(may(set, number))).collect::<Vec<u8>>());
    assert_eq!(table, [vec![1, 1, 0, 0, 0, 0], vec![0, 0, 1, 1, 0, 0], vec![0, 0, 0, 0, 1, 1]]);
    // Nor may one certify anything that nobody remembers, after others are known to have come.
    let forgotten = Set::new(1, (20..24).map(|n| id(n).key()).collect()).unwrap();
    let mut later = Terms::default();
    assert!(later.judged(account, &sets[1]) && later.renew(&changes[1], &keys) == Ok(true));
    let may = [4, 5].map(|number| later.may_certify(&account, &forgotten, &Slot::Entry(number)));
    assert_eq!((later.standing(&account, &forgotten), may), (Standing::Open, [true, false]));
}

#[test]
fn a_full_table_of_sets_takes_no_stranger_and_of_the_known_the_last_ones() {
    let mut scene = Scene::new();
    let (account, keys) = (scene.payer.key(), id(77));
    let (sets, changes) = three_sets(&mut scene);
    let mut terms = Terms::default();
    assert!(terms.judged(account, &sets[0]));
    (1..terms::KNOWN_MAX as u64).for_each(|n| assert!(terms.judged(NodeId::number(n), &sets[0])));
    let stranger = NodeId::number(1 << 40);
    assert!(!terms.judged(stranger, &sets[0]), "there is no room");
    assert_eq!((terms.standing(&stranger, &sets[0]), terms.current(&stranger)), (Standing::Open, None));
    for (at, change) in changes.iter().enumerate() {
        assert_eq!(terms.renew(change, &keys), Ok(true), "who is known goes on");
        assert_eq!((terms.current(&account), terms.standing(&account, &sets[at])), (Some(&change.set), Standing::Open));
    }
    assert!(!terms.judged(account, &sets[0]), "one that went is not taken in again");
    assert_eq!(terms.current(&account), Some(&sets[2]));
    // What is known of the last one holds.
    let end = changes[1].signed.entry.number;
    assert!(!terms.may_certify(&account, &sets[1], &Slot::Entry(end + 1)));
    assert!(!terms.judged(stranger, &sets[0]));
}

/// S1 over a change: an owner that goes on in three ways (without a change, and with two different ones), and one faulty member
/// of each set, in any order of votes: a slot gets one certificate, whoever signs it.
#[test]
fn nobody_uses_two_sets() {
    let others = Set::new(1, (14..18).map(|n| id(n).key()).collect()).unwrap().of_term(5);
    let mut after = 0;
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let scene = Scene::new();
        let branch = |next: Option<&Set>| {
            let mut log = scene.log.clone();
            let fold = log.fold().clone();
            let first = next.map(|set| Act::Renew { witnesses: set.digest(), faults: 1, state: fold.digest() });
            let payee = scene.payee.key();
            let pay = (0..3).map(|turn| Act::Pay { payee, turn, amount: Credits(1000) });
            let write = |act: Act| {
                let consent = act.counterparty().map(|_| act.consent(&scene.payer.key(), &scene.payee));
                log.write(act, consent, None, LIMIT, &scene.payer).unwrap()
            };
            (fold, first.into_iter().chain(pay).map(write).collect::<Vec<Arc<Signed>>>())
        };
        let new = later();
        let sets = [None, Some(&new), Some(&others)];
        let branches = sets.map(branch);
        let mut nodes: Vec<Witness<Identity>> = (11..18).map(|n| Witness::new(id(n))).collect();
        let open = scene.log.since(0).next().unwrap();
        nodes[..3].iter_mut().for_each(|node| drop(node.vote(open, None, Some(&scene.set), LIMIT)));
        // Votes by branch, entry and set. 10 and 17 sign whatever they are shown.
        let mut votes = vec![];
        let faulty = [10, 17];
        for _ in 0..80 {
            let (who, at) = (rng.below(7) as usize, rng.below(3) as usize);
            let (fold, entries) = &branches[at];
            for signed in entries {
                if let Ok(voted) = nodes[who].vote(signed, None, sets[at], LIMIT) {
                    votes.push((at, signed.entry.number, voted.set, 11 + who as u8));
                }
            }
            // Whoever comes after is shown the change as soon as those before certified it.
            let Some(set) = sets[at] else { continue };
            let (signed, first) = (&entries[0], scene.set.digest());
            let before: Vec<u8> = votes.iter().filter(|v| (v.0, v.1, v.2) == (at, 1, first)).map(|v| v.3).collect();
            let sign = |n: &u8| {
                let digest = signed.entry.statement().vote_digest(&first);
                Some((scene.set.index(&id(*n).key())?, id(*n).sign(Domain::Vote, &[&digest.0])))
            };
            let mut signers: Vec<(u8, Signature)> = before.iter().chain([&10]).filter_map(sign).collect();
            signers.sort_unstable_by_key(|vote| vote.0);
            signers.dedup_by_key(|vote| vote.0);
            let certificate = Certificate { statement: signed.entry.statement(), set: first, votes: signers };
            let renewal = Renewal { signed: (**signed).clone(), certificate, set: set.clone() };
            if let Ok(voted) = nodes[who].adopt(fold.clone(), &renewal, &scene.set) {
                votes.push((at, 1, voted.set, 11 + who as u8));
            }
        }
        let all = [&scene.set, &new, &others];
        for number in 1..5 {
            let certified = |at: usize, set: &Set| {
                let signed = |n: &u8| {
                    set.index(&id(*n).key()).is_some()
                        && (faulty.contains(n) || votes.contains(&(at, number, set.digest(), *n)))
                };
                (10..18).filter(signed).count() >= 3
            };
            let branches = (0..3).filter(|at| all.iter().any(|set| certified(*at, set))).count();
            assert!(branches <= 1, "seed {seed}: {branches} statements are certified for entry {number}");
            after += usize::from(number > 1 && (1..3).any(|at| all[1..].iter().any(|set| certified(at, set))));
        }
    }
    assert!(after > 0, "those after certified something");
}

#[test]
fn a_hold_of_before_is_closed_by_those_before_and_by_nobody_else() {
    let mut scene = Scene::new();
    let (mut chain, mut meter) = scene.hold(10);
    let new = later();
    let (renewal, before) = scene.change(&new);
    let mut fresh: Vec<Witness<Identity>> = [14, 15].map(|n| Witness::new(id(n))).into();
    fresh.iter_mut().for_each(|one| drop(one.adopt(before.clone(), &renewal, &scene.set).unwrap()));
    let nothing = meter.closing(scene.payer.key());
    (0..3).for_each(|_| meter.tick(chain.tick().unwrap()).unwrap());
    let closing = meter.closing(scene.payer.key());
    let consent = closing.sign(&scene.payee);
    let certificate = scene.close(&closing, Some(&consent), 0).unwrap();
    assert_eq!(certificate.set, scene.set.digest());
    for one in &mut fresh {
        assert_eq!(one.close(&nothing, Word::Nobody, UnixTime(100)), Err(Refusal::Stranger), "it was not there");
    }
    for one in &mut scene.witnesses {
        assert_eq!(one.close(&nothing, Word::Nobody, UnixTime(100)), Err(Refusal::Taken));
    }
    // Who missed the change, and had voted for a closing before, says no other after.
    let mut late = Witness::new(id(12));
    scene.log.since(0).take(2).for_each(|entry| drop(late.vote(entry, None, Some(&scene.set), LIMIT).unwrap()));
    late.close(&closing, Word::Payee(&consent), UnixTime(0)).unwrap();
    late.adopt(before.clone(), &renewal, &scene.set).unwrap();
    let again = late.vote(&renewal.signed.clone().into(), None, None, LIMIT).unwrap();
    assert_eq!(again.set, new.digest(), "in the name of those before it did not vote for the change, and never will");
    assert_eq!(late.close(&nothing, Word::Nobody, UnixTime(100)), Err(Refusal::Taken));
    assert_eq!(late.close(&closing, Word::Payee(&consent), UnixTime(0)).unwrap().set, scene.set.digest());
    // So does who had not even seen the hold: it is of those who watched then.
    let mut later = Witness::new(id(13));
    later.vote(scene.log.since(0).next().unwrap(), None, Some(&scene.set), LIMIT).unwrap();
    later.adopt(before.clone(), &renewal, &scene.set).unwrap();
    assert_eq!(later.close(&closing, Word::Payee(&consent), UnixTime(0)).unwrap().set, scene.set.digest());
    assert_eq!(later.close(&nothing, Word::Nobody, UnixTime(100)), Err(Refusal::Taken));
    // Those after write down what it came to, and close what comes then.
    let proven = certificate::closing(&certificate, &closing, &scene.set, &scene.payee).unwrap();
    let act = Act::Release { payee: proven.payee, turn: 0, amount: proven.amount, statement: proven.statement };
    let release = scene.log.write(act, None, Some(&proven), LIMIT, &scene.payer).unwrap();
    assert!(fresh[0].vote(&release, Some(&proven), None, LIMIT).is_ok());
    let terms = Promised {
        payee: scene.payee.key(),
        turn: 1,
        cap: Credits(4000),
        tick: Credits(1000),
        until: UnixTime(9),
        root: chain.root(),
    };
    let act = Act::Hold(terms);
    let consent = act.consent(&scene.payer.key(), &scene.payee);
    let held = scene.log.write(act, Some(consent), None, LIMIT, &scene.payer).unwrap();
    assert!(fresh[0].vote(&held, None, None, LIMIT).is_ok());
    let nothing = Meter::new(terms).closing(scene.payer.key());
    assert_eq!(fresh[0].close(&nothing, Word::Nobody, UnixTime(9)).unwrap().set, new.digest());
    assert_eq!(scene.witnesses[0].close(&nothing, Word::Nobody, UnixTime(9)), Err(Refusal::Stranger));
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
    let Err(Refusal::Fork(fraud)) = witness.vote(&fork.into(), None, None, LIMIT) else { panic!("no fork") };
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
fn deposit(scene: &mut Scene) -> (Arc<Signed>, Promised, Certificate) {
    let terms = Promised::deposit(Digest([5; 32]), scene.log.fold().turn(&COMMONS), Credits(4000), UnixTime(100));
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
