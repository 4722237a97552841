//! The GPU of this process: found once, shared by all models, and how much of a model goes there.

use std::sync::{Arc, Mutex, PoisonError};

use tutu_gpu::{Device, Error as GpuError, Info, Spared, Wanted, adapters, choose, record::Size, split};
use tutu_llm::{
    backend::Backend,
    plan::{Op, Plan},
    weights::Weights,
};

use super::Error;

/// What `--gpu` said, and the device once it is open.
struct State {
    wanted: Option<Wanted>,
    /// `None` until somebody looked.
    found: Option<Option<Arc<Device>>>,
}

static STATE: Mutex<State> = Mutex::new(State { wanted: None, found: None });

/// Which GPU this process uses: `auto`, `off`, or a part of a name. Wins over `TUTU_GPU`; counts for models that are
/// opened later.
pub fn want(text: &str) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    *state = State { wanted: Some(Wanted::parse(text)), found: None };
}

/// The device that models run on; `None` where there is none, or none is wanted.
///
/// # Errors
/// [`Error::Backend`], where one was named that is not there or does not open.
pub fn device() -> Result<Option<Arc<Device>>, Error> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = &state.found
        && found.as_ref().is_none_or(|device| !device.is_lost())
    {
        return Ok(found.clone());
    }
    let variable = || std::env::var("TUTU_GPU").map_or(Wanted::Best, |text| Wanted::parse(&text));
    let wanted = state.wanted.clone().unwrap_or_else(variable);
    let found = match wanted {
        Wanted::Off => None,
        _ => open(&wanted)?,
    };
    state.found = Some(found.clone());
    Ok(found)
}

fn open(wanted: &Wanted) -> Result<Option<Arc<Device>>, Error> {
    let adapter = choose(adapters(), wanted).map_err(|names| {
        let here = if names.is_empty() { "none; is a driver installed?".into() } else { names.join(", ") };
        let asked = match wanted {
            Wanted::Named(name) => name.as_str(),
            _ => "auto",
        };
        Error::Backend(format!("there is no GPU {asked:?}; here are: {here}"))
    })?;
    let Some(adapter) = adapter else { return Ok(None) };
    match (Device::open(&adapter), wanted) {
        (Ok(device), _) => Ok(Some(device)),
        // Nobody asked for it by name: the processor does as well.
        (Err(_), Wanted::Best) => Ok(None),
        (Err(error), _) => Err(Error::Backend(format!("{} does not open: {error}", adapter.info))),
    }
}

/// Every GPU of this machine, for those who ask what there is.
pub fn list() -> Vec<Info> {
    adapters().into_iter().map(|adapter| adapter.info).collect()
}

/// What is put on the GPU.
pub struct Placing<'a> {
    /// The model's weights.
    pub weights: &'a Arc<Weights>,
    /// Its plan.
    pub plan: &'a Arc<Plan>,
    /// Most layers that go there; `None` for as many as fit.
    pub layers: Option<usize>,
    /// Steps and pages, and who is told of weights that are not needed any more.
    pub options: tutu_gpu::Options,
}

/// Makes a backend that runs a plan on the processor.
pub type OnProcessor = Arc<dyn Fn(Arc<Plan>) -> Result<Box<dyn Backend + Send>, Error> + Send + Sync>;

/// A backend on `device`, with as many layers there as are wanted and fit, and a line that says how many; `None` where
/// that is none of them.
///
/// # Errors
/// As `processor` has them.
pub fn place(
    device: &Arc<Device>,
    placing: &Placing<'_>,
    processor: &OnProcessor,
) -> Result<Option<(Box<dyn Backend + Send>, String)>, Error> {
    let all = layers(placing.plan);
    let most = placing.layers.unwrap_or(usize::MAX).min(all);
    let mut wanted = (0..=most).rev().find(|&count| count == 0 || fits(device, placing, count, all)).unwrap_or(0);
    let info = device.info();
    while wanted > 0 {
        let made = if wanted == all { whole(device, placing) } else { half(device, placing, wanted, processor)? };
        match made {
            Ok(backend) => {
                let (make, plan) = (Arc::clone(processor), Arc::clone(placing.plan));
                let spare = Box::new(move || make(plan).ok());
                let line = format!("{info}: {wanted} of {all} layers");
                return Ok(Some((Box::new(Spared::new(backend, spare)), line)));
            }
            // Drivers do not say in advance what is free: halve until it fits.
            Err(GpuError::Memory(_)) => wanted /= 2,
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// Layers of a plan; one without a cache is all or nothing.
fn layers(plan: &Plan) -> usize {
    if plan.caches.is_empty() { 1 } else { plan.ops.iter().filter(|op| matches!(op, Op::Attention { .. })).count() }
}

/// Whether the last `count` layers have room, as far as the driver says how much there is.
fn fits(device: &Device, placing: &Placing<'_>, count: usize, all: usize) -> bool {
    let size = Size { tokens: placing.options.tokens_max, pages: placing.options.pages };
    let first = if count == all { Some(0) } else { split::cut(placing.plan, count).map(|cut| cut.first) };
    let Some(first) = first else { return false };
    let program = tutu_gpu::record::record_from(placing.weights, placing.plan, first, size, device.caps());
    let Ok(program) = program else { return false };
    // A tenth is left for what drivers and the screen need.
    device.memory().is_none_or(|free| tutu_gpu::bytes(&program, &placing.options) <= free / 10 * 9)
}

type Made = Result<Box<dyn Backend + Send>, GpuError>;

fn whole(device: &Arc<Device>, placing: &Placing<'_>) -> Made {
    let (weights, plan) = (Arc::clone(placing.weights), Arc::clone(placing.plan));
    let engine = tutu_gpu::Engine::new(Arc::clone(device), weights, plan, placing.options.clone())?;
    Ok(Box::new(engine))
}

fn half(device: &Arc<Device>, placing: &Placing<'_>, count: usize, processor: &OnProcessor) -> Result<Made, Error> {
    let Some(cut) = split::cut(placing.plan, count) else { return Ok(Err(GpuError::Memory(0))) };
    let (weights, plan) = (Arc::clone(placing.weights), Arc::clone(placing.plan));
    let tail = tutu_gpu::Engine::tail(Arc::clone(device), weights, plan, placing.options.clone(), &cut);
    let tail = match tail {
        Ok(tail) => tail,
        Err(error) => return Ok(Err(error)),
    };
    let head = processor(Arc::new(cut.head))?;
    Ok(Ok(Box::new(split::Split::new(head, tail))))
}
