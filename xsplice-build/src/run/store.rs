//! The verbs of `xsplice-store`, from the command line to what is told.

use anyhow::Result;
use xsplice_console::{ExitStatus, json};

use crate::command::store::{Arguments, Place, Verb};
use crate::many::merge;
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
            (&given.place, checked(&store, &given.builds)?)
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
fn checked(store: &Store, wanted: &[String]) -> Result<Told> {
    let records = match wanted {
        [] => store.records()?,
        wanted => wanted
            .iter()
            .map(|one| store.record(one))
            .collect::<Result<_>>()?,
    };
    let mut told = Told::of("check", &[]);
    for record in &records {
        let faults = check::check(store, record)?;
        told.text.push_str(&tell::checked(record, &faults));
        told.builds.push(BuildLine::new(record, Some(faults)));
    }
    Ok(told)
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
