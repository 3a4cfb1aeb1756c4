//! `elemgrad shader`: the WGSL of a kernel, or of an op's functions alone.

use elemgrad::{Choice, Pass, Runner, shader::Shader};
use serde_json::json;

use crate::{cli, failure::Failure, print};

pub(crate) fn execute(args: &cli::Shader, device: &Choice) -> Result<(), Failure> {
    let given = args.op.one()?;
    let signature = given.op().signature();
    // The WGSL is the same on every device, but a device that the user names must exist.
    if *device != Choice::Auto {
        Runner::open(device)?;
    }
    let pass = args.pass.unwrap_or(Pass::Fused);
    let outputs = signature.default_outputs(pass);
    if args.functions {
        return print::out(&Shader::functions(signature, outputs, args.dtype)?);
    }
    let shader = Shader::new(signature, outputs, args.dtype, args.access)?;
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
        "entry_point": Shader::ENTRY_POINT,
        "bindings": bindings,
        "params": shader.params,
        "workgroup_size": [Shader::WORKGROUP_SIZE, 1, 1],
        "elements_per_workgroup": Shader::ELEMENTS_PER_WORKGROUP,
        "dispatch": Shader::dispatch_rule(),
    }))
}
