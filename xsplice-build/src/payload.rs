//! Turns the command line into link options, and a linked payload into a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xsplice_abi::Profile;
use xsplice_abi::section::modinfo;
use xsplice_link::Base;
use xsplice_link::BuildId;
use xsplice_link::LinkOptions;
use xsplice_link::command::input;
use xsplice_link::link::Payload;
use xsplice_link::options::{BaseProof, References, StacksOn};
use xsplice_link::verify::{self, Against, NamedFile, Verification, deny_list};

use crate::command::arguments::Arguments;

/// Reads the files that the options name, so that errors show before the two builds and not after
/// them. Paths below `work` are not read yet: the builds may create them.
///
/// # Errors
///
/// A base, deny list or build-id that cannot be read.
pub(crate) fn check_options(arguments: &Arguments, work: &Path) -> Result<()> {
    let full = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let work = full(work);
    let is_here = |path: &Path| !full(path).starts_with(&work);
    for (option, text) in [
        ("--depends", &arguments.depends),
        ("--xen-depends", &arguments.xen_depends),
    ] {
        if let Some(text) = text.as_deref().filter(|text| is_here(Path::new(text))) {
            BuildId::from_argument(text, input::open_named).context(option)?;
        }
    }
    if let Some(path) = arguments.base.as_deref().filter(|path| is_here(path)) {
        Base::parse(&path.display().to_string(), &input::open(path)?)?;
    }
    if let Some(path) = &arguments.deny {
        deny_list(NamedFile {
            path: &path.display().to_string(),
            bytes: &input::open(path)?,
        })?;
    }
    Ok(())
}

/// Link options from the command line.
///
/// # Errors
///
/// `--depends` or `--xen-depends` is neither hexadecimal nor a file with a build-id.
pub(crate) fn options(
    arguments: &Arguments,
    name: &str,
    abi: &'static Profile,
    base: &Base<'_>,
) -> Result<LinkOptions> {
    let mut options = LinkOptions::new(name, abi);
    if arguments.prelink {
        options.references = References::Prelinked;
    }
    if arguments.no_base_proof {
        options.proof = BaseProof::Skipped;
    }
    if arguments.no_account && !arguments.no_base_proof {
        let skipped = (modinfo::ACCOUNT.to_owned(), modinfo::SKIPPED.to_owned());
        options.metadata.push(skipped);
    }
    if let Some(text) = &arguments.xen_depends {
        options.base_id =
            Some(BuildId::from_argument(text, input::open_named).context("--xen-depends")?);
    }
    if let Some(text) = &arguments.depends {
        let made_for = options.base_id.as_ref().unwrap_or(base.build_id());
        options.stacks_on = StacksOn::from_argument(text, base, made_for, input::open_named)
            .context("--depends")?;
    }
    let fixes = arguments.fixes.iter();
    let fixes = fixes.map(|id| (modinfo::FIXES.to_owned(), id.clone()));
    options.metadata.extend(fixes);
    if let Some(version) = &arguments.tool_version {
        options.tool_version.clone_from(version);
    }
    Ok(options)
}

/// Runs `verify` on what was linked.
///
/// # Errors
///
/// A file named by an option that cannot be read.
pub(crate) fn verify(
    arguments: &Arguments,
    base: &Base<'_>,
    options: &LinkOptions,
    path: &Path,
    payload: &Payload,
) -> Result<Verification> {
    let path = path.display().to_string();
    let list = match &arguments.deny {
        Some(file) => Some((file.display().to_string(), input::open(file)?)),
        None => None,
    };
    let deny = match &list {
        Some((path, bytes)) => deny_list(NamedFile { path, bytes })?,
        None => Vec::new(),
    };
    // A payload that stacks on others does not contain them, so it cannot replace the stack in this
    // check.
    let below = match (&options.stacks_on, &arguments.depends) {
        (StacksOn::Payload(_), Some(text)) => Some((text, input::open(Path::new(text))?)),
        _ => None,
    };
    let stack: Vec<NamedFile<'_>> = below
        .iter()
        .map(|(path, bytes)| NamedFile { path, bytes })
        .collect();
    let against = Against {
        base,
        stack: &stack,
        deny: &deny,
        signer: None,
    };
    Ok(verify::verify(
        NamedFile {
            path: &path,
            bytes: &payload.bytes,
        },
        against,
    )?)
}

/// The arguments of `verify` besides the payload.
#[must_use]
pub(crate) fn against(arguments: &Arguments, base: &Base<'_>, options: &LinkOptions) -> String {
    match (&options.stacks_on, &arguments.depends) {
        (StacksOn::Payload(_), Some(below)) => format!("--base {} --stack {below}", base.path()),
        _ => format!("--base {}", base.path()),
    }
}

/// Where the payload goes.
#[must_use]
pub(crate) fn output_path(arguments: &Arguments, name: &str) -> PathBuf {
    arguments
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}.xsplice")))
}
