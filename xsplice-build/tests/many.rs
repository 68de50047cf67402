//! One patch over many builds: every way a build may end, one table, one document and one page;
//! what was made is kept when the command runs again, and shards join to the same.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use xsplice_test_objects::shop::THREE;

use crate::support::{FIX, Shop, Told, adding};

fn three() -> Shop {
    let shop = Shop::with(&THREE);
    for (name, _) in THREE {
        shop.add(name);
    }
    shop
}

fn make(shop: &Shop, further: &[&str]) -> Told {
    let fixed = ["--store", "store", "--patch", "fix.patch"];
    shop.run("xsplice-build", &[&fixed, further].concat())
}

fn index(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("index.json")).expect("the document");
    serde_json::from_str(&text).expect("JSON")
}

fn statuses(index: &Value) -> Vec<(String, String)> {
    let builds = index["builds"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let pairs = builds
        .iter()
        .map(|build| (text(&build["name"]), text(&build["status"])));
    pairs.collect()
}

fn payload(shop: &Shop, folder: &str, build: &str) -> Vec<u8> {
    let path = shop.path(folder).join(build).join("fix.xsplice");
    fs::read(path).expect("a payload")
}

#[test]
fn each_build_gets_a_payload_for_its_own_base() {
    let shop = three();
    let told = make(&shop, &[]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    assert!(told.out.contains("3 made"), "{}", told.out);
    assert!(
        told.out
            .contains("payloads of equal content: a-plain, b-again\n"),
        "{}",
        told.out
    );
    let index = index(&shop.path("fix.builds"));
    for build in index["builds"].as_array().expect("a list") {
        let name = build["name"].as_str().expect("a name");
        let found = shop.run(
            "xsplice-store",
            &[
                "find",
                "--store",
                "store",
                &format!("fix.builds/{name}/fix.xsplice"),
            ],
        );
        assert!(found.out.starts_with(name), "{name}: {}", found.out);
        for file in ["report.html", "report.json", "report.txt", "patched.log"] {
            let path = shop.path("fix.builds").join(name).join(file);
            assert!(path.is_file(), "{}", path.display());
        }
        assert!(!shop.path("fix.builds").join(name).join("work").exists());
    }
    let page = fs::read_to_string(shop.path("fix.builds/index.html")).expect("the page");
    assert!(page.contains("href=\"c-wide/report.html\""), "{page}");

    let kept = shop.run(
        "xsplice-store",
        &["show", "--store", "store", "--json", "-", "a-plain"],
    );
    let kept: Value = serde_json::from_str(&kept.out).expect("JSON");
    let provenance = shop.path("fix.builds/a-plain/provenance.json");
    let envelope = fs::read_to_string(provenance).expect("the provenance");
    let envelope: Value = serde_json::from_str(&envelope).expect("JSON");
    shop.write("payload.b64", envelope["payload"].as_str().expect("base64"));
    let decoded = Command::new("base64")
        .args(["-d", "payload.b64"])
        .current_dir(shop.folder())
        .output()
        .expect("base64 runs");
    let statement: Value = serde_json::from_slice(&decoded.stdout).expect("a statement");
    let inputs = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    let digest = |name: &str| {
        let mut inputs = inputs.as_array().expect("a list").iter();
        let input = inputs.find(|input| input["name"] == name);
        input.expect(name)["digest"]["xspliceTree"].clone()
    };
    assert_eq!(digest("original"), kept["builds"][0]["objects"]["digest"]);
    assert_eq!(digest("source"), kept["builds"][0]["source"]["digest"]);

    // The same inputs elsewhere give the same bytes.
    assert_eq!(make(&shop, &["-o", "again"]).status, Some(0));
    for (name, _) in THREE {
        assert_eq!(
            payload(&shop, "fix.builds", name),
            payload(&shop, "again", name)
        );
    }

    // A second fix stacks on the first, build by build.
    let second = FIX
        .replace("return other(x) + 2", "return other(x) + 3")
        .replace("return other(x) + 1", "return other(x) + 2");
    shop.write("second.patch", &second);
    let stacked = ["--patch-for", "*=second.patch", "-o", "second"];
    let told = make(
        &shop,
        &[&stacked[..], &["--depends", "fix.builds"]].concat(),
    );
    // It does not apply to the source, which is that of the base.
    assert_eq!(told.status, Some(1), "{}", told.out);
    assert!(told.out.contains("not applicable  a-plain"), "{}", told.out);
    let other = FIX.replace("other(x) + 2", "other(x) + 4");
    shop.write("second.patch", &other);
    let told = make(
        &shop,
        &[&stacked[..], &["--depends", "fix.builds"]].concat(),
    );
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    let above = self::index(&shop.path("second"));
    for (above, below) in above["builds"]
        .as_array()
        .expect("a list")
        .iter()
        .zip(index["builds"].as_array().expect("a list"))
    {
        assert_eq!(above["below"], below["payload"]["build_id"]);
    }
}

#[test]
fn one_that_fails_does_not_stop_the_others() {
    let shop = three();
    // Changed data is refused.
    let data = "--- a/core/f.c\n+++ b/core/f.c\n@@ -9,4 +9,4 @@\n }\n #ifdef TABLE\n\
                -int table[4] = { 1, 2, 3, 4 };\n+int table[4] = { 1, 2, 3, 5 };\n #endif\n";
    shop.write("data.patch", data);
    let comment = "--- a/core/f.c\n+++ b/core/f.c\n@@ -10,3 +10,3 @@\n #ifdef TABLE\n\
                   \x20int table[4] = { 1, 2, 3, 4 };\n-#endif\n+#endif /* TABLE */\n";
    shop.write("comment.patch", comment);
    shop.write("broken.patch", &FIX.replace("+ 2;", "+ ;"));
    let ways = [
        "--patch-for",
        "c-*=data.patch",
        "--patch-for",
        "b-*=broken.patch",
    ];
    let told = make(&shop, &ways);
    assert_eq!(told.status, Some(1), "{}{}", told.out, told.err);
    let expected = [
        ("a-plain", "made"),
        ("b-again", "not-built"),
        ("c-wide", "refused"),
    ];
    let expected = expected.map(|(name, status)| (name.to_owned(), status.to_owned()));
    let found = index(&shop.path("fix.builds"));
    assert_eq!(statuses(&found), expected);
    assert!(
        told.out.contains("error"),
        "the end of the log: {}",
        told.out
    );
    assert!(
        told.out.contains("refused         c-wide   changed-data: "),
        "{}",
        told.out
    );

    // Only what was refused: 2. What the patch does not touch: 3.
    let told = make(&shop, &["--only", "c-*", "--patch-for", "c-*=data.patch"]);
    assert_eq!(told.status, Some(2), "{}", told.out);
    assert!(told.out.contains("(of an earlier run)"), "{}", told.out);
    let told = make(
        &shop,
        &[
            "--only",
            "a-*",
            "--patch-for",
            "a-*=comment.patch",
            "-o",
            "none",
        ],
    );
    assert_eq!(told.status, Some(3), "{}{}", told.out, told.err);

    let told = make(&shop, &["--only", "nobody"]);
    assert_eq!(told.status, Some(1));
    assert!(
        told.err
            .contains("matches no build; the store holds a-plain"),
        "{}",
        told.err
    );
    // One payload fits one base.
    fs::remove_file(shop.path("none/a-plain/result.json")).expect("the test's own");
    let told = make(
        &shop,
        &["--only", "a-*", "--depends", "none", "-o", "above"],
    );
    assert_eq!(told.status, Some(1), "{}", told.out);
    assert!(
        told.out.contains("holds no result for this build"),
        "{}",
        told.out
    );
}

#[test]
fn a_run_goes_on_where_it_stopped() {
    let shop = three();
    assert_eq!(make(&shop, &["--only", "a-*"]).status, Some(0));
    let told = make(&shop, &[]);
    assert_eq!(told.status, Some(0), "{}", told.err);
    assert_eq!(
        told.out.matches("(of an earlier run)").count(),
        1,
        "{}",
        told.out
    );

    // Another option, a payload that is gone, another patch: made again.
    let told = make(&shop, &["--max-functions", "9"]);
    assert_eq!(
        told.out.matches("(of an earlier run)").count(),
        0,
        "{}",
        told.out
    );
    fs::remove_file(shop.path("fix.builds/b-again/fix.xsplice")).expect("the test's own");
    let told = make(&shop, &["--max-functions", "9"]);
    assert_eq!(
        told.out.matches("(of an earlier run)").count(),
        2,
        "{}",
        told.out
    );
    shop.write("fix.patch", &FIX.replace("+ 2;", "+ 7;"));
    let told = make(&shop, &["--max-functions", "9"]);
    assert_eq!(
        told.out.matches("(of an earlier run)").count(),
        0,
        "{}",
        told.out
    );
}

#[test]
fn an_interruption_stops_all_and_what_was_made_stays() {
    let shop = three();
    let mark = shop.path("started");
    let make_slow = format!("touch {}; sleep 300", mark.display());
    shop.make_changed("d-slow", "-DSLOW");
    let mut arguments = adding("d-slow", "d-slow.built");
    arguments[10] = &make_slow;
    let told = shop.run("xsplice-store", &arguments);
    assert_eq!(told.status, Some(0), "{}", told.err);
    let mut child = shop
        .command(
            "xsplice-build",
            &["--store", "store", "--patch", "fix.patch"],
        )
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tool runs");
    let start = Instant::now();
    while !mark.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "the build never starts"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert!(!shop.path("fix.builds/d-slow").exists());
    let told = make(&shop, &["--only", "[abc]-*"]);
    assert_eq!(told.status, Some(0), "{}", told.err);
    assert_eq!(
        told.out.matches("(of an earlier run)").count(),
        3,
        "{}",
        told.out
    );
}

#[test]
fn shards_join_to_what_one_run_makes() {
    let shop = three();
    let merge = |results: &[&str]| {
        let fixed = ["merge", "-o", "joined"];
        shop.run("xsplice-store", &[&fixed, results].concat())
    };
    assert_eq!(make(&shop, &[]).status, Some(0));
    assert_eq!(
        make(&shop, &["--shard", "1/2", "-o", "one"]).status,
        Some(0)
    );
    let told = merge(&["one"]);
    assert_eq!(told.status, Some(1), "{}", told.out);
    assert!(told.out.contains("missing         b-again"), "{}", told.out);
    assert_eq!(
        make(&shop, &["--shard", "2/2", "-o", "two"]).status,
        Some(0)
    );
    let told = merge(&["one", "two"]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    assert!(
        told.out
            .contains("payloads of equal content: a-plain, b-again"),
        "{}",
        told.out
    );
    let (whole, joined) = (index(&shop.path("fix.builds")), index(&shop.path("joined")));
    assert_eq!(whole, joined);
    for (name, _) in THREE {
        assert_eq!(
            payload(&shop, "fix.builds", name),
            payload(&shop, "joined", name)
        );
    }
    // What was joined is a folder of results like any other.
    assert_eq!(merge(&["joined", "one"]).status, Some(0));

    // Results of another patch are of another run.
    shop.write("fix.patch", &FIX.replace("+ 2;", "+ 7;"));
    assert_eq!(
        make(&shop, &["--shard", "2/2", "-o", "two"]).status,
        Some(0)
    );
    let told = merge(&["one", "two"]);
    assert_eq!(told.status, Some(1), "{}", told.out);
    assert!(
        told.err.contains("results of different runs"),
        "{}",
        told.err
    );
    assert!(merge(&["store"]).err.contains("holds no results"));

    // A name that leads out of the folder is none.
    let document = shop.path("one").join("index.json");
    let text = fs::read_to_string(&document).expect("a document");
    fs::write(&document, text.replace("a-plain", "../elsewhere")).expect("a document");
    let told = merge(&["one"]);
    assert_eq!(told.status, Some(1), "{}", told.out);
    assert!(told.err.contains("no name of a build"), "{}", told.err);
    assert!(!shop.path("elsewhere").exists());
}
