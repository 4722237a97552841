//! From files to the tensors of one model; a model may be split over several files.

use alloc::{collections::BTreeSet, format, vec::Vec};

use super::{Error, Gguf};
use crate::weights::{Bytes, Weights};

/// The tensors of a model that lies in `files`: one, or all parts of a split one in their order.
///
/// A part carries `split.no` (from 0), `split.count` and `split.tensors.count`; the first one has the metadata.
///
/// # Errors
/// Those of [`Gguf::parse`], and [`Error::Split`] where parts are missing, doubled or of another model.
pub fn weights(files: &[Bytes]) -> Result<Weights, Error> {
    let heads = files.iter().map(|file| Gguf::parse((**file).as_ref())).collect::<Result<Vec<_>, _>>()?;
    check_parts(&heads)?;
    let mut weights = Weights::new();
    // Within a file names differ already.
    let mut names = BTreeSet::new();
    for (file, head) in files.iter().zip(&heads) {
        let source = weights.add_source(file.clone());
        for info in head.tensors() {
            if heads.len() > 1 && !names.insert(info.name) {
                return Err(Error::DuplicateTensor(info.name.into()));
            }
            let dims = [info.dims[0], info.dims[1], info.dims[2] * info.dims[3]];
            weights.add(info.name, info.kind, dims, source, info.offset).map_err(|_| Error::Shape(info.name.into()))?;
        }
    }
    Ok(weights)
}

fn check_parts(heads: &[Gguf<'_>]) -> Result<(), Error> {
    let Some(first) = heads.first() else {
        return Err(Error::Split("there is no file".into()));
    };
    let count = first.u64("split.count").unwrap_or(1).max(1);
    if count != heads.len() as u64 {
        return Err(Error::Split(format!("the model has {count} parts, and {} were given", heads.len())));
    }
    if count == 1 {
        return Ok(());
    }
    for (number, head) in heads.iter().enumerate() {
        if head.u64("split.no") != Some(number as u64) || head.u64("split.count") != Some(count) {
            return Err(Error::Split(format!("file {} of {count} is not part {number}", number + 1)));
        }
    }
    let tensors: usize = heads.iter().map(|head| head.tensors().len()).sum();
    match first.u64("split.tensors.count") {
        Some(wanted) if wanted != tensors as u64 => {
            Err(Error::Split(format!("{wanted} tensors were promised and {tensors} are there")))
        }
        _ => Ok(()),
    }
}
