//! GPUs, for a build without them (feature `gpu`): there are none, and whoever asks for one is told so.

use std::{path::PathBuf, sync::Arc};

use tutu_llm::{arch::Model, backend::Backend};
use tutu_os::Mapped;

use super::{
    Error, Options,
    open::{OnGpu, Size},
};

/// Refuses, but for `auto` and `off`.
///
/// # Errors
/// [`Error::Backend`].
pub fn want(text: &str) -> Result<(), Error> {
    match text.trim().to_lowercase().as_str() {
        "" | "auto" | "off" | "none" | "0" => Ok(()),
        _ => Err(Error::Backend("this program was built without GPUs; build it with the feature gpu".into())),
    }
}

/// Nothing is compiled that could be kept.
pub fn keep_in(_folder: PathBuf) {}

/// What GPUs there are: none.
///
/// # Errors
/// None.
pub fn list() -> Result<Vec<String>, Error> {
    Ok(Vec::new())
}

/// The search for a device, which ends at once.
pub struct Search(Result<(), Error>);

impl Search {
    /// Begins, and ends, where a model may have layers there.
    pub fn begin(layers: Option<usize>) -> Self {
        let wanted = std::env::var("TUTU_GPU").unwrap_or_default();
        Self(if layers == Some(0) { Ok(()) } else { want(&wanted) })
    }
}

/// Where a model is computed, beside the processor: nowhere.
#[derive(Clone, Debug)]
pub enum Gpu {}

impl Gpu {
    /// Whether the processor computes all of it by now.
    pub fn is_left(&self) -> bool {
        match *self {}
    }

    /// Whether its memory is its own.
    pub fn is_own(&self) -> bool {
        match *self {}
    }

    /// Its name, driver and interface.
    pub fn adapter(&self) -> &str {
        match *self {}
    }

    /// Layers that it computes, and all of the model.
    pub fn layers(&self) -> (usize, usize) {
        match *self {}
    }

    /// Bytes of its memory that the model takes.
    pub fn bytes(&self) -> u64 {
        match *self {}
    }
}

/// A backend, and where it computes.
pub(super) type Placed = (Box<dyn Backend + Send>, Gpu);

/// No backend.
///
/// # Errors
/// A GPU that is wanted.
pub(super) fn backend(
    search: Search,
    _model: &Model,
    _files: &[Arc<Mapped>],
    _options: Options,
    _size: Size,
    _context: usize,
) -> Result<Option<Placed>, Error> {
    search.0.map(|()| None)
}

/// Nothing of a model lies on a GPU.
pub(super) fn expected(_model: &Model, _options: Options, _size: Size, _context: usize) -> Option<(OnGpu, u64)> {
    None
}
