//! Whether this machine can do what podling does: one list of checks, each with what was found, what it breaks, and the
//! command that cures it.
//!
//! `podling doctor` prints it, and whoever grades exercises asks it first: a machine that lacks something must never be
//! taken for a wrong answer.
//!
//! The subtlety is that many facts are cheap to read and mean little (a sysctl may allow what a security module then
//! forbids), so the last check does the real thing: it enters a user namespace as every rootless command does.

mod kernel;
mod user;

use anyhow::Result;
use serde::Serialize;

use crate::engine::{Engine, Owner};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// podling runs, but something it can do elsewhere it cannot do here.
    Limited,
    /// Containers do not run.
    Broken,
}

/// The answer of one check.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// How much it matters.
    pub verdict: Verdict,
    /// What was found, in a few words.
    pub found: String,
    /// What does not work for it; empty if all is well.
    pub breaks: String,
    /// The command or setting that cures it; empty if all is well or nothing does.
    pub cure: String,
}

impl Finding {
    fn good(subject: &'static str, found: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, found: found.into(), breaks: String::new(), cure: String::new() }
    }

    fn limited(subject: &'static str, found: impl Into<String>, breaks: &str, cure: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Limited, found: found.into(), breaks: breaks.into(), cure: cure.into() }
    }

    fn broken(subject: &'static str, found: impl Into<String>, breaks: &str, cure: impl Into<String>) -> Self {
        Self { verdict: Verdict::Broken, ..Self::limited(subject, found, breaks, cure) }
    }
}

/// Looks at everything; takes some milliseconds and changes nothing. An engine that cannot even be opened is a finding, too.
pub fn examine(engine: &Result<Engine>) -> Vec<Finding> {
    let owner = engine.as_ref().map_or_else(|_| Owner::of_this_process(), |engine| engine.owner);
    let rootless = owner != Owner::Root;
    let mut findings = vec![kernel::version(), kernel::seccomp(), kernel::overlay(), kernel::cgroup(owner)];
    if rootless {
        findings.extend([kernel::user_namespaces(), user::subordinate_ids(), user::map_programs()]);
    }
    match engine {
        Ok(engine) => findings.extend([user::run_directory(engine), user::store(engine), user::companions(engine)]),
        Err(why) => findings.push(user::no_engine(why)),
    }
    findings.extend([user::session(owner), user::network()]);
    // What is already known to be broken need not be tried.
    if let Ok(engine) = engine
        && rootless
        && findings.iter().all(|finding| finding.verdict != Verdict::Broken)
    {
        findings.push(user::namespace_in_earnest(engine));
    }
    findings
}

/// The worst of them.
pub fn verdict(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good)
}
