//! Peak memory of this process, and sizes as text.

/// The most bytes that the process has held in memory at once since it started; None where the system does not report it (read from
/// /proc/self/status, which only Linux has).
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes as text: "1.9 GB", "640 MB".
pub fn text(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes < 999.5e6 { format!("{:.0} MB", bytes / 1e6) } else { format!("{:.1} GB", bytes / 1e9) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_megabytes_or_gigabytes() {
        assert_eq!(text(640_000_000), "640 MB");
        assert_eq!(text(999_600_000), "1.0 GB");
        assert_eq!(text(1_940_000_000), "1.9 GB");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_stays_when_the_memory_is_given_back() {
        let before = peak().unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        drop(block);
        assert!(peak().unwrap() >= before);
        assert!(peak().unwrap() >= 64 << 20);
    }
}
