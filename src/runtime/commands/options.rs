//! The options of each command: those of runc and crun. One that belongs to another command is a mistake, and is told.

use crate::runtime::arguments::{Known, Takes};

use Takes::{Nothing, Value};

const HELP_OPTION: Known = ("help", Some('h'), Nothing);

/// Before the command.
pub const GLOBAL: &[Known] = &[
    ("root", None, Value),
    ("log", None, Value),
    ("log-format", None, Value),
    ("log-level", None, Value),
    ("debug", None, Nothing),
    ("systemd-cgroup", None, Nothing),
    ("cgroup-manager", None, Value),
    ("rootless", None, Value),
    ("criu", None, Value),
    HELP_OPTION,
    ("version", Some('v'), Nothing),
];

/// `create`.
pub const CREATE: &[Known] = &[
    ("bundle", Some('b'), Value),
    ("config", Some('f'), Value),
    ("pid-file", None, Value),
    ("console-socket", None, Value),
    ("pidfd-socket", None, Value),
    ("no-pivot", None, Nothing),
    ("no-new-keyring", None, Nothing),
    ("preserve-fds", None, Value),
    // There never is one: a pidfd tells of an end, whoever the parent is.
    ("no-subreaper", None, Nothing),
    HELP_OPTION,
    // From here on only `run`.
    ("detach", Some('d'), Nothing),
    ("keep", None, Nothing),
];

/// How many of them `create` knows.
pub const OF_CREATE: usize = CREATE.len() - 2;

/// `exec`.
pub const EXEC: &[Known] = &[
    ("process", Some('p'), Value),
    ("detach", Some('d'), Nothing),
    ("pid-file", None, Value),
    ("console-socket", None, Value),
    ("pidfd-socket", None, Value),
    ("tty", Some('t'), Nothing),
    ("cwd", None, Value),
    ("env", Some('e'), Value),
    ("user", Some('u'), Value),
    ("additional-gids", Some('g'), Value),
    ("cap", Some('c'), Value),
    ("no-new-privs", None, Nothing),
    ("preserve-fds", None, Value),
    ("cgroup", None, Value),
    ("apparmor", None, Value),
    ("process-label", None, Value),
    ("ignore-paused", None, Nothing),
    ("no-subreaper", None, Nothing),
    HELP_OPTION,
];

/// `update`.
const UPDATE: &[Known] = &[
    ("resources", Some('r'), Value),
    ("blkio-weight", None, Value),
    ("cpu-period", None, Value),
    ("cpu-quota", None, Value),
    ("cpu-burst", None, Value),
    ("cpu-share", None, Value),
    ("cpu-idle", None, Value),
    ("cpu-rt-period", None, Value),
    ("cpu-rt-runtime", None, Value),
    ("cpuset-cpus", None, Value),
    ("cpuset-mems", None, Value),
    ("memory", None, Value),
    ("memory-reservation", None, Value),
    ("memory-swap", None, Value),
    ("kernel-memory", None, Value),
    ("kernel-memory-tcp", None, Value),
    ("pids-limit", None, Value),
    ("l3-cache-schema", None, Value),
    ("mem-bw-schema", None, Value),
    HELP_OPTION,
];

/// Those of the other commands.
pub fn of(command: &str) -> &'static [Known] {
    match command {
        "kill" => &[("all", Some('a'), Nothing), ("regex", Some('r'), Nothing), HELP_OPTION],
        "delete" => &[("force", Some('f'), Nothing), ("regex", Some('r'), Nothing), HELP_OPTION],
        "list" => &[("format", Some('f'), Value), ("quiet", Some('q'), Nothing), HELP_OPTION],
        "ps" => &[("format", Some('f'), Value), HELP_OPTION],
        "events" => &[("stats", None, Nothing), ("interval", None, Value), HELP_OPTION],
        "spec" => &[("bundle", Some('b'), Value), ("rootless", None, Nothing), HELP_OPTION],
        "update" => UPDATE,
        _ => &[HELP_OPTION],
    }
}

/// `--help`.
pub const HELP: &str = "\
podling-runtime: makes containers out of OCI bundles.

usage: podling-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] [--rootless true|false|auto]
                       [--cgroup-manager cgroupfs|systemd|disabled] [--systemd-cgroup] COMMAND

  create [-b BUNDLE] [--config FILE] [--pid-file FILE] [--console-socket SOCKET] [--pidfd-socket SOCKET]
         [--no-pivot] [--no-new-keyring] [--preserve-fds N] ID
  start ID
  run [options of create] [--detach] [--keep] ID
  state ID                                     OCI's state, as JSON
  kill [--all] [--regex] ID [SIGNAL]
  delete [--force] [--regex] ID
  exec [--process FILE | options] ID [PROGRAM [ARGUMENT…]]
       [--detach] [--tty] [--pid-file FILE] [--console-socket SOCKET] [--pidfd-socket SOCKET] [--cwd DIR]
       [--env NAME=VALUE] [--user UID[:GID]] [--additional-gids GID,…] [--cap CAP] [--no-new-privs]
       [--preserve-fds N] [--cgroup PATH] [--apparmor PROFILE] [--process-label LABEL] [--ignore-paused]
  list [--format table|json] [--quiet]
  ps [--format table|json] ID [OPTION OF PS…]
  pause ID, resume ID
  update [--resources FILE|-] [--memory N] [--memory-reservation N] [--memory-swap N] [--cpu-quota N] [--cpu-period N]
         [--cpu-burst N] [--cpu-share N] [--cpu-idle 0|1] [--cpuset-cpus LIST] [--cpuset-mems LIST] [--pids-limit N]
         [--blkio-weight N] ID
  events [--stats] [--interval 5s] ID          what it has used, as JSON
  spec [--bundle DIR] [--rootless]             writes a config.json to begin with
  features                                     what this runtime can do, as JSON

--debug tells each step on standard error. ID may be followed by the command's options.
";
