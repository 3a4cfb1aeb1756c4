//! Planning: turns a call's shapes, the places of its operands and the limits into kernels and dispatches. It needs
//! no device.
//!
//! Outputs with the shape of `z` are computed element by element, gradients of broadcast inputs as sums. The plan has
//! the sums' partial results first, then the elementwise outputs, which may overwrite inputs, then the sums' last
//! step. The last of the sums may also write the elementwise outputs: all other sums are computed by then, and a lane
//! loads before it stores. If a call needs more than the largest binding or [`MAX_DISPATCH`] allows, it is cut into
//! *windows*, each a dispatch. Each operand is bound from the last allowed offset at or before the part that the
//! window accesses. The kernel adds the remaining distance, the operand's *base*.

use crate::{
    call::check::Call,
    dtype::DType,
    error::Error,
    signature::{OutputKind, Signature, outputs::Outputs},
};

mod elementwise;
pub(crate) mod stream;
mod sums;

/// The most elements in one dispatch.
pub(crate) const MAX_DISPATCH: u64 = 1 << 28;
/// Invocations in a workgroup.
pub(crate) const WORKGROUP_SIZE: u32 = 256;
/// Elements that one workgroup computes: four in each invocation.
pub(crate) const ELEMENTS_PER_WORKGROUP: u32 = 4 * WORKGROUP_SIZE;
/// The bytes of a word. Storage is bound as words.
pub(crate) const WORD: u64 = 4;

/// How a kernel accesses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Each invocation takes four neighbours, as one vector. Lengths, bases and rows are multiples of 4 elements.
    Vec4,
    /// Each invocation takes words that are a workgroup apart. Any length, any base.
    Word,
}

impl Access {
    /// Its name: `vec4`, `word`.
    pub fn name(self) -> &'static str {
        match self {
            Access::Vec4 => "vec4",
            Access::Word => "word",
        }
    }
}

/// What a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Outputs, element by element.
    Elementwise(Access),
    /// Sums. Each invocation adds a block of terms one after the other. Neighbouring sums are adjacent in memory.
    Columns,
    /// Sums. Each workgroup adds a block. Neighbouring terms are adjacent in memory.
    Runs(Access),
}

impl Form {
    /// Whether operands are accessed as vectors of four if their map allows it.
    pub(crate) fn is_vector(self) -> bool {
        matches!(self, Form::Elementwise(Access::Vec4) | Form::Runs(Access::Vec4))
    }
}

/// How an index maps to an operand's element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Map {
    /// The element at the index itself.
    Linear,
    /// By strides. The last stride is 1, so four neighbours are a vector.
    Row,
    /// By strides. The last stride is 0, so four neighbours are one element.
    Splat,
    /// By any strides.
    Gather,
}

/// The kind of data in an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// Numbers of a storage type.
    Number(DType),
    /// Bits, 32 to a word.
    Bit,
}

impl Held {
    /// The number of elements in a word.
    pub(crate) fn per_word(self) -> u64 {
        match self {
            Held::Number(dtype) => WORD / dtype.size(),
            Held::Bit => 32,
        }
    }
}

/// An operand of a kernel: one of the op's reads or writes, or partial sums.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KernelOperand {
    /// Its name: `x`, `dz`, `z`, `dx`.
    pub name: String,
    /// Its number among the op's reads or writes.
    pub index: usize,
    /// Whether the kernel writes it.
    pub write: bool,
    /// The kind of data in it.
    pub element: Held,
    /// How it is indexed.
    pub map: Map,
    /// Whether the kernel adds to the existing values.
    pub accumulate: bool,
}

/// The functions that a kernel calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The op's functions.
    Op {
        /// The wanted outputs.
        outputs: Outputs,
        /// Whether the mask is read instead of computed.
        from_mask: bool,
    },
    /// None: the kernel reads and adds partial sums, or stores finished ones as the gradient.
    Partials,
}

/// A kernel: an op's outputs × storage type × layout × options. Equal kernels have the same WGSL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kernel {
    /// The functions that it calls.
    pub source: Source,
    /// The storage type of the call.
    pub dtype: DType,
    /// What it computes.
    pub form: Form,
    /// The number of axes of the index space: of `z` in an elementwise kernel, of the sums in the others.
    pub axes: usize,
    /// The number of axes that are summed over.
    pub summed: usize,
    /// The operands, reads first.
    pub operands: Vec<KernelOperand>,
    /// The bindings.
    pub slots: Vec<Slot>,
}

impl Kernel {
    /// Whether an operand is the partial results of sums. That is the last operand.
    pub(crate) fn is_sums(&self, operand: usize) -> bool {
        self.summed > 0 && operand + 1 == self.operands.len()
    }

    /// The elementwise kernel that computes `outputs` on contiguous operands, each in its own buffer.
    pub(crate) fn contiguous(signature: &Signature, outputs: Outputs, dtype: DType, access: Access) -> Self {
        let element = |is_mask: bool| if is_mask { Held::Bit } else { Held::Number(dtype) };
        let operand = |name: &str, index, write, is_mask| KernelOperand {
            name: name.to_owned(),
            index,
            write,
            element: element(is_mask),
            map: Map::Linear,
            accumulate: false,
        };
        let reads = signature
            .reads(outputs, false)
            .iter()
            .filter_map(|i| Some(operand(signature.read_names().nth(i)?, i, false, false)));
        let writes = outputs.iter().map(|w| {
            operand(signature.write_name(w), w, true, signature.outputs()[w].kind == OutputKind::Mask)
        });
        let operands: Vec<_> = reads.chain(writes).collect();
        let slots = (0..).zip(&operands).map(|(i, o)| Slot { operands: vec![i], write: o.write }).collect();
        let source = Source::Op { outputs, from_mask: false };
        Self { source, dtype, form: Form::Elementwise(access), axes: 1, summed: 0, operands, slots }
    }
}

/// Operands that share a binding, and whether the binding is written.
///
/// wgpu rejects a buffer that one dispatch binds both `read` and `read_write`. Browsers reject two `read_write`
/// bindings that overlap. So every binding of a written buffer is `read_write`, and operands of such a buffer share a
/// slot if their bound ranges would overlap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// The operands' numbers.
    pub operands: Vec<usize>,
    /// Whether the binding is `read_write`.
    pub write: bool,
}

/// A buffer of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Memory {
    /// A buffer of the caller's. Equal numbers are the same buffer.
    Caller(usize),
    /// One of the plan's scratch buffers.
    Scratch(usize),
}

/// A part of a buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    /// The buffer.
    pub(crate) memory: Memory,
    /// The first byte.
    pub(crate) offset: u64,
    /// The number of bytes.
    pub(crate) size: u64,
}

/// One dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dispatch {
    /// The index of its kernel in the plan.
    pub(crate) kernel: usize,
    /// The binding of each slot.
    pub(crate) bindings: Vec<Bind>,
    /// The uniforms, in the order of [`shader::params`](crate::shader::params).
    pub(crate) params: Vec<u32>,
    /// Workgroups in x and y.
    pub(crate) grid: [u32; 2],
}

/// Everything that binding and recording need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The kernels, each listed once.
    pub(crate) kernels: Vec<Kernel>,
    /// The dispatches, in order.
    pub(crate) dispatches: Vec<Dispatch>,
    /// Sizes in bytes of the buffers for partial sums. They hold zeros before the first recording.
    pub(crate) scratch: Vec<u64>,
}

impl Plan {
    /// The index of a kernel. A new kernel is added.
    fn kernel(&mut self, kernel: Kernel) -> usize {
        self.kernels.iter().position(|k| *k == kernel).unwrap_or_else(|| {
            self.kernels.push(kernel);
            self.kernels.len() - 1
        })
    }

    /// Adds a buffer for `partials` partial sums.
    fn scratch(&mut self, partials: u64) -> Memory {
        self.scratch.push(partials * WORD);
        Memory::Scratch(self.scratch.len() - 1)
    }
}

/// The device limits that matter here, named as in `wgpu::Limits`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The largest storage binding in bytes.
    pub(crate) max_storage_buffer_binding_size: u64,
    /// The largest buffer in bytes.
    pub(crate) max_buffer_size: u64,
    /// The alignment of a storage binding's offset in bytes.
    pub(crate) min_storage_buffer_offset_alignment: u64,
    /// The most workgroups in one dimension.
    pub(crate) max_compute_workgroups_per_dimension: u32,
    /// The most storage bindings in a kernel.
    pub(crate) max_storage_buffers_per_shader_stage: u32,
    /// The most invocations in a workgroup.
    pub(crate) max_compute_invocations_per_workgroup: u32,
    /// The most invocations in a workgroup in its first dimension.
    pub(crate) max_compute_workgroup_size_x: u32,
}

/// The most bytes of a binding that kernels use. They count elements in a `u32`, and 2^32 16-bit elements are 2^33
/// bytes.
const MAX_BINDING: u64 = 1 << 33;

impl From<&wgpu::Limits> for Limits {
    fn from(limits: &wgpu::Limits) -> Self {
        Self {
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size.min(MAX_BINDING),
            max_buffer_size: limits.max_buffer_size,
            min_storage_buffer_offset_alignment: limits.min_storage_buffer_offset_alignment.into(),
            max_compute_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            max_compute_workgroup_size_x: limits.max_compute_workgroup_size_x,
        }
    }
}

impl Limits {
    /// Whether a kernel with `slots` storage bindings can be compiled.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub(crate) fn check_kernel(&self, op: &str, slots: usize) -> Result<(), Error> {
        let needs = [
            (
                "max_compute_invocations_per_workgroup",
                self.max_compute_invocations_per_workgroup,
                WORKGROUP_SIZE,
            ),
            ("max_compute_workgroup_size_x", self.max_compute_workgroup_size_x, WORKGROUP_SIZE),
            ("max_storage_buffers_per_shader_stage", self.max_storage_buffers_per_shader_stage, slots as u32),
        ];
        for (limit, got, need) in needs {
            if got < need {
                return Err(Error::Limit { op: op.into(), limit, got: got.into(), need: need.into() });
            }
        }
        Ok(())
    }

    /// The 2-D grid with the fewest workgroups that covers `groups`.
    fn grid(&self, op: &str, groups: u64) -> Result<[u32; 2], Error> {
        let got = u64::from(self.max_compute_workgroups_per_dimension);
        if got == 0 || groups.div_ceil(got.max(1)) > got {
            // The largest grid that a device allows is a square of workgroups.
            let need = groups.saturating_sub(1).isqrt() + 1;
            return Err(Error::Limit {
                op: op.into(),
                limit: "max_compute_workgroups_per_dimension",
                got,
                need,
            });
        }
        let rows = groups.div_ceil(got).max(1);
        Ok([groups.div_ceil(rows) as u32, rows as u32])
    }
}

/// The place of an operand of the caller's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Equal numbers are the same buffer.
    pub(crate) buffer: usize,
    /// The first byte of the operand's range.
    pub(crate) offset: u64,
}

/// A call to plan, and the places of its operands.
pub(crate) struct Request<'a> {
    pub(crate) signature: &'a Signature,
    pub(crate) call: &'a Call,
    pub(crate) dtype: DType,
    /// For each given read and each given write.
    pub(crate) reads: &'a [Option<Place>],
    pub(crate) writes: &'a [Option<Place>],
    pub(crate) limits: &'a Limits,
}

/// An operand of a kernel, and its layout over the index space.
#[derive(Clone, Debug)]
struct Operand {
    name: String,
    index: usize,
    write: bool,
    element: Held,
    accumulate: bool,
    memory: Memory,
    /// In elements from the start of the buffer.
    offset: i64,
    /// Over the axes of the call. The strides of a bit operand are not used.
    strides: Vec<i64>,
}

impl Operand {
    /// The kernel operand with this map.
    fn with_map(&self, map: Map) -> KernelOperand {
        KernelOperand {
            name: self.name.clone(),
            index: self.index,
            write: self.write,
            element: self.element,
            map,
            accumulate: self.accumulate,
        }
    }
}

/// The first and the last element that a dispatch accesses in an operand.
type Reach = (i64, i64);

impl Request<'_> {
    fn op(&self) -> String {
        self.signature.name().to_owned()
    }

    fn element(&self, is_mask: bool) -> Held {
        if is_mask { Held::Bit } else { Held::Number(self.dtype) }
    }

    fn read(&self, i: usize) -> Option<Operand> {
        let (place, layout) = (self.reads[i]?, self.call.reads[i].as_ref()?.layout(&self.call.shape));
        let element = self.element(self.signature.is_mask_read(i));
        Some(Operand {
            name: self.signature.read_names().nth(i)?.to_owned(),
            index: i,
            write: false,
            element,
            accumulate: false,
            memory: Memory::Caller(place.buffer),
            offset: (place.offset / WORD * element.per_word() + place.offset % WORD / 2) as i64
                + layout.offset() as i64,
            strides: layout.strides().to_vec(),
        })
    }

    fn write(&self, i: usize) -> Option<Operand> {
        let (place, write) = (self.writes[i]?, self.call.writes[i].as_ref()?);
        let element = self.element(self.signature.outputs()[i].kind == OutputKind::Mask);
        Some(Operand {
            name: self.signature.write_name(i).to_owned(),
            index: i,
            write: true,
            element,
            accumulate: write.accumulate,
            memory: Memory::Caller(place.buffer),
            offset: (place.offset / WORD * element.per_word() + place.offset % WORD / 2) as i64,
            strides: write.strides(&self.call.shape).to_vec(),
        })
    }

    /// The operands of a kernel that computes `outputs`, reads first.
    fn operands(&self, outputs: Outputs) -> Vec<Operand> {
        let reads = self.call.reads_for(self.signature, outputs).iter().filter_map(|i| self.read(i));
        reads.chain(outputs.iter().filter_map(|i| self.write(i))).collect()
    }

    fn needs_copy(&self, argument: &str) -> Error {
        let limit = self.limits.max_storage_buffer_binding_size;
        Error::NeedsCopy { op: self.op(), argument: argument.into(), limit }
    }

    /// The slots of a dispatch, and the binding of each.
    fn slots(&self, operands: &[Operand], reaches: &[Reach]) -> (Vec<Slot>, Vec<Bind>) {
        let align = self.limits.min_storage_buffer_offset_alignment;
        let written = |memory| operands.iter().any(|o| o.write && o.memory == memory);
        let bytes = |i: usize| {
            let per_word = operands[i].element.per_word() as i64;
            let (low, high) = reaches[i];
            let (first, last) =
                (low.div_euclid(per_word) as u64 * WORD, high.div_euclid(per_word) as u64 * WORD);
            (first / align * align, last + WORD)
        };
        let mut order: Vec<usize> = (0..operands.len()).collect();
        order.sort_by_key(|&i| (operands[i].memory, bytes(i).0));
        let mut slots: Vec<(Slot, Bind)> = Vec::new();
        for i in order {
            let (memory, (start, end)) = (operands[i].memory, bytes(i));
            let write = written(memory);
            match slots.last_mut() {
                Some((slot, bind)) if write && bind.memory == memory && start < bind.offset + bind.size => {
                    slot.operands.push(i);
                    bind.size = bind.size.max(end - bind.offset);
                }
                _ => {
                    let bind = Bind { memory, offset: start, size: end - start };
                    slots.push((Slot { operands: vec![i], write }, bind));
                }
            }
        }
        for (slot, _) in &mut slots {
            slot.operands.sort_unstable();
        }
        slots.sort_by_key(|(slot, _)| slot.operands[0]);
        slots.into_iter().unzip()
    }
}

/// The number of elements from the start of an operand's binding to the place of index 0. It is negative if that
/// place is before the binding.
fn base(operand: &Operand, at: i64, bind: &Bind) -> i64 {
    at - (bind.offset / WORD * operand.element.per_word()) as i64
}

/// The binding of an operand.
fn bind_of<'a>(slots: &[Slot], binds: &'a [Bind], operand: usize) -> &'a Bind {
    let slot = slots.iter().position(|s| s.operands.contains(&operand)).unwrap_or(0);
    &binds[slot]
}

/// Plans a call.
///
/// # Errors
/// [`Error::Overlap`] if an output overlaps an operand without occupying exactly an input, [`Error::InPlace`] if no
/// order of dispatches lets outputs overwrite inputs, [`Error::NeedsCopy`] if an input's elements are too far apart,
/// and [`Error::Limit`] if the device cannot run a kernel.
pub(crate) fn plan(request: &Request) -> Result<Plan, Error> {
    check_overlap(request)?;
    let mut plan = Plan::default();
    let is_reduced = |w: usize| request.call.writes[w].as_ref().is_some_and(|w| w.sum.is_some());
    let (reduced, whole): (Vec<usize>, Vec<usize>) =
        request.call.outputs.iter().partition(|w| is_reduced(*w));
    let whole = elementwise::groups(request, whole)?;
    // The last of the sums also computes the other outputs, if each of them has words of its own and the kernel has
    // enough bindings for all.
    let carries = |outputs: Outputs| {
        !request.signature.mask().is_some_and(|w| outputs.contains(w))
            && elementwise::bindings_suffice(request, outputs, reduced.last().copied())
    };
    let carried = match (whole.as_slice(), request.dtype) {
        ([outputs], DType::F32) if carries(*outputs) => *outputs,
        _ => Outputs::NONE,
    };
    let mut sums = Vec::new();
    for (i, write) in reduced.iter().enumerate() {
        let carried = if i + 1 == reduced.len() && request.call.len() > 0 { carried } else { Outputs::NONE };
        sums.push((*write, sums::partials(request, *write, carried, &mut plan)?));
    }
    for outputs in whole.into_iter().filter(|outputs| reduced.is_empty() || *outputs != carried) {
        elementwise::outputs(request, outputs, &mut plan)?;
    }
    for (write, partials) in sums {
        elementwise::store(request, write, partials, &mut plan)?;
    }
    Ok(plan)
}

/// Checks that an output overlaps nothing, except that it may occupy exactly the range of an input of its shape.
/// Operands that share a word overlap.
fn check_overlap(request: &Request) -> Result<(), Error> {
    let operands = request.operands(request.call.outputs);
    for (i, a) in operands.iter().enumerate().filter(|(_, a)| a.write) {
        for b in operands.iter().enumerate().filter(|(j, b)| *j != i && (i < *j || !b.write)).map(|(_, b)| b)
        {
            let overlap = matches!((words(request, a), words(request, b)),
                (Some(a), Some(b)) if a.0 <= b.1 && b.0 <= a.1);
            if overlap && a.memory == b.memory && !in_place(request, a, b) {
                let (argument, other) = (a.name.clone(), b.name.clone());
                return Err(Error::Overlap { op: request.op(), argument, other });
            }
        }
    }
    Ok(())
}

/// The first and the last word of an operand in the caller's memory.
fn words(request: &Request, operand: &Operand) -> Option<(i64, i64)> {
    let per_word = operand.element.per_word() as i64;
    let (low, high) = reach_of(request, operand)?;
    Some((low.div_euclid(per_word), high.div_euclid(per_word)))
}

/// The first and the last element of an operand in the caller's memory. A call without elements still writes its
/// empty sums.
fn reach_of(request: &Request, operand: &Operand) -> Option<Reach> {
    if operand.write || operand.element == Held::Bit {
        let bits = if operand.element == Held::Bit { Some(request.call.len()) } else { None };
        let len = bits.or_else(|| Some(request.call.writes[operand.index].as_ref()?.len))?;
        return (len > 0).then(|| (operand.offset, operand.offset + len as i64 - 1));
    }
    if request.call.len() == 0 {
        return None;
    }
    crate::shape::extent(&request.call.shape, &operand.strides, operand.offset)
}

/// Whether an output occupies exactly the elements of an input, each at the same index.
fn in_place(request: &Request, output: &Operand, input: &Operand) -> bool {
    let same_strides = || {
        let axes = request.call.shape.iter().zip(output.strides.iter().zip(&input.strides));
        axes.filter(|(d, _)| **d > 1).all(|(_, (a, b))| a == b)
    };
    !input.write && output.element == input.element && output.offset == input.offset && same_strides()
}

#[cfg(test)]
mod tests;
