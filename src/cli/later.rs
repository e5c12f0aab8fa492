//! What Podman has and podling has not. Who types it is told so, and not that he has misspelt a word.
//!
//! Some of it will be built, some has no meaning here; each answer is one line, with a way around it where there is one.

use anyhow::{Error, anyhow};

use crate::cli::failure::hinted;

/// A reason, and what to do instead (empty: nothing is known).
type Answer = (&'static str, &'static str);

const BUILD: Answer = (
    "podling cannot build images yet",
    "it loads what buildah builds: buildah push IMAGE oci-archive:FILE, then podling load -i FILE",
);
const PODS: Answer =
    ("podling has no pods yet", "--network container:NAME and --ipc container:NAME share a container's namespaces");
const KUBE: Answer = ("podling does not read or write Kubernetes YAML yet", "");
const UNITS: Answer = ("podling writes no unit files for systemd yet", "");
const NETWORKS: Answer =
    ("podling has no bridge networks yet", "there are pasta (a user's default), host, none and container:NAME");
const HEALTH: Answer = ("podling has no health checks yet", "");
const SECRETS: Answer = ("podling has no secrets yet", "mount a file: -v FILE:/run/secrets/NAME:ro");
const MOUNTS: Answer =
    ("podling does not mount containers or images on the host yet", "podling cp and podling export copy their files");
const CHECKPOINTS: Answer = ("podling cannot checkpoint and restore containers yet", "");
const MANIFESTS: Answer = ("podling makes no lists of images for several platforms yet", "");
const SEARCH: Answer = ("podling cannot search registries yet", "");
const API: Answer = ("podling has no REST API yet", "");
const SIGNATURES: Answer = ("podling does not sign images or check signatures yet", "");
const ONLY_HERE: Answer = ("podling works on this machine only: it knows no remote ones and no virtual ones", "");
const NOT_YET: Answer = ("podling does not have this command yet", "");
const VERSION_1: Answer = ("this is a limit of cgroup version 1, which podling does not use", "");
const NO_FLAG: Answer = ("podling does not have this flag yet", "");

/// Verbs and whole groups.
const VERBS: &[(&str, Answer)] = &[
    ("artifact", NOT_YET),
    ("auto-update", NOT_YET),
    ("build", BUILD),
    ("builder", BUILD),
    ("buildx", BUILD),
    ("compose", ("podling has no REST API yet, which compose needs", "")),
    ("container checkpoint", CHECKPOINTS),
    ("container clone", NOT_YET),
    ("container mount", MOUNTS),
    ("container restore", CHECKPOINTS),
    ("container runlabel", NOT_YET),
    ("container umount", MOUNTS),
    ("container unmount", MOUNTS),
    ("farm", ONLY_HERE),
    ("generate kube", KUBE),
    ("generate", UNITS),
    ("healthcheck", HEALTH),
    ("image build", BUILD),
    ("image mount", MOUNTS),
    ("image scp", ONLY_HERE),
    ("image search", SEARCH),
    ("image sign", SIGNATURES),
    ("image trust", SIGNATURES),
    ("image umount", MOUNTS),
    ("image unmount", MOUNTS),
    ("kube", KUBE),
    ("machine", ONLY_HERE),
    ("manifest", MANIFESTS),
    ("mount", MOUNTS),
    ("network", NETWORKS),
    ("play", KUBE),
    ("pod", PODS),
    ("quadlet", UNITS),
    ("search", SEARCH),
    ("secret", SECRETS),
    ("system check", NOT_YET),
    ("system connection", ONLY_HERE),
    ("system service", API),
    ("umount", MOUNTS),
    ("unmount", MOUNTS),
    ("volume mount", MOUNTS),
    ("volume reload", ("podling has no volume plugins", "")),
    ("volume unmount", MOUNTS),
];

/// Flags, and beginnings of flags that end in `-`.
const FLAGS: &[(&str, Answer)] = &[
    ("--blkio-weight-device", NO_FLAG),
    ("--cpu-rt-", VERSION_1),
    ("--decryption-key", ("podling does not decrypt layers yet", "")),
    ("--gpus", ("podling does not know graphics processors by name", "give it the devices: --device /dev/dri")),
    ("--health-", HEALTH),
    ("--healthcheck-", HEALTH),
    ("--hostuser", NO_FLAG),
    ("--infra-", PODS),
    ("--ip", NETWORKS),
    ("--ip6", NETWORKS),
    ("--kernel-memory", VERSION_1),
    ("--mac-address", NETWORKS),
    ("--memory-swappiness", VERSION_1),
    ("--network-alias", NETWORKS),
    ("--oom-kill-disable", VERSION_1),
    ("--pod", PODS),
    ("--pod-", PODS),
    ("--requires", NO_FLAG),
    ("--rmi", NO_FLAG),
    ("--secret", SECRETS),
    ("--subgidname", NO_FLAG),
    ("--subuidname", NO_FLAG),
];

/// The answer to words that begin with a verb of Podman's which we have not.
pub fn verb<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Error> {
    let words: Vec<&str> = words.into_iter().take(2).collect();
    (1..=words.len()).rev().find_map(|length| {
        let path = words[..length].join(" ");
        let (_, answer) = VERBS.iter().find(|(verb, _)| *verb == path)?;
        Some(error(&format!("podling {path}"), answer))
    })
}

/// The answer to a flag of Podman's which we have not.
pub fn flag(said: &str) -> Option<Error> {
    let is = |flag: &str| said == flag || flag.ends_with('-') && said.starts_with(flag);
    FLAGS.iter().find(|(flag, _)| is(flag)).map(|(_, answer)| error(said, answer))
}

fn error(said: &str, (why, instead): &Answer) -> Error {
    let message = format!("{said}: {why}");
    if instead.is_empty() { anyhow!(message) } else { hinted(message, *instead) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{request::ContainerFlags, verbs};

    #[test]
    fn what_is_there_is_not_said_to_be_missing() {
        for (path, _) in VERBS {
            let mut words = path.split(' ').map(Into::into).collect();
            assert!(verbs::find(&mut words).is_none(), "podling {path} is there");
        }
        let run = <ContainerFlags as clap::Args>::augment_args(clap::Command::new("run"));
        for flag in run.get_arguments().filter_map(|argument| argument.get_long()) {
            assert!(self::flag(&format!("--{flag}")).is_none(), "--{flag} is there");
        }
    }
}
