//! What the reports are to people who use no mouse, or no eyes, and how soon a large one is there:
//! landmarks, headings, names and roles as the browser tells them to a screen reader; the way of
//! the Tab key; and time.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use xsplice_test_objects::shop::{self, FIX, THREE, adding};
use xsplice_tests::bench::page;
use xsplice_tests::browser::{Browser, Node, program};
use xsplice_tests::{limit, tools};

/// How many times as long as on an idle machine it may take where tests run side by side; `make
/// bench` holds the second itself.
const BUSY: u32 = 10;
/// How often the large page is opened.
const TRIES: usize = 5;

/// Width of a desk, in CSS pixels.
const DESK: u32 = 1280;

/// The report on a fix that changes so many functions, and a variable that is accepted.
fn report(folder: &Path, functions: usize) -> PathBuf {
    page::make(folder, functions).unwrap();
    let run = tools::run("xsplice-build", page::ARGUMENTS.split_whitespace(), folder).unwrap();
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    folder.join("page.html")
}

/// The index of three builds, in one of which a difference was accepted.
fn index(folder: &Path) -> PathBuf {
    fs::write(folder.join("fix.patch"), FIX).unwrap();
    let table = FIX.replace("-1,7 +1,7", "-1,12 +1,12")
        + "     return x * 3;\n }\n #ifdef TABLE\n-int table[4] = { 1, 2, 3, 4 };\n\
           +int table[4] = { 1, 2, 3, 5 };\n #endif\n";
    fs::write(folder.join("table.patch"), table).unwrap();
    for (name, config) in THREE {
        shop::make(folder, name, config);
        let built = format!("{name}.built");
        let added = tools::run("xsplice-store", adding(name, &built), folder).unwrap();
        assert_eq!(added.status, Some(0), "{added:?}");
    }
    for (line, status) in [
        // One by one, since what is accepted must match in each.
        (
            "--only c-* --patch fix.patch --patch-for c-*=table.patch --accept data:table",
            0,
        ),
        ("--patch fix.patch --patch-for c-*=table.patch", 2),
    ] {
        let line = format!("--store store -n fix -o results {line}");
        let run = tools::run("xsplice-build", line.split(' '), folder).unwrap();
        assert_eq!(run.status, Some(status), "{run:?}");
        if status == 0 {
            let page = folder.join("results/index.html");
            fs::copy(page, folder.join("accepted.html")).unwrap();
        }
    }
    folder.join("results/index.html")
}

/// What every page is to a screen reader.
fn can_be_read(page: &str, nodes: &[Node]) {
    let of = |role: &str| -> Vec<&Node> { nodes.iter().filter(|one| one.role == role).collect() };
    for landmark in ["main", "banner", "contentinfo", "navigation"] {
        assert_eq!(of(landmark).len(), 1, "{page}: {landmark}");
    }
    assert_eq!(of("navigation")[0].name, "Chapters", "{page}");
    let regions: Vec<&str> = of("region").iter().map(|one| one.name.as_str()).collect();
    assert!(regions.len() > 1, "{page}: {regions:?}");
    let mut names = regions.clone();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names.len(),
        regions.len(),
        "{page}: two chapters of one name: {regions:?}"
    );

    let levels: Vec<u64> = of("heading").iter().filter_map(|one| one.level).collect();
    let first = levels.iter().filter(|level| **level == 1).count();
    assert!(first == 1 && levels[0] == 1, "{page}: {levels:?}");
    let leaps = levels.windows(2).filter(|pair| pair[1] > pair[0] + 1);
    assert_eq!(leaps.count(), 0, "{page}: a level is left out: {levels:?}");

    // Whatever can be used, or looked at, is called something.
    for role in [
        "link",
        "DisclosureTriangle",
        "region",
        "image",
        "table",
        "heading",
        "columnheader",
    ] {
        // A table is called by the chapter that it stands in.
        let nameless = of(role).iter().filter(|one| one.name.is_empty()).count();
        assert!(
            nameless == 0 || role == "table",
            "{page}: {nameless} × {role} without a name"
        );
    }
    assert!(
        !of("link").is_empty() && !of("columnheader").is_empty(),
        "{page}"
    );
}

/// What the Tab key comes to from the top of the page, and whether each shows that it is there.
fn can_be_used(page: &str, browser: &mut Browser) {
    let all = "window.all = [...document.querySelectorAll('a[href], summary, [tabindex]')]\
               .filter(one => one.tabIndex >= 0 && one.checkVisibility()); all.length";
    let count = browser.evaluate(all).unwrap().as_u64().unwrap();
    assert!(count > 5, "{page}: {count} places");
    for index in 0..count {
        browser.press("Tab").unwrap();
        let seen = "(() => { const at = document.activeElement, box = at.getBoundingClientRect(); \
                    return [all.indexOf(at), getComputedStyle(at).outlineStyle, box.left >= 0, \
                    at.className]; })()";
        let seen = browser.evaluate(seen).unwrap();
        assert_eq!(seen[0], index, "{page}: Tab leads elsewhere: {seen}");
        let is_shown = seen[1] != "none" && seen[2] == true;
        assert!(
            is_shown,
            "{page}: the {index}th does not show that it is there: {seen}"
        );
    }

    // The first leads past the list of chapters.
    browser
        .evaluate("document.activeElement.blur(); all[0].focus()")
        .unwrap();
    browser.press("Enter").unwrap();
    browser.press("Tab").unwrap();
    let inside = "document.activeElement.closest('main') !== null";
    assert_eq!(
        browser.evaluate(inside).unwrap(),
        true,
        "{page}: the way past the chapters"
    );

    // What is folded opens and closes.
    let fold = "window.fold = [...document.querySelectorAll('main summary')]\
                .find(one => one.checkVisibility()); \
                fold ? (fold.focus(), fold.parentElement.open) : null";
    let was_open = browser.evaluate(fold).unwrap();
    if let Value::Bool(was_open) = was_open {
        browser.press("Enter").unwrap();
        let is_open = browser.evaluate("fold.parentElement.open").unwrap();
        assert_eq!(is_open, !was_open, "{page}: Enter on what is folded");
    }
}

#[test]
fn the_pages_can_be_read_without_eyes_and_used_without_a_mouse() {
    let Some(program) = program() else {
        eprintln!("skipped: no Chromium here (apt-get install chromium)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let few = report(&place("few"), 3);
    let many = report(&place("many"), 30);
    let index = index(&place("index"));
    let accepted = index
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("accepted.html");
    let mut browser = Browser::start(&program).unwrap();
    for (name, page) in [
        ("few", &few),
        ("many", &many),
        ("index", &index),
        ("accepted", &accepted),
    ] {
        browser.open(page, DESK).unwrap();
        let nodes = browser.accessibility().unwrap();
        can_be_read(name, &nodes);
        let has = |role: &str| nodes.iter().any(|node| node.role.contains(role));
        // What differs is not told by colour alone.
        let shows_code = name == "few";
        assert_eq!(has("deletion") && has("insertion"), shows_code, "{name}");
        let chapters: Vec<&str> = nodes
            .iter()
            .filter(|node| node.role == "region")
            .map(|node| node.name.as_str())
            .collect();
        // What was accepted, and why, stands at the top.
        let is_above = chapters
            .iter()
            .take(2)
            .any(|name| *name == "Accepted differences");
        assert_eq!(is_above, name != "index", "{name}: {chapters:?}");
        can_be_used(name, &mut browser);
    }

    // Of thirty functions there is an overview; whatever leads to one opens it.
    browser.open(&many, DESK).unwrap();
    let closed = "document.querySelectorAll('.function details[open]').length";
    assert_eq!(browser.evaluate(closed).unwrap(), 0);
    let overview = "document.querySelectorAll('#functions > table a').length";
    assert_eq!(browser.evaluate(overview).unwrap(), 30);
    browser
        .evaluate("document.querySelector('#functions > table a[href=\"#function-20\"]').focus()")
        .unwrap();
    browser.press("Enter").unwrap();
    // It scrolls there when the browser finds the time.
    let opened = "new Promise(done => { \
                  const body = document.getElementById('function-20'); \
                  const title = body.closest('article').querySelector('h3'); \
                  const end = performance.now() + 20000; \
                  const look = () => { \
                      const top = title.getBoundingClientRect().top; \
                      const seen = [body.closest('details').open, top >= 0 && top < innerHeight]; \
                      if (seen.every(Boolean) || performance.now() > end) done(seen); \
                      else setTimeout(look, 50); }; \
                  look(); })";
    let opened = browser.evaluate(opened).unwrap();
    assert!(opened[0] == true && opened[1] == true, "{opened}");

    // The links of the index lead to files that are there.
    let text = fs::read_to_string(&index).unwrap();
    let links = text.split("<a href=\"").skip(1);
    let links = links.filter_map(|rest| rest.split('"').next());
    for link in links.filter(|link| !link.starts_with('#')) {
        assert!(index.parent().unwrap().join(link).exists(), "{link}");
    }
}

#[test]
fn a_page_of_two_hundred_functions_opens_within_a_second() {
    let Some(program) = program() else {
        eprintln!("skipped: no Chromium here (apt-get install chromium)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let page = report(folder.path(), page::FUNCTIONS);
    let mut browser = Browser::start(&program).unwrap();
    let least = page::least(&mut browser, &page, TRIES).unwrap();
    let articles = "document.querySelectorAll('.function').length";
    assert_eq!(browser.evaluate(articles).unwrap(), page::FUNCTIONS);
    let allowed = limit::scaled(page::LIMIT * BUSY).unwrap();
    assert!(least < allowed, "{least:?}");
}
