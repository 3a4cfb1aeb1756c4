//! The WGSL front end.

use elemgrad::{CustomOp, Error, Op, Runner};

#[test]
fn probe() {
    for text in std::env::var("PROBE").unwrap_or_default().split("@@") {
        match CustomOp::from_wgsl("probe", text) {
            Ok(op) => println!(
                "OK {:?}\n{:?}",
                op.definition().lets,
                op.definition().outputs.iter().map(|o| &o.formula).collect::<Vec<_>>()
            ),
            Err(e) => println!("ERR {e}"),
        }
    }
    for text in std::env::var("EXPR").unwrap_or_default().split("@@") {
        match CustomOp::from_expression("probe", text) {
            Ok(op) => println!(
                "OK {:?}\n{:?}",
                op.definition().lets,
                op.definition().outputs.iter().map(|o| &o.formula).collect::<Vec<_>>()
            ),
            Err(e) => println!("ERR {e}"),
        }
    }
}
