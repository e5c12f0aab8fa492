//! The files that our programs leave for each other, as a crash, a full disk, another version or a curious person may have
//! left them: a container's state is derived from whatever is there.
//!
//! The input is a row of files: a line `=== NAME`, then its content. What is not known is left out.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use podling::engine::container::{Container, ContainerConfig, Process, Started};
use podling::engine::events::{self, EventRequest};
use podling::engine::store::Paths;
use podling::engine::{Engine, Options, Owner};
use podling::handover::{ExitRecord, MonitorConfig, StartReport};
use podling::runtime::state::Store;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Scratch;

/// What may be there: in `$DATA`, in `$RUN`, or in the runtime's own directory.
const KEPT: [&str; 3] = ["container.json", "exit.json", "started.json"];
const RUNNING: [&str; 4] = ["process.json", "monitor.pid", "monitor.json", "started"];
const STATE: [&str; 3] = ["state.json", "config.json", "exec.fifo"];

/// The files.
pub fn handover(data: &[u8]) {
    let scratch = Scratch::new();
    let paths = Paths { data: scratch.0.join("data"), run: scratch.0.join("run") };
    let text = String::from_utf8_lossy(data);
    let files: Vec<(&str, &str)> = text.split("=== ").filter_map(|part| part.split_once('\n')).collect();
    let said = |name| files.iter().find(|file| file.0 == name).map(|file| file.1.trim_end());
    // Its directory is named as it names itself, if that can be a name; or by anything else.
    let own = said("container.json").and_then(|text| serde_json::from_str::<ContainerConfig>(text).ok());
    let id =
        own.map(|config| config.id).filter(|id| !id.contains(['/', '\0']) && !id.starts_with('.') && id.len() < 200);
    let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| "c".repeat(64));
    let store = Store::open(Some(&paths.runtime().display().to_string())).expect("an absolute path");
    for (directory, known) in
        [(paths.container(&id), &KEPT[..]), (paths.running(&id), &RUNNING), (paths.runtime().join(&id), &STATE)]
    {
        fs::create_dir_all(&directory).expect("our own directory");
        for (name, content) in files.iter().filter(|(name, _)| known.contains(name)) {
            fs::write(directory.join(name), content).expect("our own directory");
        }
    }
    fs::write(paths.events(), said("events").unwrap_or_default()).expect("our own directory");

    let engine = Engine { paths, owner: Owner::Root, options: Options::default() };
    if let Ok(Some(container)) = Container::read(&engine.paths, &id) {
        let status = container.status();
        assert!(!status.word().is_empty());
        assert_eq!(status.is_running(), status.is_running() && status.process().is_some());
        let _ = (container.short_id(), container.name(), container.rootfs(), container.holder());
        // What nobody can be asked about is found all the same.
        assert_eq!(engine.containers().expect("it could be read").len(), 1);
    }
    let _ = engine.containers();
    let _ = events::read(&engine, &EventRequest::default(), &mut |_| Ok(()));
    let _ = store.all();
    if let Ok(state) = store.load(&id) {
        let _ = state.status(&store).map(|status| state.json(status));
        let _ = store.spec(&id);
    }
    for (_, content) in &files {
        for line in content.lines().chain([*content]) {
            same::<StartReport>(line);
            same::<ExitRecord>(line);
            same::<MonitorConfig>(line);
            same::<Process>(line);
            same::<Started>(line);
        }
    }
    assert!(Path::new(&scratch.0).read_dir().expect("ours").count() <= 2, "something is beside the store");
}

/// What can be read is written so that it reads as the same.
fn same<T: DeserializeOwned + Serialize + Debug>(text: &str) {
    if let Ok(read) = serde_json::from_str::<T>(text) {
        let written = serde_json::to_string(&read).expect("it was JSON");
        let again = serde_json::from_str::<T>(&written).expect("our own words");
        assert_eq!(format!("{again:?}"), format!("{read:?}"));
    }
}
