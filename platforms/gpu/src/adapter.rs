//! Which GPUs there are, and which is taken.

use core::fmt;

use crate::driver;

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
    /// The best that is none in software, if there is one.
    #[default]
    Auto,
    /// The best that is none in software; there must be one.
    Best,
    /// None.
    Off,
    /// The one in whose name or driver this stands, a software one too.
    Named(String),
}

impl Wanted {
    /// What `TUTU_GPU` and `--gpu` say: `auto`, `on`, `off`, or a part of a name.
    pub fn parse(text: &str) -> Self {
        match text.trim().to_lowercase().as_str() {
            "" | "auto" => Self::Auto,
            "on" | "1" => Self::Best,
            "off" | "none" | "0" => Self::Off,
            _ => Self::Named(text.trim().into()),
        }
    }
}

/// Whether this machine may have a GPU that is none in software. Drivers take up to half a second to say what they have;
/// this looks at what their devices leave in the file system, and says yes where there is no such place to look.
pub fn is_likely() -> bool {
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return true;
    }
    // Mesa's and everybody's render nodes; NVIDIA's own; that of WSL; those of phones and boards.
    let render = std::fs::read_dir("/dev/dri").is_ok_and(|mut nodes| {
        nodes.any(|node| node.is_ok_and(|node| node.file_name().to_string_lossy().starts_with("renderD")))
    });
    let others = ["/dev/nvidia0", "/dev/dxg", "/dev/mali0", "/dev/kgsl-3d0", "/dev/nvhost-gpu"];
    render || others.iter().any(|node| std::path::Path::new(node).exists())
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
/// The names of those that are there, where one that is not was asked for.
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
    let names = || infos.iter().map(|info| info.name.clone()).collect();
    match wanted {
        Wanted::Off => Ok(None),
        Wanted::Auto => Ok(best(&|info| info.class > Class::Software)),
        Wanted::Best => best(&|info| info.class > Class::Software).map(Some).ok_or_else(names),
        Wanted::Named(name) => best(&|info| info.is_named(name)).map(Some).ok_or_else(names),
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
        memory: driver::memory(adapter).map(|memory| memory.all),
    }
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
        assert_eq!(pick(&here, &Wanted::Auto), Ok(Some(2)));
        assert_eq!(pick(&here[..2], &Wanted::parse("on")), Ok(Some(1)));
        assert_eq!(pick(&here[..1], &Wanted::parse("auto")), Ok(None));
        assert_eq!(pick(&here[..1], &Wanted::Best), Err(vec!["llvmpipe".into()]));
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
