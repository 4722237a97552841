//! What those do who do not play by the rules: with their own keys, and to their own packets, as anybody can.

use tutu_node::{
    economy::{
        ledger::{Act, Entry, Terms},
        tiers::Order,
    },
    kit::{Credits, Digest, Domain, NodeId, Ppm, Signer, UnixTime, rng::mix},
    node::trade::message::{Message, Shown, VOUCH_MAX},
};

use super::world::World;
use crate::keys::Keys;

/// A way to cheat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cheat {
    /// As a worker it runs another model than the one that is paid.
    OtherModel,
    /// As a client it takes blocks and pays for none.
    NoPay,
    /// As a witness it signs whatever it is shown, and does not look.
    Blind,
    /// As an owner it shows one half of its witnesses another entry than the other half.
    Fork,
    /// As an auditor it finds everybody guilty.
    Slander,
    /// As an auditor it finds nobody guilty.
    Cover,
    /// As a client it keeps what it withheld.
    Keeper,
    /// As a worker it stops in the middle of an answer.
    Quitter,
    /// As a worker it hands over blocks that it has not committed to.
    Garbler,
    /// It says of all others who do so that it trusts them more than anybody.
    Praise,
    /// As a client it gives each tick so late that the worker just waits for it.
    Dawdle,
    /// As a client it wants many places at once, and agrees at once to terms for which it sets nothing aside.
    Crowd,
    /// As a worker it says of each place that somebody else has it now, and of tasks that it was not asked for that it is ready.
    Usher,
    /// As an owner it shows f of its witnesses nothing.
    Hider,
    /// With nothing to do it takes all that waits for others, and does none of it.
    Thief,
}

/// Who cheats how, from when on, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habit {
    /// Who.
    pub host: u32,
    /// How.
    pub cheat: Cheat,
    /// From which second on; before, it plays by the rules.
    pub from_s: u64,
    /// In so many of a million cases.
    pub share_ppm: u32,
}

impl Habit {
    /// From the first second on, every time.
    pub const fn always(host: u32, cheat: Cheat) -> Self {
        Self { host, cheat, from_s: 0, share_ppm: 1_000_000 }
    }
}

/// All of them.
pub const ALL: [Cheat; 15] = [
    Cheat::OtherModel,
    Cheat::NoPay,
    Cheat::Fork,
    Cheat::Blind,
    Cheat::Slander,
    Cheat::Quitter,
    Cheat::Garbler,
    Cheat::Keeper,
    Cheat::Cover,
    Cheat::Praise,
    Cheat::Dawdle,
    Cheat::Crowd,
    Cheat::Usher,
    Cheat::Hider,
    Cheat::Thief,
];

/// What is said to whom, and after how many microseconds.
pub(super) struct Said {
    pub to: u32,
    pub after: u64,
    pub message: Message,
}

/// Just before a worker gives a client up.
const LATE: u64 = 4_500_000;
/// Places at once.
const CROWD: u64 = 16;

impl World {
    /// What `host` says in the place of `message` to `to`: that, something else, more, later, or nothing.
    pub(super) fn bend(&self, host: u32, to: u32, message: Message) -> Vec<Said> {
        let does = |cheat, salt| self.plan.does(host, cheat, self.now(), salt);
        let late = matches!(message, Message::Tick { .. } | Message::Withhold { .. }) && does(Cheat::Dawdle, 0);
        let more = self.besides(host, to, &message);
        let said =
            self.instead(host, to, message).map(|message| Said { to, after: if late { LATE } else { 0 }, message });
        said.into_iter().chain(more.into_iter().map(|(to, message)| Said { to, after: 0, message })).collect()
    }

    /// What it says besides.
    fn besides(&self, host: u32, to: u32, message: &Message) -> Vec<(u32, Message)> {
        let does = |cheat| self.plan.does(host, cheat, self.now(), 0);
        match message {
            Message::Reserve { task, model, order, .. } if does(Cheat::Crowd) => (1..=CROWD)
                .flat_map(|n| {
                    let task = mix(task ^ n << 40);
                    let order = Order { tokens_out: 1, ..*order };
                    [Message::Reserve { task, model: *model, order, price_max: u32::MAX }, self.hollow(to, task)]
                })
                .map(|message| (to, message))
                .collect(),
            Message::Quote { task, .. } if does(Cheat::Usher) => {
                let others = (0..self.plan.nodes).filter(|other| ![host, to].contains(other));
                let moved = others.filter_map(|other| Some(Message::Moved { task: *task, to: self.id(other)? }));
                moved.chain((1..4).map(|n| Message::Ready(task + n))).map(|message| (to, message)).collect()
            }
            Message::Vouch { .. } if does(Cheat::Thief) => {
                vec![(to, Message::Steal { room: 16, models: (1..16).collect() })]
            }
            _ => vec![],
        }
    }

    /// Terms for which there will be no hold, as dear as a worker may be paid.
    fn hollow(&self, to: u32, task: u64) -> Message {
        let all = Credits(100 * Credits::ONE.0);
        let until = UnixTime(self.date().0 + 600);
        let payee = self.id(to).unwrap_or(NodeId([0; 32]));
        let terms = Terms { payee, turn: task, cap: all, tick: all, until, root: Digest([7; 32]) };
        let (promise, number) = (Digest([8; 32]), Digest([9; 32]));
        Message::Offer { task, epoch: 0, from: 0, terms, promise, number, withheld: Ppm(0) }
    }

    /// Whether `to` is one of f who watch `host`.
    fn hides_from(&self, host: u32, to: u32) -> bool {
        let set = self.trade(host).and_then(|trade| trade.set());
        let hidden = set.map(|set| &set.members()[..usize::from(set.faults())]);
        hidden.is_some_and(|hidden| self.id(to).is_some_and(|id| hidden.contains(&id)))
    }

    fn instead(&self, host: u32, to: u32, message: Message) -> Option<Message> {
        let does = |cheat, salt| self.plan.does(host, cheat, self.now(), salt);
        match message {
            Message::Show { .. } if does(Cheat::Hider, 0) && self.hides_from(host, to) => None,
            Message::Tick { task, .. } if does(Cheat::NoPay, task) => None,
            Message::Rest { turn, .. } if does(Cheat::Keeper, turn) => None,
            Message::Block { task, epoch, tokens, mut block, head } if does(Cheat::Garbler, task) => {
                block.tokens[0] ^= 1;
                Some(Message::Block { task, epoch, tokens, block, head })
            }
            Message::Show { set, next, entries } if does(Cheat::Fork, 0) => {
                Some(Message::Show { entries: self.fork(host, to, entries), set, next })
            }
            Message::Vouch { sightings, .. } if does(Cheat::Praise, 0) => {
                Some(Message::Vouch { edges: self.praise(host), sightings })
            }
            message => Some(message),
        }
    }

    /// The highest praise for all accomplices.
    fn praise(&self, host: u32) -> Vec<(NodeId, u32)> {
        let others = self.plan.cheats.iter().filter(|habit| habit.cheat == Cheat::Praise && habit.host != host);
        others.filter_map(|habit| Some((self.id(habit.host)?, u32::MAX))).take(VOUCH_MAX).collect()
    }

    /// Half of the witnesses see that an accomplice is paid instead, also where others are to watch.
    fn fork(&self, host: u32, to: u32, mut entries: Vec<Shown>) -> Vec<Shown> {
        // Which half changes from time to time, as those do to whom it talks: somebody sees both.
        let odd = mix(self.plan.seed ^ u64::from(to) << 32 ^ (self.now() / 1_500_000)) & 1 == 1;
        let accomplice = self.plan.cheats.iter().map(|habit| habit.host).find(|other| *other != host);
        let (Some((last, _)), Some(accomplice)) = (entries.last(), accomplice) else {
            return entries;
        };
        // It begins when it has something to lose.
        if odd && last.entry.number >= 4 && matches!(last.entry.act, Act::Hold(_) | Act::Renew { .. }) {
            let (own, other) = (self.keys(host), self.keys(accomplice));
            let turn = self.fold(host).map_or(0, |fold| fold.turn(&other.key()));
            let act = Act::Pay { payee: other.key(), turn, amount: Credits(5000) };
            let entry = Entry { act, ..last.entry.clone() };
            let consent = act.consent(&own.key(), &other);
            let signed = entry.sign(Some(consent), &own);
            entries.pop();
            entries.push((signed.into(), None));
        }
        entries
    }

    /// What a blind witness answers without looking.
    pub(super) fn blind(&self, host: u32, message: &Message) -> Option<Message> {
        if !self.plan.does(host, Cheat::Blind, self.now(), 0) {
            return None;
        }
        let (statement, set) = match message {
            Message::Show { set, entries, .. } => (entries.last()?.0.entry.statement(), set.digest()),
            Message::Close { closing, .. } => {
                let payer = self.host_of(&closing.payer)?;
                (closing.statement(), self.trade(payer)?.set()?.digest())
            }
            _ => return None,
        };
        let keys: Keys = self.keys(host);
        let signature = keys.sign(Domain::Vote, &[&statement.vote_digest(&set).0]);
        Some(Message::Vote { statement, signature, limit: Credits(u64::MAX >> 8) })
    }
}
