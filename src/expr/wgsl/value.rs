//! A value in a function that is being run: a number or a truth value.

use crate::{
    blocks::Type,
    expr::{Condition, Expr},
};

/// A value in a function that is being run: a number or a truth value.
#[derive(Clone, Copy)]
pub(super) enum Value<'g> {
    Number(Expr<'g>),
    Truth(Condition<'g>),
}

use Value::{Number, Truth};

impl Value<'_> {
    pub(super) fn ty(&self) -> Type {
        match self {
            Number(_) => Type::Number,
            Truth(_) => Type::Truth,
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        type_name(self.ty())
    }
}

pub(super) fn type_name(ty: Type) -> &'static str {
    match ty {
        Type::Number => "f32",
        Type::Truth => "bool",
    }
}
