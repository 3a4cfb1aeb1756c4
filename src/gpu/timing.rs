//! Buffers that stay on a device, and timings of calls on them.

use std::time::{Duration, Instant};

use futures_intrusive::channel::shared::oneshot_channel;

use super::{Bound, scope::caught, stream::wait_for};
use crate::{error::Error, plan::WORD};

/// The number of bytes to upload or read back at a time.
const PIECE: usize = 64 << 20;

/// A device and its clock.
pub(crate) struct Timer<'a> {
    device: &'a wgpu::Device,
    queue: &'a wgpu::Queue,
    /// The op name for errors.
    op: &'a str,
    clock: Option<Clock>,
}

/// The queries of the device's own clock.
struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
}

impl<'a> Timer<'a> {
    pub(crate) fn new(device: &'a wgpu::Device, queue: &'a wgpu::Queue, op: &'a str) -> Result<Self, Error> {
        let mut timer = Self { device, queue, op, clock: None };
        if device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            let clock = timer.caught(|| Clock {
                queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("elemgrad timing"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2,
                }),
                resolved: timer.create(16, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            })?;
            timer.clock = Some(clock);
        }
        Ok(timer)
    }

    /// Whether the device's own clock is used.
    pub(crate) fn has_timestamps(&self) -> bool {
        self.clock.is_some()
    }

    fn caught<T>(&self, f: impl FnOnce() -> T) -> Result<T, Error> {
        pollster::block_on(caught(self.device, self.op, f))
    }

    fn create(&self, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let label = Some("elemgrad timing");
        self.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        let label = Some("elemgrad timing");
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label })
    }

    /// Creates a buffer that holds these bytes, padded to whole words.
    pub(crate) fn upload(&self, bytes: &[u8]) -> Result<wgpu::Buffer, Error> {
        use wgpu::BufferUsages as Usage;
        let size = (bytes.len() as u64).next_multiple_of(WORD).max(WORD);
        let (limit, got) = ("max_buffer_size", self.device.limits().max_buffer_size);
        if size > got {
            return Err(Error::Limit { op: self.op.into(), limit, got, need: size });
        }
        let buffer = self.caught(|| self.create(size, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC))?;
        self.caught(|| {
            for (at, part) in (0..).step_by(PIECE).zip(bytes.chunks(PIECE)) {
                let whole = part.len() / WORD as usize * WORD as usize;
                self.queue.write_buffer(&buffer, at, &part[..whole]);
                if whole < part.len() {
                    let mut word = [0; WORD as usize];
                    word[..part.len() - whole].copy_from_slice(&part[whole..]);
                    self.queue.write_buffer(&buffer, at + whole as u64, &word);
                }
                self.queue.submit([]);
            }
        })?;
        Ok(buffer)
    }

    /// Reads the first bytes of a buffer.
    pub(crate) fn read_back(&self, buffer: &wgpu::Buffer, bytes: &mut [u8]) -> Result<(), Error> {
        for (at, part) in (0..).step_by(PIECE).zip(bytes.chunks_mut(PIECE)) {
            self.read_piece(buffer, at, part)?;
        }
        Ok(())
    }

    fn read_piece(&self, buffer: &wgpu::Buffer, at: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let size = (bytes.len() as u64).next_multiple_of(WORD);
        let (sender, receiver) = oneshot_channel();
        let (host, submission) = self.caught(|| {
            let host = self.create(size, wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ);
            let mut encoder = self.encoder();
            encoder.copy_buffer_to_buffer(buffer, at, &host, 0, size);
            let submission = self.queue.submit([encoder.finish()]);
            host.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
            (host, submission)
        })?;
        wait_for(self.device, submission, self.op)?;
        let lost = |message: &str| Error::DeviceLost { op: self.op.into(), message: message.into() };
        // None: the mapping is gone without an answer.
        let Some(Ok(())) = pollster::block_on(receiver.receive()) else {
            return Err(lost("a buffer could not be mapped"));
        };
        let view = host.get_mapped_range(..).map_err(|e| lost(&e.to_string()))?;
        bytes.copy_from_slice(&view[..bytes.len()]);
        Ok(())
    }

    /// The time of `repeat` calls in one submission, by the device's clock if it has one, else by the host's.
    pub(crate) fn time(&self, bound: &Bound, repeat: u32) -> Result<Duration, Error> {
        let start = Instant::now();
        let submission = self.caught(|| {
            let mut encoder = self.encoder();
            let writes = self.clock.as_ref().map(|clock| wgpu::ComputePassTimestampWrites {
                query_set: &clock.queries,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some("elemgrad timing"),
                    timestamp_writes: writes,
                });
                (0..repeat).for_each(|_| bound.record(&mut pass));
            }
            if let Some(clock) = &self.clock {
                encoder.resolve_query_set(&clock.queries, 0..2, &clock.resolved, 0);
            }
            self.queue.submit([encoder.finish()])
        })?;
        wait_for(self.device, submission, self.op)?;
        let on_host = start.elapsed();
        match &self.clock {
            Some(clock) => Ok(self.ticks(clock)?.unwrap_or(on_host)),
            None => Ok(on_host),
        }
    }

    /// The time between the two queries; `None` if the clock gives no time.
    fn ticks(&self, clock: &Clock) -> Result<Option<Duration>, Error> {
        let mut ticks = [0_u64; 2];
        self.read_back(&clock.resolved, bytemuck::cast_slice_mut(&mut ticks))?;
        let passed = ticks[1].saturating_sub(ticks[0]);
        let seconds = passed as f64 * f64::from(self.queue.get_timestamp_period()) * 1e-9;
        Ok((passed > 0).then(|| Duration::from_secs_f64(seconds)))
    }
}
