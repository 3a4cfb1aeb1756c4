//! The WGSL of an expression: a let for each node that calls a function in `shaders/`.

use std::{collections::HashMap, sync::LazyLock};

use super::idioms::{AtMost, Idiom, Limits, idiom, is_narrow, unrounded};
use crate::{
    blocks::{Builder, Id, Primitive, Wgsl},
    error::Error,
    expr::{
        Arithmetic,
        definition::Definition,
        graph::{Function, Graph, Node},
        walk::{Algebra, Values},
    },
    shader::{is_long, library},
    signature::{MASK, OutputKind, Parts, Signature, SignatureOutput, Text, UPSTREAM},
};

/// The signature of an op that is an expression, whose function is given without hand-written calls.
pub(crate) fn signature(
    Definition { name, inputs, .. }: &Definition,
    function: &Function,
    arithmetic: Arithmetic,
) -> Result<Signature, Error> {
    check_blocks(name, function, arithmetic)?;
    library::check_names(name, inputs.iter().chain(function.further.iter().map(|(name, _)| name)))?;
    let mut graph = function.graph.clone();
    // Only z is stored as it is. Gradients may first be added to the old values, in f32.
    let z = unrounded(&mut graph, function.z);
    let mask = mask(function);
    let used = graph.used(function.results().skip(1).chain([z]).chain(mask));
    let mut emitter = Emitter::new(function, &graph, &used, arithmetic, inputs);
    let texts = graph.evaluate(&used, &mut emitter);
    let texts = emitter.finish(texts, z);
    let formula = |id: Id| formula(function, id, inputs);
    let output = |name: String, kind, id: Id, text: &str| SignatureOutput {
        name: name.into(),
        kind,
        expression: text.to_owned().into(),
        gated: false,
        formula: formula(id).into(),
    };
    let text = |id: Id| &*texts.of[id.index()];
    let gradient = |(input, id): (&String, &Id)| {
        let name = format!("d{input}");
        match gate(function, *id) {
            Some(gate) if Some(gate) == mask => {
                SignatureOutput { gated: true, ..output(name, OutputKind::Gradient, *id, UPSTREAM) }
            }
            _ => output(name, OutputKind::Gradient, *id, text(*id)),
        }
    };
    let z = output("z".into(), OutputKind::Value, function.z, &texts.z);
    let gradients = inputs.iter().zip(&function.gradients).map(gradient);
    let further =
        function.further.iter().map(|(name, id)| output(name.clone(), OutputKind::Value, *id, text(*id)));
    let mask = mask.map(|id| output(MASK.into(), OutputKind::Mask, id, MASK));
    let outputs = std::iter::once(z).chain(gradients).chain(further).chain(mask).collect();
    Signature::new(Parts {
        name: name.clone().into(),
        inputs: inputs.iter().cloned().map(Into::into).collect(),
        functions: Vec::new(),
        lets: texts.lets,
        outputs,
    })
}

/// Checks that every used block has a form in the arithmetic.
fn check_blocks(op: &str, function: &Function, arithmetic: Arithmetic) -> Result<(), Error> {
    let used = function.graph.used(function.results());
    let inexact = |(id, node): (Id, Node)| match node {
        Node::Apply(primitive, _) if used[id.index()] && !primitive.has_exact_form() => Some(primitive),
        _ => None,
    };
    match function.graph.nodes().find_map(inexact).filter(|_| arithmetic == Arithmetic::Exact) {
        Some(primitive) => Err(Error::Inexact { op: op.to_owned(), block: primitive.name() }),
        None => Ok(()),
    }
}

/// The condition of a gradient that is the upstream gradient where the condition holds, and `+0` elsewhere. The
/// condition depends on the inputs only, so the forward pass has it as well.
fn gate(Function { graph, inputs, .. }: &Function, gradient: Id) -> Option<Id> {
    let Node::Apply(Primitive::Select, [condition, accept, reject]) = graph.node(gradient) else {
        return None;
    };
    let copied = graph.node(accept) == Node::Read(*inputs);
    let of_inputs = || !graph.used([condition])[accept.index()];
    (copied && graph.node(reject) == Node::Number(0) && of_inputs()).then_some(condition)
}

/// The condition that gates gradients, if all gated gradients have the same.
pub(crate) fn mask(function: &Function) -> Option<Id> {
    let mut gates = function.gradients.iter().filter_map(|id| gate(function, *id));
    let first = gates.next()?;
    gates.all(|gate| gate == first).then_some(first)
}

/// The operator of WGSL's that is a block in native arithmetic. A long op has it in place of a call: drivers inline
/// calls, in a time that grows with the square of their number.
fn operator(primitive: Primitive) -> Option<&'static str> {
    match primitive {
        Primitive::Add => Some("+"),
        Primitive::Sub => Some("-"),
        Primitive::Mul => Some("*"),
        _ => None,
    }
}

/// Where `spiky` cuts off. A function of its own gives the value and the mask.
static HALF: LazyLock<Limits> = LazyLock::new(|| Limits::of(Primitive::Le, 0.5));

/// Writes nodes as the lets of a signature. The value of a node is the name of its let.
struct Emitter<'a> {
    function: &'a Function,
    graph: &'a Graph,
    used: &'a [bool],
    arithmetic: Arithmetic,
    inputs: &'a [String],
    mask: Option<Id>,
    is_long: bool,
    /// The prefix of the lets' names. No input or further output has a name with this prefix.
    prefix: String,
    /// The lets that give both remainder and quotient of a division.
    divisions: HashMap<[Id; 2], String>,
    /// The lets that have `spiky` of an input, and its mask.
    cuts: HashMap<Id, String>,
    /// The lets that are 0, by the read that they are made of.
    zeros: HashMap<Id, String>,
    lets: Vec<(Text, Text)>,
}

/// The texts that an emitter has written.
struct Texts {
    of: Values<String>,
    z: String,
    lets: Vec<(Text, Text)>,
}

impl<'a> Emitter<'a> {
    fn new(
        function: &'a Function,
        graph: &'a Graph,
        used: &'a [bool],
        arithmetic: Arithmetic,
        inputs: &'a [String],
    ) -> Self {
        let mut prefix = String::from("v");
        let further = || function.further.iter().map(|(name, _)| name);
        while inputs.iter().chain(further()).any(|name| name.starts_with(&prefix)) {
            prefix.push('v');
        }
        let (divisions, cuts, zeros, lets) = (HashMap::new(), HashMap::new(), HashMap::new(), Vec::new());
        Self {
            function,
            graph,
            used,
            arithmetic,
            inputs,
            mask: mask(function),
            is_long: is_long(used.iter().filter(|used| **used).count()),
            prefix,
            divisions,
            cuts,
            zeros,
            lets,
        }
    }

    /// The written texts. `z` is stored as it is.
    fn finish(mut self, of: Values<String>, z: Id) -> Texts {
        let z = match idiom(self.graph, z) {
            Some(Idiom::Cut { at_most, y, other }) if y == at_most.value && other.to_bits() == 0 => {
                self.spiky(at_most, &of).map(|name| format!("{name}.z"))
            }
            _ => None,
        }
        .unwrap_or_else(|| of[z.index()].clone());
        Texts { of, z, lets: self.lets }
    }

    /// A let for an expression, and its name.
    fn bind(&mut self, expression: String) -> String {
        let name = format!("{}{}", self.prefix, self.lets.len());
        self.lets.push((name.clone().into(), expression.into()));
        name
    }

    /// A block by itself.
    fn block(&self, primitive: Primitive, operands: [&str; 3]) -> String {
        let row = primitive.row();
        let library = match (row.wgsl, self.arithmetic) {
            (Wgsl::Form(form), _) => return form(operands),
            (Wgsl::Integers, _) | (Wgsl::Both, Arithmetic::Exact) => "f32",
            (Wgsl::Both | Wgsl::Native, _) => "native",
        };
        if let Some(sign) = operator(primitive).filter(|_| self.is_long && library == "native") {
            let [a, b, _] = operands;
            return format!("bitcast<u32>(bitcast<f32>({a}) {sign} bitcast<f32>({b}))");
        }
        format!("{library}_{}({})", row.name, operands[..primitive.arity()].join(", "))
    }

    /// A block as part of an idiom. `None` if it is a block by itself.
    fn idiom(&mut self, id: Id, texts: &[String]) -> Option<String> {
        match idiom(self.graph, id)? {
            Idiom::Fraction(x) => Some(format!("f32_fraction({})", texts[x.index()])),
            Idiom::AtMost(at_most) => match self.spiky(at_most, texts) {
                Some(name) => Some(format!("{name}.mask")),
                None => self.at_most(at_most, texts),
            },
            Idiom::Rate { g, x, y } if self.arithmetic == Arithmetic::Exact => {
                let function = match (self.is_narrow([x, y]), self.graph.node(g)) {
                    (true, Node::Read(_)) => "mod_dy",
                    (true, _) => return None,
                    (false, _) => "mod_dy_wide",
                };
                Some(format!("{function}({}, {})", self.division([x, y], texts), texts[g.index()]))
            }
            Idiom::Rate { .. } | Idiom::Cut { .. } => None,
        }
    }

    /// A comparison of a rounded number with a constant, as a comparison of the number itself with another constant.
    fn at_most(&self, AtMost { value, most, rounded, .. }: AtMost, texts: &[String]) -> Option<String> {
        // A device's floats may treat subnormal numbers as zero.
        let fits = |most: &f32| self.arithmetic == Arithmetic::Exact || !most.is_subnormal();
        let most = most.all().filter(|most| rounded && most.iter().all(fits))?;
        let most = most.map(|most| format!("{:#010x}u", most.to_bits())).join(", ");
        Some(self.block(Primitive::Le, [&texts[value.index()], &format!("storage_pick({most})"), ""]))
    }

    /// The let that has `spiky` and its mask. For a number of the storage type, one function gives both.
    fn spiky(&mut self, at_most: AtMost, texts: &[String]) -> Option<String> {
        let x = at_most.fraction_of.filter(|x| matches!(self.graph.node(*x), Node::Read(_)))?;
        if !at_most.rounded || at_most.most != *HALF {
            return None;
        }
        if let Some(name) = self.cuts.get(&x) {
            return Some(name.clone());
        }
        let name = self.bind(format!("spiky({})", texts[x.index()]));
        self.cuts.insert(x, name.clone());
        Some(name)
    }

    /// The let of a division, which gives both remainder and quotient.
    fn division(&mut self, operands: [Id; 2], texts: &[String]) -> String {
        if let Some(name) = self.divisions.get(&operands) {
            return name.clone();
        }
        let [a, b] = operands.map(|id| &*texts[id.index()]);
        let function = if self.is_narrow(operands) { "f32_floor_mod" } else { "f32_floor_mod_wide" };
        let name = self.bind(format!("{function}({a}, {b})"));
        self.divisions.insert(operands, name.clone());
        name
    }

    /// A let that is 0, of an operand of a condition. Compilers do not see that, so a choice between constants stays one.
    fn hidden_zero(&mut self, condition: Id, texts: &[String]) -> String {
        let used = self.graph.used([condition]);
        let mut reads =
            self.graph.nodes().filter(|(id, node)| used[id.index()] && matches!(node, Node::Read(_)));
        let Some((read, _)) = reads.next() else { return "0u".to_owned() };
        if let Some(name) = self.zeros.get(&read) {
            return name.clone();
        }
        let name = self.bind(format!("hidden_zero({})", texts[read.index()]));
        self.zeros.insert(read, name.clone());
        name
    }

    fn is_narrow(&self, operands: [Id; 2]) -> bool {
        is_narrow(self.graph, self.used, self.function, operands)
    }
}

impl Algebra for Emitter<'_> {
    type Value = String;

    fn read(&mut self, read: usize) -> String {
        self.inputs.get(read).map_or(UPSTREAM, |name| name).to_owned()
    }

    fn number(&mut self, value: f32) -> String {
        format!("{:#010x}u", value.to_bits())
    }

    fn truth(&mut self, value: bool) -> String {
        value.to_string()
    }

    fn apply(&mut self, id: Id, primitive: Primitive, operands: [Id; 3], texts: &[String]) -> String {
        let [a, b, c] = operands;
        let expression = self.idiom(id, texts).unwrap_or_else(|| match primitive {
            Primitive::Select if [b, c].iter().all(|id| self.graph.constant(*id).is_some()) => {
                let hidden = format!("{} ^ {}", texts[c.index()], self.hidden_zero(a, texts));
                self.block(primitive, [&texts[a.index()], &texts[b.index()], &hidden])
            }
            Primitive::FloorMod => format!("{}.z", self.division([a, b], texts)),
            Primitive::FloorQuotient if self.is_narrow([a, b]) => {
                format!("mod_q({})", self.division([a, b], texts))
            }
            Primitive::FloorQuotient => format!("f32_floor_quotient({})", self.division([a, b], texts)),
            _ => self.block(primitive, operands.map(|id| &*texts[id.index()])),
        });
        if Some(id) == self.mask {
            self.lets.push((MASK.into(), expression.into()));
            return MASK.into();
        }
        self.bind(expression)
    }
}

/// The longest formula that is shown in full.
const LONGEST_FORMULA: usize = 200;

/// A node in the usual notation.
fn formula(function: &Function, id: Id, inputs: &[String]) -> String {
    let used = function.graph.used([id]);
    let texts = function.graph.evaluate(&used, &mut Formula { inputs });
    let text = &texts[id.index()];
    // The outermost brackets are not needed.
    let bare = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    bare.filter(|bare| balanced(bare)).unwrap_or(text).to_owned()
}

struct Formula<'a> {
    inputs: &'a [String],
}

impl Algebra for Formula<'_> {
    type Value = String;

    fn read(&mut self, read: usize) -> String {
        self.inputs.get(read).map_or(UPSTREAM, |name| name).to_owned()
    }

    /// In the shorter of the usual notations.
    fn number(&mut self, value: f32) -> String {
        let [plain, scientific] = [value.to_string(), format!("{value:e}")];
        if plain.len() <= scientific.len() + 3 { plain } else { scientific }
    }

    fn truth(&mut self, value: bool) -> String {
        value.to_string()
    }

    fn apply(&mut self, _: Id, primitive: Primitive, operands: [Id; 3], texts: &[String]) -> String {
        let text = primitive.row().formula(operands.map(|id| &*texts[id.index()]));
        if text.len() > LONGEST_FORMULA { "...".to_owned() } else { text }
    }
}

/// Whether every closing bracket has an opening one.
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
