//! The command line of `xsplice-build`, as the user may write it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};

/// Turns two builds of a hypervisor or kernel into a payload that patches the running one.
///
/// ORIG is the object tree of the very build that was shipped and is running; PATCHED is the same
/// source with the fix, built with the same compiler and flags. Functions that differ go into the
/// payload. Nothing is written when any difference cannot be carried: every such difference is
/// listed instead.
#[derive(Clone, Debug, Parser)]
#[command(name = "xsplice-build", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(override_usage = USAGE)]
pub struct Arguments {
    /// Objects of the build that runs: a tree, or one object
    #[arg(id = "orig", long = "orig", value_name = "DIR|FILE")]
    #[arg(required_unless_present_any = ["explain_code", "src"])]
    pub given_orig: Option<PathBuf>,

    /// Objects of the patched build: a tree, or one object
    #[arg(id = "patched", long = "patched", value_name = "DIR|FILE")]
    #[arg(required_unless_present_any = ["explain_code", "src"], conflicts_with = "src")]
    pub given_patched: Option<PathBuf>,

    /// The original tree: the given one, or the one that was built
    #[arg(skip)]
    pub orig: PathBuf,

    /// The patched tree: the given one, or the one that was built
    #[arg(skip)]
    pub patched: PathBuf,

    /// Source of the build that runs; both builds are made from it, in copies
    ///
    /// The patch is applied to one of the copies. The folder itself is never written to. With
    /// --orig, that is the original build and only the patched one is made.
    #[arg(long, value_name = "DIR", requires = "patch", requires = "make")]
    pub src: Option<PathBuf>,

    /// The command that builds SRC, such as 'make -j2'; it runs in the copies
    #[arg(long, value_name = "COMMAND", requires = "src")]
    pub make: Option<String>,

    /// Where the copies of SRC live [default: NAME.work]
    ///
    /// Both trees stay there. The original one is used again when source, command and environment
    /// are the same.
    #[arg(long, value_name = "DIR", requires = "src")]
    pub work: Option<PathBuf>,

    /// The linked image that runs, with symbols and build-id (such as xen-syms)
    ///
    /// Without it, ORIG must hold exactly one such image.
    #[arg(long, visible_alias = "xen-syms", value_name = "ELF")]
    pub base: Option<PathBuf>,

    /// Where to write the payload [default: NAME.xsplice]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Name of the payload [default: from --patch, else from the PATCHED folder]
    #[arg(short, long)]
    pub name: Option<String>,

    /// Which loader the payload is for
    #[arg(long, default_value = "xsplice", value_parser = ["xsplice", "xsplice-v1", "livepatch"])]
    pub abi: String,

    /// Build-id of what the payload stacks on: hex, an image or a payload [default: the base]
    #[arg(long, value_name = "HEX|ELF")]
    pub depends: Option<String>,

    /// Build-id of the base: hex or an image [default: the base]
    #[arg(long, value_name = "HEX|ELF")]
    pub xen_depends: Option<String>,

    /// Make references to the base absolute instead of leaving them to the loader
    #[arg(long, visible_alias = "resolve")]
    pub prelink: bool,

    /// The source patch: what became of each of its hunks is told and proven
    ///
    /// The payload is named after it. A hunk whose code is in neither the payload nor accepted is
    /// refused; without line tables (-g) nothing can be proven.
    #[arg(long, value_name = "FIX.patch")]
    pub patch: Option<PathBuf>,

    /// Accept what would be refused, such as `data:NAME`, `line-numbers` or `hunk:FILE:LINE`
    #[arg(long, value_name = "WHAT", value_parser = xsplice_diff::refuse::acknowledgement)]
    pub accept: Vec<String>,

    /// Leave out objects whose path matches
    #[arg(long, value_name = "GLOB")]
    pub ignore_object: Vec<String>,

    /// Functions that must never be patched, one name a line
    #[arg(long, value_name = "FILE")]
    pub deny: Option<PathBuf>,

    /// Refuse when more functions than this would be replaced
    #[arg(long, value_name = "N")]
    pub max_functions: Option<usize>,

    /// Refuse when the functions of the payload hold more bytes than this
    #[arg(long, value_name = "N")]
    pub max_bytes: Option<u64>,

    /// Do not compare the original objects with the base (recorded in the payload)
    #[arg(long)]
    pub no_base_proof: bool,

    /// Link a second time in another order and compare the bytes
    #[arg(long)]
    pub verify_reproducible: bool,

    /// Threads to use [default: one a core]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<usize>,

    /// Write the report as JSON; `-` is standard output
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,

    /// Write the report as one self-contained HTML page, to be read and signed off
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Show for every function why it is in the payload, down to the instructions
    #[arg(long)]
    pub explain: bool,

    /// Explain a code of a refusal or reason and exit; `list` names them all
    #[arg(long, value_name = "CODE")]
    pub explain_code: Option<String>,

    /// Do everything but write the payload
    #[arg(long)]
    pub dry_run: bool,

    /// Say more: each object that was looked at, each difference that was ignored
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,

    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
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

const USAGE: &str = "\
xsplice-build --orig <DIR|FILE> --patched <DIR|FILE> [OPTIONS]
       xsplice-build --src <DIR> --patch <FIX.patch> --make <COMMAND> [OPTIONS]";

const AFTER_HELP: &str = "\
Exit status: 0 a payload was made; 1 could not run; 2 refused, every reason is listed; \
3 no functional change.";

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
        assert!(matches!(
            parse("xsplice-build --explain-code hook"),
            Ok(Request::ExplainCode(_))
        ));
    }
}
