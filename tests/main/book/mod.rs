//! The book, held true by machine: its console blocks are run, its listings are lines of the project's own files, its
//! claims have tests, its chapters have one shape. Each check is itself tried with a planted fault.
//!
//! `./test bless` writes into the pages what their commands print today; read the difference before you commit it.

mod claims;
mod exercises;
mod listings;
pub mod page;
mod pictures;
mod reference;
mod shape;
pub mod transcript;
mod varying;

use page::Page;

/// A test for each page with commands to run, and the list of these pages.
macro_rules! pages {
    ($($name:ident: $page:literal,)*) => {
        $(as_user!($name, |world| crate::book::ready(world, $page));)*
        pub const PAGES: &[&str] = &[$($page),*];
    };
}

/// Runs the commands of a page, with the chapters' programs in $PATH.
fn ready(world: &crate::world::World, page: &str) {
    crate::setup::setup().chapter("chapter01_fork");
    transcript::check(world, &Page::read(page));
}

/// Pages that hold on every machine that podling supports.
mod anywhere {
    pages! {
        container: "question/container.md",
        daemon: "question/daemon.md",
        setup: "question/setup.md",
        chapter01: "chapters/01-fork.md",
        chapter02: "chapters/02-user-namespace.md",
        chapter03: "chapters/03-mount.md",
        chapter04: "chapters/04-pid.md",
        chapter06: "chapters/06-ipc.md",
        chapter07: "chapters/07-images.md",
        chapter08: "chapters/08-monitor.md",
        chapter10: "chapters/10-pods.md",
        walk: "engine/walk.md",
        daemonless: "engine/daemonless.md",
        kill_the_manager: "engine/kill-the-manager.md",
        security_lab: "engine/security-lab.md",
        networks: "engine/networks.md",
        seccomp_capabilities: "engine/seccomp-capabilities.md",
        socket: "engine/socket.md",
        errors: "reference/errors.md",
    }
}

/// Pages that need controllers of control groups, delegated: `./test vm` runs them.
mod delegated {
    macro_rules! when_delegated {
        ($name:ident: $page:literal) => {
            as_user!($name, |world| {
                if crate::delegated::limits_can_be_set() {
                    crate::book::ready(world, $page);
                }
            });
        };
    }
    when_delegated!(chapter05: "chapters/05-cgroups.md");
    // Of what is delegated it needs a limit of memory, and a systemd of the user's.
    when_delegated!(chapter09: "chapters/09-systemd.md");
    when_delegated!(errors: "reference/errors-cgroups.md");
    pub const PAGES: &[&str] = &["chapters/05-cgroups.md", "chapters/09-systemd.md", "reference/errors-cgroups.md"];
}

#[test]
fn every_page_with_commands_is_run() {
    let pages = Page::all();
    let with_commands = pages.iter().filter(|page| page.fences().iter().any(|fence| fence.label == "console"));
    let not_run: Vec<_> =
        with_commands.filter(|page| ![anywhere::PAGES, delegated::PAGES].concat().contains(&&*page.name)).collect();
    let names: Vec<_> = not_run.iter().map(|page| &page.name).collect();
    assert!(names.is_empty(), "nobody runs the commands of {names:?}: name them in tests/main/book/mod.rs");
}

/// What is skipped, and why, a line each: `PAGE: REASON`.
#[test]
fn only_listed_blocks_are_skipped() {
    let listed = std::fs::read_to_string(page::root().join("book/skips.txt")).expect("the list of skips");
    let listed: Vec<_> = listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let pages = Page::all();
    let skipped: Vec<_> = pages
        .iter()
        .flat_map(|page| page.fences().into_iter().filter_map(|fence| Some(format!("{}: {}", page.name, fence.skip?))))
        .collect();
    assert_eq!(skipped, listed, "book/skips.txt lists every block that is not run");
}
