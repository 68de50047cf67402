//! Which builds are made, with which patch, stacked on what; and what decides the result of each.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use globset::{Glob, GlobMatcher};
use xsplice_console::tree::{digest_of, digest_of_file};

use super::below::Below;
use super::result::PatchLine;
use crate::command::arguments::{Arguments, Shard};
use crate::store::Store;
use crate::store::record::BuildRecord;

/// The builds of a run, in order of name.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Those of this shard.
    pub builds: Vec<Planned>,
    /// What is the same for all of them, and for all shards.
    pub run: RunLine,
    /// Which shard this is.
    pub shard: Option<Shard>,
}

/// What all shards of a run have in common.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct RunLine {
    /// Digest of patches and options.
    pub key: String,
    /// Names of all builds of the run, those of other shards too.
    pub builds: Vec<String>,
}

/// One build.
#[derive(Debug)]
pub(crate) struct Planned {
    /// What the store knows of it.
    pub record: BuildRecord,
    /// The patch for it.
    pub patch: PathBuf,
    /// The same, for the result.
    pub patch_line: PatchLine,
    /// What its payload stacks on; or why that cannot be told.
    pub below: Result<Below, String>,
    /// Digest of all that the result depends on.
    pub key: String,
}

impl Plan {
    /// The builds of a store that the command line asks for.
    ///
    /// # Errors
    ///
    /// A pattern that is none or matches no build, and files that cannot be read.
    pub(crate) fn new(arguments: &Arguments, name: &str, store: &Store) -> Result<Plan> {
        let all = store.records()?;
        let wanted = select(&all, &arguments.only)?;
        let patches = Patches::new(arguments, &all)?;
        let options = options_text(arguments, name)?;
        let mut run_text = options.clone();
        for (pattern, _, line) in &patches.special {
            let _ = writeln!(run_text, "patch {} {}", pattern.glob(), line.sha256);
        }
        let _ = writeln!(run_text, "patch {}", patches.of_all.1.sha256);
        let run = RunLine {
            key: digest_of(run_text.as_bytes()),
            builds: wanted.iter().map(|record| record.name.clone()).collect(),
        };
        let mut builds = Vec::new();
        for (index, record) in wanted.into_iter().enumerate() {
            if !arguments.shard.is_none_or(|shard| shard.takes(index)) {
                continue;
            }
            let (patch, patch_line) = patches.of(&record);
            let below = Below::of(arguments.depends.as_deref(), &record);
            let mut text = options.clone();
            let _ = writeln!(text, "build {}", digest_of(record.text()?.as_bytes()));
            let _ = writeln!(text, "patch {}", patch_line.sha256);
            let _ = writeln!(text, "below {}", Below::text(&below)?);
            builds.push(Planned {
                record,
                patch,
                patch_line,
                below,
                key: digest_of(text.as_bytes()),
            });
        }
        Ok(Plan {
            builds,
            run,
            shard: arguments.shard,
        })
    }
}

/// The builds that a pattern of `--only` matches; all without one.
fn select(all: &[BuildRecord], only: &[String]) -> Result<Vec<BuildRecord>> {
    if all.is_empty() {
        bail!("the store holds no builds; `xsplice-store add` keeps one");
    }
    if only.is_empty() {
        return Ok(all.to_vec());
    }
    let mut patterns = Vec::new();
    for text in only {
        patterns.push(pattern("--only", text, all)?);
    }
    let is_wanted = |record: &&BuildRecord| patterns.iter().any(|one| matches(one, record));
    Ok(all.iter().filter(is_wanted).cloned().collect())
}

/// A pattern that matches a build at least: one that matches none is a slip, and would leave builds
/// out in silence.
fn pattern(option: &str, text: &str, all: &[BuildRecord]) -> Result<GlobMatcher> {
    let glob = Glob::new(text).with_context(|| format!("{option} {text}: is no pattern"))?;
    let matcher = glob.compile_matcher();
    if !all.iter().any(|record| matches(&matcher, record)) {
        let names: Vec<_> = all.iter().map(|record| record.name.as_str()).collect();
        bail!(
            "{option} {text}: matches no build; the store holds {}",
            names.join(", ")
        );
    }
    Ok(matcher)
}

/// By name, or by build-id.
fn matches(pattern: &GlobMatcher, record: &BuildRecord) -> bool {
    pattern.is_match(&record.name) || pattern.is_match(&record.build_id)
}

/// The patches of the command line.
struct Patches {
    /// `--patch-for`, in their order.
    special: Vec<(GlobMatcher, PathBuf, PatchLine)>,
    /// `--patch`.
    of_all: (PathBuf, PatchLine),
}

impl Patches {
    fn new(arguments: &Arguments, all: &[BuildRecord]) -> Result<Patches> {
        let patch = arguments.patch.clone();
        let patch = patch.context("--store needs --patch")?;
        let mut special = Vec::new();
        for text in &arguments.patch_for {
            let (glob, path) = text.split_once('=').with_context(|| {
                format!("--patch-for {text}: write PATTERN=FILE, such as '4.17*=fix-4.17.patch'")
            })?;
            let path = PathBuf::from(path);
            let line = patch_line(&path)?;
            special.push((pattern("--patch-for", glob, all)?, path, line));
        }
        let line = patch_line(&patch)?;
        Ok(Patches {
            special,
            of_all: (patch, line),
        })
    }

    /// That of a build: the first that matches.
    fn of(&self, record: &BuildRecord) -> (PathBuf, PatchLine) {
        let mut special = self.special.iter();
        match special.find(|(pattern, ..)| matches(pattern, record)) {
            Some((_, path, line)) => (path.clone(), line.clone()),
            None => self.of_all.clone(),
        }
    }
}

fn patch_line(path: &Path) -> Result<PatchLine> {
    // It is read once here, so that a patch that is none stops everything at once.
    crate::source::patch_file::read(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(PatchLine {
        file: name.into_owned(),
        sha256: digest(path)?,
    })
}

fn digest(path: &Path) -> Result<String> {
    digest_of_file(path).with_context(|| format!("{}: cannot be read", path.display()))
}

/// Options that decide what a payload is, as text. Where results go and how they are told is no
/// part of it.
fn options_text(given: &Arguments, name: &str) -> Result<String> {
    let version = given.tool_version.as_deref();
    let mut text = format!(
        "xsplice {}\nname {name}\nabi {}\n",
        version.unwrap_or(env!("CARGO_PKG_VERSION")),
        given.abi.0.name
    );
    let switches = [
        ("prelink", given.prelink),
        ("no-account", given.no_account),
        ("no-base-proof", given.no_base_proof),
        ("dry-run", given.dry_run),
        ("explain", given.explain),
    ];
    for (option, _) in switches.into_iter().filter(|(_, is_on)| *is_on) {
        let _ = writeln!(text, "{option}");
    }
    for accepted in &given.accept {
        let _ = writeln!(text, "accept {accepted:?}");
    }
    for ignored in &given.ignore_object {
        let _ = writeln!(text, "ignore-object {ignored:?}");
    }
    for fixed in &given.fixes {
        let _ = writeln!(text, "fixes {fixed}");
    }
    let limits = (given.max_functions, given.max_bytes);
    let _ = writeln!(text, "limits {limits:?}");
    let _ = writeln!(text, "xen-depends {:?}", given.xen_depends);
    if let Some(path) = &given.deny {
        let _ = writeln!(text, "deny {}", digest(path)?);
    }
    Ok(text)
}

impl Shard {
    /// Whether it takes the build of this index.
    pub(crate) fn takes(self, index: usize) -> bool {
        index % self.of.get() == self.number.get() - 1
    }
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Shard, Self::Err> {
        const FORM: &str = "write I/N, such as 1/4: the first of four shards";
        let (number, of) = text.split_once('/').ok_or(FORM)?;
        let shard = Shard {
            number: number.parse().map_err(|_| FORM)?,
            of: of.parse().map_err(|_| FORM)?,
        };
        if shard.number > shard.of {
            return Err("there are fewer shards than that; the last of four is 4/4");
        }
        Ok(shard)
    }
}

#[cfg(test)]
mod tests {
    use crate::command::arguments::Shard;

    #[test]
    fn shards_take_each_build_once() {
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"]
            .iter()
            .map(|text| text.parse().expect("a shard"))
            .collect();
        for index in 0..10 {
            let takers = shards.iter().filter(|shard| shard.takes(index)).count();
            assert_eq!(takers, 1, "{index}");
        }
        for text in ["", "1", "0/3", "4/3", "1/0", "a/b", "1/2/3"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
