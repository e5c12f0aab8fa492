//! Chapter 3: another root, whose changes nobody else sees; climbed out of with chroot, and not with pivot_root.

use std::fs;
use std::path::Path;

use crate::setup::setup;
use crate::world::World;

const CHAPTER: &str = "chapter03_mount";

/// A directory that holds the witness and nothing else.
pub fn bare_root(world: &World) -> String {
    let root = world.directory("bare");
    // Not a second time: a container may be running it.
    if !root.join("witness").exists() {
        fs::copy(setup().bin("witness"), root.join("witness")).expect("our own directory");
    }
    root.to_str().expect("plain ASCII").to_owned()
}

both!(it_ends_as_its_program_ended, |world| {
    world.chapter(CHAPTER, ["sh", "-c", "exit 7"]).fails(7);
    world.chapter(CHAPTER, ["sh", "-c", "kill -9 $$"]).fails(137);
    world.chapter(CHAPTER, ["/no-such-program"]).fails(127);
    assert_eq!(
        world.chapter(CHAPTER, ["--root", "/no-such-directory", "true"]).fails(125),
        "Error: entering /no-such-directory: No such file or directory"
    );
});

both!(its_help_teaches, |world| {
    world.snapshot("chapter03_help", world.chapter(CHAPTER, ["--help"]).ok());
});

both!(what_is_written_is_gone_with_the_program, |world| {
    let script = "echo mine > /etc/podling-mine && cat /etc/podling-mine && rm /etc/passwd && ls /etc/passwd";
    let said = world.chapter(CHAPTER, ["sh", "-c", script]);
    said.fails(2);
    assert_eq!(said.stdout, "mine\n", "{said}");
    assert!(!Path::new("/etc/podling-mine").exists() && Path::new("/etc/passwd").exists());
    world.chapter(CHAPTER, ["ls", "/etc/podling-mine"]).fails(2);
    // A directory that was given is only read, too.
    let root = bare_root(world);
    let write = ["/witness", "write", "/mine", "text"];
    world.chapter(CHAPTER, [&["--root", &root], &write[..]].concat()).ok();
    assert_eq!(world.program("witness", ["ls", &root]).ok(), "witness");
});

both!(the_machine_s_devices_are_used_and_not_removed, |world| {
    for chapter in [CHAPTER, "chapter04_pid"] {
        let said = world.chapter(chapter, ["sh", "-c", "echo gone > /dev/null && touch /dev/mine"]);
        assert!(said.fails(1).contains("Read-only file system"), "{said}");
    }
});

both!(a_given_directory_is_the_root, |world| {
    let root = bare_root(world);
    assert_eq!(world.chapter(CHAPTER, ["--root", &root, "/witness", "ls", "/"]).ok(), "dev\nproc\nwitness");
    assert_eq!(world.chapter(CHAPTER, ["--root", &root, "/witness", "cwd"]).ok(), "/");
});

both!(no_mount_event_enters_or_leaves, |world| {
    let mounts = world.chapter(CHAPTER, ["--root", &bare_root(world), "/witness", "mounts"]).ok().to_owned();
    assert!(mounts.lines().all(|line| line.ends_with(" private")), "{mounts}");
    assert!(mounts.starts_with("/ overlay rw,"), "{mounts}");
});

both!(the_attack_chroot_is_climbed_out_of_and_pivot_root_is_not, |world| {
    let root = bare_root(world);
    // The shell is not in the new root.
    let out = ["--break-out", "sh", "-c", "echo out; exec ls -d /usr"];
    assert_eq!(world.chapter(CHAPTER, [&["--root", &root, "--chroot"], &out[..]].concat()).ok(), "out\n/usr");
    world.chapter(CHAPTER, ["--root", &root, "--chroot", "sh", "-c", "true"]).fails(127);
    world.chapter(CHAPTER, [&["--root", &root], &out[..]].concat()).fails(127);
    let inside = ["--root", &root, "--break-out", "/witness", "ls", "/"];
    assert_eq!(world.chapter(CHAPTER, inside).ok(), "below\ndev\nproc\nwitness");
});

both!(what_it_asks_of_the_kernel_is_a_golden_trace, |world| {
    let said = world.chapter(CHAPTER, ["--explain", "--root", &bare_root(world), "/witness"]);
    let told =
        said.stderr.lines().filter(|line| line.starts_with("init")).map(|line| line.trim_end().to_owned() + "\n");
    world.snapshot("chapter03_narration", &told.collect::<String>());
});

both!(who_may_make_no_mount_namespace_is_told, |world| {
    let script = "echo 0 > /proc/sys/user/max_mnt_namespaces; exec \"$0\" true";
    let chapter = setup().chapter(CHAPTER);
    let said =
        world.chapter("chapter02_user_namespace", ["--single", "sh", "-c", script, chapter.to_str().expect("ASCII")]);
    assert_eq!(
        said.fails(125),
        "Error: mounting for ourselves: unshare mnt: No space left on device\n\
         hint: is it forbidden here? see 'podling doctor'"
    );
});
