//! `spiky` with a surrogate gradient, and the triangle: two ops written by hand.

use std::borrow::Cow;

use elemgrad::{
    DType, Op,
    op::{Definition, OutputDefinition},
    spiky::Spiky,
};

/// A variant of `spiky` with the gradient of the triangle.
pub(crate) struct Variant {
    definition: Definition,
    /// Whether `z` falls where that of `spiky` is 0.
    falls: bool,
}

impl Variant {
    /// `spiky`, with the gradient of the triangle in place of its own.
    pub(crate) fn surrogate() -> Self {
        Self::new("surrogate", OutputDefinition::z("s.z", "r where r = x mod 1 <= 0.5, else 0"), false)
    }

    /// `r` where `r = x mod 1 <= 0.5`, else `1 - r`, which is `-x mod 1`.
    pub(crate) fn triangle() -> Self {
        let z = "select(spiky(x ^ F32_SIGN).z, s.z, s.mask)";
        Self::new("triangle", OutputDefinition::z(z, "r where r = x mod 1 <= 0.5, else 1 - r"), true)
    }

    fn new(name: &'static str, z: OutputDefinition, falls: bool) -> Self {
        let dx = "select(dz ^ F32_SIGN, dz, s.mask)";
        let definition = Definition {
            name: name.into(),
            inputs: vec!["x".into()],
            functions: [
                include_str!("../../shaders/numeric/f32.wgsl"),
                include_str!("../../shaders/ops/spiky.wgsl"),
            ]
            .map(Cow::Borrowed)
            .into(),
            lets: vec![("s".into(), "spiky(x)".into())],
            outputs: vec![z, OutputDefinition::gradient("x", dx, "dz where r <= 0.5, else -dz")],
        };
        Self { definition, falls }
    }
}

impl Op for Variant {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn reference(&self, storage: DType, reads: &[f32], writes: &mut [f32]) {
        let [x, dz] = [reads[0], reads[1]];
        let spiky = |x| {
            let mut writes = [0.0; 3];
            Spiky.reference(storage, &[x, dz], &mut writes);
            let [z, _, mask] = writes;
            (z, mask == 1.0)
        };
        let (z, rises) = spiky(x);
        writes[0] = if self.falls && !rises { spiky(-x).0 } else { z };
        writes[1] = if rises { dz } else { -dz };
    }
}
