//! Composing and checking WGSL: a kernel is an op, the outputs wanted, the access and the slots.

use std::fmt::Write as _;

use crate::{
    Op, Outputs,
    op::Definition,
    plan::{Access, ELEMENTS_PER_WORKGROUP, MAX_DISPATCH, Slot, WORKGROUP_SIZE},
};

/// The entry point of every kernel.
pub const ENTRY_POINT: &str = "main";

/// A complete WGSL module and what a host needs to dispatch it.
#[derive(Clone, Debug)]
pub struct Shader {
    /// The WGSL.
    pub source: String,
    /// The bindings of group 0, by number.
    pub bindings: Vec<Binding>,
    /// The fields of the uniform at binding 0, each a `u32`.
    pub params: Vec<String>,
    /// How the kernel accesses memory.
    pub access: Access,
}

/// One binding of a kernel.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The variable's name.
    pub name: String,
    /// `uniform`, `read` or `read_write`.
    pub kind: &'static str,
    /// Its WGSL type.
    pub ty: String,
}

/// An operand of a kernel: one of the op's reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelOperand {
    /// Its name: `x`, `dz`, `z`, `dx`.
    pub name: String,
    /// Its number among the op's reads or writes.
    pub index: usize,
    /// Whether the kernel writes it.
    pub write: bool,
}

/// The operands of the kernel that computes `outputs`: reads first.
pub fn operands(definition: &Definition, outputs: Outputs) -> Vec<KernelOperand> {
    let names: Vec<_> = definition.read_names().collect();
    let reads = definition.reads_for(outputs).into_iter().map(|index| KernelOperand {
        name: names[index].to_owned(),
        index,
        write: false,
    });
    let names = definition.write_names();
    let writes = outputs.iter().map(|index| KernelOperand { name: names[index].clone(), index, write: true });
    reads.chain(writes).collect()
}

/// A slot for each operand: the kernel for buffers that are all different.
pub fn separate_slots(operands: &[KernelOperand]) -> Vec<Slot> {
    operands.iter().enumerate().map(|(i, o)| Slot { operands: vec![i], write: o.write }).collect()
}

/// The op's functions and the function `element` that computes `outputs` with them, without bindings, for pasting into
/// another shader: an f32 is its bits in a `u32` there.
pub fn functions(definition: &Definition, outputs: Outputs) -> String {
    definition.functions.join("\n") + &element(definition, outputs)
}

/// The module that computes `outputs` of `op`, its bindings as `slots` share them.
///
/// It is headed by a comment that says how to bind and dispatch it, and runs as it is on any WebGPU host.
///
/// ```
/// use elemgrad::{Outputs, modulo::Mod, op::Op, plan::Access, shader};
///
/// let slots = shader::separate_slots(&shader::operands(Mod.definition(), Outputs::Z));
/// let shader = shader::compose(&Mod, Outputs::Z, Access::Vec4, &slots);
/// let names: Vec<_> = shader.bindings.iter().map(|b| b.name.as_str()).collect();
/// assert_eq!(names, ["params", "buffer_x", "buffer_y", "buffer_z"]);
/// ```
pub fn compose(op: &dyn Op, outputs: Outputs, access: Access, slots: &[Slot]) -> Shader {
    let definition = op.definition();
    let operands = operands(definition, outputs);
    let slot_names: Vec<String> = slots
        .iter()
        .map(|slot| slot.operands.iter().map(|&i| operands[i].name.as_str()).collect::<Vec<_>>().join("_"))
        .map(|names| format!("buffer_{names}"))
        .collect();
    let params: Vec<String> = ["len".to_owned(), "groups_per_row".to_owned()]
        .into_iter()
        .chain(operands.iter().map(|o| format!("base_{}", o.name)))
        .collect();
    let bindings = bindings(slots, &slot_names, access);
    let memory: Vec<String> = (0..operands.len())
        .map(|i| {
            let slot = slots.iter().position(|s| s.operands.contains(&i)).unwrap_or(0);
            format!("{}[params.base_{} + ", slot_names[slot], operands[i].name)
        })
        .collect();

    let mut source = header(definition, outputs, access, &bindings, &params);
    source += &functions(definition, outputs);
    source += &declarations(&bindings, &params);
    source += &main(&operands, &memory, access);
    Shader { source, bindings, params, access }
}

fn bindings(slots: &[Slot], names: &[String], access: Access) -> Vec<Binding> {
    let ty = match access {
        Access::Vec4 => "array<vec4<u32>>",
        Access::Word => "array<u32>",
    };
    let uniform = Binding { name: "params".into(), kind: "uniform", ty: "Params".into() };
    let storage = slots.iter().zip(names).map(|(slot, name)| Binding {
        name: name.clone(),
        kind: if slot.write { "read_write" } else { "read" },
        ty: ty.into(),
    });
    std::iter::once(uniform).chain(storage).collect()
}

/// How to dispatch a kernel, in words.
pub fn dispatch_rule() -> String {
    format!(
        "len > 0; groups = ceil(len / {ELEMENTS_PER_WORKGROUP}); rows = ceil(groups / max_compute_workgroups_per_dimension); \
         groups_per_row = ceil(groups / rows); dispatch_workgroups(groups_per_row, rows, 1)"
    )
}

fn header(
    d: &Definition,
    outputs: Outputs,
    access: Access,
    bindings: &[Binding],
    params: &[String],
) -> String {
    let mut text =
        format!("// elemgrad {}: {} {}\n//\n", env!("CARGO_PKG_VERSION"), d.name, outputs.pass().name());
    let names = d.write_names();
    for (name, formula) in d.formulas.iter().filter(|(name, _)| outputs.iter().any(|w| names[w] == *name)) {
        let _ = writeln!(text, "//   {name} = {formula}");
    }
    text += "//\n// Bindings of group 0; storage holds the bits of f32:\n";
    for (i, b) in bindings.iter().enumerate() {
        let _ = writeln!(text, "//   {i}: {} ({}, {})", b.name, b.kind, b.ty);
    }
    let unit = match access {
        Access::Vec4 => "vec4s (len is a multiple of 4)",
        Access::Word => "elements",
    };
    let _ = writeln!(text, "// Fields of params, each a u32: {}.", params.join(", "));
    let _ = writeln!(
        text,
        "//   len: elements. base_*: where an operand starts in its binding, in {unit}; 0 for its start."
    );
    let _ = writeln!(
        text,
        "// Workgroup size {WORKGROUP_SIZE}, {ELEMENTS_PER_WORKGROUP} elements a workgroup, at most {MAX_DISPATCH} elements a dispatch:\n//   {}\n",
        dispatch_rule()
    );
    text
}

/// The function of one element, with what the wanted outputs need and nothing else.
fn element(definition: &Definition, outputs: Outputs) -> String {
    let operands = operands(definition, outputs);
    let reads: Vec<_> = operands.iter().filter(|o| !o.write).map(|o| format!("{}: u32", o.name)).collect();
    let fields = operands
        .iter()
        .filter(|o| o.write)
        .fold(String::new(), |all, o| all + &format!("    {}: u32,\n", o.name));
    let lets = definition
        .lets_for(outputs)
        .into_iter()
        .fold(String::new(), |all, (name, expression)| all + &format!("    let {name} = {expression};\n"));
    let results: Vec<_> = outputs.iter().map(|w| definition.expression(w)).collect();
    format!(
        "\n// The outputs of one element, from the bits of its inputs and of the upstream gradient.\nstruct Outputs {{\n{fields}}}\n\nfn element({}) -> Outputs {{\n{lets}    return Outputs({});\n}}\n",
        reads.join(", "),
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

/// Each invocation loads every input of its four elements before it stores: that is what makes in-place safe.
fn main(operands: &[KernelOperand], memory: &[String], access: Access) -> String {
    const LANES: [&str; 4] = ["x", "y", "z", "w"];
    let each = |write: bool| operands.iter().zip(memory).filter(move |(o, _)| o.write == write);
    let mut body = String::new();
    match access {
        Access::Vec4 => {
            let _ = writeln!(body, "    let i = group * {WORKGROUP_SIZE}u + lane;");
            body += "    if (i >= params.len / 4u) {\n        return;\n    }\n";
            for (o, at) in each(false) {
                let _ = writeln!(body, "    let in_{} = {at}i];", o.name);
            }
        }
        Access::Word => {
            let _ = writeln!(
                body,
                "    let i = vec4(group * {ELEMENTS_PER_WORKGROUP}u + lane) + {WORKGROUP_SIZE}u * vec4(0u, 1u, 2u, 3u);"
            );
            for (o, _) in each(false) {
                let _ = writeln!(body, "    var in_{} = vec4<u32>();", o.name);
            }
            for lane in LANES {
                let _ = writeln!(body, "    if (i.{lane} < params.len) {{");
                for (o, at) in each(false) {
                    let _ = writeln!(body, "        in_{}.{lane} = {at}i.{lane}];", o.name);
                }
                body += "    }\n";
            }
        }
    }
    for lane in LANES {
        let reads: Vec<_> = each(false).map(|(o, _)| format!("in_{}.{lane}", o.name)).collect();
        let _ = writeln!(body, "    let out_{lane} = element({});", reads.join(", "));
    }
    match access {
        Access::Vec4 => {
            for (o, at) in each(true) {
                let lanes = LANES.map(|lane| format!("out_{lane}.{}", o.name)).join(", ");
                let _ = writeln!(body, "    {at}i] = vec4({lanes});");
            }
        }
        Access::Word => {
            for lane in LANES {
                let _ = writeln!(body, "    if (i.{lane} < params.len) {{");
                for (o, at) in each(true) {
                    let _ = writeln!(body, "        {at}i.{lane}] = out_{lane}.{};", o.name);
                }
                body += "    }\n";
            }
        }
    }
    format!(
        "\n@compute @workgroup_size({WORKGROUP_SIZE})\nfn {ENTRY_POINT}(@builtin(workgroup_id) workgroup: vec3<u32>, \
         @builtin(local_invocation_index) lane: u32) {{\n    \
         let group = workgroup.y * params.groups_per_row + workgroup.x;\n{body}}}\n"
    )
}

/// Parses and validates a module as wgpu will.
///
/// # Errors
/// [`Error::Shader`](crate::Error::Shader) with the compiler's message.
#[cfg(not(target_arch = "wasm32"))]
pub fn check(op: &str, source: &str) -> Result<(), crate::Error> {
    use crate::Error;
    use wgpu::naga;
    let failed = |message: String| Error::Shader { op: op.into(), message };
    let module = naga::front::wgsl::parse_str(source).map_err(|e| failed(e.emit_to_string(source)))?;
    naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty())
        .validate(&module)
        .map_err(|e| failed(e.emit_to_string(source)))?;
    Ok(())
}
