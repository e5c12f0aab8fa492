//! Grading a class: every answer is compiled and checked inside a rootless podling container of its own.
//!
//! A submission is a program by a stranger, and it is run. So: no network, a read-only root made of this machine's own
//! `/usr`, limits on memory, processes, files and time. Inside, the checker is the container's root and the student is
//! somebody else, without any capability: he cannot stop the checker, read its files, or write its result. Outside, the
//! container's root is only the user who grades.

pub mod inside;
mod submissions;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Args;
use podling::hint::hinted;

use crate::catalogue::{Catalogue, Exercise};
use crate::folder::write_package;
use crate::grade::submissions::{Submission, collect_written, submissions, take};
use crate::outcome::{Checked, Outcome};
use crate::pack::{self, Audience};
use crate::report;
use crate::scratch::Scratch;
use crate::{check, podling_program};

#[derive(Debug, Args)]
pub struct Options {
    /// A folder with a folder for each student, as podling-learn made it (or an archive of it: .tar, .tar.gz)
    dir: PathBuf,
    /// Only these exercises or chapters
    names: Vec<String>,
    /// Write the results as JSON; `-`: to standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the results as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a results.json for Gradescope into a folder for each student
    #[arg(long, value_name = "DIRECTORY")]
    gradescope: Option<PathBuf>,
    /// Collect the written answers, for a person to read
    #[arg(long, value_name = "DIRECTORY")]
    written: Option<PathBuf>,
    /// How many containers at once
    #[arg(long, value_name = "NUMBER", default_value_t = thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// How much memory each may use
    #[arg(long, value_name = "BYTES", default_value = "1g")]
    memory: String,
}

/// What one student gets.
#[derive(Debug, serde::Serialize)]
pub struct Graded {
    pub student: String,
    pub points: u32,
    /// What could be had, on this machine.
    pub of: u32,
    pub exercises: Vec<Checked>,
}

/// `podling-learn grade`. Exit status: 0 everything was graded, 3 something cannot be graded on this machine.
pub fn grade(catalogue: &Catalogue, options: &Options) -> Result<u8> {
    crate::directory(&options.dir, "the folder of submissions")?;
    let exercises = catalogue.select(&options.names)?;
    let room = Room::make(catalogue, &options.memory)?;
    let submissions = submissions(&options.dir, &room.scratch.path)?;
    if submissions.is_empty() {
        bail!("{} has no folder or archive of a student", options.dir.display());
    }
    let work: Vec<_> = submissions.iter().flat_map(|student| exercises.iter().map(move |it| (student, *it))).collect();
    let (left, done) = (Mutex::new(work.iter().enumerate()), Mutex::new(Vec::new()));
    thread::scope(|threads| {
        let one = || -> Result<()> {
            loop {
                let next = left.lock().map(|mut left| left.next());
                let Ok(Some((at, (student, exercise)))) = next else { return Ok(()) };
                let checked = room.grade(student, exercise, at)?;
                eprintln!("{} {}: {}", student.name, exercise.id, checked.outcome.word());
                if let Ok(mut done) = done.lock() {
                    done.push((at, checked));
                }
            }
        };
        let threads: Vec<_> = (0..options.jobs.max(1)).map(|_| threads.spawn(one)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a grading thread failed")))
    })?;
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(at, _)| *at);
    // Who was too slow may have had a bad neighbour: once more, alone.
    for (at, checked) in done.iter_mut().filter(|(_, checked)| options.jobs > 1 && checked.is_late()) {
        let (student, exercise) = work[*at];
        *checked = room.grade(student, exercise, *at)?;
        eprintln!("{} {}, alone: {}", student.name, exercise.id, checked.outcome.word());
    }
    let mut done = done.into_iter().map(|(_, checked)| checked);
    let graded: Vec<_> = submissions
        .iter()
        .map(|student| {
            let exercises: Vec<Checked> = done.by_ref().take(exercises.len()).collect();
            let (points, of) = (exercises.iter().map(Checked::points).sum(), exercises.iter().map(Checked::of).sum());
            Graded { student: student.name.clone(), points, of, exercises }
        })
        .collect();
    write_reports(options, &graded)?;
    if let Some(dir) = &options.written {
        collect_written(dir, &submissions, &exercises)?;
    }
    let silent = graded
        .iter()
        .flat_map(|student| &student.exercises)
        .any(|checked| checked.outcome.says_nothing() || checked.tests.iter().any(|test| test.outcome.says_nothing()));
    Ok(if silent { 3 } else { 0 })
}

fn write_reports(options: &Options, graded: &[Graded]) -> Result<()> {
    let write = |path: &Path, text: String| {
        if path == Path::new("-") {
            print!("{text}");
            return Ok(());
        }
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    };
    if let Some(path) = &options.json {
        write(path, serde_json::to_string_pretty(graded)? + "\n")?;
    }
    if let Some(path) = &options.junit {
        write(path, report::junit(graded))?;
    }
    if let Some(dir) = &options.gradescope {
        for student in graded {
            fs::create_dir_all(dir.join(&student.student))?;
            write(&dir.join(&student.student).join("results.json"), report::gradescope(student)?)?;
        }
    }
    if options.json.as_deref() != Some(Path::new("-")) {
        print!("{}", report::table(graded));
    }
    Ok(())
}

/// What all containers of one grading share, made once: a root to start from, the exercises, compiled libraries.
struct Room {
    scratch: Scratch,
    podling: PathBuf,
    toolchain: PathBuf,
    cargo_home: PathBuf,
    limits: Vec<String>,
}

impl Room {
    fn make(catalogue: &Catalogue, memory: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let toolchain = Command::new("rustc").args(["--print", "sysroot"]).output();
        let toolchain = toolchain.map_err(|error| podling::hint::cured(error, "running rustc", "install Rust"))?;
        let toolchain = PathBuf::from(String::from_utf8_lossy(&toolchain.stdout).trim());
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
        let podling = podling_program::find()?;
        let limits = limits(&podling, memory)?;
        let room = Self { scratch, podling, toolchain, cargo_home, limits };
        room.lay_out_root()?;
        for (name, from) in pack::files(catalogue, Audience::Student)? {
            let to = room.path("exercises").join(name);
            fs::create_dir_all(to.parent().unwrap_or(&to))?;
            fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        }
        room.compile_libraries()?;
        Ok(room)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path.join(name)
    }

    /// A root whose programs are this machine's own: `/usr`, bound; and where `/bin` and `/lib` are links into it, links.
    fn lay_out_root(&self) -> Result<()> {
        let root = self.path("root");
        for name in ["dev", "etc", "grader", "proc", "sys", "tmp", "usr", "work"] {
            fs::create_dir_all(root.join(name))?;
        }
        for name in ["bin", "lib", "lib32", "lib64", "sbin"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
                std::os::unix::fs::symlink(target, root.join(name))?;
            }
        }
        fs::write(root.join("etc/passwd"), "")?;
        // What is below is the checker's alone.
        fs::set_permissions(root.join("grader"), std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(())
    }

    /// nix, libc and anyhow, once for all: each student's own compilation is then a second's.
    fn compile_libraries(&self) -> Result<()> {
        let kit = self.path("kit");
        fs::create_dir_all(&kit)?;
        fs::write(kit.join("main.rs"), "fn main() {}\n")?;
        write_package(&kit, [("nothing".to_owned(), "main.rs".into())].into_iter())?;
        if let Err(words) = check::cargo(&kit, &["--target-dir=target"])? {
            bail!("the libraries of the exercises do not compile: {words}");
        }
        Ok(())
    }

    /// One exercise of one student, the `number`th of all.
    fn grade(&self, student: &Submission, exercise: &Exercise, number: usize) -> Result<Checked> {
        let own = Scratch::new()?;
        let (files, out) = (own.path.join("files"), own.path.join("out"));
        if take(student, exercise, &files)?.is_none() {
            let outcome = Outcome::wrong("not handed in");
            return Ok(Checked::untested(exercise, outcome.clone(), &outcome));
        }
        fs::create_dir(&out)?;
        // Everybody is somebody else: the kernel counts a user's processes over all containers.
        let uid = inside::FIRST_STUDENT + u32::try_from(number)? % inside::STUDENTS;
        let passwd = own.path.join("passwd");
        fs::write(&passwd, format!("root:x:0:0::/:/bin/sh\nstudent:x:{uid}:{uid}::/work:/bin/sh\n"))?;
        let log = own.path.join("log");
        let seconds = 60 + exercise.tests.iter().map(|test| test.seconds).sum::<u64>();
        let myself = std::env::current_exe().context("where podling-learn is")?;
        let mut command = Command::new(&self.podling);
        command.args(["run", "--rm", "--network=none", "--read-only"]);
        command.args(["--cap-add=sys_admin", "--cap-add=sys_ptrace", "--security-opt=unmask=ALL", "--hostname=grader"]);
        command.args(["--ulimit=core=0", "--ulimit=nofile=1024", "--tmpfs=/work:size=512m,mode=755,exec"]);
        command.args(["--tmpfs=/tmp:size=64m,mode=1777,exec", &format!("--timeout={seconds}")]).args(&self.limits);
        let mut bind = |from: &Path, to: &Path, how: &str| {
            command.arg(format!("--volume={}:{}:{how}", from.display(), to.display()));
        };
        bind(Path::new("/usr"), Path::new("/usr"), "ro");
        // `cc` is a link by way of this directory on Debian.
        if Path::new("/etc/alternatives").is_dir() {
            bind(Path::new("/etc/alternatives"), Path::new("/etc/alternatives"), "ro");
        }
        if !self.toolchain.starts_with("/usr") {
            bind(&self.toolchain, Path::new("/grader-rust"), "ro");
        }
        // The libraries' sources keep their place: it is part of what Cargo knows them by.
        bind(&self.cargo_home.join("registry"), &self.cargo_home.join("registry"), "ro");
        bind(&self.path("kit/target"), Path::new("/grader-target"), "ro");
        bind(&self.path("exercises"), Path::new("/grader/exercises"), "ro");
        bind(&files, Path::new("/grader/files"), "ro");
        // Not below /grader: a check lets the student's program start it, too (`play`).
        bind(&myself, Path::new("/grader-learn"), "ro");
        bind(&out, Path::new("/grader/out"), "rw");
        bind(&passwd, Path::new("/etc/passwd"), "ro");
        command.args([
            "--env=PATH=/grader-rust/bin:/usr/bin:/usr/sbin:/bin",
            &format!("--env=CARGO_HOME={}", self.cargo_home.display()),
        ]);
        command.args(["--rootfs".as_ref(), self.path("root").as_os_str()]);
        command.args(["/grader-learn", "inside", &exercise.id, &uid.to_string()]);
        let file = File::create(&log)?;
        let status = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status()?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        if let Ok(text) = fs::read_to_string(out.join("result.json"))
            && let Ok(checked) = serde_json::from_str::<Checked>(&text)
        {
            return Ok(checked);
        }
        let outcome = match status.code() {
            // 137: killed, as when memory is used up. 255: what `--timeout` ends with, in Podman's words.
            Some(137 | 255) => Outcome::Wrong {
                message: format!(
                    "it used more memory than it may, or more time than {seconds} seconds, and was killed"
                ),
                output: String::new(),
                late: true,
            },
            _ => Outcome::Broken { message: format!("its container ended with {status}: {}", said.trim_end()) },
        };
        Ok(Checked::untested(exercise, outcome.clone(), &outcome))
    }
}

/// The limits that need control groups, where this user may set them; else a warning, and the others must do.
fn limits(podling: &Path, memory: &str) -> Result<Vec<String>> {
    let all = vec![format!("--memory={memory}"), "--pids-limit=512".to_owned()];
    let said = Command::new(podling).args(["info", "--format={{json .Host.CgroupControllers}}"]).output();
    let said = said.with_context(|| format!("running {}", podling.display()))?;
    if !said.status.success() {
        let words = String::from_utf8_lossy(&said.stderr).trim_end().to_owned();
        return Err(hinted(format!("podling does not work here: {words}"), "podling-learn doctor"));
    }
    let controllers: Vec<String> = serde_json::from_slice(&said.stdout).unwrap_or_default();
    if ["memory", "pids"].iter().all(|wanted| controllers.iter().any(|it| it == wanted)) {
        return Ok(all);
    }
    eprintln!(
        "Memory cannot be limited here (no control groups are delegated to you: podling doctor); other limits stay."
    );
    Ok(vec!["--pids-limit=-1".to_owned()])
}
