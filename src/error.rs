//! The only error type.

use crate::shape::Layout;

/// What went wrong. The error names the op, the argument, what it got and what it needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call lacks an argument that the wanted outputs need.
    #[error("{op}: {argument} is missing: the wanted outputs need it")]
    Missing {
        /// The op.
        op: String,
        /// The operand.
        argument: String,
    },
    /// A name that an op or an operand cannot have, or that no input has.
    #[error("{op}: the name '{got}' is not {need}")]
    Name {
        /// The op.
        op: String,
        /// The name.
        got: String,
        /// What the name must be.
        need: String,
    },
    /// The outputs of a signature do not fit together.
    #[error("{op}: the output {argument} {message}")]
    Signature {
        /// The op.
        op: String,
        /// The output.
        argument: String,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// An op in exact arithmetic uses a building block without an exact form.
    #[error("{op}: {block} has no exact form: use native arithmetic, or make the op without it")]
    Inexact {
        /// The op.
        op: String,
        /// The building block.
        block: &'static str,
    },
    /// The request needs the op's expression, but the op is hand-written WGSL.
    #[error("{op}: hand-written WGSL cannot be part of an expression: make the op with Op::new")]
    NotExpression {
        /// The op.
        op: String,
    },
    /// An op exceeds a size limit.
    #[error("{op}: has {got} {what}, more than the limit of {most}")]
    TooLarge {
        /// The op.
        op: String,
        /// What was counted: inputs, outputs, nodes of the expression.
        what: &'static str,
        /// How many the op has. For nodes, at least this many.
        got: usize,
        /// How many an op can have.
        most: usize,
    },
    /// The call asks for no output.
    #[error("{op}: no output is wanted: give at least one output to write")]
    NothingWanted {
        /// The op.
        op: String,
    },
    /// The number of arguments is wrong.
    #[error("{op}: got {got} {what}, needs {need}")]
    Arity {
        /// The op.
        op: String,
        /// What was counted: inputs, outputs or arguments.
        what: &'static str,
        /// How many were given.
        got: usize,
        /// How many the op has.
        need: usize,
    },
    /// An argument does not have the length that the call needs.
    #[error("{op}: {argument} has {got} elements, needs {need}, as many as {other}")]
    Length {
        /// The op.
        op: String,
        /// The operand.
        argument: String,
        /// Its length in elements.
        got: u64,
        /// The length that it needs.
        need: u64,
        /// What sets the length: an operand, the shape of `z`, the words of a mask.
        other: String,
    },
    /// A layout does not have one stride for each axis.
    #[error("{op}: the layout of {argument} has {got} strides, needs {need}, one for each axis")]
    Strides {
        /// The op.
        op: String,
        /// The operand.
        argument: String,
        /// How many strides there are.
        got: usize,
        /// How many axes there are.
        need: usize,
    },
    /// Shapes do not broadcast to each other, or an operand does not have the required shape.
    #[error("{op}: {argument} has the shape {}, which does not fit {} of {other}", tuple(.got), tuple(.need))]
    Shape {
        /// The op.
        op: String,
        /// The operand.
        argument: String,
        /// Its shape.
        got: Vec<u64>,
        /// The shape that it must fit.
        need: Vec<u64>,
        /// What has that shape.
        other: String,
    },
    /// A shape has more elements than can be counted.
    #[error("{op}: the shape {} has too many elements", tuple(.shape))]
    TooMany {
        /// The op.
        op: String,
        /// The shape to which the inputs broadcast.
        shape: Vec<u64>,
    },
    /// The host does not have enough memory for an output.
    #[error("{op}: there is no memory for the {elements} elements of {argument}: compute fewer at a time")]
    HostMemory {
        /// The op.
        op: String,
        /// The output.
        argument: String,
        /// The number of its elements.
        elements: u64,
    },
    /// A layout reaches outside its operand's range.
    #[error(
        "{op}: {argument} has {len} elements, and its shape {}, strides {:?} and offset {} reach outside of them",
        tuple(.layout.shape()), .layout.strides(), .layout.offset()
    )]
    Layout {
        /// The op.
        op: String,
        /// The operand.
        argument: String,
        /// How many elements its range has.
        len: u64,
        /// The layout.
        layout: Box<Layout>,
    },
    /// A call would accumulate into an output that is not a gradient.
    #[error("{op}: {argument} is not a gradient: only gradients can be accumulated")]
    Accumulate {
        /// The op.
        op: String,
        /// The output.
        argument: String,
    },
    /// The slices of one call hold different storage types.
    #[error("{op}: {argument} holds {got}, needs {need}: every operand of a call has one storage type")]
    Type {
        /// The op.
        op: String,
        /// The operand.
        argument: String,
        /// The storage type that it holds.
        got: &'static str,
        /// The storage type that the call needs.
        need: &'static str,
    },
    /// An operand is too large for one binding, and its strides would force very many tiny dispatches.
    #[error(
        "{op}: {argument} is too large for one binding of {limit} bytes, and its strides would force \
         tiny dispatches: make it contiguous first"
    )]
    NeedsCopy {
        /// The op.
        op: String,
        /// The operand that is too large.
        argument: String,
        /// The device's largest storage binding in bytes.
        limit: u64,
    },
    /// A byte offset or size is not a whole number of elements.
    #[error(
        "{op}: {argument} has a byte {what} of {got}, needs a multiple of {need}, the size of an element"
    )]
    Alignment {
        /// The op.
        op: String,
        /// The operand.
        argument: String,
        /// `offset` or `size`.
        what: &'static str,
        /// The offset or size that was given, in bytes.
        got: u64,
        /// The size of an element in bytes.
        need: u64,
    },
    /// A range ends past the end of its buffer, or within trailing bytes of the buffer that form no whole word.
    /// Storage is bound in words of 4 bytes, so an odd number of 16-bit elements also takes the other half of its
    /// last word.
    #[error(
        "{op}: {argument} is bytes {start}..{end} of a buffer of {size} bytes, which is bound in whole words of 4 bytes"
    )]
    Range {
        /// The op.
        op: String,
        /// The operand.
        argument: String,
        /// The first byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// The size of the buffer.
        size: u64,
    },
    /// A buffer lacks a usage flag.
    #[error("{op}: the buffer of {argument} has usages {got:?}, needs {need:?}")]
    Usage {
        /// The op.
        op: String,
        /// The operand.
        argument: String,
        /// The buffer's usages.
        got: wgpu::BufferUsages,
        /// The usage it needs.
        need: wgpu::BufferUsages,
    },
    /// An output overlaps another operand without occupying exactly the range of an input.
    #[error(
        "{op}: {argument} overlaps {other}: an output may occupy exactly the range of an input and \
         must overlap nothing else"
    )]
    Overlap {
        /// The op.
        op: String,
        /// The output.
        argument: String,
        /// The operand it overlaps.
        other: String,
    },
    /// Two outputs are each in place of an input that the other needs: 16-bit outputs at an even and at an odd
    /// element, or one at an odd element and a mask. They need two dispatches, and neither can run first.
    #[error(
        "{op}: {argument} and {other} start in different halves of a word, and both are written \
         in place: move one by one element"
    )]
    InPlace {
        /// The op.
        op: String,
        /// The first output.
        argument: String,
        /// The second output.
        other: String,
    },
    /// The device's limits do not allow the kernel.
    #[error("{op}: the device's {limit} is {got}, the kernel needs {need}")]
    Limit {
        /// The op.
        op: String,
        /// The name of the limit in `wgpu::Limits`.
        limit: &'static str,
        /// What the device allows.
        got: u64,
        /// What the kernel needs.
        need: u64,
    },
    /// A shader does not parse or validate, or is longer or more deeply nested than the library compiles.
    #[error("{op}: the shader does not compile: {message}")]
    Shader {
        /// The op.
        op: String,
        /// The compiler's message.
        message: String,
    },
    /// A WGSL text or expression cannot be made into an op.
    #[error("{op}: {line}:{column}: {message}\n    {source_line}\n    {:caret$}^", "")]
    Wgsl {
        /// The op.
        op: String,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
        /// The line of the text. A long line is cut to what surrounds the place.
        source_line: String,
        /// How many characters of `source_line` precede the place.
        caret: usize,
    },
    /// wgpu rejected something that only wgpu can check, such as a buffer of another device.
    #[error("{op}: wgpu says: {message}")]
    Gpu {
        /// The op.
        op: String,
        /// wgpu's message.
        message: String,
    },
    /// The device is out of memory.
    #[error("{op}: the device is out of memory")]
    OutOfMemory {
        /// The op.
        op: String,
    },
    /// The device was lost. Do not use the outputs of the call.
    #[error("{op}: the device was lost: {message}")]
    DeviceLost {
        /// The op.
        op: String,
        /// The driver's message.
        message: String,
    },
    /// A device's result differs from the reference.
    #[error("{op}: wrong on {device}: {message}")]
    Wrong {
        /// The op.
        op: String,
        /// The device's name.
        device: String,
        /// The element, its expected value and its actual value.
        message: String,
    },
    /// No adapter matches the request.
    #[error("no device matches '{wanted}'; found: {}", list(.found))]
    NoDevice {
        /// What was asked for.
        wanted: String,
        /// What was found, one line each.
        found: Vec<String>,
    },
    /// No element type has that name.
    #[error("no type is named '{wanted}'; there are: f32, f16, bf16")]
    NoDType {
        /// What was asked for.
        wanted: String,
    },
    /// An adapter was found, but it gives no device.
    #[error("the adapter {adapter} gives no device: {message}")]
    Open {
        /// The adapter.
        adapter: String,
        /// wgpu's message.
        message: String,
    },
}

/// A shape as Python writes it.
fn tuple(shape: &[u64]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => format!("({})", shape.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn list(found: &[String]) -> String {
    if found.is_empty() { "no adapter at all".into() } else { found.join(", ") }
}
