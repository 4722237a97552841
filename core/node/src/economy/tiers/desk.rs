//! The quotas of all keys of one node.

use alloc::collections::BTreeMap;

use super::{Error, Policy, Quota, Ticket, Tier};
use crate::kit::{
    Credits, UnixTime,
    fault::{Fault, on},
};

/// A key that was given out, and what it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its number, as the shell counts keys.
    pub number: u64,
    /// How much it may ask for.
    pub tier: Tier,
    /// The hard cap in credits, if it has one.
    pub cap: Option<Credits>,
}

/// What a key has used, as it is kept: after each request that is let in and each that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Which key.
    pub number: u64,
    /// Whether a request was let in, and not ended.
    pub begun: bool,
    /// When.
    pub at: UnixTime,
    /// Requests of that day.
    pub today: u32,
    /// What was spent, with what is under way.
    pub spent: Credits,
}

/// Who may ask for how much, and who has.
///
/// A key that nobody listed is in the free tier, without a cap. What a key used is forgotten when its day is over, nothing of
/// it is under way and it has no cap to be kept to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desk {
    listed: BTreeMap<u64, Key>,
    quotas: BTreeMap<u64, Quota>,
}

/// Keys of which is remembered what they used: some 10 MB.
pub const KEYS_MAX: usize = 65_536;

impl Desk {
    /// With these keys given out.
    pub fn new(keys: &[Key]) -> Self {
        Self { listed: keys.iter().map(|key| (key.number, *key)).collect(), quotas: BTreeMap::new() }
    }

    /// Lets a request of key `number` in, as [`Quota::admit`] does.
    ///
    /// # Errors
    /// [`Error::Full`], then those of [`Quota::admit`].
    pub fn admit(
        &mut self,
        policy: &Policy,
        number: u64,
        (model, tokens): (u64, u64),
        price: Credits,
        date: UnixTime,
    ) -> Result<(Ticket, Used), Error> {
        if self.quotas.len() >= KEYS_MAX && !self.quotas.contains_key(&number) {
            let day = date.0 / super::DAY_S;
            self.quotas.retain(|_, quota| quota.cap.is_some() || !quota.open.is_empty() || quota.day == day);
            if self.quotas.len() >= KEYS_MAX {
                return Err(Error::Full { limit: KEYS_MAX });
            }
        }
        let ticket = self.quota(number).admit(policy, model, tokens, price, date)?;
        Ok((ticket, self.used(number, true, date)))
    }

    /// A request could cost up to `price` in all; nothing is to be kept if that was set aside for it already.
    ///
    /// # Errors
    /// [`Error::Cap`]; it stays what it was.
    pub fn raise(
        &mut self,
        number: u64,
        ticket: Ticket,
        price: Credits,
        date: UnixTime,
    ) -> Result<Option<Used>, Error> {
        let before = self.quota(number).held();
        self.quota(number).raise(ticket, price)?;
        Ok((self.quota(number).held() > before).then(|| self.used(number, false, date)))
    }

    /// A request ended after `paid` was paid for it: without anything, it failed.
    pub fn end(&mut self, number: u64, ticket: Ticket, paid: Credits, date: UnixTime) -> Used {
        let quota = self.quota(number);
        if paid > Credits(0) {
            quota.settle(ticket, paid)
        } else {
            quota.fail(ticket)
        }
        self.used(number, false, date)
    }

    /// Learns again what a key had used, in the order in which it was kept. What was under way then counts as spent: nobody
    /// knows any more what came of it.
    pub fn recall(&mut self, used: &Used) {
        if on(Fault::UseForgotten) {
            return;
        }
        let quota = self.quota(used.number);
        (quota.spent, quota.today, quota.day) = (used.spent, used.today, used.at.0 / super::DAY_S);
        quota.recent.retain(|at| *at + 60 > used.at.0);
        if used.begun {
            quota.recent.push_back(used.at.0);
        }
    }

    fn quota(&mut self, number: u64) -> &mut Quota {
        let (tier, cap) = self.listed.get(&number).map_or((Tier::Free, None), |key| (key.tier, key.cap));
        self.quotas.entry(number).or_insert_with(|| Quota::new(tier, cap))
    }

    fn used(&mut self, number: u64, begun: bool, at: UnixTime) -> Used {
        let quota = self.quota(number);
        let spent = Credits(quota.spent.0.saturating_add(quota.held().0));
        let today = if at.0 / super::DAY_S == quota.day { quota.today } else { 0 };
        Used { number, begun, at, today, spent }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec, vec::Vec};

    use super::*;

    const KEYS: [Key; 2] = [
        Key { number: 1, tier: Tier::Enterprise, cap: Some(Credits(1000)) },
        Key { number: 2, tier: Tier::Pro, cap: None },
    ];

    /// One line an attempt: second, key, tokens, price; `end` and what was paid ends the oldest of that key.
    fn run(script: &str) -> (String, Vec<Used>) {
        let policy = Policy { free_daily: 3, ..Policy::default() };
        let (mut desk, mut lines, mut kept) = (Desk::new(&KEYS), String::new(), vec![]);
        let mut open: Vec<(u64, Ticket)> = vec![];
        for line in script.lines().map(str::trim) {
            let n: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
            let at = UnixTime(n[0]);
            let text = if line.contains("end") {
                let first = open.iter().position(|one| one.0 == n[1]).unwrap();
                let (number, ticket) = open.remove(first);
                kept.push(desk.end(number, ticket, Credits(n[2]), at));
                "over".into()
            } else if line.contains("more") {
                let (number, ticket) = *open.iter().find(|one| one.0 == n[1]).unwrap();
                let raised = desk.raise(number, ticket, Credits(n[2]), at);
                raised.map_or_else(
                    |error| format!("{error}"),
                    |used| {
                        kept.extend(used);
                        "may".into()
                    },
                )
            } else {
                match desk.admit(&policy, n[1], (7, n[2]), Credits(n[3]), at) {
                    Ok((ticket, used)) => {
                        open.push((n[1], ticket));
                        kept.push(used);
                        "in".into()
                    }
                    Err(error) => format!("{error}"),
                }
            };
            lines += &format!("{line}: {text}\n");
            // Whoever begins again with what is kept knows as much, but that nothing is under way.
            let mut again = Desk::new(&KEYS);
            kept.iter().for_each(|used| again.recall(used));
            for used in &kept {
                let (mine, now) = (desk.used(used.number, false, at), again.used(used.number, false, at));
                assert_eq!(mine, now, "{line}");
            }
        }
        (lines, kept)
    }

    #[test]
    fn each_key_has_its_own_quota_and_cap() {
        let script = "0 1 9 600\n1 1 9 401\n1 1 9 400\n2 2 9 9999\n3 3 9 1\n4 3 2049 1\n5 3 9 1\n6 3 9 1\n7 3 9 1\n8 end 3 0\n9 3 9 1\n10 end 1 100\n11 more 1 900\n11 more 1 901\n12 1 9 1";
        assert_eq!(
            run(script).0,
            "0 1 9 600: in\n\
             1 1 9 401: only 0.0004 credits are left of this key's cap\n\
             1 1 9 400: in\n\
             2 2 9 9999: in\n\
             3 3 9 1: in\n\
             4 3 2049 1: this tier allows 2048 tokens a request; ask for fewer\n\
             5 3 9 1: in\n\
             6 3 9 1: in\n\
             7 3 9 1: today's requests are used up; the next day begins at 86400\n\
             8 end 3 0: over\n\
             9 3 9 1: in\n\
             10 end 1 100: over\n\
             11 more 1 900: may\n\
             11 more 1 901: only 0 credits are left of this key's cap\n\
             12 1 9 1: only 0 credits are left of this key's cap\n"
        );
    }

    #[test]
    fn a_minute_lasts_a_minute_after_a_loss_of_power_too() {
        let policy = Policy::default();
        let (_, kept) = run("0 3 9 1\n1 3 9 1\n59 3 9 1");
        let mut desk = Desk::new(&KEYS);
        kept.iter().for_each(|used| desk.recall(used));
        let mut ask = |second| desk.admit(&policy, 3, (7, 9), Credits(1), UnixTime(second)).map(|_| ());
        assert_eq!([ask(59), ask(59)], [Ok(()); 2]);
        assert_eq!(ask(59), Err(Error::Minute { until: UnixTime(60) }));
        assert_eq!([ask(61), ask(61)], [Ok(()); 2]);
        assert!(ask(61).is_err());
    }

    #[test]
    fn keys_that_nobody_listed_are_forgotten_the_next_day_and_not_before() {
        let mut desk = Desk::new(&KEYS);
        let mut ask = |number, second| {
            let (ticket, _) = desk.admit(&Policy::default(), number, (7, 9), Credits(1), UnixTime(second))?;
            desk.end(number, ticket, Credits(1), UnixTime(second));
            Ok(desk.quotas.len())
        };
        assert_eq!(ask(1, 0), Ok(1));
        assert!((10..9 + KEYS_MAX as u64).all(|number| ask(number, 0).is_ok()));
        assert_eq!(ask(5, 0), Err(Error::Full { limit: KEYS_MAX }));
        assert_eq!(ask(5, 86_400), Ok(2), "the one with a cap is remembered");
    }
}
