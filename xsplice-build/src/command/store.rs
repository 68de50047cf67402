//! The command line of `xsplice-store`, as the user may write it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Keeps shipped builds, so that a fix can be made for all of them.
///
/// A store is a folder of plain files. It holds each build under the build-id of its base: the
/// source, the objects, the linked image and the command that builds it. `xsplice-build --store`
/// makes payloads for all of them. What several builds share is kept once.
#[derive(Debug, Parser)]
#[command(name = "xsplice-store", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Verb,
}

const AFTER_HELP: &str = "\
Exit status: 0 done; 1 could not run, or nothing was found; 2 something is not as it must be.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Keep a build
    ///
    /// The objects are compared with the base first: a build of which they are not is not kept. The
    /// same build may be added twice; the second time changes nothing.
    #[command(after_help = AFTER_HELP)]
    Add(Add),
    /// List the builds
    List(List),
    /// Show what is known of builds
    Show(Show),
    /// Find the build of a build-id, of an image or of a payload
    ///
    /// For a payload, that is the build of the base that it is for.
    #[command(after_help = AFTER_HELP)]
    Find(Find),
    /// Check that source, objects and base are whole, and still one build
    ///
    /// Every content is read and compared with its digest, and the objects of each build are
    /// compared with its base.
    #[command(after_help = AFTER_HELP)]
    Check(Check),
    /// Remove a build, and the contents that no other build needs
    Remove(Remove),
    /// Join the results of `xsplice-build --shard` to one folder and one report
    ///
    /// Builds of which no result was given are told. Ends as `xsplice-build --store` does.
    #[command(after_help = AFTER_HELP)]
    Merge(Merge),
}

/// Where the store is, and where JSON goes.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The store's folder
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// Write the result as JSON; `-` is standard output
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    #[command(flatten)]
    pub place: Place,
    /// What people call the build, such as 4.17.5-prod
    ///
    /// Letters, digits, dots, dashes, underscores and plus signs; patterns of `--only` match it.
    #[arg(long)]
    pub name: String,
    /// The source that the build was made from, with its configuration: a folder or a tarball
    #[arg(long, value_name = "DIR|TARBALL")]
    pub source: PathBuf,
    /// The objects of the build: the folder that it was built in
    #[arg(long, value_name = "DIR")]
    pub objects: PathBuf,
    /// The linked image that runs, with symbols and build-id [default: the one among the objects]
    #[arg(long, visible_alias = "xen-syms", value_name = "ELF")]
    pub base: Option<PathBuf>,
    /// The command that builds the source, such as 'make -j2'
    #[arg(long, value_name = "COMMAND")]
    pub make: String,
    /// Point to source and objects where they are, instead of keeping them
    ///
    /// They must stay as they are: their digests are compared before each use.
    #[arg(long)]
    pub by_path: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub place: Place,
    /// Names, or build-ids of which the first digits are enough
    #[arg(value_name = "NAME|BUILD-ID", required = true)]
    pub builds: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Find {
    #[command(flatten)]
    pub place: Place,
    /// A build-id of which the first digits are enough, an image, or a payload
    #[arg(value_name = "BUILD-ID|ELF|PAYLOAD")]
    pub what: String,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub place: Place,
    /// Also build each source, without a patch, and compare that with the objects
    ///
    /// Nothing may differ: then the source is the one that was shipped, and this machine builds it
    /// as it was built.
    #[arg(long)]
    pub rebuild: bool,
    /// Names or build-ids [default: every build]
    #[arg(value_name = "NAME|BUILD-ID")]
    pub builds: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    pub place: Place,
    /// Name or build-id
    #[arg(value_name = "NAME|BUILD-ID")]
    pub build: String,
}

#[derive(Debug, Args)]
pub(crate) struct Merge {
    /// The folder to write
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Write the result as JSON; `-` is standard output
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Folders that `xsplice-build --store --shard` wrote
    #[arg(value_name = "RESULTS", required = true)]
    pub results: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }
}
