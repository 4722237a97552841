//! Which models are here, what they weigh together, and which of them go when room is needed.
//!
//! Models share blobs: a blob weighs once, and goes with the last model that needs it. What was computed from a
//! blob (repacked weights) weighs with it and goes with it.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use core::fmt;

use crate::kit::{Bytes, Digest, UnixTime};

/// One model, as far as room is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its blobs.
    pub blobs: BTreeSet<Digest>,
    /// When it was last used.
    pub used: UnixTime,
    /// Whether it stays, whatever happens.
    pub pinned: bool,
}

/// What a blob weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Itself.
    pub blob: Bytes,
    /// What was computed from it.
    pub caches: Bytes,
}

impl Weight {
    const fn total(self) -> u64 {
        self.blob.0.saturating_add(self.caches.0)
    }
}

/// All models that are here. Invariant: the blobs are exactly those of the items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelf {
    items: BTreeMap<String, Item>,
    blobs: BTreeMap<Digest, Weight>,
}

/// Why there is no room. Nothing was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// What may lie here.
    pub most: Bytes,
    /// What would lie here if everything that may go went.
    pub least: Bytes,
}

impl Shelf {
    /// An empty one.
    pub const fn new() -> Self {
        Self { items: BTreeMap::new(), blobs: BTreeMap::new() }
    }

    /// Puts a model there, or replaces the one of that name; what nobody needs any more comes back.
    ///
    /// `blobs` are all of its blobs with what they weigh; a blob that is there already weighs what is said last.
    pub fn insert(
        &mut self,
        name: &str,
        blobs: impl IntoIterator<Item = (Digest, Weight)>,
        used: UnixTime,
        pinned: bool,
    ) -> Vec<Digest> {
        let blobs: BTreeMap<Digest, Weight> = blobs.into_iter().collect();
        let item = Item { blobs: blobs.keys().copied().collect(), used, pinned };
        self.blobs.extend(blobs);
        let old = self.items.insert(name.into(), item);
        old.map_or_else(Vec::new, |old| self.sweep(old))
    }

    /// Takes a model away; the blobs that nobody needs any more. Nothing for a name that is not there.
    pub fn remove(&mut self, name: &str) -> Vec<Digest> {
        self.items.remove(name).map_or_else(Vec::new, |item| self.sweep(item))
    }

    /// Notes that a model was used; dates never go back.
    pub fn touch(&mut self, name: &str, now: UnixTime) {
        if let Some(item) = self.items.get_mut(name) {
            item.used = item.used.max(now);
        }
    }

    /// Forgets those of the old blobs that nobody needs, and says which.
    fn sweep(&mut self, old: Item) -> Vec<Digest> {
        let needed = |digest: &Digest| self.items.values().any(|item| item.blobs.contains(digest));
        let gone: Vec<Digest> = old.blobs.into_iter().filter(|digest| !needed(digest)).collect();
        for digest in &gone {
            self.blobs.remove(digest);
        }
        gone
    }

    /// What is here.
    pub fn items(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.items.iter().map(|(name, item)| (name.as_str(), item))
    }

    /// What all of it weighs, each blob once.
    pub fn total(&self) -> Bytes {
        Bytes(self.blobs.values().fold(0, |sum, weight| sum.saturating_add(weight.total())))
    }

    /// Whether a blob is here.
    pub fn has(&self, digest: &Digest) -> bool {
        self.blobs.contains_key(digest)
    }

    /// What a model would add: those of its blobs that are not here.
    pub fn added(&self, blobs: impl IntoIterator<Item = (Digest, Bytes)>) -> Bytes {
        let new: BTreeMap<Digest, Bytes> = blobs.into_iter().filter(|(digest, _)| !self.has(digest)).collect();
        Bytes(new.values().fold(0, |sum, size| sum.saturating_add(size.0)))
    }

    /// Which models must go so that `more` bytes fit in with `most`: those not used for the longest time, but
    /// none that is pinned or among `busy`, and none whose going would not be needed.
    ///
    /// # Errors
    /// [`Full`], if that is not enough.
    pub fn evictions(&self, most: Bytes, more: Bytes, busy: &BTreeSet<&str>) -> Result<Vec<String>, Full> {
        let fits = |shelf: &Self| shelf.total().0.saturating_add(more.0) <= most.0;
        let may_go = |(name, item): &(&String, &Item)| !item.pinned && !busy.contains(name.as_str());
        let mut order: Vec<(&String, &Item)> = self.items.iter().filter(may_go).collect();
        order.sort_by_key(|(name, item)| (item.used, *name));
        let mut rest = self.clone();
        let mut gone = Vec::new();
        for (name, _) in &order {
            if fits(&rest) {
                break;
            }
            rest.remove(name);
            gone.push(*name);
        }
        if !fits(&rest) {
            return Err(Full { most, least: Bytes(rest.total().0.saturating_add(more.0)) });
        }
        // Going from the latest to the oldest: whoever would fit again stays, for instance one whose blobs
        // another one keeps here anyhow.
        let mut kept = BTreeSet::new();
        for name in gone.iter().rev() {
            let mut with = self.clone();
            for other in gone.iter().filter(|other| *other != name && !kept.contains(*other)) {
                with.remove(other);
            }
            if fits(&with) {
                kept.insert(*name);
            }
        }
        Ok(gone.into_iter().filter(|name| !kept.contains(name)).cloned().collect())
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "models may take {}, and {} would be needed with all models gone that are not pinned or in use",
            self.most, self.least
        )
    }
}

impl core::error::Error for Full {}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, vec};

    use super::*;
    use crate::kit::Rng;

    fn digest(byte: u8) -> Digest {
        Digest([byte; 32])
    }

    /// Blobs of ten bytes for each byte of `blobs`.
    fn put(shelf: &mut Shelf, name: &str, blobs: &[u8], used: u64, pinned: bool) -> Vec<Digest> {
        let weight = Weight { blob: Bytes(9), caches: Bytes(1) };
        shelf.insert(name, blobs.iter().map(|byte| (digest(*byte), weight)), UnixTime(used), pinned)
    }

    #[test]
    fn a_blob_goes_with_the_last_model_that_needs_it() {
        let mut shelf = Shelf::new();
        put(&mut shelf, "a", &[1, 2], 1, false);
        put(&mut shelf, "b", &[2, 3], 2, false);
        assert_eq!(shelf.total(), Bytes(30));
        assert_eq!(shelf.added([(digest(3), Bytes(9)), (digest(4), Bytes(7))]), Bytes(7));
        assert_eq!(shelf.remove("a"), [digest(1)]);
        assert_eq!(put(&mut shelf, "b", &[3, 4], 2, false), [digest(2)], "replaced by another of that name");
        assert_eq!(shelf.remove("b"), [digest(3), digest(4)]);
        assert_eq!(shelf.remove("b"), []);
        assert_eq!(shelf, Shelf::new());
    }

    #[test]
    fn who_was_not_used_for_the_longest_time_goes_first() {
        let mut shelf = Shelf::new();
        put(&mut shelf, "old", &[1], 1, false);
        put(&mut shelf, "older but pinned", &[2], 0, true);
        put(&mut shelf, "oldest but busy", &[3], 0, false);
        put(&mut shelf, "new", &[4], 9, false);
        let busy = BTreeSet::from(["oldest but busy"]);
        let plan = |shelf: &Shelf, more| shelf.evictions(Bytes(40), Bytes(more), &busy);
        assert_eq!(plan(&shelf, 0), Ok(vec![]));
        assert_eq!(plan(&shelf, 1), Ok(vec!["old".into()]));
        assert_eq!(plan(&shelf, 20), Ok(vec!["old".into(), "new".into()]));
        let full = plan(&shelf, 21).unwrap_err();
        assert_eq!(full, Full { most: Bytes(40), least: Bytes(41) });
        assert!(full.to_string().starts_with("models may take 40 B, and 41 B would be needed"));
        shelf.touch("old", UnixTime(10));
        shelf.touch("old", UnixTime(5));
        assert_eq!(plan(&shelf, 1), Ok(vec!["new".into()]));
    }

    #[test]
    fn nobody_goes_in_vain() {
        let mut shelf = Shelf::new();
        put(&mut shelf, "copy", &[1], 1, false);
        put(&mut shelf, "pinned", &[1], 2, true);
        put(&mut shelf, "large", &[2, 3, 4], 3, false);
        let plan = shelf.evictions(Bytes(40), Bytes(10), &BTreeSet::new());
        assert_eq!(plan, Ok(vec!["large".into()]), "the copy would free nothing");
    }

    #[test]
    fn a_plan_makes_room_and_no_part_of_it_would() {
        let mut rng = Rng::new(11);
        for _ in 0..2000 {
            let mut shelf = Shelf::new();
            for number in 0..rng.below(7) {
                let blobs: Vec<u8> = (0..1 + rng.below(3)).map(|_| rng.below(8) as u8).collect();
                put(&mut shelf, &format!("m{number}"), &blobs, rng.below(4).into(), rng.below(4) == 0);
            }
            let (most, more) = (Bytes(rng.below(90).into()), Bytes(rng.below(40).into()));
            let busy = BTreeSet::from(["m0"]);
            let fits = |gone: &[&String]| {
                let mut rest = shelf.clone();
                gone.iter().for_each(|name| drop(rest.remove(name)));
                rest.total().0 + more.0 <= most.0
            };
            match shelf.evictions(most, more, &busy) {
                Ok(plan) => {
                    assert!(fits(&plan.iter().collect::<Vec<_>>()));
                    for left_out in 0..plan.len() {
                        let others = plan.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, name)| name);
                        assert!(!fits(&others.collect::<Vec<_>>()), "{plan:?} of {shelf:?}");
                    }
                    assert!(plan.iter().all(|name| name != "m0" && !shelf.items[name].pinned));
                }
                Err(full) => {
                    let may_go = |(name, item): &(&String, &Item)| !item.pinned && *name != "m0";
                    let all: Vec<&String> = shelf.items.iter().filter(may_go).map(|(name, _)| name).collect();
                    assert!(!fits(&all) && full.least > most);
                }
            }
        }
    }
}
