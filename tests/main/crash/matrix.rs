//! Every command that changes something, killed at its points, beside a container that runs and an image and a volume that
//! it uses: they must not notice. After each death
//!
//! * what podling says of each container is true ([`sound::is_true`]),
//! * the next command of the same kind works,
//! * and when what the command was about has been removed by plain commands, nothing is left: the world is as it was
//!   before, to the file, the mount, the cgroup, the process, the lock.
//!
//! `PODLING_TEST_POINTS=all` tries every point of every process; without it, a [`points::few`] of each command.

use std::cell::RefCell;
use std::fs;

use crate::crash::points::{self, with};
use crate::crash::sound::{self, Picture};
use crate::leftovers;
use crate::world::World;

/// A command on the way to be killed, and what goes with it.
struct Case<'a> {
    world: &'a World,
    /// What is being tried, for messages.
    now: RefCell<String>,
}

impl<'a> Case<'a> {
    fn new(world: &'a World) -> Self {
        world.image("witness");
        Self { world, now: RefCell::new("without a fault".into()) }
    }

    /// A command that must work. Returns what it prints.
    #[track_caller]
    fn must(&self, words: &[&str]) -> String {
        let output = self.world.podling(words);
        assert_eq!(output.status, 0, "after {}: {output}", self.now.borrow());
        output.stdout.trim_end().to_owned()
    }

    #[track_caller]
    fn prints(&self, words: &[&str], expected: &str) {
        assert_eq!(self.must(words), expected, "{words:?} after {}", self.now.borrow());
    }

    /// Tries the command at its points. `before` makes it possible, `again` is the next command of its kind, `tidy` removes
    /// what it was about. Both follow each death.
    fn at_every_point(&self, words: &[&str], before: &dyn Fn(), again: &dyn Fn(), tidy: &dyn Fn()) {
        let world = self.world;
        let other = Other::start(self);
        let alone = Picture::processes_of(world);
        before();
        let all = points::all(world, words, || {
            again();
            tidy();
            alone.holds(world, &[], "without a fault");
        });
        let picture = Picture::of(world, &[]);
        let (count, chosen) = (all.len(), points::few(all));
        eprintln!("{words:?}: {} of {count} points", chosen.len());
        for point in &chosen {
            self.now.replace(format!("{words:?} was killed at {point}"));
            before();
            with(world, &point.fault, words);
            let names = leftovers::cgroup_names(world);
            sound::is_true(world, &self.now.borrow());
            again();
            tidy();
            picture.holds(world, &names, &self.now.borrow());
        }
        other.is_unharmed(self);
    }

    /// The same for a command about a container called `victim`.
    fn about_a_container(&self, words: &[&str], before: &dyn Fn(), again: &dyn Fn()) {
        let tidy = || drop(self.must(&["rm", "--force", "--ignore", "--volumes", "--time=0", "victim"]));
        self.at_every_point(words, before, again, &tidy);
    }

    fn create(&self) {
        self.must(&["create", "--network=none", "--name=victim", "witness", "until-term"]);
    }

    fn run(&self) {
        self.must(&["run", "-d", "--network=none", "--name=victim", "witness", "until-term"]);
    }

    fn runs_anew(&self) {
        let next = ["run", "--rm", "--replace", "--network=none", "--name=victim", "witness", "echo", "next"];
        self.prints(&next, "next");
    }

    fn answers(&self) {
        self.prints(&["exec", "victim", "/witness", "echo", "hello"], "hello");
    }

    #[track_caller]
    fn state(&self, expected: &str) {
        self.prints(&["inspect", "--format={{.State.Status}}", "victim"], expected);
    }
}

/// The container that has no part in it.
struct Other {
    pid: String,
}

impl Other {
    fn start(case: &Case) -> Self {
        case.must(&["volume", "create", "kept"]);
        let flags = ["run", "-d", "--network=none", "--name=other", "--volume=kept:/kept"];
        case.must(&[&flags[..], &["witness", "until-term"]].concat());
        let precious = case.world.file("tmp/.precious", "precious");
        case.must(&["cp", &precious.to_string_lossy(), "other:/kept/precious"]);
        Self { pid: Self::pid(case) }
    }

    fn pid(case: &Case) -> String {
        case.must(&["inspect", "--format={{.State.Pid}}", "other"])
    }

    fn is_unharmed(&self, case: &Case) {
        assert_eq!(Self::pid(case), self.pid);
        case.prints(&["exec", "other", "/witness", "echo", "unharmed"], "unharmed");
        case.must(&["stop", "other"]);
        case.must(&["start", "other"]);
        let kept = case.world.data().join("volumes/kept/_data/precious");
        assert_eq!(fs::read_to_string(kept).expect("it is there"), "precious");
        case.must(&["rm", "--force", "other"]);
        case.must(&["volume", "rm", "kept"]);
    }
}

// --------------------------------------------------------------------------------------------------------- containers

both!(run_in_the_foreground, |world| {
    let case = Case::new(world);
    let words = ["run", "--network=none", "--name=victim", "witness", "exit", "0"];
    case.about_a_container(&words, &|| (), &|| case.runs_anew());
});

both!(run_that_removes_itself, |world| {
    let case = Case::new(world);
    let words = ["run", "-d", "--rm", "--network=none", "--name=victim", "witness", "exit", "0"];
    case.about_a_container(&words, &|| (), &|| case.runs_anew());
});

both!(run_in_the_background, |world| {
    let case = Case::new(world);
    let words = ["run", "-d", "--network=none", "--name=victim", "witness", "until-term"];
    case.about_a_container(&words, &|| (), &|| case.runs_anew());
});

both!(run_that_is_started_again, |world| {
    let case = Case::new(world);
    let words = ["run", "-d", "--restart=on-failure:1", "--network=none", "--name=victim", "witness", "exit", "3"];
    case.about_a_container(&words, &|| (), &|| case.runs_anew());
});

both!(run_with_a_network, |world| {
    let case = Case::new(world);
    let words = ["run", "-d", "--publish=127.0.0.1::80", "--name=victim", "witness", "until-term"];
    case.about_a_container(&words, &|| (), &|| {
        case.must(&["run", "-d", "--replace", "--publish=127.0.0.1::80", "--name=victim", "witness", "until-term"]);
    });
});

both!(create, |world| {
    let case = Case::new(world);
    let file = world.dir.join("tmp/cid").display().to_string();
    let name = ["--network=none", "--name=victim", "--volume=/data"];
    let words = [&["create", "--cidfile", &file][..], &name, &["witness", "until-term"]].concat();
    case.about_a_container(&words, &|| (), &|| {
        case.must(&[&["create", "--replace"][..], &name, &["witness", "until-term"]].concat());
        case.must(&["start", "victim"]);
    });
});

both!(init, |world| {
    let case = Case::new(world);
    case.about_a_container(&["init", "victim"], &|| case.create(), &|| {
        // Its process may be the one that is to die: when it is let go, of which `start` does not wait to hear.
        world.podling(["start", "victim"]);
        world.podling(["wait", "--condition=running", "--condition=exited", "victim"]);
        case.must(&["start", "victim"]);
        case.answers();
    });
});

both!(start, |world| {
    let case = Case::new(world);
    case.about_a_container(&["start", "victim"], &|| case.create(), &|| {
        case.must(&["start", "victim"]);
        case.answers();
    });
});

both!(start_of_what_has_ended, |world| {
    let case = Case::new(world);
    let before = || {
        case.must(&["run", "--network=none", "--name=victim", "witness", "exit", "0"]);
    };
    case.about_a_container(&["start", "victim"], &before, &|| {
        case.must(&["start", "victim"]);
        case.prints(&["wait", "victim"], "0");
    });
});

both!(stop, |world| {
    let case = Case::new(world);
    case.about_a_container(&["stop", "victim"], &|| case.run(), &|| {
        case.must(&["stop", "victim"]);
        case.state("exited");
        case.must(&["rm", "victim"]);
    });
});

both!(kill, |world| {
    let case = Case::new(world);
    case.about_a_container(&["kill", "victim"], &|| case.run(), &|| {
        world.podling(["kill", "victim"]);
        case.must(&["wait", "victim"]);
        case.must(&["rm", "victim"]);
    });
});

both!(restart, |world| {
    let case = Case::new(world);
    case.about_a_container(&["restart", "--time=0", "victim"], &|| case.run(), &|| {
        case.must(&["restart", "--time=0", "victim"]);
        case.answers();
    });
});

as_root!(pause, |world| {
    let case = Case::new(world);
    case.about_a_container(&["pause", "victim"], &|| case.run(), &|| {
        world.podling(["unpause", "victim"]);
        case.must(&["pause", "victim"]);
        case.state("paused");
        case.must(&["unpause", "victim"]);
        case.answers();
    });
});

both!(exec, |world| {
    let case = Case::new(world);
    let words = ["exec", "victim", "/witness", "echo", "hello"];
    case.about_a_container(&words, &|| case.run(), &|| case.answers());
});

both!(exec_in_the_background, |world| {
    let case = Case::new(world);
    let words = ["exec", "-d", "victim", "/witness", "exit", "0"];
    case.about_a_container(&words, &|| case.run(), &|| {
        case.must(&words);
        case.answers();
    });
});

both!(rename, |world| {
    let case = Case::new(world);
    let words = ["rename", "victim", "renamed"];
    let again = || {
        // It has one of its names, whole, and can be given the other.
        let name = case.must(&["ps", "-a", "--filter=name=victim", "--filter=name=renamed", "--format={{.Names}}"]);
        if name == "victim" {
            case.must(&words);
        }
        case.prints(&["inspect", "--format={{.Name}}", "renamed"], "renamed");
        case.create();
    };
    let tidy = || drop(case.must(&["rm", "victim", "renamed"]));
    case.at_every_point(&words, &|| case.create(), &again, &tidy);
});

both!(update, |world| {
    let case = Case::new(world);
    let words = ["update", "--restart=on-failure:3", "victim"];
    case.about_a_container(&words, &|| case.create(), &|| {
        case.must(&words);
        case.prints(&["inspect", "--format={{.HostConfig.RestartPolicy.MaximumRetryCount}}", "victim"], "3");
    });
});

both!(cp, |world| {
    let case = Case::new(world);
    let (there, back) = (world.file("tmp/.there", "text"), world.dir.join("tmp/back"));
    let (there, back) = (there.display().to_string(), back.display().to_string());
    let words = ["cp", &there, "victim:/file"];
    case.about_a_container(&words, &|| case.create(), &|| {
        case.must(&words);
        case.must(&["cp", "victim:/file", &back]);
        assert_eq!(fs::read_to_string(&back).expect("it was copied"), "text");
        fs::remove_file(&back).expect("ours");
    });
});

both!(rm, |world| {
    let case = Case::new(world);
    let before = || {
        case.must(&["create", "--network=none", "--name=victim", "--volume=/data", "witness", "until-term"]);
    };
    case.about_a_container(&["rm", "--volumes", "victim"], &before, &|| {
        case.must(&["rm", "--ignore", "--volumes", "victim"]);
        case.runs_anew();
    });
});

both!(rm_of_what_runs, |world| {
    let case = Case::new(world);
    case.about_a_container(&["rm", "--force", "victim"], &|| case.run(), &|| {
        case.must(&["rm", "--force", "victim"]);
        case.runs_anew();
    });
});

both!(container_prune, |world| {
    let case = Case::new(world);
    case.about_a_container(&["container", "prune", "--force"], &|| case.create(), &|| {
        case.must(&["container", "prune", "--force"]);
        case.prints(&["ps", "-a", "--format={{.Names}}"], "other");
    });
});

// ------------------------------------------------------------------------------------------------------------- volumes

both!(volumes, |world| {
    let case = Case::new(world);
    let create = || drop(case.must(&["volume", "create", "--ignore", "victim"]));
    let tidy = || drop(case.must(&["volume", "rm", "--force", "victim"]));
    case.at_every_point(&["volume", "create", "victim"], &|| (), &create, &tidy);
    case.at_every_point(&["volume", "rm", "victim"], &create, &create, &tidy);
    case.at_every_point(&["volume", "prune", "--force"], &create, &create, &tidy);
});

// -------------------------------------------------------------------------------------------------------------- images

impl Case<'_> {
    /// The same for a command about an image called `layers` or `new`.
    fn about_an_image(&self, words: &[&str], before: &dyn Fn(), again: &dyn Fn()) {
        let tidy = || {
            self.must(&["rm", "--force", "--ignore", "victim"]);
            self.must(&["rmi", "--force", "--ignore", "layers", "new"]);
            sound::an_hour_later(self.world);
            self.must(&["image", "prune", "--force"]);
        };
        self.at_every_point(words, before, again, &tidy);
    }

    fn load(&self) {
        self.must(&["load", "-q", "-i", &sound::archive("layers")]);
    }

    fn layers_are_whole(&self) {
        self.prints(&["run", "--rm", "--network=none", "layers", "cat", "/changed"], "middle");
    }
}

both!(load, |world| {
    let case = Case::new(world);
    case.about_an_image(&["load", "-q", "-i", &sound::archive("layers")], &|| (), &|| {
        case.load();
        case.layers_are_whole();
    });
});

both!(unpacking, |world| {
    let case = Case::new(world);
    let words = ["create", "--network=none", "--name=victim", "layers", "true"];
    case.about_an_image(&words, &|| case.load(), &|| case.layers_are_whole());
});

both!(pull, |world| {
    let case = Case::new(world);
    let name = format!("{}/layers", world.registry());
    case.about_an_image(&["pull", "-q", &name], &|| (), &|| {
        case.must(&["pull", "-q", &name]);
        case.layers_are_whole();
    });
});

both!(commit, |world| {
    let case = Case::new(world);
    let there = world.file("tmp/.there", "text").display().to_string();
    let before = || {
        case.create();
        case.must(&["cp", &there, "victim:/file"]);
    };
    let words = ["commit", "-q", "victim", "localhost/new"];
    case.about_an_image(&words, &before, &|| {
        case.must(&words);
        case.prints(&["run", "--rm", "--network=none", "new", "cat", "/file"], "text");
    });
});

both!(import, |world| {
    let case = Case::new(world);
    let tar = world.dir.join("tmp/.tar").display().to_string();
    case.create();
    case.must(&["export", "--output", &tar, "victim"]);
    case.must(&["rm", "victim"]);
    let words = ["import", "-q", &tar, "localhost/new"];
    case.about_an_image(&words, &|| (), &|| {
        case.must(&words);
        case.prints(&["run", "--rm", "--network=none", "new", "/witness", "echo", "hello"], "hello");
    });
});

both!(save, |world| {
    let case = Case::new(world);
    let tar = world.dir.join("tmp/saved").display().to_string();
    let words = ["save", "-q", "--output", &tar, "layers"];
    case.about_an_image(&words, &|| case.load(), &|| {
        case.must(&words);
        case.must(&["rmi", "layers"]);
        case.must(&["load", "-q", "-i", &tar]);
        fs::remove_file(&tar).expect("it was saved");
        case.layers_are_whole();
    });
});

both!(tag_and_untag, |world| {
    let case = Case::new(world);
    let tag = || {
        case.must(&["tag", "witness", "localhost/new"]);
        case.prints(&["run", "--rm", "--network=none", "new", "echo", "hello"], "hello");
    };
    case.about_an_image(&["tag", "witness", "localhost/new"], &|| (), &tag);
    case.about_an_image(&["untag", "witness", "localhost/new"], &tag, &tag);
});

both!(rmi, |world| {
    let case = Case::new(world);
    let before = || {
        case.load();
        case.layers_are_whole();
    };
    case.about_an_image(&["rmi", "layers"], &before, &|| {
        case.must(&["rmi", "--ignore", "layers"]);
        before();
    });
});

both!(image_prune, |world| {
    let case = Case::new(world);
    let before = || {
        case.load();
        case.layers_are_whole();
        case.must(&["untag", "layers"]);
    };
    case.about_an_image(&["image", "prune", "--force"], &before, &|| {
        case.must(&["image", "prune", "--force"]);
        case.prints(&["images", "--format={{.Repository}}"], "localhost/witness");
    });
});

both!(system_prune, |world| {
    let case = Case::new(world);
    let before = || {
        case.load();
        case.must(&["create", "--network=none", "--name=victim", "--volume=/data", "layers", "true"]);
    };
    case.about_an_image(&["system", "prune", "--all", "--volumes", "--force"], &before, &|| {
        case.must(&["system", "prune", "--all", "--volumes", "--force"]);
        case.prints(&["images", "--format={{.Repository}}"], "localhost/witness");
        case.prints(&["volume", "ls", "-q"], "kept");
    });
});
