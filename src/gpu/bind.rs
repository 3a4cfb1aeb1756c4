use std::sync::Arc;

use super::{kernels::Pipeline, scope::caught};
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
        crate::op::check_arity(definition, reads.len(), writes.len())?;
        let outputs = Outputs::present(writes.iter().map(Option::is_some));
        if outputs.is_empty() {
            return Err(Error::NothingWanted { op: op.into() });
        }
        let mut reads: Vec<_> = reads.into_iter().map(|r| r.map(Into::into)).collect();
        let mut writes: Vec<_> = writes.into_iter().map(|w| w.map(Into::into)).collect();
        let mut operands = Vec::new();
        for operand in shader::operands(definition, outputs) {
            let side = if operand.write { &mut writes } else { &mut reads };
            let Some(range) = side[operand.index].take() else {
                return Err(Error::Missing { op: op.into(), argument: operand.name });
            };
            check_range(op, &operand, &range)?;
            operands.push((operand, range));
        }
        // An input that is given though no wanted output needs it has the right length all the same.
        let unused = definition.read_names().zip(reads).filter_map(|(name, r)| Some((name.to_owned(), r?)));
        let lengths: Vec<_> = operands.iter().map(|(o, r)| (o.name.clone(), *r)).chain(unused).collect();
        let (first, size) = (&lengths[0].0, lengths[0].1.size);
        if let Some((name, range)) = lengths.iter().find(|(_, range)| range.size != size) {
            return Err(Error::Length {
                op: op.into(),
                argument: name.clone(),
                got: range.size / ELEMENT,
                need: size / ELEMENT,
                other: first.clone(),
            });
        }
        Ok(Self { op, outputs, operands, len: size / ELEMENT })
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

fn check_range(op: &str, operand: &KernelOperand, range: &Operand) -> Result<(), Error> {
    let (op, argument) = (op.to_owned(), operand.name.clone());
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
    let stride =
        ((fields * 4) as u64).next_multiple_of(device.limits().min_uniform_buffer_offset_alignment.into());
    let params = params_buffer(device, plan, stride, label);
    let size = wgpu::BufferSize::new((fields * 4) as u64);
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
