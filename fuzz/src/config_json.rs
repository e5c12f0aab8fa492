//! A bundle's `config.json`, up to the plan of what would be done: parsed, checked, compiled, and nothing begun.
//!
//! What it names is looked for in a bundle that has a `rootfs`. The error is one line, as every error of podling's is.

use std::fs;

use oci_spec::runtime::{Process, Spec};
use podling::runtime::plan::{self, Choices, process, properties, resources, seccomp};

use crate::Scratch;

/// The text of a config.json, or of the process that `exec` is given.
pub fn config_json(data: &[u8]) {
    let scratch = Scratch::new();
    fs::create_dir(scratch.0.join("rootfs")).expect("our own directory");
    if let Ok(spec) = plan::parse::<Spec>(data) {
        let choices = Choices { pivot: true, new_keyring: true, preserve_fds: 0 };
        one_line(plan::plan("fuzz", &scratch.0, &spec, &choices));
        if let Some(linux) = spec.linux() {
            if let Some(asked) = linux.resources() {
                one_line(resources::resources(asked));
                one_line(resources::devices(asked));
            }
            if let Some(asked) = linux.seccomp() {
                one_line(seccomp::compile(asked));
            }
        }
        if let Some(annotations) = spec.annotations() {
            one_line(properties::of(annotations));
        }
    }
    if let Ok(asked) = plan::parse::<Process>(data) {
        one_line(process::plan(&asked, &Spec::default(), 0));
    }
}

fn one_line<T>(done: anyhow::Result<T>) {
    if let Err(error) = done {
        let line = podling::hint::line(&error);
        assert!(!line.trim().is_empty(), "an error that says nothing");
    }
}
