//! Trials for each adapter that wgpu finds.

use std::collections::HashMap;

use elemgrad::{gpu, wgpu};
use libtest_mimic::Trial;

use super::is_full;

/// The trials that `of` makes for an adapter and its name.
///
/// Software through GL is left out if there is another back end, since it is most likely the same device, unless all
/// tests run. Without an adapter, there is one ignored trial. With `ELEMGRAD_GPU=require`, that trial fails instead.
pub fn trials(of: impl Fn(&str, &wgpu::Adapter) -> Vec<Trial>) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let adapters = pollster::block_on(gpu::adapters());
    let others = adapters.iter().any(|adapter| adapter.get_info().backend != wgpu::Backend::Gl);
    for adapter in adapters {
        let info = adapter.get_info();
        let mut name = format!("{}: {}", info.backend, info.name);
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            name = format!("{name} #{count}");
        }
        let can = adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS);
        let left_out = match info.backend {
            _ if !can => "has no compute shaders",
            wgpu::Backend::Gl if others && !is_full() => "ELEMGRAD_TESTS=full takes it too",
            _ => {
                trials.extend(of(&name, &adapter));
                continue;
            }
        };
        trials.push(Trial::test(format!("{name}: {left_out}"), || Ok(())).with_ignored_flag(true));
    }
    if !trials.iter().any(|trial| !trial.has_ignored_flag()) {
        let required = std::env::var("ELEMGRAD_GPU").is_ok_and(|value| value == "require");
        let name = "no adapter: wgpu finds no GPU and no software adapter, so no kernel was run";
        let fails = || Err("ELEMGRAD_GPU=require asks for an adapter".into());
        trials.push(Trial::test(name, fails).with_ignored_flag(!required));
    }
    trials
}
