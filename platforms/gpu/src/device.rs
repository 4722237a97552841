//! A GPU that is open: its queue, its pipelines, and whether it is still there.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::{
    adapter::{Adapter, Class, Info},
    engine::Error,
    kernel::Kernel,
    record::Caps,
};

/// An open GPU. Several engines may share one.
pub struct Device {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) layout: wgpu::BindGroupLayout,
    /// Distance of parameters of two dispatches.
    pub(crate) params_stride: u64,
    pipeline_layout: wgpu::PipelineLayout,
    pipelines: Mutex<HashMap<Kernel, wgpu::ComputePipeline>>,
    lost: Arc<AtomicBool>,
    complaint: Arc<Mutex<Option<String>>>,
    caps: Caps,
    info: Info,
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
    /// Opens a GPU with all that it can do.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn open(adapter: &Adapter) -> Result<Arc<Self>, Error> {
        let wanted =
            wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES;
        let features = adapter.inner.features() & wanted;
        let limits = adapter.inner.limits();
        if limits.max_storage_buffers_per_shader_stage < STORAGE {
            let has = limits.max_storage_buffers_per_shader_stage;
            return Err(Error::Device(format!("it takes {has} buffers at once, and kernels need {STORAGE}")));
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("tutu"),
            required_features: features,
            required_limits: limits.clone(),
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
        let layout = bind_group_layout(&device);
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let caps = Caps {
            binding: usize::try_from(limits.max_storage_buffer_binding_size.min(limits.max_buffer_size))
                .unwrap_or(usize::MAX),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            software: adapter.info.class == Class::Software,
        };
        Ok(Arc::new(Self {
            device,
            queue,
            layout,
            params_stride: u64::from(limits.min_uniform_buffer_offset_alignment).max(128),
            pipeline_layout,
            pipelines: Mutex::new(HashMap::new()),
            lost,
            complaint,
            caps,
            info: adapter.info.clone(),
        }))
    }

    /// What it is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// What it can do, as far as programs depend on it.
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// Bytes of its own memory, or of what it shares with the processor; `None` where its driver does not say.
    pub fn memory(&self) -> Option<u64> {
        self.info.memory
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
            cache: None,
        })
    }
}

/// Storage buffers of a kernel.
const STORAGE: u32 = 7;

/// All kernels see the same: parameters, then what `shaders/common.wgsl` names.
fn bind_group_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let entry = |binding: u32, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
    let written = [false, true, true, false, false, true, true];
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
    entries.extend(written.iter().enumerate().map(|(i, written)| entry(i as u32 + 1, storage(!written))));
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}
