//! Every line of `unsafe` in podling, and nothing else.
//!
//! Most system calls reach us through nix, which is safe. What nix lacks is here: `clone3`, the mount calls that work
//! on descriptors, seccomp, capabilities, System V IPC, a few `prctl`s and ioctls, and the one step from a raw
//! descriptor number (an inherited descriptor is only a number) to an owned one. Each function makes one call and returns
//! a plain `nix::Result`; meaning, order and narration belong to `crate::linux`.
//!
//! The subtlety is `clone3`: a copied process has one thread, and the locks that other threads held stay held for
//! ever. So it refuses to run in a process with more than one thread, and that makes it safe to call.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, OsString, c_int, c_long, c_void};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;
use nix::poll::PollFd;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::unistd::Pid;

/// Turns a system call's return value into a result.
fn check(value: c_long) -> Result<c_long> {
    if value == -1 { Err(Errno::last()) } else { Ok(value) }
}

fn c_string(text: impl AsRef<[u8]>) -> Result<CString> {
    CString::new(text.as_ref()).map_err(|_| Errno::EINVAL)
}

fn c_path(path: &Path) -> Result<CString> {
    c_string(path.as_os_str().as_bytes())
}

/// Takes ownership of a descriptor that a system call just returned.
fn owned(fd: c_long) -> OwnedFd {
    // SAFETY: every caller passes the non-negative value a descriptor-making system call returned a moment ago, which
    // nobody else owns yet.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

// ---------------------------------------------------------------------------------------------- processes

/// Which side of `clone3` we are on.
#[derive(Debug)]
pub enum Side {
    /// The caller, with the child's pid and a descriptor that names the child for as long as it is held.
    Parent(Pid, OwnedFd),
    /// The copy.
    Child,
}

/// `struct clone_args` of clone3(2), version 2 (88 bytes).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `CLONE_INTO_CGROUP`. libc declares this 34-bit flag as a C int on glibc, where it is zero.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// `CLONE_NEWTIME` shares its bit with the exit signal's byte of clone(2), and so exists only for clone3 and unshare.
pub const CLONE_NEWTIME: c_int = 0x80;

/// Copies this process into new namespaces (`flags`: `CLONE_NEW*`, `CLONE_PARENT`), born inside `cgroup` if one is
/// given. A pidfd is always asked for; the exit signal is `SIGCHLD`, except with `CLONE_PARENT`, where the kernel wants
/// none.
///
/// Errors: clone3(2)'s; and `EBUSY` if this process has more than one thread, since the copy would inherit whatever the
/// other threads were in the middle of.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd>) -> Result<Side> {
    // One call instead of listing the directory: it has as many links as entries, and two of them are `.` and `..`.
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self/task").is_ok_and(|task| task.nlink() > 3) {
        return Err(Errno::EBUSY);
    }
    let mut pidfd: c_int = -1;
    let mut arguments = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without a stack or CLONE_VM this is fork(2): the child runs on a copy of this stack, and the check above
    // leaves no other thread whose locks it could miss. `arguments` and `pidfd` outlive the call.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArgs>()) })?;
    Ok(if pid == 0 { Side::Child } else { Side::Parent(Pid::from_raw(pid as i32), owned(c_long::from(pidfd))) })
}

/// Ends this process at once, without the exit handlers that belong to the process it was copied from.
pub fn exit_now(status: c_int) -> ! {
    // SAFETY: _exit takes any number and does not return.
    unsafe { libc::_exit(status) }
}

/// A descriptor that names process `pid` until it is closed (pidfd_open(2)); poll reports it readable when it ends.
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: two numbers.
    check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) }).map(owned)
}

/// Sends a signal (0 only asks whether it could be sent) to exactly the process that `pidfd` names.
pub fn pidfd_send_signal(pidfd: BorrowedFd, signal: c_int) -> Result<()> {
    let none = std::ptr::null::<c_void>();
    // SAFETY: a null siginfo means the same as kill(2) would send.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) }).map(drop)
}

/// Takes over descriptor number `fd`, which our parent left open for us.
///
/// Errors: `EBADF` if it is not open. The caller must not have taken the same number over before.
pub fn inherited(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_GETFD only asks.
    check(c_long::from(unsafe { libc::fcntl(fd, libc::F_GETFD) }))?;
    Ok(owned(c_long::from(fd)))
}

/// Makes the number `old` stand for what `new` stands for (dup3(2)), close-on-exec; its owner owns that from now on.
pub fn replace(old: BorrowedFd, new: BorrowedFd) -> Result<()> {
    // SAFETY: both are open, and `old` stays open: only what it stands for changes.
    check(c_long::from(unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) })).map(drop)
}

/// Marks every descriptor from `first` up close-on-exec (close_range(2)): nothing the caller leaked reaches the program.
pub fn close_on_exec_from(first: RawFd) -> Result<()> {
    // SAFETY: CLOSE_RANGE_CLOEXEC closes nothing now; it sets a flag on descriptors, whoever owns them.
    let call =
        unsafe { libc::syscall(libc::SYS_close_range, first as u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as c_int) };
    check(call).map(drop)
}

/// Closes descriptors `first` to `last`, whoever left them open for us (close_range(2)).
///
/// For the very beginning of a `main`, before this program has opened anything of its own.
pub fn close_inherited(first: RawFd, last: RawFd) -> Result<()> {
    // SAFETY: as said above, nothing in this program owns a descriptor of this range yet.
    check(unsafe { libc::syscall(libc::SYS_close_range, first as u32, last as u32, 0) }).map(drop)
}

/// Lets go of this program's read-only pages, its own and its libraries' (madvise(2), `MADV_DONTNEED`): they stay in the
/// page cache, and those that are needed again are mapped again when touched. Starting takes much more code than waiting.
pub fn release_code() {
    for (start, length) in code() {
        // SAFETY: the pages are a private mapping of a file, never written, so the file brings back the same.
        unsafe { libc::madvise(start as *mut c_void, length, libc::MADV_DONTNEED) };
    }
}

/// Lets go of them and waits, as ppoll(2) does; `timeout` none: for as long as it takes.
///
/// Both in one function, with nothing but system calls in it: whatever runs after the last page has gone brings back its
/// own, and the fifteen around it with it. So while we wait there are only this function's and those of libc's `syscall`.
#[inline(never)]
pub fn poll_without_code(fds: &mut [PollFd], timeout: Option<Duration>) -> Result<c_long> {
    let mut left = timeout.map(|left| libc::timespec {
        tv_sec: left.as_secs() as libc::time_t,
        tv_nsec: c_long::from(left.subsec_nanos()),
    });
    let left = left.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
    let no_mask = std::ptr::null::<libc::sigset_t>();
    let segments = code();
    for &(start, length) in &segments {
        // SAFETY: as in release_code.
        unsafe { libc::syscall(libc::SYS_madvise, start, length, libc::MADV_DONTNEED) };
    }
    // SAFETY: a PollFd is a pollfd (repr(transparent)); `fds` and `left` outlive the call, which is told how many there are.
    check(unsafe { libc::syscall(libc::SYS_ppoll, fds.as_mut_ptr(), fds.len(), left, no_mask, 0) })
}

/// Where this program's read-only segments are, and its libraries': address and length, in whole pages.
fn code() -> Vec<(usize, usize)> {
    unsafe extern "C" fn list(object: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
        // SAFETY: the dynamic linker (or libc, in a static program) passes a valid object for the time of this call, and
        // what it was given for us, the list below.
        let (object, found) = unsafe { (&*object, &mut *found.cast::<Vec<(usize, usize)>>()) };
        if object.dlpi_phdr.is_null() {
            return 0;
        }
        // SAFETY: dlpi_phdr points to dlpi_phnum headers.
        let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
        // Only segments that nobody may write: relocated data lies in a writable one.
        for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
            let start = (object.dlpi_addr + header.p_vaddr) & !0xfff;
            let end = (object.dlpi_addr + header.p_vaddr + header.p_memsz) & !0xfff;
            if end > start {
                found.push((start as usize, (end - start) as usize));
            }
        }
        0
    }
    let mut found = Vec::new();
    // SAFETY: the callback keeps nothing of what it is shown, and the list outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(list), (&raw mut found).cast()) };
    found
}

/// How many seconds local time is ahead of UTC at `seconds` since 1970 (localtime_r(3)); 0 if that cannot be told.
pub fn local_offset(seconds: i64) -> i64 {
    // SAFETY: an all-zero tm is valid, and localtime_r fills it.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers outlive the call; the environment is not changed by another thread (we set no variables).
    unsafe { libc::localtime_r(&raw const seconds, &raw mut local) };
    local.tm_gmtoff
}

/// prctl(2) with number arguments only; the options we use take no pointers.
fn prctl(option: c_int, a: u64, b: u64) -> Result<c_long> {
    // SAFETY: private to this file; every caller passes an option whose arguments are plain numbers.
    check(c_long::from(unsafe { libc::prctl(option, a, b, 0u64, 0u64) }))
}

/// Drops capability number `capability` from the bounding set. `EINVAL`: the kernel knows no such capability.
pub fn drop_bounding(capability: u8) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0).map(drop)
}

/// Whether the bounding set holds capability number `capability`. `EINVAL`: the kernel knows no such capability.
pub fn in_bounding(capability: u8) -> Result<bool> {
    prctl(libc::PR_CAPBSET_READ, u64::from(capability), 0).map(|held| held == 1)
}

/// Empties the ambient set.
pub fn clear_ambient() -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).map(drop)
}

/// Raises one capability in the ambient set; it must be permitted and inheritable.
pub fn raise_ambient(capability: u8) -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, u64::from(capability)).map(drop)
}

/// Whether the ambient set holds capability number `capability`. `EINVAL`: the kernel knows no such capability.
pub fn in_ambient(capability: u8) -> Result<bool> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET as u64, u64::from(capability)).map(|held| held == 1)
}

/// Whether capabilities survive the change from uid 0 to another (`PR_SET_KEEPCAPS`); cleared by execve.
pub fn set_keep_capabilities(keep: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep), 0).map(drop)
}

/// The three sets of this thread, as bit masks by capability number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// What the kernel checks.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What may pass an execve.
    pub inheritable: u64,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Reads this thread's capability sets (capget(2)).
pub fn capget() -> Result<CapabilitySets> {
    let header = [CAPABILITY_VERSION_3, 0];
    let mut data = [0u32; 6];
    // SAFETY: version 3 means a header of two words and six words of data.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    let join = |low: usize| u64::from(data[low]) | u64::from(data[low + 3]) << 32;
    Ok(CapabilitySets { effective: join(0), permitted: join(1), inheritable: join(2) })
}

/// Sets this thread's capability sets (capset(2)).
pub fn capset(sets: CapabilitySets) -> Result<()> {
    let header = [CAPABILITY_VERSION_3, 0];
    let all = [sets.effective, sets.permitted, sets.inheritable];
    let mut data = [0u32; 6];
    for (index, set) in all.into_iter().enumerate() {
        data[index] = set as u32;
        data[index + 3] = (set >> 32) as u32;
    }
    // SAFETY: version 3 means a header of two words and six words of data.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// Installs a seccomp filter on this thread (seccomp(2), `SECCOMP_SET_MODE_FILTER`). With
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` in `flags` the notification descriptor is returned.
pub fn seccomp_filter(program: &[libc::sock_filter], flags: u64) -> Result<Option<OwnedFd>> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let mode = c_long::from(libc::SECCOMP_SET_MODE_FILTER);
    // SAFETY: the kernel copies `len` instructions from `filter` and never writes there.
    let value = check(unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) })?;
    Ok((flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0).then(|| owned(value)))
}

/// Makes a system call whose arguments are numbers only, for tests that need to say what no C library would.
#[cfg(test)]
pub fn call_with_numbers(number: c_long, arguments: [u64; 3]) -> Result<c_long> {
    let [a, b, c] = arguments;
    // SAFETY: tests pass calls that take plain numbers, or that a filter refuses before the kernel looks at a pointer.
    check(unsafe { libc::syscall(number, a, b, c, 0u64, 0u64, 0u64) })
}

/// Joins a new session keyring named `name`, so that the container cannot read the caller's keys (keyctl(2)).
pub fn join_session_keyring(name: &str) -> Result<()> {
    let name = c_string(name)?;
    let operation = c_long::from(libc::KEYCTL_JOIN_SESSION_KEYRING);
    // SAFETY: the name is a C string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, operation, name.as_ptr()) }).map(drop)
}

/// Sets the group list with the bare system call (glibc's would first signal every thread; we have one).
pub fn setgroups(groups: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads `len` group ids from the pointer.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets the NIS domain name of our UTS namespace.
pub fn setdomainname(name: &str) -> Result<()> {
    // SAFETY: the kernel reads `len` bytes from the pointer.
    check(c_long::from(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) })).map(drop)
}

/// Sets device `lo`'s flag `IFF_UP` (netdevice(7)).
pub fn raise_loopback() -> Result<()> {
    // SAFETY: numbers only.
    let socket = check(c_long::from(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }))
        .map(owned)?;
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, and the name in it ends with a zero.
    check(c_long::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })).map(drop)
}

/// Gives `SIGPIPE` its default action again. Rust ignores it at start, and execve would pass that on.
pub fn restore_sigpipe() -> Result<()> {
    // SAFETY: the default action runs no code of ours.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if before == libc::SIG_ERR { Err(Errno::last()) } else { Ok(()) }
}

/// Gives every signal its default action again. What was ignored when a program was started (by `nohup`, or by a shell
/// that started it in the background) stays ignored over execve.
pub fn default_signals() {
    for number in 1..=64 {
        // SAFETY: the default action runs no code of ours. Refused are KILL and STOP, which nobody can ignore, and the two
        // that the C library keeps for itself.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// Lets the program that `command` starts have all signals, though this process has blocked some: the mask of blocked
/// signals outlives execve (signal(7)), and few programs look at what they were born with.
pub fn unblock_signals_of(command: &mut Command) {
    // SAFETY: between fork and execve only async-signal-safe functions may be called, as sigprocmask is
    // (signal-safety(7)).
    unsafe {
        command.pre_exec(|| Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?));
    }
}

/// Has the kernel kill the program that `command` starts when the thread that starts it ends.
pub fn end_with_us(command: &mut Command) {
    let us = Pid::this();
    // SAFETY: between fork and execve only async-signal-safe functions may be called, as prctl, getppid and raise are
    // (signal-safety(7)).
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // We may have ended before that was said (prctl(2), PR_SET_PDEATHSIG).
            if Pid::parent() != us {
                raise(Signal::SIGKILL)?;
            }
            Ok(())
        });
    }
}

// ---------------------------------------------------------------------------------------------- scheduling

/// `struct sched_attr` of sched_setattr(2), without what clamps utilization.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// Of this structure; filled in when it is used.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 (first) to 19, for the ordinary policies.
    pub nice: i32,
    /// 1 to 99 (first), for the real-time policies.
    pub priority: u32,
    /// Nanoseconds of every period, for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// By when, in nanoseconds from the period's begin.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// Sets how the kernel chooses when a process (its first thread) runs.
pub fn sched_setattr(pid: Pid, scheduling: &Scheduling) -> Result<()> {
    let attributes = Scheduling { size: size_of::<Scheduling>() as u32, ..*scheduling };
    // SAFETY: the structure says its own size, and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid.as_raw(), &raw const attributes, 0) }).map(drop)
}

/// Sets a process's priority at the disk: class and level in one number (ioprio_set(2)).
pub fn ioprio_set(pid: Pid, priority: c_int) -> Result<()> {
    const WHO_PROCESS: c_int = 1;
    // SAFETY: three numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, pid.as_raw(), priority) }).map(drop)
}

/// Sets from which nodes this process's memory comes: mode and flags in one number, the nodes as a bit mask.
pub fn set_mempolicy(mode: c_int, nodes: &[u64]) -> Result<()> {
    // The kernel takes one off before it counts.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let pointer = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the kernel reads `bits` - 1 bits, which is the whole slice.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

/// Sets this process's personality(2).
pub fn set_personality(personality: u32) -> Result<()> {
    // SAFETY: a number.
    check(c_long::from(unsafe { libc::personality(libc::c_ulong::from(personality)) })).map(drop)
}

// ---------------------------------------------------------------------------------------------- bpf

/// `union bpf_attr` of bpf(2), as the commands below use it; each uses the words that it is documented to use.
#[repr(C)]
#[derive(Default)]
struct BpfLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

#[repr(C)]
#[derive(Default)]
struct BpfAttach {
    target: u32,
    program: u32,
    point: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct BpfQuery {
    target: u32,
    point: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

const BPF_PROG_LOAD: c_int = 5;
const BPF_PROG_ATTACH: c_int = 8;
const BPF_PROG_DETACH: c_int = 9;
const BPF_PROG_GET_FD_BY_ID: c_int = 13;
const BPF_PROG_QUERY: c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Loads a program of 8-byte instructions that says which devices a cgroup may use. `EINVAL` or `EACCES`: the kernel's
/// verifier did not take it; `EPERM`: it takes `CAP_BPF` and `CAP_SYS_ADMIN` outside of any user namespace.
pub fn bpf_load_device_filter(instructions: &[u64]) -> Result<OwnedFd> {
    let load = BpfLoad {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        licence: c"Dual MIT/GPL".as_ptr() as u64,
        ..BpfLoad::default()
    };
    // SAFETY: `count` instructions and the licence outlive the call, which only reads them and the structure.
    check(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<BpfLoad>()) }).map(owned)
}

fn bpf_on_cgroup(command: c_int, cgroup: BorrowedFd, program: BorrowedFd, flags: u32) -> Result<()> {
    let attach = BpfAttach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        point: BPF_CGROUP_DEVICE,
        flags,
    };
    // SAFETY: attach and detach read four words.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attach, size_of::<BpfAttach>()) }).map(drop)
}

/// Lets a loaded device filter decide for a cgroup, together with those that are there already.
pub fn bpf_attach_device_filter(cgroup: BorrowedFd, program: BorrowedFd) -> Result<()> {
    bpf_on_cgroup(BPF_PROG_ATTACH, cgroup, program, BPF_F_ALLOW_MULTI)
}

/// Takes a device filter away from a cgroup.
pub fn bpf_detach_device_filter(cgroup: BorrowedFd, program: BorrowedFd) -> Result<()> {
    bpf_on_cgroup(BPF_PROG_DETACH, cgroup, program, 0)
}

/// The device filters that decide for a cgroup (up to 64).
pub fn bpf_device_filters(cgroup: BorrowedFd) -> Result<Vec<OwnedFd>> {
    let mut ids = [0u32; 64];
    let mut query = BpfQuery {
        target: cgroup.as_raw_fd() as u32,
        point: BPF_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..BpfQuery::default()
    };
    // SAFETY: the kernel writes at most `count` ids, and the count, into memory that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<BpfQuery>()) })?;
    let ids = ids.iter().take(query.count as usize);
    // SAFETY: the command reads the one word that it is given.
    ids.map(|id| check(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_GET_FD_BY_ID, &raw const *id, 4) }).map(owned))
        .collect()
}

// ---------------------------------------------------------------------------------------------- mounts

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct MountAttributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_PRIVATE`, `MS_SLAVE`, `MS_UNBINDABLE` or 0 for no change.
    pub propagation: u64,
    /// The user namespace of `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

/// Changes a mount's attributes, with `AT_RECURSIVE` in `flags` those of the whole tree; `path` may be empty with
/// `AT_EMPTY_PATH`.
pub fn mount_setattr(at: BorrowedFd, path: &Path, flags: c_int, attributes: &MountAttributes) -> Result<()> {
    let path = c_path(path)?;
    let size = size_of::<MountAttributes>();
    // SAFETY: path and attributes outlive the call, and the size is theirs.
    let call = unsafe {
        libc::syscall(libc::SYS_mount_setattr, at.as_raw_fd(), path.as_ptr(), flags, &raw const *attributes, size)
    };
    check(call).map(drop)
}

/// A descriptor for a mount, or with `OPEN_TREE_CLONE` for a detached copy of it (`AT_RECURSIVE`: of the whole tree).
pub fn open_tree(at: BorrowedFd, path: &Path, flags: u32) -> Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = flags | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path outlives the call.
    check(unsafe { libc::syscall(libc::SYS_open_tree, at.as_raw_fd(), path.as_ptr(), flags) }).map(owned)
}

/// Attaches the detached mount `from` onto the file or directory that `to` holds open: no path is resolved twice.
pub fn move_mount(from: BorrowedFd, to: BorrowedFd) -> Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let empty = c"".as_ptr();
    // SAFETY: both paths are empty C strings.
    let call = unsafe { libc::syscall(libc::SYS_move_mount, from.as_raw_fd(), empty, to.as_raw_fd(), empty, flags) };
    check(call).map(drop)
}

/// Begins a new file system of type `kind` (fsopen(2)).
pub fn fsopen(kind: &str) -> Result<OwnedFd> {
    let kind = c_string(kind)?;
    // SAFETY: the name outlives the call.
    check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) }).map(owned)
}

fn fsconfig(fs: BorrowedFd, command: u32, key: Option<&CStr>, value: Option<&CStr>) -> Result<()> {
    let key = key.map_or(std::ptr::null(), CStr::as_ptr);
    let value = value.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: key and value are C strings or null, as the commands below want, and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), command, key, value, 0) }).map(drop)
}

/// Sets option `key` of a file system begun by [`fsopen`]; `None` sets a flag without a value.
pub fn fsconfig_set(fs: BorrowedFd, key: &str, value: Option<&str>) -> Result<()> {
    let key = c_string(key)?;
    match value {
        Some(value) => fsconfig(fs, libc::FSCONFIG_SET_STRING, Some(&key), Some(&c_string(value)?)),
        None => fsconfig(fs, libc::FSCONFIG_SET_FLAG, Some(&key), None),
    }
}

/// Makes the file system's superblock.
pub fn fsconfig_create(fs: BorrowedFd) -> Result<()> {
    fsconfig(fs, libc::FSCONFIG_CMD_CREATE, None, None)
}

/// A detached mount of the created file system with `attributes` (`MOUNT_ATTR_*`).
pub fn fsmount(fs: BorrowedFd, attributes: u64) -> Result<OwnedFd> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), libc::FSMOUNT_CLOEXEC, attributes) }).map(owned)
}

// ---------------------------------------------------------------------------------------------- terminals

/// Makes the terminal `fd` the controlling terminal of this session (`TIOCSCTTY`).
pub fn set_controlling_terminal(fd: BorrowedFd) -> Result<()> {
    // SAFETY: TIOCSCTTY takes a number.
    check(c_long::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) })).map(drop)
}

/// The size of a terminal: (rows, columns).
pub fn window_size(fd: BorrowedFd) -> Result<(u16, u16)> {
    // SAFETY: an all-zero winsize is valid, and the kernel fills it.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes one winsize.
    check(c_long::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }))?;
    Ok((size.ws_row, size.ws_col))
}

/// Sets the size of a terminal; its foreground process group gets SIGWINCH.
pub fn set_window_size(fd: BorrowedFd, rows: u16, columns: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize.
    check(c_long::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })).map(drop)
}

/// Lets the other end of a pty be opened (`TIOCSPTLCK` with 0).
pub fn pty_unlock(master: BorrowedFd) -> Result<()> {
    let unlocked: c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    check(c_long::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) })).map(drop)
}

/// The other end of a pty whose master is `master` (`TIOCGPTPEER`): no path in an untrusted /dev is opened.
pub fn pty_peer(master: BorrowedFd) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open(2) flags as a number.
    check(c_long::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })).map(owned)
}

// ---------------------------------------------------------------------------------------------- extended attributes

/// Sets an extended attribute of an open file or directory (fsetxattr(2)).
pub fn fsetxattr(fd: BorrowedFd, name: &OsStr, value: &[u8]) -> Result<()> {
    let name = c_string(name.as_bytes())?;
    // SAFETY: the kernel reads `value.len()` bytes from the pointer; name and value outlive the call.
    let call = unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    check(c_long::from(call)).map(drop)
}

/// The names of the extended attributes of an open file or directory (flistxattr(2)).
pub fn flistxattr(fd: BorrowedFd) -> Result<Vec<OsString>> {
    let bytes = measured(|buffer, size| {
        // SAFETY: the kernel writes at most `size` bytes, which the buffer has; a null buffer comes with size 0.
        unsafe { libc::flistxattr(fd.as_raw_fd(), buffer.cast(), size) }
    })?;
    Ok(bytes.split(|b| *b == 0).filter(|name| !name.is_empty()).map(|name| OsStr::from_bytes(name).into()).collect())
}

/// The value of an extended attribute of an open file or directory (fgetxattr(2)).
pub fn fgetxattr(fd: BorrowedFd, name: &OsStr) -> Result<Vec<u8>> {
    let name = c_string(name.as_bytes())?;
    measured(|buffer, size| {
        // SAFETY: the kernel writes at most `size` bytes, which the buffer has; a null buffer comes with size 0.
        unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), buffer.cast(), size) }
    })
}

/// Calls something that tells how large a buffer it wants, then again with one; and again, if meanwhile it wants more.
fn measured(call: impl Fn(*mut u8, usize) -> isize) -> Result<Vec<u8>> {
    loop {
        let size = check(call(std::ptr::null_mut(), 0) as c_long)? as usize;
        let mut buffer = vec![0; size];
        match check(call(buffer.as_mut_ptr(), size) as c_long) {
            Ok(filled) => {
                buffer.truncate(filled as usize);
                return Ok(buffer);
            }
            Err(Errno::ERANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
}

// ---------------------------------------------------------------------------------------------- System V IPC

/// The longest text of a message: the kernel's own first setting of `kernel.msgmax`.
pub const MESSAGE_MAX: usize = 8192;

/// `struct msgbuf` of msgop(2).
#[repr(C)]
struct Message {
    kind: c_long,
    text: [u8; MESSAGE_MAX],
}

/// The id of the message queue with this key (msgget(2)). `flags`: `IPC_CREAT` and a mode to make it.
pub fn msgget(key: i32, flags: c_int) -> Result<c_int> {
    // SAFETY: two numbers.
    check(c_long::from(unsafe { libc::msgget(key, flags) })).map(|id| id as c_int)
}

/// Puts a message of type 1 into a queue, waiting while that is full (msgsnd(2)).
pub fn msgsnd(queue: c_int, text: &[u8]) -> Result<()> {
    let mut message = Message { kind: 1, text: [0; MESSAGE_MAX] };
    message.text.get_mut(..text.len()).ok_or(Errno::E2BIG)?.copy_from_slice(text);
    // SAFETY: the kernel reads the type and as many bytes of text as were written there.
    check(c_long::from(unsafe { libc::msgsnd(queue, (&raw const message).cast(), text.len(), 0) })).map(drop)
}

/// Takes the oldest message out of a queue, waiting for one unless `flags` has `IPC_NOWAIT` (msgrcv(2)).
pub fn msgrcv(queue: c_int, flags: c_int) -> Result<Vec<u8>> {
    let mut message = Message { kind: 0, text: [0; MESSAGE_MAX] };
    // SAFETY: the kernel writes the type and at most MESSAGE_MAX bytes of text, for which there is room.
    let length = unsafe { libc::msgrcv(queue, (&raw mut message).cast(), MESSAGE_MAX, 0, flags) };
    check(length as c_long).map(|length| message.text[..length as usize].to_vec())
}

/// Removes a message queue, at once and whoever waits at it (msgctl(2)).
pub fn msgctl_remove(queue: c_int) -> Result<()> {
    // SAFETY: IPC_RMID takes no buffer.
    check(c_long::from(unsafe { libc::msgctl(queue, libc::IPC_RMID, std::ptr::null_mut()) })).map(drop)
}

/// The id of the set of one semaphore with this key (semget(2)); a new one's value is 0.
pub fn semget(key: i32, flags: c_int) -> Result<c_int> {
    // SAFETY: three numbers.
    check(c_long::from(unsafe { libc::semget(key, 1, flags) })).map(|id| id as c_int)
}

/// Adds `change` to the semaphore; where that would make it negative, waits until it does not, or with `IPC_NOWAIT` in
/// `flags` answers `EAGAIN` (semop(2)).
pub fn semop(set: c_int, change: i16, flags: c_int) -> Result<()> {
    let mut operation = libc::sembuf { sem_num: 0, sem_op: change, sem_flg: flags as i16 };
    // SAFETY: the kernel reads one operation.
    check(c_long::from(unsafe { libc::semop(set, &raw mut operation, 1) })).map(drop)
}

/// Removes a set of semaphores (semctl(2)).
pub fn semctl_remove(set: c_int) -> Result<()> {
    // SAFETY: IPC_RMID takes no fourth argument.
    check(c_long::from(unsafe { libc::semctl(set, 0, libc::IPC_RMID) })).map(drop)
}

/// The id of the shared memory segment with this key, of at least `size` bytes (shmget(2)); a new one is all zeros.
pub fn shmget(key: i32, size: usize, flags: c_int) -> Result<c_int> {
    // SAFETY: three numbers.
    check(c_long::from(unsafe { libc::shmget(key, size, flags) })).map(|id| id as c_int)
}

/// A shared memory segment in our address space, until it is dropped. Other processes write there while we look: so it
/// is a slice of atomic bytes, which Rust may share.
#[derive(Debug)]
pub struct SharedMemory {
    address: std::ptr::NonNull<std::sync::atomic::AtomicU8>,
    size: usize,
}

/// Attaches a shared memory segment (shmat(2)), wherever there is room.
pub fn shmat(segment: c_int) -> Result<SharedMemory> {
    // SAFETY: an all-zero shmid_ds is valid.
    let mut about: libc::shmid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: IPC_STAT fills one shmid_ds.
    check(c_long::from(unsafe { libc::shmctl(segment, libc::IPC_STAT, &raw mut about) }))?;
    // SAFETY: without an address the kernel chooses one that is free.
    let address = unsafe { libc::shmat(segment, std::ptr::null(), 0) };
    check(address as c_long)?;
    let address = std::ptr::NonNull::new(address.cast()).ok_or(Errno::EFAULT)?;
    Ok(SharedMemory { address, size: about.shm_segsz })
}

impl std::ops::Deref for SharedMemory {
    type Target = [std::sync::atomic::AtomicU8];

    fn deref(&self) -> &Self::Target {
        // SAFETY: a segment never changes its size, and stays mapped until we are dropped, even if it is removed; bytes
        // that others change meanwhile are what atomics are for.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.size) }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into it any more, and the address is the one that shmat gave.
        unsafe { libc::shmdt(self.address.as_ptr().cast()) };
    }
}

/// Removes a shared memory segment (shmctl(2)): its key is free at once, its memory when the last process has left it.
pub fn shmctl_remove(segment: c_int) -> Result<()> {
    // SAFETY: IPC_RMID takes no buffer.
    check(c_long::from(unsafe { libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()) })).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clone3_refuses_a_process_with_threads() {
        // The test harness itself is threaded.
        assert!(matches!(clone3(0, None), Err(Errno::EBUSY)));
    }

    #[test]
    fn an_inherited_number_that_is_not_open_is_refused() {
        assert_eq!(inherited(9_999).map(drop), Err(Errno::EBADF));
    }
}
