//! A generated pair of trees that is like Xen's in number and size of objects and in what they
//! hold, so that tree budgets can be measured without fetching or building Xen.
//!
//! Numbers are those of the census in `docs/benchmarks.md`: about nine functions an object and
//! seventeen relocations a function, strings a function, a half of the objects with alternatives,
//! a third with bug frames, an eighth with an exception table. Everything follows from fixed
//! seeds; only the compiler is the machine's own.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::fs;
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::trees::{IMAGE, TreePair};
use crate::case;
use crate::compiler::{compile, link};
use crate::workspace;
use xsplice_test_objects::mutate::Choices;

/// Objects of the tree.
pub(super) const OBJECTS: usize = 425;
/// Fewest functions of an object, and how many there may be besides.
const FUNCTIONS: (usize, usize) = (3, 14);
/// Fewest statements of a function, and how many there may be besides.
const STATEMENTS: (usize, usize) = (4, 10);
/// The object that the fix changes: one in the middle.
pub(super) const CHANGED_OBJECT: usize = OBJECTS / 2;
/// Folders that the objects lie in.
pub(super) const FOLDERS: [&str; 6] = [
    "common",
    "arch/x86",
    "arch/x86/mm",
    "arch/x86/hvm",
    "drivers/passthrough",
    "xsm",
];
/// Xen's flags, as far as they shape objects.
pub(super) const LINE: &str = "gcc -O2 -std=gnu99 -fpic -fvisibility=hidden -ffunction-sections \
    -fdata-sections -fno-asynchronous-unwind-tables -fno-stack-protector -fno-jump-tables \
    -fcf-protection=none -mno-red-zone -mno-sse -mindirect-branch=thunk -Iinclude";

/// Text of one source file.
pub(super) struct Source {
    /// Path below the source folder, without `.c`.
    pub(super) stem: String,
    pub(super) text: String,
}

/// Makes both trees and the base below `folder`, or finds them there from an earlier run.
///
/// # Errors
/// When the compiler or the linker is not there or fails, or the disk is full.
pub fn make(folder: &Path) -> Result<TreePair> {
    let pair = TreePair {
        name: "generated".to_owned(),
        original: folder.join("original"),
        patched: folder.join("patched"),
    };
    let sources: Vec<Source> = (0..OBJECTS).map(|index| source(index, "")).collect();
    let fixed = source(CHANGED_OBJECT, "a ^= 0x5a5a;");
    let stamp = stamp(&sources, &fixed)?;
    let stamp_file = folder.join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|text| text == stamp) {
        return Ok(pair);
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let source_folder = folder.join("source");
    case::copy_tree(
        &workspace().join("fixtures/target/include"),
        &source_folder.join("include"),
    )?;
    for one in &sources {
        write(&source_folder.join(format!("{}.c", one.stem)), &one.text)?;
    }
    compile_all(&source_folder, &pair.original, &sources, LINE)?;
    case::copy_tree(&pair.original, &pair.patched)?;
    link(&pair.original, &pair.original.join(IMAGE), "")?;
    let object = |tree: &Path| tree.join(format!("{}.o", fixed.stem));
    write(
        &source_folder.join(format!("{}.c", fixed.stem)),
        &fixed.text,
    )?;
    let file = format!("{}.c", fixed.stem);
    compile(&source_folder, &file, &object(&pair.patched), LINE)?;
    ensure!(
        fs::read(object(&pair.original))? != fs::read(object(&pair.patched))?,
        "{}: the change left no trace in the object",
        fixed.stem
    );
    write(&stamp_file, &stamp)?;
    Ok(pair)
}

/// What the trees were made from: they are made again when any of it is another.
fn stamp(sources: &[Source], fixed: &Source) -> Result<String> {
    let compiler = Command::new("gcc")
        .arg("--version")
        .output()
        .context("gcc: not started")?;
    let mut hasher = DefaultHasher::new();
    for one in sources.iter().chain([fixed]) {
        one.text.hash(&mut hasher);
    }
    (LINE, compiler.stdout).hash(&mut hasher);
    Ok(format!("{:016x}\n", hasher.finish()))
}

pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Compiles everything, a compiler a core.
pub(super) fn compile_all(
    source_folder: &Path,
    tree: &Path,
    sources: &[Source],
    line: &str,
) -> Result<()> {
    for folder in FOLDERS {
        let folder = tree.join(folder);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(one) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
            let output: PathBuf = tree.join(format!("{}.o", one.stem));
            compile(source_folder, &format!("{}.c", one.stem), &output, line)?;
        }
        Ok(())
    };
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a compiling thread does not panic"))
    })
}

/// What one object defines, so that others can refer to it.
struct Shape {
    functions: usize,
}

fn shape(index: usize) -> Shape {
    let mut choices = Choices::new(index as u64 + 1);
    Shape {
        functions: FUNCTIONS.0 + choices.below(FUNCTIONS.1),
    }
}

/// The source of object `index`; `fix` is a statement that its second function begins with.
pub(super) fn source(index: usize, fix: &str) -> Source {
    let stem = format!("{}/u{index:03}", FOLDERS[index % FOLDERS.len()]);
    let mut choices = Choices::new(0x1000 + index as u64);
    let functions = shape(index).functions;
    let mut body = String::new();
    let mut callees: Vec<(usize, usize)> = Vec::new();
    for function in 0..functions {
        let fix = if function == 1 { fix } else { "" };
        write_function(
            &mut body,
            &mut choices,
            (index, function),
            fix,
            &mut callees,
        )
        .expect("a String takes everything");
    }
    let mut text = HEAD.to_owned();
    callees.sort_unstable();
    callees.dedup();
    for (object, function) in callees {
        writeln!(text, "u64 u{object:03}_f{function}(u64 a, u64 b);")
            .expect("a String takes everything");
    }
    // Every object has some of the tables that only the boot reads, and data of every kind.
    write!(
        text,
        "u64 u{index:03}_state = {index};\n\
         static u64 table[8];\n\
         static const u32 limits[4] = {{ {index}, 2, 3, 5 }};\n\
         u64 u{index:03}_area __attribute__((section(\".bss.percpu\")));\n\
         u64 u000_f0(u64 a, u64 b);\n\
         static u64 (*const operations[2])(u64, u64) = {{ u000_f0, u000_f0 }};\n\
         {body}\
         static int __attribute__((used, section(\".init.text\"))) start(void)\n\
         {{\n\ttable[0] = u{index:03}_state; report(\"u{index:03}: starts\\n\", table[0]); return 0;\n}}\n"
    )
    .expect("a String takes everything");
    if index == 0 {
        text.push_str(
            "void report(const char *text, u64 value) { u000_state += value + text[0]; }\n",
        );
    }
    Source { stem, text }
}

const HEAD: &str = "#include \"target.h\"\n#include \"bug.h\"\n#include \"alternative.h\"\n\
    #include \"exception.h\"\nvoid report(const char *text, u64 value);\n";

fn write_function(
    out: &mut String,
    choices: &mut Choices,
    (object, function): (usize, usize),
    fix: &str,
    callees: &mut Vec<(usize, usize)>,
) -> std::fmt::Result {
    // A third of the functions is static, and reached from the one behind it.
    let is_static = function % 3 == 2;
    let linkage = if is_static {
        "static noinline __attribute__((used)) "
    } else {
        ""
    };
    writeln!(
        out,
        "{linkage}u64 u{object:03}_f{function}(u64 a, u64 b)\n{{\n\t{fix}"
    )?;
    for _ in 0..STATEMENTS.0 + choices.below(STATEMENTS.1) {
        write_statement(out, choices, (object, function), callees)?;
    }
    if function > 0 && (function - 1) % 3 == 2 {
        writeln!(out, "\ta += u{object:03}_f{}(b, a);", function - 1)?;
    }
    writeln!(out, "\treturn a ^ b;\n}}")
}

fn write_statement(
    out: &mut String,
    choices: &mut Choices,
    (object, function): (usize, usize),
    callees: &mut Vec<(usize, usize)>,
) -> std::fmt::Result {
    let number = choices.below(1000) + 1;
    let kind = choices.below(20);
    match kind {
        // Calls of other objects: most of a real object's relocations.
        0..=5 => {
            let other = choices.below(OBJECTS);
            // Functions 0 and 1 of an object are never static.
            let callee = choices.below(2);
            callees.push((other, callee));
            writeln!(out, "\ta += u{other:03}_f{callee}(b, a + {number});")
        }
        6..=9 => {
            writeln!(
                out,
                "\tif ( a > {number} ) report(\"u{object:03}_f{function}: %lu of {number} left\\n\", b);"
            )
        }
        10 | 11 => writeln!(
            out,
            "\tu{object:03}_state += a * {number}; table[a & 7] ^= b;"
        ),
        12 => writeln!(out, "\t{{ static u64 count = {number}; b += count++; }}"),
        13 => writeln!(
            out,
            "\tswitch ( b & 7 ) {{ case 1: a += {number}; break; case 2: a ^= b; break; case 5: \
             a = a * 3 - b; break; case 6: a += limits[b & 3]; break; default: b++; }}"
        ),
        14 if object % 3 == 0 => writeln!(out, "\tif ( a == {number} ) BUG_FRAME(BUG_STOP);"),
        15 if object % 2 == 0 => writeln!(
            out,
            "\tasm volatile (ALTERNATIVE(\"nop\", \"lfence\") : : [feature] \"i\" (FEATURE_SSE3));"
        ),
        16 if object % 8 == 0 => writeln!(
            out,
            "\tasm volatile (\"1: mov (%1), %0\\n2:\\n.pushsection .fixup, \\\"ax\\\"\\n\
             3: xor %0, %0\\n   jmp 2b\\n.popsection\\n\" EXCEPTION_ENTRY(1b, 3b) \
             : \"+r\" (a) : \"r\" (&table[b & 7]));"
        ),
        17 => writeln!(out, "\ta = operations[b & 1](a, {number});"),
        18 => writeln!(
            out,
            "\tfor ( u64 i = 0; i < (b & 15); i++ ) a = a * 5 + table[i & 7];"
        ),
        _ => writeln!(out, "\ta = (a << 3) - b + {number}; b ^= a >> 7;"),
    }
}

#[cfg(test)]
mod tests {
    use super::{CHANGED_OBJECT, OBJECTS, source};

    #[test]
    fn sources_are_the_same_every_time_and_differ_from_each_other() {
        assert_eq!(source(7, "").text, source(7, "").text);
        assert_ne!(source(7, "").text, source(8, "").text);
    }

    #[test]
    fn the_fix_changes_one_line_of_one_object() {
        let (before, after) = (
            source(CHANGED_OBJECT, "").text,
            source(CHANGED_OBJECT, "a ^= 1;").text,
        );
        let differing = before.lines().zip(after.lines()).filter(|(a, b)| a != b);
        assert_eq!(differing.count(), 1);
        const { assert!(CHANGED_OBJECT < OBJECTS) };
    }
}
