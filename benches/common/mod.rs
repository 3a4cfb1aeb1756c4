//! Code that the benchmarks share.

use elemgrad::{Runner, gpu};

/// The CPU path and each hardware GPU, by name. With `ELEMGRAD_BENCH_SOFTWARE`, also software adapters.
pub(crate) fn devices() -> Vec<(String, Runner)> {
    let software = std::env::var_os("ELEMGRAD_BENCH_SOFTWARE").is_some();
    let mut devices = vec![("cpu".to_owned(), Runner::cpu())];
    for adapter in pollster::block_on(gpu::adapters()) {
        let info = adapter.get_info();
        if software || !gpu::is_software(&info) {
            match Runner::on_adapter(&adapter) {
                Ok(runner) => devices.push((format!("{} {}", info.name, info.backend), runner)),
                Err(error) => eprintln!("left out: {error}"),
            }
        }
    }
    devices
}
