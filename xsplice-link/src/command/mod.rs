//! The command line of `xsplice-link`.

pub mod input;
pub mod output;

mod inspect;
mod link;
mod objects;
mod report;
mod sign;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use xsplice_abi::profile::{self, Abi};
pub use xsplice_console::ExitStatus;
use xsplice_diff::command::abi;

use crate::error::LinkError;

/// Links extracts into a payload, and inspects, verifies and signs payloads.
///
/// `xsplice-build` links and verifies by itself; this command does the steps one by one, and looks
/// at payloads that somebody else made.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit status: 0 done; 1 could not run; 2 refused (link) or would not be taken (verify), every \
reason is listed.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Link extracts against the base into a payload
    ///
    /// Proves the original code of each replaced function against the base, resolves what the new
    /// code refers to, and writes a payload. Nothing is written when anything is refused.
    #[command(after_help = AFTER_HELP)]
    Link(LinkArguments),
    /// Show what is in a payload
    ///
    /// Everything, for a person: what it replaces and depends on, its code and data, hooks, tables
    /// and signature. Nothing is judged; `verify` judges.
    Inspect(InspectArguments),
    /// Check that the loader would take a payload on this base
    ///
    /// Runs the loader's own checks, and those that need the base: names, addresses, sizes, bytes.
    /// One line a check: `ok`, `FAIL` with the error number that the loader would return, or `--`
    /// for what nothing was given to check against. Works on anybody's payloads.
    #[command(after_help = AFTER_HELP)]
    Verify(VerifyArguments),
    /// Put a signature behind a payload
    ///
    /// In the form of signed kernel modules: RSA with SHA-256 over the whole payload, then the
    /// signer's name, the key's id and a trailer. A loader that was given the certificate takes no
    /// others.
    Sign(SignArguments),
}

#[derive(Debug, Args)]
struct LinkArguments {
    /// The linked image that runs, with symbols and build-id (such as xen-syms)
    #[arg(long, visible_alias = "xen-syms", value_name = "ELF")]
    base: PathBuf,
    /// The payload to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The payload's name [default: the output's, without its extension]
    #[arg(short, long)]
    name: Option<String>,
    /// Which loader the payload is for: that of the extracts
    #[arg(long, default_value = profile::XSPLICE.name, value_name = "ABI", value_parser = abi())]
    abi: Abi,
    /// What it stacks on: a build-id, an image or a payload [default: the base]
    #[arg(long, value_name = "HEX|ELF")]
    depends: Option<String>,
    /// Build-id of the base: hex or an image [default: the base]
    ///
    /// For an image that was linked from the same objects and has another id, such as xen.efi.
    #[arg(long, value_name = "HEX|ELF")]
    xen_depends: Option<String>,
    /// Write the base's addresses instead of names
    ///
    /// For loaders that cannot look names up. Refused where the base is not the file that boots.
    #[arg(long, visible_alias = "resolve")]
    prelink: bool,
    /// Do not prove the replaced functions against the base; recorded in the payload
    #[arg(long)]
    no_base_proof: bool,
    /// A new global that later payloads may refer to
    ///
    /// It keeps its own name; everything else that is new gets the payload's name in front.
    #[arg(long = "export", value_name = "SYMBOL")]
    exports: Vec<String>,
    /// The version of the tool that the payload names; for comparing releases byte by byte
    #[arg(
        long,
        value_name = "VERSION",
        env = "XSPLICE_TOOL_VERSION",
        hide = true
    )]
    tool_version: Option<String>,
    /// Write the report as JSON; `-` is standard output
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// What `xsplice-diff -o` wrote
    #[arg(required = true, value_name = "EXTRACT")]
    extracts: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct InspectArguments {
    /// Write JSON instead of the page; `-` is standard output
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// The payload; `-` is standard input
    payload: PathBuf,
}

#[derive(Debug, Args)]
struct VerifyArguments {
    /// The linked image that runs, with symbols and build-id (such as xen-syms)
    #[arg(long, visible_alias = "xen-syms", value_name = "ELF")]
    base: PathBuf,
    /// A payload below, the lowest first; once for each
    #[arg(long, value_name = "PAYLOAD")]
    stack: Vec<PathBuf>,
    /// Functions that may not be replaced: one name a line, as the base names them
    ///
    /// Or ranges of text, `START .. END`.
    #[arg(long, value_name = "FILE")]
    deny: Option<PathBuf>,
    /// Certificate of the key that must have signed the payload
    ///
    /// Without it, whether there is a signature is told, and no more.
    #[arg(long, value_name = "PEM")]
    cert: Option<PathBuf>,
    /// Provenance that `xsplice-build` wrote: that it is about this payload and this base
    ///
    /// With --cert, that it was signed by this key, too. What is given below is compared as well,
    /// and the line names what was not.
    #[arg(long, value_name = "FILE")]
    provenance: Option<PathBuf>,
    /// Objects of the build that runs, to be those of the provenance: a tree, or one object
    #[arg(long, value_name = "DIR|FILE", requires = "provenance")]
    orig: Option<PathBuf>,
    /// Objects of the patched build, to be those of the provenance: a tree, or one object
    #[arg(long, value_name = "DIR|FILE", requires = "provenance")]
    patched: Option<PathBuf>,
    /// Source, to be that of the provenance
    #[arg(long, value_name = "DIR", requires = "provenance")]
    src: Option<PathBuf>,
    /// Source patch, to be that of the provenance
    #[arg(long, value_name = "FILE", requires = "provenance")]
    patch: Option<PathBuf>,
    /// Objects of the patched build: that the payload holds what they hold, byte for byte
    ///
    /// A tree, archives or single objects; those that the payload replaces something of are enough.
    #[arg(long, value_name = "DIR|FILE")]
    objects: Vec<PathBuf>,
    /// Write the report as JSON; `-` is standard output
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// The payload; `-` is standard input
    payload: PathBuf,
}

#[derive(Debug, Args)]
struct SignArguments {
    /// RSA private key, PKCS #8 PEM, without a passphrase
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// X.509 certificate of the key, PEM
    #[arg(long, value_name = "PEM")]
    cert: PathBuf,
    /// The signed payload to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Provenance that `xsplice-build` wrote of the payload; it is signed too, in place
    ///
    /// From then on it names the signed payload besides.
    #[arg(long, value_name = "FILE")]
    provenance: Option<PathBuf>,
    /// Write what was done as JSON; `-` is standard output
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// The payload
    payload: PathBuf,
}

/// Runs the command. Results go to standard output, refusals to standard error.
///
/// # Errors
/// What makes it exit with status 1, for the caller to print.
pub fn run(arguments: &Arguments) -> Result<ExitStatus, LinkError> {
    match &arguments.command {
        Command::Link(arguments) => link::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Sign(arguments) => sign::run(arguments),
    }
}
