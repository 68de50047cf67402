//! A line of the matrix as the processes that compile: clang is one; gcc's driver starts a compiler
//! and an assembler, and says with which words.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::fork_server::Programs;

/// What every program is compiled with besides: numbers wrap, and its warnings are nobody's.
pub(crate) const ALWAYS: [&str; 2] = ["-fwrapv", "-w"];

/// A program and its words.
#[derive(Clone, Debug)]
struct Step {
    program: PathBuf,
    words: Vec<String>,
}

/// Knows what each line comes to.
#[derive(Debug, Default)]
pub(crate) struct Compilers {
    steps: RefCell<BTreeMap<(String, String), Vec<Step>>>,
}

impl Compilers {
    /// Compiles the file `source` of a folder to `object` there.
    pub(crate) fn compile(
        &self,
        programs: &Programs,
        line: &str,
        folder: &Path,
        [source, object]: [&str; 2],
    ) -> Result<()> {
        let key = (line.to_owned(), source.to_owned());
        let known = self.steps.borrow().get(&key).cloned();
        let steps = match known {
            Some(steps) => steps,
            None => {
                let steps = steps(line, folder, source, object)?;
                self.steps.borrow_mut().insert(key, steps.clone());
                steps
            }
        };
        for step in steps {
            let words: Vec<&str> = step.words.iter().map(String::as_str).collect();
            programs.done(&step.program, folder, &words)?;
        }
        Ok(())
    }
}

fn steps(line: &str, folder: &Path, source: &str, object: &str) -> Result<Vec<Step>> {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    words.extend(ALWAYS.map(str::to_owned));
    words.extend(["-c", source, "-o", object].map(str::to_owned));
    let compiler = words.remove(0);
    if !compiler.ends_with("gcc") {
        let program = PathBuf::from(compiler);
        return Ok(vec![Step { program, words }]);
    }
    let asked = Command::new(&compiler)
        .arg("-###")
        .args(&words)
        .current_dir(folder)
        .output()
        .with_context(|| compiler.clone())?;
    let told = String::from_utf8(asked.stderr)?;
    let mut steps: Vec<Step> = Vec::new();
    // Commands are the lines that begin with a space.
    for line in told.lines().filter(|line| line.starts_with(' ')) {
        let mut words = split(line);
        let program = PathBuf::from(words.remove(0));
        steps.push(Step { program, words });
    }
    ensure!(
        steps.len() == 2,
        "{line}: a compiler and an assembler: {told}"
    );
    // Between them stands a file with a name of the moment.
    let between = steps[1].words.last().cloned().context("a file")?;
    let ours = format!("{source}.s");
    for word in steps.iter_mut().flat_map(|step| &mut step.words) {
        if *word == between {
            word.clone_from(&ours);
        }
    }
    Ok(steps)
}

/// The words of a line as a shell reads them; the driver puts `"` around them and `\` in front of
/// signs.
fn split(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut is_within, mut is_quoted) = (false, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == '"' {
            is_quoted = !is_quoted;
        }
        if letter == ' ' && !is_quoted {
            is_within = false;
            continue;
        }
        if !is_within {
            is_within = true;
            words.push(String::new());
        }
        let word = words.last_mut().expect("was just begun");
        match letter {
            '"' => {}
            '\\' => word.extend(letters.next()),
            letter => word.push(letter),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::machine::Machine;
    use crate::matrix::Matrix;
    use crate::program::Program;
    use xsplice_test_objects::mutate::Choices;

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(
            split(r#" a "b c" "-m=x" d\"e"#),
            ["a", "b c", "-m=x", "d\"e"]
        );
    }

    /// What forks in front of `main` writes the object that the compiler writes by itself.
    #[test]
    fn objects_are_those_of_the_compiler() -> Result<()> {
        let (programs, compilers) = (Programs::new()?, Compilers::default());
        for machine in [Machine::X86_64, Machine::Arm64] {
            let text = Program::random(machine, &mut Choices::new(3)).text(0);
            for line in Matrix::here(machine).compilers() {
                is_that_of_the_compiler(&programs, &compilers, line, &text)?;
            }
        }
        Ok(())
    }

    fn is_that_of_the_compiler(
        programs: &Programs,
        compilers: &Compilers,
        line: &str,
        text: &str,
    ) -> Result<()> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("a.c"), text)?;
        let names = ["a.c", "a.o"];
        compilers.compile(programs, line, folder.path(), names)?;
        let mut words = line.split(' ');
        let compiler = words.next().context("a line names its compiler")?;
        let status = Command::new(compiler)
            .args(words)
            .args(ALWAYS)
            .args(["-c", "a.c", "-o", "alone.o"])
            .current_dir(folder.path())
            .status()?;
        ensure!(status.success(), "{line}");
        let read = |name| fs::read(folder.path().join(name));
        ensure!(
            read("a.o")? == read("alone.o")?,
            "{line}: the objects differ"
        );
        Ok(())
    }
}
