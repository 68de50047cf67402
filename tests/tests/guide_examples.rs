//! The examples of the patch author's guide are real: its C compiles with `xsplice.h` and leaves
//! the marks that the tools look for, its patches are those that `make xen` applies, and
//! those of the worked examples are what their commands are given.

use std::fs;
use std::process::Command;

use object::{Object, ObjectSection};
use xsplice_tests::tools::limited;
use xsplice_tests::workspace;

/// The blocks of the guide in this language.
fn blocks(language: &str) -> Vec<String> {
    blocks_of("docs/patch-author-guide.md", language)
}

/// The blocks of a document in this language.
fn blocks_of(document: &str, language: &str) -> Vec<String> {
    let guide = fs::read_to_string(workspace().join(document)).unwrap();
    let mut blocks = Vec::new();
    let mut rest = guide.as_str();
    while let Some((_, behind)) = rest.split_once(&format!("\n```{language}\n")) {
        let (block, behind) = behind.split_once("\n```\n").unwrap();
        blocks.push(format!("{block}\n"));
        rest = behind;
    }
    blocks
}

#[test]
fn every_c_example_compiles_without_a_warning_and_leaves_its_marks() {
    let folder = tempfile::tempdir().unwrap();
    let examples = blocks("c");
    assert!(examples.len() >= 3, "{examples:?}");
    for (index, example) in examples.iter().enumerate() {
        let source = folder.path().join(format!("{index}.c"));
        let object = source.with_extension("o");
        fs::write(&source, example).unwrap();
        let run = limited(
            Command::new("gcc")
                .args([
                    "-std=gnu11",
                    "-O2",
                    "-ffreestanding",
                    "-ffunction-sections",
                    "-c",
                ])
                .args(["-Wall", "-Wextra", "-Werror", "-I"])
                .arg(workspace().join("runtime/include"))
                .arg("-o")
                .arg(&object)
                .arg(&source),
        )
        .unwrap();
        assert_eq!(run.status, Some(0), "{example}\n{}", run.stderr);

        let bytes = fs::read(&object).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let has = |name: &str| file.sections().any(|section| section.name() == Ok(name));
        let marks = [
            ("XSPLICE_ACCEPT(", ".xsplice.accept"),
            ("XSPLICE_LOAD_HOOK(", ".xsplice.hooks.load"),
            ("XSPLICE_UNLOAD_HOOK(", ".xsplice.hooks.unload"),
            ("XSPLICE_PREAPPLY_HOOK(", ".xsplice.hooks.preapply"),
        ];
        for (written, section) in marks {
            assert_eq!(
                example.contains(written),
                has(section),
                "{section}: {example}"
            );
        }
    }
}

#[test]
fn no_document_has_a_place_that_was_never_filled() {
    let root = workspace();
    let mut documents = vec![root.join("README.md"), root.join("DESIGN.md")];
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        documents.push(entry.unwrap().path());
    }
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(documents.len() >= 10, "{documents:?}");
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            let is_open = line.starts_with("@@") && line.ends_with("@@") && !line.contains(' ');
            let is_open = is_open
                || ["TODO", "FIXME", "XXX"]
                    .iter()
                    .any(|word| line.contains(word));
            assert!(!is_open, "{}: {line}", path.display());
        }
    }
}

#[test]
fn every_patch_shown_is_one_that_is_applied_to_a_real_xen() {
    let folder = workspace().join("fixtures/xen/changes");
    // A folder holds what only an older release has.
    let applied: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let shown = blocks("diff");
    assert_eq!(shown.len(), 3);
    for patch in shown {
        assert!(applied.contains(&patch), "{patch}");
    }
}

#[test]
fn every_worked_example_shows_the_patches_that_it_runs() {
    let fixes = workspace().join("docs/fixes");
    let mut shown = 0;
    for entry in fs::read_dir(fixes).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let document = format!("docs/fixes/{name}");
        let runs = blocks_of(&document, "console").join("");
        for patch in blocks_of(&document, "diff") {
            let named = runs.split_whitespace().filter(|word| {
                word.starts_with("fixtures/guide/")
                    && fs::read_to_string(workspace().join(word)).is_ok_and(|text| text == patch)
            });
            assert!(named.count() > 0, "{document}: no command has {patch}");
            shown += 1;
        }
    }
    let patches = fs::read_dir(workspace().join("fixtures/guide"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().is_file());
    assert_eq!(shown, patches.count(), "each patch is shown once");
}
