//! Which device a runner uses.

use std::{convert::Infallible, str::FromStr};

use super::{Engine, Runner};
use crate::{
    error::Error,
    gpu::{device, stream::Streamer},
};

/// Which device to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// A hardware GPU if there is one, else the CPU. If the GPU is lost, the CPU finishes the work. The CPU also
    /// computes what the GPU cannot.
    #[default]
    Auto,
    /// The CPU path, on all cores.
    Cpu,
    /// The scalar reference, on one core: slow. Everything else is compared with it.
    Reference,
    /// A GPU, hardware before software.
    Gpu,
    /// The first adapter whose name, driver or driver info contains the text, ignoring case. The text may also be the
    /// name followed by the back end, as [`Runner::name`] gives it.
    Named(String),
}

impl FromStr for Choice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.to_lowercase().as_str() {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "reference" => Self::Reference,
            "gpu" => Self::Gpu,
            _ => Self::Named(text.to_owned()),
        })
    }
}

impl Runner {
    /// A hardware GPU that can compute and opens, if there is one, else the CPU. The crate `log` receives which
    /// adapters were passed over, and why.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn auto() -> Self {
        pollster::block_on(Self::auto_async())
    }

    /// [`auto`](Runner::auto) for async callers.
    pub async fn auto_async() -> Self {
        for adapter in &device::adapters().await {
            let (info, can) = (adapter.get_info(), adapter.get_downlevel_capabilities().flags);
            let name = device::name(&info);
            if let Some(why) = device::passed_over(&info, can) {
                log::info!("auto passes over {name}: {why}");
                continue;
            }
            match Self::on_adapter_async(adapter).await {
                Ok(runner) => {
                    log::info!("auto takes {name}");
                    return runner.falling_back();
                }
                Err(error) => log::warn!("auto passes over {name}: {error}"),
            }
        }
        log::info!("auto takes the CPU");
        Self::cpu()
    }

    /// The CPU path.
    pub fn cpu() -> Self {
        Self::new(Engine::Cpu, "cpu".into())
    }

    /// The scalar reference.
    pub fn reference() -> Self {
        Self::new(Engine::Reference, "reference".into())
    }

    /// The device that `choice` names.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if nothing matches, [`Error::Open`] if the adapter gives no device.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(choice: &Choice) -> Result<Self, Error> {
        pollster::block_on(Self::open_async(choice))
    }

    /// [`open`](Runner::open) for async callers.
    ///
    /// # Errors
    /// As [`open`](Runner::open).
    pub async fn open_async(choice: &Choice) -> Result<Self, Error> {
        let wanted = match choice {
            Choice::Cpu => return Ok(Self::cpu()),
            Choice::Reference => return Ok(Self::reference()),
            Choice::Auto => return Ok(Self::auto_async().await),
            Choice::Gpu => "gpu",
            Choice::Named(text) => text,
        };
        let adapters = device::adapters().await;
        let takes = |a: &&wgpu::Adapter| *choice == Choice::Gpu || device::matches(&a.get_info(), wanted);
        if let Some(adapter) = adapters.iter().find(takes) {
            return Self::on_adapter_async(adapter).await;
        }
        let found = adapters.iter().map(|a| device::describe(&a.get_info())).collect();
        Err(Error::NoDevice { wanted: wanted.into(), found })
    }

    /// Opens a device on `adapter`.
    ///
    /// # Errors
    /// [`Error::Open`] if the adapter gives no device.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn on_adapter(adapter: &wgpu::Adapter) -> Result<Self, Error> {
        pollster::block_on(Self::on_adapter_async(adapter))
    }

    /// [`on_adapter`](Runner::on_adapter) for async callers.
    ///
    /// # Errors
    /// As [`on_adapter`](Runner::on_adapter).
    pub async fn on_adapter_async(adapter: &wgpu::Adapter) -> Result<Self, Error> {
        let open = device::open(adapter).await?;
        Ok(Self::on(&open.device, &open.queue, open.health))
    }

    /// Runs on your device. The handlers that you set on it stay.
    pub fn on_device(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        Self::on(device, queue, device::Health::default())
    }

    fn on(device: &wgpu::Device, queue: &wgpu::Queue, health: device::Health) -> Self {
        let engine = Engine::Gpu(Box::new(Streamer::new(device, queue, health)));
        Self::new(engine, device::name(&device.adapter_info()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_words_name_no_adapter() {
        let parse = |text: &str| text.parse::<Choice>().unwrap_or_default();
        assert_eq!(
            ["AUTO", "cpu", "Reference", "gpu"].map(parse),
            [Choice::Auto, Choice::Cpu, Choice::Reference, Choice::Gpu]
        );
        assert_eq!(parse("Radeon"), Choice::Named("Radeon".into()));
    }
}
