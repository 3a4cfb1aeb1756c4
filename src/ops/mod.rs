//! The ready-made ops: [`spiky`](mod@spiky), [`mod`](mod@modulo) and the [`activations`].
//!
//! Each has a function that returns the op. `spiky` and `mod` also have a module of the same name with the arguments of
//! their calls.
//!
//! ```
//! use elemgrad::{Runner, ops};
//!
//! # fn main() -> Result<(), elemgrad::Error> {
//! assert_eq!(Runner::cpu().forward(ops::spiky(), &[&[0.2, 0.7, 1.2]])?, [0.2, 0.0, 0.20000005]);
//! assert_eq!(ops::find("mod"), Some(ops::modulo()));
//! # Ok(())
//! # }
//! ```

use std::sync::LazyLock;

use crate::op::Op;

/// An argument struct of a ready-made op: a field for each operand, by name.
///
/// Every read and every required output has a type parameter of its own, so slices, arrays and vectors mix. Optional
/// outputs share one: `None` has no type of its own and takes that of the others.
macro_rules! arguments {
    (
        $(#[$meta:meta])*
        $name:ident<$($of_reads:ident),*; $($of_writes:ident),*> of $op:expr,
        reads { $($(#[$read_meta:meta])* $read:ident: $read_type:ident = $r:expr),* $(,)? }
        writes { $($(#[$write_meta:meta])* $write:ident: $write_type:ident = $w:expr),* $(,)? }
        optional { $($(#[$optional_meta:meta])* $optional:ident: $optional_type:ident = $o:expr),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<$($of_reads,)* $($of_writes),*> {
            $($(#[$read_meta])* pub $read: $read_type,)*
            $($(#[$write_meta])* pub $write: $write_type,)*
            $($(#[$optional_meta])* pub $optional: Option<$optional_type>,)*
        }

        impl<Read, Write, $($of_reads: Into<Read>,)* $($of_writes: Into<Write>),*> IntoArgs<'static, Read, Write>
            for $name<$($of_reads,)* $($of_writes),*>
        {
            fn into_args(self) -> Args<'static, Read, Write> {
                let op: &'static Op = $op;
                let mut args = Args::none(op);
                $(args.reads[$r] = Some(self.$read.into());)*
                $(args.writes[$w] = Some(self.$write.into());)*
                $(args.writes[$o] = self.$optional.map(Into::into);)*
                args
            }
        }
    };
}

pub mod activations;
pub mod modulo;
pub mod spiky;

#[doc(inline)]
pub use activations::{
    celu, elu, geglu, gelu, gelu_tanh, hard_sigmoid, hard_swish, hard_tanh, heaviside_atan, heaviside_boxcar,
    heaviside_fast_sigmoid, heaviside_super_spike, leaky_relu, log_sigmoid, mish, prelu, quick_gelu, relu,
    relu6, selu, sigmoid, silu, sinusoid, snake, softplus, softsign, swiglu, tanh_shrink, threshold,
};
#[doc(inline)]
pub use modulo::op as modulo;
#[doc(inline)]
pub use spiky::op as spiky;

/// `spiky` and `mod`, which have loops and kernels of their own and the same bits everywhere. The command, the benches
/// and the tests take these if no op is named.
pub fn mods() -> &'static [&'static Op] {
    static MODS: LazyLock<[&Op; 2]> = LazyLock::new(|| [spiky(), modulo()]);
    &*MODS
}

/// All ready-made ops.
pub fn all() -> impl Iterator<Item = &'static Op> {
    mods().iter().chain(activations::all()).copied()
}

/// The ready-made op with that name (`mod`, not `modulo`).
pub fn find(name: &str) -> Option<&'static Op> {
    all().find(|op| op.name() == name)
}
