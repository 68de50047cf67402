//! What a payload was made from can be checked by whoever receives it, with payload, base and the
//! signed statement alone; nothing else passes for it; and it is the same wherever it is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use xsplice_tests::tools::{self, Run, limited};

const SOURCE: &str = "int limit = 3;\nint depth(int x)\n{\n    return x * limit;\n}\n";
const PATCH: &str = "--- a/a.c\n+++ b/a.c\n@@ -3,3 +3,3 @@\n {\n-    return x * limit;\n\
                     +    return x * limit + 1;\n }\n";

/// Two builds, their image, and a key.
struct House {
    folder: TempDir,
}

impl House {
    fn new() -> House {
        let house = House {
            folder: tempfile::tempdir().unwrap(),
        };
        for tree in ["orig", "patched"] {
            fs::create_dir(house.path(tree)).unwrap();
            fs::write(house.path(tree).join("a.c"), SOURCE).unwrap();
        }
        fs::write(house.path("fix.patch"), PATCH).unwrap();
        house.shell(
            "patch -s -p1 -d patched < fix.patch
             for tree in orig patched; do
                 (cd $tree && gcc -O1 -g -ffunction-sections -fdata-sections -fpie \
                     -fdebug-prefix-map=$PWD=. -fcf-protection=none -c a.c)
             done
             ld -static -nostdlib --build-id=sha1 -e 0 -Ttext=0x400000 -o base orig/a.o
             ld -static -nostdlib --build-id=sha1 -e 0 -Ttext=0x500000 -o other orig/a.o
             for name in key another; do
                 openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=$name -keyout $name.pem \
                     -out $name.cert
             done",
        );
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shell(&self, script: &str) {
        let mut process = Command::new("sh");
        process
            .args(["-ec", script])
            .current_dir(self.folder.path());
        let run = limited(&mut process).unwrap();
        assert_eq!(run.status, Some(0), "{script}: {run:?}");
    }

    fn run(&self, line: &str) -> Run {
        let (tool, arguments) = line.split_once(' ').unwrap();
        tools::run(tool, arguments.split_whitespace(), self.folder.path()).unwrap()
    }

    #[track_caller]
    fn done(&self, line: &str) -> String {
        let run = self.run(line);
        assert_eq!(run.status, Some(0), "{line}: {run:?}");
        run.stdout
    }

    fn make(&self) {
        self.done(
            "xsplice-build --orig orig --patched patched --base base --patch fix.patch \
             --fixes XSA-470 --fixes CVE-2025-1234 --provenance fix.json --sbom fix.cdx.json",
        );
    }

    fn sign(&self) {
        self.done(
            "xsplice-link sign --key key.pem --cert key.cert --provenance fix.json \
             -o signed.xsplice fix.xsplice",
        );
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The statement, decoded by another program.
    fn statement(&self) -> Value {
        let envelope: Value = serde_json::from_slice(&self.read("fix.json")).unwrap();
        fs::write(self.path("b64"), envelope["payload"].as_str().unwrap()).unwrap();
        self.shell("base64 -d b64 > statement");
        serde_json::from_slice(&self.read("statement")).unwrap()
    }
}

const VERIFY: &str = "xsplice-link verify --base base --provenance fix.json";

#[test]
fn payload_base_and_statement_are_enough() {
    let house = House::new();
    house.make();
    let told = house.done(&format!("{VERIFY} fix.xsplice"));
    assert!(
        told.contains("names this payload, base; not given: original, patched, patch; not signed")
    );
    house.sign();
    let empty = tempfile::tempdir().unwrap();
    for file in ["signed.xsplice", "base", "fix.json", "key.cert"] {
        fs::copy(house.path(file), empty.path().join(file)).unwrap();
    }
    let line = format!("{VERIFY} --cert key.cert signed.xsplice");
    let words = line.split_whitespace().skip(1);
    let run = tools::run("xsplice-link", words, empty.path()).unwrap();
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.stdout.contains("; signed by CN=key"), "{run:?}");
    // With everything at hand, all of it is compared; and the payload without its signature is the
    // same payload.
    let all = "--orig orig --patched patched --patch fix.patch";
    let told = house.done(&format!("{VERIFY} {all} fix.xsplice"));
    assert!(
        told.contains("names this payload, base, original, patched, patch;"),
        "{told}"
    );
}

#[test]
fn other_programs_read_and_check_it() {
    let house = House::new();
    house.make();
    house.sign();
    let statement = house.statement();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let subjects = statement["subject"].as_array().unwrap();
    for (subject, file) in subjects.iter().zip(["fix.xsplice", "signed.xsplice"]) {
        assert_eq!(subject["name"], file);
        let sum = subject["digest"]["sha256"].as_str().unwrap();
        house.shell(&format!("echo '{sum}  {file}' | sha256sum --check --quiet"));
    }
    let definition = &statement["predicate"]["buildDefinition"];
    assert_eq!(definition["externalParameters"]["fixes"][0], "XSA-470");
    let function = &definition["internalParameters"]["functions"][0];
    assert_eq!(function["name"], "depth", "{function}");
    let compilers = &definition["internalParameters"]["toolchain"]["original"]["compilers"];
    assert!(
        compilers[0].as_str().unwrap().contains("GCC"),
        "{compilers}"
    );

    // The signature is over the lengths, the type and the statement.
    let envelope: Value = serde_json::from_slice(&house.read("fix.json")).unwrap();
    let kind = envelope["payloadType"].as_str().unwrap();
    let content = house.read("statement");
    let mut signed = format!("DSSEv1 {} {kind} {} ", kind.len(), content.len()).into_bytes();
    signed.extend(&content);
    fs::write(house.path("signed"), signed).unwrap();
    let signature = envelope["signatures"][0]["sig"].as_str().unwrap();
    fs::write(house.path("sig.b64"), signature).unwrap();
    house.shell(
        "base64 -d sig.b64 > sig && openssl x509 -in key.cert -pubkey -noout > public.pem && \
         openssl dgst -sha256 -verify public.pem -signature sig signed",
    );
}

#[test]
fn what_is_not_what_it_says_is_refused() {
    let house = House::new();
    house.make();
    house.sign();
    let refused = |line: &str, said: &str| {
        let run = house.run(line);
        assert_eq!(run.status, Some(2), "{line}: {run:?}");
        let is_line = |text: &&str| text.contains("FAIL") && text.contains(said);
        assert!(
            run.stdout.lines().any(|text| is_line(&text)),
            "{line}: {run:?}"
        );
    };
    refused(
        "xsplice-link verify --base other --provenance fix.json signed.xsplice",
        "it names a base with the build-id",
    );
    fs::write(house.path("fix2.patch"), format!("{PATCH}\n")).unwrap();
    refused(
        &format!("{VERIFY} --patch fix2.patch signed.xsplice"),
        "fix2.patch: is not the patch",
    );
    house.shell("cp -a patched patched2 && touch patched2/note");
    refused(
        &format!("{VERIFY} --patched patched2 signed.xsplice"),
        "patched2: is not the patched",
    );
    refused(
        &format!("{VERIFY} --src orig signed.xsplice"),
        "it names no source",
    );
    refused(
        &format!("{VERIFY} --cert another.cert signed.xsplice"),
        "it is not signed by CN=another",
    );
    house.done(
        "xsplice-build --orig orig --patched patched --base base -n fix -o again.xsplice \
         --fixes XSA-471",
    );
    refused(
        &format!("{VERIFY} again.xsplice"),
        "it is about another payload",
    );

    // A statement that was changed after it was signed.
    let mut envelope: Value = serde_json::from_slice(&house.read("fix.json")).unwrap();
    let text = fs::read_to_string(house.path("fix.json")).unwrap();
    house.statement();
    house.shell("sed -i s/XSA-470/XSA-471/ statement && base64 -w0 statement > b64");
    let changed = String::from_utf8(house.read("b64")).unwrap();
    envelope["payload"] = Value::from(changed);
    fs::write(house.path("fix.json"), envelope.to_string()).unwrap();
    refused(
        &format!("{VERIFY} --cert key.cert signed.xsplice"),
        "it is not signed by CN=key, or was changed since",
    );
    fs::write(house.path("fix.json"), text).unwrap();

    // What is signed is not signed again, and a statement of another payload is not signed at all.
    let sign = "xsplice-link sign --key key.pem --cert key.cert --provenance";
    let run = house.run(&format!("{sign} fix.json -o twice.xsplice fix.xsplice"));
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.stderr.contains("is signed already") && !house.path("twice.xsplice").exists());
    house.make();
    let run = house.run(&format!("{sign} fix.json -o other.xsplice again.xsplice"));
    assert!(
        run.stderr
            .contains("is about another payload than again.xsplice"),
        "{run:?}"
    );
    let run = house.run("xsplice-link verify --base base --provenance fix.patch fix.xsplice");
    assert!(run.stderr.contains("is no provenance"), "{run:?}");
}

#[test]
fn the_same_inputs_give_the_same_statement_wherever_they_are() {
    let (here, there) = (House::new(), House::new());
    for file in ["key.pem", "key.cert"] {
        fs::copy(here.path(file), there.path(file)).unwrap();
    }
    for house in [&here, &there] {
        house.make();
        house.sign();
    }
    for file in ["fix.xsplice", "signed.xsplice", "fix.cdx.json"] {
        assert_eq!(here.read(file), there.read(file), "{file}");
    }
    assert_eq!(here.statement(), there.statement());
    assert_eq!(here.read("fix.json"), there.read("fix.json"));
    let folder = here.folder.path().display().to_string();
    assert!(!here.statement().to_string().contains(&folder));
}

#[test]
fn what_a_payload_mends_is_told_everywhere() {
    let house = House::new();
    house.make();
    let page = house.done("xsplice-link inspect fix.xsplice");
    assert!(
        page.contains("XSA-470") && page.contains("CVE-2025-1234"),
        "{page}"
    );
    let bill = String::from_utf8(house.read("fix.cdx.json")).unwrap();
    assert_eq!(bill.lines().count(), 1);
    let bill: Value = serde_json::from_str(&bill).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    let component = &bill["components"][0];
    let resolves = &component["pedigree"]["patches"][0]["resolves"];
    assert_eq!(resolves[0]["id"], "XSA-470");
    assert_eq!(resolves[1]["id"], "CVE-2025-1234");
    let sum = component["hashes"][0]["content"].as_str().unwrap();
    house.shell(&format!(
        "echo '{sum}  fix.xsplice' | sha256sum --check --quiet"
    ));
}

#[test]
fn no_payload_no_statement() {
    let house = House::new();
    let line =
        "xsplice-build --orig orig --patched orig --base base -n none --provenance none.json";
    assert_eq!(house.run(line).status, Some(3));
    assert!(!Path::new(&house.path("none.json")).exists());
}
