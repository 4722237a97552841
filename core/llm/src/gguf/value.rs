//! Metadata values, read where they lie.

/// The type of a value; numbers are the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the field's own names")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    pub(super) const fn from_number(number: u32) -> Option<Self> {
        use ValueType::*;
        const ALL: [ValueType; 13] = [U8, I8, U16, I16, U32, I32, F32, Bool, Str, Array, U64, I64, F64];
        if (number as usize) < ALL.len() { Some(ALL[number as usize]) } else { None }
    }

    /// Bytes of a scalar; 0 for texts and lists.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Str | Self::Array => 0,
        }
    }

    /// Bytes that the smallest value of the type takes in a list.
    pub(super) const fn least(self) -> usize {
        match self {
            Self::Str => 8,
            Self::Array => 12,
            scalar => scalar.size(),
        }
    }
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// An unsigned whole number of 8 to 64 bits.
    Unsigned(u64),
    /// A signed one.
    Signed(i64),
    /// A number of 32 bits, or one of 64.
    Float(f64),
    /// Yes or no; any byte but 0 is yes.
    Bool(bool),
    /// A text.
    Str(&'a str),
    /// A list of values of one type.
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// `bytes` are as many as the type has.
    pub(super) fn scalar(kind: ValueType, bytes: &[u8]) -> Self {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(wide);
        match kind {
            ValueType::U8 | ValueType::U16 | ValueType::U32 | ValueType::U64 => Self::Unsigned(unsigned),
            ValueType::I8 => Self::Signed((unsigned as u8 as i8).into()),
            ValueType::I16 => Self::Signed((unsigned as u16 as i16).into()),
            ValueType::I32 => Self::Signed((unsigned as u32 as i32).into()),
            ValueType::I64 => Self::Signed(unsigned as i64),
            ValueType::F32 => Self::Float(f32::from_bits(unsigned as u32).into()),
            ValueType::F64 => Self::Float(f64::from_bits(unsigned)),
            ValueType::Bool => Self::Bool(unsigned != 0),
            ValueType::Str | ValueType::Array => unreachable!("texts and lists are no scalars"),
        }
    }

    /// A whole number that is not negative.
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(n),
            Self::Signed(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// Any number, as near as 32 bits come.
    pub fn as_f32(self) -> Option<f32> {
        match self {
            Self::Float(x) => Some(x as f32),
            Self::Unsigned(n) => Some(n as f32),
            Self::Signed(n) => Some(n as f32),
            _ => None,
        }
    }
}

/// A list; its elements are read when they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array<'a> {
    kind: ValueType,
    len: usize,
    /// Exactly the elements; checked when the file was parsed.
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    pub(super) fn new(kind: ValueType, len: usize, bytes: &'a [u8]) -> Self {
        Self { kind, len, bytes }
    }

    /// What its elements are.
    pub fn kind(self) -> ValueType {
        self.kind
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The texts; nothing where the elements are something else.
    pub fn strings(self) -> impl Iterator<Item = &'a str> {
        let mut rest = if self.kind == ValueType::Str { self.bytes } else { &[] };
        core::iter::from_fn(move || {
            let (len, tail) = rest.split_at_checked(8)?;
            let len = u64::from_le_bytes(len.try_into().expect("eight bytes")) as usize;
            let (text, tail) = tail.split_at_checked(len)?;
            rest = tail;
            // Checked once when the file was parsed; again because a mapped file may change under us.
            Some(core::str::from_utf8(text).unwrap_or(""))
        })
    }

    /// The scalars; nothing where the elements are texts or lists.
    pub fn scalars(self) -> impl Iterator<Item = Value<'a>> {
        let bytes = if self.kind.size() == 0 { &[] } else { self.bytes };
        bytes.chunks_exact(self.kind.size().max(1)).map(move |one| Value::scalar(self.kind, one))
    }

    /// The numbers, as near as 32 bits come.
    pub fn f32s(self) -> impl Iterator<Item = f32> {
        self.scalars().filter_map(Value::as_f32)
    }

    /// The whole numbers; signed ones keep their bits (token types are written as `i32`).
    pub fn i64s(self) -> impl Iterator<Item = i64> {
        self.scalars().filter_map(|value| match value {
            Value::Unsigned(n) => Some(n as i64),
            Value::Signed(n) => Some(n),
            Value::Bool(b) => Some(b.into()),
            _ => None,
        })
    }
}
