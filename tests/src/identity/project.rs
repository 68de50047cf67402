//! The projects whose objects are compared: where they come from, how they are built, and what
//! two builds of them are known to differ in.
//!
//! They were chosen to be of different character; a project is data, so that one more is one
//! more entry.

use crate::xen::release::XEN_4_17;

/// One source package.
#[derive(Clone, Copy, Debug)]
pub struct Project {
    /// Name of the source package.
    pub package: &'static str,
    /// The version to take; `None` for the one that the release carries.
    pub version: Option<&'static str>,
    /// What it adds to the others.
    pub character: &'static str,
    /// How it is built.
    pub recipe: Recipe,
    /// Programs that the build calls, each with its Debian package.
    pub programs: &'static [&'static str],
    /// What two builds in two folders at two times differ in, and nothing else.
    pub known: &'static [Known],
}

/// How objects come about.
#[derive(Clone, Copy, Debug)]
pub enum Recipe {
    /// Shell lines, run in the build's folder, where `source` is a copy of the source; `$JOBS` is
    /// how many compilers may run at once.
    Lines(&'static [&'static str]),
    /// Every C file of a folder of the source, compiled by each of a set of compiler lines (see
    /// [`crate::case::lines`]).
    Matrix {
        /// The folder.
        folder: &'static str,
        /// Sets of lines.
        sets: &'static [&'static str],
    },
}

/// A difference between two builds of one source.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The object.
    pub object: &'static str,
    /// What the differ says: `KIND NAME`, the kind of a reason with its function, the code of a
    /// refusal with its symbol or section, or `ignored` with what was ignored.
    pub says: &'static str,
    /// Why two builds differ there.
    pub because: &'static str,
}

/// All of them.
pub const PROJECTS: [Project; 5] = [XEN, BUSYBOX, MUSL, RE2, LZ4];

const XEN: Project = Project {
    package: "xen",
    version: Some(XEN_4_17.version),
    character: "hypervisor: gcc -O2 -fpic, thunks, special sections, assembler, merged objects",
    recipe: Recipe::Lines(&[
        "mkdir build",
        "make -C source/xen O=\"$PWD/build\" olddefconfig",
        "make -C source/xen O=\"$PWD/build\" -j$JOBS",
    ]),
    programs: &["flex=flex", "bison=bison", "python3=python3"],
    known: &[],
};

const BUSYBOX: Project = Project {
    package: "busybox",
    version: None,
    character: "gcc -Os -g, a section for each function, no special sections",
    recipe: Recipe::Lines(&[
        "make -C source defconfig",
        "make -C source -j$JOBS EXTRA_CFLAGS=-g SKIP_STRIP=y busybox_unstripped",
    ]),
    programs: &["bzip2=bzip2"],
    known: &[Known {
        object: "source/libbb/messages.o",
        says: "changed-rodata bb_banner",
        because: "the date and time of the build",
    }],
};

const MUSL: Project = Project {
    package: "musl",
    version: None,
    character: "clang -O3 -fpic -g, weak aliases, hidden symbols, assembler without sizes",
    recipe: Recipe::Lines(&[
        "mkdir build",
        "cd build && CC=clang CFLAGS='-O3 -g -fPIC -ffunction-sections -fdata-sections \
         -fcf-protection=full' ../source/configure --disable-shared",
        "make -C build -j$JOBS lib/libc.a",
    ]),
    programs: &["clang=clang"],
    known: &[],
};

const RE2: Project = Project {
    package: "re2",
    version: None,
    character: "C++: COMDAT groups, exception tables of the language, -g",
    // Its makefile wants sources that the package makes from the Unicode tables.
    recipe: Recipe::Lines(&[
        "mkdir objects",
        "cd source && ls re2/*.cc | xargs -P $JOBS -I% sh -c \
         'g++ -O2 -g -ffunction-sections -fdata-sections -I. -c % -o ../objects/$(basename % .cc).o'",
    ]),
    programs: &["g++=g++"],
    known: &[],
};

const LZ4: Project = Project {
    package: "lz4",
    version: None,
    character: "one source by 18 compiler lines: gcc and clang, -O0 to -O3 and -Os",
    recipe: Recipe::Matrix {
        folder: "lib",
        sets: &["@any", "@debug"],
    },
    programs: &["clang=clang"],
    known: &[],
};
