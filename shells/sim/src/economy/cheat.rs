//! What those do who do not play by the rules: with their own keys, and to their own packets, as anybody can.

use tutu_node::{
    economy::ledger::{Act, Entry},
    kit::{Credits, Domain, NodeId, Signer, rng::mix},
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
pub const ALL: [Cheat; 10] = [
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
];

impl World {
    /// What `host` sends in the place of `message` to `to`: itself, something else, or nothing.
    pub(super) fn bend(&self, host: u32, to: u32, message: Message) -> Option<Message> {
        let does = |cheat, salt| self.plan.does(host, cheat, self.now(), salt);
        match message {
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
