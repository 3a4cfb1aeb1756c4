//! The entry points: indexing, loads and stores around the function `element`.

use std::fmt::Write as _;

use super::{Access, Shader, is_copied, is_long, is_vector, memory};
use crate::{
    dtype::DType,
    plan::{ELEMENTS_PER_WORKGROUP, Form, Held, Kernel, KernelOperand, Map, Source, WORKGROUP_SIZE},
    signature::Signature,
};

const LANES: [&str; 4] = ["x", "y", "z", "w"];

/// The part of a kernel after the declarations.
pub(super) fn main(d: &Signature, kernel: &Kernel) -> String {
    let body = match kernel.form {
        Form::Elementwise(access) => elementwise(d, kernel, access),
        Form::Columns => columns(d, kernel),
        Form::Runs(_) => runs(d, kernel),
    };
    format!(
        "{}\n@compute @workgroup_size({WORKGROUP_SIZE})\nfn {}(@builtin(workgroup_id) workgroup: vec3<u32>, \
         @builtin(local_invocation_index) lane: u32) {{\n    \
         let group = workgroup.y * params.groups_per_row + workgroup.x;\n{body}}}\n",
        helpers(kernel),
        Shader::ENTRY_POINT
    )
}

/// The operands to load, each with its number and the name of the loaded value. These are the reads, and the outputs
/// that are added to.
fn loads(kernel: &Kernel) -> impl Iterator<Item = (usize, String, &KernelOperand)> {
    let name = |o: &KernelOperand| if o.write { format!("old_{}", o.name) } else { format!("in_{}", o.name) };
    kernel
        .operands
        .iter()
        .enumerate()
        .filter(|(_, o)| !o.write || o.accumulate)
        .map(move |(i, o)| (i, name(o), o))
}

fn stores(kernel: &Kernel) -> impl Iterator<Item = (usize, &KernelOperand)> {
    kernel.operands.iter().enumerate().filter(|(_, o)| o.write)
}

/// Whether a workgroup packs bits into words.
fn writes_bits(kernel: &Kernel) -> bool {
    stores(kernel).any(|(_, o)| o.element == Held::Bit)
}

/// Whether an operand holds 16-bit numbers, two in a word.
fn is_half(operand: &KernelOperand) -> bool {
    matches!(operand.element, Held::Number(dtype) if dtype != DType::F32)
}

// Helper functions.

fn helpers(kernel: &Kernel) -> String {
    let mut text = String::new();
    if writes_bits(kernel) {
        let words = ELEMENTS_PER_WORKGROUP / 32;
        let _ = writeln!(
            text,
            "\n// The bits of a workgroup's elements.\nvar<workgroup> bits: array<atomic<u32>, {words}>;"
        );
    }
    if matches!(kernel.form, Form::Runs(_)) {
        let _ = writeln!(
            text,
            "\n// A binary tree whose node n has the children 2n and 2n + 1: {WORKGROUP_SIZE} leaves.\nvar<workgroup> tree: array<u32, {}>;",
            2 * WORKGROUP_SIZE
        );
    }
    text += &coordinates(kernel);
    if kernel.form == Form::Columns {
        let terms = kernel.operands.iter().enumerate().filter(|(i, _)| !kernel.is_sums(*i));
        text.extend(terms.map(|(_, operand)| place_of_term(kernel, operand)));
    }
    for (i, _, operand) in loads(kernel) {
        text += &load(kernel, i, operand);
    }
    text
}

/// The prefix of the sizes, and the number of axes, if a kernel splits indices into coordinates: of elements in an
/// elementwise kernel, of terms in a run.
fn divided(kernel: &Kernel) -> Option<(&'static str, usize)> {
    let strided = kernel.operands.iter().any(|o| o.map != Map::Linear);
    match kernel.form {
        Form::Elementwise(_) if strided => Some(("size_", kernel.axes)),
        Form::Runs(_) => Some(("terms_", kernel.summed)),
        _ => None,
    }
}

/// The function that gives the coordinates of an index. The index is a start that the workgroup shares, plus a few
/// steps.
fn coordinates(kernel: &Kernel) -> String {
    let Some((sizes, axes)) = divided(kernel) else { return String::new() };
    let fields: Vec<_> = (0..axes).map(|a| format!("a{a}: u32")).collect();
    let mut text = format!("\nstruct At {{ {} }}\n", fields.join(", "));
    if axes > 1 {
        text += "
// j / size for j < size + 2048. The float quotient is an estimate (numerics: case 1): it is below 2049, so that it is
// off by one at most, and the remainder says which way.
fn carry(j: u32, size: u32) -> u32 {
    let q = u32(f32(j) * (1.0 / f32(size)));
    let rest = j - q * size;
    return select(q + u32(rest >= size), q - 1u, rest >= 0x80000000u);
}
";
    }
    text +=
        "\nfn coordinates(start: u32, steps: u32) -> At {\n    var rest = start;\n    var more = steps;\n";
    for a in (1..axes).rev() {
        let _ = write!(
            text,
            "    let j{a} = rest % params.{sizes}{a} + more;\n    more = carry(j{a}, params.{sizes}{a});\n    \
             let a{a} = j{a} - more * params.{sizes}{a};\n    rest = rest / params.{sizes}{a};\n"
        );
    }
    let fields: Vec<_> =
        std::iter::once("rest + more".to_owned()).chain((1..axes).map(|a| format!("a{a}"))).collect();
    text + &format!("    return At({});\n}}\n", fields.join(", "))
}

/// `base + the sum of coordinates times strides`. Strides are numbered from `first`.
fn offset(operand: &KernelOperand, from: &str, coordinates: &[String], first: usize) -> String {
    let steps = coordinates
        .iter()
        .zip(first..)
        .map(|(c, axis)| format!(" + {c} * params.stride_{}_{axis}", operand.name));
    from.to_owned() + &steps.collect::<String>()
}

fn at(axes: usize) -> Vec<String> {
    (0..axes).map(|a| format!("at.a{a}")).collect()
}

/// One element of an operand as stored, at the index given by an expression.
fn scalar(kernel: &Kernel, i: usize, index: &str) -> String {
    let memory = memory(kernel, i);
    match kernel.operands[i].element {
        Held::Bit => format!(
            "({memory}[params.base_{0} + {index} / 32u] >> ({index} % 32u)) & 1u",
            kernel.operands[i].name
        ),
        Held::Number(DType::F32) => format!("{memory}[{index}]"),
        Held::Number(_) => {
            format!("({memory}[{index} >> 1u] >> (16u * ({index} & 1u))) & 0xffffu")
        }
    }
}

/// The function that loads one element or four elements of an operand.
fn load(kernel: &Kernel, i: usize, operand: &KernelOperand) -> String {
    let (name, base) = (&operand.name, format!("params.base_{}", operand.name));
    let parameters = |index: &str| match divided(kernel) {
        Some(_) if operand.map != Map::Linear => format!("{index}: u32, at: At"),
        _ => format!("{index}: u32"),
    };
    match kernel.form {
        Form::Elementwise(Access::Vec4) => {
            let mut text = format!("\nfn load_{name}({}) -> vec4<u32> {{\n", parameters("v"));
            text += &vector(kernel, i, operand);
            text + "}\n"
        }
        Form::Elementwise(Access::Word) => {
            let index = match (operand.element, operand.map) {
                (Held::Bit, _) => "i".to_owned(),
                (_, Map::Linear) => format!("{base} + i"),
                _ => place(kernel, operand, &base),
            };
            let value = scalar(kernel, i, "j");
            format!(
                "\nfn load_{name}({}) -> u32 {{\n    let j = {index};\n    return {value};\n}}\n",
                parameters("i")
            )
        }
        // `i` is the index of the sum's first term.
        Form::Runs(Access::Vec4) => {
            format!("\nfn load_{name}(i: u32, at: At) -> vec4<u32> {{\n{}}}\n", vector(kernel, i, operand))
        }
        Form::Runs(Access::Word) => {
            let index = place(kernel, operand, "i");
            let value = scalar(kernel, i, "j");
            format!(
                "\nfn load_{name}(i: u32, at: At) -> u32 {{\n    let j = {index};\n    return {value};\n}}\n"
            )
        }
        Form::Columns => {
            format!(
                "\nfn load_{name}(i: u32, term: u32) -> u32 {{\n    let j = place_{name}(i, term);\n    return {};\n}}\n",
                scalar(kernel, i, "j")
            )
        }
    }
}

/// The function that gives the index of a term in an operand. `i` is the index of the sum's first term.
fn place_of_term(kernel: &Kernel, operand: &KernelOperand) -> String {
    let mut text =
        format!("\nfn place_{}(i: u32, term: u32) -> u32 {{\n    var rest = term;\n", operand.name);
    for a in (1..kernel.summed).rev() {
        let _ =
            writeln!(text, "    let a{a} = rest % params.terms_{a};\n    rest = rest / params.terms_{a};");
    }
    let coordinates: Vec<_> =
        std::iter::once("rest".to_owned()).chain((1..kernel.summed).map(|a| format!("a{a}"))).collect();
    text + &format!("    return {};\n}}\n", offset(operand, "i", &coordinates, kernel.axes))
}

/// The index of the element or vector at the coordinates `at`. `from` is the index of the first one. The strides of a
/// row and its last axis are counted in vectors.
fn place(kernel: &Kernel, operand: &KernelOperand, from: &str) -> String {
    // `from` already includes the coordinates of the sum itself.
    let (axes, first) = if kernel.summed > 0 { (kernel.summed, kernel.axes) } else { (kernel.axes, 0) };
    let all = at(axes);
    let (last, outer) = all.split_last().expect("an index space has an axis");
    match operand.map {
        Map::Linear => format!("{from} + v"),
        Map::Row => offset(operand, from, outer, first) + &format!(" + {last} / 4u"),
        Map::Splat => offset(operand, from, outer, first),
        Map::Gather => offset(operand, from, &all, first),
    }
}

/// The body of a function that loads four neighbours. `v` counts vectors.
fn vector(kernel: &Kernel, i: usize, operand: &KernelOperand) -> String {
    let (memory, base) = (memory(kernel, i), format!("params.base_{}", operand.name));
    let index = place(kernel, operand, if kernel.summed > 0 { "i" } else { &base });
    match (operand.element, operand.map) {
        (Held::Bit, _) => format!(
            "    let word = {memory}[{base} + v / 8u] >> (4u * (v % 8u));\n    \
             return (vec4(word) >> vec4(0u, 1u, 2u, 3u)) & vec4(1u);\n"
        ),
        (_, Map::Splat) => format!("    let j = {index};\n    return vec4({});\n", scalar(kernel, i, "j")),
        (_, Map::Gather) => {
            let stride = format!("params.stride_{}_{}", operand.name, kernel.axes + kernel.summed - 1);
            let values: Vec<_> = (0..4).map(|k| scalar(kernel, i, &format!("j.{}", LANES[k]))).collect();
            format!(
                "    let j = vec4({index}) + vec4(0u, 1u, 2u, 3u) * {stride};\n    return vec4({});\n",
                values.join(", ")
            )
        }
        (Held::Number(DType::F32), _) => format!("    return {memory}[{index}];\n"),
        _ => format!(
            "    let words = {memory}[{index}];\n    return vec4(words.x & 0xffffu, words.x >> 16u, words.y & 0xffffu, words.y >> 16u);\n"
        ),
    }
}

// Elementwise kernels.

/// Each invocation loads every input of its four elements before it stores any output. This makes in-place calls
/// safe.
fn elementwise(d: &Signature, kernel: &Kernel, access: Access) -> String {
    let body = match access {
        Access::Vec4 => vectors(d, kernel),
        Access::Word => words(d, kernel),
    };
    if !writes_bits(kernel) {
        return body;
    }
    let words = ELEMENTS_PER_WORKGROUP / 32;
    let mut text = format!(
        "    if (lane < {words}u) {{\n        atomicStore(&bits[lane], 0u);\n    }}\n    workgroupBarrier();\n{body}    workgroupBarrier();\n"
    );
    for (i, operand) in stores(kernel).filter(|(_, o)| o.element == Held::Bit) {
        let _ = write!(
            text,
            "    let word = group * {words}u + lane;\n    if (lane < {words}u && word < (params.len + 31u) / 32u) {{\n        \
             {}[params.base_{} + word] = atomicLoad(&bits[lane]);\n    }}\n",
            memory(kernel, i),
            operand.name
        );
    }
    text
}

/// The argument of `element` for a loaded number.
fn widened(d: &Signature, kernel: &Kernel, operand: &KernelOperand, value: &str) -> String {
    let as_is = !is_half(operand) || is_copied(d, kernel, operand);
    if as_is { value.to_owned() } else { format!("storage_widen({value})") }
}

/// The stored value of a 16-bit number that `element` returns.
fn rounded(d: &Signature, kernel: &Kernel, operand: &KernelOperand, value: &str) -> String {
    if is_copied(d, kernel, operand) { value.to_owned() } else { format!("storage_round({value})") }
}

/// The outputs of an invocation's four elements: `out_x` to `out_w`.
fn elements(d: &Signature, kernel: &Kernel) -> String {
    let mut text = String::new();
    if !calls_long(d, kernel) {
        for lane in LANES {
            let _ = writeln!(
                text,
                "    let out_{lane} = element({});",
                arguments(d, kernel, &format!(".{lane}"))
            );
        }
        return text;
    }
    let _ = writeln!(
        text,
        "    var outs: array<Outputs, 4>;\n    for (var k = 0u; k < 4u; k += 1u) {{\n        outs[k] = element({});\n    }}",
        arguments(d, kernel, "[k]")
    );
    for (k, lane) in LANES.into_iter().enumerate() {
        let _ = writeln!(text, "    let out_{lane} = outs[{k}];");
    }
    text
}

/// Whether the function `element` is long. Then drivers get one call of it, in a loop, and not four: they inline
/// calls, and some take a time that grows with the cube of what they inline.
fn calls_long(d: &Signature, kernel: &Kernel) -> bool {
    let Source::Op { outputs, from_mask } = kernel.source else { return false };
    is_long(d.lets(outputs, from_mask).count())
}

/// The arguments of `element` in a lane, which is a suffix of the loaded vectors.
fn arguments(d: &Signature, kernel: &Kernel, lane: &str) -> String {
    let argument = |(_, name, operand): (usize, String, &KernelOperand)| match operand.element {
        Held::Bit => format!("{name}{lane} != 0u"),
        Held::Number(_) => widened(d, kernel, operand, &format!("{name}{lane}")),
    };
    loads(kernel).map(argument).collect::<Vec<_>>().join(", ")
}

fn vectors(d: &Signature, kernel: &Kernel) -> String {
    let inside = if writes_bits(kernel) {
        "    if (v < params.len / 4u) {\n"
    } else {
        "    if (v >= params.len / 4u) {\n        return;\n    }\n"
    };
    let mut text = format!("    let v = group * {WORKGROUP_SIZE}u + lane;\n{inside}");
    if divided(kernel).is_some() {
        let _ = writeln!(text, "    let at = coordinates(group * {ELEMENTS_PER_WORKGROUP}u, 4u * lane);");
    }
    for (_, name, operand) in loads(kernel) {
        let _ = writeln!(
            text,
            "    let {name} = load_{}(v{});",
            operand.name,
            if operand.map == Map::Linear { "" } else { ", at" }
        );
    }
    text += &elements(d, kernel);
    for (i, operand) in stores(kernel) {
        let (name, base) = (&operand.name, format!("params.base_{}", operand.name));
        if operand.element == Held::Bit {
            let bits: Vec<_> =
                (0..).zip(LANES).map(|(k, lane)| format!("(u32(out_{lane}.{name}) << {k}u)")).collect();
            let _ = writeln!(
                text,
                "    atomicOr(&bits[lane / 8u], ({}) << (4u * (lane % 8u)));",
                bits.join(" | ")
            );
            continue;
        }
        let _ = writeln!(text, "    {}", store_vector(d, kernel, i, operand, &base));
    }
    if writes_bits(kernel) { text + "    }\n" } else { text }
}

/// The statement that stores four neighbours.
fn store_vector(d: &Signature, kernel: &Kernel, i: usize, operand: &KernelOperand, from: &str) -> String {
    debug_assert!(is_vector(kernel, operand), "outputs of a kernel of vectors are vectors");
    let [x, y, z, w] = LANES.map(|lane| format!("out_{lane}.{}", operand.name));
    let vector = if is_half(operand) {
        let round = |v: &str| rounded(d, kernel, operand, v);
        format!("vec2({} | ({} << 16u), {} | ({} << 16u))", round(&x), round(&y), round(&z), round(&w))
    } else {
        format!("vec4({x}, {y}, {z}, {w})")
    };
    format!("{}[{}] = {vector};", memory(kernel, i), place(kernel, operand, from))
}

/// An invocation writes four words of 32-bit outputs, or two of 16-bit outputs. They are a workgroup apart.
fn words(d: &Signature, kernel: &Kernel) -> String {
    let half = stores(kernel).any(|(_, o)| is_half(o));
    let mut text = String::new();
    if half {
        let _ = writeln!(
            text,
            "    // The elements of two words; the first of all may lie before the operand, and is then 0xffffffff.\n    \
             let i = vec4(group * {ELEMENTS_PER_WORKGROUP}u + 2u * lane - params.parity) + vec4(0u, 1u, {0}u, {0}u + 1u);",
            2 * WORKGROUP_SIZE
        );
    } else {
        let _ = writeln!(
            text,
            "    let i = vec4(group * {ELEMENTS_PER_WORKGROUP}u + lane) + {WORKGROUP_SIZE}u * vec4(0u, 1u, 2u, 3u);"
        );
    }
    if divided(kernel).is_some() {
        let _ = writeln!(
            text,
            "    let start = max(group * {ELEMENTS_PER_WORKGROUP}u, params.parity) - params.parity;"
        );
    }
    for (_, name, _) in loads(kernel) {
        let _ = writeln!(text, "    var {name} = vec4<u32>();");
    }
    for lane in LANES {
        let _ = writeln!(text, "    if (i.{lane} < params.len) {{");
        if divided(kernel).is_some() {
            let _ = writeln!(text, "        let at = coordinates(start, i.{lane} - start);");
        }
        for (_, name, operand) in loads(kernel) {
            let at = if operand.map == Map::Linear { "" } else { ", at" };
            let _ = writeln!(text, "        {name}.{lane} = load_{}(i.{lane}{at});", operand.name);
        }
        text += "    }\n";
    }
    text += &elements(d, kernel);
    for (i, operand) in stores(kernel) {
        text += &store_words(d, kernel, i, operand);
    }
    text
}

fn store_words(d: &Signature, kernel: &Kernel, i: usize, operand: &KernelOperand) -> String {
    let (name, memory, base) = (&operand.name, memory(kernel, i), format!("params.base_{}", operand.name));
    let mut text = String::new();
    if operand.element == Held::Bit {
        for lane in LANES {
            let _ = write!(
                text,
                "    if (i.{lane} < params.len) {{\n        let bit = i.{lane} % {ELEMENTS_PER_WORKGROUP}u;\n        \
                 atomicOr(&bits[bit / 32u], u32(out_{lane}.{name}) << (bit % 32u));\n    }}\n"
            );
        }
    } else if is_half(operand) {
        for (first, second) in [("x", "y"), ("z", "w")] {
            let [low, high] =
                [first, second].map(|lane| rounded(d, kernel, operand, &format!("out_{lane}.{name}")));
            let word = format!("{memory}[({base} + i.{first}) >> 1u]");
            // The half of a word that belongs to another element is kept.
            let _ = write!(
                text,
                "    if (i.{first} < params.len && i.{second} < params.len) {{\n        {word} = {low} | ({high} << 16u);\n    }} \
                 else if (i.{first} < params.len) {{\n        {word} = ({word} & 0xffff0000u) | {low};\n    }} \
                 else if (i.{second} < params.len) {{\n        {word} = ({word} & 0xffffu) | ({high} << 16u);\n    }}\n"
            );
        }
    } else {
        for lane in LANES {
            let index = if operand.map == Map::Linear {
                format!("{base} + i.{lane}")
            } else {
                let _ = writeln!(text, "    let at_{name}_{lane} = coordinates(start, i.{lane} - start);");
                let coordinates: Vec<_> =
                    (0..kernel.axes).map(|a| format!("at_{name}_{lane}.a{a}")).collect();
                offset(operand, &base, &coordinates, 0)
            };
            let _ = writeln!(
                text,
                "    if (i.{lane} < params.len) {{\n        {memory}[{index}] = out_{lane}.{name};\n    }}"
            );
        }
    }
    text
}

// Sums.

/// The operands with an element for each term: all except the partial results.
fn carried(kernel: &Kernel) -> impl Iterator<Item = (usize, &KernelOperand)> {
    stores(kernel).filter(|(i, _)| !kernel.is_sums(*i))
}

/// The sum and the block of an item, and the index of that sum's first term in each operand.
fn item(kernel: &Kernel) -> String {
    let mut text = String::from(
        "    let sum_index = params.first_sum + item % params.sums;\n    let block = params.first_block + item / params.sums;\n",
    );
    if kernel.axes > 0 {
        text += "    var rest = sum_index;\n";
        for a in (1..kernel.axes).rev() {
            let _ =
                writeln!(text, "    let k{a} = rest % params.size_{a};\n    rest = rest / params.size_{a};");
        }
    }
    let coordinates: Vec<_> =
        (0..kernel.axes).map(|a| if a == 0 { "rest".to_owned() } else { format!("k{a}") }).collect();
    for (i, operand) in kernel.operands.iter().enumerate().filter(|(i, _)| !kernel.is_sums(*i)) {
        let base = format!("params.base_{}", operand.name);
        let _ = writeln!(
            text,
            "    let first_{} = {};",
            kernel.operands[i].name,
            offset(operand, &base, &coordinates, 0)
        );
    }
    text
}

/// Four neighbouring terms from `first` on: `term_0` to `term_3`. A missing term is -0, which adds nothing. All terms
/// are loaded before one is computed, so a lane waits for memory only once.
fn four_terms(d: &Signature, kernel: &Kernel) -> String {
    let mut text = String::new();
    for (_, name, _) in loads(kernel) {
        let _ = writeln!(text, "    var {name} = vec4<u32>();");
    }
    let columns = kernel.form == Form::Columns;
    let inside = |k: usize, statements: &str| {
        let at =
            if columns { "" } else { &format!("        let at = coordinates(start, 4u * lane + {k}u);\n") };
        format!("    if (first + {k}u < params.terms) {{\n{at}{statements}    }}\n")
    };
    let at = |k: usize| if columns { format!("first + {k}u") } else { "at".to_owned() };
    for (k, lane) in LANES.into_iter().enumerate() {
        let load = |(_, name, o): (usize, String, &KernelOperand)| {
            format!("        {name}.{lane} = load_{0}(first_{0}, {1});\n", o.name, at(k))
        };
        text += &inside(k, &loads(kernel).map(load).collect::<String>());
    }
    for (k, lane) in LANES.into_iter().enumerate() {
        let _ = writeln!(
            text,
            "    let out_{lane} = element({});\n    let term_{k} = select(0x80000000u, out_{lane}.sums, first + {k}u < params.terms);",
            arguments(d, kernel, &format!(".{lane}"))
        );
    }
    for (k, lane) in LANES.into_iter().enumerate().filter(|_| carried(kernel).next().is_some()) {
        let store = |(i, operand): (usize, &KernelOperand)| {
            let (name, memory) = (&operand.name, memory(kernel, i));
            let index = match kernel.form {
                Form::Columns => format!("place_{name}(first_{name}, {})", at(k)),
                _ => place(kernel, operand, &format!("first_{name}")),
            };
            format!("        {memory}[{index}] = out_{lane}.{name};\n")
        };
        text += &inside(k, &carried(kernel).map(store).collect::<String>());
    }
    text
}

/// The same as vectors: either all four terms exist, or none.
fn vector_of_terms(d: &Signature, kernel: &Kernel) -> String {
    let mut text = String::new();
    for k in 0..4 {
        let _ = writeln!(text, "    var term_{k} = 0x80000000u;");
    }
    text += "    if (first < params.terms) {\n        let at = coordinates(start, 4u * lane);\n";
    for (_, name, operand) in loads(kernel) {
        let _ = writeln!(text, "        let {name} = load_{0}(first_{0}, at);", operand.name);
    }
    for (k, lane) in LANES.into_iter().enumerate() {
        let _ = writeln!(
            text,
            "        let out_{lane} = element({});\n        term_{k} = out_{lane}.sums;",
            arguments(d, kernel, &format!(".{lane}"))
        );
    }
    for (i, operand) in carried(kernel) {
        let _ = writeln!(
            text,
            "        {}",
            store_vector(d, kernel, i, operand, &format!("first_{}", operand.name))
        );
    }
    text + "    }\n"
}

const SUM_OF_FOUR: &str = "f32_add(f32_add(term_0, term_1), f32_add(term_2, term_3))";

/// Stores the partial result of a sum's block.
fn store_partial(kernel: &Kernel, value: &str) -> String {
    let last = kernel.operands.len() - 1;
    let coordinates = ["sum_index".to_owned(), "block".to_owned()];
    let index = offset(&kernel.operands[last], "params.base_sums", &coordinates, 0);
    format!("{}[{index}] = {value};\n", memory(kernel, last))
}

/// An invocation adds a block of one sum, four terms in each step. The bits of the step counter say which partial
/// sums are complete.
fn columns(d: &Signature, kernel: &Kernel) -> String {
    let mut text = format!(
        "    let item = group * {WORKGROUP_SIZE}u + lane;\n    if (item >= params.len) {{\n        return;\n    }}\n"
    );
    text += &item(kernel);
    text += "    var sum = 0u;\n";
    for level in 0..4 {
        let _ = writeln!(text, "    var waiting_{level} = 0u;");
    }
    text += "    for (var step = 0u; step < params.steps; step += 1u) {\n    \
             let first = 4u * (block * params.steps + step);\n";
    text += &four_terms(d, kernel);
    let _ = writeln!(text, "    sum = {SUM_OF_FOUR};");
    for level in 0..4 {
        let _ = write!(
            text,
            "    if ((step & {}u) == 0u) {{\n        waiting_{level} = sum;\n        continue;\n    }}\n    sum = f32_add(waiting_{level}, sum);\n",
            1 << level
        );
    }
    text + "    }\n    " + &store_partial(kernel, "sum")
}

/// A workgroup adds a block of one sum. Each invocation adds four terms, then a tree adds the results.
fn runs(d: &Signature, kernel: &Kernel) -> String {
    let mut text =
        String::from("    let item = group;\n    if (item >= params.len) {\n        return;\n    }\n");
    text += &item(kernel);
    let _ = writeln!(
        text,
        "    let start = block * {ELEMENTS_PER_WORKGROUP}u;\n    let first = start + 4u * lane;"
    );
    text += &if kernel.form.is_vector() { vector_of_terms(d, kernel) } else { four_terms(d, kernel) };
    let _ = write!(
        text,
        "    tree[{WORKGROUP_SIZE}u + lane] = {SUM_OF_FOUR};\n    \
         for (var nodes = {}u; nodes > 0u; nodes = nodes / 2u) {{\n        workgroupBarrier();\n        \
         if (lane < nodes) {{\n            let node = nodes + lane;\n            \
         tree[node] = f32_add(tree[2u * node], tree[2u * node + 1u]);\n        }}\n    }}\n    \
         if (lane == 0u) {{\n        {}    }}\n",
        WORKGROUP_SIZE / 2,
        store_partial(kernel, "tree[1]")
    );
    text
}
