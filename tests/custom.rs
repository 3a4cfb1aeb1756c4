//! Ops of one's own on the CPU: what they compute, their gradients, and the built-in ops of building blocks.

mod common;

use elemgrad::{
    CustomOp, DType, Error, Op, Runner,
    expr::Arithmetic,
    modulo::Mod,
    op::Pass,
    spiky::Spiky,
    verify::{Inputs, verify},
};

fn spiky() -> Result<CustomOp, Error> {
    CustomOp::new("spiky", ["x"], |[x]| {
        let r = x.floor_mod(1.0).round_to_storage();
        r.le(0.5).select(r, 0.0)
    })
}

fn modulo() -> Result<CustomOp, Error> {
    CustomOp::new("mod", ["x", "y"], |[x, y]| x.floor_mod(y))
}

/// An op with the kernels and the CPU path of one and the reference of another.
struct Held<'a>(&'a CustomOp, &'a dyn Op);

impl Op for Held<'_> {
    fn definition(&self) -> &elemgrad::op::Definition {
        self.0.definition()
    }

    fn reference(&self, storage: DType, reads: &[f32], writes: &mut [f32]) {
        let mut all = vec![0.0; self.1.definition().write_count()];
        self.1.reference(storage, reads, &mut all);
        let own = self.0.definition();
        for (w, write) in writes.iter_mut().enumerate() {
            let name = own.write_name(w);
            let other = (0..all.len()).find(|w| self.1.definition().write_name(*w) == name);
            *write = all[other.expect("the output's name")];
        }
    }

    fn cpu(&self, storage: DType, block: elemgrad::op::Block) {
        self.0.cpu(storage, block);
    }
}

#[test]
fn rebuilt_ops_have_the_bits_of_the_built_in() -> Result<(), Error> {
    let ops: [(CustomOp, &dyn Op); 2] = [(spiky()?, &Spiky), (modulo()?, &Mod)];
    for (op, built_in) in &ops {
        for dtype in DType::ALL {
            for op in [op.clone(), op.clone().with_arithmetic(Arithmetic::Exact)?] {
                let held = Held(&op, *built_in);
                let inputs = Inputs::Sample { count: 1 << 18, seed: 40 };
                for runner in [Runner::reference(), Runner::cpu()] {
                    let report = verify(&runner, &held, dtype, &inputs, &Pass::ALL, &mut |_| {
                        std::ops::ControlFlow::Continue(())
                    })?;
                    assert_eq!(report.mismatches, 0, "{}: {:#?}", runner.name(), report.first);
                }
            }
        }
    }
    Ok(())
}

#[test]
#[ignore]
fn on_gpu() -> Result<(), Error> {
    let runner = Runner::open(&elemgrad::Choice::Gpu)?;
    for (op, built_in) in [(spiky()?, &Spiky as &dyn Op), (modulo()?, &Mod)] {
        for arithmetic in [Arithmetic::Native, Arithmetic::Exact] {
            for dtype in DType::ALL {
                let op = op.clone().with_arithmetic(arithmetic)?;
                let held = Held(&op, built_in);
                let inputs = Inputs::Sample { count: 1 << 18, seed: 40 };
                let report = verify(&runner, &held, dtype, &inputs, &Pass::ALL, &mut |_| {
                    std::ops::ControlFlow::Continue(())
                })?;
                println!(
                    "{} {} {} {} {:?}",
                    op.definition().name,
                    arithmetic.name(),
                    dtype.name(),
                    report.mismatches,
                    report.first.first()
                );
            }
        }
    }
    Ok(())
}
