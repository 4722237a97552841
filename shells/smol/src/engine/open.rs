//! From files to an engine that can answer.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use tutu_llm::{
    arch::{self, Model},
    backend::{Backend, PAGE},
    batch::{self, Batcher},
    gguf::{self, Gguf},
    lora,
    plan::Plan,
    reference::{self, Reference},
    token::Tokenizer,
    weights::{Bytes, Weights},
};
use tutu_node::{kit, work::room::Room};
use tutu_os::Mapped;

use super::{Card, Draft, Engine, Error, adapters::Adapters, gpu, template::Template};

/// Where the parts of a model lie.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The GGUF file, or all parts of a split one in order.
    pub files: Vec<PathBuf>,
    /// LoRA adapters in GGUF, applied one after the other.
    pub adapters: Vec<PathBuf>,
    /// A template that takes the place of the one in the file, in Go's language or in Jinja.
    pub template: Option<String>,
    /// The files of a small model with the same vocabulary, which guesses what this one will say.
    pub draft: Vec<PathBuf>,
}

/// Who computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// Whatever is fast here: the processor, and a GPU as far as [`Options::gpu_layers`] says.
    #[default]
    Fast,
    /// The scalar interpreter in f32: slow, and right by inspection.
    Reference,
}

/// How a model is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Who computes.
    pub device: Device,
    /// Positions of one conversation; 0 for what the model was trained with.
    pub context: usize,
    /// Conversations that are held at once; each may use the whole context.
    pub texts: usize,
    /// Bytes that keys and values may take, if that is less than what all conversations could need; one always fits.
    pub kv_memory: Option<u64>,
    /// Tokens of a step at most.
    pub batch: usize,
    /// Whether texts are guessed to repeat themselves; the answer is the same either way.
    pub lookup: bool,
    /// Threads; 0 for as many as this process may use.
    pub threads: usize,
    /// How keys and values are kept.
    pub kv: tutu_cpu::KvKind,
    /// Which instructions; `None` for what `TUTU_CPU` says, or the fastest there are.
    pub isa: Option<tutu_cpu::Isa>,
    /// Most layers that a GPU computes; `None` for as many as fit there.
    pub gpu_layers: Option<usize>,
    /// Most bytes of a GPU's memory; `None` for all that is free there, but a tenth.
    pub gpu_memory: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            device: Device::Fast,
            context: 4096,
            texts: 1,
            kv_memory: None,
            batch: 128,
            lookup: true,
            threads: 0,
            kv: tutu_cpu::KvKind::F16,
            isa: None,
            gpu_layers: None,
            gpu_memory: None,
        }
    }
}

impl Options {
    /// Most layers that a GPU computes: none of what is computed to compare with.
    pub(super) fn layers_there(&self) -> Option<usize> {
        if self.device == Device::Fast { self.gpu_layers } else { Some(0) }
    }
}

impl Engine {
    /// Opens a model: maps its files, reads what it is, prepares the weights for whoever computes.
    ///
    /// # Errors
    /// A file that cannot be read or is no model that we run; an adapter that does not fit it.
    pub fn open(sources: &Sources, options: Options) -> Result<Self, Error> {
        let start = Instant::now();
        let search = gpu::Search::begin(options.layers_there());
        let files = sources.files.iter().map(|path| map(path)).collect::<Result<Vec<_>, _>>()?;
        let bytes: Vec<Bytes> = files.iter().map(|file| Arc::clone(file) as Bytes).collect();
        let path = sources.files.first().cloned().unwrap_or_default();
        let model_error = |source| Error::Model { path: path.clone(), source };
        let mut model = Model::load(&bytes, options.context).map_err(model_error)?;
        for path in &sources.adapters {
            let file: Bytes = map(path)?;
            model = lora::apply(&model, &file, 1.0)
                .map_err(|e| Error::Adapter { path: path.clone(), reason: e.to_string() })?;
        }
        let first = (*bytes[0]).as_ref();
        let gguf = Gguf::parse(first).map_err(|e| model_error(arch::Error::from(e)))?;
        let tokenizer = Tokenizer::from_gguf(&gguf).map_err(Error::Tokenizer)?;
        let (given, own) = (sources.template.as_deref(), gguf.str("tokenizer.chat_template"));
        let template = Template::new(given, own, &model.facts, &tokenizer).map_err(Error::Template)?;

        let context = context(options, &model);
        let estimate = Estimate::of(&model, &files, context, options);
        let pages = estimate.pages;
        let size = Size::of(&model, context, pages, options);
        let width = model.plan.output.width;
        let facts = model.facts.clone();
        let cached = !model.plan.caches.is_empty();
        let same = Model { facts: facts.clone(), weights: Arc::clone(&model.weights), plan: Arc::clone(&model.plan) };
        let (backend, gpu) = match gpu::backend(search, &model, &files, options, size, context)? {
            Some((backend, gpu)) => (backend, Some(gpu)),
            None => (backend(model, &files, options, size)?, None),
        };
        let pages = backend.pages();
        let draft = match sources.draft.as_slice() {
            [] => None,
            paths => Some(draft(paths, options, facts.vocabulary)?.for_all()),
        };
        let load = start.elapsed();
        Ok(Self {
            card: Card::new(facts, tokenizer, template, context),
            backend,
            cached,
            gpu,
            files,
            batcher: Batcher::new(pages, width, batch::Options { lookup: options.lookup, ..batch::Options::default() }),
            live: BTreeMap::new(),
            draft,
            how: how(&same, options, sources)?,
            recall: None,
            adapters: Adapters::new(same),
            load,
            estimate,
            unreported_load: load,
        })
    }
}

/// All that keys and values depend on beside the model's own files. Another version of this program may compute them
/// otherwise.
fn how(model: &Model, options: Options, sources: &Sources) -> Result<Vec<u8>, Error> {
    let isa = options.isa.map_or_else(forced_isa, |isa| Ok(Some(isa)))?;
    let isa = isa.or_else(|| tutu_cpu::Isa::ALL.into_iter().find(|isa| isa.is_here()));
    let version = env!("CARGO_PKG_VERSION");
    let (device, kv, adapters) = (options.device, options.kv, &sources.adapters);
    Ok(format!("{version} {device:?} {isa:?} {kv:?} {adapters:?} {:?}", model.plan).into_bytes())
}

/// What a model will take in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes of its weights.
    pub weights: u64,
    /// Bytes of one page of keys and values.
    pub page: u64,
    /// Pages of keys and values.
    pub pages: usize,
    /// Positions of one conversation.
    pub context: usize,
    /// What of it is expected to lie in memory that a GPU has of its own.
    pub gpu: Option<OnGpu>,
    /// Bytes that all models together may take there.
    pub gpu_all: u64,
}

/// What of a model lies in memory that a GPU has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnGpu {
    /// Bytes.
    pub bytes: u64,
    /// Layers that lie there.
    pub layers: usize,
    /// Layers of the model.
    pub all: usize,
}

/// Room to compute in, in bytes.
const SCRATCH: u64 = 32 << 20;

impl Estimate {
    fn of(model: &Model, files: &[Arc<Mapped>], context: usize, options: Options) -> Self {
        let caches = model.plan.caches.iter();
        // Eight bits and a scale of 16 for each 32 of them, or 16 bits.
        let bits = if options.kv == tutu_cpu::KvKind::Q8_0 { 17 } else { 32 };
        let elements: usize = caches.map(|cache| cache.heads * (cache.key + cache.value)).sum();
        let page = (elements * PAGE * bits / 16) as u64;
        let one = context.div_ceil(PAGE);
        let all = one * options.texts.max(1);
        let room = options.kv_memory.map_or(all, |bytes| usize::try_from(bytes / page.max(1)).unwrap_or(usize::MAX));
        let weights = files.iter().map(|file| AsRef::<[u8]>::as_ref(&**file).len() as u64).sum();
        Self { weights, page, pages: all.min(room.max(one)), context, gpu: None, gpu_all: 0 }
    }

    /// All of it, with some room to compute in.
    pub fn bytes(&self) -> u64 {
        self.bytes_of(self.pages)
    }

    /// What it takes of each memory, where so much of it lies on a GPU.
    pub fn room(&self, on_gpu: Option<OnGpu>) -> Room {
        let Some(OnGpu { bytes, layers, all }) = on_gpu else { return Room::main(self.bytes()) };
        // Weights, keys and values of the layers that are left.
        let left = (self.bytes() - SCRATCH) / all.max(1) as u64 * all.saturating_sub(layers) as u64;
        Room { main: kit::Bytes(left + SCRATCH), gpu: kit::Bytes(bytes) }
    }

    /// The same when so many pages have been written to: those that never were take no memory yet.
    pub fn bytes_of(&self, pages: usize) -> u64 {
        self.weights + self.page * pages as u64 + SCRATCH
    }
}

/// What a model would take in memory if it were opened.
///
/// # Errors
/// As [`Engine::open`].
pub fn estimate(sources: &Sources, options: Options) -> Result<Estimate, Error> {
    let files = sources.files.iter().map(|path| map(path)).collect::<Result<Vec<_>, _>>()?;
    let bytes: Vec<Bytes> = files.iter().map(|file| Arc::clone(file) as Bytes).collect();
    let path = sources.files.first().cloned().unwrap_or_default();
    let model = Model::load(&bytes, options.context).map_err(|source| Error::Model { path, source })?;
    let context = context(options, &model);
    let estimate = Estimate::of(&model, &files, context, options);
    let size = Size::of(&model, context, estimate.pages, options);
    match gpu::expected(&model, options, size, context) {
        Some((on_gpu, all)) => Ok(Estimate { gpu: Some(on_gpu), gpu_all: all, ..estimate }),
        None => Ok(estimate),
    }
}

/// Positions of one conversation.
fn context(options: Options, model: &Model) -> usize {
    match options.context {
        0 => model.facts.context,
        wanted => wanted.min(model.facts.context),
    }
}

/// How much a backend computes at once, and keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Tokens of a step at most.
    pub tokens_max: usize,
    /// Pages of keys and values.
    pub pages: usize,
}

impl Size {
    fn of(model: &Model, context: usize, pages: usize, options: Options) -> Self {
        // An encoder sees a text in one step or not at all.
        let batch = if model.plan.caches.is_empty() { context } else { options.batch };
        Self { tokens_max: batch.clamp(1, context), pages }
    }
}

/// Who computes a model without a GPU.
fn backend(
    model: Model,
    files: &[Arc<Mapped>],
    options: Options,
    size: Size,
) -> Result<Box<dyn Backend + Send>, Error> {
    let Size { tokens_max, pages } = size;
    match options.device {
        Device::Reference => {
            let options = reference::Options { tokens_max, pages };
            Ok(Box::new(Reference::new(model.weights, model.plan, options)))
        }
        Device::Fast => on_processor(model.weights, model.plan, files, options, size),
    }
}

/// A plan on the processor.
pub(super) fn on_processor(
    weights: Arc<Weights>,
    plan: Arc<Plan>,
    files: &[Arc<Mapped>],
    options: Options,
    Size { tokens_max, pages }: Size,
) -> Result<Box<dyn Backend + Send>, Error> {
    let threads = if options.threads == 0 { tutu_os::cores() } else { options.threads };
    let isa = options.isa.map_or_else(forced_isa, |isa| Ok(Some(isa)))?;
    let release = Some(release(files));
    let options = tutu_cpu::Options { tokens_max, pages, threads, kv: options.kv, isa, release };
    Ok(Box::new(tutu_cpu::Engine::new(weights, plan, options).map_err(|e| Error::Backend(e.to_string()))?))
}

/// Is told which bytes of the files lie elsewhere now.
pub(super) fn release(files: &[Arc<Mapped>]) -> tutu_cpu::Release {
    let mapped = files.to_vec();
    Arc::new(move |part: &[u8]| mapped.iter().for_each(|file| file.release(part)))
}

/// A small model that guesses for one of `vocabulary` tokens.
///
/// # Errors
/// As [`Engine::open`]; [`Error::Draft`] where it cannot guess for that model.
pub fn draft(paths: &[PathBuf], options: Options, vocabulary: usize) -> Result<Draft, Error> {
    let files = paths.iter().map(|path| map(path)).collect::<Result<Vec<_>, _>>()?;
    let bytes: Vec<Bytes> = files.iter().map(|file| Arc::clone(file) as Bytes).collect();
    let path = paths.first().cloned().unwrap_or_default();
    let model = Model::load(&bytes, options.context).map_err(|source| Error::Model { path: path.clone(), source })?;
    if model.facts.vocabulary != vocabulary || model.plan.caches.is_empty() {
        let reason = format!(
            "{} cannot guess for this model: it has {} tokens and not {vocabulary}; take one of the same family",
            path.display(),
            model.facts.vocabulary
        );
        return Err(Error::Draft(reason));
    }
    let context = if options.context == 0 { model.facts.context } else { options.context.min(model.facts.context) };
    let tokens_max = options.batch.clamp(1, context);
    let alone = Options { texts: 1, kv_memory: None, ..options };
    let bytes = Estimate::of(&model, &files, context, alone).bytes();
    let backend = backend(model, &files, options, Size { tokens_max, pages: context.div_ceil(PAGE) })?;
    Ok(Draft::new(backend).of(paths, bytes))
}

/// The instructions that `TUTU_CPU` names.
fn forced_isa() -> Result<Option<tutu_cpu::Isa>, Error> {
    let Ok(name) = std::env::var("TUTU_CPU") else { return Ok(None) };
    let known = tutu_cpu::Isa::ALL.map(tutu_cpu::Isa::name).join(", ");
    let isa = tutu_cpu::Isa::named(&name);
    isa.map(Some).ok_or_else(|| Error::Backend(format!("TUTU_CPU is {name:?}; it may be {known}")))
}

pub(super) fn map(path: &Path) -> Result<Arc<Mapped>, Error> {
    Mapped::open(path).map(Arc::new).map_err(|source| Error::File { path: path.into(), source })
}

/// What is known of a model apart from its weights.
///
/// # Errors
/// As [`Engine::open`].
pub fn card(sources: &Sources) -> Result<Card, Error> {
    let path = sources.files.first().cloned().unwrap_or_default();
    let files = sources.files.iter().map(|path| Ok(map(path)? as Bytes)).collect::<Result<Vec<_>, Error>>()?;
    let model_error = |source| Error::Model { path: path.clone(), source };
    let tensors = gguf::weights(&files).map_err(|e| model_error(arch::Error::from(e)))?;
    let gguf = Gguf::parse((*files[0]).as_ref()).map_err(|e| model_error(arch::Error::from(e)))?;
    let facts = arch::Facts::read(&gguf, &tensors).map_err(model_error)?;
    let tokenizer = Tokenizer::from_gguf(&gguf).map_err(Error::Tokenizer)?;
    let (given, own) = (sources.template.as_deref(), gguf.str("tokenizer.chat_template"));
    let template = Template::new(given, own, &facts, &tokenizer).map_err(Error::Template)?;
    let context = facts.context;
    Ok(Card::new(facts, tokenizer, template, context))
}

/// The tokenizer of a model, without its weights.
///
/// # Errors
/// As [`Engine::open`].
pub fn tokenizer(sources: &Sources) -> Result<Tokenizer, Error> {
    let path = sources.files.first().cloned().unwrap_or_default();
    let file = map(&path)?;
    let gguf = Gguf::parse((*file).as_ref()).map_err(|e| Error::Model { path, source: arch::Error::from(e) })?;
    Tokenizer::from_gguf(&gguf).map_err(Error::Tokenizer)
}
