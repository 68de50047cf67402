//! Compilers and linkers that programs are built with.

use xsplice_test_objects::mutate::Choices;

use crate::machine::{Machine, exists};

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
    /// GNU ld, with what it does about an erratum of the Cortex-A53.
    LdErratum,
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
    /// Whether code has addresses in it that only the link decides.
    pub(crate) fn is_absolute(self) -> bool {
        self.compile.contains("-fno-pic")
    }

    /// Whether one address stands for several variables of a section.
    pub(crate) fn has_anchors(self) -> bool {
        let has = |flag: &str| self.compile.split(' ').any(|word| word == flag);
        let is_gcc = self.compile.starts_with("aarch64-linux-gnu-gcc");
        let is_clang = has("--target=aarch64-linux-gnu");
        let is_merged = is_gcc && !has("-O0") || is_clang && (has("-O3") || has("-Os"));
        let without = [
            "-fdata-sections",
            "-fno-section-anchors",
            "-fno-toplevel-reorder",
        ];
        is_merged && !without.into_iter().any(has)
    }

    /// Whether addresses of what other files may define come from a GOT.
    pub(crate) fn goes_through_got(self) -> bool {
        !self.is_absolute() && !self.compile.contains("-DHIDDEN")
    }

    /// Whether code may use no registers for floating-point numbers and vectors.
    pub(crate) fn has_general_registers_alone(self) -> bool {
        self.compile.contains("-mgeneral-regs-only")
    }

    /// Whether functions begin with room for tracers, which a table lists.
    pub(crate) fn has_entries_for_tracers(self) -> bool {
        self.compile.contains("-fpatchable-function-entry")
    }
}

const X86_64: [&str; 22] = [
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

/// `HIDDEN` makes everything hidden, declarations too, as Xen does: then nothing goes through a
/// GOT.
const ARM64: [&str; 26] = [
    // As Xen is compiled.
    "aarch64-linux-gnu-gcc -O2 -fno-pic -fno-pie -mgeneral-regs-only -mno-outline-atomics \
     -fno-common -ffunction-sections -fdata-sections -DHIDDEN",
    "aarch64-linux-gnu-gcc -O1 -g -fno-pic -fno-pie -mgeneral-regs-only -mno-outline-atomics \
     -fno-common -ffunction-sections -fdata-sections -DHIDDEN",
    "aarch64-linux-gnu-gcc -O2 -fno-pic -fno-pie -ffunction-sections -fdata-sections",
    "aarch64-linux-gnu-gcc -O2 -g -fno-pic -fno-pie -ffunction-sections -fdata-sections \
     -mbranch-protection=standard",
    "aarch64-linux-gnu-gcc -O2 -fpie -DHIDDEN -ffunction-sections -fdata-sections",
    "aarch64-linux-gnu-gcc -O2 -fno-pic -fno-pie",
    "aarch64-linux-gnu-gcc -O3 -fpie -DHIDDEN -g",
    "aarch64-linux-gnu-gcc -O3 -fno-pic -fno-pie -ffunction-sections -mbranch-protection=standard",
    "aarch64-linux-gnu-gcc -Os -fno-pic -fno-pie -ffunction-sections -fdata-sections",
    "aarch64-linux-gnu-gcc -Os -fpic -DHIDDEN -mno-outline-atomics",
    "aarch64-linux-gnu-gcc -O0 -fno-pic -fno-pie",
    "aarch64-linux-gnu-gcc -O0 -g -fpie -DHIDDEN -ffunction-sections -fdata-sections",
    "aarch64-linux-gnu-gcc -O1 -fno-pic -fno-pie -g -ffunction-sections",
    "aarch64-linux-gnu-gcc -O2 -fno-pic -fno-pie -freorder-blocks-and-partition \
     -ffunction-sections -mno-outline-atomics",
    // Places of literals behind the code.
    "aarch64-linux-gnu-gcc -O2 -fno-pic -fno-pie -mcmodel=large -ffunction-sections \
     -fdata-sections",
    "aarch64-linux-gnu-gcc -O1 -fno-pic -fno-pie -ffunction-sections -fdata-sections",
    // Through a GOT.
    "aarch64-linux-gnu-gcc -O2 -fpie -ffunction-sections -fdata-sections",
    // Variables that share a section, in the order of the text.
    "aarch64-linux-gnu-gcc -O1 -fno-pic -fno-pie -fno-toplevel-reorder",
    "aarch64-linux-gnu-gcc -O2 -g1 -fno-pic -fno-pie -fno-section-anchors -falign-functions=16",
    "clang-14 --target=aarch64-linux-gnu -O2 -fno-pic -fno-pie -ffunction-sections -fdata-sections",
    "clang-16 --target=aarch64-linux-gnu -O2 -fno-pic -fno-pie -ffunction-sections -fdata-sections",
    "clang-16 --target=aarch64-linux-gnu -Os -fpie -DHIDDEN -g -mbranch-protection=standard",
    "clang-19 --target=aarch64-linux-gnu -O2 -fpie -DHIDDEN -ffunction-sections -fdata-sections -g",
    "clang-19 --target=aarch64-linux-gnu -O0 -fno-pic -fno-pie",
    "clang-19 --target=aarch64-linux-gnu -O3 -fno-pic -fno-pie -mno-outline-atomics",
    "clang-19 --target=aarch64-linux-gnu -O2 -fno-pic -fno-pie -mcmodel=large -ffunction-sections",
];

const X86_64_LINKS: [Link; 8] = [
    Link::Ld,
    Link::Ld,
    Link::LdPie,
    Link::LdGc,
    Link::LdMerged,
    Link::Lld,
    Link::Lld,
    Link::LldGc,
];

const ARM64_LINKS: [Link; 8] = [
    Link::Ld,
    Link::Ld,
    Link::LdPie,
    Link::LdGc,
    Link::LdMerged,
    Link::LdErratum,
    Link::Lld,
    Link::LldGc,
];

/// The lines whose compilers and linkers are here.
#[derive(Debug)]
pub struct Matrix {
    machine: Machine,
    compilers: Vec<&'static str>,
    has_lld: bool,
}

impl Matrix {
    /// Looks for the compilers of a machine.
    #[must_use]
    pub fn here(machine: Machine) -> Matrix {
        let all: &[&'static str] = match machine {
            Machine::X86_64 => &X86_64,
            Machine::Arm64 => &ARM64,
        };
        let is_here = |line: &&str| exists(line.split(' ').next().unwrap_or_default());
        Matrix {
            machine,
            compilers: all.iter().copied().filter(is_here).collect(),
            has_lld: exists("ld.lld"),
        }
    }

    /// The machine that the lines compile for.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// The lines of compilers.
    #[must_use]
    pub fn compilers(&self) -> &[&'static str] {
        &self.compilers
    }

    /// A line.
    #[must_use]
    pub fn choose(&self, choices: &mut Choices) -> Line {
        let links = match self.machine {
            Machine::X86_64 => &X86_64_LINKS,
            Machine::Arm64 => &ARM64_LINKS,
        };
        let compile = self.compilers[choices.below(self.compilers.len())];
        let link = links[choices.below(links.len())];
        let is_absolute = Line { compile, link }.is_absolute();
        let link = match link {
            Link::Lld | Link::LldGc if !self.has_lld => Link::Ld,
            Link::LdPie if is_absolute => Link::Ld,
            other => other,
        };
        Line { compile, link }
    }
}
