//! What the house promises about its own order, so that it stays as it is: short files, lines and
//! functions, names that say something, numbers of the format in one place, and no reference to
//! papers that are not here. The folders of each crate and who needs whom are in `circles.rs`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xsplice_abi::tables::{Alternative, BugFrame, CallSite, ExceptionEntry};
use xsplice_abi::{profile, section};

/// Longest file, in lines.
const FILE_LINES_MAX: usize = 600;
/// Longest `lib.rs`, which is a table of contents.
const CONTENTS_LINES_MAX: usize = 120;
/// Longest line, in characters.
const LINE_MAX: usize = 100;
/// Longest function that needs no reason, in lines.
const FUNCTION_LINES_MAX: usize = 100;

/// Functions that are longer, with the reason.
const LONG_FUNCTIONS: [(&str, &str, &str); 6] = [
    (
        "tests/oracle/src/constructs.rs",
        "write",
        "the table of the constructs: one arm a construct, with its C",
    ),
    (
        "runtime/src/rendezvous/leading.rs",
        "lead",
        "the state table of the CPU that leads: one arm a state, each a line or two of effects",
    ),
    (
        "runtime/src/rendezvous/opening.rs",
        "step",
        "the state table of whoever opens an action: one arm a state",
    ),
    (
        "runtime/testkernel/src/console/commands.rs",
        "carry_out",
        "the table of the test commands: one arm a command",
    ),
    (
        "runtime/tests/rendezvous_original.rs",
        "step",
        "the state table of the protocol that the rendezvous is compared with",
    ),
    (
        "tests/src/xen/stacks.rs",
        "scenarios",
        "the table of scenarios: what is done, and what must come of it",
    ),
];

/// Files with lines that are not broken, with the reason.
const LONG_LINES: [(&str, &str); 19] = [
    (
        "runtime/src/check/error.rs",
        "a rule, its error number and its text are one line of a table",
    ),
    (
        "runtime/testkernel/src/console/channel.rs",
        "the text of an answer",
    ),
    (
        "runtime/tests/rendezvous_model.rs",
        "a mistake and what finds it are one line of a table",
    ),
    ("tests/src/bench/shapes.rs", "assembler source"),
    ("tests/src/bench/xen_like.rs", "C source"),
    ("tests/src/demo.rs", "what is told of a run"),
    ("tests/src/identity/project.rs", "a shell script"),
    ("tests/src/kernel_figures.rs", "what is told of a run"),
    ("tests/src/kernel_figures/zone.rs", "what is told of a run"),
    ("tests/oracle/src/constructs.rs", "C source"),
    ("tests/oracle/src/program.rs", "C source"),
    ("tests/src/xen/archive.rs", "a shell script"),
    ("tests/tests/ci_recipe.rs", "a command line"),
    ("tests/tests/foreign_objects.rs", "C and assembler source"),
    ("tests/tests/host_loader.rs", "C source"),
    (
        "tests/tests/report_in_browser.rs",
        "HTML, C source and a name that must not be broken",
    ),
    ("xsplice-diff/tests/objects/special.rs", "assembler source"),
    ("xsplice-diff/tests/objects/traps.rs", "C source"),
    ("xsplice-link/tests/trees.rs", "C source"),
];

/// Words that say nothing of what a thing does.
const EMPTY_WORDS: [&str; 7] = [
    "util", "utils", "helper", "helpers", "manager", "misc", "common",
];

/// Files whose own sections begin like those of a payload, and are none.
const OWN_SECTIONS: [&str; 1] = ["xsplice-diff/src/extract/description.rs"];

#[test]
fn files_are_short() -> Result<()> {
    let mut long = Vec::new();
    for file in sources()? {
        let lines = file.text.lines().count();
        let is_contents = file.name.ends_with("src/lib.rs");
        let limit = if is_contents {
            CONTENTS_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        if lines > limit {
            long.push(format!(
                "{}: {lines} lines, and {limit} are enough",
                file.name
            ));
        }
    }
    none(&long)
}

#[test]
fn lines_are_short() -> Result<()> {
    let mut long = Vec::new();
    for file in sources()? {
        if LONG_LINES.iter().any(|(name, _)| *name == file.name) {
            continue;
        }
        for (number, line) in numbered(&file.text) {
            let is_table = line.starts_with("//! |");
            if line.chars().count() > LINE_MAX && !is_table {
                long.push(format!("{}:{number}: break this line", file.name));
            }
        }
    }
    none(&long)
}

#[test]
fn every_exception_is_needed() -> Result<()> {
    let sources = sources()?;
    let mut needless = Vec::new();
    for (name, _) in LONG_LINES {
        let is_long = |line: &str| line.chars().count() > LINE_MAX;
        let mut files = sources.iter().filter(|file| file.name == name);
        if !files.any(|file| file.text.lines().any(is_long)) {
            needless.push(format!("{name}: has no long line"));
        }
    }
    for (name, function, _) in LONG_FUNCTIONS {
        let is_it = |found: &Function| found.name == function && found.lines > FUNCTION_LINES_MAX;
        let mut files = sources.iter().filter(|file| file.name == name);
        if !files.any(|file| functions(&file.text).iter().any(is_it)) {
            needless.push(format!("{name}: has no long function {function}"));
        }
    }
    none(&needless)
}

#[test]
fn a_function_that_is_long_has_a_reason() -> Result<()> {
    let mut long = Vec::new();
    for file in sources()? {
        for function in functions(&file.text) {
            let is_listed = LONG_FUNCTIONS
                .iter()
                .any(|(name, known, _)| *name == file.name && *known == function.name);
            if function.lines > FUNCTION_LINES_MAX && !is_listed {
                long.push(format!(
                    "{}: {} has {} lines; give its steps names, or list it with a reason",
                    file.name, function.name, function.lines
                ));
            }
        }
    }
    none(&long)
}

#[test]
fn functions_are_measured_from_their_name_to_their_end() {
    let text = "impl A {\n    pub(crate) const fn one(\n        a: u8,\n    ) -> u8 {\n\
                \x20       a\n    }\n\n    fn declared();\n}\nfn two() {}\n";
    let found: Vec<_> = functions(text)
        .into_iter()
        .map(|function| (function.name, function.lines))
        .collect();
    assert_eq!(found, [("one".to_owned(), 5), ("two".to_owned(), 1)]);
}

#[test]
fn names_say_what_a_thing_does() -> Result<()> {
    let mut empty = Vec::new();
    for file in sources()? {
        let path = Path::new(&file.name);
        let parts = path.iter().map(|part| part.to_string_lossy());
        for part in parts {
            let name = part.trim_end_matches(".rs").to_owned();
            if says_nothing(&name) {
                empty.push(format!("{}: {name}", file.name));
            }
        }
        for (number, line) in numbered(&file.text) {
            if let Some(name) = declared(line).filter(|name| says_nothing(name)) {
                empty.push(format!("{}:{number}: {name}", file.name));
            }
        }
    }
    none(&empty)
}

#[test]
fn common_symbols_are_a_thing_and_common_is_none() {
    assert!(says_nothing("common") && says_nothing("string_utils") && says_nothing("StateManager"));
    assert!(!says_nothing("common_symbols") && !says_nothing("SHN_COMMON"));
    assert_eq!(declared("pub(crate) fn helper() {"), Some("helper"));
    assert_eq!(declared("    let helper = 1;"), None);
}

/// The names of a payload's sections are written in the crate of numbers alone.
#[test]
fn section_names_of_payloads_stand_in_one_place() -> Result<()> {
    let exact = [
        section::BUILD_ID,
        section::MODINFO,
        ExceptionEntry::SECTION,
        section::FIXUP,
        Alternative::SECTION,
        section::ALTINSTR_REPLACEMENT,
        CallSite::SECTION,
    ];
    let prefixes = profile::ALL.map(|profile| profile.prefix);
    let begins = [BugFrame::SECTIONS].into_iter().chain(prefixes);
    let begins: Vec<&str> = begins.collect();
    let mut found = Vec::new();
    for file in users_of_abi()? {
        if OWN_SECTIONS.contains(&file.name.as_str()) {
            continue;
        }
        for (number, line) in numbered(production(&file.text)) {
            for literal in literals(line) {
                if exact.contains(&literal) || begins.iter().any(|name| literal.starts_with(name)) {
                    found.push(format!("{}:{number}: {literal}", file.name));
                }
            }
        }
    }
    none(&found)
}

/// Owners of notes and keys of the metadata are written in the crate of numbers alone.
#[test]
fn notes_and_metadata_stand_in_one_place() -> Result<()> {
    let mut found = Vec::new();
    for file in users_of_abi()? {
        for (number, line) in numbered(production(&file.text)) {
            for literal in literals(line) {
                let key = literal.split_once('=').map(|(key, _)| key);
                let is_key = key.is_some_and(|key| section::modinfo::KEYS.contains(&key));
                // A sentence about a key is none.
                if (is_key && !literal.contains(' ')) || literal.starts_with("GNU\\") {
                    found.push(format!("{}:{number}: {literal}", file.name));
                }
            }
        }
    }
    none(&found)
}

/// A range between two numbers, as in `bytes[32..40]`, or one byte by a number above what a pattern
/// would name: somebody knows where a field of a structure lies.
fn field_by_number(line: &str) -> Option<&str> {
    /// First bytes by their numbers are told apart everywhere.
    const FIRST: usize = 8;
    let code = line.split("//").next().unwrap_or(line);
    code.match_indices(['[', '(']).find_map(|(at, open)| {
        let close = if open == "[" { ']' } else { ')' };
        let inner = code[at + 1..].split(close).next()?;
        let is_indexed = at > 0 && !code[..at].ends_with([' ', '&', '(', '[', ':', '!', '=']);
        let found = match inner.split_once("..") {
            Some((from, to)) => {
                let to = to.trim_start_matches('=');
                let ends = from.parse::<usize>().ok().zip(to.parse::<usize>().ok());
                ends.is_some_and(|(from, to)| from < to)
            }
            None => open == "[" && inner.parse::<usize>().is_ok_and(|one| one >= FIRST),
        };
        (is_indexed && found).then_some(inner)
    })
}

#[test]
fn numbers_of_fields_are_seen() {
    for line in [
        "let old = &record[16..24];",
        "bytes.get(32..40)?",
        "if record[32] == 1 {",
        "data.get_mut(8..=15)",
    ] {
        assert!(field_by_number(line).is_some(), "{line}");
    }
    for line in [
        "for index in 0..4 {",
        "let rest = &bytes[4..];",
        "let head = &bytes[..4];",
        "let [first, second] = [10, 20];",
        "bytes[0]; // and not bytes[40]",
        "record.get(offset::OLD_ADDR..offset::OLD_ADDR + 8)",
        "(1..10).map(f)",
    ] {
        assert_eq!(field_by_number(line), None, "{line}");
    }
}

/// Where the fields of a record, a note or an entry lie is asked of the crate of numbers.
#[test]
fn no_field_is_found_by_a_number_of_ones_own() -> Result<()> {
    let mut found = Vec::new();
    for file in users_of_abi()? {
        for (number, line) in numbered(production(&file.text)) {
            if let Some(field) = field_by_number(line) {
                found.push(format!("{}:{number}: {field}", file.name));
            }
        }
    }
    none(&found)
}

/// Everything that is cited can be read by who has this repository.
#[test]
fn nothing_refers_to_what_is_not_here() -> Result<()> {
    // Put together, so that this file does not find itself.
    let papers = [
        ["design", ".md"],
        ["design", " §"],
        ["the design (", "chapter"],
        ["peer-", "differs"],
        ["real-", "xen.md"],
        ["real-xen-", "arm64"],
        ["house-", "review"],
        ["runtime-", "review"],
        ["style-", "anchors"],
        ["smp-", "kernel.md"],
        ["field-", "2026"],
        ["the ", "seeds'"],
        ["seeds", "/0"],
        ["/work", "/shared"],
        ["../", "shared/"],
    ];
    let papers: Vec<String> = papers.iter().map(|parts| parts.concat()).collect();
    let mut found = Vec::new();
    for file in texts()? {
        for (number, line) in numbered(&file.text) {
            if let Some(paper) = papers.iter().find(|paper| line.contains(paper.as_str())) {
                found.push(format!("{}:{number}: {paper}", file.name));
            }
            if let Some(issue) = cited_issue(line) {
                found.push(format!("{}:{number}: {issue}", file.name));
            }
        }
    }
    none(&found)
}

#[test]
fn an_issue_by_its_number_is_found() {
    // Put together, as above.
    for (before, number, behind) in [("as ", "13", " says"), ("see ", "#7", ".")] {
        let cited = ["issue", number].join(" ");
        let line = format!("{before}{cited}{behind}");
        assert_eq!(cited_issue(&line), Some(cited.as_str()));
    }
    assert_eq!(cited_issue("an issue of 1987, reissue 3"), None);
}

/// `issue N` or `issue #N`, as a word of its own.
fn cited_issue(line: &str) -> Option<&str> {
    const WORD: &str = "issue ";
    let mut from = 0;
    while let Some(at) = line.get(from..)?.find(WORD).map(|at| from + at) {
        let rest = &line[at + WORD.len()..];
        let number = rest.strip_prefix('#').unwrap_or(rest);
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let is_word = !line[..at].ends_with(|letter: char| letter.is_alphanumeric());
        if digits > 0 && is_word {
            let length = WORD.len() + rest.len() - number.len() + digits;
            return line.get(at..at + length);
        }
        from = at + WORD.len();
    }
    None
}

/// A file of the repository.
struct File {
    /// Its path from the root.
    name: String,
    text: String,
}

/// A function.
struct Function {
    name: String,
    /// From the one with its name to its last brace.
    lines: usize,
}

fn none(found: &[String]) -> Result<()> {
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// Every Rust file that is written here.
fn sources() -> Result<Vec<File>> {
    files(|name| name.ends_with(".rs"))
}

/// The files of crates that ask `runtime/abi` for the numbers of the format.
fn users_of_abi() -> Result<Vec<File>> {
    files(|name| {
        name.ends_with(".rs")
            && name.contains("/src/")
            && !name.starts_with("tests/")
            && !name.starts_with("runtime/abi/")
    })
}

/// Every file that a person wrote.
fn texts() -> Result<Vec<File>> {
    const ENDINGS: [&str; 9] = [
        ".rs",
        ".md",
        ".toml",
        ".h",
        ".c",
        ".S",
        ".sh",
        "Makefile",
        "case.json",
    ];
    files(|name| ENDINGS.iter().any(|ending| name.ends_with(ending)))
}

fn files(is_wanted: impl Fn(&str) -> bool) -> Result<Vec<File>> {
    /// What builds, tests and benchmarks leave.
    const MADE: [&str; 3] = ["target", "out", ".git"];

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.canonicalize().context("the root of the repository")?;
    let mut folders = vec![PathBuf::new()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        for entry in std::fs::read_dir(&path).with_context(|| path.display().to_string())? {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                let is_made = folder.as_os_str().is_empty()
                    && MADE.iter().any(|made| name.as_os_str() == *made);
                if !is_made {
                    folders.push(name);
                }
                continue;
            }
            let shown = name.to_string_lossy().into_owned();
            if is_wanted(&shown) {
                let text = std::fs::read(entry.path()).with_context(|| shown.clone())?;
                let text = String::from_utf8_lossy(&text).into_owned();
                found.push(File { name: shown, text });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!found.is_empty(), "no file was found");
    Ok(found)
}

/// Words that may stand before the kind of a declaration.
const BEFORE_A_DECLARATION: [&str; 8] = [
    "pub",
    "pub(crate)",
    "pub(super)",
    "const",
    "async",
    "unsafe",
    "extern",
    "\"C\"",
];

/// What a line declares: the name behind `fn`, `struct` and the like.
fn declared(line: &str) -> Option<&str> {
    const KINDS: [&str; 8] = [
        "fn", "struct", "enum", "mod", "trait", "type", "const", "static",
    ];

    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if KINDS.contains(&word) && words.peek().is_some_and(|next| *next != "fn") {
            let name = words.next()?;
            let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
            return name.get(..end.unwrap_or(name.len()));
        }
        if !BEFORE_A_DECLARATION.contains(&word) {
            return None;
        }
    }
    None
}

/// Whether one of the words of a name tells nothing. `common` is also a kind of symbol.
fn says_nothing(name: &str) -> bool {
    let words = words(name);
    words
        .iter()
        .any(|word| EMPTY_WORDS.contains(&word.as_str()) && (word != "common" || words.len() == 1))
}

/// The words of a name in either style, in small letters.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for letter in name.chars() {
        if letter == '_' || letter == '-' || (was_small && letter.is_uppercase()) {
            words.push(String::new());
        }
        was_small = letter.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// What stands before the tests of a file.
fn production(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or(text)
}

/// The texts in quotes of a line, comments aside.
fn literals(line: &str) -> impl Iterator<Item = &str> {
    let code = if line.trim_start().starts_with("//") {
        ""
    } else {
        line
    };
    code.split('"').skip(1).step_by(2)
}

/// Every function with a body, by the layout that `rustfmt` gives it.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = declared_function(line) else {
            continue;
        };
        let indentation = line.len() - line.trim_start().len();
        let end = lines[start..].iter().position(|line| {
            let is_level = line.len() - line.trim_start().len() == indentation;
            is_level && (line.trim_end().ends_with('}') || line.trim_end().ends_with(';'))
        });
        if let Some(end) = end.filter(|end| lines[start + end].trim_end().ends_with('}')) {
            found.push(Function {
                name: name.to_owned(),
                lines: end + 1,
            });
        }
    }
    found
}

/// The name of the function that a line begins.
fn declared_function(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let at = match line.strip_prefix("fn ") {
        Some(_) => 0,
        None => line.find(" fn ")? + 1,
    };
    let mut before = line[..at].split_whitespace();
    if !before.all(|word| BEFORE_A_DECLARATION.contains(&word)) {
        return None;
    }
    let name = &line[at + "fn ".len()..];
    let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    name.get(..end)
}
