//! A GPU that is open: its queue, its pipelines, and whether it is still there.

use std::{
    collections::HashMap,
    future::Future,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::{
    adapter::{Adapter, Class, Info},
    caps::Caps,
    driver,
    engine::Error,
    kernel::{Kernel, Matrices},
    trial,
};

/// An open GPU. Several engines may share one.
pub struct Device {
    adapter: wgpu::Adapter,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) layout: wgpu::BindGroupLayout,
    /// Distance of parameters of two dispatches.
    pub(crate) params_stride: u64,
    pipeline_layout: wgpu::PipelineLayout,
    pipelines: Mutex<HashMap<Kernel, wgpu::ComputePipeline>>,
    lost: Arc<AtomicBool>,
    complaint: Arc<Mutex<Option<String>>>,
    cache: Option<Cache>,
    caps: Caps,
    /// Whether narrow numbers and matrices are left alone.
    plain: AtomicBool,
    info: Info,
}

/// Pipelines that were compiled once, in a file.
struct Cache {
    pipelines: wgpu::PipelineCache,
    path: PathBuf,
    /// Bytes of the file as it was read or written last.
    kept: Mutex<usize>,
}

impl Cache {
    /// Those of a device that were kept in `folder`; `None` where its driver does not give them out.
    fn open(device: &wgpu::Device, adapter: &wgpu::Adapter, folder: &Path) -> Option<Self> {
        let path = folder.join(wgpu::util::pipeline_cache_key(&adapter.get_info())?);
        let data = std::fs::read(&path).ok();
        let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: data.as_deref(), fallback: true };
        // SAFETY: only this function's counterpart writes the file, in a folder of the user's own; what was written by
        // another version of wgpu, for another device or driver, is told by its head and not used.
        let pipelines = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { pipelines, path, kept: Mutex::new(data.map_or(0, |data| data.len())) })
    }

    /// Writes what was compiled since, whole or not at all. Without it, it is compiled again: no error of ours.
    fn keep(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(data) = self.pipelines.get_data().filter(|data| data.len() != *kept) else { return };
        let beside = self.path.with_extension(std::process::id().to_string());
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&beside, &data));
        if written.and_then(|()| std::fs::rename(&beside, &self.path)).is_ok() {
            *kept = data.len();
        } else {
            let _ = std::fs::remove_file(&beside);
        }
    }
}

/// Waits for a future of wgpu's, which outside of browsers is ready when it is made.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
        std::thread::yield_now();
    }
}

impl Device {
    /// Opens a GPU with all that it can do, and does right. Compiled pipelines are kept in `folder` from one start to the next.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn open(adapter: &Adapter, folder: Option<&Path>) -> Result<Arc<Self>, Error> {
        let mut opened = Self::open_untried(adapter, folder)?;
        let caps = opened.caps;
        // One in software has kernels of its own.
        if !caps.software && caps != caps.plain() && !trial::passes(&opened, caps) {
            if opened.is_lost() {
                opened = Self::open_untried(adapter, folder)?;
            }
            opened.keep_plain();
        }
        Ok(opened)
    }

    fn open_untried(adapter: &Adapter, folder: Option<&Path>) -> Result<Arc<Self>, Error> {
        let limits = adapter.inner.limits();
        let matrices = matrices(&adapter.inner);
        let mut wanted = wgpu::Features::SUBGROUP
            | wgpu::Features::SHADER_F16
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
            | wgpu::Features::PIPELINE_CACHE;
        wanted.set(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, matrices.is_some());
        let features = adapter.inner.features() & wanted;
        if limits.max_storage_buffers_per_shader_stage < STORAGE {
            let has = limits.max_storage_buffers_per_shader_stage;
            return Err(Error::Device(format!("it takes {has} buffers at once, and kernels need {STORAGE}")));
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("tutu"),
            required_features: features,
            required_limits: limits.clone(),
            // SAFETY: of what is experimental only matrices are asked for, and a kernel with those keeps to what wgpu says of
            // them: squares of a size that the device has, in loops that are the same for a subgroup.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            ..Default::default()
        };
        let opened = ready(adapter.inner.request_device(&descriptor));
        let (device, queue) = opened.map_err(|e| Error::Device(e.to_string()))?;
        let lost = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&lost);
        device.set_device_lost_callback(move |_, _| flag.store(true, Ordering::Relaxed));
        // An error that nobody waits for leaves wrong numbers behind; better none at all.
        let (flag, complaint) = (Arc::clone(&lost), Arc::new(Mutex::new(None)));
        let words = Arc::clone(&complaint);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            flag.store(true, Ordering::Relaxed);
            words.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
        }));
        let folder = folder.filter(|_| features.contains(wgpu::Features::PIPELINE_CACHE));
        let cache = folder.and_then(|folder| Cache::open(&device, &adapter.inner, folder));
        let layout = bind_group_layout(&device);
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let about = adapter.inner.get_info();
        let sizes = [about.subgroup_min_size, about.subgroup_max_size];
        let caps = Caps {
            binding: usize::try_from(limits.max_storage_buffer_binding_size.min(limits.max_buffer_size))
                .unwrap_or(usize::MAX),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            subgroup: Some(sizes[0]).filter(|_| sizes[0] == sizes[1]),
            software: adapter.info.class == Class::Software,
            packed: driver::multiplies_bytes(&adapter.inner),
            halves: features.contains(wgpu::Features::SHADER_F16),
            matrices,
        };
        Ok(Arc::new(Self {
            adapter: adapter.inner.clone(),
            device,
            queue,
            layout,
            params_stride: u64::from(limits.min_uniform_buffer_offset_alignment).max(128),
            pipeline_layout,
            pipelines: Mutex::new(HashMap::new()),
            lost,
            complaint,
            cache,
            caps,
            plain: AtomicBool::new(false),
            info: adapter.info.clone(),
        }))
    }

    /// What it is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// What it can do, as far as programs depend on it.
    pub fn caps(&self) -> Caps {
        if self.is_plain() { self.caps.plain() } else { self.caps }
    }

    /// From now on programs do without narrow numbers and matrices.
    pub fn keep_plain(&self) {
        self.plain.store(true, Ordering::Relaxed);
    }

    /// Whether they do: somebody said so, or the driver refused them, or was wrong.
    pub fn is_plain(&self) -> bool {
        self.plain.load(Ordering::Relaxed)
    }

    /// Bytes of its own memory, or of what it shares with the processor, that this process may have now; `None` where its
    /// driver does not say.
    pub fn memory_free(&self) -> Option<u64> {
        driver::memory(&self.adapter).map(|memory| memory.free)
    }

    /// Whether it is gone.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// What its driver complained of first, where it did.
    pub fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes it away from everybody, as a driver that is reset does. For trying out what then happens.
    pub fn lose(&self) {
        self.device.destroy();
        self.lost.store(true, Ordering::Relaxed);
    }

    /// The pipeline of a kernel, compiled when it is asked for first.
    pub(crate) fn pipeline(&self, kernel: Kernel) -> wgpu::ComputePipeline {
        let mut pipelines = self.pipelines.lock().expect("nobody panics while holding it");
        pipelines.entry(kernel).or_insert_with(|| self.compile(kernel)).clone()
    }

    /// Keeps what was compiled for the next start.
    pub(crate) fn keep_pipelines(&self) {
        self.cache.iter().for_each(Cache::keep);
    }

    fn compile(&self, kernel: Kernel) -> wgpu::ComputePipeline {
        let name = kernel.name();
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&name),
            source: wgpu::ShaderSource::Wgsl(kernel.source().into()),
        };
        // SAFETY: every index of a kernel comes from a recorded program, whose regions lie inside of their buffers, or
        // from a batch whose tokens, pages and positions were checked; loops end because their bounds are such numbers.
        let module =
            unsafe { self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) };
        self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&name),
            layout: Some(&self.pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Kernels write workgroup memory before they read it.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: self.cache.as_ref().map(|cache| &cache.pipelines),
        })
    }
}

/// The matrices that a kernel multiplies on a device: the largest squares, of halves rather than of f32. `None` where it has
/// none, or too little memory for a workgroup.
fn matrices(adapter: &wgpu::Adapter) -> Option<Matrices> {
    use wgpu::CooperativeScalarType as Scalar;

    let (features, limits, about) = (adapter.features(), adapter.limits(), adapter.get_info());
    let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SUBGROUP;
    if !features.contains(needed) {
        return None;
    }
    let known = adapter.cooperative_matrix_properties().into_iter().filter_map(|p| {
        let square = p.m_size == p.n_size && p.n_size == p.k_size && matches!(p.m_size, 8 | 16);
        let halves = match p.ab_type {
            Scalar::F16 => features.contains(wgpu::Features::SHADER_F16).then_some(true),
            Scalar::F32 => Some(false),
            _ => None,
        }?;
        (square && p.cr_type == Scalar::F32).then_some((p.m_size, halves))
    });
    let subgroup = [about.subgroup_min_size, about.subgroup_max_size];
    let known = known.map(|(size, halves)| Matrices::new(size, halves, subgroup));
    known.filter(|matrices| matrices.bytes() <= limits.max_compute_workgroup_storage_size).max()
}

/// Storage buffers of a kernel.
const STORAGE: u32 = 8;

/// All kernels see the same: parameters, then what `shaders/common.wgsl` names.
fn bind_group_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let entry = |binding: u32, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
    let written = [false, true, true, false, false, true, true, false];
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
    entries.extend(written.iter().enumerate().map(|(i, written)| entry(i as u32 + 1, storage(!written))));
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}
