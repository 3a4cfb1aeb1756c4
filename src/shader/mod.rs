//! The WGSL of kernels, for any WebGPU host.

use std::fmt::Write as _;

use crate::{
    dtype::DType,
    error::Error,
    plan::{
        ELEMENTS_PER_WORKGROUP, Form, Held, Kernel, KernelOperand, MAX_DISPATCH, Map, Source, WORKGROUP_SIZE,
    },
    signature::{Signature, gate::Store, outputs::Outputs},
    wgsl::{LINE_BREAKS, depth, identifiers},
};

pub(crate) mod library;
mod main;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

pub use crate::plan::Access;

/// A complete WGSL module, with what a host needs to dispatch it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shader {
    /// The WGSL.
    pub source: String,
    /// The bindings of group 0, by number.
    pub bindings: Vec<Binding>,
    /// The fields of the uniform at binding 0, each a `u32`.
    pub params: Vec<String>,
}

/// One binding of a kernel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Binding {
    /// The variable's name.
    pub name: String,
    /// `uniform`, `read` or `read_write`.
    pub kind: &'static str,
    /// Its WGSL type.
    pub ty: String,
}

impl Shader {
    /// The entry point of every kernel.
    pub const ENTRY_POINT: &str = "main";
    /// The workgroup size of every kernel, in its first dimension.
    pub const WORKGROUP_SIZE: u32 = WORKGROUP_SIZE;
    /// The number of elements that a workgroup computes.
    pub const ELEMENTS_PER_WORKGROUP: u32 = ELEMENTS_PER_WORKGROUP;
    /// The most elements in one dispatch.
    pub const MAX_ELEMENTS: u64 = MAX_DISPATCH;

    /// The kernel that computes `outputs` of an op on contiguous operands, each in its own buffer.
    ///
    /// The source starts with a comment that says how to bind and dispatch the kernel. It runs unchanged on any
    /// WebGPU host.
    ///
    /// ```
    /// use elemgrad::{DType, Outputs, ops::modulo, shader::{Access, Shader}};
    ///
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let shader = Shader::new(modulo().signature(), Outputs::Z, DType::F32, Access::Vec4)?;
    /// let names: Vec<_> = shader.bindings.iter().map(|b| b.name.as_str()).collect();
    /// assert_eq!(names, ["params", "buffer_x", "buffer_y", "buffer_z"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NothingWanted`] if `outputs` is empty, [`Error::Arity`] if the op lacks one of them.
    pub fn new(signature: &Signature, outputs: Outputs, dtype: DType, access: Access) -> Result<Self, Error> {
        signature.check(outputs)?;
        Ok(compose(signature, &Kernel::contiguous(signature, outputs, dtype, access)))
    }

    /// The op's functions and the function `element`, which computes `outputs` with them, without bindings. Paste the
    /// text into another shader. It represents a number by the bits of its f32 in a `u32`, for every storage type.
    ///
    /// # Errors
    /// As [`new`](Shader::new).
    pub fn functions(signature: &Signature, outputs: Outputs, dtype: DType) -> Result<String, Error> {
        signature.check(outputs)?;
        let kernel = Kernel::contiguous(signature, outputs, dtype, Access::Word);
        let element = element(signature, &kernel);
        Ok(library(signature, &kernel, &element) + &element)
    }

    /// The rule for dispatching an elementwise kernel, in words.
    pub fn dispatch_rule() -> String {
        format!(
            "len > 0; groups = ceil((len + parity) / {ELEMENTS_PER_WORKGROUP}); rows = ceil(groups / max_compute_workgroups_per_dimension); \
             groups_per_row = ceil(groups / rows); dispatch_workgroups(groups_per_row, rows, 1)"
        )
    }

    /// Parses and validates a module as wgpu will.
    ///
    /// # Errors
    /// [`Error::Shader`] with the compiler's message.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn check(op: &str, source: &str) -> Result<(), Error> {
        use wgpu::naga;
        let failed = |message: String| Error::Shader { op: op.into(), message };
        let module = naga::front::wgsl::parse_str(source).map_err(|e| failed(e.emit_to_string(source)))?;
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty())
            .validate(&module)
            .map_err(|e| failed(e.emit_to_string(source)))?;
        Ok(())
    }
}

/// Composes the module of a kernel.
pub(crate) fn compose(signature: &Signature, kernel: &Kernel) -> Shader {
    let params = params(kernel);
    let bindings = bindings(kernel);
    let element = element(signature, kernel);
    let rest = element + &declarations(&bindings, &params) + &main::main(signature, kernel);
    let mut source = header(signature, kernel, &bindings, &params);
    source += &library(signature, kernel, &rest);
    source += &rest;
    Shader { source, bindings, params }
}

/// The fields of a kernel's uniform, in order.
pub(crate) fn params(kernel: &Kernel) -> Vec<String> {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let axes =
        |prefix: &str, axes: std::ops::Range<usize>| axes.map(|a| format!("{prefix}{a}")).collect::<Vec<_>>();
    let mut params = match kernel.form {
        Form::Elementwise(_) => names(&["len", "groups_per_row", "parity"]),
        _ => names(&["len", "groups_per_row", "sums", "first_sum", "first_block", "terms", "steps"]),
    };
    params.extend(axes("size_", 1..kernel.axes));
    params.extend(axes("terms_", 1..kernel.summed));
    for (i, operand) in kernel.operands.iter().enumerate() {
        let name = &operand.name;
        params.push(format!("base_{name}"));
        let axes_of_strides = kernel.axes + kernel.summed;
        let strides = match operand.map {
            // Of partial results: the step to the next sum, and to the next block.
            _ if kernel.is_sums(i) => 2,
            Map::Linear => 0,
            // The last stride is 1 or 0.
            Map::Row | Map::Splat => axes_of_strides - 1,
            Map::Gather => axes_of_strides,
        };
        params.extend(axes(&format!("stride_{name}_"), 0..strides));
    }
    params
}

/// The name of an operand's binding.
fn memory(kernel: &Kernel, operand: usize) -> String {
    let slot = kernel.slots.iter().find(|slot| slot.operands.contains(&operand));
    let names = slot.into_iter().flat_map(|s| &s.operands).map(|&i| kernel.operands[i].name.as_str());
    format!("buffer_{}", names.collect::<Vec<_>>().join("__"))
}

/// Whether a 16-bit operand is neither widened nor rounded: it is an input that the kernel only copies, or the copy.
fn is_copied(signature: &Signature, kernel: &Kernel, operand: &KernelOperand) -> bool {
    let Source::Op { outputs, from_mask } = kernel.source else { return false };
    let copies = |o: &KernelOperand| {
        if o.write && !o.accumulate { signature.copied(o.index) } else { None }
    };
    let read = if operand.write { copies(operand) } else { Some(operand.index) };
    let Some(name) = read.and_then(|i| signature.read_names().nth(i)) else { return false };
    let uses = |expression: &str| identifiers(expression).any(|n| n == name);
    let elsewhere = |o: &&KernelOperand| o.write && copies(o) != read;
    matches!(kernel.form, Form::Elementwise(_))
        && !kernel.operands.iter().filter(elsewhere).any(|o| uses(&signature.outputs()[o.index].expression))
        && !signature.lets(outputs, from_mask).any(|(_, expression)| uses(expression))
}

/// Whether an operand is loaded and stored as vectors of four elements.
fn is_vector(kernel: &Kernel, operand: &KernelOperand) -> bool {
    kernel.form.is_vector() && operand.element != Held::Bit && matches!(operand.map, Map::Linear | Map::Row)
}

fn bindings(kernel: &Kernel) -> Vec<Binding> {
    let uniform = Binding { name: "params".into(), kind: "uniform", ty: "Params".into() };
    let storage = kernel.slots.iter().map(|slot| {
        let first = slot.operands[0];
        let operand = &kernel.operands[first];
        let ty = match operand.element {
            _ if !is_vector(kernel, operand) => "array<u32>",
            Held::Number(DType::F32) => "array<vec4<u32>>",
            _ => "array<vec2<u32>>",
        };
        let kind = if slot.write { "read_write" } else { "read" };
        Binding { name: memory(kernel, first), kind, ty: ty.into() }
    });
    std::iter::once(uniform).chain(storage).collect()
}

fn header(d: &Signature, kernel: &Kernel, bindings: &[Binding], params: &[String]) -> String {
    let what = match kernel.source {
        Source::Op { outputs, .. } => d.pass_of(outputs).name(),
        Source::Partials => "partial sums",
    };
    let mut text = format!(
        "// elemgrad {}: {} {what} {}\n//\n",
        env!("CARGO_PKG_VERSION"),
        one_line(d.name()),
        kernel.dtype.name()
    );
    for operand in kernel.operands.iter().filter(|o| o.write && kernel.source != Source::Partials) {
        let Some(output) = d.outputs().iter().find(|o| o.name == operand.name) else { continue };
        let (name, sign) = (&operand.name, if operand.accumulate { "+=" } else { "=" });
        let _ = writeln!(text, "//   {name} {sign} {}", one_line(&output.formula));
    }
    let _ = writeln!(text, "//\n// Bindings of group 0; storage holds the bits of {}:", kernel.dtype.name());
    for (i, b) in bindings.iter().enumerate() {
        let _ = writeln!(text, "//   {i}: {} ({}, {})", b.name, b.kind, b.ty);
    }
    let _ = writeln!(text, "// Fields of params, each a u32: {}.", params.join(", "));
    if let Form::Elementwise(access) = kernel.form {
        let multiple = if access == Access::Vec4 { ", a multiple of 4" } else { "" };
        let _ = writeln!(text, "//   len: elements{multiple}.");
        if kernel.axes > 1 {
            text += "//   size_A: the size of axis A of the index space; that of axis 0 follows from len.\n";
        }
        kernel.operands.iter().for_each(|operand| text += &units(kernel, operand));
        text += "//   parity: 1 where outputs of 16 bits start in the upper half of a word, else 0.\n";
        let _ = writeln!(
            text,
            "// Workgroup size {WORKGROUP_SIZE}, {ELEMENTS_PER_WORKGROUP} elements a workgroup, at most {MAX_DISPATCH} elements a dispatch:\n//   {}",
            Shader::dispatch_rule()
        );
    }
    text + "\n"
}

/// Explains an operand's fields in the uniform.
fn units(kernel: &Kernel, operand: &KernelOperand) -> String {
    let unit = match operand.element {
        Held::Bit => "words of 32 elements",
        Held::Number(_) if is_vector(kernel, operand) => "vectors of four elements",
        Held::Number(_) => "elements",
    };
    let name = &operand.name;
    let steps = match operand.map {
        Map::Linear => String::new(),
        Map::Row => {
            format!("; stride_{name}_A: the step along axis A, that along the last one being one element")
        }
        Map::Splat => format!("; stride_{name}_A: the step along axis A, that along the last one being 0"),
        Map::Gather => format!("; stride_{name}_A: the step along axis A"),
    };
    format!("//   base_{name}: where index 0 lies in the binding{steps}; in {unit}, modulo 2^32.\n")
}

/// The text on one line, for a comment.
fn one_line(text: &str) -> String {
    text.replace(LINE_BREAKS, " ")
}

/// The functions that the rest of a kernel calls: the op's own, and those of `shaders/`.
fn library(signature: &Signature, kernel: &Kernel, rest: &str) -> String {
    let own = match kernel.source {
        Source::Op { .. } => signature.functions(),
        Source::Partials => &[],
    };
    let called = library::used_by(own.iter().map(|text| &**text).chain([rest]), kernel.dtype);
    std::iter::once(called).chain(own.iter().map(ToString::to_string)).collect::<Vec<_>>().join("\n")
}

/// The function of one element. It computes only what the wanted outputs need.
fn element(signature: &Signature, kernel: &Kernel) -> String {
    let mut parameters = Vec::new();
    for operand in &kernel.operands {
        let (name, ty) = (&operand.name, if operand.element == Held::Bit { "bool" } else { "u32" });
        match (operand.write, operand.accumulate) {
            (false, _) => parameters.push(format!("{name}: {ty}")),
            (true, true) => parameters.push(format!("old_{name}: {ty}")),
            (true, false) => {}
        }
    }
    let (mut fields, mut lets, mut results) = (String::new(), String::new(), Vec::new());
    for operand in kernel.operands.iter().filter(|o| o.write) {
        let ty = if operand.element == Held::Bit { "bool" } else { "u32" };
        let _ = writeln!(fields, "    {}: {ty},", operand.name);
        let (expression, store) = match kernel.source {
            Source::Partials => ("partial", Store::new(None, operand.accumulate)),
            Source::Op { .. } => {
                let expression = &*signature.outputs()[operand.index].expression;
                (expression, signature.store(operand.index, operand.accumulate))
            }
        };
        let old = format!("old_{}", operand.name);
        results.push(store.wgsl(&old, expression, signature.mask_name().unwrap_or_default()));
    }
    if let Source::Op { outputs, from_mask } = kernel.source {
        for (name, expression) in signature.lets(outputs, from_mask) {
            let _ = writeln!(lets, "    let {name} = {expression};");
        }
    }
    format!(
        "\n// The outputs of one element, from the bits of its inputs and of the upstream gradient.\nstruct Outputs {{\n{fields}}}\n\nfn element({}) -> Outputs {{\n{lets}    return Outputs({});\n}}\n",
        parameters.join(", "),
        results.join(", ")
    )
}

fn declarations(bindings: &[Binding], params: &[String]) -> String {
    let mut text = String::from("\nstruct Params {\n");
    for field in params {
        let _ = writeln!(text, "    {field}: u32,");
    }
    text += "}\n\n";
    for (i, Binding { name, kind, ty }) in bindings.iter().enumerate() {
        let space = if *kind == "uniform" { "uniform".to_owned() } else { format!("storage, {kind}") };
        let _ = writeln!(text, "@group(0) @binding({i}) var<{space}> {name}: {ty};");
    }
    text
}

/// Whether an op of this many nodes is long. Its kernels are then written so that drivers compile them soon.
pub(crate) fn is_long(nodes: usize) -> bool {
    nodes > 64
}

/// The most bytes of an op's WGSL. The largest allowed expression has fewer.
const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting of operators and brackets. naga recurses over them, and a stack overflow aborts the process.
/// Without optimization, naga uses 8 KiB of stack for each level, and a thread has 2 MiB.
const MAX_DEPTH: usize = 128;

/// Checks that an op's WGSL is small enough for the compiler.
pub(crate) fn check_size(signature: &Signature) -> Result<(), Error> {
    let texts = || signature.functions().iter().map(|text| &**text).chain(signature.expressions());
    let (bytes, deepest) = (texts().map(str::len).sum::<usize>(), texts().map(depth).max());
    let message = match deepest {
        _ if bytes > MAX_BYTES => {
            format!("the op's WGSL has {bytes} bytes, more than the limit of {MAX_BYTES}")
        }
        Some(deep) if deep > MAX_DEPTH => {
            format!("the op's WGSL nests {deep} operators and brackets, more than the limit of {MAX_DEPTH}")
        }
        _ => return Ok(()),
    };
    Err(Error::Shader { op: signature.name().to_owned(), message })
}
