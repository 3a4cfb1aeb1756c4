//! `elemgrad info`: the available devices, and how they compute with floating point.

use std::fmt::Write as _;

use elemgrad::{
    Choice, Error, Runner,
    check::{Probes, probe},
    gpu, wgpu,
};
use serde_json::{Value, json};

use crate::{cli, failure::Failure, interrupt, print};

/// The longest line of the text.
const WIDTH: usize = 100;

/// The facts to print about an adapter.
struct Adapter {
    info: wgpu::AdapterInfo,
    auto: bool,
    limits: Vec<(&'static str, u64)>,
    features: Vec<&'static str>,
    probes: Result<Probes, Error>,
}

pub(crate) fn execute(args: &cli::Info, device: &Choice) -> Result<(), Failure> {
    let chosen = Runner::open(device)?;
    let auto = Runner::auto();
    let mut adapters = Vec::new();
    for adapter in pollster::block_on(gpu::adapters()) {
        adapters.push(Adapter::new(&adapter, &auto));
        interrupt::check()?;
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if args.json {
        return print::json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "auto": auto.name(),
            "device": chosen.name(),
            "cpu": { "threads": threads },
            "adapters": adapters.iter().map(Adapter::json).collect::<Vec<_>>(),
        }));
    }
    let mut text = format!("auto takes: {}\n", auto.name());
    if *device != Choice::Auto {
        let _ = writeln!(text, "this --device takes: {}", chosen.name());
    }
    let _ = writeln!(text, "cpu: {threads} threads");
    if adapters.is_empty() {
        text +=
            "no adapters: no GPU driver was found (wgpu's variables, such as WGPU_BACKEND, may hide one)\n";
    }
    for adapter in &adapters {
        text += &adapter.text();
    }
    print::out(&text)
}

impl Adapter {
    fn new(adapter: &wgpu::Adapter, auto: &Runner) -> Self {
        let info = adapter.get_info();
        Self {
            auto: auto.adapter_info().as_ref() == Some(&info),
            limits: limits(&adapter.limits()),
            features: adapter.features().iter_names().map(|(name, _)| name).collect(),
            probes: Runner::on_adapter(adapter).and_then(|runner| probe(&runner)),
            info,
        }
    }

    fn json(&self) -> Value {
        let info = &self.info;
        let limits: serde_json::Map<_, _> =
            self.limits.iter().map(|(name, limit)| ((*name).to_owned(), json!(limit))).collect();
        json!({
            "name": info.name,
            "driver": info.driver,
            "driver_info": info.driver_info,
            "backend": info.backend.to_str(),
            "device_type": format!("{:?}", info.device_type),
            "vendor": info.vendor,
            "device": info.device,
            "software": gpu::is_software(info),
            "auto": self.auto,
            "limits": limits,
            "features": self.features,
            "probes": self.probes.as_ref().ok().copied().map(probes_json),
            "error": self.probes.as_ref().err().map(ToString::to_string),
        })
    }

    fn text(&self) -> String {
        let mut text = format!("\n{}\n", gpu::describe(&self.info));
        match &self.probes {
            Ok(probes) => text += &section("floating point", probe_rows(*probes)),
            Err(error) => {
                let _ = writeln!(text, "  cannot be used: {error}");
            }
        }
        let limits = self.limits.iter().map(|(name, limit)| [(*name).to_owned(), print::count(*limit)]);
        text + &section("limits", limits) + "  features\n" + &wrapped(&self.features)
    }
}

fn probes_json(p: Probes) -> Value {
    json!({
        "flushes_subnormals": p.flushes_subnormals,
        "fma_is_fused": p.fma_is_fused,
        "contracts": p.contracts,
        "rounds_to_nearest_even": p.rounds_to_nearest_even,
        "division_error_ulp": p.division_error_ulp,
    })
}

fn probe_rows(p: Probes) -> [[String; 2]; 5] {
    let answer = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    [
        ["flushes subnormals".into(), answer(p.flushes_subnormals)],
        ["fma is fused".into(), answer(p.fma_is_fused)],
        ["contracts x * y + w".into(), answer(p.contracts)],
        ["rounds to nearest even".into(), answer(p.rounds_to_nearest_even)],
        ["division is off by".into(), format!("{} ULP", p.division_error_ulp)],
    ]
}

/// The limits that affect kernels, named as in `wgpu::Limits`.
fn limits(l: &wgpu::Limits) -> Vec<(&'static str, u64)> {
    vec![
        ("max_buffer_size", l.max_buffer_size),
        ("max_storage_buffer_binding_size", l.max_storage_buffer_binding_size),
        ("min_storage_buffer_offset_alignment", l.min_storage_buffer_offset_alignment.into()),
        ("max_storage_buffers_per_shader_stage", l.max_storage_buffers_per_shader_stage.into()),
        ("max_compute_workgroups_per_dimension", l.max_compute_workgroups_per_dimension.into()),
        ("max_compute_invocations_per_workgroup", l.max_compute_invocations_per_workgroup.into()),
        ("max_compute_workgroup_size_x", l.max_compute_workgroup_size_x.into()),
        ("max_compute_workgroup_storage_size", l.max_compute_workgroup_storage_size.into()),
    ]
}

/// A title, and indented rows of name and value.
fn section(title: &str, rows: impl IntoIterator<Item = [String; 2]>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = rows.iter().map(|[name, _]| name.len()).max().unwrap_or(0);
    rows.iter()
        .fold(format!("  {title}\n"), |text, [name, value]| text + &format!("    {name:<width$}  {value}\n"))
}

/// Wraps words into indented lines of bounded width.
fn wrapped(words: &[&str]) -> String {
    const INDENT: &str = "    ";
    let (mut text, mut column) = (String::new(), 0);
    for word in words {
        let separator = match column {
            0 => INDENT,
            column if column + word.len() < WIDTH => " ",
            _ => {
                text.push('\n');
                column = 0;
                INDENT
            }
        };
        text += separator;
        text += word;
        column += separator.len() + word.len();
    }
    text + "\n"
}
