//! The filter that a container gets when nobody asks for another.
//!
//! An allow-list: what is not named is refused, so a system call that the next kernel brings is refused until somebody
//! has thought about it. The names and the reasons are the field's (Docker's and Podman's profiles agree on nearly all of
//! them). Where they differ we are with Docker: making namespaces and mounts takes `CAP_SYS_ADMIN` *in the container*.
//! Podman allows them to all, since the kernel checks capabilities in the new user namespace; but that path is where
//! many of the kernel's holes of the last ten years were found. `--cap-add SYS_ADMIN` or `--security-opt seccomp=FILE`
//! opens it.
//!
//! Three answers, and why three:
//!
//! * `EPERM` for what we know and refuse: the program may not, and should hear so.
//! * `ENOSYS` for what we do not know: the C library then falls back on an older call.
//! * `ENOSYS` for clone3 too, though we know it well: its flags lie behind a pointer, where a filter cannot look. Told
//!   that it does not exist, the C library uses clone, whose flags are an argument.
//!
//! Two subtleties. Where the kernel takes an `int`, it throws away the upper 32 bits of an argument; a filter sees all 64.
//! "Allow socket unless the family is 40" lets family 0x1_0000_0028 pass, and the kernel then makes it 40. So an `int` is
//! compared under a mask.
//!
//! And no call fits two rules with different answers. To podling-runtime the first that fits would answer; runc and crun
//! hand the rules to libseccomp, which knows no first, lets a rule without conditions win over all others of its call, and
//! is not told of rules that answer as the default does. A test holds every pair of rules against this.

use std::collections::BTreeSet;

use libc::{EAFNOSUPPORT, EINVAL, ENOSYS, EPERM};

use super::{Action, Architecture, Condition, Filter, Operator, Rule};
use crate::linux::caps::Capability;

/// Allowed to every container: calls that act on what the container has anyway, or that the kernel itself guards well.
const ALLOWED: [&str; 11] = [
    // Files and directories.
    "access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 arm_fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
    fcntl64 fdatasync file_getattr file_setattr flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown lchown32 link linkat _llseek lseek lstat lstat64 mkdir
    mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev
    pwritev2 read readahead readdir readlink readlinkat readv rename renameat renameat2 rmdir sendfile sendfile64 splice
    stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range arm_sync_file_range sync_file_range2 syncfs
    tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes write writev",
    // Extended attributes.
    "fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
    lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat",
    // Memory.
    "brk cachestat get_mempolicy madvise map_shadow_stack mbind membarrier memfd_create memfd_secret mincore mlock
    mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    process_mrelease remap_file_pages set_mempolicy set_mempolicy_home_node",
    // Processes and threads; who they are is the kernel's to check.
    "arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait
    futex_waitv futex_wake get_robust_list get_thread_area getcpu getegid getegid32 geteuid geteuid32 getgid getgid32
    getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32
    getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set modify_ldt nice pidfd_open prctl prlimit64
    restart_syscall rseq rseq_slice_yield sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
    sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield set_robust_list set_thread_area set_tid_address setfsgid setfsgid32
    setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid
    setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 times ugetrlimit uname vfork
    wait4 waitid waitpid",
    // Looking into one's own processes. (Before Linux 4.8 ptrace could pass a filter by; podling needs far younger ones.)
    "process_vm_readv process_vm_writev ptrace uprobe uretprobe",
    // Signals.
    "alarm kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal signalfd
    signalfd4 sigpending sigprocmask sigreturn sigsuspend tgkill tkill",
    // Waiting for something to happen.
    "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
    io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit poll ppoll ppoll_time64 pselect6
    pselect6_time64 select",
    // Time. Setting the clock is not here; adjtimex without CAP_SYS_TIME only reads.
    "adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64",
    // Sockets, once made (making one has rules of its own), and IPC, which its namespace keeps apart. socketcall is how
    // old 32-bit programs do all of this: its arguments lie behind a pointer.
    "accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd pipe
    pipe2 recv recvfrom recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop semtimedop_time64 send sendmmsg
    sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketcall socketpair",
    // Asking about the system, and shutting oneself in further.
    "getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self listmount listns lsm_get_self_attr
    lsm_list_modules lsm_set_self_attr seccomp statmount sysinfo",
    // arm's own.
    "breakpoint cacheflush get_tls set_tls",
];

/// What a capability opens: its number is the index in `linux/capability.h`. A call stands beside every capability that
/// opens it.
const OPENED: [(&str, &str); 14] = [
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
        open_tree open_tree_attr perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname setns syslog
        umount umount2 unshare",
    ),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "create_module delete_module finit_module init_module query_module"),
    ("CAP_SYS_NICE", "migrate_pages move_pages"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
];

/// Refused to all with EPERM: keys are not kept apart by any namespace; the others are relics, or handles that are good
/// for attacks on the kernel and for little else.
const REFUSED: &str = "_sysctl add_key bdflush get_kernel_syms kexec_file_load kexec_load keyctl nfsservctl oldfstat
    oldlstat oldolduname oldstat olduname request_key sgetmask ssetmask swapoff swapon sysfs uselib
    userfaultfd ustat vm86 vm86old vmsplice";

/// The flags of clone(2) that make a namespace, but for `CLONE_NEWTIME`, which clone cannot say.
const NEW_NAMESPACES: [u64; 7] = [
    libc::CLONE_NEWNS as u64,
    libc::CLONE_NEWCGROUP as u64,
    libc::CLONE_NEWUTS as u64,
    libc::CLONE_NEWIPC as u64,
    libc::CLONE_NEWUSER as u64,
    libc::CLONE_NEWPID as u64,
    libc::CLONE_NEWNET as u64,
];

/// Execution domains that are only another uname or another address layout, and the question which one it is.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const NOT_PERMITTED: Action = Action::Errno(EPERM as u16);

/// The default filter for a container whose bounding set is `capabilities` (a mask by capability number).
pub fn profile(capabilities: u64) -> Filter {
    let holds = |name: &str| {
        let bit = name.parse::<Capability>().map_or(0, Capability::bit);
        capabilities & bit != 0
    };
    let mut rules = Vec::new();
    let mut rule = |calls: &[&str], action, conditions: &[Condition]| {
        let syscalls = calls.iter().map(|&name| name.into()).collect();
        rules.push(Rule { syscalls, action, conditions: conditions.to_vec() });
    };

    for calls in ALLOWED {
        rule(&words(calls), Action::Allow, &[]);
    }
    let opened: BTreeSet<&str> =
        OPENED.iter().filter(|(key, _)| holds(key)).flat_map(|(_, calls)| words(calls)).collect();
    rule(&opened.iter().copied().collect::<Vec<_>>(), Action::Allow, &[]);

    // ANCHOR: clone
    // Making threads and processes is for all, making namespaces is not.
    if !opened.contains("clone") {
        rule(&["clone"], Action::Allow, &[masked(0, NEW_NAMESPACES.iter().sum(), 0)]);
        for flag in NEW_NAMESPACES {
            rule(&["clone"], NOT_PERMITTED, &[masked(0, flag, flag)]);
        }
    }
    // ANCHOR_END: clone
    for value in PERSONALITIES {
        rule(&["personality"], Action::Allow, &[Condition { argument: 0, operator: Operator::Equal, value }]);
    }
    sockets(holds("CAP_AUDIT_WRITE"), |action, conditions| rule(&["socket"], action, conditions));

    let closed: BTreeSet<&str> = OPENED.iter().flat_map(|(_, calls)| words(calls)).chain(words(REFUSED)).collect();
    let has_rules_of_its_own = BTreeSet::from(["clone", "clone3"]);
    let closed: Vec<&str> =
        closed.into_iter().filter(|name| !opened.contains(name) && !has_rules_of_its_own.contains(name)).collect();
    rule(&closed, NOT_PERMITTED, &[]);

    Filter {
        default_action: Action::Errno(ENOSYS as u16),
        rules,
        architectures: Architecture::NATIVE.with_relatives(),
        // A program under a filter is not for that reason more open to Spectre; the costly mitigation stays its choice.
        flags: libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    }
}

/// A virtual machine's line to its host, and the kernel's cryptography: neither is kept apart by a namespace. The errno is
/// that of a kernel without them, which programs are ready for.
const CLOSED_FAMILIES: [i32; 2] = [libc::AF_VSOCK, libc::AF_ALG];

/// The families of sockets there are (`AF_MAX`, linux/socket.h), and the protocols that netlink has room for
/// (`MAX_LINKS`, linux/netlink.h).
const FAMILIES: i32 = 46;
const NETLINK_PROTOCOLS: i32 = 32;

/// The rules for socket(2). What is allowed is listed, value by value: "all but these" would fit what is refused, too.
fn sockets(audit: bool, mut rule: impl FnMut(Action, &[Condition])) {
    for family in 0..FAMILIES {
        let is_refused = CLOSED_FAMILIES.contains(&family);
        let answer = if is_refused { Action::Errno(EAFNOSUPPORT as u16) } else { Action::Allow };
        if family != libc::AF_NETLINK || audit {
            rule(answer, &[int(0, family)]);
        }
    }
    if !audit {
        for protocol in 0..NETLINK_PROTOCOLS {
            // sshd, su and sudo take EPERM here for a fault and give up; EINVAL tells them that there is no audit.
            let is_audit = protocol == libc::NETLINK_AUDIT;
            let answer = if is_audit { Action::Errno(EINVAL as u16) } else { Action::Allow };
            rule(answer, &[int(0, libc::AF_NETLINK), int(2, protocol)]);
        }
    }
}

fn words(text: &'static str) -> Vec<&'static str> {
    text.split_whitespace().collect()
}

fn masked(argument: u8, mask: u64, value: u64) -> Condition {
    Condition { argument, operator: Operator::MaskedEqual(mask), value }
}

/// An argument that the kernel takes as an int is this one, whatever its upper half says.
fn int(argument: u8, value: i32) -> Condition {
    masked(argument, 0xffff_ffff, value as u64)
}
