//! The verbs of `xsplice-store`, from the command line to what is told.

use std::ffi::OsStr;

use anyhow::{Context, Result};
use xsplice_console::{ExitStatus, json};

use super::run_one;
use crate::command::arguments::Request;
use crate::command::progress::Visibility;
use crate::command::store::{Arguments, Check, Place, Verb};
use crate::command::voice::Story;
use crate::many::merge;
use crate::source;
use crate::store::record::BuildRecord;
use crate::store::tell::{self, BuildLine, Told};
use crate::store::{Store, Use, add, check, find, remove};

/// Runs the command.
///
/// # Errors
///
/// What makes the exit status 1.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let (place, told) = match &arguments.command {
        Verb::Add(given) => {
            let (record, found) = add::add(given)?;
            (
                &given.place,
                Told::of("add", &[record]).saying(&tell::added(found)),
            )
        }
        Verb::List(given) => {
            let store = Store::open(&given.place.store, Use::Together)?;
            let records = store.records()?;
            let text = tell::table(&records, store.root());
            (&given.place, Told::of("list", &records).saying(&text))
        }
        Verb::Show(given) => {
            let store = Store::open(&given.place.store, Use::Together)?;
            let wanted = given.builds.iter();
            let records: Vec<_> = wanted.map(|one| store.record(one)).collect::<Result<_>>()?;
            let pages: Vec<_> = records.iter().map(tell::page).collect();
            (
                &given.place,
                Told::of("show", &records).saying(&pages.join("\n")),
            )
        }
        Verb::Find(given) => {
            let store = Store::open(&given.place.store, Use::Together)?;
            let records = find::find(&store, &given.what)?;
            let text = tell::table(&records, store.root());
            (&given.place, Told::of("find", &records).saying(&text))
        }
        Verb::Check(given) => {
            let store = Store::open(&given.place.store, Use::Together)?;
            (&given.place, checked(&store, given)?)
        }
        Verb::Remove(given) => {
            let store = Store::open(&given.place.store, Use::Alone)?;
            let (record, swept) = remove::remove(&store, &given.build)?;
            let text = tell::removed(&record, swept);
            (&given.place, Told::of("remove", &[record]).saying(&text))
        }
        Verb::Merge(given) => return merge::merge(given),
    };
    told.tell(place)
}

/// Checks the named builds, or all.
fn checked(store: &Store, given: &Check) -> Result<Told> {
    let records = match given.builds.as_slice() {
        [] => store.records()?,
        wanted => wanted
            .iter()
            .map(|one| store.record(one))
            .collect::<Result<_>>()?,
    };
    let mut told = Told::of("check", &[]);
    for record in &records {
        let mut faults = check::check(store, record)?;
        if given.rebuild && faults.is_empty() {
            faults.extend(rebuilt(store, record)?);
        }
        told.text.push_str(&tell::checked(record, &faults));
        told.builds.push(BuildLine::new(record, Some(faults)));
    }
    Ok(told)
}

/// How the source of a build differs from its objects once it is built here; `None` when nothing
/// does.
fn rebuilt(store: &Store, record: &BuildRecord) -> Result<Option<String>> {
    let scratch = tempfile::tempdir().context("there is no place for temporary files")?;
    let path = |name: &str| scratch.path().join(name);
    let source = store.source(record, &path("source"))?;
    let objects = store.objects(record, &path("objects"))?;
    let request = source::Request {
        lines: source::Lines::Kept,
        source: source.path().to_owned(),
        command: record.make.clone(),
        work: path("work"),
        original: None,
    };
    let built = source::build_unpatched(&request, Visibility::Hidden, &|_| ());
    let patched = match built {
        Err(error) if error.is::<source::Fault>() => return Ok(Some(format!("source: {error:#}"))),
        built => source::place::facing(&objects, &built?)?,
    };
    let base = store.base(record);
    let (orig, patched, base) = (objects.as_os_str(), patched.as_os_str(), base.as_os_str());
    let words = [
        OsStr::new("xsplice-build"),
        OsStr::new("--dry-run"),
        OsStr::new("--orig"),
        orig,
        OsStr::new("--patched"),
        patched,
        OsStr::new("--base"),
        base,
    ];
    let Request::Build(mut given) = Request::parse(words.map(OsStr::to_owned))? else {
        return Ok(None);
    };
    given.story = Some(Story::default());
    let ran = run_one(&given)?;
    Ok(match (ran.status, ran.refusal) {
        (ExitStatus::Unchanged, _) => None,
        (_, Some(refusal)) => Some(format!(
            "source: builds to something else than what was shipped: {refusal}"
        )),
        (_, None) => Some(format!(
            "source: builds to something else than what was shipped: {} functions differ",
            ran.functions
        )),
    })
}

impl Told {
    /// Tells the result, and how the command ends.
    fn tell(&self, place: &Place) -> Result<ExitStatus> {
        json::tell(place.json.as_deref(), &self.text)?;
        if let Some(target) = &place.json {
            json::write(target, self.tool, self)?;
        }
        let mut faults = self.builds.iter().filter_map(|build| build.faults.as_ref());
        let is_whole = faults.all(Vec::is_empty);
        Ok(if is_whole {
            ExitStatus::Done
        } else {
            ExitStatus::Refused
        })
    }
}
