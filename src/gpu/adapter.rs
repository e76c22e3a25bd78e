//! Selection of an adapter, and opening of a device.
//!
//! In: the options, and the environment variables WGPU_BACKEND and WGPU_ADAPTER_NAME. Out: the device, its queue, and
//! its limits as plain data. Independent of the device's use.

use std::sync::Arc;

use super::Options;
use super::health::Health;
use crate::core::error::Error;
use crate::core::limits::{AdapterKind, Limits};

pub(super) struct Opened {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub limits: Limits,
    pub description: String,
}

pub(super) fn open(options: &Options, health: &Arc<Health>) -> Result<Opened, Error> {
    let adapter = choose(options)?;
    let info = adapter.get_info();
    let (features, limits) = if options.restricted {
        (wgpu::Features::empty(), wgpu::Limits::defaults())
    } else {
        (adapter.features() & OPTIONAL_FEATURES, adapter.limits())
    };
    let request = adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("wgrad"),
        required_features: features,
        required_limits: limits.clone(),
        ..Default::default()
    });
    let (device, queue) = pollster::block_on(request)
        .map_err(|error| Error::DeviceRequest { adapter: info.name.clone(), reason: error.to_string() })?;
    device.on_uncaptured_error(Arc::new({
        let health = Arc::clone(health);
        move |error| {
            health.report(error);
        }
    }));
    device.set_device_lost_callback({
        let health = Arc::clone(health);
        move |cause, message| {
            let reason = format!("{message} ({cause:?})");
            health.fail(Error::DeviceLost { reason });
        }
    });
    Ok(Opened { device, queue, limits: to_limits(&info, features, &limits), description: describe(&info) })
}

/// Optional features, which are requested if the adapter supports them.
const OPTIONAL_FEATURES: wgpu::Features = wgpu::Features::SUBGROUP.union(wgpu::Features::TIMESTAMP_QUERY);

fn choose(options: &Options) -> Result<wgpu::Adapter, Error> {
    // PRIMARY excludes GL, which would list the same devices a second time, with fewer features.
    let backends = wgpu::Backends::PRIMARY.with_env();
    let mut instance = wgpu::InstanceDescriptor::new_without_display_handle().with_env();
    instance.backends = backends;
    // The crate has no indirect dispatches. Without this flag, wgpu does not compile kernels for validating indirect
    // dispatches.
    instance.flags.remove(wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL);
    // Maximum percentage of memory: an out-of-memory error is preferable to swapping.
    instance.memory_budget_thresholds.for_resource_creation = Some(95);

    let instance = wgpu::Instance::new(instance);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
    if adapters.is_empty() {
        let requested = backends & wgpu::Instance::enabled_backend_features();
        let names: Vec<String> = requested.iter_names().map(|(name, _)| name.to_lowercase()).collect();
        return Err(Error::NoAdapter { backends: names.join(", ") });
    }
    // A stable sort keeps the driver's order among adapters of one type.
    adapters.sort_by_key(|adapter| preference(adapter.get_info().device_type));
    let wanted = match &options.adapter {
        Some(name) => name.clone(),
        None => std::env::var("WGPU_ADAPTER_NAME").unwrap_or_default(),
    };
    let found = adapters.iter().map(|adapter| adapter.get_info().name).collect::<Vec<_>>();
    let matching = |name: &String| name.to_lowercase().contains(&wanted.to_lowercase());
    match found.iter().position(matching) {
        Some(best) => Ok(adapters.swap_remove(best)),
        None => Err(Error::AdapterNotFound { wanted, found }),
    }
}

/// Returns the rank of a device type; the adapter with the lowest rank is chosen.
fn preference(device: wgpu::DeviceType) -> u8 {
    match device {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

/// Converts wgpu's limits to plain data.
fn to_limits(info: &wgpu::AdapterInfo, features: wgpu::Features, limits: &wgpu::Limits) -> Limits {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::Cpu => AdapterKind::Software,
        wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => AdapterKind::Other,
    };
    Limits {
        kind,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        uniform_bytes: u32::try_from(limits.max_uniform_buffer_binding_size).unwrap_or(u32::MAX),
        uniform_alignment: limits.min_uniform_buffer_offset_alignment,
        workgroups: limits.max_compute_workgroups_per_dimension,
        loop_iterations: match kind {
            AdapterKind::Software => Limits::SOFTWARE_LOOP_ITERATIONS,
            _ => u32::MAX,
        },
        subgroup: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size)),
    }
}

fn describe(info: &wgpu::AdapterInfo) -> String {
    let driver = format!("{} {}", info.driver, info.driver_info);
    format!("{} ({:?}, {:?}, driver {})", info.name, info.backend, info.device_type, driver.trim())
}
