//! Opens both HTML reports, of two trees and of one object, in a real browser, at the width of a
//! desk and of a phone. `browser/` uses them with the keyboard and a screen reader, together with
//! the page of many builds, and measures how soon a large one is there.
//!
//! Needs Chromium (or Chrome); without it the test says so and passes, because the report's own
//! tests already hold what can be held without one. `XSPLICE_BROWSER` names another program.

mod browser;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use wait_timeout::ChildExt;
use xsplice_tests::{compiler, tools};

const HARNESS: &str = include_str!("browser/harness.html");

/// Widths of the frames, in CSS pixels.
const WIDTHS: [u32; 2] = [1280, 400];

/// Longest that the browser may take.
const BROWSER_LIMIT: Duration = Duration::from_secs(90);

const FLAGS: &str = "gcc -O2 -fpic -fvisibility=hidden -mno-red-zone -ffunction-sections \
     -fdata-sections -fno-asynchronous-unwind-tables -fcf-protection=none";

/// What an object could call a function to attack its reader; a loader takes up to 127 bytes.
const HOSTILE: &str =
    "</code><script>top.attacked=attacked=true</script>\"'<img src=x onerror=attacked=true>";

/// No place to break a line at.
const LONG: &str = "an_identifier_that_is_as_long_as_loaders_take_and_has_no_place_where_a_line_may_be_broken_because_it_holds_no_blank";

/// What the harness measured in one frame.
#[derive(Debug, Deserialize)]
struct Measured {
    page: String,
    width: u32,
    scroll: u32,
    wide: Vec<String>,
    links: usize,
    dead: Vec<String>,
    headings: usize,
    rows: usize,
    marks: usize,
    foreign: usize,
    attacked: bool,
}

const ORIGINAL: &str = r#"
int log_it(const char *text, unsigned value);
int log_it(const char *text, unsigned value) { return (int)value + text[0]; }
int FUNCTION(const unsigned *v, unsigned n);
int FUNCTION(const unsigned *v, unsigned n)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += v[i] * 7;
    if (sum > 100)
        return log_it("a sum above the limit that was set by the administrator of this machine", sum);
    return (int)sum;
}
int limit = 3;
int limited(int x);
int limited(int x) { return x > limit ? limit : log_it("below", (unsigned)x); }
"#;

/// Writes, compiles and links `source` as a tree of one object.
fn tree(root: &Path, source: &str, name: &str) {
    fs::create_dir_all(root).expect("a folder");
    fs::write(
        root.join("f.c"),
        source.replace("FUNCTION", "renamed_later"),
    )
    .expect("a source");
    compiler::compile(root, "f.c", &root.join("f.o"), FLAGS).expect("the source compiles");
    let status = Command::new("objcopy")
        .arg(format!("--redefine-sym=renamed_later={name}"))
        .arg(root.join("f.o"))
        .status()
        .expect("objcopy is part of binutils");
    assert!(status.success());
    fs::remove_file(root.join("f.c")).expect("was written");
}

/// The report on a change, as a page; `status` is how the build must end.
fn report(root: &Path, name: &str, patched: &str, status: i32) -> String {
    let (old, new) = (root.join("original"), root.join("patched"));
    tree(&old, ORIGINAL, name);
    tree(&new, patched, name);
    compiler::link(&old, &root.join("base"), "-Ttext-segment=0x400000").expect("it links");
    let arguments = "--orig original --patched patched --base base -n a-name --html page.html";
    let run = tools::run("xsplice-build", arguments.split(' '), root).expect("it runs");
    assert_eq!(run.status, Some(status), "{}{}", run.stdout, run.stderr);
    fs::read_to_string(root.join("page.html")).expect("the page is UTF-8")
}

/// The page of `xsplice-diff` on the objects that [`report`] compiled; `status` is how it must end.
fn object_report(root: &Path, patched: &str, status: i32) -> String {
    let arguments = ["--html", "object.html", "original/f.o", patched];
    let run = tools::run("xsplice-diff", arguments, root).expect("it runs");
    assert_eq!(run.status, Some(status), "{}{}", run.stdout, run.stderr);
    fs::read_to_string(root.join("object.html")).expect("the page is UTF-8")
}

/// Lets the browser measure the pages; `pages` are (name, page).
fn measure(browser: &str, root: &Path, pages: &[(&str, String)]) -> Vec<Measured> {
    let mut frames = String::new();
    for (name, page) in pages {
        let quoted = page.replace('&', "&amp;").replace('"', "&quot;");
        for width in WIDTHS {
            frames.push_str(&format!(
                "<iframe data-page=\"{name}\" width=\"{width}\" height=\"900\" frameborder=\"0\" srcdoc=\"{quoted}\"></iframe>\n"
            ));
        }
    }
    let harness = root.join("harness.html");
    fs::write(&harness, HARNESS.replace("FRAMES", &frames)).expect("the folder is writable");
    let dom = root.join("dom.html");
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1400,1000",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            root.join("profile").display()
        ))
        .arg(format!("file://{}", harness.display()))
        .stdout(fs::File::create(&dom).expect("a file"))
        .stderr(fs::File::create(root.join("browser.log")).expect("a file"))
        .spawn()
        .expect("the browser starts");
    if child
        .wait_timeout(BROWSER_LIMIT)
        .expect("it can be waited for")
        .is_none()
    {
        let _ = child.kill();
        let _ = child.wait();
        panic!("the browser took longer than {BROWSER_LIMIT:?}");
    }
    let dom = fs::read_to_string(&dom).expect("the page as the browser sees it");
    let (_, rest) = dom
        .split_once("<pre id=\"result\">")
        .expect("the result's place");
    let (json, _) = rest.split_once("</pre>").expect("its end");
    let json = json
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

#[test]
fn the_report_fits_a_desk_and_a_phone_its_links_work_and_names_cannot_attack() {
    let Some(browser) = xsplice_tests::browser::program() else {
        eprintln!(
            "skipped: no Chromium here (apt-get install chromium, or XSPLICE_BROWSER=PROGRAM)"
        );
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fixed = ORIGINAL
        .replace("v[i] * 7", "v[i] * 9")
        .replace("set by", "chosen by");
    let refused = fixed.replace("limit = 3", "limit = 4");
    let pages = [
        (
            "made",
            report(&folder.path().join("made"), "plain", &fixed, 0),
        ),
        ("long", report(&folder.path().join("long"), LONG, &fixed, 0)),
        (
            "hostile",
            report(&folder.path().join("hostile"), HOSTILE, &fixed, 0),
        ),
        (
            "refused",
            report(&folder.path().join("refused"), LONG, &refused, 2),
        ),
    ];
    let of_object = |name: &'static str, from: &str, patched: &str, status: i32| {
        let page = object_report(&folder.path().join(from), patched, status);
        (name, page)
    };
    let (same, other) = ("original/f.o", "patched/f.o");
    let pages = [
        &pages[..],
        &[
            of_object("object", "made", other, 0),
            of_object("object long", "long", other, 0),
            of_object("object hostile", "hostile", other, 0),
            of_object("object refused", "refused", other, 2),
            of_object("object unchanged", "made", same, 3),
        ],
    ]
    .concat();
    for (name, page) in pages.iter().filter(|(name, _)| name.contains("hostile")) {
        assert!(
            page.contains("&lt;script&gt;top.attacked"),
            "the attack reaches the page {name}"
        );
    }

    let measured = measure(&browser, folder.path(), &pages);
    assert_eq!(measured.len(), pages.len() * WIDTHS.len());
    for one in &measured {
        assert!(WIDTHS.contains(&one.width), "{one:?}");
        assert!(one.scroll <= one.width && one.wide.is_empty(), "{one:?}");
        assert!(one.dead.is_empty(), "{one:?}");
        assert!(one.foreign == 0 && !one.attacked, "{one:?}");
        let has_functions = !one.page.contains("unchanged");
        assert_eq!(one.links > 5, has_functions, "{one:?}");
        assert_eq!(one.headings > 4, has_functions, "{one:?}");
        let shows_code = has_functions && !one.page.contains("refused");
        assert_eq!(one.rows > 4, shows_code, "{one:?}");
        // Where the patch lands is a picture of the page of two trees.
        let lands = shows_code && !one.page.contains("object");
        assert_eq!(one.marks == 1, lands, "{one:?}");
    }
}
