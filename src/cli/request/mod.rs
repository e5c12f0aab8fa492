//! The flags of `run` and `create`, and how they become a [`ContainerRequest`].
//!
//! There are a hundred of them, so they stand in files by what they are about, and under the same headings in the help:
//! each file declares its flags, says how their values are written, and adds what they ask for to the request.
//!
//! All values are read before anything is done: a mistake is one line that names flag, value and reason.

mod amounts;
mod image;
mod isolation;
mod life;
mod limits;
mod network;
pub mod process;
mod storage;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Args, Command, FromArgMatches};

use crate::cli::{failure, globals, words};
use crate::engine::request::{ContainerRequest, Source};

pub use amounts::Amounts;
pub use image::{Connection, Platform, Reach, pull_policy};
pub use life::{restart as restart_policy, signal};

/// Everything that `run` and `create` have in common.
#[derive(Debug, Args)]
pub struct ContainerFlags {
    #[command(flatten)]
    life: life::Life,
    #[command(flatten)]
    process: process::Program,
    #[command(flatten)]
    storage: storage::Files,
    #[command(flatten)]
    network: network::Network,
    #[command(flatten)]
    isolation: isolation::Isolation,
    #[command(flatten)]
    limits: limits::Limits,
    #[command(flatten)]
    image: image::ImageFlags,

    /// Image to run
    #[arg(value_name = "IMAGE", required = true, help_heading = None::<&str>)]
    source: String,
    /// Program and arguments, instead of the image's own
    #[arg(value_name = "COMMAND", trailing_var_arg = true, num_args = 0.., help_heading = None::<&str>)]
    command: Vec<String>,
}

impl ContainerFlags {
    /// `--quiet`.
    pub fn quiet(&self) -> bool {
        self.image.quiet
    }

    /// What was asked.
    pub fn request(self) -> Result<ContainerRequest> {
        let mut request = ContainerRequest {
            source: Source::Image(self.source.clone()),
            command: self.command,
            create_command: std::env::args().collect(),
            ..ContainerRequest::default()
        };
        self.life.ask(&mut request);
        if self.process.rootfs {
            request.source = Source::Rootfs(std::path::absolute(&self.source)?);
        }
        self.process.ask(&mut request);
        self.storage.ask(&mut request);
        self.network.ask(&mut request)?;
        self.isolation.ask(&mut request)?;
        self.limits.ask(&mut request);
        self.image.ask(&mut request)?;
        Ok(request)
    }
}

/// The request that `podling run` makes of these words.
pub fn of(words: Vec<OsString>) -> Result<ContainerRequest> {
    let command = ContainerFlags::augment_args(Command::new("run").no_binary_name(true));
    let command = command.args_override_self(true).disable_help_flag(true);
    let call = words::after_verb(words, &command, &globals::command())?;
    let matches = command.try_get_matches_from(call.words).map_err(|error| failure::one_line(&error, "run"))?;
    ContainerFlags::from_arg_matches(&matches)?.request()
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

/// `NAME=VALUE` or `NAME` alone, which is the same as `NAME=`.
fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() { Err("a label needs a name".into()) } else { Ok((name.to_owned(), value.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request that a command line makes, or its error.
    pub fn ask(words: &[&str]) -> Result<ContainerRequest> {
        of(words.iter().map(Into::into).collect())
    }

    #[test]
    fn flags_end_at_the_image() {
        let request = ask(&["-it", "--rm", "alpine:3", "ls", "-it", "--rm=perhaps", "--", "x"]).expect("a sound line");
        assert!(request.interactive && request.terminal && request.remove);
        assert_eq!(request.source, Source::Image("alpine:3".into()));
        assert_eq!(request.command, ["ls", "-it", "--rm=perhaps", "--", "x"]);
    }

    #[test]
    fn every_bad_value_is_one_clear_line() {
        let mut lines = String::new();
        for words in [
            "-m lots",
            "-m -5",
            "--cpus two",
            "--cpus -1",
            "--pids-limit x",
            "--memory-swap -2",
            "--shm-size 1q",
            "--ulimit nofile",
            "--ulimit nofile=5:3",
            "--ulimit files=3",
            "--ulimit nofile=x",
            "-p 80:x",
            "-p 1:2:3:4",
            "-p 70000:80",
            "-p 80-82:80",
            "-p 80/icmp",
            "-p [::1:80",
            "-v /a:/b:/c:/d",
            "-v /a:b",
            "-v /a:/b:nope",
            "-v /a:/b:ro,rw",
            "-v a/b:/c",
            "-v :",
            "--mount type=bind,src=/a",
            "--mount type=floppy,dst=/a",
            "--mount dst",
            "--mount type=bind,dst=/a",
            "--mount type=tmpfs,src=/x,dst=/a",
            "--mount type=bind,src=/a,dst=/b,colour=red",
            "--mount type=tmpfs,dst=/a,tmpfs-size=x",
            "--tmpfs x",
            "--device null",
            "--device /dev/null:/dev/null:rwx",
            "--device /a:/b:r:w",
            "--userns here",
            "--userns keep-id:uid=x",
            "--pid there",
            "--ipc container:",
            "--network container:",
            "--network ns:x",
            "--network slirp4netns",
            "--restart sometimes",
            "--restart on-failure:x",
            "--restart always:3",
            "--pull daily",
            "--security-opt magic",
            "--security-opt mask=",
            "--add-host x",
            "--add-host x:y",
            "--dns x",
            "--sysctl x",
            "--umask 9",
            "--env-file /nonexistent",
            "--label =x",
            "-e =x",
            "--log-driver syslog",
            "--log-opt x",
            "--log-opt size=3",
            "--log-opt max-size=x",
            "--stop-signal SIGWHAT",
            "--stop-timeout soon",
            "--entrypoint [\"a\"",
            "--cgroups maybe",
            "--oom-score-adj 2000",
            "--platform linux",
            "--uidmap 0:1",
            "--nosuch",
            "--memry 5m",
            "--rm=perhaps",
            "--timeout -1",
            "-w x",
            "--blkio-weight 5",
            "--env-merge x",
            "--image-volume bind-mount",
            "--device-cgroup-rule c:1:3",
            "--device-cgroup-rule c 1:3 rwx",
            "--device-read-bps sda:5",
            "--device-write-iops /dev/sda:x",
            "--health-cmd true",
        ] {
            let mut words: Vec<_> = words.splitn(2, ' ').collect();
            words.push("image");
            let error = ask(&words).expect_err(&words.join(" "));
            let text = crate::cli::failure::render(&error);
            // The hint is the same for all: where the help is.
            lines.push_str(text.lines().next().unwrap_or_default());
            lines.push('\n');
        }
        insta::assert_snapshot!("bad_values", lines);
    }
}
