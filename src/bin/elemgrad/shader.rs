//! `elemgrad shader`: the WGSL of a kernel, or of an op's functions alone.

use elemgrad::{
    Choice, Runner,
    op::Pass,
    plan::{ELEMENTS_PER_WORKGROUP, Kernel, WORKGROUP_SIZE},
    shader::{self, ENTRY_POINT},
};
use serde_json::json;

use crate::{cli, failure::Failure, print};

pub(crate) fn execute(args: &cli::Shader, device: &Choice) -> Result<(), Failure> {
    let given = args.op.one()?;
    let definition = given.op().definition();
    // The WGSL is the same on every device; one that is asked for must be there.
    if *device != Choice::Auto {
        Runner::open(device)?;
    }
    let pass = args.pass.unwrap_or(Pass::Fused);
    let outputs = definition.outputs(pass);
    if args.functions {
        return print::out(&shader::functions(definition, outputs, args.dtype));
    }
    let kernel = Kernel::contiguous(definition, outputs, args.dtype, args.access);
    let shader = shader::compose(given.op(), &kernel);
    if !args.json {
        return print::out(&shader.source);
    }
    let bindings: Vec<_> = (0..)
        .zip(&shader.bindings)
        .map(|(number, b): (u32, _)| {
            json!({ "group": 0, "binding": number, "name": b.name, "kind": b.kind, "type": b.ty })
        })
        .collect();
    print::json(&json!({
        "dtype": args.dtype.name(),
        "source": shader.source,
        "entry_point": ENTRY_POINT,
        "bindings": bindings,
        "params": shader.params,
        "workgroup_size": [WORKGROUP_SIZE, 1, 1],
        "elements_per_workgroup": ELEMENTS_PER_WORKGROUP,
        "dispatch": shader::dispatch_rule(),
    }))
}
