//! A new container on disk: checked, decided, and there all at once or not at all.
//!
//! First everything is checked, then anything is changed. The order on disk makes a crash harmless: a directory in
//! `partial/` and its lock, the name, `container.json`, the layers and volumes; last, one rename puts the whole into
//! `containers/`. Until then there is no container, and [`super::partial`] knows how to sweep away what is there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::image::Config as ImageConfig;

use super::broken::Broken;
use super::container::{Container, MountSource, Root};
use super::exec::are_there;
use super::failure::Failure;
use super::image::Progress;
use super::lifecycle::Removal;
use super::request::{ContainerRequest, Source};
use super::settings::{NamespaceMode, NetworkMode, RestartPolicy, Seccomp, UsernsMode};
use super::shifted::give_to_root;
use super::spec::user::KEEP_GROUPS;
use super::store::{write_atomic, write_whole};
use super::{Engine, names, service, spec};
use crate::handover::LogDriver;
use crate::linux::caps::Capability;
use crate::linux::process::Signal;
use crate::trace;

impl Engine {
    pub fn create(&self, request: &ContainerRequest, progress: &dyn Progress) -> Result<Container> {
        check(request)?;
        if let Some(name) = &request.name {
            names::check(name)?;
            // Known now rather than after a long download.
            self.make_way(name, request.replace)?;
        }
        if request.replace && request.name.is_none() {
            bail!(Failure::Invalid("--replace needs a name (--name)".into()));
        }
        if let Some(file) = &request.cid_file
            && file.exists()
        {
            bail!(Failure::Invalid(format!("container ID file {} exists; remove it or name another", file.display())));
        }
        self.enter(None)?;
        // Its layers may not be removed until container.json says that somebody uses them.
        let (root, image, _in_use) = match &request.source {
            Source::Image(name) => {
                let image = self.resolve(name, &request.pull, progress)?;
                (Root::Image { id: image.id, name: image.name, layers: image.layers }, image.config, Some(image.in_use))
            }
            Source::Rootfs(directory) => (Root::Directory(rootfs(directory)?), ImageConfig::default(), None),
        };
        let id = names::new_id()?;
        let _ranges = matches!(request.namespaces.user, UsernsMode::Auto { .. }).then(|| self.ranges()).transpose()?;
        let mut config = self.decide(request, &id, root, &image)?;
        // Told now rather than at the start.
        self.runtime(&config.runtime)?;
        spec::pid1(self, &config)?;

        trace::stage(format_args!("a container in the store: whole by one rename, or not there"));
        let place = self.begin(&id)?;
        let made = (|| {
            config.name = self.claim_name(request.name.as_deref(), &id)?;
            let json = serde_json::to_vec_pretty(&config)?;
            // What lives only as long as this command need not survive a power cut.
            let write = if config.remove { write_whole } else { write_atomic };
            write(&place.directory.join("container.json"), &json)?;
            if let Root::Image { .. } = config.root {
                for layer in ["upper", "work"] {
                    fs::create_dir(place.directory.join(layer))?;
                }
                // The container's "/" has the mode of the top directory of its own layer.
                fs::set_permissions(place.directory.join("upper"), fs::Permissions::from_mode(0o755))?;
                give_to_root(self, &config, &place.directory.join("upper"))?;
            }
            for mount in &config.mounts {
                if let MountSource::Volume { name, anonymous } = &mount.source {
                    self.ensure_volume(name, *anonymous)?;
                }
            }
            if let Some(file) = &request.cid_file {
                // New, and no link to elsewhere that somebody has put there since we looked.
                let new = fs::File::options().write(true).create_new(true).open(file);
                new.and_then(|mut new| new.write_all(id.as_bytes()))
                    .with_context(|| format!("writing {}", file.display()))?;
            }
            self.finish(&place)
        })();
        if let Err(error) = made {
            self.abandon(place);
            return Err(error).context("creating the container");
        }
        let container = Container { config, run: self.paths.running(&id), data: self.paths.container(&id) };
        self.record(&container, "create", &[]);
        Ok(container)
    }

    /// Sees to it that nobody has the name: removes who has it, or fails.
    fn make_way(&self, name: &str, replace: bool) -> Result<()> {
        match self.container(name) {
            Ok(other) if other.name() == name && replace => {
                match self.remove(&other, Removal { force: true, volumes: true, timeout: None }) {
                    // Somebody else (`--rm`, say) was faster: it is gone, as was asked.
                    Err(error) if matches!(error.downcast_ref(), Some(Failure::NoSuchContainer(_))) => Ok(()),
                    removed => removed,
                }
            }
            Ok(other) if other.name() == name => {
                bail!(Failure::NameInUse { name: name.into(), id: other.id().into() })
            }
            Err(error) => match Broken::of(&error).filter(|it| it.name.as_deref() == Some(name)) {
                Some(broken) if replace => self.discard(broken),
                Some(_) => Err(error),
                None => Ok(()),
            },
            Ok(_) => Ok(()),
        }
    }
}

/// What can be refused before anything is fetched or made.
fn check(request: &ContainerRequest) -> Result<()> {
    let invalid = |said: String| Err(Failure::Invalid(said).into());
    if request.remove && request.restart != RestartPolicy::No {
        return invalid("the --rm option conflicts with --restart".into());
    }
    if let Some(directory) = &request.working_dir
        && !directory.starts_with('/')
    {
        return invalid(format!("the working directory {directory:?} is not an absolute path"));
    }
    for name in request.security.cap_add.iter().chain(&request.security.cap_drop) {
        if !name.eq_ignore_ascii_case("all") {
            name.parse::<Capability>().map_err(|error| Failure::Invalid(format!("{error:#}")))?;
        }
    }
    if let Seccomp::Profile(file) = &request.security.seccomp {
        fs::metadata(file).with_context(|| format!("the seccomp profile {}", file.display()))?;
    }
    for device in &request.devices {
        fs::metadata(&device.host).with_context(|| format!("the device {}", device.host.display()))?;
    }
    if let Some(signal) = &request.stop_signal {
        signal.parse::<Signal>().map_err(|error| Failure::Invalid(format!("{error:#}")))?;
    }
    if request.preserve_fds > 0 {
        are_there(service::sockets() + request.preserve_fds)?;
    }
    if request.hostname.is_some() && request.namespaces.uts != NamespaceMode::Private {
        return invalid(
            "cannot set the host name (--hostname) of a UTS namespace that is not the container's own".into(),
        );
    }
    if request.dns.no_hosts && !request.dns.hosts.is_empty() {
        return invalid("--no-hosts and --add-host cannot be set together".into());
    }
    if request.groups.iter().any(|group| group == KEEP_GROUPS) && request.groups.len() > 1 {
        return invalid("--group-add keep-groups cannot be used with other groups".into());
    }
    if request.terminal && request.log_driver == Some(LogDriver::Passthrough) {
        return invalid("the passthrough log driver cannot be used with a terminal (-t)".into());
    }
    if request.init && request.namespaces.pid != NamespaceMode::Private {
        return invalid(
            "--init needs a PID namespace of the container's own: nobody else is pid 1 (leave --pid out)".into(),
        );
    }
    if !request.ports.is_empty() && matches!(request.network, NetworkMode::Container(_) | NetworkMode::None) {
        return invalid("published ports (-p) need a network of the container's own".into());
    }
    Ok(())
}

fn rootfs(directory: &Path) -> Result<PathBuf> {
    // Podman's `:O` (an overlay above it) is not asked for often; the directory is used as it is.
    let directory =
        fs::canonicalize(directory).with_context(|| format!("the root directory {}", directory.display()))?;
    if !directory.is_dir() {
        bail!(Failure::Invalid(format!("{} is not a directory", directory.display())));
    }
    Ok(directory)
}
