//! Grading a class, some of whom are hostile: everybody gets what he deserves, and nothing is left behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use serde_json::Value;

use crate::running::{Input, Output, Running, patience};
use crate::setup::{give_to_user, make_directory, setup};
use crate::world::{Who, World};

/// A catalogue with one exercise: a program that ends with 7.
fn catalogue(world: &World) -> PathBuf {
    for dir in ["graded", "graded/01-fork", "graded/01-fork/seven", "graded/01-fork/words"] {
        world.directory(dir);
    }
    for dir in ["seven/starter", "seven/solution", "words/starter", "words/solution"] {
        world.directory(&format!("graded/01-fork/{dir}"));
    }
    let usual = "minutes = 1\nstars = 1\nhints = ['a', 'b', 'c']\n";
    let tests = "[[test]]\nname = 'seven'\ntitle = 'it ends with 7'\npoints = 3\nseconds = 5\n\
                 [[test]]\nname = 'moon'\ntitle = 'there is a moon'\npoints = 4\n";
    let check = "seven() { [ \"$(as_student id -u)\" -ge 30000 ] || wrong 'as_student is the checker'\n\
                 same 'the exit status' 7 \"$(status \"$PROGRAM\")\"; }\n\
                 moon() { unfit 'there is no moon' 'wait for the night'; }\n";
    for (name, text) in [
        ("seven/exercise.toml", format!("title = 'Seven'\nkind = 'fill'\n{usual}{tests}").as_str()),
        ("seven/task.md", "End with 7.\n"),
        ("seven/check.sh", check),
        ("seven/starter/main.rs", "fn main() {}\n"),
        ("seven/solution/main.rs", "fn main() { std::process::exit(7) }\n"),
        ("seven/explain.md", "It is seven.\n"),
        ("words/exercise.toml", &format!("title = 'Words'\nkind = 'written'\n{usual}")),
        ("words/task.md", "Why seven?\n"),
        ("words/check.sh", ""),
        ("words/starter/answer.md", "\n"),
        ("words/explain.md", "So.\n"),
    ] {
        world.file(&format!("graded/01-fork/{name}"), text);
    }
    let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("exercises/kit.sh");
    world.file("graded/kit.sh", fs::read(kit).expect("the kit"));
    world.dir.join("graded")
}

/// Rust, where an ordinary user can read it: root's own is in root's home.
fn rust() -> &'static (PathBuf, PathBuf) {
    static RUST: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    RUST.get_or_init(|| {
        let said =
            Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc is here: it compiled this");
        let root = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
        let home = PathBuf::from(std::env::var_os("HOME").expect("a home"));
        let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
        if !setup().is_root {
            return (root, cargo);
        }
        let (here, cargo_here) = (setup().dir.join("rust"), setup().dir.join("cargo"));
        for (from, to) in [(root, here.clone()), (cargo.join("registry"), cargo_here.join("registry"))] {
            make_directory(&to);
            let none: Option<&str> = None;
            mount(Some(&from), &to, none, MsFlags::MS_BIND, none).expect("our own mount namespace");
        }
        give_to_user(&cargo_here);
        (here, cargo_here)
    })
}

/// Grades what is in `class`; the results as JSON, and what was said.
fn grade(world: &World, catalogue: &Path) -> (Output, Value) {
    setup().exercises();
    let (rust, cargo) = rust();
    let mut command = world.command(setup().bin("podling-learn"));
    let path = format!("{}:{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", setup().bin("").display(), rust.display());
    command.env("PATH", path).env("CARGO_HOME", cargo).arg("--exercises").arg(catalogue);
    command.args([
        "grade",
        "class",
        "--json=results.json",
        "--junit=results.xml",
        "--gradescope=scope",
        "--written=words",
    ]);
    // Hostile answers use all the time that they get.
    let said = Running::start(command, Input::Empty).wait_within(patience().max(Duration::from_secs(400)));
    let text = fs::read_to_string(world.dir.join("results.json"));
    let results = serde_json::from_str(&text.unwrap_or_else(|_| panic!("{said}"))).expect("JSON");
    (said, results)
}

/// A student whose program is this.
fn student(world: &World, name: &str, source: &str) {
    for dir in ["", "/01-fork", "/01-fork/seven"] {
        world.directory(&format!("class/{name}{dir}"));
    }
    world.file(&format!("class/{name}/01-fork/seven/main.rs"), source);
}

/// A program that ends with 7, as is right, only if it succeeds in something that it must not.
fn succeeding(attack: &str) -> String {
    format!(
        "use std::{{fs, process::exit}};\nfn attack() -> bool {{ {attack} }}\n\
         fn main() {{ exit(if attack() {{ 7 }} else {{ 42 }}) }}\n"
    )
}

/// The first exercise of a student of the results.
fn first<'a>(results: &'a Value, name: &str) -> &'a Value {
    let students = results.as_array().expect("a row for each student");
    let student = students.iter().find(|student| student["student"] == name);
    &student.unwrap_or_else(|| panic!("{name} is in {results}"))["exercises"][0]
}

both!(a_class_is_graded, |world| {
    let catalogue = catalogue(world);
    world.directory("class");
    student(world, "ann", "fn main() { std::process::exit(7) }\n");
    student(world, "bob", "fn main() {}\n");
    student(world, "cem", "fn main() { std::process::exit(\"7\") }\n");
    world.directory("class/dora");
    for dir in ["class/eli", "class/eli/my-exercises", "class/eli/my-exercises/words"] {
        world.directory(dir);
    }
    world.file("class/eli/my-exercises/words/answer.md", "Because.\n");
    let (said, results) = grade(world, &catalogue);
    // One of the tests can be tried nowhere: 3, and nobody loses its points.
    assert_eq!(said.status, 3, "{said}");
    let outcome = |name| first(&results, name)["tests"][0]["outcome"].clone();
    assert_eq!(outcome("ann"), "passed", "{results:#}");
    assert_eq!(outcome("bob"), "wrong");
    assert_eq!(first(&results, "bob")["tests"][0]["message"], "the exit status is '0', and should be '7'");
    assert_eq!(outcome("cem"), "not-compiled");
    assert!(first(&results, "cem")["output"].as_str().is_some_and(|text| text.contains("mismatched types")));
    assert_eq!(first(&results, "dora")["message"], "not handed in");
    assert_eq!(first(&results, "ann")["tests"][1]["outcome"], "unfit");
    assert_eq!((&results[0]["points"], &results[0]["of"]), (&3.into(), &3.into()));
    // Each program's own words for it.
    let xml = fs::read_to_string(world.dir.join("results.xml")).expect("JUnit's");
    assert!(xml.contains("<testsuite name=\"bob\" tests=\"3\" failures=\"2\" skipped=\"1\">"), "{xml}");
    assert_eq!(xml.matches("mismatched types").count(), 1, "the compiler's words, once: {xml}");
    let scope = fs::read_to_string(world.dir.join("scope/cem/results.json")).expect("Gradescope's");
    assert!(scope.contains("does not compile") && scope.contains("mismatched types"), "{scope}");
    let scope = fs::read_to_string(world.dir.join("scope/ann/results.json")).expect("Gradescope's");
    let scope: Value = serde_json::from_str(&scope).expect("JSON");
    assert_eq!((&scope["score"], &scope["tests"][0]["max_score"]), (&3.into(), &3.into()));
    assert_eq!(scope["tests"].as_array().map(Vec::len), Some(1), "what cannot be tried is not scored");
    assert_eq!(fs::read_to_string(world.dir.join("words/words/eli")).ok(), None);
    assert_eq!(fs::read_to_string(world.dir.join("words/words/eli/answer.md")).expect("collected"), "Because.\n");
});

both!(a_hostile_class_is_graded, |world| {
    let catalogue = catalogue(world);
    world.directory("class");
    student(world, "honest", "fn main() { std::process::exit(7) }\n");
    student(world, "bomb", "fn main() { loop { unsafe { nix::libc::fork() }; } }\n");
    student(world, "loud", "fn main() { loop { println!(\"{}\", \"loud\".repeat(1000)); } }\n");
    student(world, "eater", &succeeding("let mut all = Vec::<u8>::new(); all.try_reserve_exact(3 << 30).is_ok()"));
    student(world, "endless", "fn main() { loop { std::thread::park(); } }\n");
    let reads = ["/grader/exercises/kit.sh", "/grader/out", "/proc/1/environ", "/proc/1/root/etc/passwd"];
    let reads: Vec<_> =
        reads.iter().map(|path| format!("fs::metadata({path:?}).is_ok() && fs::read({path:?}).is_ok()")).collect();
    student(world, "reader", &succeeding(&reads.join(" || ")));
    student(
        world,
        "killer",
        &succeeding(
            "unsafe { for pid in [1, nix::libc::getppid(), -1] { nix::libc::kill(pid, nix::libc::SIGKILL); } } \
             nix::unistd::getppid().as_raw() == 1",
        ),
    );
    student(
        world,
        "forger",
        &succeeding(
            "fs::write(\"/grader/out/result.json\", \"{}\").is_ok() || std::env::var(\"VERDICT\").is_ok_and(|it| fs::write(it, \"x\").is_ok()) \
             || (1..200).any(|pid| (0..9).any(|fd| fs::OpenOptions::new().write(true).open(format!(\"/proc/{pid}/fd/{fd}\")).is_ok() && pid != std::process::id()))",
        ),
    );
    student(
        world,
        "filler",
        "use std::{fs::File, io::Write};\nfn main() { let mut files: Vec<_> = [\"a\", \"/tmp/a\", \"/work/a\"].iter()\
         .filter_map(|path| File::create(path).ok()).collect(); let block = vec![1; 1 << 20]; \
         while files.iter_mut().any(|file| file.write_all(&block).is_ok()) {} }\n",
    );
    student(
        world,
        "includer",
        "fn main() { print!(\"{}\", include_str!(\"/grader/exercises/kit.sh\")); std::process::exit(7) }\n",
    );
    student(
        world,
        "calculator",
        "const fn slow(n: u64) -> u64 { if n < 2 { n } else { slow(n - 1) + slow(n - 2) } }\n\
         #[allow(long_running_const_eval)]\nconst NEVER: u64 = slow(90);\nfn main() { println!(\"{NEVER}\"); }\n",
    );
    // Links out of the folder, of a file and of a whole directory; a file that never ends; an archive that climbs.
    student(world, "linker", "");
    let linked = world.dir.join("class/linker/01-fork/seven/main.rs");
    fs::remove_file(&linked).expect("our own file");
    symlink(world.dir.join("class/honest/01-fork/seven/main.rs"), &linked).expect("our own directory");
    world.directory("class/borrower");
    symlink(world.dir.join("class/honest/01-fork"), world.dir.join("class/borrower/01-fork"))
        .expect("our own directory");
    student(world, "pipe", "");
    let pipe = world.dir.join("class/pipe/01-fork/seven/main.rs");
    fs::remove_file(&pipe).expect("our own file");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("our own directory");
    climbing_archive(&world.dir.join("class/climber.tar"));

    let (said, results) = grade(world, &catalogue);
    assert_eq!(said.status, 3, "{said}");
    let test = |name| first(&results, name)["tests"][0].clone();
    assert_eq!(test("honest")["outcome"], "passed", "{said}\n{results:#}");
    for name in ["bomb", "loud", "eater", "endless", "reader", "killer", "forger", "filler"] {
        assert_eq!(test(name)["outcome"], "wrong", "{name}: {results:#}");
    }
    for name in ["reader", "killer", "forger", "eater"] {
        let refused = test(name)["message"].as_str().is_some_and(|text| text.starts_with("the exit status is '42'"));
        assert!(refused || name == "killer", "{name}: {results:#}");
    }
    assert_eq!(test("includer")["outcome"], "not-compiled", "a compiler reads no more than the student may");
    // By its processor's time; on a busy machine the container's time may be over before.
    let calculated = test("calculator")["outcome"].clone();
    assert!(calculated == "not-compiled" || calculated == "wrong", "{calculated}");
    for name in ["linker", "borrower", "pipe", "climber"] {
        assert_eq!(first(&results, name)["message"], "not handed in", "{name}");
    }
    assert!(!world.dir.join("class/honest/01-fork/escaped").exists() && !world.dir.join("escaped").exists());
    if world.who == Who::User {
        assert!(!Path::new("/grader").exists(), "everything was in containers");
    }
});

/// A tar file whose entries lead out of where it is unpacked.
fn climbing_archive(path: &Path) {
    let mut archive = tar::Builder::new(fs::File::create(path).expect("our own directory"));
    for name in ["../../escaped", "/escaped"] {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().expect("just made").name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(1);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, &b"x"[..]).expect("our own file");
    }
    archive.into_inner().expect("our own file");
}
