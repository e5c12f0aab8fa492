//! What becomes of containers that cannot be read ([`Broken`]): kept apart from the others, and discarded when asked.
//!
//! One of them must not take the others with it. Who lists gets the sound ones and a warning for each of these
//! ([`Engine::sound_containers`]). Who is about to remove what containers may use gets an error instead
//! ([`Engine::containers`]): a file that cannot be read may name any image and any volume.
//!
//! `rm --force` gets rid of one ([`Engine::discard`]), by what is known without that file: its id, its name, and what runs
//! of it in `$RUN`. What nobody knows any more stays: its anonymous volumes, for `volume prune`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Engine;
use super::broken::Broken;
use super::container::{Container, Process, monitor_in, read_json};
use super::events::Type;
use super::failure::Failure;
use super::network::pasta;
use super::store::Lock;
use crate::handover::MonitorConfig;

impl Engine {
    /// All containers that can be read, with a warning on standard error for each that cannot.
    pub fn sound_containers(&self) -> Result<Vec<Container>> {
        let (sound, broken) = self.sound_and_broken()?;
        for it in broken {
            eprintln!("podling: warning: {}: {it}; {}", it.said(), it.cure());
        }
        Ok(sound)
    }

    /// The containers that can be read, and those that cannot.
    pub fn sound_and_broken(&self) -> Result<(Vec<Container>, Vec<Broken>)> {
        let (mut sound, mut broken) = (Vec::new(), Vec::new());
        for id in self.ids()? {
            match Container::read(&self.paths, &id) {
                Ok(container) => sound.extend(container),
                Err(error) => match Broken::of(&error) {
                    Some(it) => broken.push(it.clone()),
                    None => return Err(error),
                },
            }
        }
        Ok((sound, broken))
    }

    /// Removes a broken container: ends what runs of it, then its files and names.
    pub fn discard(&self, broken: &Broken) -> Result<()> {
        let Broken { id, name, .. } = broken;
        self.enter(None)?;
        let data = self.paths.container(id);
        let Some(_lock) = Lock::of(&data)? else { bail!(Failure::NoSuchContainer(id.clone())) };
        // Somebody may have mended or removed it while we waited.
        match Container::read(&self.paths, id) {
            Err(error) if Broken::of(&error).is_some() => {}
            Ok(None) => bail!(Failure::NoSuchContainer(id.clone())),
            Ok(Some(_)) => bail!(Failure::Invalid(format!("container {id} can be read again; it is not discarded"))),
            Err(error) => return Err(error),
        }
        let what = || format!("discarding container {id}");
        self.end_unread(id).with_context(what)?;
        self.put_away(&data, id).with_context(what)?;
        self.record_other(Type::Container, "remove", id, name.as_deref().unwrap_or_default());
        Ok(())
    }

    /// Ends what runs of a container, and removes what its run left in `$RUN`.
    fn end_unread(&self, id: &str) -> Result<()> {
        let run = self.paths.running(id);
        if !run.exists() {
            return Ok(());
        }
        // The monitor first: it must neither write into what goes nor call for a clean-up.
        let process = read_json::<Process>(&run.join("process.json")).filter(Process::lives);
        for process in monitor_in(&run).into_iter().chain(process) {
            process.kill();
        }
        pasta::stop(&run, pasta::Ports::Perhaps)?;
        self.forget_in_runtime(id, &run)?;
        super::rootfs::remove_tree(&run)
    }

    /// The runtime's state and the cgroup go by the words that the monitor was given, which name runtime and manager.
    fn forget_in_runtime(&self, id: &str, run: &Path) -> Result<()> {
        let Some(config) = read_json::<MonitorConfig>(&run.join("monitor.json")) else { return Ok(()) };
        // Like any deletion: the runtime must not find the bundle busy.
        let _ = fs::remove_dir_all(&config.bundle);
        self.run_runtime(&config.runtime, &config.runtime_options, &["delete", "--force", id])
    }
}
