//! Collects what cannot be patched, and what the author accepted instead.

use xsplice_abi::section::ACCEPT;

use crate::options::{Options, Stamps};
use crate::read::side::Build;
use crate::verdict::accept::{AcceptList, acceptable, remedy};
use crate::verdict::kinds::{Accepted, Note, RefusalCode};
use crate::verdict::place::Place;
use crate::verdict::refusal::Refusal;

/// Refusals of one object, and what it accepts.
#[derive(Debug)]
pub(crate) struct Verdicts {
    object: String,
    accept: AcceptList,
    stamps: Stamps,
    /// What is refused.
    pub refusals: Vec<Refusal>,
    /// What would be refused, had the author not accepted it.
    pub accepted: Vec<Accepted>,
    /// What a person has to know although it was decided.
    pub notes: Vec<Note>,
}

impl Verdicts {
    /// Nothing is refused yet; what is accepted comes from the options and the patched object.
    #[must_use]
    pub(crate) fn new(object: &str, patched: &Build<'_>, options: &Options) -> Verdicts {
        let mut accept = options.accept.clone();
        for (_, section) in patched.object.sections() {
            let own = section
                .name
                .strip_prefix(options.abi.prefix)
                .is_some_and(|rest| rest == ACCEPT || rest.starts_with("accept."));
            if own {
                let strings = section.data.split(|byte| *byte == 0);
                accept.extend(
                    strings
                        .filter(|string| !string.is_empty())
                        .map(|string| String::from_utf8_lossy(string).into_owned()),
                );
            }
        }
        Verdicts {
            object: object.to_owned(),
            accept: AcceptList::new(accept),
            stamps: options.stamps,
            refusals: Vec::new(),
            accepted: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Tells a person something of an item.
    pub(crate) fn note(&mut self, name: String, note: impl Into<String>) {
        self.notes.push(Note {
            object: self.object.clone(),
            name,
            note: note.into(),
        });
    }

    /// The object that they are about.
    #[must_use]
    pub(crate) fn object(&self) -> &str {
        &self.object
    }

    /// Whether the date and time of the build are no change.
    #[must_use]
    pub(crate) fn leaves_out_stamps(&self) -> bool {
        self.stamps == Stamps::LeftOut
    }

    /// What the options and the patched object accept.
    #[must_use]
    pub(crate) fn accept_list(&self) -> &AcceptList {
        &self.accept
    }

    /// Refuses, unless the author accepts it. `problem` says what is wrong and what would make it
    /// right, without naming the place.
    pub(crate) fn refuse(&mut self, code: RefusalCode, place: Place, problem: &str) {
        let names: Vec<&str> = place.names().collect();
        let accepted = acceptable(code).and_then(|what| self.accept.by_name(what, &names));
        let symbol = place.symbol.clone();
        let refusal = Refusal::new(code, &self.object, problem).in_place(place);
        match accepted {
            Some(what) => self.accepted.push(Accepted::new(&refusal, what, symbol)),
            None => self.refusals.push(refusal),
        }
    }

    /// Refuses something that can be accepted, and says how.
    pub(crate) fn refuse_acceptable(&mut self, code: RefusalCode, place: Place, problem: &str) {
        let problem = format!("{problem}{}", remedy(code, &place));
        self.refuse(code, place, &problem);
    }
}
