//! Which GPUs there are, and which is taken.

use core::fmt;

/// What is known of a GPU before it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// As its driver calls it.
    pub name: String,
    /// The driver, and its version.
    pub driver: String,
    /// Vulkan, Metal or Dx12.
    pub backend: String,
    /// Vendor's number on the bus.
    pub vendor: u32,
    /// What it is.
    pub class: Class,
    /// Bytes that one binding may have.
    pub binding: u64,
    /// Bytes of its memory; `None` where its driver does not say.
    pub memory: Option<u64>,
}

/// What an adapter is, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A processor that plays a GPU.
    Software,
    /// Its driver does not say.
    Other,
    /// A share of somebody's GPU.
    Virtual,
    /// One that shares the processor's memory.
    Integrated,
    /// One with memory of its own.
    Discrete,
}

/// A GPU that can be opened.
pub struct Adapter {
    pub(crate) inner: wgpu::Adapter,
    /// What is known of it.
    pub info: Info,
}

/// Which GPU is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The best that is none in software.
    #[default]
    Best,
    /// None.
    Off,
    /// The one in whose name or driver this stands, a software one too.
    Named(String),
}

impl Wanted {
    /// What `TUTU_GPU` and `--gpu` say: `auto`, `off`, or a part of a name.
    pub fn parse(text: &str) -> Self {
        match text.to_lowercase().as_str() {
            "" | "auto" | "on" | "1" => Self::Best,
            "off" | "none" | "0" => Self::Off,
            _ => Self::Named(text.into()),
        }
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.driver)
    }
}

impl Info {
    /// The vendor's name, where it is one of those that make most GPUs.
    pub fn vendor_name(&self) -> Option<&'static str> {
        // PCI-SIG's numbers; Mesa's software drivers have one of Khronos.
        Some(match self.vendor {
            0x1002 | 0x1022 => "AMD",
            0x106b => "Apple",
            0x10de => "NVIDIA",
            0x13b5 => "Arm",
            0x14e4 => "Broadcom",
            0x1010 => "Imagination",
            0x5143 => "Qualcomm",
            0x8086 => "Intel",
            0x10005 => "Mesa",
            0x1ae0 => "Google",
            _ => return None,
        })
    }

    /// Whether somebody who wants `name` means this one.
    fn is_named(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        // The driver calls itself by the name of the rasteriser that it is built on.
        let name = if name == "lavapipe" { "llvmpipe" } else { &name };
        [&self.name, &self.driver].iter().any(|text| text.to_lowercase().contains(name))
    }
}

/// Every GPU that a driver of this machine offers, software ones too.
pub fn adapters() -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    // No validation layers: they are for those who write kernels, and may be asked for with WGPU_VALIDATION.
    descriptor.flags = wgpu::InstanceFlags::empty().with_env();
    let instance = wgpu::Instance::new(descriptor);
    let found = crate::device::ready(instance.enumerate_adapters(wgpu::Backends::all()));
    found.into_iter().map(|inner| Adapter { info: describe(&inner), inner }).collect()
}

/// The GPU that is wanted; `None` where none is, or none is there.
///
/// # Errors
/// The names of those that are there, where one was asked for by another name.
pub fn choose(adapters: Vec<Adapter>, wanted: &Wanted) -> Result<Option<Adapter>, Vec<String>> {
    let infos: Vec<Info> = adapters.iter().map(|adapter| adapter.info.clone()).collect();
    let index = pick(&infos, wanted)?;
    Ok(index.and_then(|index| adapters.into_iter().nth(index)))
}

fn pick(infos: &[Info], wanted: &Wanted) -> Result<Option<usize>, Vec<String>> {
    let best = |fits: &dyn Fn(&Info) -> bool| {
        let mut all = infos.iter().enumerate().filter(|(_, info)| fits(info)).rev();
        let first = all.next()?;
        // Of equals the first: a driver names its best one first.
        Some(all.fold(first, |best, next| if next.1.class >= best.1.class { next } else { best }).0)
    };
    match wanted {
        Wanted::Off => Ok(None),
        Wanted::Best => Ok(best(&|info| info.class > Class::Software)),
        Wanted::Named(name) => match best(&|info| info.is_named(name)) {
            Some(index) => Ok(Some(index)),
            None => Err(infos.iter().map(|info| info.name.clone()).collect()),
        },
    }
}

fn describe(adapter: &wgpu::Adapter) -> Info {
    let info = adapter.get_info();
    let class = match info.device_type {
        wgpu::DeviceType::Cpu => Class::Software,
        wgpu::DeviceType::Other => Class::Other,
        wgpu::DeviceType::VirtualGpu => Class::Virtual,
        wgpu::DeviceType::IntegratedGpu => Class::Integrated,
        wgpu::DeviceType::DiscreteGpu => Class::Discrete,
    };
    Info {
        name: info.name,
        driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
        backend: format!("{:?}", info.backend),
        vendor: info.vendor,
        class,
        binding: adapter.limits().max_storage_buffer_binding_size,
        memory: memory(adapter),
    }
}

/// Metal is not asked yet.
#[cfg(target_vendor = "apple")]
fn memory(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
}

/// The largest heap of the device's own memory (Vulkan); DX12 is not asked yet.
#[cfg(not(target_vendor = "apple"))]
fn memory(adapter: &wgpu::Adapter) -> Option<u64> {
    // SAFETY: what is asked for is read while the adapter is borrowed, and nothing is destroyed.
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = vulkan.shared_instance().raw_instance();
    // SAFETY: the physical device belongs to this instance, and both live as long as the adapter.
    let properties = unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
    let heaps = &properties.memory_heaps[..properties.memory_heap_count as usize];
    // Bit 0: VK_MEMORY_HEAP_DEVICE_LOCAL_BIT.
    heaps.iter().filter(|heap| heap.flags.as_raw() & 1 == 1).map(|heap| heap.size).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, class: Class) -> Info {
        Info {
            name: name.into(),
            driver: "d 1.0".into(),
            backend: "Vulkan".into(),
            vendor: 0,
            class,
            binding: 0,
            memory: None,
        }
    }

    #[test]
    fn the_best_is_taken_and_software_only_by_name() {
        let here = [info("llvmpipe", Class::Software), info("Iris", Class::Integrated), info("Arc", Class::Discrete)];
        assert_eq!(pick(&here, &Wanted::Best), Ok(Some(2)));
        assert_eq!(pick(&here[..2], &Wanted::Best), Ok(Some(1)));
        assert_eq!(pick(&here[..1], &Wanted::Best), Ok(None));
        assert_eq!(pick(&here, &Wanted::parse("lavapipe")), Ok(Some(0)));
        assert_eq!(pick(&here, &Wanted::parse("iris")), Ok(Some(1)));
        assert_eq!(pick(&here, &Wanted::parse("off")), Ok(None));
    }

    #[test]
    fn a_name_that_nobody_has_is_answered_with_those_there_are() {
        let here = [info("Arc", Class::Discrete)];
        assert_eq!(pick(&here, &Wanted::parse("radeon")), Err(vec!["Arc".into()]));
    }

    #[test]
    fn of_equals_the_first_is_taken() {
        let here = [info("a", Class::Discrete), info("b", Class::Discrete)];
        assert_eq!(pick(&here, &Wanted::Best), Ok(Some(0)));
    }
}
