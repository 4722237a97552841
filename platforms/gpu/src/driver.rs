//! What drivers are asked beside wgpu, which has no words for it: how much memory there is, and what is an instruction.

/// Bytes of a device's own memory, or of what it may have of the processor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// All of it.
    pub all: u64,
    /// What this process may have of it now; the same as `all` where the driver does not say.
    pub free: u64,
}

/// The memory of a device, by whichever interface it is reached.
pub(crate) fn memory(adapter: &wgpu::Adapter) -> Option<Memory> {
    #[cfg(target_vendor = "apple")]
    return metal::memory(adapter);
    #[cfg(windows)]
    return vulkan::memory(adapter).or_else(|| dx12::memory(adapter));
    #[cfg(not(any(target_vendor = "apple", windows)))]
    vulkan::memory(adapter)
}

/// Whether a device has an instruction for the product of four bytes with four others. Metal has none, and DX12 does not say.
pub(crate) fn multiplies_bytes(adapter: &wgpu::Adapter) -> bool {
    #[cfg(target_vendor = "apple")]
    return {
        let _ = adapter;
        false
    };
    #[cfg(not(target_vendor = "apple"))]
    vulkan::multiplies_bytes(adapter)
}

#[cfg(not(target_vendor = "apple"))]
mod vulkan {
    use ash::vk;
    use wgpu::hal::{api::Vulkan, vulkan};

    use super::Memory;

    /// The version that both the loader and the device have.
    fn version(adapter: &vulkan::Adapter) -> u32 {
        let device = adapter.physical_device_capabilities().properties().api_version;
        adapter.shared_instance().instance_api_version().min(device)
    }

    /// The largest heap of the device's own memory.
    pub fn memory(adapter: &wgpu::Adapter) -> Option<Memory> {
        // SAFETY: what is asked for is read while the adapter is borrowed, and nothing is destroyed.
        let adapter = unsafe { adapter.as_hal::<Vulkan>() }?;
        let (instance, device) = (adapter.shared_instance().raw_instance(), adapter.raw_physical_device());
        let extended = adapter.physical_device_capabilities().supports_extension(ash::ext::memory_budget::NAME);
        let tells_budget = version(&adapter) >= vk::API_VERSION_1_1 && extended;
        let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
        let properties = if tells_budget {
            let mut properties = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
            // SAFETY: the physical device belongs to this instance, both live as long as the adapter, the call is of the
            // version that both have, and the budget is of an extension that the device has.
            unsafe { instance.get_physical_device_memory_properties2(device, &mut properties) };
            properties.memory_properties
        } else {
            // SAFETY: the physical device belongs to this instance, and both live as long as the adapter.
            unsafe { instance.get_physical_device_memory_properties(device) }
        };
        let heaps = properties.memory_heaps[..properties.memory_heap_count as usize].iter().enumerate();
        let own = heaps.filter(|(_, heap)| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL));
        own.max_by_key(|(_, heap)| heap.size).map(|(i, heap)| {
            let free = budget.heap_budget[i].saturating_sub(budget.heap_usage[i]).min(heap.size);
            Memory { all: heap.size, free: if tells_budget { free } else { heap.size } }
        })
    }

    /// VK_KHR_shader_integer_dot_product, and whether the device is faster by it.
    pub fn multiplies_bytes(adapter: &wgpu::Adapter) -> bool {
        // SAFETY: what is asked for is read while the adapter is borrowed, and nothing is destroyed.
        let Some(adapter) = (unsafe { adapter.as_hal::<Vulkan>() }) else { return false };
        let known = ash::khr::shader_integer_dot_product::NAME;
        let extended = adapter.physical_device_capabilities().supports_extension(known);
        let version = version(&adapter);
        if version < vk::API_VERSION_1_3 && !(extended && version >= vk::API_VERSION_1_1) {
            return false;
        }
        let mut products = vk::PhysicalDeviceShaderIntegerDotProductProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut products);
        let instance = adapter.shared_instance().raw_instance();
        // SAFETY: the physical device belongs to this instance, both live as long as the adapter, the call is of the version
        // that both have, and what is asked for is of that version or of an extension that the device has.
        unsafe { instance.get_physical_device_properties2(adapter.raw_physical_device(), &mut properties) };
        products.integer_dot_product4x8_bit_packed_signed_accelerated == vk::TRUE
    }
}

#[cfg(target_vendor = "apple")]
mod metal {
    use objc2_metal::MTLDevice;
    use wgpu::hal::api::Metal;

    use super::Memory;

    /// What Metal says that a process should have at most, less what this one has.
    pub fn memory(adapter: &wgpu::Adapter) -> Option<Memory> {
        // SAFETY: what is asked for is read while the adapter is borrowed, and nothing is destroyed.
        let adapter = unsafe { adapter.as_hal::<Metal>() }?;
        let device = adapter.raw_device();
        let all = device.recommendedMaxWorkingSetSize();
        (all > 0).then(|| Memory { all, free: all.saturating_sub(device.currentAllocatedSize() as u64) })
    }
}

#[cfg(windows)]
mod dx12 {
    use wgpu::hal::api::Dx12;
    use windows::Win32::Graphics::Dxgi::{DXGI_MEMORY_SEGMENT_GROUP_LOCAL, DXGI_QUERY_VIDEO_MEMORY_INFO};

    use super::Memory;

    /// The budget that Windows gives this process in the device's own memory, which is the processor's where it has none.
    pub fn memory(adapter: &wgpu::Adapter) -> Option<Memory> {
        // SAFETY: what is asked for is read while the adapter is borrowed, and nothing is destroyed.
        let adapter = unsafe { adapter.as_hal::<Dx12>() }?;
        let (mut local, adapter) = (DXGI_QUERY_VIDEO_MEMORY_INFO::default(), adapter.as_raw());
        // SAFETY: the adapter lives, it has a first node, and the answer is written where it has room.
        unsafe { adapter.QueryVideoMemoryInfo(0, DXGI_MEMORY_SEGMENT_GROUP_LOCAL, &mut local) }.ok()?;
        // SAFETY: the adapter lives.
        let own = unsafe { adapter.GetDesc1() }.map_or(0, |about| about.DedicatedVideoMemory as u64);
        let free = local.Budget.saturating_sub(local.CurrentUsage);
        Some(Memory { all: own.max(local.Budget), free })
    }
}
