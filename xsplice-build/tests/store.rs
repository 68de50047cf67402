//! The store of shipped builds: what it keeps, what it finds, and that neither two at once nor a
//! kill in the middle harm it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Shop, adding, run};

const TWO: [(&str, &str); 2] = [("plain", ""), ("wide", "-DTABLE")];

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path);
        }
    }
    found
}

fn store(shop: &Shop, words: &[&str]) -> (Option<i32>, String) {
    let (verb, rest) = words.split_first().expect("a verb");
    let arguments = [&[*verb, "--store", "store"], rest].concat();
    let told = shop.run("xsplice-store", &arguments);
    (told.status, format!("{}{}", told.out, told.err))
}

fn build_ids(shop: &Shop) -> Vec<String> {
    let told = shop.run(
        "xsplice-store",
        &["list", "--store", "store", "--json", "-"],
    );
    let document: Value = serde_json::from_str(&told.out).expect("JSON");
    let builds = document["builds"].as_array().expect("a list");
    let ids = builds.iter().map(|build| build["build_id"].as_str());
    ids.map(|id| id.expect("a build-id").to_owned()).collect()
}

#[test]
fn a_build_is_kept_found_checked_and_removed() {
    let shop = Shop::with(&TWO);
    shop.add("plain");
    let alone = files(&shop.path("store/contents")).len();
    shop.add("wide");
    let both = files(&shop.path("store/contents"));
    // The Makefile and f.c are the same in both.
    assert!(both.len() <= 2 * alone - 2, "{alone} and {}", both.len());

    let (status, list) = store(&shop, &["list"]);
    assert_eq!(status, Some(0), "{list}");
    assert!(
        list.starts_with("plain") && list.contains("\nwide "),
        "{list}"
    );
    let ids = build_ids(&shop);
    let (_, page) = store(&shop, &["show", "wide"]);
    assert!(
        page.contains(&ids[1]) && page.contains("make      make"),
        "{page}"
    );

    let patch = shop.run(
        "xsplice-build",
        &[
            "--src",
            "plain",
            "--patch",
            "fix.patch",
            "--make",
            "make",
            "--orig",
            "plain.built",
        ],
    );
    assert_eq!(patch.status, Some(0), "{}", patch.err);
    for what in [
        ids[0].as_str(),
        &ids[0][..6],
        "plain.built/image",
        "fix.xsplice",
    ] {
        let (status, found) = store(&shop, &["find", what]);
        assert_eq!(status, Some(0), "{what}: {found}");
        assert!(
            found.starts_with("plain") && !found.contains("wide"),
            "{what}: {found}"
        );
    }
    for what in ["ffffffff", "plain.built/core/f.o"] {
        assert_eq!(store(&shop, &["find", what]).0, Some(1), "{what}");
    }

    let (status, checked) = store(&shop, &["check"]);
    assert_eq!(
        (status, checked.matches("ok ").count()),
        (Some(0), 2),
        "{checked}"
    );
    let (status, said) = store(&shop, &["remove", "wide"]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(files(&shop.path("store/contents")).len(), alone);
    assert_eq!(store(&shop, &["check"]).0, Some(0));
    assert_eq!(store(&shop, &["show", "wide"]).0, Some(1));
}

#[test]
fn what_is_spoiled_or_changed_is_told() {
    let shop = Shop::with(&TWO);
    shop.add("plain");
    let mut by_path = adding("wide", "wide.built");
    by_path.push("--by-path");
    assert_eq!(shop.run("xsplice-store", &by_path).status, Some(0));
    assert_eq!(store(&shop, &["check"]).0, Some(0));

    shop.write("wide/core/g.c", "int g(int x) { return x * 8; }\n");
    let (status, said) = store(&shop, &["check"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("ok    plain") && said.contains("no longer what it was"),
        "{said}"
    );

    let content = files(&shop.path("store/contents"))
        .into_iter()
        .find(|path| {
            fs::read(path)
                .expect("a content")
                .starts_with(b"include config.mk")
        })
        .expect("the Makefile");
    fs::remove_file(&content).expect("the test's own");
    fs::write(&content, "spoiled").expect("the test's own");
    let (status, said) = store(&shop, &["check", "plain"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("FAIL  plain: source: Makefile: the content is spoiled"),
        "{said}"
    );
}

#[test]
fn what_is_no_build_is_not_kept() {
    let shop = Shop::with(&TWO);
    let mut mixed = adding("plain", "plain.built");
    mixed.extend(["--base", "wide.built/image"]);
    // The objects of a rebuild with other flags are not those of the image.
    shop.write("plain.built/config.mk", "CONFIG = -O0\n");
    run(
        "make",
        &["-s", "-B", "-C", "plain.built", "core/f.o", "core/g.o"],
        shop.folder(),
    );
    let told = shop.run("xsplice-store", &mixed);
    assert_eq!(told.status, Some(1), "{}", told.out);
    assert!(
        told.err
            .contains("give the tree that this image was linked from"),
        "{}",
        told.err
    );
    assert!(files(&shop.path("store/builds")).is_empty());

    shop.add("wide");
    let told = shop.run("xsplice-store", &adding("wide", "wide.built"));
    assert_eq!(told.status, Some(0), "{}", told.err);
    assert!(told.out.contains("is kept already"), "{}", told.out);
    let mut other = adding("wide", "wide.built");
    other[10] = "make -j2";
    let told = shop.run("xsplice-store", &other);
    assert_eq!(told.status, Some(1), "{}", told.out);
    assert!(told.err.contains("differs in make"), "{}", told.err);
    let told = shop.run("xsplice-store", &["list", "--store", "wide"]);
    assert!(told.err.contains("there is no store here"), "{}", told.err);
    let told = shop.run(
        "xsplice-store",
        &[&["add", "--store", "wide"], &other[3..]].concat(),
    );
    assert!(told.err.contains("so it is no store"), "{}", told.err);
}

#[test]
fn a_source_that_builds_to_something_else_is_told() {
    let shop = Shop::with(&TWO);
    shop.add("plain");
    let (status, said) = store(&shop, &["check", "--rebuild"]);
    assert_eq!(status, Some(0), "{said}");
    // The objects are those of the image, and the source is not.
    shop.write(
        "wide/core/f.c",
        "int f(int x) { return x; }\nint other(int x) { return x; }\n",
    );
    shop.add("wide");
    assert_eq!(store(&shop, &["check"]).0, Some(0));
    let (status, said) = store(&shop, &["check", "--rebuild"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("FAIL  wide: source: builds to something else"),
        "{said}"
    );
    assert!(said.contains("ok    plain"), "{said}");
}

#[test]
fn a_tarball_is_a_source_too() {
    let shop = Shop::with(&TWO[..1]);
    run("tar", &["-czf", "plain.tar.gz", "plain"], shop.folder());
    let mut arguments = adding("plain", "plain.built");
    arguments[6] = "plain.tar.gz";
    let told = shop.run("xsplice-store", &arguments);
    assert_eq!(told.status, Some(0), "{}", told.err);
    // The same build from the folder: one digest.
    shop.add("plain");
    arguments[6] = "fix.patch";
    let told = shop.run("xsplice-store", &arguments);
    assert!(
        told.err.contains("neither a folder nor a tarball"),
        "{}",
        told.err
    );
}

#[test]
fn an_add_that_is_killed_in_the_middle_leaves_a_whole_store() {
    let shop = Shop::with(&TWO);
    shop.add("wide");
    let kept = files(&shop.path("store/contents")).len();
    for number in 0..4000 {
        shop.write(&format!("plain/notes/{number}"), &number.to_string());
    }
    let mut child = shop
        .command("xsplice-store", &adding("plain", "plain.built"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tool runs");
    let start = Instant::now();
    while files(&shop.path("store/contents")).len() < kept + 50 {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing is kept");
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");

    assert_eq!(
        build_ids(&shop).len(),
        1,
        "the test must kill in the middle"
    );
    assert_eq!(store(&shop, &["check"]).0, Some(0));
    shop.add("plain");
    assert_eq!(store(&shop, &["check"]).0, Some(0));
    assert!(files(&shop.path("store/unfinished")).is_empty());
    // What the killed one had kept was needed; now nobody does.
    assert_eq!(store(&shop, &["remove", "plain"]).0, Some(0));
    assert_eq!(files(&shop.path("store/contents")).len(), kept);
}

#[test]
fn several_at_once_do_not_harm_each_other() {
    let shop = Shop::with(&TWO);
    let spawn = |name: &str| {
        let objects = format!("{name}.built");
        let mut command = shop.command("xsplice-store", &adding(name, &objects));
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("the tool runs")
    };
    let children: Vec<_> = ["plain", "wide", "plain", "wide"].map(spawn).into();
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
    assert_eq!(build_ids(&shop).len(), 2);
    assert_eq!(store(&shop, &["check"]).0, Some(0));
}
