//! `podling doctor`: can this machine do it, and if not, what cures it.

use anyhow::Result;
use clap::Args;

use crate::cli::{Context, Verb, failure};
use crate::engine::doctor::{self, Finding, Verdict};

/// The exit status for "this machine cannot run containers, and here is the cure".
const UNFIT: i32 = 3;

/// The flags of `podling doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print the findings as JSON
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
}

impl Verb for Doctor {
    fn run(self, context: &Context) -> Result<i32> {
        let findings = doctor::examine(&context.engine());
        let worst = doctor::verdict(&findings);
        let text = match self.format {
            Some(_) => format!("{}\n", serde_json::to_string_pretty(&findings)?),
            None => text(&findings, worst),
        };
        failure::print(&text)?;
        Ok(if worst == Verdict::Broken { UNFIT } else { 0 })
    }
}

fn text(findings: &[Finding], worst: Verdict) -> String {
    let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.verdict {
            Verdict::Good => "ok",
            Verdict::Limited => "limited",
            Verdict::Broken => "BROKEN",
        };
        text += &format!("{mark:<8} {:<width$}  {}\n", finding.subject, finding.found);
        if finding.verdict != Verdict::Good {
            text += &format!("{:<8} {:<width$}  without it: {}\n", "", "", finding.breaks);
            if !finding.cure.is_empty() {
                text += &format!("{:<8} {:<width$}  cure: {}\n", "", "", finding.cure);
            }
        }
    }
    text += match worst {
        Verdict::Good => "\nThis machine can do everything that podling does.\n",
        Verdict::Limited => "\nContainers run here, within the limits above.\n",
        Verdict::Broken => "\nContainers do not run here until the above is cured.\n",
    };
    text
}
