//! Collects what cannot be patched, and what the author has acknowledged instead.
//!
//! An acknowledgement is `WHAT:NAME`, from `--accept` or from the patched source itself
//! (`xsplice.h`); `WHAT` is a word for a kind of refusal, `NAME` the symbol or the section.

use thiserror::Error;
use xsplice_abi::section::ACCEPT;

use crate::options::Options;
use crate::read::items::ItemId;
use crate::read::side::Build;
use crate::report::object_diff::{Accepted, Refusal, RefusalCode};

/// `WHAT` of the acknowledgement that leaves functions out which differ in line numbers alone.
pub const LINE_NUMBERS: &str = "line-numbers";

/// The word by which a kind of refusal is acknowledged; `None` for what nobody can deal with by
/// hand.
#[must_use]
pub fn acceptable(code: RefusalCode) -> Option<&'static str> {
    Some(match code {
        RefusalCode::ChangedData => "data",
        RefusalCode::ChangedBss => "bss",
        RefusalCode::ChangedRodata => "rodata",
        RefusalCode::ChangedInit => "init",
        RefusalCode::ChangedPerCpu => "per-cpu",
        RefusalCode::ChangedLinkerSet => "linker-set",
        RefusalCode::ChangedSection => "section",
        RefusalCode::ChangedAssembly => "assembly",
        RefusalCode::CommonSymbol => "common",
        RefusalCode::AmbiguousStaticLocal => "static-local",
        RefusalCode::ChangedLayout => "layout",
        RefusalCode::ChangedPrototype => "prototype",
        RefusalCode::DefinitionChanged => "definition",
        _ => return None,
    })
}

/// What may be acknowledged as a whole, too, and not by name alone.
const WHOLE: [&str; 2] = [LINE_NUMBERS, crate::debug_info::toolchain::TOOLCHAIN];
/// What is acknowledged by name: the words of [`acceptable`], and the hunks of `xsplice-build`.
const BY_NAME: [&str; 14] = [
    "data",
    "bss",
    "rodata",
    "init",
    "per-cpu",
    "linker-set",
    "section",
    "assembly",
    "common",
    "static-local",
    "layout",
    "prototype",
    "definition",
    "hunk",
];

/// A value of `--accept` that can never match anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AcceptError {
    /// No such word in front.
    #[error(
        "nothing is acknowledged by that word; it is WHAT:NAME with one of {}, or {}",
        BY_NAME.join(", "),
        WHOLE.join(" or ")
    )]
    Unknown,
    /// A word that needs a name.
    #[error("say which, as in WHAT:NAME; the refusal names it")]
    NoName,
}

/// Reads a value of `--accept`.
///
/// # Errors
///
/// [`AcceptError`]. Whether the name is that of anything is not looked at.
pub fn acknowledgement(text: &str) -> Result<String, AcceptError> {
    let (what, name) = text.split_once(':').unwrap_or((text, ""));
    match (WHOLE.contains(&what), BY_NAME.contains(&what)) {
        (true, _) => Ok(text.to_owned()),
        (_, true) if name.is_empty() => Err(AcceptError::NoName),
        (_, true) => Ok(text.to_owned()),
        _ => Err(AcceptError::Unknown),
    }
}

/// Refusals and acknowledgements of one object.
#[derive(Debug)]
pub struct Verdicts {
    object: String,
    accept: Vec<String>,
    /// What stands in the way.
    pub refusals: Vec<Refusal>,
    /// What would stand in the way.
    pub accepted: Vec<Accepted>,
}

/// Where something is that is refused.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The section.
    pub section: Option<String>,
    /// The symbol.
    pub symbol: Option<String>,
    /// Offset in the section, in bytes.
    pub offset: Option<u64>,
}

impl Place {
    /// Where an item of a build is.
    #[must_use]
    pub fn of(build: &Build<'_>, item: ItemId) -> Place {
        let name = build.name(item);
        Place {
            section: Some(build.section_name(item).to_owned()),
            symbol: (!name.is_empty()).then(|| name.to_owned()),
            offset: Some(build.items.item(item).offset),
        }
    }

    /// A section as a whole.
    #[must_use]
    pub fn section(name: &str) -> Place {
        Place {
            section: Some(name.to_owned()),
            ..Place::default()
        }
    }

    /// A symbol that has no section.
    #[must_use]
    pub fn symbol(name: &str) -> Place {
        Place {
            symbol: Some(name.to_owned()),
            ..Place::default()
        }
    }

    /// The same section, at this offset in bytes.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Place {
        self.offset = Some(offset);
        self
    }

    /// The same, this many bytes further on.
    #[must_use]
    pub fn plus(mut self, bytes: u64) -> Place {
        self.offset = self.offset.map(|offset| offset.saturating_add(bytes));
        self
    }
}

impl Verdicts {
    /// Nothing is refused yet; acknowledgements come from the options and the patched object.
    #[must_use]
    pub fn new(object: &str, patched: &Build<'_>, options: &Options) -> Verdicts {
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
            accept,
            refusals: Vec::new(),
            accepted: Vec::new(),
        }
    }

    /// What the options and the patched object acknowledge.
    #[must_use]
    pub fn acknowledged(&self) -> &[String] {
        &self.accept
    }

    /// Whether functions that seem to differ in line numbers alone are left out.
    #[must_use]
    pub fn accepts_line_numbers(&self, function: &str) -> bool {
        self.accept.iter().any(|accept| {
            accept == LINE_NUMBERS
                || accept
                    .strip_prefix(LINE_NUMBERS)
                    .and_then(|rest| rest.strip_prefix(':'))
                    .is_some_and(|name| name == function)
        })
    }

    /// Refuses, unless the author has acknowledged it. `problem` says what is wrong and what
    /// would make it right, without naming the place.
    pub fn refuse(&mut self, code: RefusalCode, place: Place, problem: &str) {
        let message = self.message(&place, problem);
        if let Some(what) = self.acknowledgement(code, &place) {
            self.accepted.push(Accepted {
                object: self.object.clone(),
                what,
                symbol: place.symbol,
                code,
                message,
            });
            return;
        }
        self.refusals.push(Refusal {
            code,
            object: self.object.clone(),
            section: place.section,
            symbol: place.symbol,
            offset: place.offset,
            message,
        });
    }

    /// Refuses something that can be acknowledged, and says how.
    pub fn refuse_acceptable(&mut self, code: RefusalCode, place: Place, problem: &str) {
        let name = place.symbol.as_deref().or(place.section.as_deref());
        let how = acceptable(code).zip(name).map_or_else(String::new, |(what, name)| {
            format!(", then acknowledge it with --accept {what}:{name} or XSPLICE_ACCEPT in the source")
        });
        let problem = format!("{problem}{how}");
        self.refuse(code, place, &problem);
    }

    fn acknowledgement(&self, code: RefusalCode, place: &Place) -> Option<String> {
        let what = acceptable(code)?;
        self.accept
            .iter()
            .find(|accept| {
                let Some(name) = accept
                    .strip_prefix(what)
                    .and_then(|rest| rest.strip_prefix(':'))
                else {
                    return false;
                };
                Some(name) == place.symbol.as_deref() || Some(name) == place.section.as_deref()
            })
            .cloned()
    }

    fn message(&self, place: &Place, problem: &str) -> String {
        let mut message = self.object.clone();
        if let Some(section) = &place.section {
            message.push(':');
            message.push_str(section);
            if let Some(offset) = place.offset {
                message.push_str(&format!("+{offset:#x}"));
            }
        }
        if let Some(symbol) = &place.symbol {
            message.push_str(&format!(" ({symbol})"));
        }
        format!("{message}: {problem}")
    }
}

#[cfg(test)]
mod tests {
    use super::{AcceptError, acknowledgement};

    #[test]
    fn a_word_that_acknowledges_nothing_is_an_error() {
        for sound in [
            "data:x",
            "layout:a:b",
            "hunk:f.c:3",
            "line-numbers",
            "line-numbers:f",
            "toolchain",
        ] {
            assert_eq!(acknowledgement(sound).as_deref(), Ok(sound));
        }
        for unknown in ["nosuch", "dta:x", "", ":x"] {
            assert_eq!(
                acknowledgement(unknown),
                Err(AcceptError::Unknown),
                "{unknown}"
            );
        }
        for nameless in ["data", "data:", "hunk"] {
            assert_eq!(
                acknowledgement(nameless),
                Err(AcceptError::NoName),
                "{nameless}"
            );
        }
    }
}
