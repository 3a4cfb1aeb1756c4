//! Planning: from (a call's shapes, where its operands lie, limits) to kernels and dispatches, with no device in sight.
//!
//! Outputs that are as large as `z` are computed element by element, gradients of broadcast inputs as sums; the plan has
//! the sums' partial results first, then the elementwise outputs, which may overwrite inputs, then the sums' last step. The
//! last of the sums may write the elementwise outputs on its way: all others have been computed, and a lane loads before
//! it stores. Where a call needs more than the largest binding or [`MAX_DISPATCH`] allow,
//! it is cut into *windows*, each a dispatch. Each operand is bound from the last allowed offset at or before the part
//! that the window reaches, and the kernel adds the rest, the operand's *base*.

use crate::{
    call::check::{Call, Write},
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
/// Elements that one workgroup computes: four for each invocation.
pub(crate) const ELEMENTS_PER_WORKGROUP: u32 = 4 * WORKGROUP_SIZE;
/// A word: what storage is bound as.
pub(crate) const WORD: u64 = 4;

/// How a kernel accesses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Four neighbours an invocation, in one vector: lengths, bases and rows are multiples of 4 elements.
    Vec4,
    /// Words a workgroup apart: any length, any base.
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

/// What a kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Outputs of one element each.
    Elementwise(Access),
    /// Sums of which each invocation adds a block of terms one after the other: neighbouring sums lie side by side.
    Columns,
    /// Sums of which each workgroup adds a block: neighbouring terms lie side by side.
    Runs(Access),
}

impl Form {
    /// Whether operands are accessed as vectors of four where their map allows.
    pub(crate) fn is_vector(self) -> bool {
        matches!(self, Form::Elementwise(Access::Vec4) | Form::Runs(Access::Vec4))
    }
}

/// Where an operand's element lies that belongs to an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Map {
    /// At the index itself.
    Linear,
    /// By strides, the last of which is 1: four neighbours are a vector.
    Row,
    /// By strides, the last of which is 0: four neighbours are one element.
    Splat,
    /// By any strides.
    Gather,
}

/// What an operand holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// Numbers of a storage type.
    Number(DType),
    /// Bits, 32 to a word.
    Bit,
}

impl Held {
    /// Elements in a word.
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
    /// What it holds.
    pub element: Held,
    /// How it is indexed.
    pub map: Map,
    /// Whether what is written is added to what is there.
    pub accumulate: bool,
}

/// Whose functions a kernel calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The op's; `true` where the mask is read, not computed.
    Op {
        /// The wanted outputs.
        outputs: Outputs,
        /// Whether the mask is read, not computed.
        from_mask: bool,
    },
    /// None: partial sums are read and added, or stored as the gradient that they are.
    Partials,
}

/// A kernel: an op's outputs × storage type × layout × options. Equal ones have the same WGSL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kernel {
    /// Whose functions it calls.
    pub source: Source,
    /// The storage type of the call.
    pub dtype: DType,
    /// What it does.
    pub form: Form,
    /// Axes of the index space: of `z` for an elementwise kernel, of the sums for the others.
    pub axes: usize,
    /// Axes that are summed over.
    pub summed: usize,
    /// The operands, reads first.
    pub operands: Vec<KernelOperand>,
    /// The bindings.
    pub slots: Vec<Slot>,
}

impl Kernel {
    /// Whether an operand is the partial results of sums: the last one.
    pub(crate) fn is_sums(&self, operand: usize) -> bool {
        self.summed > 0 && operand + 1 == self.operands.len()
    }

    /// The elementwise kernel that computes `outputs` on contiguous operands, each in a buffer of its own.
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

/// Which operands share a binding, and which bindings are written.
///
/// wgpu rejects a buffer that one dispatch binds both `read` and `read_write`, and browsers reject two `read_write`
/// bindings that overlap. So a buffer that is written is bound `read_write` throughout, and operands whose bound ranges
/// would overlap there share a slot.
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
    /// One of the caller's: equal numbers are the same buffer.
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
    /// How many.
    pub(crate) size: u64,
}

/// One dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dispatch {
    /// Its kernel's number in the plan.
    pub(crate) kernel: usize,
    /// What each slot binds.
    pub(crate) bindings: Vec<Bind>,
    /// The uniforms, in the order of [`shader::params`](crate::shader::params).
    pub(crate) params: Vec<u32>,
    /// Workgroups in x and y.
    pub(crate) grid: [u32; 2],
}

/// Everything that binding and recording need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The kernels, each once.
    pub(crate) kernels: Vec<Kernel>,
    /// The dispatches, in order.
    pub(crate) dispatches: Vec<Dispatch>,
    /// Sizes in bytes of buffers that hold partial sums. Before the first recording they hold zeros.
    pub(crate) scratch: Vec<u64>,
}

impl Plan {
    /// The number of a kernel, which is added where it is new.
    fn kernel(&mut self, kernel: Kernel) -> usize {
        self.kernels.iter().position(|k| *k == kernel).unwrap_or_else(|| {
            self.kernels.push(kernel);
            self.kernels.len() - 1
        })
    }

    /// The number of a new buffer for so many partial sums.
    fn scratch(&mut self, partials: u64) -> Memory {
        self.scratch.push(partials * WORD);
        Memory::Scratch(self.scratch.len() - 1)
    }
}

/// The limits of a device that matter here, named as in `wgpu::Limits`.
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

/// The most bytes of a binding of which kernels make use: they count elements in a `u32`, and as many 16-bit ones are 2^33
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
            // A square of workgroups is the most that a device allows.
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

/// Where the caller's operand lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Equal numbers are the same buffer.
    pub(crate) buffer: usize,
    /// The first byte of its range.
    pub(crate) offset: u64,
}

/// A call, and where its operands lie: what is planned.
pub(crate) struct Request<'a> {
    pub(crate) signature: &'a Signature,
    pub(crate) call: &'a Call,
    pub(crate) dtype: DType,
    /// For each read and each write that is given.
    pub(crate) reads: &'a [Option<Place>],
    pub(crate) writes: &'a [Option<Place>],
    pub(crate) limits: &'a Limits,
}

/// An operand of a kernel, and where its elements lie over the index space.
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
    /// Over the axes of the call; a bit's is not used.
    strides: Vec<i64>,
}

impl Operand {
    /// As one of a kernel's.
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

/// What a dispatch reaches of an operand: its first and its last element.
type Reach = (i64, i64);

impl Request<'_> {
    fn op(&self) -> String {
        self.signature.name().to_owned()
    }

    fn element(&self, is_mask: bool) -> Held {
        if is_mask { Held::Bit } else { Held::Number(self.dtype) }
    }

    fn read(&self, i: usize) -> Option<Operand> {
        let (place, layout) = (self.reads[i]?, self.call.reads[i].as_ref()?);
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
            strides: write.strides.to_vec(),
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

    /// The slots of a dispatch, and what each binds.
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

/// The elements between the start of an operand's binding and the place of index 0, which may lie before it.
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
/// [`Error::Overlap`] where an output overlaps an operand other than exactly an input, [`Error::InPlace`] where no order
/// of dispatches lets outputs overwrite inputs, [`Error::NeedsCopy`] where an input lies too far apart, and
/// [`Error::Limit`] where the device cannot run a kernel.
pub(crate) fn plan(request: &Request) -> Result<Plan, Error> {
    check_overlap(request)?;
    let mut plan = Plan::default();
    let is_reduced = |w: usize| request.call.writes[w].as_ref().is_some_and(Write::is_reduced);
    let (reduced, whole): (Vec<usize>, Vec<usize>) =
        request.call.outputs.iter().partition(|w| is_reduced(*w));
    let whole = elementwise::groups(request, whole)?;
    // The last of the sums computes the other outputs on its way, where each has words of its own and the kernel bindings
    // for all.
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

/// An output may occupy exactly the range of an input of its shape, and shares no word with anything else.
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

/// The first and the last word of an operand of the caller's.
fn words(request: &Request, operand: &Operand) -> Option<(i64, i64)> {
    let per_word = operand.element.per_word() as i64;
    let (low, high) = reach_of(request, operand)?;
    Some((low.div_euclid(per_word), high.div_euclid(per_word)))
}

/// The first and the last element of an operand of the caller's; a call without elements still writes its empty sums.
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
