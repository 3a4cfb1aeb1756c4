use std::sync::Arc;

use super::{pipeline::Pipeline, scope::caught};
use crate::{
    call::{
        check::{Call, Given, check},
        traffic::Traffic,
    },
    dtype::DType,
    error::Error,
    op::args::Args,
    plan::{self, Dispatch, Limits, Memory, Place, Plan, WORD},
    shape::Layout,
    signature::{OutputKind, Signature},
};

/// The range of a buffer that an operand occupies. The buffer must have the usage `STORAGE`.
///
/// The call sets the element type ([`IntoArgs::dtype`](crate::IntoArgs::dtype); f32 by default). An input has one
/// axis unless you set a [`layout`](Operand::layout).
#[derive(Clone, Debug)]
pub struct Operand<'a> {
    buffer: &'a wgpu::Buffer,
    range: Range,
    layout: Option<Layout>,
    /// Whether the layout is the shape of all elements in the range.
    whole: bool,
    accumulate: bool,
}

#[derive(Clone, Copy, Debug)]
enum Range {
    Bytes { offset: u64, size: u64 },
    Elements { start: u64, len: u64 },
}

impl<'a> Operand<'a> {
    /// `len` elements of `buffer`, starting at element `start`. For a mask, both count words.
    pub fn new(buffer: &'a wgpu::Buffer, start: u64, len: u64) -> Self {
        Self { buffer, range: Range::Elements { start, len }, layout: None, whole: false, accumulate: false }
    }

    /// Sets how the elements are arranged in the range: a shape, and for an input any strides. Outputs and masks are
    /// contiguous, and a mask has the shape of `z`.
    #[must_use]
    pub fn layout(self, layout: Layout) -> Self {
        Self { layout: Some(layout), whole: false, ..self }
    }

    /// Sets the shape of all elements in the range, which are contiguous.
    #[must_use]
    pub fn shape(self, shape: &[u64]) -> Self {
        Self { layout: Some(Layout::contiguous(shape)), whole: true, ..self }
    }

    /// Adds a gradient to the values in the range instead of replacing them.
    #[must_use]
    pub fn accumulate(self) -> Self {
        Self { accumulate: true, ..self }
    }

    fn bytes(buffer: &'a wgpu::Buffer, offset: u64, size: u64) -> Self {
        Self { buffer, range: Range::Bytes { offset, size }, layout: None, whole: false, accumulate: false }
    }

    /// Byte offset and size, for elements of `element` bytes.
    fn byte_range(&self, element: u64) -> (u64, u64) {
        match self.range {
            Range::Bytes { offset, size } => (offset, size),
            // Saturating: an overflowing range still ends past the end of the buffer, and bind reports that.
            Range::Elements { start, len } => (start.saturating_mul(element), len.saturating_mul(element)),
        }
    }
}

impl<'a> From<&'a wgpu::Buffer> for Operand<'a> {
    fn from(buffer: &'a wgpu::Buffer) -> Self {
        Self::bytes(buffer, 0, buffer.size())
    }
}

impl<'a> From<wgpu::BufferSlice<'a>> for Operand<'a> {
    fn from(slice: wgpu::BufferSlice<'a>) -> Self {
        Self::bytes(slice.buffer(), slice.offset(), slice.size())
    }
}

/// One call's operands, each checked alone and against the others.
pub(super) struct Request<'a> {
    signature: Signature,
    dtype: DType,
    call: Call,
    reads: Vec<Option<Operand<'a>>>,
    writes: Vec<Option<Operand<'a>>>,
}

impl<'a> Request<'a> {
    pub(super) fn new(args: Args<Operand<'a>, Operand<'a>>) -> Result<Self, Error> {
        let Args { op, dtype, reads, writes } = args;
        let (signature, dtype) = (op.signature().clone(), dtype.unwrap_or_default());
        let bytes = |is_mask| if is_mask { WORD } else { dtype.size() };
        let call = {
            let read_names = signature.read_names().enumerate().zip(&reads);
            let mut given_reads = read_names
                .map(|((i, name), r)| {
                    given(signature.name(), name, r.as_ref(), bytes(signature.is_mask_read(i)))
                })
                .collect::<Result<Vec<_>, _>>()?;
            let outputs = signature.outputs().iter().zip(&writes);
            let mut given_writes = outputs
                .map(|(o, w)| given(signature.name(), &o.name, w.as_ref(), bytes(o.kind == OutputKind::Mask)))
                .collect::<Result<Vec<_>, _>>()?;
            // `check` reports too many operands.
            given_reads.resize(given_reads.len().max(reads.len()), None);
            given_writes.resize(given_writes.len().max(writes.len()), None);
            check(&signature, &given_reads, &given_writes)?
        };
        Ok(Self { signature, dtype, call, reads, writes })
    }

    pub(super) fn op(&self) -> &str {
        self.signature.name()
    }

    pub(super) fn label(&self) -> String {
        format!("elemgrad {} {}", self.op(), self.signature.pass_of(self.call.outputs).name())
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic::of(&self.signature, &self.call, self.dtype)
    }

    /// The plan, and the buffers that its buffer numbers refer to.
    pub(super) fn plan(&self, limits: &Limits) -> Result<(Plan, Vec<&'a wgpu::Buffer>), Error> {
        let mut buffers: Vec<&wgpu::Buffer> = Vec::new();
        let mut place = |operand: &Operand<'a>, is_mask: bool| {
            let buffer = buffers.iter().position(|b| *b == operand.buffer).unwrap_or_else(|| {
                buffers.push(operand.buffer);
                buffers.len() - 1
            });
            let element = if is_mask { WORD } else { self.dtype.size() };
            Place { buffer, offset: operand.byte_range(element).0 }
        };
        let reads = self.reads.iter().enumerate();
        let mut reads: Vec<Option<Place>> =
            reads.map(|(i, r)| Some(place(r.as_ref()?, self.signature.is_mask_read(i)))).collect();
        let outputs = self.signature.outputs().iter().zip(&self.writes);
        let mut writes: Vec<Option<Place>> =
            outputs.map(|(o, w)| Some(place(w.as_ref()?, o.kind == OutputKind::Mask))).collect();
        reads.resize(self.signature.read_count(), None);
        writes.resize(self.signature.write_count(), None);
        let plan = plan::plan(&plan::Request {
            signature: &self.signature,
            call: &self.call,
            dtype: self.dtype,
            reads: &reads,
            writes: &writes,
            limits,
        })?;
        Ok((plan, buffers))
    }
}

/// Checks the range of an operand, if there is one.
fn given<'a>(
    op: &str,
    argument: &str,
    operand: Option<&'a Operand<'_>>,
    element: u64,
) -> Result<Option<Given<'a>>, Error> {
    let Some(operand) = operand else { return Ok(None) };
    let (op, argument) = (op.to_owned(), argument.to_owned());
    let (offset, size) = operand.byte_range(element);
    if !operand.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
        let (got, need) = (operand.buffer.usage(), wgpu::BufferUsages::STORAGE);
        return Err(Error::Usage { op, argument, got, need });
    }
    // Storage is bound in whole words, so the range's last word must lie within the buffer.
    let end = offset.saturating_add(size);
    if end.checked_next_multiple_of(WORD).is_none_or(|end| end > operand.buffer.size()) {
        return Err(Error::Range { op, argument, start: offset, end, size: operand.buffer.size() });
    }
    for (what, got) in [("offset", offset), ("size", size)] {
        if !got.is_multiple_of(element) {
            return Err(Error::Alignment { op, argument, what, got, need: element });
        }
    }
    Ok(Some(Given {
        len: Some(size / element),
        layout: operand.layout.as_ref(),
        whole: operand.whole,
        accumulate: operand.accumulate,
    }))
}

/// A bound call. You can record it as often as you like.
///
/// It holds its buffers and its kernels. Recording sets the pipeline and bind group 0 and dispatches, once for each
/// window. A call reads what the buffers hold at execution, so a later recording sees later contents.
#[derive(Debug)]
#[must_use = "nothing is computed until it is recorded"]
pub struct Bound {
    label: String,
    dispatches: Vec<Step>,
    traffic: Traffic,
}

#[derive(Debug)]
struct Step {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    grid: [u32; 2],
}

impl Bound {
    pub(super) async fn create(
        device: &wgpu::Device,
        request: &Request<'_>,
        (plan, buffers): (Plan, Vec<&wgpu::Buffer>),
        pipelines: Vec<Arc<Pipeline>>,
    ) -> Result<Self, Error> {
        let label = request.label();
        let dispatches =
            caught(device, request.op(), || steps(device, &plan, &buffers, &pipelines, &label)).await?;
        Ok(Self { label, dispatches, traffic: request.traffic() })
    }

    /// Records the call into a compute pass. This changes the pass's pipeline and its bind group 0.
    pub fn record(&self, pass: &mut wgpu::ComputePass) {
        let mut last = None;
        for Step { pipeline, group, grid: [x, y] } in &self.dispatches {
            if !last.replace(pipeline).is_some_and(|last| Arc::ptr_eq(last, pipeline)) {
                pass.set_pipeline(&pipeline.pipeline);
            }
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

    /// The number of dispatches in a recording.
    pub fn dispatches(&self) -> usize {
        self.dispatches.len()
    }

    /// The bytes that a recording has to read and write.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }
}

fn steps(
    device: &wgpu::Device,
    plan: &Plan,
    buffers: &[&wgpu::Buffer],
    pipelines: &[Arc<Pipeline>],
    label: &str,
) -> Vec<Step> {
    if plan.dispatches.is_empty() {
        return Vec::new();
    }
    let fields = plan.dispatches.iter().map(|d| d.params.len()).max().unwrap_or(0);
    // std140 rounds a block up to 16 bytes. In GL, a smaller range is undefined behaviour.
    let size = ((fields * 4) as u64).next_multiple_of(16);
    let stride = size.next_multiple_of(device.limits().min_uniform_buffer_offset_alignment.max(16).into());
    let params = params_buffer(device, plan, stride, label);
    let scratch: Vec<_> = plan.scratch.iter().map(|size| scratch_buffer(device, *size, label)).collect();
    let step = |(i, dispatch): (u64, &Dispatch)| {
        let pipeline = pipelines[dispatch.kernel].clone();
        let uniform =
            wgpu::BufferBinding { buffer: &params, offset: i * stride, size: wgpu::BufferSize::new(size) };
        let storage = dispatch.bindings.iter().map(|bind| wgpu::BufferBinding {
            buffer: match bind.memory {
                Memory::Caller(i) => buffers[i],
                Memory::Scratch(i) => &scratch[i],
            },
            offset: bind.offset,
            size: wgpu::BufferSize::new(bind.size),
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
        Step { pipeline, group, grid: dispatch.grid }
    };
    (0..).zip(&plan.dispatches).map(step).collect()
}

/// A buffer for partial sums. wgpu fills a new buffer with zeros.
fn scratch_buffer(device: &wgpu::Device, size: u64, label: &str) -> wgpu::Buffer {
    let (label, usage) = (Some(label), wgpu::BufferUsages::STORAGE);
    device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
}

/// The uniforms of all windows, written at creation, so no queue is needed.
fn params_buffer(device: &wgpu::Device, plan: &Plan, stride: u64, label: &str) -> wgpu::Buffer {
    let mut words = vec![0_u32; plan.dispatches.len() * (stride / 4) as usize];
    for (params, dispatch) in words.chunks_exact_mut((stride / 4) as usize).zip(&plan.dispatches) {
        params[..dispatch.params.len()].copy_from_slice(&dispatch.params);
    }
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: (words.len() * 4) as u64,
        usage: wgpu::BufferUsages::UNIFORM,
        mapped_at_creation: true,
    });
    // A buffer that could not be created has no range. The error scope has caught its error.
    if let Ok(mut view) = buffer.get_mapped_range_mut(..) {
        view.copy_from_slice(bytemuck::cast_slice(&words));
    }
    buffer.unmap();
    buffer
}
