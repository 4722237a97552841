//! How long each kernel takes, by the device's own clock.

use std::collections::BTreeMap;

use tutu_llm::backend::{Batch, Fault, Timing};

use crate::{count, engine::Engine, program::Grid, step::Step};

/// Stamps of a step at most; more is more than drivers take.
const STAMPS_MAX: u32 = 4096;

impl Engine {
    /// Runs a checked step of one token and times its kernels, the longest first; `None` where the device has no clock.
    ///
    /// # Errors
    /// As [`tutu_llm::backend::Backend::step`].
    pub(crate) fn times(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<Timing>>, Fault> {
        let device = std::sync::Arc::clone(self.device());
        let needed = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES;
        let stamps = self.program().dispatches.len() as u32 + 1;
        if !device.device.features().contains(needed) || stamps > STAMPS_MAX || batch.tokens.len() != 1 {
            return Ok(None);
        }
        let set = device.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: stamps,
        });
        let buffer = |usage| {
            let size = u64::from(stamps) * 8;
            device.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let staging = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let step = Step::new(self.program(), batch, !self.program().caches.is_empty());
        self.tell(&step);
        let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.encode(&mut encoder, &step, stamps as usize - 1, true, Some(&set));
        encoder.resolve_query_set(&set, 0..stamps, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, u64::from(stamps) * 8);
        let index = device.queue.submit([encoder.finish()]);
        staging.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: None };
        if device.device.poll(wait).is_err() || device.is_lost() {
            return Err(Fault::Lost);
        }
        let view = staging.slice(..).get_mapped_range().map_err(|_| Fault::Lost)?;
        let ticks: Vec<u64> =
            view.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().expect("of eight"))).collect();
        let period = f64::from(device.queue.get_timestamp_period());
        let mut kernels: BTreeMap<String, Timing> = BTreeMap::new();
        for (i, dispatch) in self.program().dispatches.iter().enumerate() {
            if !step.wants(dispatch) || matches!(dispatch.grid, Grid::Join(_)) && step.segments == 1 {
                continue;
            }
            let kernel = dispatch.kernel(1).name();
            let timing =
                kernels.entry(kernel.clone()).or_insert(Timing { name: kernel, count: 0, nanoseconds: 0.0, bytes: 0 });
            timing.count += 1;
            timing.nanoseconds += ticks[i + 1].saturating_sub(ticks[i]) as f64 * period;
            timing.bytes += count::dispatch_bytes(self.program(), dispatch, batch.tokens[0].position as usize);
        }
        let mut all: Vec<Timing> = kernels.into_values().collect();
        all.sort_by(|a, b| b.nanoseconds.total_cmp(&a.nanoseconds));
        Ok(Some(all))
    }
}
