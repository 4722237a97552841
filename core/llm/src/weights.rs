//! The tensors of a model: where each lies, what shape it has, and its bytes.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::ops::Range;

use crate::quant::Kind;

/// Bytes that somebody keeps alive: a mapped file, or memory.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Which tensor of a [`Weights`]; an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub u32);

/// One tensor: `dims[0]` elements a row (contiguous), `dims[1]` rows, `dims[2]` matrices (experts);
/// dimensions that are not there are 1. As in GGUF, the *first* dimension runs fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name in the file, `blk.0.attn_q.weight`.
    pub name: String,
    /// How its elements are stored.
    pub kind: Kind,
    /// Row length, rows, matrices. Checked: the product and the byte size fit a `usize`.
    pub dims: [usize; 3],
    source: usize,
    range: Range<usize>,
}

/// All tensors of a model, from one file, several (split), or memory.
#[derive(Clone, Default)]
pub struct Weights {
    sources: Vec<Bytes>,
    tensors: Vec<Tensor>,
}

/// Why a tensor was not taken. The weights are unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The row is no whole number of blocks, or the size overflows.
    Shape,
    /// The bytes end before the tensor does.
    Short,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Shape => "its rows are no whole number of blocks",
            Self::Short => "the data ends before the tensor does",
        })
    }
}

impl core::error::Error for Error {}

impl Tensor {
    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.kind.row_bytes(self.dims[0]).expect("checked when it was added")
    }

    /// Rows in all, over every matrix.
    pub fn rows(&self) -> usize {
        self.dims[1] * self.dims[2]
    }

    /// Elements in all.
    pub fn len(&self) -> usize {
        self.dims[0] * self.rows()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Weights {
    /// No tensors yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps `bytes` alive, for tensors to lie in; answers its number.
    pub fn add_source(&mut self, bytes: Bytes) -> usize {
        self.sources.push(bytes);
        self.sources.len() - 1
    }

    /// Adds a tensor whose data starts at byte `offset` of source `source`.
    ///
    /// # Errors
    /// [`Error::Shape`], then [`Error::Short`].
    pub fn add(
        &mut self,
        name: &str,
        kind: Kind,
        dims: [usize; 3],
        source: usize,
        offset: usize,
    ) -> Result<TensorId, Error> {
        let size = kind
            .row_bytes(dims[0])
            .and_then(|row| row.checked_mul(dims[1])?.checked_mul(dims[2]))
            .ok_or(Error::Shape)?;
        dims[0].checked_mul(dims[1]).and_then(|n| n.checked_mul(dims[2])).ok_or(Error::Shape)?;
        let end = offset.checked_add(size).ok_or(Error::Shape)?;
        let held = self.sources.get(source).map_or(0, |s| (**s).as_ref().len());
        if end > held {
            return Err(Error::Short);
        }
        self.tensors.push(Tensor { name: name.into(), kind, dims, source, range: offset..end });
        Ok(TensorId(u32::try_from(self.tensors.len() - 1).map_err(|_| Error::Shape)?))
    }

    /// Adds a tensor that lives in memory of its own.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_owned(&mut self, name: &str, kind: Kind, dims: [usize; 3], data: Vec<u8>) -> Result<TensorId, Error> {
        let source = self.add_source(Arc::new(data));
        self.add(name, kind, dims, source, 0)
    }

    /// The tensor called `name`.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        // Called while a plan is made, some hundred times; a scan keeps the structure one list.
        self.tensors.iter().position(|t| t.name == name).map(|i| TensorId(i as u32))
    }

    /// What is known of tensor `id`.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }

    /// The bytes of tensor `id`.
    pub fn data(&self, id: TensorId) -> &[u8] {
        let tensor = self.tensor(id);
        &(*self.sources[tensor.source]).as_ref()[tensor.range.clone()]
    }

    /// All tensors, in file order.
    pub fn iter(&self) -> impl Iterator<Item = (TensorId, &Tensor)> {
        self.tensors.iter().enumerate().map(|(i, t)| (TensorId(i as u32), t))
    }
}
