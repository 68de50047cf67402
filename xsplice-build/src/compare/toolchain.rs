//! The toolchains of the original tree, the patched tree and the base, for the report.
//!
//! The differ judges the two builds. The base's toolchain is only reported, because the proof of
//! its bytes is stronger evidence.

use std::fmt::Write;

use serde::Serialize;
use xsplice_diff::ObjectDiff;
use xsplice_diff::debug_info::toolchain::{Difference, Toolchain, Toolchains};
use xsplice_link::Base;
use xsplice_link::base::BaseToolchain;

/// The toolchains of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fingerprint {
    /// Of the original objects that changed.
    pub original: Toolchain,
    /// Of the patched ones.
    pub patched: Toolchain,
    /// What differs between the two.
    pub differences: Vec<Difference>,
    /// Of the base; `null` when none was needed.
    pub base: Option<BaseToolchain>,
    /// Compilers and flags of the original objects that the base does not have.
    pub not_in_base: Vec<String>,
}

impl Fingerprint {
    /// Of everything that is included.
    #[must_use]
    pub fn new(diffs: &[ObjectDiff<'_>]) -> Fingerprint {
        let Toolchains {
            original,
            patched,
            differences,
        } = Toolchains::of_all(diffs.iter().filter_map(|diff| diff.toolchains.as_ref()));
        Fingerprint {
            original,
            patched,
            differences,
            ..Fingerprint::default()
        }
    }

    /// Compares the base's toolchain with that of the original objects.
    pub fn add_base(&mut self, base: &Base<'_>) {
        let base = base.toolchain();
        self.not_in_base = self.original.missing_in(&base.compiled_by);
        self.base = Some(base);
    }

    /// What the toolchains suggest about a tree that is not in the base, as the end of a sentence.
    #[must_use]
    pub fn suggestion(&self) -> String {
        if self.not_in_base.is_empty() {
            return String::new();
        }
        format!(
            "; this suggests another toolchain: the objects were compiled by {}, which the base \
             does not have",
            self.not_in_base.join(", ")
        )
    }

    /// A warning where base and objects are by different toolchains; otherwise empty. Differences
    /// between the two builds are among the refusals or the accepted differences.
    #[must_use]
    pub fn warning(&self) -> String {
        let mut text = String::new();
        if let Some(base) = &self.base
            && !self.not_in_base.is_empty()
        {
            let _ = writeln!(
                text,
                "toolchain: the original objects were compiled by {}, which the base does not \
                 have ({})",
                self.not_in_base.join(", "),
                base.compiled_by.said()
            );
        }
        text
    }
}
