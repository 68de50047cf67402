//! A reason why no payload is made: one structure for every tool that refuses.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;

/// A difference, an input or a form of which no payload can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind.
    pub code: RefusalCode,
    /// The object or file at fault.
    pub object: String,
    /// Where in it. Boxed, so that a refusal stays small as an error.
    pub place: Box<Place>,
    /// What the sentence begins with instead of the object and the place: a hunk of a patch, or an
    /// object and the number of others like it.
    pub named: Option<String>,
    /// What is wrong, and what would make it right, without the place.
    pub problem: String,
    /// What is wrong, in words that fit all refusals of this cause; without it, `problem` is that
    /// but for the names of the place.
    pub shared: Option<String>,
}

impl Refusal {
    /// A refusal that concerns `object` as a whole.
    #[must_use]
    pub fn new(code: RefusalCode, object: &str, problem: impl Into<String>) -> Refusal {
        Refusal {
            code,
            object: object.to_owned(),
            place: Box::default(),
            named: None,
            problem: problem.into(),
            shared: None,
        }
    }

    /// Narrows it to a place.
    #[must_use]
    pub(crate) fn in_place(mut self, place: Place) -> Refusal {
        self.place = Box::new(place);
        self
    }

    /// Narrows it to an offset of a section, in bytes.
    #[must_use]
    pub fn at(mut self, section: &str, offset: u64) -> Refusal {
        self.place.section = Some(section.to_owned());
        self.place.offset = Some(offset);
        self
    }

    /// Narrows it to a section.
    #[must_use]
    pub fn in_section(mut self, section: &str) -> Refusal {
        self.place.section = Some(section.to_owned());
        self
    }

    /// Narrows it to a symbol.
    #[must_use]
    pub fn of(mut self, symbol: impl Into<String>) -> Refusal {
        self.place.symbol = Some(symbol.into());
        self
    }

    /// The sentence names this in place of the object.
    #[must_use]
    pub fn named(mut self, name: String) -> Refusal {
        self.named = Some(name);
        self
    }

    /// Several with this sentence have one cause.
    #[must_use]
    pub fn shared(mut self, sentence: impl Into<String>) -> Refusal {
        self.shared = Some(sentence.into());
        self
    }

    /// Where: what the sentence begins with.
    #[must_use]
    pub fn whereabouts(&self) -> String {
        match &self.named {
            Some(name) => name.clone(),
            None => format!("{}{}", self.object, self.place),
        }
    }

    /// The whole sentence: where, what is wrong, and what would make it right.
    #[must_use]
    pub fn message(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.whereabouts(), self.problem)
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// As reports have it.
        #[derive(Serialize)]
        struct Entry<'a> {
            code: RefusalCode,
            object: &'a str,
            section: Option<&'a str>,
            symbol: Option<&'a str>,
            offset: Option<u64>,
            message: String,
        }
        Entry {
            code: self.code,
            object: &self.object,
            section: self.place.section.as_deref(),
            symbol: self.place.symbol.as_deref(),
            offset: self.place.offset,
            message: self.message(),
        }
        .serialize(serializer)
    }
}
