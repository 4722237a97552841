//! What a model consists of, as registries and Ollama's store write it.
//!
//! ```json
//! {"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
//!  "config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"sha256:…","size":485},
//!  "layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:…","size":98362432}]}
//! ```

use alloc::{
    borrow::Cow,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::kit::{Bytes, Digest};

/// Bytes of a manifest at most; real ones have about a thousand.
pub const BYTES_MAX: usize = 4 << 20;
/// Layers at most.
pub const LAYERS_MAX: usize = 4096;
/// The media type of a manifest; to be asked for with `Accept`.
pub const MEDIA_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_PREFIX: &str = "application/vnd.ollama.image.";

/// A model's blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The blob that holds a [`Summary`].
    pub config: Layer,
    /// All others, in their order.
    pub layers: Vec<Layer>,
}

/// One blob of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What it is to the model.
    pub kind: Kind,
    /// What it is known by.
    pub digest: Digest,
    /// How large it is.
    pub size: Bytes,
}

/// What a blob is to its model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A [`Summary`].
    Config,
    /// Weights, in GGUF.
    Model,
    /// What sees or hears, in GGUF.
    Projector,
    /// A LoRA adapter, in GGUF.
    Adapter,
    /// How a conversation becomes a prompt, as a Go template.
    Template,
    /// The system text.
    System,
    /// Options, a JSON object.
    Params,
    /// What was said already, a JSON list.
    Messages,
    /// What may be done with it.
    License,
    /// A small model that guesses ahead, in GGUF.
    Draft,
    /// Something else; its media type.
    Other(String),
}

const KINDS: [(&str, Kind); 10] = [
    ("model", Kind::Model),
    ("projector", Kind::Projector),
    ("adapter", Kind::Adapter),
    ("template", Kind::Template),
    // Before 2024.
    ("prompt", Kind::Template),
    ("system", Kind::System),
    ("params", Kind::Params),
    ("messages", Kind::Messages),
    ("license", Kind::License),
    ("draft", Kind::Draft),
];

impl Kind {
    fn of(media_type: &str) -> Self {
        if media_type == CONFIG_TYPE {
            return Self::Config;
        }
        let name = media_type.strip_prefix(LAYER_PREFIX);
        let known = KINDS.iter().find(|(known, _)| name == Some(known));
        known.map_or_else(|| Self::Other(media_type.into()), |(_, kind)| kind.clone())
    }

    fn media_type(&self) -> Cow<'_, str> {
        match (self, KINDS.iter().find(|(_, kind)| kind == self)) {
            (Self::Config, _) => Cow::Borrowed(CONFIG_TYPE),
            (Self::Other(media_type), _) => Cow::Borrowed(media_type),
            (_, Some((name, _))) => Cow::Owned([LAYER_PREFIX, name].concat()),
            (_, None) => unreachable!("every other kind is in the table"),
        }
    }
}

/// What is known of a model without opening its weights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// `gguf`.
    pub model_format: String,
    /// `llama`.
    pub model_family: String,
    /// All families that it has parts of.
    #[serde(deserialize_with = "list")]
    pub model_families: Vec<String>,
    /// How many parameters, as people are told: `134.52M`.
    pub model_type: String,
    /// Quantisation: `Q4_K_M`.
    pub file_type: String,
    /// The built-in that writes prompts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub renderer: String,
    /// The built-in that reads answers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parser: String,
}

/// Go writes an empty list as `null`.
fn list<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// Why something is no manifest. Its writer's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// Longer than [`BYTES_MAX`].
    Long { bytes: usize },
    /// Not the JSON that it should be.
    Json(String),
    /// Another version of the format.
    Schema(u64),
    /// More than [`LAYERS_MAX`] layers.
    Layers(usize),
    /// Sizes that no disk has.
    Size,
    /// One digest with two sizes.
    Torn(Digest),
}

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    #[serde(rename = "schemaVersion")]
    schema: u64,
    // Some registries leave it out.
    #[serde(rename = "mediaType", default, borrow)]
    media_type: Cow<'a, str>,
    config: WrittenLayer<'a>,
    layers: Vec<WrittenLayer<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WrittenLayer<'a> {
    #[serde(rename = "mediaType", borrow)]
    media_type: Cow<'a, str>,
    digest: Digest,
    size: u64,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The first that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > BYTES_MAX {
            return Err(Error::Long { bytes: bytes.len() });
        }
        let written: Written = serde_json::from_slice(bytes).map_err(|error| Error::Json(error.to_string()))?;
        if written.schema != 2 {
            return Err(Error::Schema(written.schema));
        }
        if written.layers.len() > LAYERS_MAX {
            return Err(Error::Layers(written.layers.len()));
        }
        let layers = written.layers.into_iter().map(Layer::from).collect();
        let manifest = Self { config: Layer::from(written.config), layers };
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), Error> {
        let mut sizes = alloc::collections::BTreeMap::new();
        for blob in self.blobs() {
            if *sizes.entry(blob.digest).or_insert(blob.size) != blob.size {
                return Err(Error::Torn(blob.digest));
            }
        }
        let sum = sizes.values().try_fold(0u64, |sum, size| sum.checked_add(size.0));
        sum.filter(|sum| i64::try_from(*sum).is_ok()).map(|_| ()).ok_or(Error::Size)
    }

    /// Writes it, always in the same way.
    pub fn print(&self) -> String {
        let written = |layer: &Layer| WrittenLayer {
            media_type: Cow::Owned(layer.kind.media_type().into_owned()),
            digest: layer.digest,
            size: layer.size.0,
        };
        let all = Written {
            schema: 2,
            media_type: Cow::Borrowed(MEDIA_TYPE),
            config: written(&self.config),
            layers: self.layers.iter().map(written).collect(),
        };
        serde_json::to_string(&all).expect("strings and numbers can be written as JSON")
    }

    /// All blobs, the configuration last; one that is there twice comes twice.
    pub fn blobs(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().chain([&self.config])
    }

    /// Bytes of all blobs, each once.
    pub fn size(&self) -> Bytes {
        let sizes: alloc::collections::BTreeMap<Digest, u64> = self.blobs().map(|b| (b.digest, b.size.0)).collect();
        Bytes(sizes.values().sum())
    }

    /// The first layer of a kind.
    pub fn layer(&self, kind: &Kind) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.kind == *kind)
    }
}

impl From<WrittenLayer<'_>> for Layer {
    fn from(layer: WrittenLayer<'_>) -> Self {
        Self { kind: Kind::of(&layer.media_type), digest: layer.digest, size: Bytes(layer.size) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long { bytes } => write!(f, "a manifest of {bytes} bytes, where {BYTES_MAX} are the most"),
            Self::Json(error) => write!(f, "not a manifest ({error})"),
            Self::Schema(version) => write!(f, "a manifest of version {version}, where 2 is known"),
            Self::Layers(count) => write!(f, "a manifest with {count} layers, where {LAYERS_MAX} are the most"),
            Self::Size => f.write_str("a manifest with sizes that no disk has"),
            Self::Torn(digest) => write!(f, "a manifest that gives {digest} two sizes"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::kit::Rng;

    fn text() -> String {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{MEDIA_TYPE}\",\
             \"config\":{{\"mediaType\":\"{CONFIG_TYPE}\",\"digest\":\"{}\",\"size\":485}},\
             \"layers\":[{{\"mediaType\":\"{LAYER_PREFIX}model\",\"digest\":\"{}\",\"size\":98362432}},\
             {{\"mediaType\":\"{LAYER_PREFIX}license\",\"digest\":\"{}\",\"size\":11}},\
             {{\"mediaType\":\"{LAYER_PREFIX}license\",\"digest\":\"{}\",\"size\":11}},\
             {{\"mediaType\":\"text/plain\",\"digest\":\"{}\",\"size\":1}}]}}",
            digest("a"),
            digest("b"),
            digest("c"),
            digest("c"),
            digest("d")
        )
    }

    #[test]
    fn is_read_and_written_byte_for_byte() {
        let manifest = Manifest::parse(text().as_bytes()).unwrap();
        assert_eq!(manifest.print(), text());
        assert_eq!(manifest.size(), Bytes(98_362_432 + 485 + 11 + 1));
        assert_eq!(manifest.layer(&Kind::Model).unwrap().digest, Digest([0xbb; 32]));
        assert_eq!(manifest.layers[3].kind, Kind::Other("text/plain".into()));
        let old = text().replace("image.model", "image.prompt");
        assert_eq!(Manifest::parse(old.as_bytes()).unwrap().layers[0].kind, Kind::Template);
    }

    #[test]
    fn every_kind_has_a_media_type_that_means_it() {
        for (_, kind) in KINDS.into_iter().chain([("", Kind::Config), ("", Kind::Other("x/y".into()))]) {
            assert_eq!(Kind::of(&kind.media_type()), kind);
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let refusal = |text: &str| Manifest::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(refusal("{}").starts_with("not a manifest (missing field `schemaVersion`"));
        assert_eq!(refusal(&text().replace("Version\":2", "Version\":1")), "a manifest of version 1, where 2 is known");
        assert!(refusal(&text().replace("sha256:a", "md5:a")).contains("no sha256 digest"));
        assert!(refusal(&text().replace("98362432", "-1")).starts_with("not a manifest"));
        assert_eq!(
            refusal(&text().replace("98362432", "9223372036854775807")),
            "a manifest with sizes that no disk has"
        );
        let torn = text().replacen("\"size\":11}", "\"size\":12}", 1);
        assert_eq!(Manifest::parse(torn.as_bytes()), Err(Error::Torn(Digest([0xcc; 32]))));
        let many = format!(
            "\"layers\":[{}",
            format!("{{\"mediaType\":\"x\",\"digest\":\"{}\",\"size\":1}},", "e".repeat(64)).repeat(5000)
        );
        assert_eq!(
            refusal(&text().replace("\"layers\":[", &many)),
            "a manifest with 5004 layers, where 4096 are the most"
        );
        assert!(matches!(Manifest::parse(&[b' '; BYTES_MAX + 1]), Err(Error::Long { .. })));
    }

    #[test]
    fn harmed_text_never_panics_and_what_is_read_can_be_written() {
        let mut rng = Rng::new(3);
        for _ in 0..20_000 {
            let mut bytes = text().into_bytes();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len() as u32) as usize;
                match rng.below(3) {
                    0 => bytes[at] = rng.next() as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, bytes[rng.below(bytes.len() as u32) as usize]),
                }
            }
            if let Ok(manifest) = Manifest::parse(&bytes) {
                assert_eq!(Manifest::parse(manifest.print().as_bytes()), Ok(manifest));
            }
        }
    }

    #[test]
    fn a_summary_is_read_with_what_it_leaves_out() {
        let read = |text: &str| serde_json::from_str::<Summary>(text).unwrap();
        let summary = read(r#"{"model_family":"llama","model_families":null,"file_type":"Q4_0","os":"linux"}"#);
        assert_eq!((summary.model_family.as_str(), summary.model_families.len()), ("llama", 0));
        assert_eq!(read(r#"{"model_families":["a","b"]}"#).model_families, ["a", "b"]);
    }
}
