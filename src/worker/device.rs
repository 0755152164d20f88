//! Which device trains: listing adapters, choosing one, opening exactly that one.
//!
//! An adapter here is a GPU (or a software imitation of one) seen through Vulkan, Metal or DX12. OpenGL is left
//! out: it has no storage buffers of the size that weights need.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use burn::tensor::wgpu::{WgpuBackend, wgpu};
use burn::tensor::{Device, DeviceKind};
use serde::Serialize;

use crate::config::{BasePrecision, ComputePrecision};
use crate::kernels::{Arithmetic, set_autotune};
use crate::model::{LoadOptions, quant_format};

/// What an adapter is, as its driver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    Discrete,
    Integrated,
    Virtual,
    /// A software renderer (lavapipe, WARP): far slower than the CPU path of this program.
    Cpu,
    Other,
}

/// The graphics API that reaches an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    Vulkan,
    Metal,
    Dx12,
}

impl Api {
    const ALL: [Api; 3] = [Api::Vulkan, Api::Metal, Api::Dx12];

    fn wgpu(self) -> wgpu::Backend {
        match self {
            Api::Vulkan => wgpu::Backend::Vulkan,
            Api::Metal => wgpu::Backend::Metal,
            Api::Dx12 => wgpu::Backend::Dx12,
        }
    }

    fn burn(self) -> WgpuBackend {
        match self {
            Api::Vulkan => WgpuBackend::Vulkan,
            Api::Metal => WgpuBackend::Metal,
            Api::Dx12 => WgpuBackend::Dx12,
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Api::Vulkan => "Vulkan",
            Api::Metal => "Metal",
            Api::Dx12 => "DX12",
        })
    }
}

/// One adapter with what matters to training. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdapterInfo {
    /// Position in [`list`]; `wgpu:INDEX` names it.
    pub index: usize,
    pub name: String,
    pub kind: AdapterKind,
    pub api: Api,
    /// Driver name and version.
    pub driver: String,
    /// PCI ids; 0 where the API hides them.
    pub vendor: u32,
    pub device: u32,
    /// The adapter's own memory (its largest device-local heap), where the API says; shared memory on integrated GPUs.
    pub memory_bytes: Option<u64>,
    /// Largest single buffer.
    pub max_buffer_bytes: u64,
    /// Largest part of a buffer that one shader binding sees; larger tables are split into row blocks.
    pub max_binding_bytes: u64,
    pub max_workgroup_memory_bytes: u32,
    pub max_workgroup_invocations: u32,
    /// Workgroups a dispatch may have in one dimension.
    pub max_workgroups: u32,
    /// Half precision in shaders.
    pub f16: bool,
    /// Subgroup (wave, warp) operations, and their smallest size.
    pub subgroups: bool,
    pub min_subgroup_size: u32,
    /// Timestamps for profiling.
    pub timestamps: bool,
    /// Position among the adapters of the same API and kind: how cubecl counts.
    #[serde(skip)]
    nth_of_kind: usize,
}

impl AdapterInfo {
    /// An adapter that does not exist, with usual limits, to try the rules of [`choose_from`] on.
    pub fn imagined(index: usize, name: &str, kind: AdapterKind) -> AdapterInfo {
        AdapterInfo {
            index,
            name: name.to_owned(),
            kind,
            api: Api::Vulkan,
            driver: String::new(),
            memory_bytes: None,
            vendor: 0,
            device: 0,
            max_buffer_bytes: 1 << 31,
            max_binding_bytes: 128 << 20,
            max_workgroup_memory_bytes: 32 << 10,
            max_workgroup_invocations: 1024,
            max_workgroups: 65_535,
            f16: false,
            subgroups: false,
            min_subgroup_size: 0,
            timestamps: false,
            nth_of_kind: 0,
        }
    }
}

/// Why no device could be opened.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error(
        "{spec:?} is no device. Write auto, cpu, wgpu, or wgpu: with a name or an index of `dpop-studio devices`."
    )]
    BadSpec { spec: String },

    #[error(
        "This machine has no GPU that Vulkan, Metal or DX12 can use. Install a driver, or choose cpu."
    )]
    NoGpu,

    #[error("There is no adapter {wanted:?}. There {}; choose one of them, or cpu.", describe_names(.names))]
    NotFound { wanted: String, names: Vec<String> },

    #[error(
        "this device has no 16-bit arithmetic ({label}). Choose --compute-precision f32; to save memory alone, \
         --base-precision f16 works everywhere."
    )]
    NoF16 { label: String },

    #[error("{label} cannot be opened: {reason} Update its driver, or choose cpu.")]
    Open { label: String, reason: String },

    #[error(
        "{label} was asked for, but {opened} was opened. The adapters have changed; start again, or choose cpu."
    )]
    Mismatch { label: String, opened: String },
}

fn describe_names(names: &[String]) -> String {
    match names {
        [] => "are none".to_owned(),
        [one] => format!("is {one}"),
        many => format!("are {}", many.join(", ")),
    }
}

/// Held while graphics instances come and go: the Vulkan loader crashes when several threads do that at once.
static LOADER: Mutex<()> = Mutex::new(());

/// Every adapter that Vulkan, Metal and DX12 show, in a fixed order: by API, then as the API lists them.
pub fn list() -> Vec<AdapterInfo> {
    let _loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut adapters = Vec::new();
    for api in Api::ALL {
        // One instance an API, as cubecl makes them: the order within it is the order it counts in.
        let backends = wgpu::Backends::from(api.wgpu());
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        for adapter in cubecl::future::block_on(instance.enumerate_adapters(backends)) {
            let mut info = describe(&adapter, api);
            info.index = adapters.len();
            let same = |other: &&AdapterInfo| other.api == api && other.kind == info.kind;
            info.nth_of_kind = adapters.iter().filter(same).count();
            adapters.push(info);
        }
    }
    adapters
}

fn describe(adapter: &wgpu::Adapter, api: Api) -> AdapterInfo {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    AdapterInfo {
        index: 0,
        nth_of_kind: 0,
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Cpu,
            wgpu::DeviceType::Other => AdapterKind::Other,
        },
        api,
        memory_bytes: memory_bytes(adapter, api),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        vendor: info.vendor,
        device: info.device,
        name: info.name,
        max_buffer_bytes: limits.max_buffer_size,
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_workgroup_memory_bytes: limits.max_compute_workgroup_storage_size,
        max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        max_workgroups: limits.max_compute_workgroups_per_dimension,
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        min_subgroup_size: info.subgroup_min_size,
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
    }
}

/// wgpu hides memory sizes; Vulkan tells them.
#[cfg(not(target_vendor = "apple"))]
fn memory_bytes(adapter: &wgpu::Adapter, api: Api) -> Option<u64> {
    const DEVICE_LOCAL: u32 = 1; // VK_MEMORY_HEAP_DEVICE_LOCAL_BIT
    if api != Api::Vulkan {
        return None;
    }
    // SAFETY: the physical device is only asked for a constant property and not kept.
    let properties = unsafe {
        let inner = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = inner.shared_instance().raw_instance();
        instance.get_physical_device_memory_properties(inner.raw_physical_device())
    };
    let heaps = properties.memory_heaps.iter().take(properties.memory_heap_count as usize);
    heaps.filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0).map(|heap| heap.size).max()
}

#[cfg(target_vendor = "apple")]
fn memory_bytes(_: &wgpu::Adapter, _: Api) -> Option<u64> {
    None
}

/// Which of the two implementations of the kernels runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChoiceKind {
    /// Native code on the processor.
    Cpu,
    /// WGSL on an adapter.
    Wgpu,
}

/// A device to train on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// For people: `NVIDIA GeForce RTX 3060 (Vulkan)` or `CPU, 8 threads`.
    pub label: String,
    pub kind: ChoiceKind,
    pub adapter: Option<AdapterInfo>,
}

/// Chooses by the rules of the `--device` option: `auto`, `cpu`, `wgpu`, `wgpu:INDEX` or `wgpu:NAME`.
pub fn choose(spec: &str) -> Result<Choice, DeviceError> {
    match spec.trim() {
        // Do not even start the graphics drivers.
        "cpu" => Ok(Choice::cpu()),
        spec => choose_from(spec, &list()),
    }
}

/// [`choose`] among given adapters.
///
/// `auto` takes a discrete GPU, else an integrated one, else the CPU. `wgpu` takes the best GPU (discrete,
/// integrated, virtual) or fails. A software adapter is taken only where its name or index is given.
pub fn choose_from(spec: &str, adapters: &[AdapterInfo]) -> Result<Choice, DeviceError> {
    use AdapterKind::{Discrete, Integrated, Virtual};
    let best = |kinds: &[AdapterKind]| {
        kinds.iter().find_map(|kind| adapters.iter().find(|adapter| adapter.kind == *kind))
    };
    match spec.trim() {
        "cpu" => Ok(Choice::cpu()),
        "auto" => Ok(best(&[Discrete, Integrated]).map_or_else(Choice::cpu, Choice::gpu)),
        "wgpu" => best(&[Discrete, Integrated, Virtual]).map(Choice::gpu).ok_or(DeviceError::NoGpu),
        spec => match spec.strip_prefix("wgpu:").map(str::trim) {
            Some(wanted) if !wanted.is_empty() => named(wanted, adapters),
            _ => Err(DeviceError::BadSpec { spec: spec.to_owned() }),
        },
    }
}

/// By index, else by a part of the name, upper and lower case alike; the best kind first.
fn named(wanted: &str, adapters: &[AdapterInfo]) -> Result<Choice, DeviceError> {
    let by_index = wanted.parse().ok().and_then(|index: usize| adapters.get(index));
    let part = wanted.to_lowercase();
    let mut by_name: Vec<_> =
        adapters.iter().filter(|adapter| adapter.name.to_lowercase().contains(&part)).collect();
    by_name.sort_by_key(|adapter| adapter.kind as u8);
    by_index.or(by_name.first().copied()).map(Choice::gpu).ok_or_else(|| DeviceError::NotFound {
        wanted: wanted.to_owned(),
        names: adapters
            .iter()
            .map(|adapter| format!("{} ({})", adapter.index, adapter.name))
            .collect(),
    })
}

/// Devices opened by this process. cubecl refuses to set one up twice.
static OPENED: Mutex<Vec<(AdapterInfo, Device)>> = Mutex::new(Vec::new());

impl Choice {
    /// Native code on all processor threads.
    pub fn cpu() -> Choice {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let label = format!("CPU, {threads} {}", if threads == 1 { "thread" } else { "threads" });
        Choice { label, kind: ChoiceKind::Cpu, adapter: None }
    }

    fn gpu(adapter: &AdapterInfo) -> Choice {
        let label = format!("{} ({})", adapter.name, adapter.api);
        Choice { label, kind: ChoiceKind::Wgpu, adapter: Some(adapter.clone()) }
    }

    /// Bytes of one tensor that a kernel may see; no limit on the CPU.
    pub fn binding_limit(&self) -> u64 {
        self.adapter
            .as_ref()
            .map_or(u64::MAX, |adapter| adapter.max_binding_bytes.min(adapter.max_buffer_bytes))
    }

    /// In what the frozen linear layers multiply.
    ///
    /// # Errors
    /// When this device cannot.
    pub fn arithmetic(&self, wanted: ComputePrecision) -> Result<Arithmetic, DeviceError> {
        match wanted {
            ComputePrecision::F32 => Ok(Arithmetic::F32),
            ComputePrecision::F16 if self.adapter.as_ref().is_some_and(|adapter| adapter.f16) => {
                Ok(Arithmetic::F16)
            }
            ComputePrecision::F16 => Err(DeviceError::NoF16 { label: self.label.clone() }),
        }
    }

    /// How a base model's weights are to lie on this device.
    pub fn load_options(&self, precision: BasePrecision) -> LoadOptions {
        LoadOptions {
            format: quant_format(precision),
            binding_limit: self.binding_limit(),
            ..LoadOptions::default()
        }
    }

    /// Opens the device, once a process, and proves that it is the adapter chosen.
    ///
    /// cubecl names an adapter by its API, its kind and its position among that kind; the order may change
    /// between listing and opening (a driver that comes or goes), so the opened adapter is compared.
    pub fn open(&self) -> Result<Device, DeviceError> {
        let Some(adapter) = &self.adapter else { return Ok(Device::flex()) };
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, device)) = opened.iter().find(|(other, _)| other == adapter) {
            return Ok(device.clone());
        }
        let device = self.open_adapter(adapter)?;
        opened.push((adapter.clone(), device.clone()));
        Ok(device)
    }

    fn open_adapter(&self, adapter: &AdapterInfo) -> Result<Device, DeviceError> {
        let failed = |reason: String| DeviceError::Open { label: self.label.clone(), reason };
        let kind = match (adapter.kind, adapter.nth_of_kind) {
            (AdapterKind::Discrete, n) => DeviceKind::DiscreteGpu(n),
            (AdapterKind::Integrated, n) => DeviceKind::IntegratedGpu(n),
            (AdapterKind::Virtual, n) => DeviceKind::VirtualGpu(n),
            (AdapterKind::Cpu, 0) => DeviceKind::Cpu,
            (AdapterKind::Cpu, _) => {
                return Err(failed("only the first software adapter can be used.".to_owned()));
            }
            (AdapterKind::Other, _) => {
                return Err(failed("its driver does not say what it is.".to_owned()));
            }
        };
        // Every benchmark of a candidate kernel costs a software adapter seconds.
        set_autotune(adapter.kind != AdapterKind::Cpu);
        let _loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
        let options = Device::wgpu_options().device_kind(kind).graphics_api(adapter.api.burn());
        let (device, setup) =
            options.init_with_setup().map_err(|error| failed(format!("{error}.")))?;
        let found = describe(&setup.adapter, adapter.api);
        let same = (&found.name, found.kind, found.vendor, found.device, &found.driver)
            == (&adapter.name, adapter.kind, adapter.vendor, adapter.device, &adapter.driver);
        if !same || setup.backend != adapter.api.wgpu() {
            return Err(DeviceError::Mismatch { label: self.label.clone(), opened: found.name });
        }
        Ok(device)
    }
}
