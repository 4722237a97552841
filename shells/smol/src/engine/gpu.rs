//! The GPU of this process: looked for once, beside everything else, and shared by all models; and how much of a model
//! goes there.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use tutu_gpu::{
    Class, Device, Engine, Error as GpuError, Spared, Wanted, Why, adapters, choose, is_likely, record, split,
};
use tutu_llm::{
    arch::Model,
    backend::{Backend, PAGE},
    plan::{Op, Plan},
    weights::Weights,
};
use tutu_os::Mapped;

use super::{
    Error, Options,
    open::{self, OnGpu, Size},
};
use crate::log::{self, Level};

/// What `--gpu` said, and the device once somebody looked for it.
struct State {
    wanted: Option<Wanted>,
    found: Option<Option<Arc<Device>>>,
}

static STATE: Mutex<State> = Mutex::new(State { wanted: None, found: None });
/// Where compiled kernels are kept from one start to the next.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();
/// A line for each GPU, once somebody asked.
static ALL: OnceLock<Vec<String>> = OnceLock::new();

/// Which GPU this process uses: `auto`, `on`, `off`, or a part of a name. Wins over `TUTU_GPU`, but for `on` where that
/// names one; counts for models that are opened later.
///
/// # Errors
/// None in a build that has GPUs.
pub fn want(text: &str) -> Result<(), Error> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    *state = State { wanted: Some(Wanted::parse(text)), found: None };
    Ok(())
}

/// Keeps compiled kernels in `folder`; said once, before models are opened.
pub fn keep_in(folder: PathBuf) {
    let _ = FOLDER.set(folder);
}

impl State {
    fn wanted(&self) -> Wanted {
        let variable = || std::env::var("TUTU_GPU").map_or(Wanted::Auto, |text| Wanted::parse(&text));
        match (&self.wanted, variable()) {
            (None, set) => set,
            // Whoever wants any has said which.
            (Some(Wanted::Best), set @ Wanted::Named(_)) => set,
            (Some(wanted), _) => wanted.clone(),
        }
    }

    /// The same; `None` where there is nothing to look for.
    fn sought(&self) -> Option<Wanted> {
        let wanted = self.wanted();
        let idle = wanted == Wanted::Off || wanted == Wanted::Auto && !is_likely();
        (!idle).then_some(wanted)
    }
}

/// The device that models run on; `None` where there is none, or none is wanted.
fn device() -> Result<Option<Arc<Device>>, Error> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = &state.found
        && found.as_ref().is_none_or(|device| !device.is_lost())
    {
        return Ok(found.clone());
    }
    let found = match state.sought() {
        Some(wanted) => open(&wanted)?,
        None => None,
    };
    state.found = Some(found.clone());
    Ok(found)
}

fn open(wanted: &Wanted) -> Result<Option<Arc<Device>>, Error> {
    let adapter = choose(adapters(), wanted).map_err(|names| Error::Backend(not_there(wanted, &names)))?;
    let Some(adapter) = adapter else { return Ok(None) };
    match (Device::open(&adapter, FOLDER.get().map(PathBuf::as_path)), wanted) {
        (Ok(device), _) => {
            if std::env::var("TUTU_GPU_KERNELS").is_ok_and(|which| which == "plain") {
                device.keep_plain();
            } else if device.is_plain() {
                let fields = [("gpu", adapter.info.to_string().into())];
                log::say(Level::Warn, "the GPU's driver gets narrow numbers wrong; plain kernels are used", &fields);
            }
            Ok(Some(device))
        }
        // Nobody asked for it: the processor does as well.
        (Err(error), Wanted::Auto) => {
            let fields = [("gpu", adapter.info.to_string().into()), ("error", error.to_string().into())];
            log::say(Level::Warn, "the GPU does not open; the processor computes", &fields);
            Ok(None)
        }
        (Err(error), _) => Err(Error::Backend(format!("{} does not open: {error}", adapter.info))),
    }
}

fn not_there(wanted: &Wanted, names: &[String]) -> String {
    let here = match names {
        [] => "no driver offers any (Vulkan, Metal or DX12 is needed)".into(),
        names => format!("here is {}", names.join(", ")),
    };
    match wanted {
        Wanted::Named(name) => format!("no GPU is called {name:?}; {here}"),
        _ => format!("there is no GPU; {here}, and one in software must be named (--gpu=NAME)"),
    }
}

/// What GPUs there are, for those who ask: a line each, the one that is used first.
///
/// # Errors
/// As [`Search::begin`] would meet them: one is wanted that is not there.
pub fn list() -> Result<Vec<String>, Error> {
    if STATE.lock().unwrap_or_else(PoisonError::into_inner).sought().is_none() {
        return Ok(Vec::new());
    }
    let used = device()?.map(|device| device.info().to_string());
    let all = ALL.get_or_init(|| adapters().into_iter().map(|adapter| adapter.info.to_string()).collect());
    let others = all.iter().filter(|line| Some(*line) != used.as_ref()).map(|line| format!("not used: {line}"));
    Ok(used.iter().cloned().chain(others).collect())
}

/// The search for the device, which goes on while a model is read.
pub struct Search(Option<JoinHandle<Result<Option<Arc<Device>>, Error>>>);

impl Search {
    /// Begins, where a model may have `layers` layers there (`None`: as many as fit).
    pub fn begin(layers: Option<usize>) -> Self {
        let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = layers == Some(0) || state.sought().is_none();
        Self((!idle).then(|| std::thread::spawn(device)))
    }

    /// The device; `None` where there is none, or none is wanted.
    ///
    /// # Errors
    /// [`Error::Backend`], where one was asked for that is not there or does not open.
    pub fn end(self) -> Result<Option<Arc<Device>>, Error> {
        let Some(thread) = self.0 else { return Ok(None) };
        thread.join().map_err(|_| Error::Backend("a driver of a GPU made the search for it fail".into()))?
    }
}

/// A backend, and where it computes.
pub(super) type Placed = (Box<dyn Backend + Send>, Gpu);

/// A backend for a model that computes at least some of its layers on the device that was searched for; `None` where
/// that is none of them. `context` are the positions of one conversation, for which there must be room.
///
/// # Errors
/// As [`Search::end`], and as the processor has them.
pub(super) fn backend(
    search: Search,
    model: &Model,
    files: &[Arc<Mapped>],
    options: Options,
    size: Size,
    context: usize,
) -> Result<Option<Placed>, Error> {
    let Some(device) = search.end()? else { return Ok(None) };
    let Size { tokens_max, pages } = steps(&device, model, size, context);
    let (weights, files_held) = (Arc::clone(&model.weights), files.to_vec());
    let processor: OnProcessor = Arc::new(move |plan, pages| {
        open::on_processor(Arc::clone(&weights), plan, &files_held, options, Size { tokens_max, pages })
    });
    let mut placing = Placing::new(&device, model, options, Size { tokens_max, pages }, context);
    placing.options.lose_after = std::env::var("TUTU_GPU_LOSE_AFTER").ok().and_then(|steps| steps.parse().ok());
    placing.options.release = Some(open::release(files));
    place(&device, placing, &processor)
}

/// What of a model would lie in memory that a GPU has of its own, and bytes that there are for all models; `None` where that
/// is nothing. Waits for the device, where one is wanted that was not looked for yet; what is wrong with it is told when the
/// model is opened.
pub(super) fn expected(model: &Model, options: Options, size: Size, context: usize) -> Option<(OnGpu, u64)> {
    let device = Search::begin(options.layers_there()).end().ok()??;
    let for_all = own(&device, options.gpu_memory)?;
    let mut placing = Placing::new(&device, model, options, steps(&device, model, size, context), context);
    placing.room = Some(for_all);
    let all = layers(placing.plan);
    let most = placing.layers.unwrap_or(usize::MAX).min(all);
    let layers = fitting(&device, &mut placing, most, all);
    let bytes = bytes(&device, &placing, layers, all).filter(|_| layers > 0)?;
    Some((OnGpu { bytes, layers, all }, for_all))
}

/// Tokens of a step on a card of its own, which fewer leave idle: a prompt's products have as many workgroups as it has tokens.
const CARD_BATCH: usize = 512;

/// The size of a backend on a device.
fn steps(device: &Device, model: &Model, size: Size, context: usize) -> Size {
    // An encoder's is its context already.
    let larger = device.info().class == Class::Discrete && !model.plan.caches.is_empty();
    if larger { Size { tokens_max: CARD_BATCH.min(context).max(size.tokens_max), ..size } } else { size }
}

/// What models may take together of memory that a device has of its own, in bytes; `None` where it takes the
/// processor's, unless a share is set.
fn own(device: &Device, set: Option<u64>) -> Option<u64> {
    let has_own = matches!(device.info().class, Class::Discrete | Class::Virtual);
    set.or_else(|| device.info().memory.filter(|_| has_own).map(|all| all / 10 * 9))
}

/// What is put on the GPU.
struct Placing<'a> {
    weights: &'a Arc<Weights>,
    plan: &'a Arc<Plan>,
    /// Most layers that go there; `None` for as many as fit.
    layers: Option<usize>,
    context: usize,
    /// Bytes that there are for it; `None` where nobody knows.
    room: Option<u64>,
    /// Whether that is memory that the device has of its own.
    is_own: bool,
    options: tutu_gpu::Options,
}

impl<'a> Placing<'a> {
    fn new(device: &Device, model: &'a Model, options: Options, size: Size, context: usize) -> Self {
        // A tenth is left for what drivers and the screen need.
        let free = device.memory_free().map(|free| free / 10 * 9);
        Self {
            weights: &model.weights,
            plan: &model.plan,
            layers: options.gpu_layers,
            context,
            room: [free, options.gpu_memory].into_iter().flatten().min(),
            is_own: own(device, options.gpu_memory).is_some(),
            options: tutu_gpu::Options {
                tokens_max: size.tokens_max,
                pages: size.pages,
                release: None,
                caps: None,
                lose_after: None,
            },
        }
    }
}

/// Makes a backend that runs a plan on the processor, with so many pages.
type OnProcessor = Arc<dyn Fn(Arc<Plan>, usize) -> Result<Box<dyn Backend + Send>, Error> + Send + Sync>;

/// Where a model is computed, beside the processor.
#[derive(Clone, Debug)]
pub struct Gpu {
    adapter: String,
    layers: usize,
    all: usize,
    bytes: u64,
    is_own: bool,
    left: Arc<AtomicBool>,
}

impl Gpu {
    /// Its name, driver and interface.
    pub fn adapter(&self) -> &str {
        &self.adapter
    }

    /// Layers that it computes, and all of the model.
    pub fn layers(&self) -> (usize, usize) {
        (self.layers, self.all)
    }

    /// Bytes of its memory that the model takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether these are of memory that it has of its own, and not of the processor's.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Whether the processor computes all of it by now: the device was lost, or did not take the adapters that requests chose.
    pub fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }
}

/// A backend on `device`, with as many layers there as are wanted and fit; `None` where that is none of them.
fn place(device: &Arc<Device>, mut placing: Placing<'_>, processor: &OnProcessor) -> Result<Option<Placed>, Error> {
    let all = layers(placing.plan);
    let most = placing.layers.unwrap_or(usize::MAX).min(all);
    let mut wanted = fitting(device, &mut placing, most, all);
    let mut why = String::from("none of its layers has room there");
    while wanted > 0 {
        let made = if wanted == all { whole(device, &placing) } else { half(device, &placing, wanted, processor)? };
        match made {
            Ok((backend, bytes)) => {
                let left = Arc::<AtomicBool>::default();
                let gpu = Gpu {
                    adapter: device.info().to_string(),
                    layers: wanted,
                    all,
                    bytes,
                    is_own: placing.is_own,
                    left,
                };
                let spare = spare(&placing, &gpu, device, processor);
                return Ok(Some((Box::new(Spared::new(backend, spare)), gpu)));
            }
            // Drivers do not say in advance what is free: halve until it fits.
            Err(GpuError::Memory(_)) => wanted /= 2,
            Err(error) => {
                why = error.to_string();
                break;
            }
        }
    }
    let fields = [("gpu", device.info().to_string().into()), ("error", why.into())];
    log::say(Level::Warn, "the GPU does not take the model; the processor computes", &fields);
    Ok(None)
}

/// Who goes on when the device is gone.
fn spare(placing: &Placing<'_>, gpu: &Gpu, device: &Arc<Device>, processor: &OnProcessor) -> tutu_gpu::Make {
    let (plan, pages) = (Arc::clone(placing.plan), placing.options.pages);
    let (make, gpu, device) = (Arc::clone(processor), gpu.clone(), Arc::downgrade(device));
    Box::new(move |why| {
        gpu.left.store(true, Ordering::Relaxed);
        let words = device.upgrade().and_then(|device| device.complaint()).unwrap_or_default();
        let fields = [("gpu", gpu.adapter.as_str().into()), ("error", words.into())];
        match why {
            Why::Lost => log::say(Level::Warn, "the GPU was lost; the processor goes on", &fields),
            Why::Replanned => {
                log::say(
                    Level::Info,
                    "the GPU does not take the adapters that requests chose; the processor goes on",
                    &fields[..1],
                );
            }
        }
        make(Arc::clone(&plan), pages).ok()
    })
}

/// Layers of a plan; one without a cache is all or nothing.
fn layers(plan: &Plan) -> usize {
    if plan.caches.is_empty() { 1 } else { plan.ops.iter().filter(|op| matches!(op, Op::Attention { .. })).count() }
}

/// How many of the last layers have room, as far as the driver says how much there is. Rather than leave layers out, it
/// leaves out pages, as long as one conversation has its room.
fn fitting(device: &Device, placing: &mut Placing<'_>, most: usize, all: usize) -> usize {
    let least = placing.context.div_ceil(PAGE).min(placing.options.pages);
    let pages = placing.options.pages;
    while most > 0 && !fits(device, placing, most, all) {
        if placing.options.pages == least {
            // Fewer layers then, with all pages again where these are not what is too large.
            placing.options.pages = pages;
            let found = |placing: &Placing<'_>| (1..most).rev().find(|&count| fits(device, placing, count, all));
            return found(placing).unwrap_or_else(|| {
                placing.options.pages = least;
                found(placing).unwrap_or(0)
            });
        }
        placing.options.pages = (placing.options.pages / 2).max(least);
    }
    most
}

fn fits(device: &Device, placing: &Placing<'_>, count: usize, all: usize) -> bool {
    let bytes = bytes(device, placing, count, all);
    bytes.is_some_and(|bytes| placing.room.is_none_or(|room| bytes <= room))
}

/// What so many of the last layers take; `None` where they cannot be cut off.
fn bytes(device: &Device, placing: &Placing<'_>, count: usize, all: usize) -> Option<u64> {
    let size = record::Size { tokens: placing.options.tokens_max, pages: placing.options.pages };
    let first = if count == all { Some(0) } else { split::cut(placing.plan, count).map(|cut| cut.first) }?;
    let program = record::record_from(placing.weights, placing.plan, first, size, device.caps()).ok()?;
    Some(tutu_gpu::bytes(&program, &placing.options))
}

type Made = Result<(Box<dyn Backend + Send>, u64), GpuError>;

fn whole(device: &Arc<Device>, placing: &Placing<'_>) -> Made {
    let (weights, plan) = (Arc::clone(placing.weights), Arc::clone(placing.plan));
    let engine = Engine::new(Arc::clone(device), weights, plan, placing.options.clone())?;
    let bytes = engine.bytes();
    Ok((Box::new(engine), bytes))
}

fn half(device: &Arc<Device>, placing: &Placing<'_>, count: usize, processor: &OnProcessor) -> Result<Made, Error> {
    let Some(cut) = split::cut(placing.plan, count) else { return Ok(Err(GpuError::Memory(0))) };
    let (weights, plan) = (Arc::clone(placing.weights), Arc::clone(placing.plan));
    let tail = match Engine::tail(Arc::clone(device), weights, plan, placing.options.clone(), &cut) {
        Ok(tail) => tail,
        Err(error) => return Ok(Err(error)),
    };
    let bytes = tail.bytes();
    let head = processor(Arc::new(cut.head), placing.options.pages)?;
    Ok(Ok((Box::new(split::Split::new(head, tail)), bytes)))
}
