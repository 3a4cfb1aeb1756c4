//! Every kernel that can be composed: naga accepts it, and its floats are those that the numerical contract allows.
//!
//! With `ELEMGRAD_DUMP_SHADERS=DIR` the kernels go to `DIR`, for another compiler: see `tests/tint/check.mjs`.

mod common;

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use common::output_sets;
use elemgrad::{
    Op, Outputs,
    op::{BUILT_IN, Pass},
    plan::{Access, Slot},
    shader::{self, KernelOperand, Shader},
    wgpu::naga::{self, Expression, ScalarKind, TypeInner},
};

/// One kernel and what it was composed of.
struct Kernel {
    op: &'static dyn Op,
    operands: Vec<KernelOperand>,
    slots: Vec<Slot>,
    shader: Shader,
}

/// Every op, set of outputs and access, with every way of sharing bindings, and inputs `read` or `read_write`.
fn kernels() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for op in BUILT_IN {
        for outputs in output_sets(op) {
            let operands = shader::operands(op.definition(), outputs);
            for groups in partitions(operands.len()) {
                let reads_alone = groups.iter().any(|g| g.iter().all(|&i| !operands[i].write));
                for write_all in [false, true].into_iter().take(1 + usize::from(reads_alone)) {
                    let write = |group: &[usize]| write_all || group.iter().any(|&i| operands[i].write);
                    let slots: Vec<Slot> =
                        groups.iter().map(|g| Slot { operands: g.clone(), write: write(g) }).collect();
                    for access in [Access::Vec4, Access::Word] {
                        let shader = shader::compose(op, outputs, access, &slots);
                        kernels.push(Kernel { op, operands: operands.clone(), slots: slots.clone(), shader });
                    }
                }
            }
        }
    }
    kernels
}

/// Every way to put `0..count` into groups.
fn partitions(count: usize) -> Vec<Vec<Vec<usize>>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for partition in partitions(last) {
        for group in 0..=partition.len() {
            let mut partition = partition.clone();
            match partition.get_mut(group) {
                Some(group) => group.push(last),
                None => partition.push(vec![last]),
            }
            all.push(partition);
        }
    }
    all
}

#[test]
fn naga_accepts_every_kernel() -> Result<(), elemgrad::Error> {
    let kernels = kernels();
    assert!(kernels.len() > 1000, "{} kernels", kernels.len());
    for kernel in &kernels {
        shader::check(kernel.op.definition().name, &kernel.shader.source)?;
    }
    assert!(shader::check("mod", &kernels[0].shader.source.replacen("let ", "lot ", 1)).is_err());
    Ok(())
}

/// The functions in which a float takes part, what it does there, and by which case of the contract it may.
///
/// A float elsewhere, or one more of them, fails the test: think, and then write the reason down at the use and here.
const FLOATS: [(&str, &str, &str, &str); 3] = [
    (
        "mod",
        "division_step",
        "from bits, from integer, Multiply, from integer, literal, Divide, Multiply, to integer",
        "case 1: an estimate that integers repair",
    ),
    ("mod", "f32_floor_mod", "from integer, to bits", "case 2: an integer of at most 2^21, exact"),
    ("spiky", "spiky", "from integer, to bits", "case 2: an integer below 2^24, exact"),
];

#[test]
fn floats_are_those_that_the_contract_allows() {
    for op in BUILT_IN {
        let name = op.definition().name;
        let allowed: BTreeMap<_, _> = FLOATS
            .iter()
            .filter(|(op, ..)| *op == name)
            .map(|(_, function, uses, _)| ((*function).to_owned(), (*uses).to_owned()))
            .collect();
        for kernel in kernels().iter().filter(|k| k.op.definition().name == name).step_by(7) {
            assert_eq!(floats(&kernel.shader.source), allowed, "{name}");
        }
    }
    let naive =
        "fn naive(x: u32, y: u32) -> u32 { return bitcast<u32>(floor(bitcast<f32>(x) / bitcast<f32>(y))); }";
    assert_eq!(floats(naive)["naive"], "from bits, from bits, Divide, Floor, to bits");
    assert_eq!(floats("const HALF = 0.5; fn f() -> f32 { return HALF; }")["f"], "literal");
}

/// For each function that has any, its expressions that are floats or are made of floats.
fn floats(source: &str) -> BTreeMap<String, String> {
    let module = naga::front::wgsl::parse_str(source).expect("it was accepted");
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty());
    let info = validator.validate(&module).expect("it was accepted");
    let functions = module.functions.iter().map(|(handle, function)| (function, &info[handle]));
    let entry_points =
        module.entry_points.iter().map(|e| &e.function).zip((0..).map(|i| info.get_entry_point(i)));
    let mut found = BTreeMap::new();
    for (function, info) in functions.chain(entry_points) {
        let float = |e: naga::Handle<Expression>| match info[e].ty.inner_with(&module.types) {
            TypeInner::Scalar(scalar)
            | TypeInner::Vector { scalar, .. }
            | TypeInner::Matrix { scalar, .. } => {
                matches!(scalar.kind, ScalarKind::Float | ScalarKind::AbstractFloat)
            }
            _ => false,
        };
        let uses: Vec<String> = function
            .expressions
            .iter()
            .filter_map(|(handle, expression)| match *expression {
                Expression::As { expr, convert, .. } if float(handle) != float(expr) => {
                    let direction = if float(handle) { "from" } else { "to" };
                    Some(format!("{direction} {}", if convert.is_some() { "integer" } else { "bits" }))
                }
                Expression::Binary { op, left, right } if float(left) || float(right) => {
                    Some(format!("{op:?}"))
                }
                Expression::Math { fun, arg, .. } if float(arg) => Some(format!("{fun:?}")),
                Expression::Literal(_) if float(handle) => Some("literal".into()),
                ref other if float(handle) => Some(format!("{other:?}")),
                _ => None,
            })
            .collect();
        if !uses.is_empty() {
            found.insert(function.name.clone().unwrap_or_default(), uses.join(", "));
        }
    }
    found
}

/// Browsers refuse what naga lets pass: a NaN known at compile time, and extensions that they do not have.
#[test]
fn no_kernel_has_what_browsers_refuse() {
    for kernel in kernels() {
        let source = &kernel.shader.source;
        for refused in
            ["bitcast<f32>(0x", "bitcast<f32>(F32_", "enable ", "requires ", "f16", "subgroup", "i64", "u64"]
        {
            assert!(!source.contains(refused), "{refused}: {source}");
        }
    }
}

/// What is not wanted is neither bound nor computed.
#[test]
fn kernels_have_what_their_outputs_need_and_nothing_else() {
    let operands = |op: &str, outputs| {
        let op = elemgrad::op::find(op).expect("a built-in op");
        let names: Vec<_> = shader::operands(op.definition(), outputs).into_iter().map(|o| o.name).collect();
        names.join(" ")
    };
    let (z, dx, dy) = (Outputs::Z, Outputs::gradient(0), Outputs::gradient(1));
    assert_eq!(operands("spiky", z), "x z");
    assert_eq!(operands("spiky", dx), "x dz dx");
    assert_eq!(operands("spiky", z | dx), "x dz z dx");
    assert_eq!(operands("mod", z), "x y z");
    assert_eq!(operands("mod", dx), "dz dx");
    assert_eq!(operands("mod", dy), "x y dz dy");
    assert_eq!(operands("mod", z | dy), "x y dz z dy");
    assert_eq!(operands("mod", z | dx | dy), "x y dz z dx dy");

    let [spiky, modulo] = BUILT_IN;
    assert_eq!(spiky.definition().outputs(Pass::Fused), z | dx);
    assert_eq!(modulo.definition().outputs(Pass::Fused), z | dy, "dx is dz: nobody need write it");
    for kernel in kernels() {
        let (_, element) = kernel.shader.source.split_once("fn element(").expect("every kernel has it");
        let wants = |name: &str| kernel.operands.iter().any(|o| o.name == name);
        assert_eq!(element.contains("mod_dy("), wants("dy"));
        assert_eq!(element.contains("f32_floor_mod("), kernel.op.definition().name == "mod" && wants("x"));
        assert_eq!(element.contains("dz"), wants("dz"));
    }
}

/// `DIR/N.wgsl` for each kernel, and `DIR/kernels.json` that says what they are.
#[test]
fn kernels_are_dumped_for_other_compilers() -> std::io::Result<()> {
    let Some(folder) = std::env::var_os("ELEMGRAD_DUMP_SHADERS") else { return Ok(()) };
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let mut list = String::new();
    for (i, kernel) in kernels().iter().enumerate() {
        std::fs::write(folder.join(format!("{i}.wgsl")), &kernel.shader.source)?;
        let quoted = |text: &str| format!("\"{text}\"");
        let bindings: Vec<_> = kernel.shader.bindings.iter().map(|b| quoted(b.kind)).collect();
        let operands: Vec<_> = kernel
            .operands
            .iter()
            .enumerate()
            .map(|(i, o)| (kernel.slots.iter().position(|s| s.operands.contains(&i)), &o.name))
            .map(|(slot, name)| {
                format!("[{}, {}]", quoted(name), slot.expect("every operand has a slot") + 1)
            })
            .collect();
        let _ = write!(
            list,
            "{}{{\"file\": \"{i}.wgsl\", \"op\": {}, \"access\": {}, \"bindings\": [{}], \"operands\": [{}]}}",
            if i == 0 { "" } else { ",\n" },
            quoted(kernel.op.definition().name),
            quoted(kernel.shader.access.name()),
            bindings.join(", "),
            operands.join(", "),
        );
    }
    std::fs::write(folder.join("kernels.json"), format!("[{list}]\n"))
}
