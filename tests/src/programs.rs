//! Makes small C programs and edits to them from a seed, so that payloads can be judged by what
//! the patched code *does*, for changes that nobody thought of when writing a case.
//!
//! A program is two files of functions `int fN(int, int)` that call functions of lower rank, and
//! use file-scope variables, arrays with pointers to their ends, constant tables, strings,
//! switches, static locals, constants of floating point and function pointers. Everything
//! terminates and nothing depends on addresses or line numbers, so that two builds can be compared
//! call by call.

use std::fmt::Write;

use crate::mutate::Choices;

/// A program, as a list of functions and data.
#[derive(Clone, Debug)]
pub struct Program {
    functions: Vec<Function>,
    variables: Vec<Variable>,
    tables: Vec<Table>,
    /// The order of functions in the text.
    order: Vec<usize>,
    /// The order of variables in the text.
    variable_order: Vec<usize>,
    /// Blank lines at the top.
    blank: usize,
}

#[derive(Clone, Debug)]
struct Function {
    file: usize,
    linkage: Linkage,
    inlining: Inlining,
    body: Vec<Statement>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linkage {
    Global,
    Local,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inlining {
    Never,
    Free,
}

#[derive(Clone, Copy, Debug)]
struct Variable {
    file: usize,
    initial: i32,
}

#[derive(Clone, Debug)]
struct Table {
    file: usize,
    values: [i32; 4],
    texts: [char; 4],
}

#[derive(Clone, Debug)]
enum Statement {
    Arithmetic(usize, i32),
    Call(usize, i32),
    Store(usize, i32),
    Load(usize),
    Constant(usize, usize),
    Pointers(usize),
    Text(String),
    Switch([i32; 6]),
    Branch(i32, i32, usize),
    /// Adds up the array beside a variable, up to a pointer to its end.
    Sum(usize),
    /// Reads that array by an index that counts from one.
    FromOne(usize),
    /// Writes to that array.
    Fill(usize, i32),
    StaticLocal(i32, i32),
    SameNameLocals(i32, i32),
    Floating(i32),
    Indirect(usize, usize),
    Loop(i32),
}

/// Names of the files of a program.
pub const FILES: [&str; 2] = ["a.c", "b.c"];

impl Program {
    /// The program that belongs to the state of `choices`.
    #[must_use]
    pub fn random(choices: &mut Choices) -> Program {
        let mut program = Program {
            functions: Vec::new(),
            variables: (0..2 + choices.below(4))
                .map(|_| Variable {
                    file: choices.below(FILES.len()),
                    initial: if choices.below(2) == 0 {
                        0
                    } else {
                        small(choices)
                    },
                })
                .collect(),
            tables: (0..1 + choices.below(3))
                .map(|_| Table {
                    file: choices.below(FILES.len()),
                    values: [0; 4].map(|_| small(choices)),
                    texts: ['a'; 4].map(|_| letter(choices)),
                })
                .collect(),
            order: Vec::new(),
            variable_order: Vec::new(),
            blank: 0,
        };
        program.variable_order = (0..program.variables.len()).collect();
        for _ in 0..4 + choices.below(8) {
            program.add_function(choices);
        }
        program
    }

    /// One edit, as a programmer might make it; the description is for messages.
    pub fn edit(&mut self, choices: &mut Choices) -> String {
        let at = choices.below(self.functions.len());
        match choices.below(12) {
            0..=2 if !self.functions[at].body.is_empty() => {
                let line = choices.below(self.functions[at].body.len());
                tweak(&mut self.functions[at].body[line], choices);
                format!("f{at}: other constant in statement {line}")
            }
            3..=5 => {
                let line = choices.below(self.functions[at].body.len() + 1);
                let statement = self.statement(at, choices);
                let text = format!("f{at}: {statement:?} inserted at {line}");
                self.functions[at].body.insert(line, statement);
                text
            }
            6 if !self.functions[at].body.is_empty() => {
                let line = choices.below(self.functions[at].body.len());
                let gone = self.functions[at].body.remove(line);
                format!("f{at}: {gone:?} removed at {line}")
            }
            7 => {
                let new = self.add_function(choices);
                let line = choices.below(self.functions[at].body.len() + 1);
                // A new function calls none above its caller, or the calls would go round.
                self.functions[new].body.retain(|statement| {
                    !matches!(statement, Statement::Call(..) | Statement::Indirect(..))
                });
                if self.functions[new].linkage == Linkage::Local {
                    self.functions[new].file = self.functions[at].file;
                }
                let file = self.functions[new].file;
                let visible = |variable: usize, list: &[usize]| list.get(variable) == Some(&file);
                let (variables, tables) = self.files();
                self.functions[new]
                    .body
                    .retain(|statement| match statement {
                        Statement::Store(at, _)
                        | Statement::Load(at)
                        | Statement::Sum(at)
                        | Statement::FromOne(at)
                        | Statement::Fill(at, _) => visible(*at, &variables),
                        Statement::Constant(at, _) | Statement::Pointers(at) => {
                            visible(*at, &tables)
                        }
                        _ => true,
                    });
                self.functions[at]
                    .body
                    .insert(line, Statement::Call(new, small(choices)));
                format!("f{at}: calls the new f{new}")
            }
            8 => {
                self.variables.push(Variable {
                    file: self.functions[at].file,
                    initial: if choices.below(2) == 0 {
                        0
                    } else {
                        small(choices)
                    },
                });
                let new = self.variables.len() - 1;
                let place = choices.below(self.variable_order.len() + 1);
                self.variable_order.insert(place, new);
                self.functions[at]
                    .body
                    .push(Statement::Store(new, small(choices)));
                format!("f{at}: uses the new v{new}")
            }
            9 => {
                let table = choices.below(self.tables.len());
                let entry = choices.below(4);
                self.tables[table].values[entry] = small(choices);
                format!("t{table}: other value at {entry}")
            }
            10 => {
                for index in (1..self.order.len()).rev() {
                    self.order.swap(index, choices.below(index + 1));
                }
                "functions in another order".to_owned()
            }
            _ => {
                self.blank += 1 + choices.below(5);
                "lines moved".to_owned()
            }
        }
    }

    /// Text of the file with this index into [`FILES`].
    #[must_use]
    pub fn text(&self, file: usize) -> String {
        let mut out = "\n".repeat(self.blank);
        let write = |out: &mut String, text: &str| {
            out.push_str(text);
            out.push('\n');
        };
        for (index, function) in self.functions.iter().enumerate() {
            if function.linkage == Linkage::Global || function.file == file {
                write(
                    &mut out,
                    &format!("{} int f{index}(int, int);", linkage(function)),
                );
            }
        }
        for index in &self.variable_order {
            let Variable { file: own, initial } = self.variables[*index];
            if own == file {
                write(
                    &mut out,
                    &format!(
                        "static int v{index} = {initial}, a{index}[6] = {{ {initial}, {initial} }};"
                    ),
                );
            }
        }
        for (index, table) in self.tables.iter().enumerate() {
            if table.file == file {
                write(
                    &mut out,
                    &format!(
                        "static const int t{index}[4] = {{ {}, {}, {}, {} }};",
                        table.values[0], table.values[1], table.values[2], table.values[3]
                    ),
                );
                let texts = table.texts.map(|letter| format!("\"{letter}{index}\""));
                write(
                    &mut out,
                    &format!(
                        "static const char *const p{index}[4] = {{ {} }};",
                        texts.join(", ")
                    ),
                );
            }
        }
        for index in &self.order {
            if self.functions[*index].file == file {
                self.function(&mut out, *index)
                    .expect("a String takes everything");
            }
        }
        out
    }

    /// Names of the global functions, which a test can call.
    #[must_use]
    pub fn callable(&self) -> Vec<String> {
        self.functions
            .iter()
            .enumerate()
            .filter(|(_, function)| function.linkage == Linkage::Global)
            .map(|(index, _)| format!("f{index}"))
            .collect()
    }

    fn files(&self) -> (Vec<usize>, Vec<usize>) {
        (
            self.variables
                .iter()
                .map(|variable| variable.file)
                .collect(),
            self.tables.iter().map(|table| table.file).collect(),
        )
    }

    fn add_function(&mut self, choices: &mut Choices) -> usize {
        let index = self.functions.len();
        self.functions.push(Function {
            file: choices.below(FILES.len()),
            linkage: if choices.below(3) == 0 {
                Linkage::Local
            } else {
                Linkage::Global
            },
            inlining: if choices.below(3) == 0 {
                Inlining::Free
            } else {
                Inlining::Never
            },
            body: Vec::new(),
        });
        for _ in 0..1 + choices.below(5) {
            let statement = self.statement(index, choices);
            self.functions[index].body.push(statement);
        }
        self.order
            .insert(choices.below(self.order.len() + 1), index);
        index
    }

    /// A statement that may stand in function `at`.
    fn statement(&self, at: usize, choices: &mut Choices) -> Statement {
        let file = self.functions[at].file;
        let here = |list: Vec<usize>| -> Vec<usize> {
            (0..list.len())
                .filter(|index| list[*index] == file)
                .collect()
        };
        let (variables, tables) = self.files();
        let (variables, tables) = (here(variables), here(tables));
        let callees: Vec<usize> = (0..at)
            .filter(|callee| {
                let callee = &self.functions[*callee];
                callee.linkage == Linkage::Global || callee.file == file
            })
            .collect();
        let value = small(choices);
        match choices.below(19) {
            15 if !variables.is_empty() => {
                Statement::Sum(variables[choices.below(variables.len())])
            }
            16 if !variables.is_empty() => {
                Statement::FromOne(variables[choices.below(variables.len())])
            }
            17 if !variables.is_empty() => {
                Statement::Fill(variables[choices.below(variables.len())], value)
            }
            0 | 1 if !callees.is_empty() => {
                Statement::Call(callees[choices.below(callees.len())], value)
            }
            2 if !variables.is_empty() => {
                Statement::Store(variables[choices.below(variables.len())], value)
            }
            3 if !variables.is_empty() => {
                Statement::Load(variables[choices.below(variables.len())])
            }
            4 if !tables.is_empty() => {
                Statement::Constant(tables[choices.below(tables.len())], choices.below(4))
            }
            5 if !tables.is_empty() => Statement::Pointers(tables[choices.below(tables.len())]),
            6 => Statement::Text((0..4 + choices.below(6)).map(|_| letter(choices)).collect()),
            7 => Statement::Switch([0; 6].map(|_| small(choices))),
            8 if !callees.is_empty() => {
                Statement::Branch(value, small(choices), callees[choices.below(callees.len())])
            }
            9 => Statement::StaticLocal(
                if choices.below(2) == 0 { 0 } else { value },
                small(choices),
            ),
            10 => Statement::SameNameLocals(value, small(choices)),
            11 => Statement::Floating(value),
            12 if !callees.is_empty() => Statement::Indirect(
                callees[choices.below(callees.len())],
                callees[choices.below(callees.len())],
            ),
            13 => Statement::Loop(value),
            _ => Statement::Arithmetic(choices.below(5), value),
        }
    }

    fn function(&self, out: &mut String, index: usize) -> std::fmt::Result {
        let function = &self.functions[index];
        writeln!(
            out,
            "{} int f{index}(int a, int b)\n{{\n\tint r = a;",
            linkage(function)
        )?;
        for statement in &function.body {
            match statement {
                Statement::Arithmetic(kind, value) => match kind {
                    0 => writeln!(out, "\tr += b * {value};"),
                    1 => writeln!(out, "\tr ^= a + {value};"),
                    2 => writeln!(out, "\tr = (r << 1) - {value};"),
                    3 => writeln!(out, "\tr |= (b & {value});"),
                    _ => writeln!(out, "\tb -= r + {value};"),
                },
                Statement::Call(callee, value) => {
                    writeln!(out, "\tr += f{callee}(b, r ^ {value});")
                }
                Statement::Store(at, value) => writeln!(out, "\tv{at} += r + {value}; r ^= v{at};"),
                Statement::Load(at) => writeln!(out, "\tr -= v{at};"),
                Statement::Sum(at) => writeln!(
                    out,
                    "\tfor (int *p = a{at}; p != a{at} + 6; p++) r = r * 3 + *p;"
                ),
                Statement::FromOne(at) => writeln!(
                    out,
                    "\t{{ long k = (b & 3) + 1; asm volatile(\"\" : \"+r\"(k)); r ^= a{at}[k - 1]; }}"
                ),
                Statement::Fill(at, value) => writeln!(out, "\ta{at}[b & 3] += r ^ {value};"),
                Statement::Constant(at, entry) => writeln!(out, "\tr += t{at}[(a + {entry}) & 3];"),
                Statement::Pointers(at) => writeln!(out, "\tr += p{at}[b & 3][0];"),
                Statement::Text(text) => writeln!(out, "\tr += \"{text}\"[b & 3];"),
                Statement::Switch(values) => {
                    writeln!(out, "\tswitch (r & 7) {{")?;
                    for (case, value) in values.iter().enumerate() {
                        writeln!(out, "\tcase {case}: r += {value} * b; break;")?;
                    }
                    writeln!(out, "\tdefault: r--; }}")
                }
                Statement::Branch(limit, value, callee) => writeln!(
                    out,
                    "\tif (__builtin_expect(r > {limit} * 100, 0)) {{ r -= f{callee}(r & 15, {value}); r ^= f{callee}(1, b & 7); }}"
                ),
                Statement::StaticLocal(initial, value) => {
                    writeln!(
                        out,
                        "\t{{ static int n = {initial}; n += a ^ {value}; r += n; }}"
                    )
                }
                Statement::SameNameLocals(first, second) => writeln!(
                    out,
                    "\tif (r & 1) {{ static int m; m += {first}; r ^= m; }} else {{ static int m; m -= {second} + b; r += m; }}"
                ),
                Statement::Floating(value) => writeln!(out, "\tr += (int)((r & 255) * {value}.5);"),
                Statement::Indirect(first, second) => writeln!(
                    out,
                    "\t{{ static int (*const ops[2])(int, int) = {{ f{first}, f{second} }}; r ^= ops[b & 1](a, 3); }}"
                ),
                Statement::Loop(value) => {
                    writeln!(
                        out,
                        "\tfor (int i = 0; i < (b & 7); i++) r = r * 3 + {value};"
                    )
                }
            }?;
        }
        writeln!(out, "\treturn r;\n}}")
    }
}

fn linkage(function: &Function) -> &'static str {
    match (function.linkage, function.inlining) {
        (Linkage::Global, Inlining::Free) => "",
        (Linkage::Global, Inlining::Never) => "__attribute__((noinline))",
        (Linkage::Local, Inlining::Free) => "__attribute__((unused)) static",
        (Linkage::Local, Inlining::Never) => "__attribute__((unused, noinline)) static",
    }
}

fn tweak(statement: &mut Statement, choices: &mut Choices) {
    let value = small(choices);
    match statement {
        Statement::Arithmetic(_, old)
        | Statement::Call(_, old)
        | Statement::Store(_, old)
        | Statement::Fill(_, old)
        | Statement::Branch(_, old, _)
        | Statement::StaticLocal(_, old)
        | Statement::SameNameLocals(_, old)
        | Statement::Floating(old)
        | Statement::Loop(old) => *old = value,
        Statement::Constant(_, entry) => *entry = choices.below(4),
        Statement::Text(text) => *text = (0..text.len()).map(|_| letter(choices)).collect(),
        Statement::Switch(values) => values[choices.below(6)] = value,
        Statement::Indirect(first, second) => std::mem::swap(first, second),
        Statement::Load(_) | Statement::Pointers(_) | Statement::Sum(_) | Statement::FromOne(_) => {
        }
    }
}

fn small(choices: &mut Choices) -> i32 {
    i32::try_from(choices.below(120)).unwrap_or(0) + 1
}

fn letter(choices: &mut Choices) -> char {
    char::from(b"abcdefghijklmnopqrstuvwxyz"[choices.below(26)])
}
