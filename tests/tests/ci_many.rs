//! The recipes for many builds, run as their services run them: `docs/ci/hotpatch-many.yml` (GitHub
//! Actions), `hotpatch-many.gitlab-ci.yml`, and `hotpatch-many.mk` with `make -j` and GNU parallel.
//! Each must leave the report that a single run makes.
//!
//! Of the services the parts that the recipes use are here: jobs with their matrix, variables,
//! steps of shell that stop at the first error, and artifacts that pass from job to job.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use xsplice_test_objects::shop::{self, FIX, THREE, adding};
use xsplice_tests::compiler;
use xsplice_tests::tools::{self, Run, limited};
use xsplice_tests::workspace;
use yaml_rust2::{Yaml, YamlLoader};

/// What the jobs say instead of `gh`: it hands out what was released.
const GH: &str = "#!/bin/sh\n\
    [ \"$1 $2 $3 $4\" = 'release download builds --pattern' ] || exit 9\n\
    cp \"$RELEASED/$5\" .\n";

/// Three builds in a store, a fix, and what a single run makes of them in `whole`.
fn shipped() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("fix.patch"), FIX).unwrap();
    for (name, config) in THREE {
        shop::make(folder.path(), name, config);
        let built = format!("{name}.built");
        let added = tools::run("xsplice-store", adding(name, &built), folder.path()).unwrap();
        assert_eq!(added.status, Some(0), "{added:?}");
    }
    let words = "--store store --patch fix.patch --abi livepatch -o whole";
    let whole = tools::run("xsplice-build", words.split(' '), folder.path()).unwrap();
    assert_eq!(whole.status, Some(0), "{whole:?}");
    folder
}

/// Runs a script as a step of a job: `sh`, from `folder`, with the commands in the path.
fn step(script: &str, folder: &Path, variables: &BTreeMap<String, String>) -> Run {
    let own = [folder.join("bin"), tools::folder().to_owned()];
    let inherited = env::var_os("PATH").unwrap();
    let path = env::join_paths(own.into_iter().chain(env::split_paths(&inherited))).unwrap();
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).current_dir(folder);
    command.env("PATH", path).envs(variables);
    // Whoever runs the tests under `make` must not have its flags seen by the recipes.
    command.env_remove("MAKEFLAGS");
    command.env(tools::PAYLOAD_VERSION.0, tools::PAYLOAD_VERSION.1);
    let run = limited(&mut command).unwrap();
    assert_eq!(run.status, Some(0), "{script}\n{run:?}");
    run
}

/// The report and the payloads in `results` are those of the single run.
fn is_the_whole(results: &Path, shipped: &Path) {
    let whole = shipped.join("whole");
    let index = |folder: &Path| -> Value {
        serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap()
    };
    assert_eq!(index(results), index(&whole));
    for (name, _) in THREE {
        let payload = Path::new(name).join("fix.xsplice");
        let [one, other] = [results, &whole].map(|folder| fs::read(folder.join(&payload)).unwrap());
        assert!(one == other, "{name}: another payload");
    }
}

fn recipe(name: &str) -> Yaml {
    let text = fs::read_to_string(workspace().join("docs/ci").join(name)).unwrap();
    let mut documents = YamlLoader::load_from_str(&text).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn text(yaml: &Yaml) -> &str {
    yaml.as_str().unwrap_or_else(|| panic!("{yaml:?}: no text"))
}

/// The entries of a mapping whose values are texts.
fn texts(yaml: &Yaml) -> BTreeMap<String, String> {
    let entries = yaml.as_hash().into_iter().flatten();
    entries
        .map(|(key, value)| {
            let value = value.as_i64().map_or_else(
                || value.as_str().unwrap().to_owned(),
                |number| number.to_string(),
            );
            (text(key).to_owned(), value)
        })
        .collect()
}

fn copy(from: &Path, to: &Path) {
    let run = limited(Command::new("cp").arg("-a").args([from, to])).unwrap();
    assert_eq!(run.status, Some(0), "{run:?}");
}

/// Copies what a pattern of artifacts names: a name, or one that ends with `*`.
fn pass_on(pattern: &str, from: &Path, to: &Path) {
    let mut found = 0;
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_meant = match pattern.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => name == pattern,
        };
        if is_meant {
            copy(&from.join(&name), &to.join(&name));
            found += 1;
        }
    }
    assert!(found > 0, "{pattern}: no such artifact");
}

#[test]
fn the_recipe_for_gitlab_makes_one_report_of_all_shards() {
    let shipped = shipped();
    let recipe = recipe("hotpatch-many.gitlab-ci.yml");
    let artifacts = tempfile::tempdir().unwrap();
    let mut result: Option<(Vec<PathBuf>, String)> = None;
    for stage in recipe["stages"].as_vec().unwrap() {
        // Each job has a clone of its own, and the artifacts of the stages before.
        let mut left = Vec::new();
        let jobs = recipe.as_hash().unwrap().iter();
        for (name, job) in jobs.filter(|(_, job)| job["stage"] == *stage) {
            let nodes = job["parallel"].as_i64().unwrap_or(1);
            for node in 1..=nodes {
                let clone = artifacts.path().join(format!("{}-{node}", text(name)));
                fs::create_dir(&clone).unwrap();
                fs::copy(shipped.path().join("fix.patch"), clone.join("fix.patch")).unwrap();
                if let Some((from, pattern)) = &result {
                    for from in from {
                        pass_on(pattern, from, &clone);
                    }
                }
                let mut variables = texts(&recipe["variables"]);
                for (variable, value) in [
                    ("CI_NODE_INDEX", node.to_string()),
                    ("CI_NODE_TOTAL", nodes.to_string()),
                    ("STORE", shipped.path().join("store").display().to_string()),
                    ("PATCH", "fix.patch".to_owned()),
                ] {
                    variables.insert(variable.to_owned(), value);
                }
                let script = job["script"].as_vec().unwrap().iter().map(text);
                step(&script.collect::<Vec<_>>().join("\n"), &clone, &variables);
                left.push((clone, text(&job["artifacts"]["paths"][0]).to_owned()));
            }
        }
        assert!(!left.is_empty(), "{stage:?}: no job");
        let pattern = left[0].1.clone();
        result = Some((left.into_iter().map(|(clone, _)| clone).collect(), pattern));
    }
    let (clones, pattern) = result.unwrap();
    is_the_whole(&clones[0].join(pattern), shipped.path());
}

/// Puts in what stands in `${{ }}`.
fn expanded(text: &str, values: &BTreeMap<&str, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${{ ") {
        let (name, behind) = behind.split_once(" }}").unwrap();
        out.push_str(before);
        out.push_str(
            values
                .get(name)
                .unwrap_or_else(|| panic!("{name}: unknown")),
        );
        rest = behind;
    }
    out + rest
}

/// Runs the steps of a job of GitHub Actions in `folder`; what it uploads goes to `uploads`, and
/// what it downloads comes from there.
fn job_of_github(
    recipe: &Yaml,
    name: &str,
    values: &BTreeMap<&str, String>,
    folder: &Path,
    uploads: &Path,
) {
    let job = &recipe["jobs"][name];
    let mut variables = texts(&recipe["env"]);
    variables.extend(texts(&job["env"]));
    for value in variables.values_mut() {
        *value = expanded(value, values);
    }
    let released = folder.parent().unwrap().join("released");
    variables.insert("RELEASED".to_owned(), released.display().to_string());
    for one in job["steps"].as_vec().unwrap() {
        if let Some(script) = one["run"].as_str() {
            step(script, folder, &variables);
            continue;
        }
        let with = |key: &str| expanded(text(&one["with"][key]), values);
        match text(&one["uses"]).split_once('@').unwrap().0 {
            "actions/checkout" => {}
            "actions/upload-artifact" => {
                let to = uploads.join(with("name"));
                copy(&folder.join(with("path")), &to);
            }
            "actions/download-artifact" => {
                // Without a name: each in a folder of its name.
                pass_on("results-*", uploads, folder);
            }
            other => panic!("{other}: not known here"),
        }
    }
}

#[test]
fn the_recipe_for_github_makes_one_report_of_all_shards() {
    if !compiler::exists("zstd") {
        eprintln!("skipped: no zstd here (apt-get install zstd)");
        return;
    }
    let shipped = shipped();
    let recipe = recipe("hotpatch-many.yml");
    let place = tempfile::tempdir().unwrap();
    let (released, uploads) = (place.path().join("released"), place.path().join("uploads"));
    for folder in [&released, &uploads] {
        fs::create_dir(folder).unwrap();
    }
    let packed = released.join("store.tar.zst");
    let mut tar = Command::new("tar");
    tar.arg("--zstd").arg("-cf").arg(packed).arg("store");
    let run = limited(tar.current_dir(shipped.path())).unwrap();
    assert_eq!(run.status, Some(0), "{run:?}");

    let shards = &recipe["jobs"]["hotpatch"]["strategy"]["matrix"]["shard"];
    let shards: Vec<i64> = shards
        .as_vec()
        .unwrap()
        .iter()
        .filter_map(Yaml::as_i64)
        .collect();
    let total = texts(&recipe["env"])["SHARDS"].clone();
    assert_eq!(
        total,
        shards.len().to_string(),
        "all shards are in the matrix"
    );
    let clone = |name: &str| {
        let folder = place.path().join(name);
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::copy(shipped.path().join("fix.patch"), folder.join("fix.patch")).unwrap();
        fs::write(folder.join("bin/gh"), GH).unwrap();
        step("chmod +x bin/gh", &folder, &BTreeMap::new());
        folder
    };
    let values = |shard: String| {
        let texts = [
            ("inputs.patch", "fix.patch"),
            ("inputs.only", "*"),
            ("github.token", "none"),
            ("github.repository", "shop/fixes"),
            ("matrix.shard", &shard),
        ];
        BTreeMap::from(texts.map(|(key, value)| (key, value.to_owned())))
    };
    for shard in &shards {
        let folder = clone(&format!("shard-{shard}"));
        let values = values(shard.to_string());
        job_of_github(&recipe, "hotpatch", &values, &folder, &uploads);
    }
    let needed = text(&recipe["jobs"]["report"]["needs"]);
    assert_eq!(needed, "hotpatch");
    let folder = clone("report");
    job_of_github(&recipe, "report", &values(String::new()), &folder, &uploads);
    is_the_whole(&uploads.join("hotpatch"), shipped.path());
}

#[test]
fn make_and_gnu_parallel_share_the_work_among_processes() {
    let shipped = shipped();
    let path = workspace().join("docs/ci/hotpatch-many.mk");
    let fragment = fs::read_to_string(&path).unwrap();
    let none = BTreeMap::new();
    let of_make = format!(
        "make -f {} -j2 N=2 STORE=store PATCH=fix.patch RESULTS=made OPTIONS='--abi livepatch'",
        path.display()
    );
    step(&of_make, shipped.path(), &none);
    is_the_whole(&shipped.path().join("made"), shipped.path());
    // What was made stays.
    let again = step(&of_make, shipped.path(), &none);
    assert_eq!(
        again.stdout.matches("(of an earlier run)").count(),
        THREE.len()
    );

    // As its comment says it, but for the folder of the store.
    if !compiler::exists("parallel") {
        eprintln!("skipped: no GNU parallel here (apt-get install parallel)");
        return;
    }
    let lines = fragment
        .lines()
        .filter_map(|line| line.strip_prefix("#   "));
    let lines = lines.skip_while(|line| !line.starts_with("parallel"));
    let script: Vec<&str> = lines.collect();
    assert_eq!(script.len(), 2, "{script:?}");
    let script = script.join("\n").replace("builds", "store");
    let script = script.replace("--shard", "--abi livepatch --shard");
    step(&script, shipped.path(), &none);
    is_the_whole(&shipped.path().join("results"), shipped.path());
}
