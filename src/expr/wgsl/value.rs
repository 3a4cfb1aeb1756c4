//! What a number or a truth value is while a function is run.

use crate::{
    blocks::Type,
    expr::{Condition, Expr},
};

/// What a number or a truth value is while a function is run.
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
