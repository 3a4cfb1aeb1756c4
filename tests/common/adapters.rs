//! Trials for each adapter that wgpu finds.

use std::collections::HashMap;

use elemgrad::{gpu, wgpu};
use libtest_mimic::Trial;

/// The trials that `of` makes for an adapter and its name.
///
/// Without an adapter, there is one ignored trial. With `ELEMGRAD_GPU=require`, that trial fails instead.
pub fn trials(of: impl Fn(&str, &wgpu::Adapter) -> Vec<Trial>) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for adapter in pollster::block_on(gpu::adapters()) {
        let info = adapter.get_info();
        let mut name = format!("{}: {}", info.backend, info.name);
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            name = format!("{name} #{count}");
        }
        if adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) {
            trials.extend(of(&name, &adapter));
        } else {
            let name = format!("{name}: has no compute shaders");
            trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
        }
    }
    if !trials.iter().any(|trial| !trial.has_ignored_flag()) {
        let required = std::env::var("ELEMGRAD_GPU").is_ok_and(|value| value == "require");
        let name = "no adapter: wgpu finds no GPU and no software adapter, so no kernel was run";
        let fails = || Err("ELEMGRAD_GPU=require asks for an adapter".into());
        trials.push(Trial::test(name, fails).with_ignored_flag(!required));
    }
    trials
}
