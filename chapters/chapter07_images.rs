//! Chapter 7: what is an image? A tree of digests, and at its leaves tar files that are laid one over another.
//!
//! ```text
//! index.json ─▶ manifest ─▶ config      what to run: Env, Entrypoint, Cmd, WorkingDir, User
//!                        └▶ layers …    in what: tar files, mostly compressed, the lowest first
//! ```
//!
//! Each arrow is a digest, so whoever believes the first cannot be given anything else: not by the registry, not by the
//! network, not by a disk that forgets. What the files *say* is another matter; `chapter07_layers` is wary of that.
//!
//! The subtlety is when to compare: before the first byte is used. A program that unpacks while it still computes the
//! digest has already done what the changed layer said.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use chapters::layout::{Layout, Part};
use chapters::{container, status};
use clap::Parser;
use nix::errno::Errno;
use oci_spec::image::{Arch, Config, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use podling::linux::foreground::Wait;
use podling::linux::mount::{self, Attributes, Reach};
use podling::linux::namespace::Namespace::{Ipc, Mount, Pid, User, Uts};
use podling::linux::process::{self, Exit, NotRunnable};
use podling::linux::userns::{self, Maps};
use podling::sys;
use podling::trace::{self, Actor, Topic};
use sha2::{Digest, Sha256};

mod chapter07_layers;

/// Run an image: read it, check it, unpack it into memory, and do as its configuration says
///
/// Try: podling pull host-tools; podling save --format oci-archive -o tools.tar host-tools; chapter07_images tools.tar sh
#[derive(Parser)]
#[command(name = "chapter07_images")]
struct Options {
    /// An OCI image layout: a directory, or an archive of one
    image: PathBuf,
    /// What to run in place of the image's Cmd
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// An image, read and checked.
struct Image {
    config: Config,
    layers: Vec<(Part, MediaType)>,
}

fn main() -> ExitCode {
    chapters::run(outside)
}

// ANCHOR: outside
/// Everything is checked before anything is made. Then a root in memory, which goes with the last process that uses it;
/// a process that fills it; and the container as chapter 6 had it.
fn outside(options: Options) -> Result<u8> {
    let image = Image::read(&Layout::open(&options.image)?).with_context(|| options.image.display().to_string())?;
    let signals = Wait::begin(None)?;
    let maps = Maps::of_this_user()?;
    userns::enter(&maps, &[User, Mount])?;
    let root = mount::create("tmpfs", "image", &[("mode".into(), Some("755".into()))], Attributes::default())?;
    // A mount can be attached once, and lives as long as that place. Each of the two processes gets one of the same files.
    let to_fill = mount::copy_of(&root, Reach::One)?;
    let fill = || status(chapter07_layers::unpack(&to_fill, &image.layers, !maps.is_single()));
    if process::clone(&[Mount], None, fill)?.reap()? != Exit::Code(0) {
        return Ok(chapters::OWN_FAILURE); // it has said why
    }
    let life = || status(inside(&root, &image.config, &options.words));
    let child = process::clone(&[Mount, Pid, Ipc, Uts], None, life)?;
    Ok(signals.until_end(&child)?.status() as u8)
}

fn inside(root: &OwnedFd, config: &Config, words: &[String]) -> Result<u8> {
    trace::become_actor(Actor::Init);
    container::enter(root)?;
    container::furnish("box")?;
    become_configured(config, words)
}
// ANCHOR_END: outside

// ANCHOR: read
impl Image {
    /// Down the tree, and no step before the digest is right.
    fn read(layout: &Layout) -> Result<Self> {
        let mut index = ImageIndex::from_reader(layout.part(Path::new("index.json"))?.read()?).context("index.json")?;
        let manifest = loop {
            // An index may lead to one image for each architecture, or to another index.
            let fits = |it: &&Descriptor| it.platform().as_ref().is_none_or(|it| *it.architecture() == Arch::default());
            let fitting: Vec<_> = index.manifests().iter().filter(fits).collect();
            let [one] = fitting[..] else { bail!("{} images for this machine, where one is wanted", fitting.len()) };
            match one.media_type() {
                MediaType::ImageIndex => index = ImageIndex::from_reader(blob(layout, one)?.read()?)?,
                _ => break ImageManifest::from_reader(blob(layout, one)?.read()?)?,
            }
        };
        let config = ImageConfiguration::from_reader(blob(layout, manifest.config())?.read()?)?;
        let layer = |it: &Descriptor| Ok((blob(layout, it)?, it.media_type().clone()));
        let layers = manifest.layers().iter().map(layer).collect::<Result<_>>()?;
        Ok(Self { config: config.config().clone().unwrap_or_default(), layers })
    }
}

/// A blob: what its name, which is its digest, says that it is, or nothing.
fn blob(layout: &Layout, said: &Descriptor) -> Result<Part> {
    let hex = said.as_digest_sha256().with_context(|| format!("{} is not a sha256", said.digest()))?;
    let blob = layout.part(&Path::new("blobs/sha256").join(hex))?;
    let mut hash = Sha256::new();
    io::copy(&mut blob.read()?, &mut hash)?;
    let found = format!("{:x}", hash.finalize());
    trace::say(Topic::Image, "sha256", format_args!("{hex}"), if found == hex { "ok" } else { "is another" });
    ensure!(found == hex, "blob sha256:{hex} is not what it was: its digest is sha256:{found}");
    Ok(blob)
}
// ANCHOR_END: read

// ANCHOR: configured
/// Becomes what the configuration says, in the root that came with it.
fn become_configured(config: &Config, words: &[String]) -> Result<u8> {
    let mut line = config.entrypoint().clone().unwrap_or_default();
    line.extend_from_slice(if words.is_empty() { config.cmd().as_deref().unwrap_or_default() } else { words });
    let (program, arguments) = line.split_first().context("the image names no program, and neither do you")?;
    let directory = config.working_dir().as_deref().filter(|it| !it.is_empty()).unwrap_or("/");
    std::fs::create_dir_all(directory).with_context(|| format!("the working directory {directory}"))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env_clear().env("PATH", container::PATH).env("HOME", "/root");
    command.envs(config.env().iter().flatten().filter_map(|pair| pair.split_once('=')));
    container::become_user(config.user().as_deref().unwrap_or_default())?;
    sys::close_on_exec_from(3)?;
    trace::say(Topic::Process, "execve", format_args!("{program}"), "ok");
    let errno = Errno::from_raw(command.exec().raw_os_error().unwrap_or(0));
    Err(NotRunnable { program: program.clone(), errno }.into())
}
// ANCHOR_END: configured
