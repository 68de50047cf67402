//! What holds of the sources as texts, and no compiler sees.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// What only somebody writes who knows the machine: its decoder, numbers of its ABI, the tables of
/// one machine by name, and the bytes of instructions that fill gaps, call, jump and return.
const MACHINE_KNOWLEDGE: [&str; 20] = [
    "iced_x86",
    "R_X86_64_",
    "EM_X86_64",
    "GNU_PROPERTY_X86",
    "machine::x86_64",
    "yaxpeax",
    "R_AARCH64_",
    "EM_AARCH64",
    "GNU_PROPERTY_AARCH64",
    "machine::aarch64",
    "0xd503_201f",
    "0x1400_0000",
    "0xcc",
    "0x90",
    "0xe8",
    "0xe9",
    "0xeb",
    "0xc3",
    "0x8b",
    "0x8d",
];

/// The rooms that may: beside the data in `runtime/abi/src/machine`, where the questions are
/// answered. The test kernel is no room: it is the machine.
const ROOMS: [&str; 1] = ["xsplice-diff/src/machine"];

#[test]
fn no_machine_knowledge_outside_its_rooms() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    let mut count = 0;
    for folder in folders(&root)? {
        for file in sources(&folder)? {
            let path = file.strip_prefix(&root)?;
            if ROOMS.iter().any(|room| path.starts_with(room)) {
                continue;
            }
            count += 1;
            let text = std::fs::read_to_string(&file)?;
            for (number, line) in production(&text) {
                if let Some(word) = knowledge(line) {
                    found.push(format!("{}:{number}: {word}", path.display()));
                }
            }
        }
    }
    ensure!(count > 100, "only {count} sources were read");
    ensure!(
        found.is_empty(),
        "belongs into a table of runtime/abi/src/machine, or behind a question of \
         xsplice-diff/src/machine:\n{}",
        found.join("\n")
    );
    Ok(())
}

#[test]
fn machine_knowledge_is_seen_and_comments_and_tests_are_not() {
    let text = "use iced_x86::Decoder;\n// a call is 0xe8\nlet text = \"a, b\"; let x = 0xE9; //\n\
                #[cfg(test)]\nmod tests {\n    const CODE: u8 = 0xc3;\n}\n";
    let found: Vec<_> = production(text)
        .filter_map(|(number, line)| Some((number, knowledge(line)?)))
        .collect();
    assert_eq!(found, [(1, "iced_x86"), (3, "0xe9")]);
    assert_eq!(knowledge("let mask = 0x9000 | 0xcc00_0000;"), None);
    assert_eq!(knowledge("word == 0xD503_201F"), Some("0xd503_201f"));
    assert_eq!(knowledge("let gap = [0xcc; 4];"), Some("0xcc"));
}

/// The sources of the commands, their libraries, the runtime and its tool.
fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![root.join("runtime/src"), root.join("runtime/ctl/src")];
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("xsplice-") && path.join("src").is_dir() {
            folders.push(path.join("src"));
        }
    }
    folders.sort();
    Ok(folders)
}

/// The Rust files below a folder that are not tests.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() {
            all.extend(sources(&path)?);
        } else if path.extension().is_some_and(|one| one == "rs") && !is_tests {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// Lines of code with their numbers, without comments, up to where the tests of the file begin.
fn production(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

/// What of the machine a line of code knows.
fn knowledge(line: &str) -> Option<&'static str> {
    let lower = line.to_lowercase();
    MACHINE_KNOWLEDGE.into_iter().find(|word| {
        let wanted = word.to_lowercase();
        let is_number = wanted.starts_with("0x");
        lower.match_indices(&wanted).any(|(at, _)| {
            let behind = lower[at + wanted.len()..].chars().next();
            // A longer number is another one.
            !(is_number && behind.is_some_and(|one| one.is_ascii_hexdigit() || one == '_'))
        })
    })
}
