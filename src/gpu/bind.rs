use std::sync::Arc;

use super::{pipeline::Pipeline, scope::caught};
use crate::{
    Error, Outputs,
    op::Definition,
    plan::{self, ELEMENT, Limits, OperandRange, Plan},
    shader::{self, KernelOperand},
};

/// A range of a buffer that holds f32; the buffer has the usage `STORAGE`.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    buffer: &'a wgpu::Buffer,
    /// In bytes.
    offset: u64,
    size: u64,
}

impl<'a> Operand<'a> {
    /// `len` elements of `buffer` from element `start` on.
    pub fn new(buffer: &'a wgpu::Buffer, start: u64, len: u64) -> Self {
        // Saturated, an absurd range still ends past the end of the buffer, which bind reports.
        Self { buffer, offset: start.saturating_mul(ELEMENT), size: len.saturating_mul(ELEMENT) }
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(self.size)
    }
}

impl<'a> From<&'a wgpu::Buffer> for Operand<'a> {
    fn from(buffer: &'a wgpu::Buffer) -> Self {
        Self { buffer, offset: 0, size: buffer.size() }
    }
}

impl<'a> From<wgpu::BufferSlice<'a>> for Operand<'a> {
    fn from(slice: wgpu::BufferSlice<'a>) -> Self {
        Self { buffer: slice.buffer(), offset: slice.offset(), size: slice.size() }
    }
}

/// One call's operands, checked by themselves.
pub(super) struct Request<'a> {
    op: &'static str,
    pub(super) outputs: Outputs,
    operands: Vec<(KernelOperand, Operand<'a>)>,
    /// In elements.
    len: u64,
}

impl<'a> Request<'a> {
    pub(super) fn new<I: Into<Operand<'a>>, O: Into<Operand<'a>>>(
        definition: &Definition,
        reads: Vec<Option<I>>,
        writes: Vec<Option<O>>,
    ) -> Result<Self, Error> {
        let op = definition.name;
        let reads: Vec<Option<Operand>> = reads.into_iter().map(|r| r.map(Into::into)).collect();
        let writes: Vec<Option<Operand>> = writes.into_iter().map(|w| w.map(Into::into)).collect();
        let names = definition.read_names().map(str::to_owned).chain(definition.write_names());
        for (name, range) in names.zip(reads.iter().chain(&writes)) {
            range.as_ref().map_or(Ok(()), |range| check_range(op, name, range))?;
        }
        let len = |operand: &Option<Operand>| operand.map(|range| range.size / ELEMENT);
        let read_lens: Vec<_> = reads.iter().map(len).collect();
        let write_lens: Vec<_> = writes.iter().map(|w| len(w).map(Some)).collect();
        let (outputs, len) = crate::op::check(definition, &read_lens, &write_lens)?;
        let range = |operand: &KernelOperand| {
            let side = if operand.write { &writes } else { &reads };
            side[operand.index]
        };
        let operands = shader::operands(definition, outputs).into_iter();
        let operands = operands.filter_map(|operand| range(&operand).map(|range| (operand, range))).collect();
        Ok(Self { op, outputs, operands, len })
    }

    pub(super) fn plan(&self, limits: &Limits) -> Result<Plan, Error> {
        let mut buffers: Vec<&wgpu::Buffer> = Vec::new();
        let ranges: Vec<OperandRange> = self
            .operands
            .iter()
            .map(|(operand, range)| {
                let buffer = buffers.iter().position(|b| *b == range.buffer).unwrap_or_else(|| {
                    buffers.push(range.buffer);
                    buffers.len() - 1
                });
                OperandRange {
                    name: operand.name.clone(),
                    buffer,
                    offset: range.offset,
                    write: operand.write,
                }
            })
            .collect();
        plan::plan(self.op, &ranges, self.len, limits)
    }
}

fn check_range(op: &str, argument: String, range: &Operand) -> Result<(), Error> {
    let op = op.to_owned();
    if !range.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
        let (got, need) = (range.buffer.usage(), wgpu::BufferUsages::STORAGE);
        return Err(Error::Usage { op, argument, got, need });
    }
    if range.end() > range.buffer.size() {
        let size = range.buffer.size();
        return Err(Error::Range { op, argument, start: range.offset, end: range.end(), size });
    }
    for (what, got) in [("offset", range.offset), ("size", range.size)] {
        if !got.is_multiple_of(ELEMENT) {
            return Err(Error::Alignment { op, argument, what, got, need: ELEMENT });
        }
    }
    Ok(())
}

/// A call that is bound: it can be recorded as often as you like.
///
/// It holds its buffers and its kernel; recording sets the pipeline and the bind group of group 0 and dispatches, once
/// for each window. What the buffers hold at execution counts, so a later recording sees later contents.
#[derive(Debug)]
pub struct Bound {
    label: String,
    pipeline: Arc<Pipeline>,
    dispatches: Vec<(wgpu::BindGroup, [u32; 2])>,
}

impl Bound {
    pub(super) async fn create(
        device: &wgpu::Device,
        request: &Request<'_>,
        plan: Plan,
        pipeline: Arc<Pipeline>,
    ) -> Result<Self, Error> {
        let label = format!("elemgrad {} {}", request.op, request.outputs.pass().name());
        let dispatches =
            caught(device, request.op, || dispatches(device, request, &plan, &pipeline, &label)).await?;
        Ok(Self { label, pipeline, dispatches })
    }

    /// Records the call into a compute pass. It changes the pass's pipeline and its bind group 0.
    pub fn record(&self, pass: &mut wgpu::ComputePass) {
        if self.dispatches.is_empty() {
            return;
        }
        pass.set_pipeline(&self.pipeline.pipeline);
        for (group, [x, y]) in &self.dispatches {
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(*x, *y, 1);
        }
    }

    /// Records the call into a compute pass of its own.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let label = Some(self.label.as_str());
        self.record(
            &mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label, timestamp_writes: None }),
        );
    }

    /// How many dispatches a recording makes.
    pub fn dispatches(&self) -> usize {
        self.dispatches.len()
    }
}

fn dispatches(
    device: &wgpu::Device,
    request: &Request,
    plan: &Plan,
    pipeline: &Pipeline,
    label: &str,
) -> Vec<(wgpu::BindGroup, [u32; 2])> {
    if plan.windows.is_empty() {
        return Vec::new();
    }
    let fields = 2 + request.operands.len();
    let stride = ((fields * 4) as u64)
        .next_multiple_of(device.limits().min_uniform_buffer_offset_alignment.max(16).into());
    let params = params_buffer(device, plan, stride, label);
    // std140 rounds a block up to 16 bytes, and GL leaves a smaller range undefined.
    let size = wgpu::BufferSize::new(((fields * 4) as u64).next_multiple_of(16));
    let groups = plan.windows.iter().zip(0..).map(|(window, i)| {
        let uniform = wgpu::BufferBinding { buffer: &params, offset: i * stride, size };
        let storage =
            plan.slots.iter().zip(&window.bindings).map(|(slot, &(offset, size))| wgpu::BufferBinding {
                buffer: request.operands[slot.operands[0]].1.buffer,
                offset,
                size: wgpu::BufferSize::new(size),
            });
        let entries: Vec<_> = (0..)
            .zip(std::iter::once(uniform).chain(storage))
            .map(|(binding, b)| wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(b) })
            .collect();
        let layout = &pipeline.layout;
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout,
            entries: &entries,
        });
        (group, window.grid)
    });
    groups.collect()
}

/// The uniforms of all windows, written at creation: no queue is needed.
fn params_buffer(device: &wgpu::Device, plan: &Plan, stride: u64, label: &str) -> wgpu::Buffer {
    let width = plan.access.width() as u32;
    let mut words = vec![0_u32; plan.windows.len() * (stride / 4) as usize];
    for (params, window) in words.chunks_exact_mut((stride / 4) as usize).zip(&plan.windows) {
        let bases = window.bases.iter().map(|base| base / width);
        let fields = [window.len, window.grid[0]].into_iter().chain(bases);
        params.iter_mut().zip(fields).for_each(|(slot, field)| *slot = field);
    }
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: (words.len() * 4) as u64,
        usage: wgpu::BufferUsages::UNIFORM,
        mapped_at_creation: true,
    });
    // A buffer that could not be created has no range; its error is in the scope.
    if let Ok(mut view) = buffer.get_mapped_range_mut(..) {
        view.copy_from_slice(bytemuck::cast_slice(&words));
    }
    buffer.unmap();
    buffer
}
