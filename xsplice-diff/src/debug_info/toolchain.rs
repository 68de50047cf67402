//! Which toolchain built an object, as far as the object records it: `.comment`, `DW_AT_producer`,
//! recorded command lines, `.note.gnu.property`.
//!
//! Builds by different compilers or with different flags differ in functions that the patch does
//! not touch: the payload would include code that was never reviewed, and the comparison with the
//! original would prove less. So such a difference is refused unless the author accepts it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::debug_info::types::Types;
use crate::read::object::ElfObject;

/// Section of recorded command lines (`-frecord-gcc-switches`, `-frecord-command-line`).
const COMMAND_LINE: &str = ".GCC.command.line";
const COMMENT: &str = ".comment";
const PROPERTY: &str = ".note.gnu.property";

/// The toolchain of one object or image.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize
)]
pub struct Toolchain {
    /// Compilers and assemblers with their versions, as they call themselves in `.comment`.
    pub compilers: BTreeSet<String>,
    /// The same with the language, as debug information calls them.
    pub producers: BTreeSet<String>,
    /// Flags that affect the code, where they were recorded.
    pub flags: BTreeSet<String>,
    /// Protections that all of the code supports (`ibt`, `shstk`).
    pub protections: BTreeSet<String>,
}

/// Both toolchains of a pair of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Toolchains {
    /// Of the original.
    pub original: Toolchain,
    /// Of the patched object.
    pub patched: Toolchain,
    /// What differs between them.
    pub differences: Vec<Difference>,
}

/// One thing in which two toolchains differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// What it is.
    pub kind: DifferenceKind,
    /// What the first has; empty for nothing.
    pub old: String,
    /// What the second has; empty for nothing.
    pub new: String,
}

/// Kinds of differences between toolchains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// The compiler or its version.
    Compiler,
    /// A flag.
    Flag,
    /// A protection.
    Protection,
}

impl Toolchain {
    /// Reads it from an object; `types` where its debug information was read already.
    #[must_use]
    pub fn of(object: &ElfObject<'_>, types: Option<&Types<'_>>) -> Toolchain {
        let mut toolchain = Toolchain::default();
        for (_, section) in object.sections() {
            match section.name {
                COMMENT => toolchain.add_comment(section.data),
                COMMAND_LINE => {
                    for line in texts(section.data) {
                        toolchain.add_flags(line);
                    }
                }
                PROPERTY => toolchain.add_properties(section.data),
                _ => {}
            }
        }
        for producer in types.map_or(&[][..], |types| &types.producers) {
            toolchain.add_producer(producer);
        }
        toolchain
    }

    /// Adds the content of a `.comment` section.
    pub fn add_comment(&mut self, section: &[u8]) {
        self.compilers.extend(texts(section).map(str::to_owned));
    }

    /// Adds a unit's `DW_AT_producer`: the compiler, and for gcc its flags.
    pub fn add_producer(&mut self, producer: &str) {
        let name = producer.split(" -").next().unwrap_or(producer).trim();
        if !name.is_empty() {
            self.producers.insert(name.to_owned());
        }
        self.add_flags(producer);
    }

    fn add_flags(&mut self, line: &str) {
        let flags = line.split_whitespace().filter(|flag| makes_code(flag));
        self.flags.extend(flags.map(str::to_owned));
    }

    /// Adds the content of a `.note.gnu.property` section.
    pub fn add_properties(&mut self, note: &[u8]) {
        /// `GNU_PROPERTY_X86_FEATURE_1_AND` of the x86-64 psABI, and its bits.
        const FEATURES: u32 = 0xc000_0002;
        const BITS: [(u32, &str); 2] = [(1, "ibt"), (2, "shstk")];
        // n_namesz, n_descsz, n_type, "GNU\0"; then pr_type, pr_datasz, data, padded to 8 bytes.
        const NOTE_HEADER_BYTES: usize = 16;
        let mut rest = note.get(NOTE_HEADER_BYTES..).unwrap_or_default();
        while let Some((kind, after)) = rest.split_first_chunk::<4>()
            && let Some((size, data)) = after.split_first_chunk::<4>()
        {
            let size = usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX);
            if u32::from_le_bytes(*kind) == FEATURES
                && let Some((features, _)) = data.split_first_chunk::<4>()
            {
                let features = u32::from_le_bytes(*features);
                let kept = BITS.iter().filter(|(bit, _)| features & bit != 0);
                self.protections
                    .extend(kept.map(|(_, name)| (*name).to_owned()));
            }
            let Some(padded) = size.checked_next_multiple_of(8) else {
                return;
            };
            rest = data.get(padded..).unwrap_or_default();
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.compilers.is_empty() && self.producers.is_empty() && self.flags.is_empty()
    }

    /// How `new` differs. What only one of the two records is no difference.
    #[must_use]
    pub fn differences(&self, new: &Toolchain) -> Vec<Difference> {
        let mut all = Vec::new();
        // `.comment` is preferred because it also names the package. Where one of the two has none,
        // debug information is used, which also names the language.
        for (ours, theirs) in [
            (&self.compilers, &new.compilers),
            (&self.producers, &new.producers),
        ] {
            if all.is_empty() && !ours.is_empty() && !theirs.is_empty() && ours != theirs {
                all.push(Difference {
                    kind: DifferenceKind::Compiler,
                    old: joined(ours.difference(theirs)),
                    new: joined(theirs.difference(ours)),
                });
            }
        }
        if !self.flags.is_empty() && !new.flags.is_empty() {
            all.extend(one_by_one(&self.flags, &new.flags, DifferenceKind::Flag));
        }
        // Assembler objects often record no protections, and without debug information the cause
        // cannot be told. Only code by a known compiler counts as having lost a protection.
        if !self.is_unknown() && !new.is_unknown() {
            all.extend(one_by_one(
                &self.protections,
                &new.protections,
                DifferenceKind::Protection,
            ));
        }
        all
    }

    /// Compilers and flags of this object that `image`, which should contain it, does not have.
    /// What the image does not record is left out.
    #[must_use]
    pub fn missing_in(&self, image: &Toolchain) -> Vec<String> {
        let pairs = [
            (&self.compilers, &image.compilers),
            (&self.producers, &image.producers),
            (&self.flags, &image.flags),
        ];
        let known = pairs.iter().filter(|(_, all)| !all.is_empty());
        known
            .flat_map(|(ours, all)| ours.difference(all))
            .cloned()
            .collect()
    }

    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Toolchain) {
        self.compilers.extend(other.compilers.iter().cloned());
        self.producers.extend(other.producers.iter().cloned());
        self.flags.extend(other.flags.iter().cloned());
        self.protections.extend(other.protections.iter().cloned());
    }

    /// The compiler and the flags in one line.
    #[must_use]
    pub fn said(&self) -> String {
        let names = if self.compilers.is_empty() {
            &self.producers
        } else {
            &self.compilers
        };
        let mut text = joined(names.iter());
        if text.is_empty() {
            text.push_str("an unknown compiler");
        }
        if !self.flags.is_empty() {
            text.push(' ');
            text.push_str(&self.flags.iter().cloned().collect::<Vec<_>>().join(" "));
        }
        text
    }
}

/// Entries that only one of two sets has; options of one name with different values are paired.
fn one_by_one(
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
    kind: DifferenceKind,
) -> Vec<Difference> {
    let mut pairs: BTreeMap<&str, Difference> = BTreeMap::new();
    let empty = || Difference {
        kind,
        old: String::new(),
        new: String::new(),
    };
    for flag in old.difference(new) {
        pairs
            .entry(option(flag))
            .or_insert_with(empty)
            .old
            .push_str(flag);
    }
    for flag in new.difference(old) {
        pairs
            .entry(option(flag))
            .or_insert_with(empty)
            .new
            .push_str(flag);
    }
    pairs.into_values().collect()
}

/// The option of a flag without its value: `-O` for `-O2`, `-mcmodel` for `-mcmodel=kernel`.
fn option(flag: &str) -> &str {
    if flag.starts_with("-O") {
        return "-O";
    }
    flag.split_once('=').map_or(flag, |(option, _)| option)
}

/// Whether a flag affects the code. Paths, warnings and debug options do not.
fn makes_code(flag: &str) -> bool {
    const MADE_BY: [&str; 6] = ["-O", "-m", "-f", "-std=", "-pg", "--param"];
    const NOT_CODE: [&str; 9] = [
        "-fdebug",
        "-ffile-",
        "-fmacro-",
        "-fdiagnostics",
        "-frandom-seed",
        "-frecord",
        "-fmessage-length",
        "-fpreprocessed",
        "-fcolor",
    ];
    MADE_BY.iter().any(|start| flag.starts_with(start))
        && !NOT_CODE.iter().any(|start| flag.starts_with(start))
}

fn texts(section: &[u8]) -> impl Iterator<Item = &str> {
    section
        .split(|byte| *byte == 0)
        .filter_map(|text| str::from_utf8(text).ok())
        .filter(|text| !text.is_empty())
}

fn joined<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

impl Toolchains {
    /// Compares those of two objects.
    #[must_use]
    pub fn new(original: Toolchain, patched: Toolchain) -> Toolchains {
        Toolchains {
            differences: original.differences(&patched),
            original,
            patched,
        }
    }

    /// Of everything that is included.
    #[must_use]
    pub fn of_all<'a>(pairs: impl IntoIterator<Item = &'a Toolchains>) -> Toolchains {
        let mut all = Toolchains::default();
        for both in pairs {
            all.original.merge(&both.original);
            all.patched.merge(&both.patched);
            all.differences.extend(both.differences.iter().cloned());
        }
        all.differences.sort();
        all.differences.dedup();
        all
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            DifferenceKind::Compiler => "compiler",
            DifferenceKind::Flag => "flag",
            DifferenceKind::Protection => "protection",
        };
        let or_none = |text: &str| {
            if text.is_empty() {
                "none".to_owned()
            } else {
                text.to_owned()
            }
        };
        write!(
            out,
            "{what} {}, was {}",
            or_none(&self.new),
            or_none(&self.old)
        )
    }
}

/// Some differences in one line.
#[must_use]
pub fn say_differences(differences: &[Difference]) -> String {
    let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::{Difference, DifferenceKind, Toolchain};

    fn by(producer: &str) -> Toolchain {
        let mut toolchain = Toolchain::default();
        toolchain.add_producer(producer);
        toolchain
    }

    #[test]
    fn a_differing_flag_is_named_with_both_values() {
        let old = by("GNU C17 12.2.0 -mcmodel=kernel -g -O2 -fno-pic");
        let new = by("GNU C17 12.2.0 -mcmodel=kernel -g3 -O3");
        let flag = |old: &str, new: &str| Difference {
            kind: DifferenceKind::Flag,
            old: old.to_owned(),
            new: new.to_owned(),
        };
        assert_eq!(
            old.differences(&new),
            [flag("-O2", "-O3"), flag("-fno-pic", "")]
        );
    }

    #[test]
    fn another_version_is_another_compiler() {
        let differences = by("GNU C17 12.2.0 -O2").differences(&by("GNU C17 13.1.0 -O2"));
        assert_eq!(differences.len(), 1);
        assert_eq!(differences[0].kind, DifferenceKind::Compiler);
    }

    #[test]
    fn paths_debug_levels_and_seeds_make_no_code() {
        let old = by("GNU C17 12.2.0 -O2 -g -ffile-prefix-map=/a=. -frandom-seed=1");
        let new = by("GNU C17 12.2.0 -ggdb -ffile-prefix-map=/b=. -frandom-seed=2 -O2");
        assert_eq!(old.differences(&new), []);
    }

    #[test]
    fn what_one_side_does_not_know_is_no_difference() {
        assert_eq!(
            Toolchain::default().differences(&by("GNU C17 12.2.0 -O2")),
            []
        );
        let clang = by("Debian clang version 14.0.6");
        assert_eq!(clang.differences(&clang), []);
    }
}
