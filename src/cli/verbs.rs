//! The table of verbs: under which names each answers, what it is for, who does it.
//!
//! Podman gives most verbs two homes (`podman ps`, `podman container ls`). Here a verb is one row with all its paths, and
//! the groups follow from the paths.

use std::ffi::OsString;

use anyhow::Result;
use clap::{ArgAction, ArgMatches, Command};

use crate::cli::{
    Context, Verb, completion, copy, diff, doctor, events, exec, export, help, images, info, inspect, logs, port, ps,
    remove, run, start, stats, stop, system, top, tree, update, volume, volume_archive,
};

/// A row of the table.
pub struct Row {
    /// The paths under which it answers; the first is its proper name.
    pub paths: &'static [&'static str],
    /// One line of what it is for.
    pub about: &'static str,
    /// Adds its flags to a command.
    build: fn(Command) -> Command,
    /// Does it.
    pub run: fn(&ArgMatches, &Context) -> Result<i32>,
}

const fn row<V: Verb>(paths: &'static [&'static str], about: &'static str) -> Row {
    Row { paths, about, build: V::augment_args, run: |matches, context| V::from_arg_matches(matches)?.run(context) }
}

/// Every verb.
pub static ROWS: &[Row] = &[
    row::<help::Help>(&["help"], "Tell about a command"),
    row::<run::Run>(&["run", "container run"], "Make a container of an image, and start it"),
    row::<run::Create>(&["create", "container create"], "Make a container of an image"),
    row::<start::Start>(&["start", "container start"], "Start containers"),
    row::<start::Init>(&["init", "container init"], "Prepare containers up to the moment before they start"),
    row::<start::Attach>(&["attach", "container attach"], "Join a running container's input and output"),
    row::<exec::Exec>(&["exec", "container exec"], "Run a program in a running container"),
    row::<stop::Stop>(&["stop", "container stop"], "Ask containers to stop, then kill them"),
    row::<stop::Restart>(&["restart", "container restart"], "Stop containers, and start them"),
    row::<stop::Kill>(&["kill", "container kill"], "Send a signal to containers"),
    row::<stop::Pause>(&["pause", "container pause"], "Freeze containers"),
    row::<stop::Unpause>(&["unpause", "container unpause"], "Let frozen containers run on"),
    row::<stop::Wait>(&["wait", "container wait"], "Wait for containers to end, and print their exit codes"),
    row::<stop::Rename>(&["rename", "container rename"], "Give a container another name"),
    row::<update::Update>(&["update", "container update"], "Change the limits of a container"),
    row::<remove::Remove>(&["rm", "container rm"], "Remove containers"),
    row::<remove::Prune>(&["container prune"], "Remove all containers that do not run"),
    row::<remove::Cleanup>(&["container cleanup"], "Tidy up after containers that have ended"),
    row::<remove::Exists>(&["container exists"], "Tell by the exit status whether there is such a container"),
    row::<images::list::Images>(&["images", "image ls", "image list"], "List images"),
    row::<images::registry::Pull>(&["pull", "image pull"], "Fetch images from a registry"),
    row::<images::registry::Push>(&["push", "image push"], "Send an image to a registry"),
    row::<images::registry::Login>(&["login"], "Store credentials for a registry"),
    row::<images::registry::Logout>(&["logout"], "Forget credentials for a registry"),
    row::<images::names::Tag>(&["tag", "image tag"], "Give an image further names"),
    row::<images::names::Untag>(&["untag", "image untag"], "Take names from an image"),
    row::<images::names::Exists>(&["image exists"], "Tell by the exit status whether there is such an image"),
    row::<images::remove::Remove>(&["rmi", "image rm"], "Remove images"),
    row::<images::remove::Prune>(&["image prune"], "Remove images that nothing needs"),
    row::<images::tell::Inspect>(&["image inspect"], "Tell all about images"),
    row::<images::tell::History>(&["history", "image history"], "Tell how an image was made"),
    row::<images::tell::Tree>(&["image tree"], "Show the layers of an image"),
    row::<images::archive::Save>(&["save", "image save"], "Write images to an archive"),
    row::<images::archive::Load>(&["load", "image load"], "Read images from an archive"),
    row::<images::archive::Import>(&["import", "image import"], "Make an image of a tar file"),
    row::<export::Export>(&["export", "container export"], "Write a container's files to a tar file"),
    row::<export::Commit>(&["commit", "container commit"], "Make an image of a container's changes"),
    row::<ps::Ps>(&["ps", "container ls", "container list", "container ps"], "List containers"),
    row::<doctor::Doctor>(
        &["doctor"],
        "Tell whether this machine can run containers (exit status 3: it cannot), and what cures it",
    ),
    row::<info::Info>(&["info", "system info"], "Describe the machine, the store and the programs"),
    row::<info::Version>(&["version"], "Tell the version"),
    row::<inspect::Inspect>(&["inspect"], "Tell all about containers, images and volumes"),
    row::<inspect::Containers>(&["container inspect"], "Tell all about containers"),
    row::<diff::Diff>(&["diff", "container diff"], "Tell what a container has changed, or an image's last layer"),
    row::<diff::OfImage>(&["image diff"], "Tell what an image's last layer changes"),
    row::<completion::Completion>(&["completion"], "Write a script that completes our words in a shell"),
    row::<copy::Copy>(&["cp", "container cp"], "Copy files from and to containers"),
    row::<top::Top>(&["top", "container top"], "Show a container's processes"),
    row::<tree::Tree>(&["tree"], "Draw containers, their processes, and which namespaces these share"),
    row::<stats::Stats>(&["stats", "container stats"], "Show what containers use of the machine"),
    row::<system::Usages>(&["system df"], "Tell what the store takes of the disk"),
    row::<system::Prune>(&["system prune"], "Remove what nothing uses"),
    row::<system::Reset>(&["system reset"], "Remove everything"),
    row::<system::Migrate>(&["system migrate", "system renumber"], "Do nothing: no process and no lock number is kept"),
    row::<system::Unshare>(&["unshare"], "Run a program in the user namespace that containers share"),
    row::<logs::Logs>(&["logs", "container logs"], "Print what containers have written"),
    row::<port::Port>(&["port", "container port"], "Tell where a container's ports are on the host"),
    row::<events::Events>(&["events", "system events"], "Tell what happens"),
    row::<volume::Create>(&["volume create"], "Make a volume"),
    row::<volume::List>(&["volume ls", "volume list"], "List volumes"),
    row::<volume::Inspect>(&["volume inspect"], "Tell all about volumes"),
    row::<volume::Remove>(&["volume rm", "volume remove"], "Remove volumes"),
    row::<volume_archive::Export>(&["volume export"], "Write what is in a volume to a tar file"),
    row::<volume_archive::Import>(&["volume import"], "Fill a volume from a tar file"),
    row::<volume::Prune>(&["volume prune"], "Remove all volumes that no container uses"),
    row::<volume::Exists>(&["volume exists"], "Tell by the exit status whether there is such a volume"),
];

/// The groups, and what each is for.
pub static GROUPS: &[(&str, &str)] = &[
    ("container", "Manage containers"),
    ("image", "Manage images"),
    ("system", "Manage podling itself"),
    ("volume", "Manage volumes"),
];

/// A verb, and the path by which it was called.
pub struct Entry {
    /// The row.
    pub verb: &'static Row,
    /// As the user wrote it: `container ls`.
    pub path: &'static str,
}

/// Takes the words that name a verb off the front of `words`.
pub fn find(words: &mut Vec<OsString>) -> Option<Entry> {
    for length in [2, 1] {
        let Some(front) = words.get(..length) else { continue };
        let Some(path) =
            front.iter().map(|word| word.to_str()).collect::<Option<Vec<_>>>().map(|words| words.join(" "))
        else {
            continue;
        };
        for verb in ROWS {
            if let Some(path) = verb.paths.iter().find(|known| **known == path) {
                words.drain(..length);
                return Some(Entry { verb, path });
            }
        }
    }
    None
}

/// The verb as clap sees it.
pub fn command(entry: &Entry) -> Command {
    let command = Command::new(entry.path)
        .bin_name(format!("podling {}", entry.path))
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_flag(true);
    // The struct's own comment is for who reads the source.
    let command = shorten((entry.verb.build)(command)).about(entry.verb.about).long_about(None);
    let help = clap::Arg::new("help").long("help").help("Print this help").action(ArgAction::Help).help_heading(None);
    // `run -h NAME` is the host's name; elsewhere -h is help.
    let taken = command.get_arguments().any(|argument| argument.get_short() == Some('h'));
    command.arg(if taken { help } else { help.short('h') })
}

/// `--all` is `-a` and `--filter` is `-f`, where the verb has no other use for the letter (`rm -f`, `start -a`).
fn shorten(mut command: Command) -> Command {
    for (name, letter) in [("all", 'a'), ("filter", 'f')] {
        let taken = command.get_arguments().any(|argument| argument.get_short() == Some(letter));
        let there = command.get_arguments().any(|argument| argument.get_id() == name);
        if there && !taken {
            command = command.mut_arg(name, |argument| argument.short(letter));
        }
    }
    command
}
