//! What the benchmarks share.

use elemgrad::{Runner, gpu::device};

/// The CPU path and each GPU by name; with `ELEMGRAD_BENCH_SOFTWARE` software adapters too.
pub(crate) fn devices() -> Vec<(String, Runner)> {
    let software = std::env::var_os("ELEMGRAD_BENCH_SOFTWARE").is_some();
    let mut devices = vec![("cpu".to_owned(), Runner::cpu())];
    for adapter in pollster::block_on(device::adapters()) {
        let info = adapter.get_info();
        if software || !device::is_software(&info) {
            match pollster::block_on(Runner::on_adapter(&adapter)) {
                Ok(runner) => devices.push((format!("{} {}", info.name, info.backend), runner)),
                Err(error) => eprintln!("left out: {error}"),
            }
        }
    }
    devices
}
