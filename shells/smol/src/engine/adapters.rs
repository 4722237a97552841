//! LoRA adapters that requests choose.
//!
//! An adapter is attached to the plan when it is first asked for; the model's own weights are there once, whoever takes
//! what. Each text says how much of each adapter it takes, so that texts with different ones are computed in the same step.
//! Those that no text takes make room for others, the one that was asked for longest ago first.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use tutu_llm::{arch::Model, backend::Backend, batch::Mix, lora, weights::Bytes};
use tutu_os::Mapped;

use super::{Error, open::map};

/// Adapters that stay attached while nobody takes them.
const KEPT: usize = 8;
/// Mixes that are remembered by their numbers; one that is forgotten gets a new number.
const MIXES_MAX: usize = 1024;

/// An adapter, and how much of it is taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// A GGUF file.
    pub path: PathBuf,
    /// 1 for as much as it was trained to add.
    pub scale: f32,
}

/// See the module.
pub(super) struct Adapters {
    base: Model,
    slots: Vec<Option<Slot>>,
    /// Numbers of mixes: which attachments, and how much of each.
    mixes: BTreeMap<Vec<(u64, u32)>, u64>,
    next: u64,
    clock: u64,
}

struct Slot {
    path: PathBuf,
    file: Arc<Mapped>,
    /// Which attachment it is, counted over all.
    number: u64,
    used: u64,
}

impl Adapters {
    /// For a model that has none attached.
    pub(super) fn new(base: Model) -> Self {
        Self { base, slots: Vec::new(), mixes: BTreeMap::new(), next: 1, clock: 0 }
    }

    /// Bytes of all that are attached.
    pub(super) fn bytes(&self) -> u64 {
        self.slots.iter().flatten().map(|slot| (*slot.file).as_ref().len() as u64).sum()
    }

    /// What a text takes that is to have these adapters; what is not attached yet becomes so. `taken` are the shares of
    /// the texts that are being written.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Adapter`]: then nothing has changed but what was attached before the one at fault.
    pub(super) fn mix<'t>(
        &mut self,
        backend: &mut dyn Backend,
        wanted: &[Adapter],
        taken: impl Iterator<Item = &'t Mix> + Clone,
    ) -> Result<Mix, Error> {
        let wanted = sums(wanted);
        let mut mix = Mix::default();
        let mut key = Vec::new();
        // Those of this text are the latest, and so not the ones that go.
        self.clock += 1;
        for Adapter { path, scale } in &wanted {
            let at = match self.find(path) {
                Some(at) => at,
                None => self.attach(backend, path, taken.clone())?,
            };
            let slot = self.slots[at].as_mut().expect("it was just found");
            slot.used = self.clock;
            mix.shares.resize(mix.shares.len().max(at + 1), 0.0);
            mix.shares[at] = *scale;
            key.push((slot.number, scale.to_bits()));
        }
        if !key.is_empty() {
            key.sort_unstable();
            mix.id = self.number(key);
        }
        Ok(mix)
    }

    /// Which files a mix takes how much of, as far as they are attached.
    pub(super) fn of<'s>(&'s self, mix: &'s Mix) -> impl Iterator<Item = (&'s Path, f32)> {
        let slot = |(slot, share): (&'s Option<Slot>, &f32)| Some((slot.as_ref()?.path.as_path(), *share));
        self.slots.iter().zip(&mix.shares).filter_map(slot).filter(|(_, share)| *share != 0.0)
    }

    fn number(&mut self, key: Vec<(u64, u32)>) -> u64 {
        if let Some(number) = self.mixes.get(&key) {
            return *number;
        }
        if self.mixes.len() >= MIXES_MAX {
            self.mixes.clear();
        }
        let number = self.next;
        self.next += 1;
        self.mixes.insert(key, number);
        number
    }

    fn find(&self, path: &Path) -> Option<usize> {
        self.slots.iter().position(|slot| slot.as_ref().is_some_and(|slot| slot.path == path && slot.file.is_intact()))
    }

    fn attach<'t>(
        &mut self,
        backend: &mut dyn Backend,
        path: &Path,
        taken: impl Iterator<Item = &'t Mix> + Clone,
    ) -> Result<usize, Error> {
        let file = map(path)?;
        let is_taken = |at: usize| taken.clone().any(|mix| mix.shares.get(at).is_some_and(|share| *share != 0.0));
        let is_idle = |at: &usize| {
            let slot = self.slots[*at].as_ref();
            slot.is_none_or(|slot| slot.used < self.clock) && !is_taken(*at)
        };
        let free = self.slots.iter().position(Option::is_none);
        let oldest = || {
            let full = self.slots.iter().flatten().count() >= KEPT;
            let idle = (0..self.slots.len()).filter(|_| full).filter(is_idle);
            idle.min_by_key(|at| self.slots[*at].as_ref().map(|slot| slot.used))
        };
        let at = free.or_else(oldest).unwrap_or(self.slots.len());
        let mut files: Vec<Option<Bytes>> = self.files();
        files.resize(files.len().max(at + 1), None);
        files[at] = Some(Arc::clone(&file) as Bytes);
        let wrong = |error: lora::Error| Error::Adapter { path: path.into(), reason: error.to_string() };
        self.replan(backend, &files).map_err(|error| error.map_or(Error::Changed, wrong))?;
        self.next += 1;
        let slot = Slot { path: path.into(), number: self.next, used: self.clock, file };
        self.slots.resize_with(files.len(), || None);
        self.slots[at] = Some(slot);
        // A file that was cut while it was read gives zeros.
        if self.find(path).is_none() {
            self.slots[at] = None;
            let files = self.files();
            let _ = self.replan(backend, &files);
            return Err(Error::Changed);
        }
        Ok(at)
    }

    fn files(&self) -> Vec<Option<Bytes>> {
        self.slots.iter().map(|slot| slot.as_ref().map(|slot| Arc::clone(&slot.file) as Bytes)).collect()
    }

    /// Has the backend go on with these; `None` as the error where it would not.
    fn replan(&self, backend: &mut dyn Backend, files: &[Option<Bytes>]) -> Result<(), Option<lora::Error>> {
        let model = lora::attach(&self.base, files).map_err(Some)?;
        backend.replan(model.weights, model.plan).map_err(|_| None)
    }
}

/// Each adapter once, with all that is taken of it; those of which nothing is taken are left out.
fn sums(wanted: &[Adapter]) -> Vec<Adapter> {
    let mut sums: Vec<Adapter> = Vec::new();
    for adapter in wanted {
        match sums.iter_mut().find(|other| other.path == adapter.path) {
            Some(other) => other.scale += adapter.scale,
            None => sums.push(adapter.clone()),
        }
    }
    sums.retain(|adapter| adapter.scale != 0.0);
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_that_is_named_twice_is_taken_once_with_the_sum() {
        let adapter = |path: &str, scale| Adapter { path: path.into(), scale };
        let found = sums(&[adapter("a", 1.0), adapter("b", 0.5), adapter("a", 0.5), adapter("c", 0.0)]);
        assert_eq!(found, [adapter("a", 1.5), adapter("b", 0.5)]);
        assert!(sums(&[adapter("a", 1.0), adapter("a", -1.0)]).is_empty());
    }
}
