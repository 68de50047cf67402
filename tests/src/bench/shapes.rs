//! Objects that are large in one respect each, to see that no part of the differ grows faster than
//! its input: many symbols in one section, many strings, many variables of one name, and so on.
//!
//! They are assembled from generated text, so they hold exactly what is meant. Both builds of an
//! object differ in the function in the middle, and in the numbers that a compiler would give anew.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::compiler::compile;

/// How much larger the larger of two objects is that are compared for growth.
pub const GROWTH: usize = 4;

/// The assembler; `-g0`, for debug sections would only blur what is measured.
const LINE: &str = "gcc -g0";

/// Two builds of one object.
#[derive(Clone, Debug)]
pub struct ObjectPair {
    /// The original.
    pub original: PathBuf,
    /// The patched one.
    pub patched: PathBuf,
}

impl ObjectPair {
    /// Whether both are there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.original.is_file() && self.patched.is_file()
    }
}

/// Which of the two builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The original.
    Original,
    /// The patched one.
    Patched,
}

impl Version {
    /// A number that is another one in the patched build.
    fn constant(self) -> u32 {
        match self {
            Version::Original => 7,
            Version::Patched => 8,
        }
    }

    /// The constant of function `index` of `count`: another one in the middle of the patched build.
    #[must_use]
    pub fn constant_at(self, index: usize, count: usize) -> u32 {
        if index == count / 2 {
            self.constant()
        } else {
            Version::Original.constant()
        }
    }

    /// The number that the compiler gives the item `index`: everything moved up by one.
    fn number(self, index: usize) -> usize {
        match self {
            Version::Original => index,
            Version::Patched => index + 1,
        }
    }
}

/// One respect in which an object is large.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What the table calls it.
    pub name: &'static str,
    /// How many of what there are in the smaller object; the larger has [`GROWTH`] times as many.
    pub count: usize,
    write: fn(&mut String, usize, Version) -> fmt::Result,
}

/// Sections of a function that has relocations, in an object of the shape [`MANY_SECTIONS`].
const SECTIONS_A_FUNCTION: usize = 2;

/// Functions in sections of their own; a base of many symbols is linked from it, too.
pub const MANY_SECTIONS: Shape = Shape {
    name: "sections",
    count: 50_000,
    write: many_sections,
};

/// A table of pointers without a symbol, which many functions refer to: each of them is proven
/// with the table.
pub const SHARED_TABLE: Shape = Shape {
    name: "users and entries of one table",
    count: 10_000,
    write: shared_table,
};

/// All shapes.
pub const SHAPES: [Shape; 11] = [
    SHARED_TABLE,
    Shape {
        name: "functions of one section",
        count: 10_000,
        write: one_section,
    },
    MANY_SECTIONS,
    Shape {
        name: "strings",
        count: 20_000,
        write: strings,
    },
    Shape {
        name: "static locals of one name",
        count: 10_000,
        write: static_locals,
    },
    Shape {
        name: "special-section entries",
        count: 10_000,
        write: special_entries,
    },
    Shape {
        name: "references by section symbol",
        count: 20_000,
        write: section_references,
    },
    Shape {
        name: "clones and constants with numbers",
        count: 10_000,
        write: clones,
    },
    Shape {
        name: "out-of-line parts",
        count: 10_000,
        write: cold_parts,
    },
    Shape {
        name: "new functions",
        count: 10_000,
        write: new_functions,
    },
    Shape {
        name: "changed functions",
        count: 10_000,
        write: changed_functions,
    },
];

impl Shape {
    /// Assembles both builds with `count` of what the shape is about below `folder`, or finds them
    /// there.
    ///
    /// # Errors
    /// When the assembler is not there or fails.
    pub fn make(&self, folder: &Path, count: usize) -> Result<ObjectPair> {
        let stem = format!("{}-{count}", self.name.replace(' ', "-"));
        assemble(folder, &stem, |version| self.text(count, version))
    }

    fn text(&self, count: usize, version: Version) -> String {
        let mut text = String::from("\t.file \"shape.c\"\n");
        (self.write)(&mut text, count, version).expect("a String takes everything");
        text
    }
}

/// Assembles both builds of what `text` gives to objects named after `stem` below `folder`, or
/// finds them there.
///
/// # Errors
/// When the assembler is not there or fails.
pub fn assemble(folder: &Path, stem: &str, text: impl Fn(Version) -> String) -> Result<ObjectPair> {
    let pair = ObjectPair {
        original: folder.join(format!("{stem}-original.o")),
        patched: folder.join(format!("{stem}-patched.o")),
    };
    if pair.exists() {
        return Ok(pair);
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (object, version) in [
        (&pair.original, Version::Original),
        (&pair.patched, Version::Patched),
    ] {
        let source = folder.join("source.s");
        fs::write(&source, text(version)).with_context(|| source.display().to_string())?;
        // Renamed into place, so that a run that was cut off leaves no half of one.
        let unfinished = object.with_extension("part");
        compile(folder, "source.s", &unfinished, LINE)?;
        fs::rename(&unfinished, object).with_context(|| object.display().to_string())?;
    }
    Ok(pair)
}

/// A global function in a section of its own, or in the current one; `body` is what it does before
/// it returns.
fn function(out: &mut String, name: &str, section: Option<&str>, body: &str) -> fmt::Result {
    if let Some(section) = section {
        writeln!(out, "\t.section .text.{section},\"ax\",@progbits")?;
    }
    writeln!(
        out,
        "\t.globl \"{name}\"\n\t.type \"{name}\",@function\n\"{name}\":\n{body}\tret\n\
         \t.size \"{name}\",.-\"{name}\""
    )
}

/// Functions that share a section and call each other without relocations.
fn one_section(out: &mut String, count: usize, version: Version) -> fmt::Result {
    out.push_str("\t.text\n");
    for index in 0..count {
        let constant = version.constant_at(index, count);
        let callee = index.saturating_sub(1);
        let body = format!("\tmovl $0x{constant:08x}, %eax\n\tcall .Lfn{callee}\n\tcall ext\n");
        writeln!(out, ".Lfn{index}:")?;
        function(out, &format!("fn_{index}"), None, &body)?;
    }
    Ok(())
}

/// As many sections as `count`: a function and its relocations take two.
fn many_sections(out: &mut String, count: usize, version: Version) -> fmt::Result {
    let functions = count / SECTIONS_A_FUNCTION;
    for index in 0..functions {
        let name = format!("fn_{index}");
        let constant = version.constant_at(index, functions);
        let body = format!("\tmovl $0x{constant:08x}, %edi\n\tcall ext\n");
        function(out, &name, Some(&name), &body)?;
    }
    Ok(())
}

/// A section of strings, ten of which each function refers to through the section's symbol.
fn strings(out: &mut String, count: usize, version: Version) -> fmt::Result {
    /// Strings of a function.
    const EACH: usize = 10;
    out.push_str("\t.section .rodata.str1.1,\"aMS\",@progbits,1\n");
    for index in 0..count {
        let constant = version.constant_at(index, count);
        writeln!(out, ".LC{index}:\n\t.string \"text {index}, {constant}\"")?;
    }
    for number in 0..count / EACH {
        let mut body = String::new();
        for index in number * EACH..(number + 1) * EACH {
            writeln!(body, "\tleaq .LC{index}(%rip), %rdi\n\tcall ext")?;
        }
        let name = format!("fn_{number}");
        function(out, &name, Some(&name), &body)?;
    }
    Ok(())
}

/// Variables `count.N`, each used by one function; all have another number in the patched build.
fn static_locals(out: &mut String, count: usize, version: Version) -> fmt::Result {
    for index in 0..count {
        let number = version.number(index);
        writeln!(
            out,
            "\t.section .data.count.{number},\"aw\",@progbits\n\t.type count.{number},@object\n\
             count.{number}:\n\t.long {}\n\t.size count.{number},4",
            index % 16
        )?;
        let name = format!("fn_{index}");
        let constant = version.constant_at(index, count);
        let body = format!("\taddl $0x{constant:08x}, count.{number}(%rip)\n");
        function(out, &name, Some(&name), &body)?;
    }
    Ok(())
}

/// Bug frames and exception-table entries with fixup code, two of each a function.
fn special_entries(out: &mut String, count: usize, version: Version) -> fmt::Result {
    /// Entries of a function, of all tables.
    const EACH: usize = 4;
    for index in 0..count / EACH {
        let constant = version.constant_at(index, count / EACH);
        let mut body = format!("\tmovl $0x{constant:08x}, %eax\n");
        for _ in 0..EACH / 2 {
            body.push_str(
                "1:\tud2\n\t.pushsection .bug_frames.2,\"a\",@progbits\n2:\t.long 1b-2b\n\
                 \t.long .Lfile-2b\n\t.popsection\n\
                 3:\tmovl (%rdi), %eax\n4:\t.pushsection .fixup,\"ax\",@progbits\n\
                 5:\txorl %eax, %eax\n\tjmp 4b\n\t.popsection\n\
                 \t.pushsection .ex_table,\"a\",@progbits\n\t.long 3b-., 5b-.\n\t.popsection\n",
            );
        }
        let name = format!("fn_{index}");
        function(out, &name, Some(&name), &body)?;
    }
    out.push_str("\t.section .rodata.str1.1,\"aMS\",@progbits,1\n.Lfile:\t.string \"shape.c\"\n");
    Ok(())
}

/// Constants without symbols, which functions refer to by their section and a distance, and a table
/// of pointers to them.
fn section_references(out: &mut String, count: usize, version: Version) -> fmt::Result {
    out.push_str("\t.section .rodata,\"a\",@progbits\n.Lconstants:\n");
    for index in 0..count {
        writeln!(out, "\t.quad {}", version.constant_at(index, count))?;
    }
    out.push_str("\t.section .data.rel.ro.local,\"aw\",@progbits\n\t.type table,@object\ntable:\n");
    for index in 0..count / 2 {
        writeln!(out, "\t.quad .Lconstants+{}", index * 16)?;
    }
    writeln!(out, "\t.size table,{}", count / 2 * 8)?;
    for index in 0..count / 2 {
        let name = format!("fn_{index}");
        let body = format!(
            "\tleaq .Lconstants+{}(%rip), %rdi\n\tcall ext\n",
            index * 16 + 8
        );
        function(out, &name, Some(&name), &body)?;
    }
    Ok(())
}

/// Half as many functions as `count`, and a table of half as many pointers that all of them use.
fn shared_table(out: &mut String, count: usize, version: Version) -> fmt::Result {
    out.push_str("\t.section .rodata.str1.1,\"aMS\",@progbits,1\n.Ltext:\t.string \"text\"\n");
    out.push_str("\t.section .data.rel.ro.local,\"aw\",@progbits\n.Ltable:\n");
    for _ in 0..count / 2 {
        out.push_str("\t.quad .Ltext\n");
    }
    for index in 0..count / 2 {
        let name = format!("fn_{index}");
        let constant = version.constant_at(index, count / 2);
        let body =
            format!("\tmovl $0x{constant:08x}, %esi\n\tleaq .Ltable(%rip), %rdi\n\tcall ext\n");
        function(out, &name, Some(&name), &body)?;
    }
    Ok(())
}

/// Clones `work.isra.N` and constants `CSWTCH.N`, all numbered anew.
fn clones(out: &mut String, count: usize, version: Version) -> fmt::Result {
    for index in 0..count {
        let number = version.number(index);
        writeln!(
            out,
            "\t.section .rodata.CSWTCH.{number},\"a\",@progbits\n\t.type CSWTCH.{number},@object\n\
             CSWTCH.{number}:\n\t.long {index}, {index}+1\n\t.size CSWTCH.{number},8\n\
             \t.section .text.work.isra.{number},\"ax\",@progbits\n\
             \t.type work.isra.{number},@function\nwork.isra.{number}:\n\
             \tmovl $0x{:08x}, %edi\n\tmovl $0x{index:08x}, %esi\n\tleaq CSWTCH.{number}(%rip), %rdx\n\tret\n\
             \t.size work.isra.{number},.-work.isra.{number}",
            version.constant_at(index, count)
        )?;
        let name = format!("fn_{index}");
        let body = format!("\tcall work.isra.{number}\n");
        function(out, &name, Some(&name), &body)?;
    }
    Ok(())
}

/// Functions with an out-of-line part each.
fn cold_parts(out: &mut String, count: usize, version: Version) -> fmt::Result {
    for index in 0..count {
        let name = format!("fn_{index}");
        let constant = version.constant_at(index, count);
        writeln!(
            out,
            "\t.section .text.unlikely.{name},\"ax\",@progbits\n\t.type {name}.cold,@function\n\
             {name}.cold:\n\tmovl $0x{constant:08x}, %edi\n\tcall ext\n\tjmp .Lback{index}\n\
             \t.size {name}.cold,.-{name}.cold"
        )?;
        let body = format!("\ttestl %edi, %edi\n\tjs {name}.cold\n.Lback{index}:\n");
        function(out, &name, Some(&name), &body)?;
    }
    Ok(())
}

/// A function that calls many which only the patched build has, each of which has a static local.
fn new_functions(out: &mut String, count: usize, version: Version) -> fmt::Result {
    let new = match version {
        Version::Original => 0,
        Version::Patched => count,
    };
    let mut body = String::from("\tcall ext\n\tcall ext\n");
    for index in 0..new {
        let name = format!("new_{index}");
        writeln!(
            out,
            "\t.section .data.count.{index},\"aw\",@progbits\n\t.type count.{index},@object\n\
             count.{index}:\n\t.long {index}\n\t.size count.{index},4"
        )?;
        function(
            out,
            &name,
            Some(&name),
            &format!("\tincl count.{index}(%rip)\n"),
        )?;
        writeln!(body, "\tcall {name}")?;
    }
    function(out, "caller", Some("caller"), &body)?;
    // So that the original is as large as the patched build is.
    for index in 0..count {
        let name = format!("old_{index}");
        function(out, &name, Some(&name), "\tcall ext\n")?;
    }
    Ok(())
}

/// Functions all of which change.
fn changed_functions(out: &mut String, count: usize, version: Version) -> fmt::Result {
    for index in 0..count {
        let name = format!("fn_{index}");
        let body = format!("\tmovl $0x{:08x}, %edi\n\tcall ext\n", version.constant());
        function(out, &name, Some(&name), &body)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{SHAPES, Version};

    #[test]
    fn every_shape_grows_with_its_count_and_differs_between_builds() {
        for shape in SHAPES {
            let small = shape.text(40, Version::Original).len();
            let large = shape.text(160, Version::Original).len();
            assert!(large > 3 * small, "{}: {small} -> {large}", shape.name);
            assert_ne!(
                shape.text(40, Version::Original),
                shape.text(40, Version::Patched),
                "{}",
                shape.name
            );
        }
    }
}
