//! Functions whose gradients deliberately stand in for those of their values.

use std::sync::{Arc, LazyLock};

use super::{definition::Definition, graph::Function};
use crate::error::Error;

/// `x`, of which no gradient passes.
pub(super) static STOP_GRADIENT: LazyLock<Arc<Function>> = LazyLock::new(|| {
    function(|| {
        let identity = Definition::new("stop_gradient".into(), vec!["x".into()], |reads| Ok(reads[0]))?;
        identity.with_gradient("x", |_, _, dz| Ok(dz.constant(0.0)))
    })
});

/// `value`, with the gradient as if it were `x`.
pub(super) static STRAIGHT_THROUGH: LazyLock<Arc<Function>> = LazyLock::new(|| {
    function(|| {
        let inputs = ["value", "x"].map(String::from).to_vec();
        let value = Definition::new("straight_through".into(), inputs, |reads| Ok(reads[0]))?;
        let value = value.with_gradient("value", |_, _, dz| Ok(dz.constant(0.0)))?;
        value.with_gradient("x", |_, _, dz| Ok(dz))
    })
});

fn function(define: impl FnOnce() -> Result<Definition, Error>) -> Arc<Function> {
    define().expect("a function of its own inputs").function
}
