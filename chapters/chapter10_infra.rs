//! Chapter 10, the infra process: it makes the namespaces that a pod's containers share, and then it is simply there.
//!
//! It opens no door and keeps no list; nobody asks it for anything, and it answers no one. If it is killed nobody
//! has to do anything: whoever is in the namespaces keeps them alive. Only new ones find no way in.
//!
//! The subtlety is the user namespace. The others belong to it, and only who has rights in *it* may join *them*. So it is
//! shared as well, and made first.

use std::fs::File;
use std::io::{PipeWriter, Write};
use std::path::Path;

use anyhow::Result;
use chapters::ask;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, pause, sethostname, setsid};
use podling::linux::namespace::Namespace::User;
use podling::linux::process::cannot_clone;
use podling::linux::userns::{self, Maps};
use podling::sys;
use podling::trace::{self, Actor, Topic};

use crate::chapter10_state::publish;

// ANCHOR: hold
/// The life of the holder. In the end it has nothing but its namespaces, and waits for a signal to end it.
pub fn hold(name: &str, link: &Path, mut mouth: PipeWriter) -> Result<u8> {
    trace::become_actor(Actor::Infra);
    ask(Topic::Monitor, "setsid", "", setsid)?;
    userns::enter(&Maps::of_this_user()?, &[User])?;
    let shared = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    let made = trace::ask(Topic::Pod, "unshare", format_args!("net,ipc,uts"), || unshare(shared));
    made.map_err(|errno| cannot_clone(errno, "net,ipc,uts"))?;
    ask(Topic::Pod, "sethostname", name, || sethostname(name))?;
    // A new network has one device, and it is off. When it goes on, the kernel gives it 127.0.0.1.
    ask(Topic::Pod, "SIOCSIFFLAGS", "lo up", sys::raise_loopback)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    chdir("/")?;
    publish(link)?;
    dup2_stdin(&null).and(dup2_stdout(&null)).and(dup2_stderr(&null))?;
    trace::end();
    // Should our maker be gone by now, the pod is there all the same.
    let _ = mouth.write_all(b"!");
    drop((mouth, null));
    // To get here took much more of this program than to stay. What is let go of is read from its file again if need be.
    sys::release_code();
    loop {
        pause();
    }
}
// ANCHOR_END: hold
