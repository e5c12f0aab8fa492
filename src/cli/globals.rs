//! Flags that stand before the verb or after it, and what every verb is given.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Command, FromArgMatches};

use crate::cli::failure;
use crate::engine::{CgroupManager, Engine, Options};
use crate::trace;

/// The flags of `podling` itself.
#[derive(Debug, Clone, Default, Args)]
pub struct Globals {
    /// Directory of images, containers and volumes [env: PODLING_ROOT]
    // Not clap's `env`: these flags are read twice, and the variable would override what stands before the verb.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Directory of what a reboot may forget [env: PODLING_RUNROOT]
    #[arg(long, value_name = "DIR")]
    pub runroot: Option<PathBuf>,
    /// OCI runtime: a path, or a name in $PATH such as crun or runc
    #[arg(long, value_name = "PROGRAM")]
    pub runtime: Option<String>,
    /// Option to pass to the OCI runtime, without its dashes (repeatable)
    #[arg(long, value_name = "FLAG")]
    pub runtime_flag: Vec<String>,
    /// Who makes control groups: cgroupfs or systemd
    #[arg(long, value_name = "NAME", value_parser = ["cgroupfs", "systemd"], hide_possible_values = true)]
    pub cgroup_manager: Option<String>,
    /// podling-monitor: a path, or a name in $PATH (conmon does not fit)
    #[arg(long, alias = "conmon", value_name = "PATH")]
    pub monitor: Option<PathBuf>,
    /// debug narrates, as --explain does; the other levels (info, warn, error, fatal, panic) change nothing
    #[arg(long, value_name = "LEVEL", value_parser = ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"], hide_possible_values = true)]
    pub log_level: Option<String>,
    /// Narrate everything asked of the kernel, with the chapter of the book that teaches it: text or json
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "text", value_name = "FORMAT", value_parser = ["text", "json"], hide_possible_values = true)]
    pub explain: Option<String>,
    /// Print the version
    #[arg(long, short = 'v')]
    pub version: bool,

    /// Podman's flags that mean nothing here, or the only thing we do: accepted, so that its scripts run.
    #[command(flatten)]
    ignored: Ignored,
}

#[derive(Debug, Clone, Default, Args)]
struct Ignored {
    #[arg(long, hide = true)]
    storage_driver: Option<String>,
    #[arg(long, hide = true)]
    storage_opt: Vec<String>,
    #[arg(long, hide = true)]
    tmpdir: Option<String>,
    #[arg(long, hide = true)]
    network_config_dir: Option<String>,
    #[arg(long, hide = true)]
    volumepath: Option<String>,
    #[arg(long, hide = true)]
    events_backend: Option<String>,
    #[arg(long, hide = true)]
    hooks_dir: Vec<String>,
    #[arg(long, hide = true)]
    syslog: bool,
    #[arg(long, hide = true)]
    noout: bool,
}

/// clap's view of the global flags.
pub fn command() -> Command {
    Globals::augment_args(Command::new("podling").no_binary_name(true).args_override_self(true))
}

impl Globals {
    /// Reads flags that [`crate::cli::words`] has already picked out.
    pub fn parse(words: Vec<OsString>) -> Result<Self> {
        let matches = command().try_get_matches_from(words).map_err(|error| failure::one_line(&error, "podling"))?;
        Ok(Self::from_arg_matches(&matches)?)
    }

    /// These, overridden by what was said after the verb.
    pub fn and(self, later: Self) -> Self {
        let mut runtime_flag = self.runtime_flag;
        runtime_flag.extend(later.runtime_flag);
        Self {
            root: later.root.or(self.root),
            runroot: later.runroot.or(self.runroot),
            runtime: later.runtime.or(self.runtime),
            runtime_flag,
            cgroup_manager: later.cgroup_manager.or(self.cgroup_manager),
            monitor: later.monitor.or(self.monitor),
            log_level: later.log_level.or(self.log_level),
            explain: later.explain.or(self.explain),
            version: self.version || later.version,
            ignored: Ignored::default(),
        }
    }
}

/// What every verb is given besides its own flags.
#[derive(Debug)]
pub struct Context {
    /// The flags of `podling` itself.
    pub globals: Globals,
}

impl Context {
    /// Starts the narration, if one was asked for.
    pub(super) fn begin(globals: Globals) -> Result<Self> {
        let debug = matches!(globals.log_level.as_deref(), Some("debug" | "trace"));
        match globals.explain.as_deref() {
            Some("json") => trace::narrate(trace::Format::Json)?,
            Some(_) => trace::narrate(trace::Format::Text)?,
            None if debug => trace::narrate(trace::Format::Text)?,
            None => {}
        }
        Ok(Self { globals })
    }

    /// The engine, with what the global flags say.
    pub fn engine(&self) -> Result<Engine> {
        let globals = &self.globals;
        Engine::open(Options {
            data: globals.root.clone(),
            run: globals.runroot.clone(),
            runtime: globals.runtime.clone(),
            monitor: globals.monitor.clone(),
            runtime_flags: globals.runtime_flag.clone(),
            cgroup_manager: globals.cgroup_manager.as_deref().map(|name| match name {
                "systemd" => CgroupManager::Systemd,
                _ => CgroupManager::Cgroupfs,
            }),
        })
    }
}
