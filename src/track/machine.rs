//! Measures this machine: CPU, memory, disk, network and NVIDIA GPUs, under `MLflow`'s names.
//!
//! `MLflow` shows every metric whose name starts with `system/` in its "System metrics" tab; the names and units here
//! are those of its own sampler (a megabyte is 1e6 bytes), so that runs of both can be compared. Three
//! are additions: `system/process_memory_megabytes`, `system/gpu_{i}_temperature_celsius` and
//! `system/gpu_{i}_energy_joules`.
//!
//! An unavailable value is left out. It is never reported as 0, which would look like an idle machine.
//!
//! NVIDIA's management library is loaded at run time: one build serves machines with and without a GPU.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::{Device, Nvml};
use sysinfo::{
    Disk, DiskRefreshKind, Disks, MINIMUM_CPU_UPDATE_INTERVAL, Networks, Pid, ProcessRefreshKind, ProcessesToUpdate,
    System,
};

/// `MLflow`'s prefix of system metrics, by which its web page fills the tab.
const PREFIX: &str = "system/";

/// Bytes in a megabyte: `MLflow` divides by 1e6, not by 2^20.
const MEGABYTE: f64 = 1e6;

/// NVML counts power in milliwatts and energy in millijoules.
const MILLI: f64 = 1e-3;

/// The mounts of this process, in the order they were made. `sysinfo` omits some (tmpfs, network
/// disks); without the full list a folder on one of those would be attributed to the disk below it.
const MOUNTS: &str = "/proc/self/mounts";

/// The variable with the GPUs that CUDA gives this process, in its order.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// Metric names and values, from [`Machine::sample`].
type Values = Vec<(String, f64)>;

/// Measures the machine it runs on.
pub struct Machine {
    host: Option<Host>,
    disk: Option<Disk>,
    network: Option<Network>,
    gpus: Vec<Gpu>,
    driver: Option<String>,
}

impl Machine {
    /// Starts measuring: network traffic, GPU energy and CPU utilisation count from here.
    ///
    /// `folder`: its disk is measured; it need not exist yet.
    /// `gpus`: also measure the NVIDIA GPU that training uses, the first that this process sees; a missing driver is
    /// not an error.
    pub fn new(folder: &Path, gpus: bool) -> Self {
        let nvml = if gpus { Nvml::init().ok() } else { None };
        let visible = std::env::var(VISIBLE).ok();
        let (gpus, driver) = match nvml {
            Some(nvml) => {
                let driver = nvml.sys_driver_version().ok();
                let mut gpus = find_gpus(&Arc::new(nvml), visible.as_deref());
                // Training uses the first card that it sees.
                gpus.truncate(1);
                (gpus, driver)
            }
            None => (Vec::new(), None),
        };
        Self { host: Host::new(), disk: find_disk(folder), network: Network::new(), gpus, driver }
    }

    /// Only the GPUs, for [`Machine::gpu_line`].
    pub fn gpus() -> Self {
        let machine = Self::new(Path::new(""), true);
        Self { host: None, disk: None, network: None, ..machine }
    }

    /// The GPUs' current load: "GPU 97 %, 20.1 of 80.0 GB, 61 °C"; empty without a GPU. Values that a card does not
    /// report are left out.
    pub fn gpu_line(&self) -> String {
        let cards = self.gpus.iter().enumerate().map(|(place, gpu)| {
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            let parts = [
                gpu.card.utilization().map(|percent| format!("{percent:.0} %")),
                gpu.card.memory().map(|(used, total)| format!("{:.1} of {:.1} GB", gigabytes(used), gigabytes(total))),
                gpu.card.temperature().map(|celsius| format!("{celsius:.0} °C")),
            ];
            let number = if self.gpus.len() > 1 { format!(" {place}") } else { String::new() };
            format!("GPU{number} {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
        });
        cards.collect::<Vec<_>>().join("; ")
    }

    /// Values measured now; an unavailable value is left out, never 0.
    ///
    /// CPU utilisation is the mean since the last call; it is left out within 200 ms of the previous call,
    /// since the kernel's counters tick only every 10 ms.
    pub fn sample(&mut self) -> Vec<(String, f64)> {
        let mut values = Vec::new();
        if let Some(host) = &mut self.host {
            host.sample(&mut values);
        }
        if let Some(disk) = &mut self.disk {
            disk.refresh_specifics(DiskRefreshKind::nothing().with_storage());
            disk_values(disk.total_space(), disk.available_space(), &mut values);
        }
        if let Some(network) = &mut self.network {
            network.sample(&mut values);
        }
        let now = Instant::now();
        for (place, gpu) in self.gpus.iter_mut().enumerate() {
            gpu.sample(place, now, &mut values);
        }
        values
    }

    /// The energy that all GPUs have used since this value was created, in joules; None without a GPU that reports it.
    pub fn gpu_energy(&mut self) -> Option<f64> {
        let now = Instant::now();
        let used = self.gpus.iter_mut().filter_map(|gpu| {
            let power = gpu.card.power();
            gpu.energy.since_start(gpu.card.as_ref(), power, now)
        });
        used.reduce(|sum, energy| sum + energy)
    }

    /// The names of the GPUs found, in the order of their numbers, for tags: `["NVIDIA H100 80GB HBM3"]`.
    pub fn gpu_names(&self) -> Vec<String> {
        self.gpus.iter().map(|gpu| gpu.name.clone()).collect()
    }

    /// Adds a description of this machine to a run's tags.
    pub fn tags(&self, tags: &mut serde_json::Map<String, serde_json::Value>) {
        if let Ok(host) = System::host_name() {
            tags.insert("rvc_run.host".to_owned(), host.into());
        }
        if !self.gpus.is_empty() {
            tags.insert("rvc_run.gpu".to_owned(), self.gpu_names().join(", ").into());
        }
        if let Some(driver) = self.gpu_driver() {
            tags.insert("rvc_run.gpu_driver".to_owned(), driver.into());
        }
    }

    /// The version of the NVIDIA driver, for tags: `"550.54.15"`; None without a driver, or without `gpus`.
    pub fn gpu_driver(&self) -> Option<&str> {
        self.driver.as_deref()
    }
}

/// Adds one value under its full name, unless it is not a number (a share of a total of 0).
fn push(values: &mut Values, name: &str, value: f64) {
    if value.is_finite() {
        values.push((format!("{PREFIX}{name}"), value));
    }
}

/// Bytes as megabytes.
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / MEGABYTE
}

/// A part as a percentage of the whole; NaN if the whole is 0, which [`push`] leaves out.
fn percentage(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole * 100.0 } else { f64::NAN }
}

/// CPU and memory, of the machine and of this process.
struct Host {
    system: System,
    process: Option<Pid>,
    /// When the CPU counters were last read.
    cpu_read: Instant,
}

impl Host {
    fn new() -> Option<Self> {
        let mut system = System::new().ok()?;
        system.refresh_cpu_usage();
        Some(Self { system, process: sysinfo::get_current_pid().ok(), cpu_read: Instant::now() })
    }

    fn sample(&mut self, values: &mut Values) {
        if let Some(percent) = self.cpu() {
            push(values, "cpu_utilization_percentage", percent);
        }
        if let Some((used, total)) = self.memory() {
            push(values, "system_memory_usage_megabytes", megabytes(used));
            push(values, "system_memory_usage_percentage", percentage(used as f64, total as f64));
        }
        if let Some(resident) = self.process_memory() {
            push(values, "process_memory_megabytes", megabytes(resident));
        }
    }

    /// Mean utilisation since the last reading. `sysinfo` skips a reading that comes too soon and would return the
    /// mean of an earlier period (at first: since boot).
    fn cpu(&mut self) -> Option<f64> {
        if self.cpu_read.elapsed() <= MINIMUM_CPU_UPDATE_INTERVAL {
            return None;
        }
        self.system.refresh_cpu_usage();
        self.cpu_read = Instant::now();
        (!self.system.cpus().is_empty()).then(|| f64::from(self.system.global_cpu_usage()))
    }

    /// Bytes used and available: the container's if it has a limit, otherwise the machine's.
    fn memory(&mut self) -> Option<(u64, u64)> {
        self.system.refresh_memory();
        let machine = (self.system.used_memory(), self.system.total_memory());
        let container = self.system.cgroup_limits().map(|limits| (limits.rss, limits.total_memory));
        smaller(machine, container)
    }

    fn process_memory(&mut self) -> Option<u64> {
        let process = self.process?;
        let kind = ProcessRefreshKind::nothing().with_memory();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[process]), true, kind);
        self.system.process(process).map(sysinfo::Process::memory).filter(|resident| *resident > 0)
    }
}

/// The (used, total) memory that applies. In a container, the used part is its processes' memory: the kernel's
/// figure includes cached files, which would fill any limit in time and which the machine's figure excludes.
fn smaller(machine: (u64, u64), container: Option<(u64, u64)>) -> Option<(u64, u64)> {
    let limited = container.filter(|(_, total)| *total > 0 && (machine.1 == 0 || *total < machine.1));
    Some(limited.unwrap_or(machine)).filter(|(_, total)| *total > 0)
}

/// The disk of `folder`.
fn find_disk(folder: &Path) -> Option<Disk> {
    let folder = existing(folder)?;
    let disks = Vec::from(Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing()).ok()?);
    let mount = match std::fs::read_to_string(MOUNTS) {
        Ok(mounts) => longest_prefix(mounts.lines().filter_map(mount_point), &folder),
        Err(_) => longest_prefix(disks.iter().map(|disk| disk.mount_point().to_path_buf()), &folder),
    }?;
    disks.into_iter().find(|disk| disk.mount_point() == mount)
}

/// The canonical path of `folder`, or of the nearest folder above it that exists.
fn existing(folder: &Path) -> Option<PathBuf> {
    std::path::absolute(folder).ok()?.ancestors().find_map(|folder| folder.canonicalize().ok())
}

/// The longest mount point above `folder`.
fn longest_prefix(mounts: impl Iterator<Item = PathBuf>, folder: &Path) -> Option<PathBuf> {
    mounts.filter(|mount| folder.starts_with(mount)).max_by_key(|mount| mount.components().count())
}

/// The mount point in a line of [`MOUNTS`], with the four characters that the kernel escapes there put back.
fn mount_point(line: &str) -> Option<PathBuf> {
    let field = line.split(' ').nth(1)?;
    let path = field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    Some(PathBuf::from(path))
}

/// The used part includes the blocks reserved for root (`sysinfo` does not separate them, `MLflow` does), so on a disk
/// with such blocks it is higher here than in MLflow. The available part is the same.
fn disk_values(total: u64, available: u64, values: &mut Values) {
    if total == 0 {
        return;
    }
    let used = total.saturating_sub(available);
    push(values, "disk_usage_percentage", percentage(used as f64, total as f64));
    push(values, "disk_usage_megabytes", megabytes(used));
    push(values, "disk_available_megabytes", megabytes(available));
}

/// Traffic over all interfaces, the loopback included, as `MLflow` counts it.
struct Network {
    networks: Networks,
    received: u64,
    transmitted: u64,
}

impl Network {
    fn new() -> Option<Self> {
        Some(Self { networks: Networks::new_with_refreshed_list().ok()?, received: 0, transmitted: 0 })
    }

    /// Adds the traffic since the last call, so that a removed interface does not reduce the total.
    fn sample(&mut self, values: &mut Values) {
        self.networks.refresh(true);
        if self.networks.is_empty() {
            return;
        }
        for data in self.networks.values() {
            self.received += data.received();
            self.transmitted += data.transmitted();
        }
        push(values, "network_receive_megabytes", megabytes(self.received));
        push(values, "network_transmit_megabytes", megabytes(self.transmitted));
    }
}

/// The values that a graphics card reports; None for those that it, or its driver, does not report.
trait Card: Send {
    /// The product name.
    fn name(&self) -> Option<String>;
    /// Share of the time in which a kernel was running, in percent.
    fn utilization(&self) -> Option<f64>;
    /// Bytes of memory, used and total.
    fn memory(&self) -> Option<(u64, u64)>;
    /// Watts drawn now.
    fn power(&self) -> Option<f64>;
    /// Watts that the card may draw.
    fn power_limit(&self) -> Option<f64>;
    /// Degrees Celsius.
    fn temperature(&self) -> Option<f64>;
    /// Joules since the driver was loaded.
    fn energy(&self) -> Option<f64>;
}

/// The source of cards: NVIDIA's driver, or a test's.
trait Driver {
    /// How many cards there are.
    fn count(&self) -> u32;
    /// The card, if it exists.
    fn card(&self, choice: &Choice) -> Option<Box<dyn Card>>;
}

/// A way to name a card.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice {
    /// By NVML's number.
    Index(u32),
    /// By the permanent identifier of the card, or of a part of it ("GPU-...", "MIG-...").
    Uuid(String),
}

/// The cards for this process, numbered by their position in `visible`, the value of [`VISIBLE`].
///
/// As in CUDA the list ends before its first entry that names no card, and an empty list is no cards. Without a list
/// they are all the cards, in NVML's order, which is CUDA's too where `CUDA_DEVICE_ORDER=PCI_BUS_ID`.
fn find_gpus(driver: &impl Driver, visible: Option<&str>) -> Vec<Gpu> {
    let choices = match visible {
        Some(list) => list.split(',').map_while(choice).collect(),
        None => (0..driver.count()).map(Choice::Index).collect::<Vec<_>>(),
    };
    let now = Instant::now();
    choices.iter().map_while(|choice| driver.card(choice)).map(|card| Gpu::new(card, now)).collect()
}

/// One entry of [`VISIBLE`].
fn choice(entry: &str) -> Option<Choice> {
    let entry = entry.trim();
    if entry.starts_with("GPU-") || entry.starts_with("MIG-") {
        return Some(Choice::Uuid(entry.to_owned()));
    }
    entry.parse().ok().map(Choice::Index)
}

/// One card and its state.
struct Gpu {
    card: Box<dyn Card>,
    name: String,
    energy: Energy,
}

impl Gpu {
    fn new(card: Box<dyn Card>, now: Instant) -> Self {
        let name = card.name().unwrap_or_else(|| "NVIDIA GPU".to_owned());
        let energy = Energy::new(card.as_ref(), now);
        Self { card, name, energy }
    }

    fn sample(&mut self, place: usize, now: Instant, values: &mut Values) {
        let mut add = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                push(values, &format!("gpu_{place}_{name}"), value);
            }
        };
        let memory = self.card.memory();
        add("memory_usage_percentage", memory.map(|(used, total)| percentage(used as f64, total as f64)));
        add("memory_usage_megabytes", memory.map(|(used, _)| megabytes(used)));
        add("utilization_percentage", self.card.utilization());
        let power = self.card.power();
        add("power_usage_watts", power);
        let limit = self.card.power_limit();
        add("power_usage_percentage", power.zip(limit).map(|(power, limit)| percentage(power, limit)));
        add("temperature_celsius", self.card.temperature());
        add("energy_joules", self.energy.since_start(self.card.as_ref(), power, now));
    }
}

/// How the energy used by a card since the start is measured.
enum Energy {
    /// By the card's own counter, from its initial value.
    Counter { start: f64 },
    /// By adding up power, for cards older than that counter.
    Summed { joules: f64, last: Option<(Instant, f64)> },
}

impl Energy {
    fn new(card: &dyn Card, now: Instant) -> Self {
        match card.energy() {
            Some(start) => Self::Counter { start },
            None => Self::Summed { joules: 0.0, last: card.power().map(|power| (now, power)) },
        }
    }

    /// Joules used since the start; None if the counter was reset (the driver was reloaded), or if the current power
    /// is unknown (the next reading bridges the gap).
    fn since_start(&mut self, card: &dyn Card, power: Option<f64>, now: Instant) -> Option<f64> {
        match self {
            Self::Counter { start } => card.energy().map(|total| total - *start).filter(|joules| *joules >= 0.0),
            Self::Summed { joules, last } => {
                let power = power?;
                let (then, before) = last.replace((now, power))?;
                *joules += 0.5 * (before + power) * now.saturating_duration_since(then).as_secs_f64();
                Some(*joules)
            }
        }
    }
}

impl Driver for Arc<Nvml> {
    fn count(&self) -> u32 {
        self.device_count().unwrap_or(0)
    }

    fn card(&self, choice: &Choice) -> Option<Box<dyn Card>> {
        let card = NvmlCard { nvml: Self::clone(self), choice: choice.clone() };
        let card = if card.device().is_some() { card } else { card.completed()? };
        Some(Box::new(card))
    }
}

/// A card of NVIDIA's driver. Its handle borrows the library, so it is fetched each time (a look-up in memory).
struct NvmlCard {
    nvml: Arc<Nvml>,
    choice: Choice,
}

impl NvmlCard {
    fn device(&self) -> Option<Device<'_>> {
        match &self.choice {
            Choice::Index(index) => self.nvml.device_by_index(*index).ok(),
            Choice::Uuid(uuid) => self.nvml.device_by_uuid(uuid.as_str()).ok(),
        }
    }

    /// The card with a shortened identifier, which CUDA accepts and NVML does not.
    fn completed(self) -> Option<Self> {
        let Choice::Uuid(start) = &self.choice else { return None };
        let uuid = |index: &u32| self.nvml.device_by_index(*index).ok()?.uuid().ok();
        let index = (0..self.nvml.count()).find(|index| uuid(index).is_some_and(|uuid| uuid.starts_with(start)))?;
        Some(Self { choice: Choice::Index(index), ..self })
    }
}

impl Card for NvmlCard {
    fn name(&self) -> Option<String> {
        self.device()?.name().ok()
    }

    fn utilization(&self) -> Option<f64> {
        Some(f64::from(self.device()?.utilization_rates().ok()?.gpu))
    }

    /// All memory that is not free counts as used: `MLflow` uses NVML's older call, in which the driver's reserve counts as used.
    fn memory(&self) -> Option<(u64, u64)> {
        let memory = self.device()?.memory_info().ok()?;
        Some((memory.total.saturating_sub(memory.free), memory.total))
    }

    fn power(&self) -> Option<f64> {
        Some(f64::from(self.device()?.power_usage().ok()?) * MILLI)
    }

    fn power_limit(&self) -> Option<f64> {
        Some(f64::from(self.device()?.enforced_power_limit().ok()?) * MILLI)
    }

    fn temperature(&self) -> Option<f64> {
        Some(f64::from(self.device()?.temperature(TemperatureSensor::Gpu).ok()?))
    }

    fn energy(&self) -> Option<f64> {
        Some(self.device()?.total_energy_consumption().ok()? as f64 * MILLI)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// What a fake card readings; a test changes it between samples.
    #[derive(Clone, Default)]
    struct Readings {
        name: Option<String>,
        utilization: Option<f64>,
        memory: Option<(u64, u64)>,
        power: Option<f64>,
        limit: Option<f64>,
        temperature: Option<f64>,
        energy: Option<f64>,
    }

    type Fake = Arc<Mutex<Readings>>;

    impl Card for Fake {
        fn name(&self) -> Option<String> {
            self.lock().unwrap().name.clone()
        }
        fn utilization(&self) -> Option<f64> {
            self.lock().unwrap().utilization
        }
        fn memory(&self) -> Option<(u64, u64)> {
            self.lock().unwrap().memory
        }
        fn power(&self) -> Option<f64> {
            self.lock().unwrap().power
        }
        fn power_limit(&self) -> Option<f64> {
            self.lock().unwrap().limit
        }
        fn temperature(&self) -> Option<f64> {
            self.lock().unwrap().temperature
        }
        fn energy(&self) -> Option<f64> {
            self.lock().unwrap().energy
        }
    }

    /// Cards "GPU-0", "GPU-1", ... that say only their names.
    struct FakeDriver(u32);

    impl Driver for FakeDriver {
        fn count(&self) -> u32 {
            self.0
        }
        fn card(&self, choice: &Choice) -> Option<Box<dyn Card>> {
            let index = match choice {
                Choice::Index(index) => *index,
                Choice::Uuid(uuid) => uuid.strip_prefix("GPU-")?.parse().ok()?,
            };
            let readings = Readings { name: Some(format!("card {index}")), ..Readings::default() };
            (index < self.0).then(|| Box::new(Arc::new(Mutex::new(readings))) as Box<dyn Card>)
        }
    }

    fn full() -> Readings {
        Readings {
            name: Some("NVIDIA H100 80GB HBM3".to_owned()),
            utilization: Some(97.0),
            memory: Some((20_000_000_000, 80_000_000_000)),
            power: Some(350.0),
            limit: Some(700.0),
            temperature: Some(61.0),
            energy: Some(5_000.0),
        }
    }

    fn gpu(readings: Readings, now: Instant) -> (Gpu, Fake) {
        let fake: Fake = Arc::new(Mutex::new(readings));
        (Gpu::new(Box::new(Arc::clone(&fake)), now), fake)
    }

    fn sampled(gpu: &mut Gpu, place: usize, now: Instant) -> Values {
        let mut values = Values::new();
        gpu.sample(place, now, &mut values);
        values
    }

    fn value(values: &[(String, f64)], name: &str) -> Option<f64> {
        values.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    #[track_caller]
    fn close(found: Option<f64>, expected: f64) {
        let found = found.expect("a value");
        assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found} is not {expected}");
    }

    fn names(visible: Option<&str>) -> Vec<String> {
        find_gpus(&FakeDriver(3), visible).into_iter().map(|gpu| gpu.name).collect()
    }

    #[test]
    fn this_machine_has_all_values_in_range() {
        let mut machine = Machine::new(Path::new("."), false);
        std::thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL + Duration::from_millis(50));
        let values = machine.sample();
        for name in ["cpu_utilization", "system_memory_usage", "disk_usage"] {
            let name = format!("system/{name}_percentage");
            let percent = value(&values, &name).unwrap_or_else(|| panic!("{name} in {values:?}"));
            assert!((0.0..=100.0).contains(&percent), "{name} {percent}");
        }
        for name in ["system_memory_usage", "process_memory", "disk_usage", "disk_available"] {
            let name = format!("system/{name}_megabytes");
            assert!(value(&values, &name).is_some_and(|size| size > 0.0), "{name} in {values:?}");
        }
        for name in ["system/network_receive_megabytes", "system/network_transmit_megabytes"] {
            assert!(value(&values, name).is_none_or(|size| size >= 0.0), "{name} in {values:?}");
        }
        assert!(values.iter().all(|(name, _)| !name.contains("gpu")));
        let mut unique: Vec<_> = values.iter().map(|(name, _)| name).collect();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), values.len());
    }

    #[test]
    fn the_process_is_this_one() {
        // What other tests of this program hold or let go meanwhile does not count: this much is here for certain.
        let held = vec![1_u8; 400_000_000];
        let values = Machine::new(Path::new("."), false).sample();
        let resident = value(&values, "system/process_memory_megabytes").unwrap();
        assert!(resident >= 400.0, "{resident} MB, of which {} bytes are held", held.len());
    }

    #[test]
    fn cpu_asked_too_soon_is_left_out() {
        let mut host = Host::new().unwrap();
        host.cpu_read = Instant::now();
        assert_eq!(host.cpu(), None);
    }

    #[test]
    fn traffic_never_falls() {
        let Some(mut network) = Network::new() else { return };
        let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            sender.send_to(&[0; 1_000], listener.local_addr().unwrap()).unwrap();
        }
        // Not every sandbox counts its loopback, or has interfaces at all; what is counted must not fall.
        let mut sent = || {
            let mut values = Values::new();
            network.sample(&mut values);
            value(&values, "system/network_transmit_megabytes")
        };
        let (first, second) = (sent(), sent());
        assert!(first.is_none_or(|first| first >= 0.0 && second.is_some_and(|second| second >= first)));
    }

    #[test]
    fn a_machine_can_go_to_a_thread_and_gpus_need_not_be_there() {
        fn sendable<T: Send>(thing: T) -> T {
            thing
        }
        let mut machine = sendable(Machine::new(Path::new("/"), true));
        let values = machine.sample();
        assert_eq!(machine.gpu_names().is_empty(), !values.iter().any(|(name, _)| name.contains("gpu_")));
        assert!(machine.gpu_driver().is_some() || machine.gpu_names().is_empty());
    }

    #[test]
    fn a_container_counts_where_it_is_smaller() {
        assert_eq!(smaller((3, 10), None), Some((3, 10)));
        assert_eq!(smaller((3, 10), Some((1, 4))), Some((1, 4)));
        assert_eq!(smaller((3, 10), Some((1, 10))), Some((3, 10)));
        assert_eq!(smaller((3, 10), Some((0, 0))), Some((3, 10)));
        assert_eq!(smaller((0, 0), Some((1, 4))), Some((1, 4)));
        assert_eq!(smaller((0, 0), None), None);
    }

    #[test]
    fn the_longest_mount_wins() {
        let text = "/dev/a / ext4 rw 0 0\ntmpfs /data tmpfs rw 0 0\n/dev/b /data/my\\040runs ext4 rw 0 0\n\n";
        let find = |folder: &str| longest_prefix(text.lines().filter_map(mount_point), Path::new(folder));
        assert_eq!(find("/data/my runs/1"), Some(PathBuf::from("/data/my runs")));
        assert_eq!(find("/data/my"), Some(PathBuf::from("/data")));
        assert_eq!(find("/database"), Some(PathBuf::from("/")));
    }

    #[test]
    fn a_folder_to_be_made_is_on_the_disk_above() {
        let folder = std::env::temp_dir().join("machine-rs-not-there/deeper");
        assert_eq!(existing(&folder), std::env::temp_dir().canonicalize().ok());
    }

    #[test]
    fn disk_arithmetic() {
        let mut values = Values::new();
        disk_values(0, 0, &mut values);
        assert_eq!(values, []);
        disk_values(4_000_000, 1_000_000, &mut values);
        close(value(&values, "system/disk_usage_percentage"), 75.0);
        close(value(&values, "system/disk_usage_megabytes"), 3.0);
        close(value(&values, "system/disk_available_megabytes"), 1.0);
    }

    #[test]
    fn visible_devices_number_the_gpus() {
        assert_eq!(names(None), ["card 0", "card 1", "card 2"]);
        assert_eq!(names(Some("2, 0")), ["card 2", "card 0"]);
        assert_eq!(names(Some("GPU-1,0")), ["card 1", "card 0"]);
        assert_eq!(names(Some("1,-1,0")), ["card 1"]);
        assert_eq!(names(Some("1,7,0")), ["card 1"]);
        assert!(names(Some("")).is_empty());
        assert_eq!(choice("MIG-a"), Some(Choice::Uuid("MIG-a".to_owned())));
    }

    #[test]
    fn a_gpu_has_the_names_and_units_of_mlflow() {
        let start = Instant::now();
        let (mut gpu, fake) = gpu(full(), start);
        assert_eq!(gpu.name, "NVIDIA H100 80GB HBM3");
        fake.lock().unwrap().energy = Some(5_700.0);
        let values = sampled(&mut gpu, 1, start + Duration::from_secs(2));
        close(value(&values, "system/gpu_1_memory_usage_percentage"), 25.0);
        close(value(&values, "system/gpu_1_memory_usage_megabytes"), 20_000.0);
        close(value(&values, "system/gpu_1_utilization_percentage"), 97.0);
        close(value(&values, "system/gpu_1_power_usage_watts"), 350.0);
        close(value(&values, "system/gpu_1_power_usage_percentage"), 50.0);
        close(value(&values, "system/gpu_1_temperature_celsius"), 61.0);
        close(value(&values, "system/gpu_1_energy_joules"), 700.0);
        assert_eq!(values.len(), 7);
    }

    #[test]
    fn failing_calls_leave_values_out() {
        let now = Instant::now();
        let (mut silent, _) = gpu(Readings::default(), now);
        assert_eq!(sampled(&mut silent, 0, now), []);
        assert_eq!(silent.name, "NVIDIA GPU");
        let some = Readings { limit: None, temperature: None, memory: Some((1, 0)), ..full() };
        let (mut partial, fake) = gpu(some, now);
        let values = sampled(&mut partial, 0, now);
        let found: Vec<_> = values.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            found,
            [
                "system/gpu_0_memory_usage_megabytes",
                "system/gpu_0_utilization_percentage",
                "system/gpu_0_power_usage_watts",
                "system/gpu_0_energy_joules"
            ]
        );
        fake.lock().unwrap().energy = Some(1.0);
        assert_eq!(value(&sampled(&mut partial, 0, now), "system/gpu_0_energy_joules"), None);
    }

    #[test]
    fn energy_is_summed_from_power_without_a_counter() {
        let start = Instant::now();
        let (mut gpu, fake) = gpu(Readings { power: Some(100.0), ..Readings::default() }, start);
        let mut joules = |power: Option<f64>, seconds: u64| {
            fake.lock().unwrap().power = power;
            let values = sampled(&mut gpu, 0, start + Duration::from_secs(seconds));
            value(&values, "system/gpu_0_energy_joules")
        };
        close(joules(Some(300.0), 2), 400.0);
        close(joules(Some(300.0), 5), 1_300.0);
        assert_eq!(joules(None, 6), None);
        close(joules(Some(100.0), 7), 1_700.0);
    }
}
