//! News that this node still tells, and how often it told each.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use super::{
    message::{Accusation, Item},
    record::Record,
};
use crate::kit::{Fault, Instant, fault};

/// What is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    /// Somebody's newest record.
    Record(Arc<Record>),
    /// That somebody did not answer, and since when that is known.
    Accusation(Box<Accusation>, Instant),
    /// That somebody is dead, and since when.
    Death { incarnation: u64, since: Instant },
}

#[derive(Clone, Debug, PartialEq)]
struct Rumour {
    subject: u64,
    /// Times it may still be told.
    left: u8,
    /// Times it was told.
    told: u8,
    /// Whether it is worth packets of its own.
    urgent: bool,
    news: News,
}

/// A bounded list, told from the front: urgent before slow, new before old.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rumours {
    list: Vec<Rumour>,
    urgent: usize,
    /// Deaths among them, the shortest of news.
    deaths: usize,
    max: usize,
}

impl Rumours {
    pub const fn new(max: usize) -> Self {
        Self { list: Vec::new(), urgent: 0, deaths: 0, max }
    }

    /// How many are told.
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether something waits that is worth packets of its own.
    pub const fn is_urgent(&self) -> bool {
        self.urgent > 0
    }

    /// Takes in `news` of `subject`, to be told `times` times, in place of what it overtakes. When the list is full, what
    /// was told most often goes; comparing tables brings it to those who missed it.
    pub fn push(&mut self, subject: u64, news: News, times: u8, urgent: bool) {
        self.keep(|rumour| rumour.subject != subject || !overtakes(&news, &rumour.news));
        if self.list.len() >= self.max {
            self.remove(self.list.len() - 1);
        }
        let new = Rumour { subject, left: times, told: 0, urgent, news };
        let at = self.list.partition_point(|other| other.rank() < new.rank());
        self.urgent += usize::from(urgent);
        self.deaths += usize::from(new.is_death());
        self.list.insert(at, new);
    }

    /// What is told of `subject` is void: it was wrong, or it is settled.
    pub fn drop_charges(&mut self, subject: u64) {
        self.keep(|rumour| rumour.subject != subject || matches!(rumour.news, News::Record(_)));
    }

    /// Somebody told us what we tell: it is known a little better than we thought. Urgent news are told all the same; to
    /// reach everybody matters more than to be brief.
    pub fn heard(&mut self, subject: u64, same: impl Fn(&News) -> bool) {
        let slow = self.urgent..;
        let is = |rumour: &Rumour| rumour.subject == subject && same(&rumour.news);
        let Some(at) = self.list[slow].iter().position(is).map(|at| at + self.urgent) else { return };
        self.list[at].left -= 1;
        if self.list[at].left == 0 {
            self.remove(at);
        }
    }

    /// Fills `body` up to `room` bytes for `receiver`; `age` says how old an instant is in eighths of a period.
    pub fn fill(&mut self, body: &mut Vec<u8>, room: usize, receiver: u64, age: impl Fn(Instant) -> u8) {
        if self.list.is_empty() {
            return;
        }
        let mut spent = false;
        let mut told = Vec::with_capacity(16);
        let least = if self.deaths > 0 { Item::DOUBT } else { Item::ACCUSATION };
        for (at, rumour) in self.list.iter_mut().enumerate() {
            // Nobody is told of itself by way of gossip: what concerns it is put first by the caller.
            if rumour.subject == receiver {
                continue;
            }
            let item = rumour.item(&age);
            if body.len() + item.size() > room && !fault::on(Fault::PacketsOverfilled) {
                // Something smaller may still fit, but not if even the smallest would not.
                if room.saturating_sub(body.len()) < least {
                    break;
                }
                continue;
            }
            item.put(body);
            rumour.left -= 1;
            rumour.told += 1;
            spent |= rumour.left == 0;
            told.push(at);
        }
        self.move_back(&told);
        if spent {
            self.keep(|rumour| rumour.left > 0);
        }
    }

    /// Moves the rumours at `told`, in ascending order, behind those that were told less; all others are in order. A list
    /// of hundreds is told some ten at a time, so that sorting it all cost more than the telling.
    fn move_back(&mut self, told: &[usize]) {
        let mut end = told.len();
        while let Some(last) = end.checked_sub(1) {
            let rank = self.list[told[last]].rank();
            let mut first = last;
            while first > 0 && told[first - 1] + 1 == told[first] && self.list[told[first - 1]].rank() == rank {
                first -= 1;
            }
            let (from, until) = (told[first], told[last] + 1);
            let less = self.list[until..].partition_point(|other| other.rank() < rank);
            self.list[from..until + less].rotate_left(until - from);
            end = first;
        }
    }

    fn keep(&mut self, keeps: impl Fn(&Rumour) -> bool) {
        let deaths = &mut self.deaths;
        self.list.retain(|rumour| {
            let kept = keeps(rumour);
            *deaths -= usize::from(!kept && rumour.is_death());
            kept
        });
        self.urgent = self.list.partition_point(|rumour| rumour.urgent);
    }

    fn remove(&mut self, at: usize) {
        let gone = self.list.remove(at);
        self.urgent -= usize::from(gone.urgent);
        self.deaths -= usize::from(gone.is_death());
    }
}

impl Rumour {
    /// What is told first: lower before higher. What somebody says of itself goes before what others say of it: one answer
    /// settles many accusations.
    fn rank(&self) -> (bool, bool, u8) {
        (!self.urgent, !matches!(self.news, News::Record(_)), self.told)
    }

    const fn is_death(&self) -> bool {
        matches!(self.news, News::Death { .. })
    }

    fn item(&self, age: impl Fn(Instant) -> u8) -> Item<'_> {
        match &self.news {
            News::Record(record) => Item::Record(record.bytes()),
            News::Accusation(accusation, since) => Item::Accusation(**accusation, age(*since)),
            News::Death { incarnation, since } => {
                Item::Doubt { subject: self.subject, incarnation: *incarnation, age: age(*since), dead: true }
            }
        }
    }
}

/// Whether nobody needs to hear `old` of the same subject when there is `new`.
fn overtakes(new: &News, old: &News) -> bool {
    match (new, old) {
        (News::Record(_) | News::Death { .. }, _) => !matches!((new, old), (News::Death { .. }, News::Record(_))),
        (News::Accusation(new, _), News::Accusation(old, _)) => new.accuser == old.accuser,
        (News::Accusation(..), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::{Signature, codec::Reader};

    fn accusation(subject: u64, accuser: u64) -> News {
        let signature = Signature([0; 64]);
        News::Accusation(Box::new(Accusation { subject, incarnation: 1, accuser, signature }), Instant::default())
    }

    fn death() -> News {
        News::Death { incarnation: 1, since: Instant::default() }
    }

    fn told(rumours: &mut Rumours, room: usize, receiver: u64) -> Vec<u64> {
        let mut body = Vec::new();
        rumours.fill(&mut body, room, receiver, |_| 0);
        let mut reader = Reader(&body);
        let subjects = core::iter::from_fn(|| Item::next(&mut reader)).map(|item| match item {
            Item::Accusation(accusation, _) => accusation.subject,
            Item::Doubt { subject, .. } => subject,
            Item::Record(_) => 0,
        });
        subjects.collect()
    }

    #[test]
    fn urgent_news_go_first_and_each_is_told_as_often_as_it_may() {
        let mut rumours = Rumours::new(10);
        rumours.push(1, death(), 3, false);
        rumours.push(2, accusation(2, 9), 2, true);
        assert!(rumours.is_urgent());
        assert_eq!(told(&mut rumours, 1000, 0), [2, 1]);
        assert_eq!(told(&mut rumours, 1000, 2), [1], "nobody hears of itself");
        assert_eq!(told(&mut rumours, 1000, 0), [2, 1]);
        assert!(!rumours.is_urgent());
        assert!(told(&mut rumours, 1000, 0).is_empty());
    }

    #[test]
    fn what_was_told_less_goes_first_when_room_is_short() {
        let mut rumours = Rumours::new(10);
        (1..=4).for_each(|subject| rumours.push(subject, death(), 3, true));
        let first = told(&mut rumours, 45, 0);
        let second = told(&mut rumours, 45, 0);
        assert!(first.iter().all(|subject| !second.contains(subject)), "{first:?} {second:?}");
    }

    #[test]
    fn those_that_were_told_go_where_a_stable_sort_puts_them() {
        let mut rng = crate::kit::Rng::new(4);
        for _ in 0..500 {
            let mut rumours = Rumours::new(60);
            for subject in 0..rng.below(60).into() {
                let news = if rng.below(2) == 0 { death() } else { accusation(subject, 1) };
                rumours.push(subject, news, 9, rng.below(3) > 0);
            }
            for _ in 0..4 {
                let told: Vec<_> = (0..rumours.len()).filter(|_| rng.below(3) == 0).collect();
                told.iter().for_each(|at| rumours.list[*at].told += 1);
                let mut sorted = rumours.list.clone();
                sorted.sort_by_key(Rumour::rank);
                rumours.move_back(&told);
                assert_eq!(rumours.list, sorted);
            }
        }
    }

    #[test]
    fn a_death_takes_the_place_of_accusations_and_echoes_count() {
        let mut rumours = Rumours::new(3);
        rumours.push(1, accusation(1, 8), 5, true);
        rumours.push(1, accusation(1, 9), 5, true);
        rumours.push(1, death(), 2, false);
        assert_eq!(told(&mut rumours, 1000, 0), [1]);
        rumours.heard(1, |news| matches!(news, News::Death { .. }));
        assert!(told(&mut rumours, 1000, 0).is_empty());
        (1..=9).for_each(|subject| rumours.push(subject, death(), 2, true));
        assert_eq!(told(&mut rumours, 1000, 0).len(), 3);
    }
}
