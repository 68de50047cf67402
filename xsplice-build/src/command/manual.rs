//! Man pages and shell completions, generated from the definitions of the commands, so that they
//! always match.
//!
//! It covers all commands of the workspace. It is in this crate because this crate already depends
//! on most of them. `make install` calls it through `xsplice-manual`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;

/// Every command that is installed.
#[must_use]
pub fn commands() -> Vec<Command> {
    vec![
        crate::Arguments::command(),
        crate::command::store::Arguments::command(),
        xsplice_diff::command::definition(),
        xsplice_link::command::Arguments::command(),
        xsplice_ctl::Arguments::command(),
    ]
}

/// Where the completions of a shell belong, below the prefix: where distributions look for them.
fn completions_folder(shell: Shell) -> &'static str {
    match shell {
        Shell::Zsh => "share/zsh/site-functions",
        Shell::Fish => "share/fish/vendor_completions.d",
        _ => "share/bash-completion/completions",
    }
}

/// The file name under which the shell looks for the completions of `command`; for bash, clap uses
/// another name.
fn completions_file(shell: Shell, command: &str) -> String {
    match shell {
        Shell::Zsh => format!("_{command}"),
        Shell::Fish => format!("{command}.fish"),
        _ => command.to_owned(),
    }
}

/// Writes man pages and completions of all commands below `prefix`; returns what was written.
///
/// # Errors
///
/// When a folder or file cannot be written.
pub fn write(prefix: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for command in commands() {
        let name = command.get_name().to_owned();
        let pages = prefix.join("share/man/man1");
        create(&pages)?;
        let mut built = command.clone().disable_help_subcommand(true);
        built.build();
        let source = format!("{name} {}", built.get_version().unwrap_or_default());
        write_pages(&built, &name, &source, &pages, &mut written)?;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let folder = prefix.join(completions_folder(shell));
            create(&folder)?;
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command.clone(), &name, &mut script);
            let path = folder.join(completions_file(shell, &name));
            std::fs::write(&path, script)
                .with_context(|| format!("{}: cannot write", path.display()))?;
            written.push(path);
        }
    }
    Ok(written)
}

fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot make", folder.display()))
}

/// An empty argument needs quotes; without them the next argument would take its place.
const NO_DATE: &str = "\"\"";

/// The page of a command, and those of its subcommands as `COMMAND-SUBCOMMAND`; `source` is the
/// version that all of them are of. They have no date, for the same sources make the same bytes.
fn write_pages(
    command: &Command,
    name: &str,
    source: &str,
    folder: &Path,
    written: &mut Vec<PathBuf>,
) -> Result<()> {
    let path = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .title(name)
        .date(NO_DATE)
        .source(source)
        .manual("xsplice")
        .render(&mut page)
        .with_context(|| format!("the manual page of {name}"))?;
    // An empty line between two breaks is a space; formatters complain about the longer way.
    let page = String::from_utf8(page)
        .with_context(|| format!("the manual page of {name}"))?
        .replace("\n.br\n\n.br\n", "\n.sp\n");
    std::fs::write(&path, page).with_context(|| format!("{}: cannot write", path.display()))?;
    written.push(path);
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        let name = format!("{name}-{}", subcommand.get_name());
        write_pages(subcommand, &name, source, folder, written)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::{commands, write};

    fn every(command: &Command, visit: &mut dyn FnMut(&Command)) {
        visit(command);
        for subcommand in command.get_subcommands() {
            every(subcommand, visit);
        }
    }

    #[test]
    fn every_command_and_every_option_has_its_help() {
        for command in commands() {
            let mut options = 0;
            every(&command, &mut |one| {
                assert!(one.get_about().is_some(), "{}", one.get_name());
                for argument in one.get_arguments() {
                    options += 1;
                    assert!(
                        argument.get_help().is_some(),
                        "{}: {}",
                        one.get_name(),
                        argument.get_id()
                    );
                }
            });
            assert!(options > 0, "{}", command.get_name());
        }
    }

    #[test]
    fn every_command_has_a_page_and_completions_that_know_its_options() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let written = write(folder.path()).expect("the folder is writable");
        assert!(written.iter().all(|path| path.is_file()));
        let read = |path: &str| {
            std::fs::read_to_string(folder.path().join(path))
                .unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        for command in commands() {
            let name = command.get_name();
            assert!(read(&format!("share/man/man1/{name}.1")).contains(".TH"));
            for completions in [
                format!("share/bash-completion/completions/{name}"),
                format!("share/zsh/site-functions/_{name}"),
                format!("share/fish/vendor_completions.d/{name}.fish"),
            ] {
                assert!(read(&completions).contains(name), "{completions}");
            }
        }
        assert!(read("share/man/man1/xsplice-build.1").contains("\\-\\-explain\\-code"));
        let verify = read("share/man/man1/xsplice-link-verify.1");
        assert!(verify.contains("\\-\\-base"));
        let version = env!("CARGO_PKG_VERSION");
        let title = format!(".TH xsplice-link-verify 1 \"\" \"xsplice-link {version}\" xsplice\n");
        assert!(verify.contains(&title), "{verify}");
        assert!(read("share/bash-completion/completions/xsplice-build").contains("--explain-code"));
    }

    #[test]
    fn pages_are_the_same_whenever_they_are_made() {
        let (one, two) = (tempfile::tempdir(), tempfile::tempdir());
        let (one, two) = (one.expect("a folder"), two.expect("a folder"));
        let first = write(one.path()).expect("the folder is writable");
        let second = write(two.path()).expect("the folder is writable");
        assert_eq!(first.len(), second.len());
        for (a, b) in first.iter().zip(&second) {
            assert_eq!(std::fs::read(a).ok(), std::fs::read(b).ok());
        }
    }
}
