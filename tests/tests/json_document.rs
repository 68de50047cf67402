//! `docs/json.md` and what the commands write in JSON say the same: each key that is written is
//! documented, with its type, and each documented key is written by some run, and is absent in
//! some where the page says so. The runs are those of the cases, whose reports are committed, and
//! those of one small program of which two fixes are made here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use xsplice_console::json::SCHEMA;
use xsplice_tests::golden::{self, Page};
use xsplice_tests::served;
use xsplice_tests::tools::{self, limited};
use xsplice_tests::workspace;

use crate::json_of_builds;

/// A type that the page names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    String,
    Number,
    Boolean,
    Null,
    Object,
    List,
}

impl Type {
    fn of(value: &Value) -> Type {
        match value {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Boolean,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::String,
            Value::Array(_) => Type::List,
            Value::Object(_) => Type::Object,
        }
    }
}

/// What the page says of a key.
#[derive(Debug)]
struct Row {
    types: BTreeSet<Type>,
    /// Of the elements of a list.
    elements: Option<Type>,
    may_be_absent: bool,
    example: Option<Value>,
}

/// A part of the page: keys, and the commands that write them.
#[derive(Debug)]
struct Section {
    writers: Vec<String>,
    rows: BTreeMap<String, Row>,
}

/// What the runs of a command wrote of a key.
#[derive(Debug, Default)]
struct Seen {
    types: BTreeSet<Type>,
    elements: BTreeSet<Type>,
    absent: bool,
}

type Keys = BTreeMap<String, Seen>;

#[test]
fn the_page_and_the_commands_say_the_same() {
    let page = fs::read_to_string(workspace().join("docs/json.md")).unwrap();
    let sections = sections(&page);
    let mut documents = committed();
    documents.extend(written());
    let mut by_writer: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for document in documents {
        by_writer
            .entry(writer(&document))
            .or_default()
            .push(document);
    }
    let mut faults = Vec::new();
    let mut seen: BTreeMap<&str, Keys> = BTreeMap::new();
    for (writer, documents) in &by_writer {
        let mut keys = Keys::new();
        for document in documents {
            record("", document, &mut keys);
        }
        let told: Vec<_> = sections
            .iter()
            .filter(|section| section.writers.contains(writer))
            .collect();
        // Whether a key that the page knows was left out of an object that was written.
        for section in &told {
            for key in section.rows.keys() {
                let absent = documents.iter().any(|document| is_absent(document, key));
                keys.entry(key.clone()).or_default().absent |= absent;
            }
        }
        for (key, what) in &keys {
            let row = told.iter().find_map(|section| section.rows.get(key));
            match row {
                None => faults.push(format!("{writer} writes `{key}`, which is not documented")),
                Some(row) => faults.extend(
                    contradictions(row, what)
                        .into_iter()
                        .map(|fault| format!("{writer}: `{key}` {fault}")),
                ),
            }
        }
        seen.insert(writer, keys);
    }
    for section in &sections {
        for writer in &section.writers {
            if !by_writer.contains_key(writer) {
                faults.push(format!("no run of {writer}"));
            }
        }
        let runs = || {
            section
                .writers
                .iter()
                .filter_map(|writer| seen.get(writer.as_str()))
        };
        for (key, row) in &section.rows {
            let of_key = || runs().filter_map(|keys| keys.get(key));
            let types: BTreeSet<_> = of_key().flat_map(|what| what.types.clone()).collect();
            if types != row.types {
                faults.push(format!(
                    "`{key}` is documented as {:?}, and was written as {types:?}",
                    row.types
                ));
            }
            if row.may_be_absent && !of_key().any(|what| what.absent) {
                faults.push(format!("`{key}` may be absent, and never was"));
            }
        }
    }
    assert!(faults.is_empty(), "docs/json.md:\n{}", faults.join("\n"));
}

#[test]
fn each_example_is_of_its_keys_type() {
    let page = fs::read_to_string(workspace().join("docs/json.md")).unwrap();
    let sections = sections(&page);
    assert!(sections.len() > 8, "{sections:?}");
    for (key, row) in sections.iter().flat_map(|section| &section.rows) {
        let holds_objects = row.types.contains(&Type::Object) || row.elements == Some(Type::Object);
        let Some(example) = &row.example else {
            assert!(holds_objects, "{key}: no example");
            continue;
        };
        assert!(row.types.contains(&Type::of(example)), "{key}: {example}");
        let elements = example.as_array().into_iter().flatten();
        for element in elements {
            assert_eq!(Some(Type::of(element)), row.elements, "{key}: {example}");
        }
        if key == "schema" {
            assert_eq!(*example, Value::from(SCHEMA));
        }
    }
}

fn contradictions(row: &Row, what: &Seen) -> Vec<String> {
    let mut faults = Vec::new();
    for kind in what.types.difference(&row.types) {
        faults.push(format!("is {kind:?}"));
    }
    for kind in &what.elements {
        if row.elements != Some(*kind) {
            faults.push(format!("holds {kind:?}, not {:?}", row.elements));
        }
    }
    if what.absent && !row.may_be_absent {
        faults.push("is absent".to_owned());
    }
    faults
}

/// Reads the page's tables.
fn sections(page: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in page.lines() {
        if let Some(writers) = line.strip_prefix("Written by ") {
            sections.push(Section {
                writers: quoted(writers).map(str::to_owned).collect(),
                rows: BTreeMap::new(),
            });
        }
        let Some(cells) = line.strip_prefix("| `") else {
            continue;
        };
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        let [key, kind, example, _, ""] = cells[..] else {
            panic!("{line}: has {} cells", cells.len());
        };
        let section = sections.last_mut().expect("a table stands in a section");
        let key = key.trim_end_matches('`').to_owned();
        let known = section.rows.insert(key, row(kind, example));
        assert!(known.is_none(), "{line}: stands twice");
    }
    sections
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn row(kind: &str, example: &str) -> Row {
    let (kinds, may_be_absent) = match kind.strip_suffix(", may be absent") {
        Some(kinds) => (kinds, true),
        None => (kind, false),
    };
    let mut elements = None;
    let types = kinds
        .split(" or ")
        .map(|kind| match kind {
            "string" => Type::String,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            "null" => Type::Null,
            "object" => Type::Object,
            _ => {
                elements = Some(match kind {
                    "list of objects" => Type::Object,
                    "list of strings" => Type::String,
                    "list of pairs" => Type::List,
                    _ => panic!("{kind}: is no type"),
                });
                Type::List
            }
        })
        .collect();
    let example = quoted(example)
        .next()
        .map(|text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")));
    Row {
        types,
        elements,
        may_be_absent,
        example,
    }
}

fn writer(document: &Value) -> String {
    assert_eq!(document["schema"], Value::from(SCHEMA), "{document}");
    let tool = document["tool"].as_str().unwrap();
    match document["command"].as_str() {
        // One document for all commands: this key says what was done.
        Some(command) if tool != "xsplice-ctl" => format!("{tool} {command}"),
        _ => tool.to_owned(),
    }
}

/// The key of what stands at `key` in what stands at `path`.
fn child(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        // The kernel says what it likes.
        "info" => "info.*".to_owned(),
        _ => format!("{path}.{key}"),
    }
}

fn record(path: &str, value: &Value, keys: &mut Keys) {
    if !path.is_empty() && !path.ends_with("[]") {
        keys.entry(path.to_owned())
            .or_default()
            .types
            .insert(Type::of(value));
    }
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                record(&child(path, key), value, keys);
            }
        }
        Value::Array(list) => {
            // The reasons of a part are reasons again.
            let path = match path.strip_suffix("[].reasons") {
                Some(outer) if outer.ends_with(".reasons") => outer,
                _ => path,
            };
            for element in list {
                let elements = &mut keys.entry(path.to_owned()).or_default().elements;
                elements.insert(Type::of(element));
                if element.is_object() {
                    record(&format!("{path}[]"), element, keys);
                }
            }
        }
        _ => {}
    }
}

/// Whether some object that should hold `key` does not.
fn is_absent(document: &Value, key: &str) -> bool {
    let Some((head, rest)) = key.split_once('.') else {
        return document
            .as_object()
            .is_some_and(|object| !object.contains_key(key));
    };
    if rest == "*" {
        return false;
    }
    match head.strip_suffix("[]") {
        Some(list) => {
            let elements = document[list].as_array();
            elements
                .into_iter()
                .flatten()
                .any(|element| is_absent(element, rest))
        }
        None => is_absent(&document[head], rest),
    }
}

/// The reports of the cases.
fn committed() -> Vec<Value> {
    let cases = fs::read_dir(workspace().join("fixtures/cases")).unwrap();
    let reports = cases.filter_map(|case| {
        let page = case.unwrap().path().join(golden::PAGE);
        let page = Page::parse(&fs::read_to_string(page).ok()?).unwrap();
        Some(serde_json::from_str(&page.report).unwrap())
    });
    let reports: Vec<_> = reports.collect();
    assert!(reports.len() > 100, "the cases are gone");
    reports
}

const SHIPPED: &str = r#"
struct pair { int one; int two; };
int limit = 3;
int answer(int x) { return x + 1; }
int (*handler)(int) = answer;
int depth(int x) { return x > limit ? depth(x - 1) + 3 * x : 7; }
int sum(struct pair *p) { return p->one; }
int probe(int *p) {
    int v;
    asm volatile("1: mov %1, %0\n2:\n.pushsection .ex_table, \"a\"\n.long 1b - ., 2b - .\n"
                 ".popsection" : "=r"(v) : "m"(*p));
    return 3 * v;
}
"#;

/// What a fix makes of it: another constant of `depth`, and a word.
const FIXED: &str = r#"
#include "xsplice.h"
static int fresh(int x) { return x + 2; }
XSPLICE_WORD(handler, &handler, answer, fresh);
static int (*const steps[])(int) = { fresh, answer };
static void on_load(void) { limit = steps[limit & 1](limit); }
XSPLICE_LOAD_HOOK(on_load);
"#;

/// A record that says nothing, in a file that is no payload.
const EMPTY_RECORD: &str = ".section .xsplice.funcs, \"aw\"\n.zero 64\n";

/// The small program, its builds and the fixes.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench {
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in ["src", "shipped", "first", "second"] {
            fs::create_dir(bench.path(folder)).unwrap();
        }
        let changed = |constant: &str| {
            let text = SHIPPED.replace("3 * x", &format!("{constant} * x"));
            text.replace("3 * v", &format!("{constant} * v"))
        };
        bench.compile(SHIPPED, "shipped/a.o");
        bench.compile(&(changed("5") + FIXED), "first/a.o");
        bench.compile(&changed("9"), "second/a.o");
        let narrow = SHIPPED
            .replace(" int two;", "")
            .replace("p->one;", "p->one + 1;");
        bench.compile(&narrow, "narrow.o");
        // lld leaves its name in the image; the images of the cases are GNU ld's.
        bench.shell(
            "ld.lld -static -nostdlib --build-id=sha1 -e 0 -Ttext=0x400000 -o base shipped/a.o",
        );
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn compile(&self, source: &str, object: &str) {
        fs::write(self.path("src/a.c"), source).unwrap();
        self.shell(&format!(
            "gcc -O1 -g -mno-red-zone -ffunction-sections -fdata-sections -fcf-protection=none \
             -fno-asynchronous-unwind-tables -fpie -fno-optimize-sibling-calls -I '{}' \
             -c src/a.c -o {object}",
            workspace().join("runtime/include").display()
        ));
    }

    pub(crate) fn shell(&self, command: &str) {
        let mut process = Command::new("sh");
        process
            .args(["-ec", command])
            .current_dir(self.folder.path());
        let run = limited(&mut process).unwrap();
        assert_eq!(run.status, Some(0), "{command}: {run:?}");
    }

    /// Runs a command that ends with `status` and gives its document.
    pub(crate) fn run(&self, status: i32, command: &str) -> Value {
        let (tool, arguments) = command.split_once(' ').unwrap();
        let run = tools::run(tool, arguments.split(' '), self.folder.path()).unwrap();
        assert_eq!(run.status, Some(status), "{command}: {run:?}");
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
    }
}

/// What the commands write of the small program.
fn written() -> Vec<Value> {
    let bench = Bench::new();
    let mut documents = two_fixes(&bench);
    documents.extend(accounts(&bench));
    documents.extend(one_object(&bench));
    documents.extend(on_a_machine(&bench));
    documents.extend(json_of_builds::written(&bench));
    documents
}

/// Runs with an account, and what ends some: the base holds more than the tree; tables that the
/// link put in another order.
fn accounts(bench: &Bench) -> Vec<Value> {
    fs::create_dir(bench.path("whole")).unwrap();
    bench.compile("int not_given(int x) { return x * 5; }", "whole/b.o");
    for (tree, day) in [("dated", 1), ("later", 2)] {
        fs::create_dir(bench.path(tree)).unwrap();
        let text = format!("char *when(void) {{ return \"Jan {day} 2026 00:00:00\"; }}");
        bench.compile(&text, &format!("{tree}/s.o"));
    }
    // One patched image has an object more, and two in another order.
    bench.shell(
        "ld='ld.lld -static -nostdlib --build-id=sha1 -e 0' x=steps/x.o y=steps/y.o && \
         $ld -o more shipped/a.o whole/b.o && $ld -o when dated/s.o && \
         mkdir steps; for step in x y; do \
         echo \"const int $step __attribute__((section(\\\"steps\\\"))) = 1; \
         int f$step(int a) { return a; }\" | gcc -xc -O2 -c -o steps/$step.o -; done; \
         cp -r steps again && $ld -o walked $x $y && $ld -o turned $y $x whole/b.o",
    );
    let runs = [
        "2 --orig steps --patched again --base walked --patched-base turned",
        "3 --orig steps --patched again",
        "3 --orig dated --patched later --base when",
        "0 --orig shipped/a.o --patched second/a.o --base base",
        "2 --orig shipped --patched second --base more",
    ];
    let build = "xsplice-build --json - -o none";
    let runs = runs.map(|run| run.split_once(' ').unwrap());
    runs.map(|(status, trees)| bench.run(status.parse().unwrap(), &format!("{build} {trees}")))
        .to_vec()
}

/// A fix, whose patch has a hunk more than the build knows, and another on top of it.
fn two_fixes(bench: &Bench) -> Vec<Value> {
    let patch = "--- a/src/a.c\n+++ b/src/a.c\n@@ -6,1 +6,1 @@\n\
                 -int depth(int x) { return x > limit ? depth(x - 1) + 3 * x : 7; }\n\
                 +int depth(int x) { return x > limit ? depth(x - 1) + 5 * x : 7; }\n\
                 --- a/src/none.c\n+++ b/src/none.c\n@@ -1,1 +1,1 @@\n-int none;\n+int some;\n";
    fs::write(bench.path("fix.patch"), patch).unwrap();
    let build = "xsplice-build --orig shipped --base base --json -";
    let mut documents = vec![
        bench.run(
            0,
            &format!(
                "{build} --patched first -o first.xsplice --patch fix.patch \
                 --accept hunk:src/none.c:1 --fixes XSA-470"
            ),
        ),
        bench.run(
            0,
            &format!("{build} --patched second -o second.xsplice --depends first.xsplice"),
        ),
    ];
    bench.shell(
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=ci -keyout key.pem -out cert.pem && \
         echo 'a note' > note && objcopy --add-section extra=note first.xsplice noted && \
         objcopy --add-section .bug_frames.9=note --set-section-flags .bug_frames.9=alloc,readonly \
             first.xsplice framed",
    );
    fs::write(bench.path("empty.S"), EMPTY_RECORD).unwrap();
    bench.shell("gcc -c empty.S -o empty.o");
    let link = "xsplice-link";
    let verify = "xsplice-link verify --base base --json -";
    documents.extend([
        bench.run(
            0,
            &format!("{link} sign --json - --key key.pem --cert cert.pem -o signed first.xsplice"),
        ),
        bench.run(0, &format!("{link} inspect --json - signed")),
        bench.run(0, &format!("{link} inspect --json - noted")),
        bench.run(0, &format!("{link} inspect --json - framed")),
        bench.run(0, &format!("{link} inspect --json - empty.o")),
        bench.run(0, &format!("{verify} first.xsplice")),
        bench.run(0, &format!("{verify} --stack first.xsplice second.xsplice")),
        bench.run(2, &format!("{verify} second.xsplice")),
        bench.run(2, &format!("{verify} note")),
    ]);
    documents
}

/// A pair of objects, a structure of which lost a member, and a link by hand.
fn one_object(bench: &Bench) -> Vec<Value> {
    let extract = "xsplice-diff --json - -o a.xo shipped/a.o";
    let link = "xsplice-link link --json - --base base";
    vec![
        bench.run(2, "xsplice-diff --json - shipped/a.o narrow.o"),
        bench.run(0, &format!("{extract} second/a.o")),
        bench.run(0, &format!("{link} -o linked.xsplice a.xo")),
        bench.run(2, &format!("{link} --abi livepatch -o linked.xsplice a.xo")),
    ]
}

/// What the operator's tool writes, of the loader of this host.
fn on_a_machine(bench: &Bench) -> Vec<Value> {
    served::boot(&bench.path("base"), &bench.path("kernel.sock")).unwrap();
    let ctl = |status: i32, line: &str| {
        bench.run(
            status,
            &format!("xsplice-ctl --json --socket kernel.sock {line}"),
        )
    };
    vec![
        ctl(0, "info"),
        ctl(0, "load first.xsplice"),
        ctl(0, "list"),
        ctl(0, "get first"),
        ctl(0, "dump"),
        ctl(0, "revert first"),
        ctl(1, "get none"),
        ctl(1, "upload none gone.xsplice"),
    ]
}
