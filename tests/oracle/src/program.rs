//! Programs of two files, made from a seed, and edits to them as a programmer might make them.
//!
//! Functions call functions of lower rank, so that everything ends; nothing that they answer
//! depends on addresses or line numbers. What `setup` does is never edited: it makes state before a
//! payload is applied, the same in every image.

use std::fmt::Write;

use xsplice_test_objects::mutate::Choices;

use crate::constructs::{Kind, Needs, Statement, letter, prelude, small, warning_names};
use crate::machine::Machine;

/// A program.
#[derive(Clone, Debug)]
pub struct Program {
    machine: Machine,
    pub(crate) functions: Vec<Function>,
    variables: Vec<Variable>,
    tables: Vec<Table>,
    steps: Vec<Step>,
    /// The order of functions in the text.
    order: Vec<usize>,
    /// The order of variables in the text.
    variable_order: Vec<usize>,
    shared: [i32; 4],
    operations: [i32; FILES.len()],
    /// Blank lines at the top.
    blank: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Function {
    file: usize,
    linkage: Linkage,
    attribute: usize,
    has_alias: bool,
    /// Whether functions of lower rank call it, so that it may call none.
    is_leaf: bool,
    pub(crate) body: Vec<Statement>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linkage {
    Global,
    Local,
    Weak,
}

#[derive(Clone, Copy, Debug)]
struct Variable {
    file: usize,
    initial: i32,
    alignment: usize,
}

#[derive(Clone, Debug)]
struct Table {
    file: usize,
    values: [i32; 4],
    texts: [char; 4],
}

#[derive(Clone, Copy, Debug)]
struct Step {
    file: usize,
    value: i32,
}

/// An edit.
#[derive(Clone, Debug)]
pub struct Edit {
    /// What was done.
    pub what: String,
    /// Whether a payload can carry it.
    pub can_be_carried: bool,
}

/// Names of the files of a program.
pub const FILES: [&str; 2] = ["a.c", "b.c"];
const LETTERS: [char; FILES.len()] = ['a', 'b'];

/// What a function may be declared as besides.
const ATTRIBUTES: [&str; 6] = [
    "",
    "__attribute__((noinline))",
    "__attribute__((noinline))",
    "__attribute__((cold))",
    "__attribute__((noinline, section(\".text.special\")))",
    "__attribute__((noinline, aligned(32)))",
];

impl Program {
    /// The program for a machine that belongs to the state of `choices`.
    #[must_use]
    pub fn random(machine: Machine, choices: &mut Choices) -> Program {
        let mut program = Program {
            machine,
            functions: Vec::new(),
            variables: Vec::new(),
            tables: Vec::new(),
            steps: Vec::new(),
            order: Vec::new(),
            variable_order: Vec::new(),
            shared: [0; 4].map(|_| small(choices)),
            operations: [0; FILES.len()].map(|_| small(choices)),
            blank: 0,
        };
        for _ in 0..2 + choices.below(4) {
            let file = choices.below(FILES.len());
            program.add_variable(file, choices);
        }
        for _ in 0..1 + choices.below(3) {
            program.tables.push(Table {
                file: choices.below(FILES.len()),
                values: [0; 4].map(|_| small(choices)),
                texts: ['a'; 4].map(|_| letter(choices)),
            });
        }
        for _ in 0..2 + choices.below(3) {
            let file = choices.below(FILES.len());
            let value = small(choices);
            program.steps.push(Step { file, value });
        }
        for _ in 0..4 + choices.below(8) {
            program.add_function(choices);
        }
        program
    }

    /// What it is for.
    pub(crate) fn machine(&self) -> Machine {
        self.machine
    }

    /// One edit.
    pub fn edit(&mut self, choices: &mut Choices) -> Edit {
        let at = choices.below(self.functions.len());
        let lines = self.functions[at].body.len();
        let line = choices.below(lines.max(1));
        let carried = |what: String| Edit {
            what,
            can_be_carried: true,
        };
        let not_carried = |what: String| Edit {
            what,
            can_be_carried: false,
        };
        match choices.below(24) {
            0..=4 if lines != 0 => self.edit_constant(at, line, choices),
            5..=8 => {
                let place = choices.below(lines + 1);
                let statement = self.statement(at, choices);
                let what = format!("f{at}: {statement:?} inserted at {place}");
                self.functions[at].body.insert(place, statement);
                carried(what)
            }
            9..=10 if lines != 0 => {
                let gone = self.functions[at].body.remove(line);
                carried(format!("f{at}: {gone:?} removed at {line}"))
            }
            11 if lines > 1 => {
                let other = choices.below(lines);
                self.functions[at].body.swap(line, other);
                carried(format!("f{at}: statements {line} and {other} swapped"))
            }
            12 => carried(self.call_new_function(at, choices)),
            13 => {
                let new = self.add_variable(self.functions[at].file, choices);
                let store = Statement::random(Kind::Store, new, new, choices);
                self.functions[at].body.push(store);
                carried(format!("f{at}: uses the new v{new}"))
            }
            14 => {
                let table = choices.below(self.tables.len());
                let entry = choices.below(4);
                self.tables[table].values[entry] = small(choices);
                not_carried(format!("t{table}: other value at {entry}"))
            }
            15 => {
                for index in (1..self.order.len()).rev() {
                    self.order.swap(index, choices.below(index + 1));
                }
                carried("functions in another order".to_owned())
            }
            16 => {
                self.blank += 1 + choices.below(5);
                carried("lines moved".to_owned())
            }
            17 => {
                let attribute = choices.below(ATTRIBUTES.len());
                self.functions[at].attribute = attribute;
                not_carried(format!("f{at}: {:?}", ATTRIBUTES[attribute]))
            }
            18 => {
                let variable = choices.below(self.variables.len());
                self.variables[variable].initial = small(choices);
                not_carried(format!("v{variable}: other initial value"))
            }
            19 => {
                let step = choices.below(self.steps.len());
                let other = choices.below(self.steps.len());
                self.steps.swap(step, other);
                not_carried(format!("steps {step} and {other} swapped"))
            }
            20 => {
                self.shared[choices.below(4)] = small(choices);
                not_carried("other value in the shared table".to_owned())
            }
            21 => {
                self.operations[choices.below(FILES.len())] = small(choices);
                not_carried("other value beside a function pointer".to_owned())
            }
            22 => {
                let variable = choices.below(self.variables.len());
                self.variables[variable].alignment = 64;
                not_carried(format!("v{variable}: aligned"))
            }
            _ => {
                let (one, two) = (
                    choices.below(self.variable_order.len()),
                    choices.below(self.variable_order.len()),
                );
                self.variable_order.swap(one, two);
                not_carried("variables in another order".to_owned())
            }
        }
    }

    /// Another constant in a statement.
    fn edit_constant(&mut self, at: usize, line: usize, choices: &mut Choices) -> Edit {
        let statement = &mut self.functions[at].body[line];
        let before = statement.begins_with();
        statement.tweak(choices);
        let can_be_carried = statement.begins_with() == before;
        let what = format!("f{at}: other constant in statement {line}: {statement:?}");
        self.keep_callable(at);
        Edit {
            what,
            can_be_carried,
        }
    }

    /// A new function, and a call of it. It calls none itself, or the calls would go round.
    fn call_new_function(&mut self, at: usize, choices: &mut Choices) -> String {
        let new = self.add_function(choices);
        let file = self.functions[at].file;
        if self.functions[new].linkage == Linkage::Local {
            self.functions[new].file = file;
        }
        self.functions[new].is_leaf = true;
        let own = self.functions[new].file;
        let (variables, tables) = (self.variables.clone(), self.tables.clone());
        self.functions[new].body.retain(|statement| {
            let at = statement.at;
            match statement.kind.needs() {
                Needs::Nothing => true,
                Needs::Variable => variables[at].file == own,
                Needs::Table => tables[at].file == own,
                Needs::Function | Needs::Alias | Needs::Operations => false,
            }
        });
        let call = Statement::random(Kind::Call, new, new, choices);
        let line = choices.below(self.functions[at].body.len() + 1);
        self.functions[at].body.insert(line, call);
        format!("f{at}: calls the new f{new}")
    }

    /// Removes statements that no longer refer to what they may.
    fn keep_callable(&mut self, at: usize) {
        let mut body = std::mem::take(&mut self.functions[at].body);
        body.retain(|statement| {
            let may = self.may_refer_to(at, statement.kind.needs());
            statement.kind.needs() == Needs::Nothing
                || may.contains(&statement.at) && may.contains(&statement.other)
        });
        self.functions[at].body = body;
    }

    /// What a statement of function `at` may refer to.
    fn may_refer_to(&self, at: usize, needs: Needs) -> Vec<usize> {
        let file = self.functions[at].file;
        let calls = matches!(needs, Needs::Function | Needs::Alias | Needs::Operations);
        if calls && self.functions[at].is_leaf {
            return Vec::new();
        }
        let is_visible =
            |callee: &Function| callee.linkage != Linkage::Local || callee.file == file;
        match needs {
            Needs::Nothing => vec![0],
            Needs::Function => (0..at)
                .filter(|&callee| is_visible(&self.functions[callee]))
                .collect(),
            Needs::Alias => (0..at)
                .filter(|&callee| self.functions[callee].has_alias)
                .collect(),
            Needs::Variable => (0..self.variables.len())
                .filter(|&index| self.variables[index].file == file)
                .collect(),
            Needs::Table => (0..self.tables.len())
                .filter(|&index| self.tables[index].file == file)
                .collect(),
            Needs::Operations => {
                let run = self.run_by_operations(file);
                run.filter(|&run| run < at).into_iter().collect()
            }
        }
    }

    /// The function that the operations of a file run.
    fn run_by_operations(&self, file: usize) -> Option<usize> {
        self.functions
            .iter()
            .position(|function| function.file == file)
    }

    /// A statement that may stand in function `at`.
    fn statement(&self, at: usize, choices: &mut Choices) -> Statement {
        let kind = Kind::random(self.machine, choices);
        let may = self.may_refer_to(at, kind.needs());
        if may.is_empty() {
            return Statement::random(Kind::Arithmetic, 0, 0, choices);
        }
        let (one, two) = (choices.below(may.len()), choices.below(may.len()));
        Statement::random(kind, may[one], may[two], choices)
    }

    fn add_variable(&mut self, file: usize, choices: &mut Choices) -> usize {
        let initial = match choices.below(2) {
            0 => 0,
            _ => small(choices),
        };
        let new = self.variables.len();
        self.variables.push(Variable {
            file,
            initial,
            alignment: 0,
        });
        let place = choices.below(self.variable_order.len() + 1);
        self.variable_order.insert(place, new);
        new
    }

    fn add_function(&mut self, choices: &mut Choices) -> usize {
        let new = self.functions.len();
        let linkage = match choices.below(8) {
            0..=2 => Linkage::Local,
            3 => Linkage::Weak,
            _ => Linkage::Global,
        };
        self.functions.push(Function {
            file: choices.below(FILES.len()),
            linkage,
            attribute: choices.below(ATTRIBUTES.len()),
            has_alias: linkage == Linkage::Global && choices.below(4) == 0,
            is_leaf: false,
            body: Vec::new(),
        });
        for _ in 0..1 + choices.below(5) {
            let statement = self.statement(new, choices);
            self.functions[new].body.push(statement);
        }
        let place = choices.below(self.order.len() + 1);
        self.order.insert(place, new);
        new
    }

    /// Names of the functions that can be called from outside.
    #[must_use]
    pub fn callable(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (index, function) in self.functions.iter().enumerate() {
            if function.linkage != Linkage::Local {
                names.push(format!("f{index}"));
            }
            if function.has_alias {
                names.push(format!("g{index}"));
            }
        }
        names
    }

    /// Whether a writable variable holds places inside a function.
    pub(crate) fn has_writable_label_table(&self) -> bool {
        let statements = self.functions.iter().flat_map(|function| &function.body);
        let mut kinds = statements.map(|statement| statement.kind);
        kinds.any(|kind| kind == Kind::WritableLabelTable)
    }

    /// Leaves out what needs registers for floating-point numbers or vectors.
    pub(crate) fn leave_out_floating(&mut self) {
        for function in &mut self.functions {
            function
                .body
                .retain(|statement| !statement.kind.is_floating());
        }
    }

    /// Names of the functions that make state.
    #[must_use]
    pub fn setups() -> Vec<String> {
        LETTERS
            .iter()
            .map(|letter| format!("setup_{letter}"))
            .collect()
    }

    /// Text of the file with this index into [`FILES`].
    #[must_use]
    pub fn text(&self, file: usize) -> String {
        let mut out = String::new();
        self.write(&mut out, file)
            .expect("a String takes everything");
        out
    }

    fn write(&self, out: &mut String, file: usize) -> std::fmt::Result {
        out.push_str(&"\n".repeat(self.blank));
        out.push_str(&prelude(self.machine).concat());
        let [one, two, three, four] = self.shared;
        writeln!(
            out,
            "static const int shared[4] __attribute__((unused)) = {{ {one}, {two}, {three}, {four} }};"
        )?;
        for (index, function) in self.functions.iter().enumerate() {
            if function.linkage != Linkage::Local || function.file == file {
                writeln!(out, "{} int f{index}(int, int);", declared(function, file))?;
            }
            if function.has_alias {
                writeln!(out, "int g{index}(int, int);")?;
            }
        }
        self.write_data(out, file)?;
        for &index in &self.order {
            let function = &self.functions[index];
            if function.file != file {
                continue;
            }
            writeln!(
                out,
                "{} int f{index}(int a, int b)\n{{\n\tint r = a;",
                declared(function, file)
            )?;
            for statement in &function.body {
                statement.write(out, self.machine, LETTERS[file])?;
            }
            writeln!(out, "\treturn r;\n}}")?;
            if function.has_alias {
                writeln!(
                    out,
                    "int g{index}(int, int) __attribute__((alias(\"f{index}\")));"
                )?;
            }
        }
        self.write_setup(out, file)
    }

    fn write_data(&self, out: &mut String, file: usize) -> std::fmt::Result {
        for &index in &self.variable_order {
            let variable = self.variables[index];
            if variable.file == file {
                let initial = variable.initial;
                let aligned = match variable.alignment {
                    0 => String::new(),
                    bytes => format!("__attribute__((aligned({bytes}))) "),
                };
                writeln!(
                    out,
                    "static {aligned}int v{index} = {initial}, a{index}[6] = {{ {initial}, {initial} }};"
                )?;
            }
        }
        for (index, table) in self.tables.iter().enumerate() {
            if table.file == file {
                let [one, two, three, four] = table.values;
                writeln!(
                    out,
                    "static const int t{index}[4] __attribute__((unused)) = {{ {one}, {two}, {three}, {four} }};"
                )?;
                let texts = table.texts.map(|letter| format!("\"{letter}{index}\""));
                writeln!(
                    out,
                    "static const char *const p{index}[4] __attribute__((unused)) = {{ {} }};",
                    texts.join(", ")
                )?;
            }
        }
        for (index, step) in self.steps.iter().enumerate() {
            if step.file == file {
                writeln!(
                    out,
                    "static const int step{index} __attribute__((used, section(\"steps\"))) = {};",
                    step.value
                )?;
            }
        }
        let letter = LETTERS[file];
        let run = match self.run_by_operations(file) {
            Some(run) => format!("f{run}"),
            None => "deep".to_owned(),
        };
        writeln!(
            out,
            "static const struct ops ops_{letter} __attribute__((unused)) = {{ {run}, {} }};\n\
             static const struct ops *reg_{letter} __attribute__((used));",
            self.operations[file]
        )
    }

    /// The function that makes state.
    fn write_setup(&self, out: &mut String, file: usize) -> std::fmt::Result {
        let letter = LETTERS[file];
        writeln!(
            out,
            "int setup_{letter}(int a, int b)\n{{\n\treg_{letter} = &ops_{letter};\n\tcounted(a);\n\tcommon_words += b;\n\
             \tcommon_words += __stop_steps - __start_steps;"
        )?;
        if self.machine == Machine::Arm64 {
            // File names that warnings of a payload find in the image.
            for name in warning_names(letter) {
                writeln!(out, "\tWARN(\"{name}\");")?;
            }
        }
        for (index, variable) in self.variables.iter().enumerate() {
            // New ones have no state yet.
            if variable.file == file && index < SET_UP {
                writeln!(out, "\tv{index} += a + {index}; a{index}[b & 3] ^= a;")?;
            }
        }
        writeln!(out, "\treturn 0;\n}}")
    }
}

/// How many variables `setup` writes to: programs have at least as many.
const SET_UP: usize = 2;

fn declared(function: &Function, file: usize) -> String {
    let attribute = ATTRIBUTES[function.attribute];
    // An attribute about the code is said where the code is.
    let attribute = if function.file == file { attribute } else { "" };
    match function.linkage {
        Linkage::Global => attribute.to_owned(),
        Linkage::Weak => format!("{attribute} __attribute__((weak))"),
        Linkage::Local => format!("{attribute} __attribute__((unused)) static"),
    }
}
