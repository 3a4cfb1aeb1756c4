//! An op that is an expression.

use std::{cell::RefCell, sync::Arc};

use smallvec::SmallVec;

use super::{
    Arithmetic, Expr, Primitive,
    bounds::Value,
    derive::{derivative, directional, function},
    emit::{definition, mask},
    graph::{Failure, Function, Graph, Id, Node},
    program::Programs,
};
use crate::{
    DType, Error, Op,
    op::{Block, Definition, Enclosure, MAX_INPUTS},
};

/// An op of your own: an expression, the gradients that follow from it or that you write, and all that the built-in ops
/// have.
///
/// ```
/// use elemgrad::{CustomOp, Op, Runner, expr::Arithmetic};
///
/// # fn main() -> Result<(), elemgrad::Error> {
/// let square = CustomOp::new("square", ["x"], |[x]| x * x)?;
/// assert_eq!(Runner::cpu().backward(&square, &[&[3.0]], &[1.0])?, [[6.0]]);
///
/// // A step has no gradient to learn from; a surrogate stands in for it.
/// let step = CustomOp::new("step", ["x"], |[x]| x.gt(0.0).select(1.0, 0.0))?
///     .with_gradient("x", |[x], _, dz| dz / ((x.abs() + 1.0) * (x.abs() + 1.0)))?;
/// assert_eq!(Runner::cpu().fused(&step, &[&[1.0]], &[1.0])?, (vec![1.0], vec![vec![0.25]]));
///
/// // Ops compose into one kernel, with gradients for every input.
/// let both = CustomOp::new("both", ["x", "y"], |[x, y]| step.call([square.call([x]) - y]) * 2.0)?;
/// assert_eq!(Runner::cpu().forward(&both, &[&[3.0], &[8.0]])?, [2.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CustomOp {
    function: Arc<Function>,
    arithmetic: Arithmetic,
    /// For each input, whether its gradient is written.
    written: Vec<bool>,
    definition: Definition,
    /// The nodes of all outputs: `z`, the gradients, and the condition that gates them.
    results: Vec<Id>,
    programs: Programs,
}

impl CustomOp {
    /// An op of inputs of these names.
    ///
    /// # Errors
    /// [`Error::Name`] for names that WGSL or an op cannot have; [`Error::TooLarge`] for more than [`MAX_INPUTS`] inputs or
    /// [`MAX_NODES`](super::MAX_NODES) nodes; [`Error::Arity`] for no inputs, and for calls of ops with another number of
    /// arguments than they have.
    pub fn new<const N: usize>(
        name: impl Into<String>,
        inputs: [&str; N],
        z: impl for<'g> FnOnce([Expr<'g>; N]) -> Expr<'g>,
    ) -> Result<Self, Error> {
        let inputs = inputs.map(str::to_owned);
        Self::build(name.into(), &inputs, |reads| Ok(z(std::array::from_fn(|i| reads[i]))))
    }

    /// An op of inputs whose number is not known beforehand.
    pub(crate) fn build(
        name: String,
        inputs: &[String],
        z: impl for<'g> FnOnce(&[Expr<'g>]) -> Result<Expr<'g>, Error>,
    ) -> Result<Self, Error> {
        let count = inputs.len();
        let graph = RefCell::new(Graph::new(count + 1));
        let z = z(&reads(&graph, count))?.id;
        if count == 0 {
            return Err(Error::Arity { op: name, what: "inputs", got: 0, need: 1 });
        }
        let function = function(graph.into_inner(), count, z);
        Self::of(name, inputs, function, vec![false; count], Arithmetic::Native)
    }

    fn of(
        name: String,
        inputs: &[String],
        function: Function,
        written: Vec<bool>,
        arithmetic: Arithmetic,
    ) -> Result<Self, Error> {
        if inputs.len() > MAX_INPUTS {
            return Err(Error::TooLarge { op: name, what: "inputs", got: inputs.len(), most: MAX_INPUTS });
        }
        function.graph.check(&name)?;
        let definition = definition(name, inputs, &function, arithmetic)?;
        let gradients = function.gradients.iter().copied();
        let results = std::iter::once(function.z).chain(gradients).chain(mask(&function)).collect();
        let (function, programs) = (function.into(), Programs::default());
        Ok(Self { function, arithmetic, written, definition, results, programs })
    }

    /// The same op with a gradient that you write: from the inputs, `z` and the upstream gradient, in which it is linear.
    ///
    /// ```
    /// # use elemgrad::{CustomOp, Runner};
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// // Of rounding to integers as if it were not there: a straight-through estimator.
    /// let quantized = CustomOp::new("quantized", ["x"], |[x]| x.round())?.with_gradient("x", |[_], _, dz| dz)?;
    /// assert_eq!(Runner::cpu().fused(&quantized, &[&[1.7]], &[0.5])?, (vec![2.0], vec![vec![0.5]]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Name`] where no input has the name, and as [`new`](CustomOp::new).
    pub fn with_gradient<const N: usize>(
        self,
        input: &str,
        gradient: impl for<'g> FnOnce([Expr<'g>; N], Expr<'g>, Expr<'g>) -> Expr<'g>,
    ) -> Result<Self, Error> {
        let (got, need) = (N, self.function.inputs);
        if got != need {
            return Err(Error::Arity { op: self.name(), what: "inputs of a gradient", got, need });
        }
        self.with_gradient_of(input, |reads, z, dz| Ok(gradient(std::array::from_fn(|i| reads[i]), z, dz)))
    }

    pub(crate) fn with_gradient_of(
        mut self,
        input: &str,
        gradient: impl for<'g> FnOnce(&[Expr<'g>], Expr<'g>, Expr<'g>) -> Result<Expr<'g>, Error>,
    ) -> Result<Self, Error> {
        let place = self.place(input)?;
        let (name, inputs) = (self.name(), self.inputs());
        let mut function = Arc::unwrap_or_clone(self.function);
        let graph = RefCell::new(function.graph);
        let reads = reads(&graph, function.inputs + 1);
        let (inputs_of, dz) = reads.split_at(function.inputs);
        function.gradients[place] = gradient(inputs_of, Expr::new(&graph, function.z), dz[0])?.id;
        function.graph = graph.into_inner();
        function.written = true;
        function.stand_ins[place] = true;
        self.written[place] = true;
        Self::of(name, &inputs, function, self.written, self.arithmetic)
    }

    /// The same op in an arithmetic; [`Arithmetic::Native`] unless it is told.
    ///
    /// ```
    /// use elemgrad::{CustomOp, Error, expr::Arithmetic};
    ///
    /// # fn main() -> Result<(), Error> {
    /// let ratio = CustomOp::new("ratio", ["x", "y"], |[x, y]| x / y)?.with_arithmetic(Arithmetic::Exact)?;
    /// assert_eq!(ratio.arithmetic(), Arithmetic::Exact);
    /// let wave = CustomOp::new("wave", ["x"], |[x]| x.sin())?.with_arithmetic(Arithmetic::Exact);
    /// assert!(matches!(wave, Err(Error::Inexact { block: "sin", .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Inexact`] for exact arithmetic where the op has a building block without an exact form.
    pub fn with_arithmetic(self, arithmetic: Arithmetic) -> Result<Self, Error> {
        let (name, inputs) = (self.name(), self.inputs());
        Self::of(name, &inputs, Arc::unwrap_or_clone(self.function), self.written, arithmetic)
    }

    /// How devices compute it.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Whether the gradient of an input is written, not derived.
    pub fn is_written(&self, input: &str) -> bool {
        self.definition.inputs.iter().zip(&self.written).any(|(name, written)| name == input && *written)
    }

    /// The op's value in another expression, with its gradients, in the arithmetic of the op that this becomes part of.
    ///
    /// ```
    /// # use elemgrad::{CustomOp, Runner};
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let modulo = CustomOp::new("mod", ["x", "y"], |[x, y]| x.floor_mod(y))?;
    /// let wrapped = CustomOp::new("wrapped", ["x", "y"], |[x, y]| modulo.call([x, y]).spiky() * 2.0)?;
    /// assert_eq!(Runner::cpu().forward(&wrapped, &[&[3.25], &[1.5]])?, [0.5]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn call<'g, const N: usize>(&self, arguments: [Expr<'g>; N]) -> Expr<'g> {
        // Without arguments there is no graph to be part of, and no op is without inputs.
        const { assert!(N > 0) };
        let graph = arguments[0].graph;
        let mut nodes = graph.borrow_mut();
        if N != self.function.inputs {
            nodes.fail(Failure::Arity { op: self.name(), got: N, need: self.function.inputs });
            return arguments[0];
        }
        Expr::new(graph, nodes.inline(&self.function, &arguments.map(|argument| argument.id)))
    }

    /// The gradient with respect to an input as an op, which has gradients again: its inputs are those of this op and the
    /// upstream gradient, named `upstream`, or `upstream_2` where that is taken.
    ///
    /// Of a gradient that is written it is what was written that is differentiated. The `z` in it counts there as the
    /// expression that it is: its derivatives are those of that expression.
    ///
    /// ```
    /// # use elemgrad::{CustomOp, Runner};
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let slope = CustomOp::new("cube", ["x"], |[x]| x * x * x)?.derivative("x")?;
    /// // 3 x^2, and how that changes with x: 6 x.
    /// let inputs: [&[f32]; 2] = [&[2.0], &[1.0]];
    /// assert_eq!(Runner::cpu().forward(&slope, &inputs)?, [12.0]);
    /// assert_eq!(Runner::cpu().backward(&slope, &inputs, &[1.0])?[0], [12.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Name`] where no input has the name; as [`new`](CustomOp::new) where it is too large or has too many inputs.
    pub fn derivative(&self, input: &str) -> Result<Self, Error> {
        let (place, mut inputs) = (self.place(input)?, self.inputs());
        inputs.push(free_name("upstream", &inputs));
        self.related(format!("{}_d_{input}", self.name()), &inputs, derivative(&self.function, place))
    }

    /// The directional derivative as an op: its inputs are those of this op and a tangent for each, named
    /// `tangent_x`.
    ///
    /// A gradient that is written is taken to be linear in the upstream gradient, as a gradient is: then what it gives for
    /// a tangent in the place of that is the tangent's part.
    ///
    /// ```
    /// # use elemgrad::{CustomOp, Runner};
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let along = CustomOp::new("product", ["x", "y"], |[x, y]| x * y)?.jvp()?;
    /// // At (2, 3) along (1, 10): 3 + 20.
    /// assert_eq!(Runner::cpu().forward(&along, &[&[2.0], &[3.0], &[1.0], &[10.0]])?, [23.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`new`](CustomOp::new): with more than four inputs it has too many.
    pub fn jvp(&self) -> Result<Self, Error> {
        let mut inputs = self.inputs();
        for name in self.inputs() {
            inputs.push(free_name(&format!("tangent_{name}"), &inputs));
        }
        self.related(format!("{}_jvp", self.name()), &inputs, directional(&self.function))
    }

    fn related(&self, name: String, inputs: &[String], function: Function) -> Result<Self, Error> {
        let written = vec![false; inputs.len()];
        Self::of(name, inputs, function, written, self.arithmetic)
    }

    /// The graph.
    pub(crate) fn function(&self) -> &Function {
        &self.function
    }

    fn name(&self) -> String {
        self.definition.name.to_string()
    }

    fn inputs(&self) -> Vec<String> {
        self.definition.inputs.iter().map(ToString::to_string).collect()
    }

    /// Which input has a name.
    fn place(&self, input: &str) -> Result<usize, Error> {
        self.definition.inputs.iter().position(|name| name == input).ok_or_else(|| Error::Name {
            op: self.name(),
            got: input.into(),
            need: "the name of an input".into(),
        })
    }

    /// All nodes of one element, in numbers of any kind.
    fn evaluate<T: Copy>(
        &self,
        reads: &[f32],
        known: impl Fn(f32) -> T,
        apply: impl Fn(Primitive, [T; 3]) -> T,
    ) -> SmallVec<[T; 64]> {
        let graph = &self.function.graph;
        let mut values = SmallVec::with_capacity(graph.len());
        for (_, node) in graph.nodes() {
            let value = match node {
                Node::Read(read) => known(reads[read]),
                Node::Number(bits) => known(f32::from_bits(bits)),
                Node::Truth(value) => known(f32::from(value)),
                Node::Apply(primitive, operands) => {
                    apply(primitive, operands.map(|operand| values[operand.index()]))
                }
                Node::Written(_, value) => values[value.index()],
            };
            values.push(value);
        }
        values
    }
}

/// The name, with a number where it is taken, by a gradient too: derivatives have derivatives.
fn free_name(name: &str, taken: &[String]) -> String {
    let numbered = (2..).map(|i| format!("{name}_{i}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let is_free = |name: &String| {
        taken
            .iter()
            .all(|other| other != name && *other != format!("d{name}") && *name != format!("d{other}"))
    };
    names.find(is_free).unwrap_or_default()
}

fn reads(graph: &RefCell<Graph>, count: usize) -> Vec<Expr<'_>> {
    let read = |read| Expr::new(graph, graph.borrow_mut().read(read));
    (0..count).map(read).collect()
}

impl Op for CustomOp {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn reference(&self, storage: DType, reads: &[f32], writes: &mut [f32]) {
        let apply = |primitive: Primitive, operands| primitive.compute(storage, operands);
        let values = self.evaluate(reads, |value| value, apply);
        for (write, result) in writes.iter_mut().zip(&self.results) {
            *write = values[result.index()];
        }
    }

    fn cpu(&self, storage: DType, block: Block) {
        let program = self.programs.of(&self.function.graph, &self.results, storage, block.outputs());
        program.run(storage, block);
    }

    fn is_exact(&self) -> bool {
        self.arithmetic == Arithmetic::Exact
    }

    fn enclose(&self, storage: DType, reads: &[f32], writes: &mut [Enclosure]) {
        let apply =
            |primitive, operands: [Value; 3]| Value::apply(primitive, self.arithmetic, storage, &operands);
        let values = self.evaluate(reads, Value::exact, apply);
        for (write, result) in writes.iter_mut().zip(&self.results) {
            *write = values[result.index()].enclosure;
        }
    }
}
