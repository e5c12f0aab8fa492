//! The bundle's `linux.resources`, in the words of `linux::cgroup`.
//!
//! OCI speaks of cgroup version 1, which was there first. What follows is how runc and crun read it for version 2: -1 is
//! no limit, 0 is nothing asked for, the limit of swap counts memory in, shares and disk weights have other ranges.

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxRdma, LinuxResources,
    LinuxWeightDevice,
};

use crate::linux::cgroup::devices::{Kind, MAKE, READ, Rule, WRITE};
use crate::linux::cgroup::{Limit, Resources, weight_from_shares};

/// Limits, without the devices.
pub fn resources(asked: &LinuxResources) -> Result<Resources> {
    let mut found = Resources::default();
    if let Some(memory) = asked.memory() {
        memory_limits(memory, &mut found)?;
    }
    if let Some(cpu) = asked.cpu() {
        processor(cpu, &mut found)?;
    }
    if let Some(pids) = asked.pids() {
        found.pids_max = limit(pids.limit());
    }
    if let Some(disks) = asked.block_io() {
        disk(disks, &mut found)?;
    }
    if asked.network().as_ref().is_some_and(|network| network.class_id().is_some() || network.priorities().is_some()) {
        bail!("linux.resources.network: cgroup version 2 marks no packets (it has no net_cls and no net_prio)");
    }
    for (device, bounds) in asked.rdma().iter().flatten() {
        found.rdma_max.push(rdma(device, bounds));
    }
    found.rdma_max.sort();
    for page in asked.hugepage_limits().iter().flatten() {
        // A limit of 0 is one here: no huge pages.
        let bound = u64::try_from(page.limit()).map_or(Limit::Max, Limit::At);
        found.hugetlb_max.insert(page.page_size().clone(), bound);
    }
    for (file, value) in asked.unified().iter().flatten() {
        found.unified.insert(file.clone(), value.clone());
    }
    Ok(found)
}

fn rdma(device: &str, bounds: &LinuxRdma) -> String {
    let bound = |bound: Option<u32>| bound.map_or("max".to_string(), |bound| bound.to_string());
    format!("{device} hca_handle={} hca_object={}", bound(bounds.hca_handles()), bound(bounds.hca_objects()))
}

/// -1 (any negative number) is no limit, 0 is nothing asked for.
fn limit(value: i64) -> Option<Limit> {
    match value {
        0 => None,
        ..0 => Some(Limit::Max),
        value => Some(Limit::At(value as u64)),
    }
}

#[allow(deprecated)] // Kernel memory has no limit of its own any more; bundles may still ask for one.
fn memory_limits(memory: &LinuxMemory, found: &mut Resources) -> Result<()> {
    let of_version_1 = [
        ("kernel", memory.kernel().is_some_and(|bytes| bytes > 0)),
        ("kernelTCP", memory.kernel_tcp().is_some_and(|bytes| bytes > 0)),
        ("swappiness", memory.swappiness().is_some()),
        ("disableOOMKiller", memory.disable_oom_killer() == Some(true)),
        // `true` is what version 2 always does.
        ("useHierarchy", memory.use_hierarchy() == Some(false)),
    ];
    for (name, is_asked) in of_version_1 {
        ensure!(!is_asked, "linux.resources.memory.{name}: cgroup version 2 has no such setting");
    }
    let bound = memory.limit().unwrap_or(0);
    found.memory_max = limit(bound);
    found.memory_low = memory.reservation().and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
    found.swap_max = match (memory.swap().unwrap_or(0), bound) {
        // Unlimited memory with limited swap makes no sense; whoever lifts the one lifts both.
        (0, ..0) | (..0, _) => Some(Limit::Max),
        (0, _) => None,
        (_, ..=0) => bail!("linux.resources.memory: a limit of memory and swap together needs a limit of memory"),
        (both, memory) => {
            ensure!(
                both >= memory,
                "linux.resources.memory: swap ({both}) counts memory ({memory}) in and cannot be less"
            );
            Some(Limit::At((both - memory) as u64))
        }
    };
    Ok(())
}

fn processor(cpu: &LinuxCpu, found: &mut Resources) -> Result<()> {
    if cpu.realtime_runtime().is_some_and(|runtime| runtime != 0) || cpu.realtime_period().unwrap_or(0) != 0 {
        bail!("linux.resources.cpu.realtimeRuntime, realtimePeriod: cgroup version 2 has no such limit");
    }
    found.cpu_weight = cpu.shares().filter(|shares| *shares > 0).map(weight_from_shares);
    found.cpu_idle = cpu.idle().map(|idle| idle != 0);
    found.cpu_burst = cpu.burst();
    let period = cpu.period().filter(|period| *period > 0);
    found.cpu_max = match (cpu.quota().and_then(limit), period) {
        (None, None) => None,
        (quota, period) => Some((quota.unwrap_or(Limit::Max), period)),
    };
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    found.cpuset_cpus = text(cpu.cpus());
    found.cpuset_mems = text(cpu.mems());
    Ok(())
}

/// Version 1: 10 to 1000. Version 2: 1 to 10000.
fn disk_weight(weight: u16) -> u64 {
    let weight = u64::from(weight).clamp(10, 1000);
    1 + (weight - 10) * 9999 / 990
}

fn disk(disks: &LinuxBlockIo, found: &mut Resources) -> Result<()> {
    let is_asked = |weight: &u16| *weight > 0;
    found.io_weight = disks.weight().filter(is_asked).map(disk_weight);
    let weights = disks.weight_device().iter().flatten();
    let leaves = weights.clone().map(LinuxWeightDevice::leaf_weight).chain([disks.leaf_weight()]);
    if leaves.flatten().any(|weight| weight > 0) {
        bail!("linux.resources.blockIO.leafWeight: cgroup version 2 does not weigh a group against those below it");
    }
    for device in weights {
        if let Some(weight) = device.weight().filter(is_asked) {
            found.io_weights.push((format!("{}:{}", device.major(), device.minor()), disk_weight(weight)));
        }
    }
    let bounds = [
        ("rbps", disks.throttle_read_bps_device()),
        ("wbps", disks.throttle_write_bps_device()),
        ("riops", disks.throttle_read_iops_device()),
        ("wiops", disks.throttle_write_iops_device()),
    ];
    for (word, devices) in bounds {
        for device in devices.iter().flatten() {
            let rate = if device.rate() == 0 { Limit::Max } else { Limit::At(device.rate()) };
            found.io_max.push((format!("{}:{} {word}", device.major(), device.minor()), rate));
        }
    }
    Ok(())
}

/// Device rules; those for what every container has (null, zero, full, random, urandom, tty, terminals) are added, as
/// every runtime does. Empty if the bundle says nothing.
pub fn devices(asked: &LinuxResources) -> Result<Vec<Rule>> {
    let asked = asked.devices().as_deref().unwrap_or_default();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let mut rules = asked.iter().map(device).collect::<Result<Vec<_>>>().context("linux.resources.devices")?;
    let allow = |kind, major, minor, access| Rule { allow: true, kind: Some(kind), major, minor, access };
    // To make a device file is not yet to use it.
    rules.push(allow(Kind::Character, None, None, MAKE));
    rules.push(allow(Kind::Block, None, None, MAKE));
    let all = READ | WRITE | MAKE;
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(allow(Kind::Character, Some(major), Some(minor), all));
    }
    // The other ends of pseudo-terminals.
    rules.push(allow(Kind::Character, Some(136), None, all));
    Ok(rules)
}

fn device(asked: &LinuxDeviceCgroup) -> Result<Rule> {
    let kind = match asked.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(Kind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Kind::Character),
        Some(LinuxDeviceType::P) => bail!("a fifo is no device"),
    };
    // -1 is runc's word for any.
    let number = |number: Option<i64>| match number {
        None | Some(..0) => Ok(None),
        Some(number) => u32::try_from(number).map(Some).with_context(|| format!("number {number}")),
    };
    let mut access = 0;
    let words = asked.access().as_deref().filter(|words| !words.is_empty()).unwrap_or("rwm");
    for letter in words.chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MAKE,
            other => bail!("access {words:?}: {other:?} is none of r, w, m"),
        };
    }
    Ok(Rule { allow: asked.allow(), kind, major: number(asked.major())?, minor: number(asked.minor())?, access })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<Resources> {
        resources(&serde_json::from_value(json).expect("OCI's JSON"))
    }

    fn memory(limit: i64, swap: i64) -> Result<Option<Limit>> {
        read(serde_json::json!({ "memory": { "limit": limit, "swap": swap } })).map(|found| found.swap_max)
    }

    #[test]
    fn swap_counts_memory_in() {
        assert_eq!(memory(100, 150).expect("sound"), Some(Limit::At(50)));
        assert_eq!(memory(100, 100).expect("sound"), Some(Limit::At(0)));
        assert_eq!(memory(100, -1).expect("sound"), Some(Limit::Max));
        assert_eq!(memory(100, 0).expect("sound"), None);
        assert_eq!(memory(-1, 0).expect("sound"), Some(Limit::Max));
        assert!(memory(100, 99).is_err() && memory(0, 100).is_err() && memory(-1, 100).is_err());
    }

    #[test]
    fn minus_one_is_no_limit_and_zero_is_not_asked() {
        let pids = |limit: i64| read(serde_json::json!({ "pids": { "limit": limit } })).expect("sound").pids_max;
        assert_eq!([pids(-1), pids(0), pids(5)], [Some(Limit::Max), None, Some(Limit::At(5))]);
    }

    #[test]
    fn a_disk_and_a_network_card_are_named_by_the_kernel() {
        let found = read(serde_json::json!({
            "blockIO": {
                "weight": 10, "weightDevice": [{ "major": 8, "minor": 16, "weight": 1000 }],
                "throttleReadBpsDevice": [{ "major": 8, "minor": 0, "rate": 600 }],
            },
            "rdma": { "mlx4_0": { "hcaHandles": 3 } },
        }))
        .expect("sound");
        assert_eq!((found.io_weight, found.io_weights), (Some(1), vec![("8:16".into(), 10_000)]));
        assert_eq!(found.io_max, [("8:0 rbps".into(), Limit::At(600))]);
        assert_eq!(found.rdma_max, ["mlx4_0 hca_handle=3 hca_object=max"]);
    }

    #[test]
    fn half_a_processor_is_a_quota_of_its_period() {
        let cpu = |json: serde_json::Value| read(serde_json::json!({ "cpu": json })).expect("sound").cpu_max;
        assert_eq!(
            cpu(serde_json::json!({ "quota": 50000, "period": 100_000 })),
            Some((Limit::At(50000), Some(100_000)))
        );
        assert_eq!(cpu(serde_json::json!({ "quota": -1 })), Some((Limit::Max, None)));
        assert_eq!(cpu(serde_json::json!({ "shares": 1024 })), None);
    }

    #[test]
    fn a_rule_of_devices_is_read_with_its_letters() {
        let read = |json: serde_json::Value| {
            devices(&serde_json::from_value(serde_json::json!({ "devices": json })).expect("OCI's JSON"))
        };
        assert!(read(serde_json::json!([])).expect("nothing").is_empty());
        let rules = read(serde_json::json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": -1, "access": "r" }
        ]))
        .expect("sound");
        assert_eq!(rules[0], Rule { allow: false, kind: None, major: None, minor: None, access: 7 });
        let ten = Rule { allow: true, kind: Some(Kind::Character), major: Some(10), minor: None, access: READ };
        assert_eq!(rules[1], ten);
        let error = read(serde_json::json!([{ "allow": true, "access": "rx" }])).expect_err("x");
        assert_eq!(format!("{error:#}"), "linux.resources.devices: access \"rx\": 'x' is none of r, w, m");
    }
}
