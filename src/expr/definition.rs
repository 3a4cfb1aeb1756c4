//! The names and the expression that make up an op.

use std::{cell::RefCell, sync::Arc};

use super::{
    Expr,
    derive::{derivative, directional, function},
    graph::{Function, Graph},
};
use crate::error::Error;

/// The name of an op, the names of its inputs, and its expression.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) function: Arc<Function>,
}

impl Definition {
    /// An expression of these inputs, with derived gradients.
    pub(crate) fn new(
        name: String,
        inputs: Vec<String>,
        z: impl for<'g> FnOnce(&[Expr<'g>]) -> Result<Expr<'g>, Error>,
    ) -> Result<Self, Error> {
        let count = inputs.len();
        let graph = RefCell::new(Graph::new(count + 1));
        let z = z(&reads(&graph, count))?.id;
        let function = function(graph.into_inner(), count, z).into();
        Ok(Self { name, inputs, function })
    }

    /// The same with a hand-written gradient, a function of the inputs, `z` and the upstream gradient.
    pub(crate) fn with_gradient(
        self,
        input: &str,
        gradient: impl for<'g> FnOnce(&[Expr<'g>], Expr<'g>, Expr<'g>) -> Result<Expr<'g>, Error>,
    ) -> Result<Self, Error> {
        let place = self.place(input)?;
        self.changed(|graph, function| {
            let reads = reads(graph, function.inputs + 1);
            let (inputs, dz) = reads.split_at(function.inputs);
            function.gradients[place] = gradient(inputs, Expr::new(graph, function.z), dz[0])?.id;
            function.written[place] = true;
            function.stand_ins[place] = true;
            Ok(())
        })
    }

    /// The same with a further result, a function of the inputs and `z`.
    pub(crate) fn with_output(
        self,
        name: String,
        output: impl for<'g> FnOnce(&[Expr<'g>], Expr<'g>) -> Result<Expr<'g>, Error>,
    ) -> Result<Self, Error> {
        self.changed(|graph, function| {
            let reads = reads(graph, function.inputs);
            function.further.push((name, output(&reads, Expr::new(graph, function.z))?.id));
            Ok(())
        })
    }

    fn changed(
        self,
        change: impl FnOnce(&RefCell<Graph>, &mut Function) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut function = Arc::unwrap_or_clone(self.function);
        let graph = RefCell::new(std::mem::take(&mut function.graph));
        change(&graph, &mut function)?;
        function.graph = graph.into_inner();
        Ok(Self { function: function.into(), ..self })
    }

    /// The gradient of `function`, which is what this definition means, with respect to an input. Its inputs are those
    /// of this definition and the upstream gradient.
    pub(crate) fn derivative(&self, function: &Function, input: &str) -> Result<Self, Error> {
        let function = derivative(function, self.place(input)?).into();
        let mut inputs = self.inputs.clone();
        inputs.push(free_name("upstream", &inputs));
        Ok(Self { name: format!("{}_d_{input}", self.name), inputs, function })
    }

    /// The directional derivative of `function`, which is what this definition means. Its inputs are those of this
    /// definition and one tangent for each.
    pub(crate) fn directional(&self, function: &Arc<Function>) -> Self {
        let mut inputs = self.inputs.clone();
        for name in &self.inputs {
            inputs.push(free_name(&format!("tangent_{name}"), &inputs));
        }
        Self { name: format!("{}_jvp", self.name), inputs, function: directional(function).into() }
    }

    /// The index of the input with a name.
    fn place(&self, input: &str) -> Result<usize, Error> {
        self.inputs.iter().position(|name| name == input).ok_or_else(|| Error::Name {
            op: self.name.clone(),
            got: input.into(),
            need: "the name of an input".into(),
        })
    }
}

/// The name, numbered if an input or a gradient already has it, since derivatives have derivatives.
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
