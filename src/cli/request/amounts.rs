//! What a container may have of memory, processors, disks: the limits that `update` changes, too.

use std::path::PathBuf;

use clap::Args;

use crate::cli::format::human::parse_size;
use crate::engine::settings::{Resources, Throttle, ThrottleKind};

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct Amounts {
    /// Memory, such as 64m
    #[arg(long, short, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<i64>,
    /// Memory that is left to it when others want it
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory_reservation: Option<i64>,
    /// Memory and swap together; -1: as much swap as there is
    #[arg(long, value_name = "SIZE", value_parser = or_unlimited)]
    memory_swap: Option<i64>,
    /// CPUs, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = cpus)]
    cpus: Option<f64>,
    /// Share of CPU time among those that want it (1024)
    #[arg(long, short, value_name = "SHARES")]
    cpu_shares: Option<u64>,
    /// Microseconds over which --cpu-quota counts
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// Microseconds of CPU time in each period
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_quota: Option<i64>,
    /// The CPUs it may use: 0-3,5
    #[arg(long, value_name = "CPUS")]
    cpuset_cpus: Option<String>,
    /// The memory nodes it may use
    #[arg(long, value_name = "NODES")]
    cpuset_mems: Option<String>,
    /// Processes; -1: unlimited (2048)
    #[arg(long, value_name = "NUMBER")]
    pids_limit: Option<i64>,
    /// Weight of its block device traffic, 10 to 1000
    #[arg(long, value_name = "WEIGHT", value_parser = clap::value_parser!(u16).range(10..=1000))]
    blkio_weight: Option<u16>,
    /// Bytes to read from a device in a second, such as /dev/sda:10mb (repeatable)
    #[arg(long, value_name = "DEV:SIZE", value_delimiter = ',', value_parser = bytes_a_second)]
    device_read_bps: Vec<(PathBuf, u64)>,
    /// Bytes to write to a device in a second (repeatable)
    #[arg(long, value_name = "DEV:SIZE", value_delimiter = ',', value_parser = bytes_a_second)]
    device_write_bps: Vec<(PathBuf, u64)>,
    /// Reads from a device in a second, such as /dev/sda:1000 (repeatable)
    #[arg(long, value_name = "DEV:N", value_delimiter = ',', value_parser = times_a_second)]
    device_read_iops: Vec<(PathBuf, u64)>,
    /// Writes to a device in a second (repeatable)
    #[arg(long, value_name = "DEV:N", value_delimiter = ',', value_parser = times_a_second)]
    device_write_iops: Vec<(PathBuf, u64)>,
}

impl Amounts {
    /// What was said; the rest is as nobody had asked.
    pub fn said(self) -> Resources {
        let throttles = [
            (ThrottleKind::ReadBps, self.device_read_bps),
            (ThrottleKind::WriteBps, self.device_write_bps),
            (ThrottleKind::ReadIops, self.device_read_iops),
            (ThrottleKind::WriteIops, self.device_write_iops),
        ];
        let throttles = throttles
            .into_iter()
            .flat_map(|(kind, all)| all.into_iter().map(move |(device, rate)| Throttle { kind, device, rate }))
            .collect();
        Resources {
            // Zero is Docker's way to say no limit.
            memory: self.memory.filter(|bytes| *bytes > 0),
            memory_reservation: self.memory_reservation.filter(|bytes| *bytes > 0),
            memory_swap: self.memory_swap.filter(|bytes| *bytes != 0),
            cpus: self.cpus.filter(|cpus| *cpus > 0.0),
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            cpuset_cpus: self.cpuset_cpus,
            cpuset_mems: self.cpuset_mems,
            pids: self.pids_limit,
            blkio_weight: self.blkio_weight,
            throttles,
            ..Resources::default()
        }
    }
}

fn bytes_a_second(text: &str) -> Result<(PathBuf, u64), String> {
    throttle(text, |rate| parse_size(rate).map(i64::unsigned_abs))
}

fn times_a_second(text: &str) -> Result<(PathBuf, u64), String> {
    throttle(text, |rate| rate.parse().map_err(|_| format!("{rate:?} is not a number")))
}

fn throttle(text: &str, rate: impl Fn(&str) -> Result<u64, String>) -> Result<(PathBuf, u64), String> {
    match text.rsplit_once(':') {
        Some((device, text)) if device.starts_with('/') => Ok((device.into(), rate(text)?)),
        _ => Err("expected /dev/NAME:RATE".into()),
    }
}

fn or_unlimited(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { parse_size(text) }
}

fn cpus(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cpus) if cpus.is_finite() && cpus >= 0.0 => Ok(cpus),
        Ok(_) => Err("must not be negative".into()),
        Err(_) => Err("expected a number, such as 1.5".into()),
    }
}
