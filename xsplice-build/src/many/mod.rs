//! One patch over many builds: a payload and reports for each build of a store, and one page, one
//! JSON document and one table over all of them.
//!
//! Each build is a run of its own (`--src` with the shipped objects and base). Its result is
//! written when it is complete, so that an interrupted command goes on where it stopped, and so
//! that several machines can share the work and join what they made.

pub(crate) mod below;
pub(crate) mod index;
pub(crate) mod merge;
pub(crate) mod one;
pub(crate) mod page;
pub(crate) mod plan;
pub(crate) mod result;
pub(crate) mod table;

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use xsplice_console::{ExitStatus, json};

use crate::command::arguments::Arguments;
use crate::inputs::name;
use crate::store::{Store, Use};
use index::Index;
use plan::Plan;
use result::{AcceptedLine, BuildResult};

/// Locked while somebody writes results into the folder.
const LOCK: &str = "lock";

/// What makes one payload: the pipeline of a run.
pub(crate) type Make<'a> = &'a dyn Fn(&Arguments) -> Result<Ran>;

/// How the run of one build ended.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// Done, refused or unchanged.
    pub status: ExitStatus,
    /// The first refusal, with its code.
    pub refusal: Option<String>,
    /// What was accepted, and why it would have been refused.
    pub accepted: Vec<AcceptedLine>,
    /// How many functions the payload replaces.
    pub functions: usize,
}

/// Makes payloads for the builds of a store.
///
/// # Errors
///
/// What stops all of them: options that cannot be read, a folder that cannot be written, an
/// interruption. A build that fails is a result.
pub(crate) fn run(
    arguments: &Arguments,
    store: &std::path::Path,
    make: Make<'_>,
) -> Result<ExitStatus> {
    let patch = arguments.patch.as_deref();
    let name = name::choose(arguments.name.as_deref(), patch, store)?;
    let store = Store::open(store, Use::Together)?;
    let plan = Plan::new(arguments, &name, &store)?;
    let folder = arguments.output.clone();
    let folder = folder.unwrap_or_else(|| PathBuf::from(format!("{name}.builds")));
    fs::create_dir_all(&folder)
        .with_context(|| format!("-o {}: cannot be made", folder.display()))?;
    let lock = File::create(folder.join(LOCK))
        .with_context(|| format!("-o {}: is not writable", folder.display()))?;
    if lock.try_lock().is_err() {
        bail!(
            "-o {}: another run writes its results there; name another folder",
            folder.display()
        );
    }
    let tell = |text: &str| {
        if !arguments.quiet {
            // A failure to print must not stop the run: the payloads matter more.
            let _ = json::tell(arguments.json.as_deref(), text);
        }
    };
    let columns = table::Columns::of(plan.builds.iter().map(|one| one.record.name.as_str()));
    let mut results = Vec::new();
    for planned in &plan.builds {
        let into = folder.join(&planned.record.name);
        let (result, kept) = match BuildResult::done(&into, planned) {
            Some(result) => (result, table::Kept::Yes),
            None => {
                let step = one::Step {
                    arguments,
                    name: &name,
                    store: &store,
                    make,
                };
                (step.run(planned, &into)?, table::Kept::No)
            }
        };
        tell(&table::row(&result, &columns, kept));
        results.push(result);
    }
    let index = Index::new(&name, plan.run, plan.shard, results);
    tell(&table::summary(&index, &folder));
    index.write(
        &folder,
        arguments.json.as_deref(),
        arguments.html.as_deref(),
    )?;
    Ok(index.status())
}
