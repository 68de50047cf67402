//! What can be done with the payload later: whether it can be applied again or replaced, and
//! whether older code of a payload below is still reached while this one is on top.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;
use xsplice_abi::section;
use xsplice_runtime::read::view::{Place, SectionId, Symbol};

use super::Subject;
use crate::facts::{Facts, RecordFacts, Value};

/// The verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// Writable sections besides the records. With any, the payload must be uploaded again before
    /// it is applied again: its data would hold what the first time left there.
    pub writable: Vec<String>,
    /// Hooks that may veto, with which the payload can take no part in REPLACE.
    pub vetoing_hooks: Vec<&'static str>,
    /// Data that is lost when the payload is replaced or unloaded.
    pub state: Vec<String>,
    /// Functions that a payload below replaces too: its fix has no effect while this payload is
    /// applied, unless this one contains the fix as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overridden: Vec<Overridden>,
    /// Places in payloads below that still run older code of a function replaced here.
    pub escapes: Vec<Escape>,
}

/// A function of a payload below that is replaced again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overridden {
    /// The payload below.
    pub payload: String,
    /// The function.
    pub function: String,
}

/// A call or pointer of a payload below that does not pass through the base's function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Escape {
    /// The payload below.
    pub payload: String,
    /// The function that both replace.
    pub function: String,
    /// The place that refers to its older code.
    pub place: String,
}

impl Outlook {
    pub(super) fn new(subject: &Subject<'_, '_, '_>) -> Outlook {
        let (overridden, escapes) = replaced_again(subject);
        let facts = subject.facts;
        let is_writable = |id: SectionId| {
            facts.view.section(id).is_some_and(|section| {
                section.is_allocated()
                    && section.is_writable()
                    && section.size != 0
                    && section.name.strip_prefix(facts.abi.prefix) != Some(section::FUNCS)
            })
        };
        Outlook {
            writable: facts
                .view
                .numbered()
                .filter(|(id, _)| is_writable(*id))
                .map(|(_, section)| section.name.to_owned())
                .collect(),
            vetoing_hooks: facts
                .hooks
                .iter()
                .filter(|hook| hook.kind.is_vetoing())
                .map(|hook| hook.kind.name())
                .collect(),
            state: facts
                .defined()
                .filter(|symbol| matches!(symbol.place, Place::Section(id) if is_writable(id)))
                .map(|symbol| symbol.name.to_owned())
                .collect(),
            overridden,
            escapes,
        }
    }
}

/// Functions of payloads below that are replaced again here, and the references of those payloads
/// to their own new code of them.
fn replaced_again(subject: &Subject<'_, '_, '_>) -> (Vec<Overridden>, Vec<Escape>) {
    let ours: HashSet<u64> = subject
        .facts
        .records
        .iter()
        .filter_map(|record| subject.facts.old_address(record, subject.base))
        .collect();
    let (mut overridden, mut escapes) = (Vec::new(), Vec::new());
    for (below, file) in subject.stack.iter().zip(subject.stack_files) {
        for record in &below.records {
            let again = below
                .old_address(record, subject.base)
                .is_some_and(|address| ours.contains(&address));
            if again {
                let payload = file.path.to_owned();
                let function = record.name.unwrap_or("?").to_owned();
                overridden.push(Overridden { payload, function });
                references(below, record, |place| {
                    escapes.push(Escape {
                        payload: file.path.to_owned(),
                        function: record.name.unwrap_or("?").to_owned(),
                        place,
                    });
                });
            }
        }
    }
    (overridden, escapes)
}

/// Calls `found` for every reference to the new code of `record` but the record's own and those
/// of the function to itself.
fn references(below: &Facts<'_, '_>, record: &RecordFacts<'_>, mut found: impl FnMut(String)) {
    let Value::Payload { section, offset } = record.new else {
        return;
    };
    let function = offset..offset.saturating_add(u64::from(record.new_size));
    let is_entry = |symbol: &Symbol<'_>, addend: i64| {
        // The addend of a call counts from the end of its field.
        let target = symbol.value.wrapping_add_signed(addend);
        let called = target.wrapping_add(4);
        symbol.place == Place::Section(section) && (target == offset || called == offset)
    };
    for table in &below.view.relocations {
        let Some(home) = below.view.section(table.target) else {
            continue;
        };
        let is_record = home.name.strip_prefix(below.abi.prefix) == Some(section::FUNCS);
        if is_record || !home.is_allocated() {
            continue;
        }
        for entry in &table.entries {
            let inside = table.target == section && function.contains(&entry.offset);
            let hits = below
                .view
                .symbol(entry.symbol)
                .is_some_and(|symbol| is_entry(symbol, entry.addend));
            if hits && !inside {
                found(format!("{}+{:#x}", home.name, entry.offset));
            }
        }
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.writable.is_empty() {
            writeln!(out, "after revert: may be applied again")?;
        } else {
            writeln!(
                out,
                "after revert: must be unloaded and uploaded before it is applied again, for it \
                 has data ({})",
                self.writable.join(", ")
            )?;
        }
        let state = self.state.join(", ");
        match (self.vetoing_hooks.is_empty(), state.is_empty()) {
            (true, true) => writeln!(out, "replace: possible")?,
            (true, false) => writeln!(
                out,
                "replace: possible, but what it keeps is lost then, as it is on unload ({state})"
            )?,
            (false, is_stateless) => {
                writeln!(
                    out,
                    "replace: not possible, for it has hooks that may veto ({})",
                    self.vetoing_hooks.join(", ")
                )?;
                if !is_stateless {
                    writeln!(out, "unload: what it keeps is lost ({state})")?;
                }
            }
        }
        for Overridden { payload, function } in &self.overridden {
            writeln!(
                out,
                "below: {payload} replaces {function} too; this payload's code of it must contain \
                 that fix as well"
            )?;
        }
        for escape in &self.escapes {
            writeln!(
                out,
                "escape: {} of {} still runs its own code of {}",
                escape.place, escape.payload, escape.function
            )?;
        }
        Ok(())
    }
}
