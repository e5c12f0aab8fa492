//! Name, life and records of a container.

use std::path::PathBuf;

use clap::Args;

use super::label;
use crate::engine::request::ContainerRequest;
use crate::engine::settings::{Notify, RestartPolicy};
use crate::handover::LogDriver;

#[derive(Debug, Args)]
#[command(next_help_heading = "Life")]
pub struct Life {
    /// Name of the container (made up if not given)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Remove the container that has the name first
    #[arg(long)]
    replace: bool,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// What to do when it ends: no, on-failure[:N], always, unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = restart)]
    restart: Option<RestartPolicy>,
    /// Kill it after so many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Signal that asks it to stop (SIGTERM)
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    stop_signal: Option<String>,
    /// Seconds that stop waits before it kills (10)
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u64>,
    /// Set a label (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Read labels from a file, one a line
    #[arg(long, value_name = "FILE", value_delimiter = ',', value_parser = label_file)]
    label_file: Vec<Labels>,
    /// Set an annotation for the runtime
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = super::pair)]
    annotation: Vec<(String, String)>,
    /// Write the container's id to a file that does not exist
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Write the pid of its first process to a file
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Write the monitor's pid to a file
    #[arg(long, alias = "monitor-pidfile", value_name = "FILE")]
    conmon_pidfile: Option<PathBuf>,
    /// How output is kept: k8s-file, json-file, journald, none, passthrough
    #[arg(long, value_name = "DRIVER", value_parser = log_driver)]
    log_driver: Option<LogDriver>,
    /// path=FILE, max-size=SIZE or tag=TEXT
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = log_option)]
    log_opt: Vec<(String, String)>,
    /// Who tells systemd that the service is ready: container, conmon, ignore
    #[arg(long, value_name = "WHO", value_parser = notify)]
    sdnotify: Option<Notify>,
    /// What Podman has for others' sake and does nothing with here.
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    #[arg(long, hide = true)]
    no_healthcheck: bool,
    #[arg(long, hide = true, value_parser = ["default", "image"])]
    seccomp_policy: Option<String>,
}

/// The labels of a file.
type Labels = Vec<(String, String)>;

impl Life {
    pub fn ask(self, request: &mut ContainerRequest) {
        request.name = self.name.filter(|name| !name.is_empty());
        request.replace = self.replace;
        request.remove = self.rm;
        request.restart = self.restart.unwrap_or_default();
        request.timeout = self.timeout.filter(|seconds| *seconds > 0);
        request.stop_signal = self.stop_signal;
        request.stop_timeout = self.stop_timeout;
        request.labels = self.label_file.into_iter().flatten().chain(self.label).collect();
        request.annotations = self.annotation.into_iter().collect();
        request.cid_file = self.cidfile;
        request.pid_file = self.pidfile;
        request.monitor_pid_file = self.conmon_pidfile;
        request.log_driver = self.log_driver;
        request.notify = self.sdnotify.unwrap_or_default();
        request.log_options = self.log_opt.into_iter().collect();
    }
}

/// A restart policy.
pub fn restart(text: &str) -> Result<RestartPolicy, String> {
    let (policy, retries) = text.split_once(':').map_or((text, None), |(policy, retries)| (policy, Some(retries)));
    match (policy, retries) {
        ("no" | "never" | "", None) => Ok(RestartPolicy::No),
        ("always", None) => Ok(RestartPolicy::Always),
        ("unless-stopped", None) => Ok(RestartPolicy::UnlessStopped),
        ("on-failure", None) => Ok(RestartPolicy::OnFailure(None)),
        ("on-failure", Some(retries)) => match retries.parse() {
            Ok(retries) => Ok(RestartPolicy::OnFailure(Some(retries))),
            Err(_) => Err(format!("{retries:?} is not a number of retries")),
        },
        (_, Some(_)) => Err("only on-failure takes a number of retries".into()),
        _ => Err("expected no, on-failure[:N], always or unless-stopped".into()),
    }
}

/// Who says that the service is ready.
fn notify(text: &str) -> Result<Notify, String> {
    match text {
        "container" => Ok(Notify::Container),
        "conmon" => Ok(Notify::Monitor),
        "ignore" => Ok(Notify::Ignore),
        "healthy" => Err("podling makes no health checks; expected container, conmon or ignore".into()),
        _ => Err("expected container, conmon or ignore".into()),
    }
}

/// A signal by name or number, kept as written.
pub fn signal(text: &str) -> Result<String, String> {
    match text.parse::<crate::linux::process::Signal>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("no such signal".into()),
    }
}

fn label_file(path: &str) -> Result<Labels, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(label).collect()
}

fn log_driver(text: &str) -> Result<LogDriver, String> {
    match text {
        "k8s-file" | "file" => Ok(LogDriver::K8sFile),
        "json-file" => Ok(LogDriver::JsonFile),
        "journald" => Ok(LogDriver::Journald),
        "none" => Ok(LogDriver::None),
        "passthrough" => Ok(LogDriver::Passthrough),
        _ => Err("expected k8s-file, json-file, journald, none or passthrough".into()),
    }
}

/// Options of Docker's logs that ask for what we do not do: a log that is too large begins anew, so there is one file.
/// Scripts that give them want a log, and have one.
const DOCKERS: [&str; 6] = ["max-file", "compress", "mode", "max-buffer-size", "labels", "env"];

fn log_option(text: &str) -> Result<(String, String), String> {
    let (key, value) = super::pair(text)?;
    match key.as_str() {
        "path" | "tag" => Ok((key, value)),
        _ if DOCKERS.contains(&key.as_str()) => Ok((key, value)),
        "max-size" => {
            crate::cli::format::human::parse_size(&value)?;
            Ok((key, value))
        }
        _ => Err("expected path=, max-size= or tag=".into()),
    }
}
