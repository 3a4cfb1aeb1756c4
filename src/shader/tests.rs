//! Every kernel that can be composed: naga accepts it, and it uses only the float arithmetic that the numerical
//! contract allows.
//!
//! With `ELEMGRAD_DUMP_SHADERS=DIR` the kernels are written to `DIR`, for another compiler: see
//! `tests/tint/check.mjs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};

use crate::common::output_sets;
use wgpu::naga::{self, Expression, ScalarKind, TypeInner};

use super::{Access, Shader, check_size, compose, library};
use crate::{
    blocks::Primitive,
    dtype::DType,
    error::Error,
    expr::{Arithmetic, wgsl::MAX_TEXT},
    op::Op,
    ops::{self, modulo::Q, spiky::MASK},
    plan::{Form, Held, Kernel, KernelOperand, Map, Slot, Source},
    signature::{
        Signature,
        outputs::{Outputs, Pass},
    },
};

/// A kernel of an op, composed.
struct Composed {
    op: &'static Op,
    kernel: Kernel,
    shader: Shader,
}

/// Kernels for every op, storage type, set of outputs and access, with ways of sharing bindings, layouts and options,
/// and the kernels of sums.
fn kernels() -> Vec<Composed> {
    let mut kernels = Vec::new();
    for &op in ops::mods() {
        let mut add = |kernel: Kernel| {
            let shader = compose(op.signature(), &kernel);
            kernels.push(Composed { op, kernel, shader });
        };
        for &dtype in DType::ALL {
            for outputs in output_sets(op) {
                for access in [Access::Vec4, Access::Word] {
                    let kernel = Kernel::contiguous(op.signature(), outputs, dtype, access);
                    shared(&kernel).into_iter().for_each(&mut add);
                    strided(&kernel).into_iter().for_each(&mut add);
                    with_options(op, &kernel).into_iter().for_each(&mut add);
                }
            }
            for w in (0..op.signature().write_count()).filter(|w| op.signature().gradient_of(*w).is_some()) {
                sums(op, dtype, w).into_iter().for_each(&mut add);
            }
        }
    }
    kernels
}

/// Each building block in each arithmetic that supports it, and all of them in one op.
fn custom() -> Vec<(Op, Kernel)> {
    let mut ops = Vec::new();
    for arithmetic in [Arithmetic::Native, Arithmetic::Exact] {
        let has = |block: &String| {
            arithmetic == Arithmetic::Native
                || Op::from_expression("block", block).is_ok_and(|op| op.with_arithmetic(arithmetic).is_ok())
        };
        let examples = Primitive::ALL.iter().filter_map(|primitive| primitive.example());
        let more = ["floor_mod(x, 1.0)", "spiky(x)"].map(str::to_owned);
        let blocks: Vec<String> = examples.chain(more).filter(has).collect();
        let all = blocks.iter().map(|block| format!("({block})")).collect::<Vec<_>>().join(" + ");
        for expression in blocks.iter().cloned().chain([all]) {
            let op = Op::from_expression("custom", &expression).and_then(|op| op.with_arithmetic(arithmetic));
            ops.push(op.unwrap_or_else(|e| panic!("{expression}: {e}")));
        }
    }
    let kernels = |op: &Op| {
        let signature = op.signature().clone();
        let op = op.clone();
        DType::EACH.map(move |dtype| {
            let outputs = signature.all_outputs(Pass::Fused);
            (op.clone(), Kernel::contiguous(&signature, outputs, dtype, Access::Word))
        })
    };
    ops.iter().flat_map(kernels).collect()
}

/// Every way of sharing bindings, with inputs `read` or `read_write`. If there are many ways, only some.
fn shared(kernel: &Kernel) -> Vec<Kernel> {
    let operands = &kernel.operands;
    let few = kernel.dtype == DType::F32 && operands.len() <= 5;
    let all = if few {
        partitions(operands.len())
    } else {
        vec![operands.iter().enumerate().map(|(i, _)| vec![i]).collect(), vec![(0..operands.len()).collect()]]
    };
    let vector =
        |i: &usize| kernel.form == Form::Elementwise(Access::Vec4) && operands[*i].element != Held::Bit;
    let mut kernels = Vec::new();
    for groups in all {
        // A binding has a single type.
        if !groups.iter().all(|g| g.iter().all(|i| vector(i) == vector(&g[0]))) {
            continue;
        }
        let reads_alone = groups.iter().any(|g| g.iter().all(|&i| !operands[i].write));
        for write_all in [false, true].into_iter().take(1 + usize::from(reads_alone)) {
            let write = |group: &[usize]| write_all || group.iter().any(|&i| operands[i].write);
            let slots = groups.iter().map(|g| Slot { operands: g.clone(), write: write(g) }).collect();
            kernels.push(Kernel { slots, ..kernel.clone() });
        }
    }
    kernels
}

/// Kernels with strided operands: rows, one element for each row, anything.
fn strided(kernel: &Kernel) -> Vec<Kernel> {
    let vec4 = kernel.form == Form::Elementwise(Access::Vec4);
    let maps: &[Map] = if vec4 { &[Map::Row, Map::Splat, Map::Gather] } else { &[Map::Gather] };
    let cases = maps.iter().flat_map(|map| [(*map, 1), (*map, 2), (*map, 4)]);
    let kernels = cases.map(|(map, axes)| {
        let mut kernel = Kernel { axes, ..kernel.clone() };
        let numbers = kernel.operands.iter_mut().filter(|o| o.element != Held::Bit);
        for (i, operand) in numbers.enumerate() {
            // Change every second operand, so linear operands occur next to strided ones. Written operands are whole
            // words.
            operand.map = match (operand.write, map) {
                (false, _) if i % 2 == 0 => map,
                (true, Map::Row) => Map::Row,
                (true, _) if !vec4 && operand.element == Held::Number(DType::F32) => Map::Gather,
                _ => Map::Linear,
            };
        }
        kernel
    });
    kernels.collect()
}

/// Kernels with gradients that are added to existing values, and with a mask that is read.
fn with_options(op: &'static Op, kernel: &Kernel) -> Vec<Kernel> {
    let signature = op.signature();
    let Source::Op { outputs, .. } = kernel.source else { return Vec::new() };
    let mut kernels = Vec::new();
    if signature.pass_of(outputs) != Pass::Forward {
        let mut added = kernel.clone();
        added
            .operands
            .iter_mut()
            .for_each(|o| o.accumulate = o.write && signature.gradient_of(o.index).is_some());
        kernels.push(added);
    }
    if signature.mask().is_some() && signature.pass_of(outputs) == Pass::Backward {
        for kernel in [kernels[0].clone(), kernel.clone()] {
            let mut kernel = Kernel { source: Source::Op { outputs, from_mask: true }, ..kernel };
            let mask = KernelOperand {
                name: "mask".into(),
                index: 2,
                element: Held::Bit,
                ..kernel.operands[0].clone()
            };
            kernel.operands = [kernel.operands[1].clone(), mask, kernel.operands[2].clone()].into();
            kernel.slots = (0..3).map(|i| Slot { operands: vec![i], write: i == 2 }).collect();
            kernels.push(kernel);
        }
    }
    kernels
}

/// The kernels of sums: those that add the terms of a gradient, with or without carried outputs, those that add
/// partial sums, and those that store the sums.
fn sums(op: &Op, dtype: DType, write: usize) -> Vec<Kernel> {
    let number = |name: &str, write: usize| KernelOperand {
        name: name.into(),
        index: write,
        write: name != "partial",
        element: Held::Number(DType::F32),
        map: Map::Gather,
        accumulate: false,
    };
    let slots = |operands: &[KernelOperand]| {
        (0..).zip(operands).map(|(i, o)| Slot { operands: vec![i], write: o.write }).collect()
    };
    let gradient = Outputs::of(write);
    let kernel = Kernel::contiguous(op.signature(), gradient, dtype, Access::Word);
    let mut kernels = Vec::new();
    for form in [Form::Columns, Form::Runs(Access::Word), Form::Runs(Access::Vec4)] {
        let vector = form == Form::Runs(Access::Vec4);
        for (axes, summed) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
            for outputs in
                [gradient, gradient | Outputs::Z].into_iter().take(1 + usize::from(dtype == DType::F32))
            {
                let mut terms = Kernel {
                    form,
                    axes,
                    summed,
                    ..Kernel::contiguous(op.signature(), outputs, dtype, Access::Word)
                };
                terms.operands.retain(|o| !o.write || o.index != write);
                for (i, operand) in terms.operands.iter_mut().enumerate() {
                    operand.map = match (vector, operand.write) {
                        (true, true) => Map::Row,
                        (true, false) => [Map::Row, Map::Splat, Map::Gather][i % 3],
                        _ => Map::Gather,
                    };
                }
                terms.operands.push(number("sums", write));
                terms.slots = slots(&terms.operands);
                kernels.push(terms);
            }
            let map = if vector { Map::Row } else { Map::Gather };
            let operands = vec![KernelOperand { map, ..number("partial", write) }, number("sums", write)];
            let slots = slots(&operands);
            kernels.push(Kernel {
                source: Source::Partials,
                form,
                axes,
                summed,
                operands,
                slots,
                ..kernel.clone()
            });
        }
    }
    for access in [Access::Vec4, Access::Word] {
        for accumulate in [false, true] {
            let element = Held::Number(kernel.dtype);
            let name = op.signature().write_name(write);
            let store = KernelOperand { map: Map::Linear, accumulate, element, ..number(name, write) };
            let operands = vec![KernelOperand { map: Map::Linear, ..number("partial", write) }, store];
            let slots = slots(&operands);
            let (source, form) = (Source::Partials, Form::Elementwise(access));
            kernels.push(Kernel { source, form, operands, slots, ..kernel.clone() });
        }
    }
    kernels
}

/// Every way to split `0..count` into groups.
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
fn naga_accepts_every_kernel() -> Result<(), Error> {
    let kernels = kernels();
    assert!(kernels.len() > 1000, "{} kernels", kernels.len());
    for kernel in &kernels {
        Shader::check(kernel.op.name(), &kernel.shader.source)?;
    }
    for (op, kernel) in custom() {
        Shader::check(op.name(), &compose(op.signature(), &kernel).source)?;
    }
    assert!(Shader::check("mod", &kernels[0].shader.source.replacen("let ", "lot ", 1)).is_err());
    Ok(())
}

/// The op or the storage type, if the function belongs to one; the function that uses floats; what it does with them;
/// the case of the contract that allows it.
///
/// A float anywhere else, or one more of them, fails the test. Think about it, then write the reason down both at the
/// use and here.
const FLOATS: [(&str, &str, &str, &str); 14] = [
    (
        "",
        "division_step",
        "FunctionArgument, literal, Add, to bits",
        "case 1: an estimate that integers repair",
    ),
    (
        "",
        "f32_floor_mod_wide",
        "from bits, from bits, literal, Divide, Multiply, from integer, from bits, Multiply, to bits",
        "case 1: the estimate; case 2: an integer of at most 2^24 and its scaling, exact",
    ),
    (
        "",
        "f32_floor_mod_rare",
        "from integer, from bits, Multiply, from integer, literal, Divide, Multiply",
        "case 1: the estimate",
    ),
    (
        "",
        "spiky",
        "from integer, literal, Multiply, to bits",
        "case 2: an integer below 2^24 and its scaling, exact",
    ),
    (
        "",
        "carry",
        "from integer, from integer, literal, Divide, Multiply, to integer",
        "case 1: an estimate below 2049 that integers repair",
    ),
    (
        "f16",
        "storage_widen",
        "from bits, literal, Subtract, to bits",
        "case 2: a difference of neighbours on one grid, exact",
    ),
    (
        "f16",
        "storage_round",
        "from bits, literal, Add, to bits, from bits, literal, Subtract, to bits, to bits",
        "case 2: a sum that is exact, or is thrown away",
    ),
    (
        "",
        "f32_floor_mod_narrow",
        "from bits, from bits, literal, Divide, Multiply, literal, Add, to bits, from bits, literal, \
         Subtract, Multiply, Subtract, GreaterEqual, literal, Less, literal, literal, Select, \
         literal, Select, Add, Unary, literal, Select, Select, Add, literal, NotEqual, Subtract, \
         Select, to bits, literal, literal, Select, Add, to bits",
        "case 1: the estimate; case 2: a quotient times a number of a 16-bit type, of at most 24 bits",
    ),
    ("", "mod_dy", "from bits, from bits, Multiply, to bits", "case 2: a product of at most 24 bits, exact"),
    ("", "f32_floor_quotient", "from integer, to bits", "case 2: an integer below 2^21, exact"),
    (
        "",
        "significand_product",
        "from bits, from bits, Multiply, literal, Add, to bits",
        "case 1: an estimate that integers repair",
    ),
    (
        "",
        "significand_quotient",
        "from bits, literal, Divide, from bits, Multiply, from integer, literal, Multiply, Multiply",
        "case 1: the estimates of two steps",
    ),
    (
        "",
        "f32_sqrt",
        "from bits, InverseSqrt, Multiply, to bits, from integer, literal, Multiply, Multiply, literal, Add, to bits",
        "case 1: an estimate of the root and one of its error, which integers repair",
    ),
    (
        "",
        "f32_fraction",
        "from integer, literal, Multiply, to bits",
        "case 2: an integer of at most 2^24 and its scaling, exact",
    ),
];

/// An op's formula stays within its one-line comment, whatever WGSL counts as a line break.
#[test]
fn a_formula_of_many_lines_stays_a_comment() -> Result<(), Error> {
    let formula = "a\nb\rc\r\nd\u{b}e\u{c}f\u{85}g\u{2028}h\u{2029}i";
    let signature = Signature::builder("lines", ["x"]).z("x", formula).gradient("x", "dz", "dz").build()?;
    let shader = Shader::new(&signature, Outputs::Z, DType::F32, Access::Word)?;
    assert!(shader.source.contains("//   z = a b c  d e f g h i\n"), "{}", shader.source);
    Shader::check("lines", &shader.source)
}

#[test]
fn floats_are_those_that_the_contract_allows() {
    let mut seen = BTreeSet::new();
    let (kernels, integers) = (kernels(), library::integers());
    let of_kernels = kernels
        .iter()
        .step_by(3)
        .map(|Composed { op, kernel, shader }| (op.name(), kernel.dtype.name(), &*shader.source));
    for (op, dtype, source) in of_kernels.chain([("", "f32", &*integers)]) {
        for (function, uses) in floats(source) {
            let allowed = FLOATS
                .iter()
                .position(|(ops, f, u, _)| [op, dtype, ""].contains(ops) && *f == function && *u == uses);
            seen.insert(allowed.unwrap_or_else(|| panic!("{op} {dtype}: {function}: {uses}")));
        }
    }
    assert_eq!(seen.len(), FLOATS.len(), "a use that is allowed is not made");
    let naive =
        "fn naive(x: u32, y: u32) -> u32 { return bitcast<u32>(floor(bitcast<f32>(x) / bitcast<f32>(y))); }";
    assert_eq!(floats(naive)["naive"], "from bits, from bits, Divide, Floor, to bits");
    assert_eq!(floats("const HALF = 0.5; fn f() -> f32 { return HALF; }")["f"], "literal");
}

/// For each function with float expressions: the expressions that are floats or are computed from floats.
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
                ref other if float(handle) => {
                    // The kind of the expression, without the numbers of its operands.
                    let text = format!("{other:?}");
                    Some(text.split([' ', '(']).next().unwrap_or_default().to_owned())
                }
                _ => None,
            })
            .collect();
        if !uses.is_empty() {
            found.insert(function.name.clone().unwrap_or_default(), uses.join(", "));
        }
    }
    found
}

/// Browsers refuse some code that naga accepts: a NaN known at compile time, and extensions that they lack.
#[test]
fn no_kernel_has_what_browsers_refuse() {
    let (kernels, integers) = (kernels(), library::integers());
    for source in kernels.iter().map(|kernel| &*kernel.shader.source).chain([&*integers]) {
        for refused in [
            "bitcast<f32>(0x",
            "bitcast<f32>(F32_",
            "enable ",
            "requires ",
            "<f16",
            ": f16",
            "f16(",
            "subgroup",
            "i64",
            "u64",
        ] {
            assert!(!source.contains(refused), "{refused}: {source}");
        }
    }
}

/// Unwanted outputs are neither bound nor computed.
#[test]
fn kernels_have_what_their_outputs_need_and_nothing_else() {
    let operands = |op: &str, outputs| {
        let op = ops::find(op).expect("a built-in op");
        let kernel = Kernel::contiguous(op.signature(), outputs, DType::F32, Access::Word);
        kernel.operands.into_iter().map(|o| o.name).collect::<Vec<_>>().join(" ")
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
    assert_eq!(operands("mod", Q), "x y q");
    assert_eq!(operands("spiky", z | MASK), "x z mask");

    let (spiky, modulo) = (ops::spiky(), ops::modulo());
    assert_eq!(spiky.signature().default_outputs(Pass::Fused), z | dx);
    assert_eq!(modulo.signature().default_outputs(Pass::Fused), z | dy, "dx is dz: nobody need write it");
    for Composed { op, kernel, shader } in
        kernels().iter().filter(|k| matches!(k.kernel.form, Form::Elementwise(_)))
    {
        if kernel.source == Source::Partials {
            continue;
        }
        let (_, element) = shader.source.split_once("fn element(").expect("every kernel has it");
        let wants = |name: &str| kernel.operands.iter().any(|o| o.name == name);
        assert_eq!(element.contains("mod_dy("), op.name() == "mod" && wants("dy"));
        assert_eq!(element.contains("mod_q("), op.name() == "mod" && wants("q"));
        assert_eq!(element.contains("f32_floor_mod("), op.name() == "mod" && wants("x"));
        assert_eq!(element.contains(" spiky("), op.name() == "spiky" && wants("x"));
        assert_eq!(element.contains("dz"), wants("dz"));
        assert_eq!(element.contains("f32_add("), kernel.operands.iter().any(|o| o.accumulate));
        assert_eq!(
            shader.source.contains("fn coordinates("),
            kernel.operands.iter().any(|o| o.map != Map::Linear)
        );
    }
}

/// Writes `DIR/N.wgsl` for each kernel, and `DIR/kernels.json`, which describes the kernels.
#[test]
#[ignore = "it is no check: it writes the kernels for another compiler"]
fn kernels_are_dumped_for_other_compilers() -> std::io::Result<()> {
    let folder = std::env::var_os("ELEMGRAD_DUMP_SHADERS").expect("ELEMGRAD_DUMP_SHADERS is a folder");
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let mut list = String::new();
    let built_in = kernels();
    let custom: Vec<_> =
        custom().into_iter().map(|(op, kernel)| (compose(op.signature(), &kernel), kernel)).collect();
    let built_in = built_in.iter().map(|c| (c.op.name(), &c.kernel, &c.shader));
    let all = built_in.chain(custom.iter().map(|(shader, kernel)| ("custom", kernel, shader)));
    for (i, (op, kernel, shader)) in all.enumerate() {
        std::fs::write(folder.join(format!("{i}.wgsl")), &shader.source)?;
        let quoted = |text: &str| format!("\"{text}\"");
        let bindings: Vec<_> = shader.bindings.iter().map(|b| quoted(b.kind)).collect();
        let operands: Vec<_> = (0..)
            .zip(&kernel.operands)
            .map(|(i, o)| (kernel.slots.iter().position(|s| s.operands.contains(&i)), &o.name))
            .map(|(slot, name)| {
                format!("[{}, {}]", quoted(name), slot.expect("every operand has a slot") + 1)
            })
            .collect();
        // The kernels that another host can run with only the test vectors: contiguous operands, outputs overwritten.
        let form = match kernel.form {
            Form::Elementwise(access)
                if ops::find(op).is_some()
                    && kernel.operands.iter().all(|o| o.map == Map::Linear && !o.accumulate) =>
            {
                access.name()
            }
            _ => "other",
        };
        let _ = write!(
            list,
            "{}{{\"file\": \"{i}.wgsl\", \"op\": {}, \"dtype\": {}, \"access\": {}, \"bindings\": [{}], \"operands\": [{}]}}",
            if i == 0 { "" } else { ",\n" },
            quoted(op),
            quoted(kernel.dtype.name()),
            quoted(form),
            bindings.join(", "),
            operands.join(", "),
        );
    }
    std::fs::write(folder.join("kernels.json"), format!("[{list}]\n"))
}

/// The largest op still reaches the compiler, although its WGSL is longer than any text of a user.
#[test]
fn an_op_of_the_most_nodes_compiles() -> Result<(), Error> {
    let large = |links| Op::new("large", ["x", "y"], |[x, y]| (0..links).fold(x, |sum, _| sum + x - y));
    assert!(matches!(large(4200), Err(Error::TooLarge { .. })));
    let op = large(4000)?;
    let kernel =
        Kernel::contiguous(op.signature(), op.signature().all_outputs(Pass::Fused), DType::F32, Access::Vec4);
    let source = compose(op.signature(), &kernel).source;
    assert!(source.len() > MAX_TEXT);
    check_size(op.signature())?;
    Shader::check("large", &source)
}
