//! Compilers and linkers that programs are built with.

use std::process::Command;

use xsplice_test_objects::mutate::Choices;

/// How an image is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// GNU ld, static.
    Ld,
    /// GNU ld, static and relocated when it starts.
    LdPie,
    /// GNU ld, without sections that nothing uses.
    LdGc,
    /// GNU ld, from one object that was merged from all.
    LdMerged,
    /// LLVM's linker, static.
    Lld,
    /// LLVM's linker, without sections that nothing uses.
    LldGc,
}

/// A line of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Compiler and flags.
    pub compile: &'static str,
    /// The linker.
    pub link: Link,
}

impl Line {
    /// Whether code has addresses of 32 bits in it.
    pub(crate) fn is_absolute(self) -> bool {
        self.compile.contains("-fno-pic")
    }

    /// Whether functions begin with room for tracers, which a table lists.
    pub(crate) fn has_entries_for_tracers(self) -> bool {
        self.compile.contains("-fpatchable-function-entry")
    }
}

const COMPILERS: [&str; 22] = [
    "gcc -O2 -fpie -ffunction-sections -fdata-sections -fcf-protection=none",
    "gcc -O2 -fpic -fvisibility=hidden -ffunction-sections -fdata-sections -fcf-protection=full",
    "gcc -O2 -fpie",
    "gcc -O3 -fpie -g",
    "gcc -Os -fpic -fvisibility=hidden -fcf-protection=none",
    "gcc -O0 -fpic -fcf-protection=none",
    "gcc -O0 -g -fno-pic -fno-pie -ffunction-sections -fdata-sections",
    "gcc -O1 -fpic -g -ffunction-sections",
    "gcc -O2 -fno-pic -fno-pie -ffunction-sections -fdata-sections",
    "gcc -O2 -g1 -fpie -ffunction-sections -fdata-sections -falign-functions=16",
    // Variables that share a section, in the order of the text.
    "gcc -O1 -fpie -fno-toplevel-reorder",
    "gcc -Os -fpie -fno-toplevel-reorder -g",
    "gcc -O2 -fpic -fno-toplevel-reorder -fvisibility=hidden -fno-plt",
    "gcc -O2 -fpie -fpatchable-function-entry=5 -fno-common -fno-jump-tables",
    "clang-14 -O2 -fpie -ffunction-sections -fdata-sections",
    "clang-14 -O1 -fpic -fvisibility=hidden",
    "clang-14 -O3 -fpic -g",
    "clang-16 -O2 -fpie -ffunction-sections -fdata-sections",
    "clang-16 -Os -fpic -fvisibility=hidden -g -fcf-protection=full",
    "clang-19 -O2 -fpie -ffunction-sections -fdata-sections -g",
    "clang-19 -O0 -fpic",
    "clang-19 -O2 -fno-pic -fno-pie -ffunction-sections -fdata-sections",
];

const LINKS: [Link; 8] = [
    Link::Ld,
    Link::Ld,
    Link::LdPie,
    Link::LdGc,
    Link::LdMerged,
    Link::Lld,
    Link::Lld,
    Link::LldGc,
];

/// The lines whose compilers and linkers are here.
#[derive(Debug)]
pub struct Matrix {
    compilers: Vec<&'static str>,
    has_lld: bool,
}

impl Matrix {
    /// Looks for the compilers.
    #[must_use]
    pub fn here() -> Matrix {
        let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let all = COMPILERS.into_iter();
        Matrix {
            compilers: all.filter(|line| exists(&first(line))).collect(),
            has_lld: exists("ld.lld"),
        }
    }

    /// The lines of compilers.
    #[must_use]
    pub fn compilers(&self) -> &[&'static str] {
        &self.compilers
    }

    /// A line.
    #[must_use]
    pub fn choose(&self, choices: &mut Choices) -> Line {
        let compile = self.compilers[choices.below(self.compilers.len())];
        let link = LINKS[choices.below(LINKS.len())];
        let is_absolute = Line { compile, link }.is_absolute();
        let link = match link {
            Link::Lld | Link::LldGc if !self.has_lld => Link::Ld,
            Link::LdPie if is_absolute => Link::Ld,
            other => other,
        };
        Line { compile, link }
    }
}

fn exists(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}
