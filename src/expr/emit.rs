//! The WGSL of an expression: a call of a function of `shaders/numeric` for each node.

use std::collections::HashMap;

use super::{
    Arithmetic,
    graph::{Function, Id, Node},
    primitive::Primitive,
    rounding::{Unrounded, most, rounded_comparison, unrounded},
};
use crate::{
    DType, Error,
    op::{Definition, OutputDefinition, Text, UPSTREAM, identifiers},
    shader::tokens::LINE_BREAKS,
};

macro_rules! files {
    ($($folder:literal / $name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../shaders/", $folder, "/", $name, ".wgsl")))),+]
    };
}

/// The functions that nodes call, by file: each calls those of its own and of earlier ones.
const FILES: &[(&str, &str)] = files!(
    "numeric" / "f32",
    "numeric" / "sign",
    "numeric" / "add",
    "numeric" / "mul",
    "numeric" / "division",
    "numeric" / "div",
    "numeric" / "sqrt",
    "numeric" / "round",
    "numeric" / "compare",
    "numeric" / "fraction",
    "numeric" / "floor_mod",
    "numeric" / "trunc_mod",
    "ops" / "mod",
    "ops" / "spiky",
    "numeric" / "native",
);

/// The files that a building block needs beside the first, which all do.
fn files(primitive: Primitive, arithmetic: Arithmetic) -> &'static [&'static str] {
    use Primitive::*;
    match (primitive, arithmetic) {
        (Neg | Abs, _) => &["sign"],
        (FloorMod | FloorQuotient, _) => &["sign", "mul", "division", "floor_mod", "mod", "fraction"],
        (TruncMod, _) => &["division", "floor_mod", "trunc_mod"],
        (Not | And | Or | Select | RoundToStorage, _) => &[],
        (_, Arithmetic::Native) => &["native"],
        (Add | Sub, _) => &["sign", "add"],
        (Mul, _) => &["mul"],
        (Div, _) => &["division", "div"],
        (Sqrt, _) => &["sqrt"],
        (Floor | Ceil | Round | Trunc, _) => &["round"],
        (Lt | Le | Eq | Min | Max, _) => &["compare"],
        (Exp | Log | Sin | Cos | Tanh | Pow, _) => &[],
    }
}

/// What an op computes, in WGSL.
pub(super) fn definition(
    name: String,
    inputs: &[String],
    function: &Function,
    arithmetic: Arithmetic,
) -> Result<Definition, Error> {
    let mask = mask(function);
    check_names(&name, inputs)?;
    let graph = &function.graph;
    let results = || std::iter::once(function.z).chain(function.gradients.iter().copied());
    let used = graph.used(results().chain(mask));
    let mut text = Emitter::new(function, &used, arithmetic, inputs);
    let mut files_used = vec!["f32"];
    for (id, node) in graph.nodes().filter(|(id, _)| used[id.index()]) {
        if let Node::Apply(primitive, _) = node {
            if arithmetic == Arithmetic::Exact && !primitive.has_exact_form() {
                return Err(Error::Inexact { op: name, block: primitive.name() });
            }
            files_used.extend(files(primitive, arithmetic));
        }
        text.node(id, node);
        if Some(id) == mask {
            text.name(id, MASK);
        }
    }
    let mut outputs =
        vec![OutputDefinition::z(text.stored(function.z), formula(function, function.z, inputs))];
    for (input, id) in inputs.iter().zip(&function.gradients) {
        let formula = formula(function, *id, inputs);
        outputs.push(match gate(function, *id) {
            Some(gate) if Some(gate) == mask => OutputDefinition::gradient(input, UPSTREAM, formula).gated(),
            _ => OutputDefinition::gradient(input, text.of(*id), formula),
        });
    }
    outputs.extend(mask.map(|id| OutputDefinition::mask(MASK, formula(function, id, inputs))));
    if !text.cuts.is_empty() {
        files_used.push("spiky");
    }
    let functions = FILES.iter().filter(|(file, _)| files_used.contains(file));
    Ok(Definition {
        name: name.into(),
        inputs: inputs.iter().cloned().map(Into::into).collect(),
        functions: functions.map(|(_, source)| Text::Borrowed(source)).collect(),
        lets: text.lets,
        outputs,
    })
}

/// The name of the output that gates gradients.
const MASK: &str = "mask";

/// The condition under which a gradient is the upstream gradient, being `+0` elsewhere: one of the inputs, which forward
/// has as well.
fn gate(Function { graph, inputs, .. }: &Function, gradient: Id) -> Option<Id> {
    let Node::Apply(Primitive::Select, [condition, accept, reject]) = graph.node(gradient) else {
        return None;
    };
    let copied = graph.node(accept) == Node::Read(*inputs);
    let of_inputs = || !graph.used([condition])[accept.index()];
    (copied && graph.node(reject) == Node::Number(0) && of_inputs()).then_some(condition)
}

/// The condition that gates gradients, where it is one for all that have any.
pub(super) fn mask(function: &Function) -> Option<Id> {
    let mut gates = function.gradients.iter().filter_map(|id| gate(function, *id));
    let first = gates.next()?;
    gates.all(|gate| gate == first).then_some(first)
}

/// Names that an op and its inputs can have.
fn check_names(op: &str, inputs: &[String]) -> Result<(), Error> {
    let error =
        |got: &str, need: &str| Error::Name { op: op.to_owned(), got: got.to_owned(), need: need.to_owned() };
    if op.is_empty() || op.contains(|c: char| c.is_control() || LINE_BREAKS.contains(&c)) {
        return Err(error(op, "on one line"));
    }
    for (i, input) in inputs.iter().enumerate() {
        let letters = input.starts_with(|c: char| c.is_ascii_alphabetic())
            && input.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !input.contains("__");
        if !letters {
            return Err(error(input, "a letter, then letters, digits and single underscores"));
        }
        let gradient = |other: &String| format!("d{other}") == *input;
        if inputs[..i].contains(input)
            || [UPSTREAM, "z", MASK].contains(&&**input)
            || inputs.iter().any(gradient)
        {
            return Err(error(input, "free: another operand has it"));
        }
        if is_reserved(input) {
            return Err(error(input, "free: it means something in WGSL or in the shaders"));
        }
        // The gradient is a member of a struct.
        if is_keyword(&format!("d{input}")) {
            return Err(error(input, &format!("free: its gradient's name, d{input}, is a word of WGSL's")));
        }
    }
    Ok(())
}

/// Whether a name is one of WGSL's that are used here, or of the functions that nodes call.
fn is_reserved(name: &str) -> bool {
    const OURS: [&str; 6] = ["storage_", "f32_", "native_", "old_", "load_", "store_"];
    is_keyword(name)
        || WGSL.contains(&name)
        || OURS.iter().any(|prefix| name.starts_with(prefix))
        || FILES.iter().flat_map(|(_, source)| declared(source)).any(|declared| declared == name)
}

#[cfg(not(target_arch = "wasm32"))]
fn is_keyword(name: &str) -> bool {
    wgpu::naga::keywords::wgsl::RESERVED.contains(&name)
}

/// In a browser its own compiler says so.
#[cfg(target_arch = "wasm32")]
fn is_keyword(_: &str) -> bool {
    false
}

/// The names that a source declares.
fn declared(source: &str) -> impl Iterator<Item = &str> {
    let rest =
        source.lines().flat_map(|line| ["fn ", "const ", "struct "].map(|word| line.strip_prefix(word)));
    rest.flatten().filter_map(|rest| identifiers(rest).next())
}

/// What stands in the function of one element beside the calls of nodes.
const WGSL: [&str; 8] = ["u32", "f32", "i32", "bool", "select", "bitcast", "Outputs", "sums"];

/// Writes nodes as the lets of a definition.
struct Emitter<'a> {
    function: &'a Function,
    /// What its results are computed from.
    used: &'a [bool],
    arithmetic: Arithmetic,
    inputs: &'a [String],
    /// What lets begin with: no input's name does.
    prefix: String,
    /// What stands for each node that has been written.
    texts: HashMap<Id, String>,
    /// Divisions whose remainder and quotient come from one let.
    divisions: HashMap<[Id; 2], String>,
    /// Inputs of which a let has `spiky` and its mask.
    cuts: HashMap<Id, String>,
    lets: Vec<(Text, Text)>,
}

impl<'a> Emitter<'a> {
    fn new(function: &'a Function, used: &'a [bool], arithmetic: Arithmetic, inputs: &'a [String]) -> Self {
        let mut prefix = String::from("v");
        while inputs.iter().any(|input| input.starts_with(&prefix)) {
            prefix.push('v');
        }
        let (texts, divisions, cuts, lets) = (HashMap::new(), HashMap::new(), HashMap::new(), Vec::new());
        Self { function, used, arithmetic, inputs, prefix, texts, divisions, cuts, lets }
    }

    /// What stands for a node.
    fn of(&self, id: Id) -> String {
        self.texts.get(&id).cloned().unwrap_or_default()
    }

    /// A let for an expression, and its name.
    fn bind(&mut self, expression: String) -> String {
        let name = format!("{}{}", self.prefix, self.lets.len());
        self.lets.push((name.clone().into(), expression.into()));
        name
    }

    /// Another name for what has been written.
    fn name(&mut self, id: Id, name: &'static str) {
        let expression = self.texts.insert(id, name.into()).unwrap_or_default();
        self.lets.push((name.into(), expression.into()));
    }

    fn node(&mut self, id: Id, node: Node) {
        let text = match node {
            Node::Read(read) => self.inputs.get(read).map_or(UPSTREAM, |name| name).to_owned(),
            Node::Number(bits) => format!("{bits:#010x}u"),
            Node::Truth(value) => value.to_string(),
            Node::Written(_, value) => self.of(value),
            Node::Apply(primitive, operands) => {
                let expression = self.apply(primitive, operands);
                self.bind(expression)
            }
        };
        self.texts.insert(id, text);
    }

    fn apply(&mut self, primitive: Primitive, operands: [Id; 3]) -> String {
        use Primitive::*;
        let [a, b, c] = operands.map(|id| self.of(id));
        let [first, second, _] = operands;
        if let Some((x, _)) = self.cut(primitive, operands) {
            return format!("{}.mask", self.spiky(x));
        }
        if let Some(comparison) = self.rounded_comparison(primitive, operands) {
            return comparison;
        }
        match primitive {
            Not => format!("!{a}"),
            And => format!("{a} && {b}"),
            Or => format!("{a} || {b}"),
            Select => format!("select({c}, {b}, {a})"),
            RoundToStorage => format!("storage_widen(storage_round({a}))"),
            FloorMod if self.is_number(second, 1.0) => format!("f32_fraction({a})"),
            FloorMod => format!("{}.z", self.division([first, second])),
            FloorQuotient if self.is_narrow([first, second]) => {
                format!("mod_q({})", self.division([first, second]))
            }
            FloorQuotient => format!("f32_floor_quotient({})", self.division([first, second])),
            Mul if self.arithmetic == Arithmetic::Exact => {
                self.rate(first, second).unwrap_or_else(|| Self::call("f32", primitive, &[a, b]))
            }
            Neg | Abs | TruncMod => Self::call("f32", primitive, &[a, b]),
            _ if self.arithmetic == Arithmetic::Exact => Self::call("f32", primitive, &[a, b]),
            _ => Self::call("native", primitive, &[a, b]),
        }
    }

    fn call(library: &str, primitive: Primitive, operands: &[String]) -> String {
        let operands = &operands[..primitive.operands().len()];
        format!("{library}_{}({})", primitive.name(), operands.join(", "))
    }

    /// A comparison of a rounded number with a constant, as one of the number with another constant.
    fn rounded_comparison(&self, primitive: Primitive, operands: [Id; 3]) -> Option<String> {
        let (value, constant) = rounded_comparison(&self.function.graph, primitive, operands)?;
        let mut all = Vec::new();
        for storage in DType::ALL {
            // A device's floats may take what is subnormal for zero.
            let device = |most: &f32| self.arithmetic == Arithmetic::Exact || !most.is_subnormal();
            let most = most(primitive, storage, constant).filter(device)?;
            all.push(format!("{:#010x}u", most.to_bits()));
        }
        let most = format!("storage_pick({})", all.join(", "));
        let library = if self.arithmetic == Arithmetic::Exact { "f32" } else { "native" };
        Some(Self::call(library, Primitive::Le, &[self.of(value), most]))
    }

    /// What is stored of `z`, which rounds it; a gradient may be added to what is there before.
    fn stored(&mut self, id: Id) -> String {
        match unrounded(&self.function.graph, id) {
            Unrounded::Value(id) => self.of(id),
            Unrounded::Select(operands) => {
                if let Some(x) = self.stored_cut(operands) {
                    return format!("{}.z", self.spiky(x));
                }
                let [condition, accept, reject] = operands.map(|id| self.of(id));
                self.bind(format!("select({reject}, {accept}, {condition})"))
            }
        }
    }

    fn is_number(&self, id: Id, value: f32) -> bool {
        self.function.graph.node(id) == Node::Number(value.to_bits())
    }

    /// The input of the comparison with which `spiky` cuts off, and what is rounded for it: of numbers of the storage type a
    /// function gives both.
    fn cut(&self, primitive: Primitive, [a, b, _]: [Id; 3]) -> Option<(Id, Id)> {
        use Primitive::{FloorMod, Le, RoundToStorage};
        let graph = &self.function.graph;
        let (Le, Node::Apply(RoundToStorage, [r, ..])) = (primitive, graph.node(a)) else { return None };
        let Node::Apply(FloorMod, [x, one, _]) = graph.node(r) else { return None };
        let is_stored = matches!(graph.node(x), Node::Read(_));
        (is_stored && self.is_number(one, 1.0) && self.is_number(b, 0.5)).then_some((x, r))
    }

    /// The input of `spiky`, where that is what is chosen.
    fn stored_cut(&self, [condition, accept, reject]: [Id; 3]) -> Option<Id> {
        let Node::Apply(primitive, operands) = self.function.graph.node(condition) else { return None };
        let (x, r) = self.cut(primitive, operands)?;
        (accept == r && self.is_number(reject, 0.0)).then_some(x)
    }

    /// The let of an input's `spiky`.
    fn spiky(&mut self, x: Id) -> String {
        if let Some(name) = self.cuts.get(&x) {
            return name.clone();
        }
        let name = self.bind(format!("spiky({})", self.of(x)));
        self.cuts.insert(x, name.clone());
        name
    }

    /// The let of a division, which gives both remainder and quotient.
    fn division(&mut self, operands: [Id; 2]) -> String {
        if let Some(name) = self.divisions.get(&operands) {
            return name.clone();
        }
        let [a, b] = operands.map(|id| self.of(id));
        let function = if self.is_narrow(operands) { "f32_floor_mod" } else { "f32_floor_mod_wide" };
        let name = self.bind(format!("{function}({a}, {b})"));
        self.divisions.insert(operands, name.clone());
        name
    }

    /// Whether a division is of numbers of the storage type, and its remainder is rounded to it in any case: then less does.
    fn is_narrow(&self, [a, b]: [Id; 2]) -> bool {
        use Primitive::{FloorMod, RoundToStorage};
        let graph = &self.function.graph;
        let remainder = graph.find(Node::Apply(FloorMod, [a, b, Id::FIRST]));
        let rounds = |node: Node| match node {
            Node::Apply(RoundToStorage, _) => true,
            Node::Apply(primitive, operands) => {
                !operands[..primitive.operands().len()].iter().any(|operand| Some(*operand) == remainder)
            }
            Node::Written(_, value) => Some(value) != remainder,
            _ => true,
        };
        let stored = |id: Id| match graph.node(id) {
            Node::Read(_) => true,
            Node::Number(bits) => {
                let value = f32::from_bits(bits);
                DType::ALL.iter().all(|dtype| dtype.widen(dtype.round(value)).to_bits() == bits)
            }
            _ => false,
        };
        // A remainder that is a gradient may be added to others before it is rounded.
        let is_gradient = remainder.is_some_and(|id| self.function.gradients.contains(&id));
        stored(a)
            && stored(b)
            && !is_gradient
            && graph.nodes().filter(|(id, _)| self.used[id.index()]).all(|(_, node)| rounds(node))
    }

    /// What `floor_mod` passes to its divisor, `g * -floor_quotient(x, y)`: quotients are small integers as a rule, and
    /// products with such are cheaper.
    fn rate(&mut self, g: Id, negated: Id) -> Option<String> {
        let graph = &self.function.graph;
        let Node::Apply(Primitive::Neg, [quotient, ..]) = graph.node(negated) else { return None };
        let Node::Apply(Primitive::FloorQuotient, [a, b, _]) = graph.node(quotient) else { return None };
        let function = match (self.is_narrow([a, b]), graph.node(g)) {
            (true, Node::Read(_)) => "mod_dy",
            (true, _) => return None,
            (false, _) => "mod_dy_wide",
        };
        Some(format!("{function}({}, {})", self.division([a, b]), self.of(g)))
    }
}

/// The longest formula that is shown in full.
const LONGEST_FORMULA: usize = 200;

/// A node in the usual notation.
fn formula(function: &Function, id: Id, inputs: &[String]) -> String {
    let graph = &function.graph;
    let used = graph.used([id]);
    let mut texts: Vec<String> = vec![String::new(); graph.len()];
    for (id, node) in graph.nodes().filter(|(id, _)| used[id.index()]) {
        let text = match node {
            Node::Read(read) => inputs.get(read).map_or(UPSTREAM, |name| name).to_owned(),
            Node::Number(bits) => constant(f32::from_bits(bits)),
            Node::Truth(value) => value.to_string(),
            Node::Written(_, value) => texts[value.index()].clone(),
            Node::Apply(primitive, operands) => notation(primitive, operands.map(|o| &*texts[o.index()])),
        };
        let shortened = if text.len() > LONGEST_FORMULA { "...".to_owned() } else { text };
        texts[id.index()] = shortened;
    }
    let text = std::mem::take(&mut texts[id.index()]);
    // The whole needs no brackets.
    let bare = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    bare.filter(|bare| balanced(bare)).map_or(text.clone(), str::to_owned)
}

/// A number in the shorter of the usual notations.
fn constant(value: f32) -> String {
    let [plain, scientific] = [value.to_string(), format!("{value:e}")];
    if plain.len() <= scientific.len() + 3 { plain } else { scientific }
}

/// Whether each bracket that closes was opened.
fn balanced(text: &str) -> bool {
    let mut depth = 0_usize;
    text.chars().all(|c| {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return false,
            ')' => depth -= 1,
            _ => {}
        }
        true
    })
}

fn notation(primitive: Primitive, [a, b, c]: [&str; 3]) -> String {
    use Primitive::*;
    let infix = |operator: &str| format!("({a} {operator} {b})");
    match primitive {
        Add => infix("+"),
        Sub => infix("-"),
        Mul => infix("*"),
        Div => infix("/"),
        Lt => infix("<"),
        Le => infix("<="),
        Eq => infix("=="),
        And => infix("and"),
        Or => infix("or"),
        Neg => format!("-{a}"),
        Not => format!("not {a}"),
        Select => format!("({b} where {a}, else {c})"),
        _ => {
            let operands = &[a, b, c][..primitive.operands().len()];
            format!("{}({})", primitive.name(), operands.join(", "))
        }
    }
}
