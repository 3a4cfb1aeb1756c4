//! Finds adapters, and opens devices for callers who bring none.

use std::sync::{Arc, OnceLock};

use crate::error::Error;

/// All adapters that wgpu's environment variables allow (`WGPU_BACKEND`, `WGPU_ADAPTER_NAME` and the rest): hardware
/// before software, Vulkan before GL.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    // Instance::new panics if no back end was compiled in.
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return Vec::new();
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    if let Some(name) = adapter_name_from_env() {
        adapters.retain(|a| a.get_info().name.to_lowercase().contains(&name));
    }
    adapters.sort_by_key(|a| rank(&a.get_info()));
    adapters
}

/// `WGPU_ADAPTER_NAME` in lower case, if it is set.
fn adapter_name_from_env() -> Option<String> {
    std::env::var("WGPU_ADAPTER_NAME").ok().filter(|name| !name.is_empty()).map(|name| name.to_lowercase())
}

/// Smaller is better: hardware before software, Vulkan before GL.
fn rank(info: &wgpu::AdapterInfo) -> (bool, u8, u8) {
    let integrated_first = wgpu::PowerPreference::from_env() == Some(wgpu::PowerPreference::LowPower);
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => u8::from(integrated_first),
        wgpu::DeviceType::IntegratedGpu => u8::from(!integrated_first),
        _ => 2,
    };
    (is_software(info), kind, u8::from(info.backend == wgpu::Backend::Gl))
}

/// Whether the adapter computes on the CPU.
pub fn is_software(info: &wgpu::AdapterInfo) -> bool {
    let named = ["llvmpipe", "lavapipe", "softpipe", "swiftshader", "basic render"];
    let name = info.name.to_lowercase();
    info.device_type == wgpu::DeviceType::Cpu || named.iter().any(|n| name.contains(n))
}

/// Whether the adapter's [`name`], driver or driver info contains `text`, ignoring case.
///
/// Mesa's software Vulkan calls itself llvmpipe, and everyone else calls it lavapipe. Both words find it.
pub(crate) fn matches(info: &wgpu::AdapterInfo, text: &str) -> bool {
    let text = text.to_lowercase();
    let fields = [&info.name, &info.driver, &info.driver_info, &name(info)].map(|field| field.to_lowercase());
    !text.is_empty()
        && (fields.iter().any(|f| f.contains(&text))
            || (text == "lavapipe" && fields.iter().any(|f| f.contains("llvmpipe"))))
}

/// A device's name: the adapter's name and its back end, which tells one GPU's Vulkan from its GL.
pub(crate) fn name(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({})", info.name, info.backend)
}

/// Describes an adapter in one line: name, kind, back end, driver.
pub fn describe(info: &wgpu::AdapterInfo) -> String {
    let kind = if is_software(info) { "software" } else { "hardware" };
    let driver = format!("{} {}", info.driver, info.driver_info);
    format!("{} ({kind}, {}, {})", info.name, info.backend, driver.trim())
}

/// Why `auto` passes over an adapter. `auto` takes hardware that can compute, and an adapter that `WGPU_ADAPTER_NAME`
/// names. It never takes wgpu's no-op back end.
pub(crate) fn passed_over(info: &wgpu::AdapterInfo, can: wgpu::DownlevelFlags) -> Option<&'static str> {
    if info.backend == wgpu::Backend::Noop {
        return Some("it computes nothing");
    }
    if !can.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) {
        return Some("it has no compute shaders");
    }
    if is_software(info) && adapter_name_from_env().is_none() {
        return Some("it computes on the CPU, as the CPU path does faster");
    }
    None
}

/// A device that we created, so we report its loss and its errors.
pub(crate) struct OpenDevice {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) health: Health,
}

/// Whether a device that we created is lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health(Arc<OnceLock<String>>);

impl Health {
    /// [`Error::DeviceLost`] once the device is lost.
    pub(crate) fn check(&self, op: &str) -> Result<(), Error> {
        match self.0.get() {
            None => Ok(()),
            Some(message) => Err(Error::DeviceLost { op: op.into(), message: message.clone() }),
        }
    }
}

/// The features that our own device enables if the adapter has them: a clock for measurements, and a pipeline cache
/// that keeps kernels from run to run.
const WANTED_FEATURES: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::PIPELINE_CACHE);

/// Opens an adapter with everything it can do.
pub(crate) async fn open(adapter: &wgpu::Adapter) -> Result<OpenDevice, Error> {
    let info = adapter.get_info();
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("elemgrad"),
        required_limits: adapter.limits(),
        required_features: adapter.features() & WANTED_FEATURES,
        ..Default::default()
    };
    let (device, queue) = adapter
        .request_device(&descriptor)
        .await
        .map_err(|e| Error::Open { adapter: info.name, message: e.to_string() })?;
    let health = Health::default();
    let on_loss = health.clone();
    device.set_device_lost_callback(move |reason, message| {
        let message = if message.is_empty() { format!("{reason:?}") } else { message };
        log::warn!("the device is lost: {message}");
        let _ = on_loss.0.set(message);
    });
    // Our own calls have error scopes, so an error that arrives here comes from the caller's commands, or follows
    // from a loss. It fails none of our calls, and it must not panic.
    device.on_uncaptured_error(Arc::new(|error: wgpu::Error| log::error!("the runner's device: {error}")));
    Ok(OpenDevice { device, queue, health })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_what_computes() {
        let info =
            |device_type, backend| wgpu::AdapterInfo { ..wgpu::AdapterInfo::new(device_type, backend) };
        let gpu = info(wgpu::DeviceType::DiscreteGpu, wgpu::Backend::Gl);
        let all = wgpu::DownlevelFlags::all();
        assert_eq!(passed_over(&gpu, all), None);
        let without = all - wgpu::DownlevelFlags::COMPUTE_SHADERS;
        assert_eq!(passed_over(&gpu, without), Some("it has no compute shaders"));
        assert!(passed_over(&info(wgpu::DeviceType::DiscreteGpu, wgpu::Backend::Noop), all).is_some());
    }
}
