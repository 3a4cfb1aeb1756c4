//! The signature of an op: the names of its inputs, its outputs, and the WGSL of each. A [`Signature`] is checked
//! when it is made. It then knows what each of its outputs needs.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crate::{
    error::Error,
    wgsl::{LINE_BREAKS, identifiers, is_keyword},
};

pub(crate) mod enclosure;
pub(crate) mod gate;
pub(crate) mod interval;
pub(crate) mod outputs;

use gate::Store;
pub(crate) use outputs::{MAX_INPUTS, MAX_OUTPUTS};
use outputs::{Outputs, Pass, Reads};

/// The name of the upstream gradient, an operand of every op.
pub(crate) const UPSTREAM: &str = "dz";

/// The name of the mask of an op that is an expression.
pub(crate) const MASK: &str = "mask";

/// A text of a signature.
pub(crate) type Text = Cow<'static, str>;

/// The names of an op, its outputs and their WGSL.
///
/// Operands are numbered. Reads are the inputs in order, then the upstream gradient `dz`, then the saved mask if the
/// op has one. Writes are `z`, then the gradient of each input, then the op's further outputs.
///
/// [`Op::new`](crate::Op::new) makes the signature of an expression. For hand-written WGSL, use
/// [`Signature::builder`] and [`Op::raw`](crate::Op::raw). In that WGSL, a value is the bits of an f32 in a `u32`. A
/// 16-bit operand is widened when it is loaded and rounded when it is stored. Clones share their contents.
///
/// ```
/// use elemgrad::{Outputs, ops::modulo};
///
/// let signature = modulo().signature();
/// assert_eq!(signature.inputs(), ["x", "y"]);
/// assert_eq!(signature.read_names().collect::<Vec<_>>(), ["x", "y", "dz"]);
/// let writes: Vec<_> = signature.outputs().iter().map(|output| &*output.name).collect();
/// assert_eq!(writes, ["z", "dx", "dy", "q"]);
/// assert_eq!(signature.alias(1), Some(2), "dx has the bits of dz");
/// assert_eq!(signature.reads_for(Outputs::Z, false), [0, 1]);
/// ```
#[derive(Clone, Debug)]
pub struct Signature(Arc<Checked>);

#[derive(Debug)]
struct Checked {
    parts: Parts,
    mask: Option<usize>,
    needs: Vec<Needs>,
    hash: u64,
}

/// The contents of a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Parts {
    pub(crate) name: Text,
    pub(crate) inputs: Vec<Text>,
    /// WGSL functions that the expressions call.
    pub(crate) functions: Vec<Text>,
    /// Shared work: names and expressions, in order of dependence.
    pub(crate) lets: Vec<(Text, Text)>,
    pub(crate) outputs: Vec<SignatureOutput>,
}

/// One output of an op.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SignatureOutput {
    /// The name: `z`, `dx`.
    pub name: Cow<'static, str>,
    /// The kind of the output.
    pub kind: OutputKind,
    /// The WGSL expression. For a mask, the name of a let, a `bool`.
    pub expression: Cow<'static, str>,
    /// Whether the output is a gradient that passes only where the op's mask is 1. Elsewhere it is `+0`, or an
    /// accumulated gradient keeps its old value. The expression of a gated gradient is the name of a read.
    pub gated: bool,
    /// The formula, as the documentation shows it.
    pub formula: Cow<'static, str>,
}

/// The kind of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputKind {
    /// A number.
    Value,
    /// A gradient, of the shape of its input. It can be accumulated.
    Gradient,
    /// One bit per element: element `i` is bit `i % 32` of word `i / 32`. Given back as an operand of that name, the
    /// mask stands for the let.
    Mask,
}

/// What one output is computed from.
#[derive(Clone, Debug, Default)]
struct Needs {
    reads: Reads,
    /// For each let, whether it is used.
    lets: Vec<bool>,
    /// The read whose bits the output has, everywhere or where its gate is open.
    copied: Option<usize>,
}

impl PartialEq for Signature {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.hash == other.0.hash && self.0.parts == other.0.parts
    }
}

impl Eq for Signature {}

impl Hash for Signature {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl Signature {
    /// Starts a signature for hand-written WGSL, to be given to [`Op::raw`](crate::Op::raw).
    pub fn builder<const N: usize>(name: impl Into<String>, inputs: [&str; N]) -> SignatureBuilder {
        let (name, inputs) = (name.into().into(), inputs.map(|input| input.to_owned().into()).into());
        SignatureBuilder(Parts { name, inputs, ..Parts::default() })
    }

    pub(crate) fn new(parts: Parts) -> Result<Self, Error> {
        check_names(&parts)?;
        check_outputs(&parts)?;
        let mask = parts.outputs.iter().position(|output| output.kind == OutputKind::Mask);
        let needs = needs(&parts, mask);
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        Ok(Self(Arc::new(Checked { parts, mask, needs, hash: hasher.finish() })))
    }

    /// The same with other expressions, and further functions.
    pub(crate) fn edited(&self, edit: impl Fn(&str) -> String, functions: Vec<Text>) -> Result<Self, Error> {
        let mut parts = self.0.parts.clone();
        let expressions = parts.lets.iter_mut().map(|(_, expression)| expression);
        for expression in expressions.chain(parts.outputs.iter_mut().map(|output| &mut output.expression)) {
            *expression = edit(expression).into();
        }
        parts.functions.extend(functions);
        Self::new(parts)
    }

    /// The same with other formulas, one for each output.
    pub(crate) fn with_formulas(&self, formulas: &[&'static str]) -> Result<Self, Error> {
        let mut parts = self.0.parts.clone();
        assert_eq!(formulas.len(), parts.outputs.len(), "a formula for each output");
        for (output, formula) in parts.outputs.iter_mut().zip(formulas) {
            output.formula = (*formula).into();
        }
        Self::new(parts)
    }

    /// The op's name.
    pub fn name(&self) -> &str {
        &self.0.parts.name
    }

    /// The inputs' names.
    pub fn inputs(&self) -> &[Cow<'static, str>] {
        &self.0.parts.inputs
    }

    /// All outputs: `z`, the gradient of each input, and further outputs.
    pub fn outputs(&self) -> &[SignatureOutput] {
        &self.0.parts.outputs
    }

    pub(crate) fn functions(&self) -> &[Text] {
        &self.0.parts.functions
    }

    /// The names of all reads: inputs, then the upstream gradient, then the saved mask if the op has one.
    pub fn read_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.inputs().iter().map(|i| &**i).chain([UPSTREAM]).chain(self.mask_name())
    }

    /// The number of reads.
    pub fn read_count(&self) -> usize {
        self.inputs().len() + 1 + usize::from(self.mask().is_some())
    }

    /// The number of the upstream gradient among the reads.
    pub fn upstream(&self) -> usize {
        self.inputs().len()
    }

    /// The output that is a mask, if there is one. Given back as an operand, it is the last read.
    pub fn mask(&self) -> Option<usize> {
        self.0.mask
    }

    /// Whether read `read` is the saved mask.
    pub(crate) fn is_mask_read(&self, read: usize) -> bool {
        read > self.upstream()
    }

    /// Whether all these outputs are gradients that follow from a saved mask, without the inputs.
    pub fn gated_by_mask(&self, outputs: Outputs) -> bool {
        self.mask().is_some() && outputs.iter().all(|w| self.outputs().get(w).is_some_and(|o| o.gated))
    }

    /// The number of writes.
    pub fn write_count(&self) -> usize {
        self.outputs().len()
    }

    /// The name of a write that the op has.
    pub(crate) fn write_name(&self, write: usize) -> &str {
        &self.outputs()[write].name
    }

    /// The input whose gradient write `write` is, if it is a gradient.
    pub fn gradient_of(&self, write: usize) -> Option<usize> {
        let output = self.outputs().get(write)?;
        if output.kind == OutputKind::Gradient { write.checked_sub(1) } else { None }
    }

    /// The read whose bits write `write` has, everywhere or where its gate is open.
    pub(crate) fn copied(&self, write: usize) -> Option<usize> {
        self.0.needs.get(write)?.copied
    }

    /// The read that write `write` equals bit for bit, if there is one. A caller may use that read instead of the
    /// write.
    pub fn alias(&self, write: usize) -> Option<usize> {
        let output = self.outputs().get(write)?;
        if output.gated { None } else { self.copied(write) }
    }

    /// The name of the mask.
    pub(crate) fn mask_name(&self) -> Option<&str> {
        self.mask().map(|w| &*self.outputs()[w].name)
    }

    /// How write `write` is stored. `accumulate` adds it to the old value.
    pub(crate) fn store(&self, write: usize, accumulate: bool) -> Store {
        Store::new(self.mask().filter(|_| self.outputs()[write].gated), accumulate)
    }

    /// The numbers of the reads that a set of outputs needs. There is always at least one, since even a constant
    /// output has a length. With `from_mask`, the mask is read instead of computed.
    pub fn reads_for(&self, outputs: Outputs, from_mask: bool) -> Vec<usize> {
        self.reads(outputs, from_mask).iter().collect()
    }

    /// [`reads_for`](Signature::reads_for) as a set.
    pub(crate) fn reads(&self, outputs: Outputs, from_mask: bool) -> Reads {
        let of = |w: usize| match self.0.needs.get(w) {
            // Each output is gated: a copy, or nothing.
            Some(needs) if from_mask => {
                needs.copied.map_or(Reads::default(), Reads::of).union(Reads::of(self.upstream() + 1))
            }
            Some(needs) => needs.reads,
            None => Reads::default(),
        };
        let reads = outputs.iter().map(of).fold(Reads::default(), Reads::union);
        let has_gradients = || outputs.iter().any(|w| self.gradient_of(w).is_some());
        if reads.is_empty() { Reads::of(if has_gradients() { self.upstream() } else { 0 }) } else { reads }
    }

    /// The lets that a set of outputs needs, name and expression. With `from_mask` there are none.
    pub(crate) fn lets(&self, outputs: Outputs, from_mask: bool) -> impl Iterator<Item = (&str, &str)> {
        let used = move |i: usize| {
            !from_mask && outputs.iter().any(|w| self.0.needs.get(w).is_some_and(|needs| needs.lets[i]))
        };
        let lets = self.0.parts.lets.iter().enumerate().filter(move |(i, _)| used(*i));
        lets.map(|(_, (name, expression))| (&**name, &**expression))
    }

    /// All WGSL expressions.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &str> {
        let lets = self.0.parts.lets.iter().map(|(_, expression)| &**expression);
        lets.chain(self.outputs().iter().map(|output| &*output.expression))
    }

    /// All outputs that a pass can write. Forward: every output that is not a gradient. Backward: every gradient,
    /// aliases included. Fused: both.
    pub fn all_outputs(&self, pass: Pass) -> Outputs {
        let wanted = |o: &SignatureOutput| match pass {
            Pass::Forward => o.kind != OutputKind::Gradient,
            Pass::Backward => o.kind == OutputKind::Gradient,
            Pass::Fused => true,
        };
        Outputs::present(self.outputs().iter().map(wanted))
    }

    /// The outputs that a pass writes by default. Forward: `z`. Backward: the gradients that are not aliases, or all
    /// gradients if all are aliases. Fused: `z` and the gradients that are not aliases.
    pub fn default_outputs(&self, pass: Pass) -> Outputs {
        let wanted = |w| self.gradient_of(w).is_some() && self.alias(w).is_none();
        let gradients = Outputs::present((0..self.write_count()).map(wanted));
        match pass {
            Pass::Forward => Outputs::Z,
            Pass::Backward if gradients.is_empty() => self.all_outputs(pass),
            Pass::Backward => gradients,
            Pass::Fused => Outputs::Z | gradients,
        }
    }

    /// The pass that computes a set of outputs.
    pub fn pass_of(&self, outputs: Outputs) -> Pass {
        let gradients = outputs & self.all_outputs(Pass::Backward);
        match (gradients.is_empty(), gradients == outputs) {
            (true, _) => Pass::Forward,
            (_, true) => Pass::Backward,
            _ => Pass::Fused,
        }
    }

    /// Checks that the op has these outputs, and that there is at least one.
    pub(crate) fn check(&self, outputs: Outputs) -> Result<(), Error> {
        let op = || self.name().to_owned();
        let last = outputs.iter().last().ok_or_else(|| Error::NothingWanted { op: op() })?;
        // The set may stand for a write that no op has.
        let (got, need) = (last.min(MAX_OUTPUTS) + 1, self.write_count());
        if got > need {
            return Err(Error::Arity { op: op(), what: "outputs", got, need });
        }
        Ok(())
    }
}

/// Builds a [`Signature`] for hand-written WGSL, part by part.
///
/// ```
/// use elemgrad::{Op, Runner, signature::Signature};
///
/// # fn main() -> Result<(), elemgrad::Error> {
/// // |x|. Its gradient is dz with the sign of x.
/// let signature = Signature::builder("abs", ["x"])
///     .bind("sign", "x & 0x80000000u")
///     .z("x ^ sign", "|x|")
///     .gradient("x", "dz ^ sign", "dz where x >= 0, else -dz")
///     .build()?;
/// let abs = Op::raw(signature, |_, reads, writes| {
///     let sign = reads[0].to_bits() & 0x8000_0000;
///     writes[0] = reads[0].abs();
///     writes[1] = f32::from_bits(reads[1].to_bits() ^ sign);
/// })?;
/// let (z, gradients) = Runner::auto().fused(&abs, &[&[-2.0, 3.0]], &[1.0, 1.0])?;
/// assert_eq!((z, &gradients[0]), (vec![2.0, 3.0], &vec![-1.0, 1.0]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SignatureBuilder(Parts);

impl SignatureBuilder {
    /// Adds a WGSL function that the expressions call. It may also call the functions in `shaders/`, and
    /// `storage_widen` and `storage_round` of the call's storage type.
    #[must_use]
    pub fn function(mut self, wgsl: impl Into<String>) -> Self {
        self.0.functions.push(wgsl.into().into());
        self
    }

    /// Names shared work, an expression of reads and of earlier names. It is computed if a wanted output uses it.
    #[must_use]
    pub fn bind(mut self, name: impl Into<String>, expression: impl Into<String>) -> Self {
        self.0.lets.push((name.into().into(), expression.into().into()));
        self
    }

    /// Adds the output `z`, which comes first.
    #[must_use]
    pub fn z(self, expression: impl Into<String>, formula: impl Into<String>) -> Self {
        self.output("z".into(), OutputKind::Value, expression.into(), formula.into())
    }

    /// Adds the gradient of an input. Gradients follow `z`, in the order of the inputs.
    #[must_use]
    pub fn gradient(self, input: &str, expression: impl Into<String>, formula: impl Into<String>) -> Self {
        self.output(format!("d{input}"), OutputKind::Gradient, expression.into(), formula.into())
    }

    /// Adds a gradient that is `dz` where the op's mask is 1, and `+0` elsewhere.
    #[must_use]
    pub fn gated_gradient(self, input: &str, formula: impl Into<String>) -> Self {
        let mut builder = self.gradient(input, UPSTREAM, formula);
        builder.0.outputs.last_mut().into_iter().for_each(|output| output.gated = true);
        builder
    }

    /// Adds a further output that is a number.
    #[must_use]
    pub fn value(
        self,
        name: impl Into<String>,
        expression: impl Into<String>,
        formula: impl Into<String>,
    ) -> Self {
        self.output(name.into(), OutputKind::Value, expression.into(), formula.into())
    }

    /// Adds the mask that gates gradients: the bound name `name`, a `bool`, stored as bits.
    #[must_use]
    pub fn mask(self, name: impl Into<String>, formula: impl Into<String>) -> Self {
        let name = name.into();
        self.output(name.clone(), OutputKind::Mask, name, formula.into())
    }

    /// Makes the signature.
    ///
    /// # Errors
    /// - [`Error::Name`]: the op or an operand cannot have a name.
    /// - [`Error::TooLarge`]: there are more inputs or outputs than an op can have.
    /// - [`Error::Arity`]: there are no inputs.
    /// - [`Error::Signature`]: the outputs do not fit together.
    pub fn build(self) -> Result<Signature, Error> {
        Signature::new(self.0)
    }

    fn output(mut self, name: String, kind: OutputKind, expression: String, formula: String) -> Self {
        self.0.outputs.push(SignatureOutput {
            name: name.into(),
            kind,
            expression: expression.into(),
            gated: false,
            formula: formula.into(),
        });
        self
    }
}

/// Checks the names of the op, its inputs and its outputs.
fn check_names(parts: &Parts) -> Result<(), Error> {
    let error = |got: &str, need: &str| {
        Err(Error::Name { op: parts.name.to_string(), got: got.to_owned(), need: need.to_owned() })
    };
    if parts.name.is_empty() || parts.name.contains(|c: char| c.is_control() || LINE_BREAKS.contains(&c)) {
        return error(&parts.name, "one line of text that is not empty");
    }
    let outputs = parts.outputs.iter();
    let further = outputs.clone().filter(|output| output.kind != OutputKind::Gradient).skip(1);
    // A mask has the name of its let by design. That counts once.
    let masks = outputs.filter(|output| output.kind == OutputKind::Mask);
    let of_masks: Vec<_> =
        masks.map(|mask| parts.lets.iter().position(|(name, _)| mask.name == **name)).collect();
    let lets =
        (0..).zip(&parts.lets).filter(|(i, _)| !of_masks.contains(&Some(*i))).map(|(_, (name, _))| name);
    let names: Vec<&str> = [UPSTREAM, "z"]
        .into_iter()
        .chain(parts.inputs.iter().chain(further.map(|output| &output.name)).chain(lets).map(|name| &**name))
        .collect();
    let mut earlier: HashSet<&str> = names[..2].iter().copied().collect();
    for (i, &name) in names.iter().enumerate().skip(2) {
        let letters = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.contains("__");
        if !letters {
            return error(name, "a letter, then letters, digits and single underscores");
        }
        let is_input = i < 2 + parts.inputs.len();
        if !earlier.insert(name)
            || is_input && name == MASK
            || parts.inputs.iter().any(|input| format!("d{input}") == name)
        {
            return error(name, "free: another operand has it");
        }
        if is_keyword(name) || RESERVED.contains(&name) {
            return error(name, "free: it means something in WGSL or in the shaders");
        }
        if OURS.iter().any(|prefix| name.starts_with(prefix)) {
            return error(name, "free: it means something in WGSL or in the shaders");
        }
    }
    let places = places(&parts.lets);
    for (i, (_, expression)) in parts.lets.iter().enumerate() {
        let unbound = |name: &&str| places.get(name).is_some_and(|place| *place >= i);
        if let Some(name) = identifiers(expression).find(unbound) {
            return error(name, "not used before it is bound");
        }
    }
    // The gradient is a member of a struct, so its name must not be a keyword.
    match parts.inputs.iter().find(|input| is_keyword(&format!("d{input}"))) {
        Some(input) => error(input, &format!("free: its gradient's name, d{input}, is a word of WGSL's")),
        None => Ok(()),
    }
}

/// The names in the function of one element besides the op's own.
const RESERVED: [&str; 8] = ["u32", "f32", "i32", "bool", "select", "bitcast", "Outputs", "sums"];

/// The prefixes of names in the shaders.
const OURS: [&str; 6] = ["storage_", "f32_", "native_", "old_", "load_", "store_"];

/// Checks that the outputs are `z`, a gradient for each input, in order, and at most one mask, the one that gates.
fn check_outputs(parts: &Parts) -> Result<(), Error> {
    let op = || parts.name.to_string();
    let (inputs, outputs) = (parts.inputs.len(), parts.outputs.len());
    if inputs == 0 {
        return Err(Error::Arity { op: op(), what: "inputs", got: 0, need: 1 });
    }
    for (what, got, most) in [("inputs", inputs, MAX_INPUTS), ("outputs", outputs, MAX_OUTPUTS)] {
        if got > most {
            return Err(Error::TooLarge { op: op(), what, got, most });
        }
    }
    let wrong = |argument: &str, message: &str| {
        Err(Error::Signature { op: op(), argument: argument.to_owned(), message: message.to_owned() })
    };
    let first = parts.outputs.first().map(|output| (&*output.name, output.kind));
    if first != Some(("z", OutputKind::Value)) {
        return wrong("z", "is missing: it is the first output");
    }
    for (i, input) in parts.inputs.iter().enumerate() {
        let name = format!("d{input}");
        if parts.outputs.get(i + 1).map(|o| (&*o.name, o.kind)) != Some((&*name, OutputKind::Gradient)) {
            return wrong(
                &name,
                &format!("is not output {}: gradients follow z in the order of the inputs", i + 1),
            );
        }
    }
    let further = &parts.outputs[1 + inputs..];
    if let Some(output) = further.iter().find(|output| output.kind == OutputKind::Gradient) {
        return wrong(&output.name, "is a second gradient, or that of no input");
    }
    let masks: Vec<_> = further.iter().filter(|output| output.kind == OutputKind::Mask).collect();
    if let [_, second, ..] = masks[..] {
        return wrong(&second.name, "is a second mask: an op has at most one");
    }
    let lets = |name: &str| parts.lets.iter().any(|(other, _)| other == name);
    if let Some(mask) = masks.iter().find(|mask| mask.expression != mask.name || !lets(&mask.name)) {
        return wrong(&mask.name, "is a mask without its let: bind that name first");
    }
    let reads: Vec<&str> = parts.inputs.iter().map(|input| &**input).chain([UPSTREAM]).collect();
    for output in parts.outputs.iter().filter(|output| output.gated) {
        if masks.is_empty() {
            return wrong(&output.name, "is gated, and there is no mask: add the output that is the mask");
        }
        if output.kind != OutputKind::Gradient || !reads.contains(&&*output.expression) {
            return wrong(&output.name, "is gated, and is no gradient that copies a read");
        }
    }
    Ok(())
}

/// The place of each let.
fn places(lets: &[(Text, Text)]) -> HashMap<&str, usize> {
    lets.iter().enumerate().map(|(i, (name, _))| (&**name, i)).collect()
}

/// What each output is computed from. Every call asks for it, so the texts are read once, here.
fn needs(parts: &Parts, mask: Option<usize>) -> Vec<Needs> {
    let read = |name: &str| {
        if name == UPSTREAM {
            return Some(parts.inputs.len());
        }
        parts.inputs.iter().position(|input| input == name)
    };
    let places = places(&parts.lets);
    let uses = |expression: &str, needs: &mut Needs| {
        for name in identifiers(expression) {
            if let Some(place) = places.get(name) {
                needs.lets[*place] = true;
            } else if let Some(read) = read(name) {
                needs.reads = needs.reads.union(Reads::of(read));
            }
        }
    };
    let of = |output: &SignatureOutput| {
        let mut needs = Needs { lets: vec![false; parts.lets.len()], ..Needs::default() };
        needs.copied = read(&output.expression);
        uses(&output.expression, &mut needs);
        if let Some(mask) = mask.filter(|_| output.gated) {
            uses(&parts.outputs[mask].expression, &mut needs);
        }
        for (place, (_, expression)) in parts.lets.iter().enumerate().rev() {
            if needs.lets[place] {
                uses(expression, &mut needs);
            }
        }
        needs
    };
    parts.outputs.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message for a wrong signature.
    fn error(builder: SignatureBuilder) -> String {
        builder.build().expect_err("no op can have it").to_string()
    }

    fn two() -> SignatureBuilder {
        Signature::builder("two", ["x", "y"])
    }

    #[test]
    fn outputs_that_do_not_fit_are_refused() {
        let wrong = "two: the output dx is not output 1: gradients follow z in the order of the inputs";
        assert_eq!(error(two().z("x", "").gradient("y", "dz", "").gradient("x", "dz", "")), wrong);
        assert_eq!(error(two().z("x", "")), wrong);
        let all = || two().z("x", "").gradient("x", "dz", "").gradient("y", "dz", "");
        assert!(all().build().is_ok());
        assert!(error(two().gradient("x", "dz", "")).contains("z is missing"));
        assert!(error(all().gradient("x", "dz", "")).contains("second gradient"));
        let gated = two().z("x", "").gated_gradient("x", "").gradient("y", "dz", "");
        assert!(error(gated.clone()).contains("there is no mask"));
        assert!(error(gated.clone().mask("kept", "")).contains("mask without its let"));
        assert!(gated.clone().bind("kept", "x > y").mask("kept", "").build().is_ok());
        let masks = gated.bind("kept", "x > y").bind("other", "x < y").mask("kept", "");
        assert!(error(masks.mask("other", "")).contains("second mask"));
    }

    #[test]
    fn names_that_are_taken_are_refused() {
        let all = |builder: SignatureBuilder| builder.z("x", "").gradient("x", "dz", "");
        for name in ["", "two\nlines", "\u{2028}"] {
            assert!(error(all(Signature::builder(name, ["x"]))).contains("one line"), "{name:?}");
        }
        let twice = Signature::builder("op", ["x", "x"]);
        assert!(error(all(twice).gradient("x", "dz", "")).contains("another operand has it"));
        for name in ["z", "dz", "dx", "x"] {
            let value = all(Signature::builder("op", ["x"])).value(name, "x", "");
            assert!(error(value).contains("another operand has it"), "{name}");
            assert!(
                error(all(Signature::builder("op", ["x"])).bind(name, "x")).contains("another"),
                "{name}"
            );
        }
        // The mask has the name of one let. A let can use those before it.
        let gated = Signature::builder("op", ["x"]).bind("kept", "x > 1u");
        let twice = gated.bind("kept", "x > 2u").z("x", "").gated_gradient("x", "").mask("kept", "");
        assert!(error(twice).contains("another operand has it"));
        for expression in ["later + 1u", "early + 1u"] {
            let early = Signature::builder("op", ["x"]).bind("early", expression).bind("later", "x");
            assert!(error(all(early)).contains("not used before it is bound"), "{expression}");
        }
        for name in ["fn", "f32_add", "select", "1x", "a__b", ""] {
            let value = all(Signature::builder("op", ["x"])).value(name, "x", "");
            assert!(error(value).starts_with("op: the name"), "{name}");
        }
    }

    /// Writes that an op lacks are refused by a call, and are harmless elsewhere.
    #[test]
    fn writes_that_are_nobodys() -> Result<(), Error> {
        let signature = two().z("x", "").gradient("x", "dz", "").gradient("y", "dz", "").build()?;
        for outputs in [Outputs::of(3), Outputs::of(16), Outputs::of(usize::MAX), Outputs::gradient(8)] {
            assert!(!outputs.is_empty(), "{outputs:?}");
            assert!(matches!(signature.check(outputs), Err(Error::Arity { need: 3, .. })), "{outputs:?}");
            assert_eq!(signature.reads_for(outputs, false).len(), 1);
            assert_eq!(signature.lets(outputs, false).count(), 0);
            assert!(signature.traffic(outputs, crate::DType::F32, &[&[4], &[4]]).is_err());
        }
        assert_eq!((signature.alias(9), signature.gradient_of(9), signature.copied(9)), (None, None, None));
        Ok(())
    }

    /// What an output needs follows from the lets, and from the mask if the output is gated.
    #[test]
    fn outputs_know_what_they_need() -> Result<(), Error> {
        let signature = Signature::builder("op", ["x", "y"])
            .bind("a", "x + 1u")
            .bind("b", "a * y.z")
            .bind("kept", "x > 2u")
            .z("b", "")
            .gated_gradient("x", "")
            .gradient("y", "a", "")
            .mask("kept", "")
            .build()?;
        let of = |w: usize| signature.reads_for(Outputs::of(w), false);
        assert_eq!([of(0), of(1), of(2), of(3)], [vec![0, 1], vec![0, 2], vec![0], vec![0]]);
        let lets = |w: usize| signature.lets(Outputs::of(w), false).map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!([lets(0), lets(1), lets(2)], [vec!["a", "b"], vec!["kept"], vec!["a"]]);
        assert_eq!(
            signature.reads_for(Outputs::gradient(0), true),
            [2, 3],
            "the upstream gradient and the mask"
        );
        Ok(())
    }
}
