//! The command line of `xsplice-build`, as the user may write it.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};
use xsplice_abi::profile::{self, Abi};
use xsplice_diff::command::abi;

use crate::command::voice::Story;

/// Turns two builds of a hypervisor or kernel into a payload that patches the running one.
///
/// ORIG is the object tree of the very build that was shipped and is running; PATCHED is the same
/// source with the fix, built in the same folder with the same compiler and flags. Functions that
/// differ go into the payload, with what they need. Before anything is written, the original
/// objects are compared with the image that runs, and the finished payload is checked by the
/// loader's own code. Nothing is written when any difference cannot be carried: every such
/// difference is listed instead, with what would make it right.
#[derive(Clone, Debug, Parser)]
#[command(name = "xsplice-build", version, max_term_width = 100)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP, override_usage = USAGE)]
pub struct Arguments {
    /// Objects of the build that runs: a tree, or one object
    ///
    /// The very build that was shipped, not a rebuild of it: a rebuild may place or compile things
    /// otherwise, and the comparison with the base would say so. Objects in archives (.a) count
    /// where they exist nowhere else.
    #[arg(id = "orig", long = "orig", value_name = "DIR|FILE", help_heading = TWO_BUILDS)]
    #[arg(required_unless_present_any = ["explain_code", "src", "store"])]
    pub given_orig: Option<PathBuf>,

    /// Objects of the patched build: a tree, or one object
    #[arg(id = "patched", long = "patched", value_name = "DIR|FILE", help_heading = TWO_BUILDS)]
    #[arg(required_unless_present_any = ["explain_code", "src", "store"])]
    #[arg(conflicts_with = "src")]
    pub given_patched: Option<PathBuf>,

    /// The original tree: the given one, or the one that was built
    #[arg(skip)]
    pub orig: PathBuf,

    /// The patched tree: the given one, or the one that was built
    #[arg(skip)]
    pub patched: PathBuf,

    /// Where messages go instead of the terminal, when this is one of many builds
    #[arg(skip)]
    pub story: Option<Story>,

    /// The linked image that runs, with symbols and build-id (such as xen-syms)
    ///
    /// Without it, ORIG must hold exactly one such image; several are listed. The payload carries
    /// its build-id, and a loader takes it on no other.
    #[arg(long, visible_alias = "xen-syms", value_name = "ELF", help_heading = TWO_BUILDS)]
    pub base: Option<PathBuf>,

    /// The linked image of the patched build, or `none` [default: found in PATCHED]
    ///
    /// What only a link decides is compared with the base: the order of tables, which of several
    /// definitions is used. By default it is the image that stands in PATCHED where the base stands
    /// in ORIG, or the only one. Without one, the report says that the link was not compared.
    #[arg(long, value_name = "ELF|none", help_heading = TWO_BUILDS)]
    pub patched_base: Option<PathBuf>,

    /// Source of the build that runs; both builds are made from it, in copies
    ///
    /// The patch is applied to one of the copies. The folder itself is never written to. With
    /// --orig, that is the original build and only the patched one is made.
    #[arg(long, value_name = "DIR", requires = "patch", requires = "make")]
    #[arg(help_heading = FROM_SOURCE)]
    pub src: Option<PathBuf>,

    /// The command that builds SRC, such as 'make -j2'; it runs in the copies
    #[arg(long, value_name = "COMMAND", requires = "src", help_heading = FROM_SOURCE)]
    pub make: Option<String>,

    /// Make a payload for each build of a store, which `xsplice-store` keeps
    ///
    /// The patch is applied to the source of each build; objects, base and build command are those
    /// of the store. One that fails does not stop the others, and a run that was interrupted goes
    /// on where it stopped.
    #[arg(long, value_name = "DIR", requires = "patch", help_heading = MANY_BUILDS)]
    #[arg(conflicts_with_all = ["orig", "patched", "src", "base", "verify_reproducible"])]
    pub store: Option<PathBuf>,

    /// Only the builds whose name or build-id matches
    #[arg(long, value_name = "GLOB", requires = "store", help_heading = MANY_BUILDS)]
    #[arg(conflicts_with_all = ["orig", "patched", "src"])]
    pub only: Vec<String>,

    /// Another patch for the builds whose name or build-id matches; the first that matches counts
    ///
    /// For a build to which the fix had to be ported: '4.17*=fix-4.17.patch'.
    #[arg(long, value_name = "GLOB=FILE", requires = "store", help_heading = MANY_BUILDS)]
    #[arg(conflicts_with_all = ["orig", "patched", "src"])]
    pub patch_for: Vec<String>,

    /// Every N-th build, beginning with the I-th; for N machines
    ///
    /// `xsplice-store merge` joins the results.
    #[arg(long, value_name = "I/N", requires = "store", help_heading = MANY_BUILDS)]
    #[arg(conflicts_with_all = ["orig", "patched", "src"])]
    pub shard: Option<Shard>,

    /// The source patch: what became of each of its hunks is told and proven
    ///
    /// Works with two builds as well. The payload is named after it. A hunk whose code is in
    /// neither the payload nor accepted is refused; without line tables (-g) nothing can be proven.
    #[arg(long, value_name = "FIX.patch", help_heading = FROM_SOURCE)]
    pub patch: Option<PathBuf>,

    /// Where the copies of SRC live [default: NAME.work]
    ///
    /// Both trees stay there, and a log of each build. The original one is used again when source,
    /// command and environment are the same. Keep it as long as the payload's image runs: the next
    /// fix is made from it.
    #[arg(long, value_name = "DIR", requires = "src", help_heading = FROM_SOURCE)]
    pub work: Option<PathBuf>,

    /// Apply the patch as it is, so that lines behind a hunk move
    ///
    /// Without it, and where the build has no line tables (`-g`) that prove numbers of lines,
    /// `#line` gives them the numbers that they had in the copy that is built, so that `__LINE__`
    /// is the same in what the patch does not touch. Give it where something besides the compiler
    /// reads the sources and does not know `#line`.
    #[arg(long, requires = "src", help_heading = FROM_SOURCE)]
    pub move_lines: bool,

    /// Where to write the payload [default: NAME.xsplice]
    ///
    /// With --store, the folder that all results go into [default: NAME.builds].
    #[arg(short, long, value_name = "FILE", help_heading = PAYLOAD)]
    pub output: Option<PathBuf>,

    /// Name of the payload [default: from --patch, else from the PATCHED folder]
    ///
    /// What operators type and loaders list: 1 to 127 letters, digits, dots, dashes, underscores.
    #[arg(short, long, help_heading = PAYLOAD)]
    pub name: Option<String>,

    /// Which loader the payload is for
    ///
    /// xsplice: the bundled runtime. xsplice-v1: the design as merged into Xen in 2016. livepatch:
    /// Xen 4.14 to today.
    #[arg(long, default_value = profile::XSPLICE.name, value_parser = abi())]
    #[arg(help_heading = PAYLOAD)]
    pub abi: Abi,

    /// Build-id of what the payload stacks on: hex, an image or a payload [default: the base]
    ///
    /// Name the payload that will be on top when this one is applied. Given as a file, the two are
    /// checked together, and functions that both replace are pointed out. With --store, name the
    /// folder of an earlier run: each build stacks on the payload that was made for it there.
    #[arg(long, value_name = "HEX|ELF", help_heading = PAYLOAD)]
    pub depends: Option<String>,

    /// Build-id of the base: hex or an image [default: the base]
    ///
    /// For an image that was linked from the same objects and has another id, such as xen.efi.
    #[arg(long, value_name = "HEX|ELF", help_heading = PAYLOAD)]
    pub xen_depends: Option<String>,

    /// What the payload mends, such as XSA-470 or CVE-2025-1234
    ///
    /// It is recorded in the payload, where `xsplice-link inspect` and the list of a running system
    /// show it, and in the reports.
    #[arg(long, value_name = "ID", value_parser = advisory, help_heading = PAYLOAD)]
    pub fixes: Vec<String>,

    /// The version of the tool that the payload names; for comparing releases byte by byte
    #[arg(
        long,
        value_name = "VERSION",
        env = "XSPLICE_TOOL_VERSION",
        hide = true
    )]
    pub tool_version: Option<String>,

    /// Make references to the base absolute instead of leaving them to the loader
    ///
    /// For loaders that cannot look names up. Refused where the base is not the file that boots.
    #[arg(long, visible_alias = "resolve", help_heading = PAYLOAD)]
    pub prelink: bool,

    /// Do everything but write the payload
    #[arg(long, help_heading = RUN)]
    pub dry_run: bool,

    /// Accept what would be refused, such as `data:NAME`, `line-numbers` or `hunk:FILE:LINE`
    ///
    /// Say it of what you have dealt with: by a hook, a shadow variable, or because it was done
    /// when the system booted. It is recorded in the payload. Each refusal says the words that
    /// accept it; XSPLICE_ACCEPT of xsplice.h says them in the source, beside the change.
    #[arg(long, value_name = "WHAT", value_parser = xsplice_diff::verdict::accept::accept_value)]
    #[arg(help_heading = LIMITS)]
    pub accept: Vec<String>,

    /// Also replace functions that differ in nothing but the date or time of the build
    #[arg(long)]
    pub with_stamps: bool,

    /// Leave out objects whose path matches
    ///
    /// Paths are those below ORIG and PATCHED; quote the pattern: 'tools/**'.
    #[arg(long, value_name = "GLOB", help_heading = LIMITS)]
    pub ignore_object: Vec<String>,

    /// Functions that must never be patched, one name a line
    ///
    /// Or ranges of text, `START .. END`. For code in which a CPU may be while others stand still.
    #[arg(long, value_name = "FILE", help_heading = LIMITS)]
    pub deny: Option<PathBuf>,

    /// Refuse when more functions than this would be replaced
    ///
    /// A small fix that replaces many functions has rippled: a header changed, or the flags did.
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub max_functions: Option<usize>,

    /// Refuse when the functions of the payload hold more bytes than this
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub max_bytes: Option<u64>,

    /// Do not look for a place for every byte of both builds (recorded in the payload)
    ///
    /// The account is a second look that shares no rule with the comparison. It needs every object
    /// that the base was linked from; this is for trees of which some are not at hand.
    #[arg(long, help_heading = LIMITS)]
    pub no_account: bool,

    /// Do not compare the original objects with the base (recorded in the payload)
    ///
    /// Then nothing says that these objects are those of the build that runs.
    #[arg(long, help_heading = LIMITS)]
    pub no_base_proof: bool,

    /// Write the report as one self-contained HTML page, to be read and signed off
    ///
    /// On a refusal too, and when nothing changed. With --store, the index of all builds goes there
    /// besides.
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    pub html: Option<PathBuf>,

    /// Write the report as JSON; `-` is standard output
    ///
    /// Fields may be added; any other change raises `schema`. With `-`, standard output holds
    /// nothing else. With --store, it is the index of all builds.
    #[arg(long, value_name = "FILE|-", help_heading = REPORTS)]
    pub json: Option<PathBuf>,

    /// Write what the payload was made from: a statement to be signed by `xsplice-link sign`
    ///
    /// An in-toto statement with SLSA provenance in a DSSE envelope: digests of base, patch and
    /// trees, compilers, options, and what was accepted. The same inputs give the same bytes. With
    /// --store, each build gets one without this option.
    #[arg(long, value_name = "FILE", conflicts_with = "store", help_heading = REPORTS)]
    pub provenance: Option<PathBuf>,

    /// Write a line of a CycloneDX bill of materials: the payload, its base, and what it mends
    #[arg(long, value_name = "FILE", conflicts_with = "store", help_heading = REPORTS)]
    pub sbom: Option<PathBuf>,

    /// Show for every function why it is in the payload, down to the instructions
    #[arg(long, help_heading = REPORTS)]
    pub explain: bool,

    /// Explain a code of a refusal or reason and exit; `list` names them all
    #[arg(long, value_name = "CODE", help_heading = REPORTS)]
    pub explain_code: Option<String>,

    /// Say more: each object that was looked at, each difference that was ignored
    #[arg(short, long, conflicts_with = "quiet", help_heading = RUN)]
    pub verbose: bool,

    /// Say nothing but errors
    #[arg(short, long, help_heading = RUN)]
    pub quiet: bool,

    /// Threads to use [default: one a core]
    ///
    /// The bytes that come out are the same for any number.
    #[arg(short, long, value_name = "N", help_heading = RUN)]
    pub jobs: Option<usize>,

    /// Link a second time in another order and compare the bytes
    #[arg(long, help_heading = RUN)]
    pub verify_reproducible: bool,
}

/// An identifier of a vulnerability or an advisory, as `--fixes` takes it.
fn advisory(text: &str) -> Result<String, &'static str> {
    const BYTES_MAX: usize = 64;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let is_plain = |text: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
        text.len() <= BYTES_MAX && text.bytes().all(plain)
    };
    let (kind, rest) = text
        .split_once('-')
        .ok_or("write an identifier such as XSA-470 or CVE-2025-1234")?;
    let is_right = match kind {
        "XSA" => is_number(rest),
        "CVE" => rest
            .split_once('-')
            .is_some_and(|(year, number)| is_number(year) && is_number(number)),
        _ => !rest.is_empty(),
    };
    if !is_right || kind.is_empty() || !is_plain(text) {
        return Err("write an identifier such as XSA-470 or CVE-2025-1234");
    }
    Ok(text.to_owned())
}

/// A part of the builds of a store: every `of`-th, beginning with the `number`-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    pub number: NonZeroUsize,
    /// How many parts there are.
    pub of: NonZeroUsize,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Request {
    /// A payload.
    Build(Box<Arguments>),
    /// The page of a code, and nothing else.
    ExplainCode(String),
}

impl Request {
    /// Reads a command line; its first word is the program.
    ///
    /// # Errors
    ///
    /// clap's: usage, or a request for help.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Request, clap::Error> {
        let matches = Arguments::command().try_get_matches_from(words)?;
        // Asked for alone, the arguments of a build are missing, so it is looked at first.
        match matches.get_one::<String>("explain_code") {
            Some(code) => Ok(Request::ExplainCode(code.clone())),
            None => {
                let mut arguments = Arguments::from_arg_matches(&matches)?;
                arguments.orig = arguments.given_orig.clone().unwrap_or_default();
                arguments.patched = arguments.given_patched.clone().unwrap_or_default();
                Ok(Request::Build(Box::new(arguments)))
            }
        }
    }
}

const TWO_BUILDS: &str = "Two builds";
const FROM_SOURCE: &str = "From source and patch";
const MANY_BUILDS: &str = "Many builds";
const PAYLOAD: &str = "Payload";
const LIMITS: &str = "What is refused";
const REPORTS: &str = "Reports";
const RUN: &str = "How it runs";

const USAGE: &str = "\
xsplice-build --orig <DIR|FILE> --patched <DIR|FILE> [OPTIONS]
       xsplice-build --src <DIR> --patch <FIX.patch> --make <COMMAND> [OPTIONS]
       xsplice-build --store <DIR> --patch <FIX.patch> [OPTIONS]";

const AFTER_HELP: &str = "\
Exit status: 0 a payload was made; 1 could not run; 2 refused, every reason is listed; \
3 no functional change. With --store: 0 all were made; 1 some could not run; 2 some were refused.";

const AFTER_LONG_HELP: &str = "\
Examples:
  xsplice-build --orig shipped --patched build --patch fix.patch --html fix.html
          From two builds; each hunk of the patch is followed, and one page tells all.
  xsplice-build --orig shipped --patched build --base shipped/xen/xen-syms --abi livepatch
          For Xen.
  xsplice-build --src xen --patch fix.patch --make 'make -j2'
          From a source; both builds are made in copies.
  xsplice-build --store builds --patch fix.patch --only '4.17*'
          For every shipped build of 4.17 that the store keeps.
  xsplice-build --explain-code changed-data
          What a refusal means, with an example and the ways out.

Exit status:
  0  a payload was made
  1  could not run: usage, input that cannot be read, a build that failed
  2  refused, causes first (-v and --json list every reason); no payload was written
  3  no functional change
With --store: 0 all were made, or have nothing to change; 1 some could not run; \
2 some were refused; 3 none has anything to change.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Arguments, Request};

    fn parse(line: &str) -> Result<Request, clap::Error> {
        Request::parse(line.split(' ').map(Into::into))
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_build_needs_both_trees_and_an_explanation_needs_none() {
        assert!(parse("xsplice-build").is_err());
        assert!(parse("xsplice-build --orig a").is_err());
        assert!(matches!(
            parse("xsplice-build --orig a --patched b"),
            Ok(Request::Build(_))
        ));
        assert!(matches!(
            parse("xsplice-build --src s --patch p --make make"),
            Ok(Request::Build(_))
        ));
        assert!(parse("xsplice-build --src s --patch p").is_err());
        assert!(parse("xsplice-build --src s --make make").is_err());
        assert!(parse("xsplice-build --src s --patch p --make m --patched b").is_err());
        assert!(parse("xsplice-build --orig a --patched b --work w").is_err());
        assert!(parse("xsplice-build --store s --patch p --only x --shard 1/2").is_ok());
        assert!(parse("xsplice-build --store s").is_err());
        let fixing = |id: &str| parse(&format!("xsplice-build --orig a --patched b --fixes {id}"));
        for id in ["XSA-470", "CVE-2025-1234", "GHSA-x1.y"] {
            assert!(fixing(id).is_ok(), "{id}");
        }
        for id in [
            "470",
            "XSA-",
            "XSA-x",
            "CVE-2025",
            "CVE-2025-x",
            "A-b=c",
            "-1",
        ] {
            assert!(fixing(id).is_err(), "{id}");
        }
        assert!(parse("xsplice-build --store s --patch p --src x --make m").is_err());
        assert!(parse("xsplice-build --src s --patch p --make m --only x").is_err());
        assert!(parse("xsplice-build --store s --patch p --shard 3/2").is_err());
        assert!(matches!(
            parse("xsplice-build --explain-code hook"),
            Ok(Request::ExplainCode(_))
        ));
    }
}
