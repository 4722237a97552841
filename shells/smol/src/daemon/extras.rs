//! What a request may name beside its model: adapters that it is written with, and a small model that guesses ahead.
//!
//! An adapter is named by the model that was made with it (ADAPTER), or by its own name where it is a file in a folder of
//! the user's. The model's own adapters come first: it is computed as its base with adapters, so that all models
//! of one base share its weights. Never is a path taken from a request.

use std::{path::PathBuf, sync::Arc};

use serde_json::Value;
use tutu_node::work::models::Name;

use super::{Daemon, Error, Hearing, Lease, Named};
use crate::{
    engine::{self, Adapter},
    store::{self, Kind, Record},
};

/// Adapters that one request may name.
const WISHES_MAX: usize = 8;
/// How much of an adapter may be taken, either way.
const SCALE_MAX: f64 = 100.0;

/// An adapter that a request names.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// What it is called here.
    pub name: String,
    /// How much of it; 1 for as much as it was trained to add.
    pub scale: f32,
}

impl Wish {
    /// Reads a list of names, or of objects with `name` and `scale`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(value: &Value) -> Result<Vec<Self>, String> {
        let wrong = || {
            format!(
                "adapters is a list of at most {WISHES_MAX} objects such as {{\"name\": \"mine\", \"scale\": 1}}; \
                 a scale is a number from -{SCALE_MAX} to {SCALE_MAX}"
            )
        };
        let one = |value: &Value| {
            if let Value::String(name) = value {
                return Some(Self { name: name.clone(), scale: 1.0 });
            }
            let fields = value.as_object()?;
            let name = fields.get("name")?.as_str()?.to_owned();
            let scale =
                fields.get("scale").map_or(Some(1.0), Value::as_f64).filter(|scale| scale.abs() <= SCALE_MAX)?;
            let known = fields.keys().all(|key| key == "name" || key == "scale");
            known.then_some(Self { name, scale: scale as f32 })
        };
        let list = match value {
            Value::Null => return Ok(Vec::new()),
            Value::Array(list) if list.len() <= WISHES_MAX => list,
            _ => return Err(wrong()),
        };
        list.iter().map(one).collect::<Option<_>>().ok_or_else(wrong)
    }
}

/// What a request takes, found.
#[derive(Clone, Debug, Default)]
pub(super) struct Extras {
    /// The model's own adapters, and those that were named.
    pub adapters: Vec<Adapter>,
    /// The files of the small model; none where nobody named one.
    pub draft: Vec<PathBuf>,
    /// What all of it takes in memory, in bytes.
    pub bytes: u64,
}

impl Daemon {
    /// Finds what is named beside a model.
    pub(super) async fn extras(&self, named: &Arc<Named>, hearing: &Hearing) -> Result<Extras, Error> {
        let own = named.model.sources.adapters.iter().map(|path| Adapter { path: path.clone(), scale: 1.0 });
        let mut adapters: Vec<Adapter> = own.collect();
        if !hearing.adapters.is_empty() {
            let (store, wishes, named) = (Arc::clone(&self.store), hearing.adapters.clone(), Arc::clone(named));
            let found = smol::unblock(move || {
                let all = wishes.iter().map(|wish| found(&store, &named.record, wish));
                all.collect::<Result<Vec<_>, _>>()
            });
            adapters.extend(found.await?.into_iter().flatten());
        }
        let size = |adapter: &Adapter| std::fs::metadata(&adapter.path).map_or(0, |meta| meta.len());
        let mut bytes = adapters.iter().map(size).sum();
        let mut draft = Vec::new();
        if let Some(name) = hearing.draft.as_deref().filter(|name| !name.is_empty()) {
            let small = self.find(name).await.map_err(|error| missing("draft model", name, error))?;
            draft.clone_from(&small.model.sources.files);
            bytes += self.pool.draft_bytes(&draft, self.context(named, hearing.context)).await?;
        }
        Ok(Extras { adapters, draft, bytes })
    }

    /// Has an open model take what a request takes, so that what does not fit is refused before anything is answered.
    pub(super) async fn ready(&self, lease: &Lease, extras: &Extras) -> Result<(), Error> {
        let gone = || Error::Engine(engine::Error::Use("its thread ended; ask again"));
        if !extras.adapters.is_empty() {
            let adapters = extras.adapters.clone();
            let made = lease.handle().call(move |engine| engine.attach(&adapters).map(drop)).await;
            made.ok_or_else(gone)?.map_err(Error::Engine)?;
        }
        if !extras.draft.is_empty() {
            let files = extras.draft.clone();
            let here = lease.handle().call(move |engine| engine.has_draft(&files)).await;
            if !here.ok_or_else(gone)? {
                let draft = self.pool.draft(&extras.draft, lease.card()).await.map_err(Error::Engine)?;
                lease.handle().call(move |engine| engine.guess_with(draft)).await.ok_or_else(gone)?;
            }
        }
        if extras.bytes > 0 {
            lease.tell_size();
        }
        Ok(())
    }
}

/// The adapters that a name stands for.
fn found(store: &store::Store, base: &Record, wish: &Wish) -> Result<Vec<Adapter>, Error> {
    let unfit = |why: &str| Error::Unfit(format!("'{}' cannot be taken as an adapter: {why}", wish.name));
    let name = Name::parse(&wish.name).map_err(|error| unfit(&error.to_string()))?;
    let record =
        store.find(&name).map_err(|error| missing("adapter", &wish.name, super::named::Error::Store(error)))?;
    let of = |record: &Record, kind: Kind| -> Vec<_> {
        record.layers.iter().filter(|layer| layer.kind == kind).map(|layer| layer.digest).collect()
    };
    let weights = of(&record, Kind::Model);
    if !weights.is_empty() && weights != of(base, Kind::Model) {
        return Err(unfit(&format!("it was made for another model than {}", base.name)));
    }
    let layers = record.layers.iter().filter(|layer| layer.kind == Kind::Adapter);
    let adapters: Vec<Adapter> =
        layers.map(|layer| Adapter { path: store.layer(&record, layer), scale: wish.scale }).collect();
    if adapters.is_empty() { Err(unfit("it has none (ADAPTER in a TuTufile)")) } else { Ok(adapters) }
}

fn missing(what: &str, name: &str, error: super::named::Error) -> Error {
    match error {
        super::named::Error::Store(store::Error::NotFound { .. }) => {
            Error::Missing(format!("{what} '{name}' not found; `tutu list` shows what is here"))
        }
        super::named::Error::Store(error) => Error::Engine(engine::Error::Backend(error.to_string())),
        other => Error::Unfit(format!("{what} '{name}': {other}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn adapters_are_named_with_or_without_a_scale() {
        let wish = |name: &str, scale| Wish { name: name.into(), scale };
        assert_eq!(Wish::read(&Value::Null), Ok(vec![]));
        assert_eq!(
            Wish::read(&json!(["a", {"name": "b"}, {"name": "c", "scale": -0.5}])),
            Ok(vec![wish("a", 1.0), wish("b", 1.0), wish("c", -0.5)])
        );
        let wrong = [
            json!("a"),
            json!([1]),
            json!([{"scale": 1}]),
            json!([{"name": "a", "scale": "1"}]),
            json!([{"name": "a", "scale": 1e9}]),
            json!([{"path": "/etc/passwd"}]),
            json!([{"name": "a", "path": "x"}]),
            json!(["a", "a", "a", "a", "a", "a", "a", "a", "a"]),
        ];
        for value in wrong {
            assert!(Wish::read(&value).is_err_and(|why| why.contains("adapters is a list")), "{value}");
        }
    }
}
