//! The constructs of C that programs are made of: one statement each.

use std::fmt::Write;

use xsplice_test_objects::mutate::Choices;

use crate::machine::Machine;

/// A construct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Arithmetic,
    Call,
    TailCall,
    AliasCall,
    Branch,
    Indirect,
    Loop,
    Recursion,
    Switch,
    LabelTable,
    WritableLabelTable,
    Store,
    Load,
    Atomic,
    Sum,
    FromOne,
    Fill,
    ConstantTable,
    PointerTable,
    SharedTable,
    CharacterTable,
    NameTable,
    Text,
    WideText,
    Utf16Text,
    CompoundLiteral,
    StructCopy,
    StaticLocal,
    SameNameLocals,
    SharedState,
    BitField,
    Common,
    Floating,
    Single,
    Vector,
    Wide,
    Punned,
    VariableArray,
    Line,
    Walk,
    Registered,
    Identity,
    Warning,
    Exception,
    Alternative,
    OtherAlternative,
    WideSwitch,
    LargeFrame,
    BitTest,
    Literal,
    NearData,
}

impl Kind {
    /// Those of every machine.
    const EVERYWHERE: [Kind; 46] = [
        Kind::Arithmetic,
        Kind::Call,
        Kind::TailCall,
        Kind::AliasCall,
        Kind::Branch,
        Kind::Indirect,
        Kind::Loop,
        Kind::Recursion,
        Kind::Switch,
        Kind::LabelTable,
        Kind::WritableLabelTable,
        Kind::Store,
        Kind::Load,
        Kind::Atomic,
        Kind::Sum,
        Kind::FromOne,
        Kind::Fill,
        Kind::ConstantTable,
        Kind::PointerTable,
        Kind::SharedTable,
        Kind::CharacterTable,
        Kind::NameTable,
        Kind::Text,
        Kind::WideText,
        Kind::Utf16Text,
        Kind::CompoundLiteral,
        Kind::StructCopy,
        Kind::StaticLocal,
        Kind::SameNameLocals,
        Kind::SharedState,
        Kind::BitField,
        Kind::Common,
        Kind::Floating,
        Kind::Single,
        Kind::Vector,
        Kind::Wide,
        Kind::Punned,
        Kind::VariableArray,
        Kind::Line,
        Kind::Walk,
        Kind::Registered,
        Kind::Identity,
        Kind::Warning,
        Kind::Exception,
        Kind::Alternative,
        Kind::OtherAlternative,
    ];

    /// Those that AArch64 alone has: tables of jumps without relocations, frames beyond the
    /// numbers of one instruction, branches of short reach, data in code.
    const ARM64_ALONE: [Kind; 5] = [
        Kind::WideSwitch,
        Kind::LargeFrame,
        Kind::BitTest,
        Kind::Literal,
        Kind::NearData,
    ];

    /// All that programs for a machine are made of.
    pub(crate) fn of(machine: Machine) -> impl Iterator<Item = Kind> {
        let own: &[Kind] = match machine {
            Machine::X86_64 => &[],
            Machine::Arm64 => &Kind::ARM64_ALONE,
        };
        Kind::EVERYWHERE.into_iter().chain(own.iter().copied())
    }

    /// One of them.
    pub(crate) fn random(machine: Machine, choices: &mut Choices) -> Kind {
        let all: Vec<Kind> = Kind::of(machine).collect();
        all[choices.below(all.len())]
    }

    /// Whether it needs registers for floating-point numbers or vectors.
    pub(crate) fn is_floating(self) -> bool {
        matches!(
            self,
            Kind::Floating | Kind::Single | Kind::Vector | Kind::Punned
        )
    }

    /// What it refers to besides numbers.
    pub(crate) fn needs(self) -> Needs {
        match self {
            Kind::Call | Kind::TailCall | Kind::Branch | Kind::Indirect => Needs::Function,
            Kind::AliasCall => Needs::Alias,
            Kind::Store | Kind::Load | Kind::Atomic | Kind::Sum | Kind::FromOne | Kind::Fill => {
                Needs::Variable
            }
            Kind::ConstantTable | Kind::PointerTable => Needs::Table,
            Kind::Registered => Needs::Operations,
            _ => Needs::Nothing,
        }
    }
}

/// What a construct refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Function,
    Alias,
    Variable,
    Table,
    Operations,
}

/// A statement of a function.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// Its construct.
    pub kind: Kind,
    /// What it refers to.
    pub at: usize,
    /// The same a second time, where it refers to two.
    pub other: usize,
    /// Its numbers.
    pub numbers: [i32; 3],
    /// Its letters.
    pub letters: String,
}

impl Statement {
    /// A statement with random numbers.
    pub(crate) fn random(kind: Kind, at: usize, other: usize, choices: &mut Choices) -> Statement {
        Statement {
            kind,
            at,
            other,
            numbers: [0; 3].map(|_| small(choices)),
            letters: (0..5).map(|_| letter(choices)).collect(),
        }
    }

    /// Changes one thing of it.
    pub(crate) fn tweak(&mut self, choices: &mut Choices) {
        match choices.below(6) {
            0 => self.letters = (0..5).map(|_| letter(choices)).collect(),
            1 => std::mem::swap(&mut self.at, &mut self.other),
            2 => self.numbers.swap(0, 1),
            _ => self.numbers[choices.below(3)] = small(choices),
        }
    }

    /// What a variable of its own begins with: one that runs has another value by now, and no
    /// payload gives it the new one.
    pub(crate) fn begins_with(&self) -> Option<i32> {
        let [x, _, z] = self.numbers;
        match self.kind {
            Kind::StaticLocal => Some(if x & 1 == 0 { 0 } else { x }),
            Kind::BitField => Some(x),
            Kind::WritableLabelTable => Some(z % 3),
            _ => None,
        }
    }

    /// Writes it as C for a machine; `file` is the letter of the file.
    pub(crate) fn write(&self, out: &mut String, machine: Machine, file: char) -> std::fmt::Result {
        let Statement {
            at, other, letters, ..
        } = self;
        let [x, y, z] = self.numbers;
        match self.kind {
            Kind::Arithmetic => match x % 5 {
                0 => writeln!(out, "\tr += b * {y};"),
                1 => writeln!(out, "\tr ^= a + {y};"),
                2 => writeln!(out, "\tr = (r << 1) - {y};"),
                3 => writeln!(out, "\tr |= (b & {y});"),
                _ => writeln!(out, "\tb -= r + {y};"),
            },
            Kind::Call => writeln!(out, "\tr += f{at}(b, r ^ {x});"),
            Kind::TailCall => writeln!(out, "\tif (r & {x}) return f{at}(b & 255, {y});"),
            Kind::AliasCall => writeln!(out, "\tr ^= g{at}(b, {x});"),
            Kind::Branch => writeln!(
                out,
                "\tif (__builtin_expect(r > {x} * 100, {})) {{ r -= f{at}(r & 15, {y}); r ^= f{at}(1, b & 7); }}",
                z & 1
            ),
            Kind::Indirect => writeln!(
                out,
                "\t{{ static int (*const ops[2])(int, int) = {{ f{at}, f{other} }}; r ^= ops[b & 1](a, {x}); }}"
            ),
            Kind::Loop => writeln!(out, "\tfor (int i = 0; i < (b & 7); i++) r = r * 3 + {x};"),
            Kind::Recursion => writeln!(out, "\tr += deep(b & 7, {x});"),
            Kind::Switch => writeln!(
                out,
                "\tswitch (r & 7) {{ case 0: r += {x}; break; case 1: r ^= b * {y}; break; case 2: r -= {z}; \
                 break; case 3: r += b * 5; break; case 4: r = b; break; case 5: r *= {y}; break; \
                 default: r--; }}"
            ),
            Kind::LabelTable => self.labels(out, "static const void *const"),
            Kind::WritableLabelTable => self.labels(out, "static const void *"),
            Kind::Store => writeln!(out, "\tv{at} += r + {x}; r ^= v{at};"),
            Kind::Load => writeln!(out, "\tr -= v{at};"),
            Kind::Atomic => writeln!(
                out,
                "\tr += __atomic_fetch_add(&v{at}, {x}, __ATOMIC_SEQ_CST);"
            ),
            Kind::Sum => writeln!(
                out,
                "\tfor (int *p = a{at}; p != a{at} + 6; p++) r = r * 3 + *p;"
            ),
            Kind::FromOne => writeln!(
                out,
                "\t{{ long k = (b & 3) + 1; asm volatile(\"\" : \"+r\"(k)); r ^= a{at}[k - 1]; }}"
            ),
            Kind::Fill => writeln!(out, "\ta{at}[b & 3] += r ^ {x};"),
            Kind::ConstantTable => writeln!(out, "\tr += t{at}[(a + {x}) & 3];"),
            Kind::PointerTable => writeln!(out, "\tr += p{at}[b & 3][0];"),
            Kind::SharedTable => writeln!(out, "\tr += shared[(a + {x}) & 3];"),
            Kind::CharacterTable => writeln!(
                out,
                "\t{{ static const char names[3][8] = {{ \"{letters}\", \"one\", \"{letters}{letters}\" }}; \
                 r += names[(unsigned)b % 3][r & 1]; }}",
                letters = &letters[..3]
            ),
            Kind::NameTable => writeln!(
                out,
                "\t{{ static const char *const names[] = {{ \"{letters}\", \"two\", \"x{letters}\" }}; \
                 r += names[(unsigned)b % 3][1]; }}"
            ),
            Kind::Text => writeln!(out, "\tr += \"{letters}\"[b & 3];"),
            Kind::WideText => writeln!(out, "\tr += L\"{letters}\"[b & 3];"),
            Kind::Utf16Text => writeln!(out, "\tr += u\"{letters}\"[b & 3];"),
            Kind::CompoundLiteral => {
                writeln!(out, "\tr += (const int[]){{ {x}, {y}, 7, {z} }}[b & 3];")
            }
            Kind::StructCopy => writeln!(
                out,
                "\t{{ struct big {{ int m[12]; }} x = {{ {{ {x}, {y}, {z}, 4, 5, 6, 7, 8, 9, 10, 11, 12 }} }}; \
                 asm volatile(\"\" : : \"r\"(&x) : \"memory\"); r += x.m[b & 7]; }}"
            ),
            Kind::StaticLocal => writeln!(
                out,
                "\t{{ static int n = {}; n += a ^ {y}; r += n; }}",
                self.begins_with().unwrap_or(0)
            ),
            Kind::SameNameLocals => writeln!(
                out,
                "\tif (__builtin_expect(r & 1, {})) {{ static int m; m += {x}; r ^= m; }} else {{ static int m; \
                 m -= {y} + b; r += m; }}",
                z & 1
            ),
            Kind::SharedState => writeln!(out, "\tr += counted(b + {x});"),
            Kind::BitField => writeln!(
                out,
                "\t{{ static struct {{ unsigned x : 3, y : 5, z : 9; }} s = {{ 1, 2, {x} }}; s.x += b; \
                 s.z ^= r; s.y++; r += s.y + s.z + s.x; }}"
            ),
            Kind::Common => writeln!(out, "\tcommon_words += {x}; r ^= common_words;"),
            Kind::Floating => writeln!(out, "\tr += (int)((r & 255) * {x}.5);"),
            Kind::Single => writeln!(out, "\tr += (int)((r & 255) * {x}.25f + {y}.5f);"),
            Kind::Vector => writeln!(
                out,
                "\t{{ quad q = {{ r, a, b, {x} }}; q = q * (quad){{ {y}, 2, 3, {z} }} + q; r += q[0] ^ q[b & 3]; }}"
            ),
            Kind::Wide => writeln!(
                out,
                "\t{{ unsigned __int128 w = (unsigned __int128)(unsigned)r * 0x123456789abcdefULL; \
                 r += (int)(w >> ({x} & 63)); }}"
            ),
            Kind::Punned => writeln!(
                out,
                "\t{{ union {{ double d; long l; }} u = {{ .d = r * {x}.75 }}; r ^= (int)(u.l >> 40); }}"
            ),
            Kind::VariableArray => writeln!(
                out,
                "\t{{ int n = (b & 3) + 2, q[n]; for (int i = 0; i < n; i++) q[i] = r + i * {x}; \
                 asm volatile(\"\" : : \"r\"(q) : \"memory\"); r += q[n - 1]; }}"
            ),
            Kind::Line => writeln!(out, "\tr += note(__LINE__);"),
            Kind::Walk => writeln!(
                out,
                "\tfor (const int *s = __start_steps; s < __stop_steps; s++) r = r * 7 + *s;"
            ),
            Kind::Registered => writeln!(
                out,
                "\tif (reg_{file}) r += reg_{file}->run(b & 31, {x}) + reg_{file}->v;"
            ),
            Kind::Identity => writeln!(out, "\tr += reg_{file} == &ops_{file} ? {x} : -{y};"),
            Kind::Warning => match machine {
                Machine::X86_64 => writeln!(out, "\tr += WARN(\"{}\");", &letters[..3]),
                // Its text is a file name, which must be one of the image.
                Machine::Arm64 => {
                    let [one, two] = warning_names(file);
                    let name = if letters.as_str() < "n" { one } else { two };
                    writeln!(out, "\tr += WARN(\"{name}\");")
                }
            },
            Kind::Exception => writeln!(out, "\tr += LOAD_OR({x});"),
            Kind::Alternative => writeln!(out, "\tr = ALTERNATIVE(r, {x}, {y}, 1);"),
            Kind::OtherAlternative => writeln!(out, "\tr = ALTERNATIVE(r, {x}, {y}, 2);"),
            Kind::WideSwitch => wide_switch(out, self.numbers),
            Kind::LargeFrame => writeln!(
                out,
                "\t{{ volatile char q[20000]; q[b & 255] = r; q[16500 + (b & 63)] = {x}; \
                 r += q[b & 255] * {y} + q[16500 + (b & 63)]; }}"
            ),
            Kind::BitTest => writeln!(
                out,
                "\t{{ __label__ clear; asm goto(\"tbz %w0, #{bit}, %l[clear]\" : : \"r\"(r) : : clear); r += {y}; \
                 clear: r ^= b; }}",
                bit = x & 31
            ),
            Kind::Literal => writeln!(out, "\tr += LITERAL({x}{y:03});"),
            Kind::NearData => writeln!(out, "\tr ^= NEAR_DATA({x}, b & 1);"),
        }
    }

    fn labels(&self, out: &mut String, what: &str) -> std::fmt::Result {
        let [x, y, z] = self.numbers;
        let order = match z % 3 {
            0 => "&&one, &&two, &&three",
            1 => "&&two, &&one, &&three",
            _ => "&&three, &&one, &&two",
        };
        writeln!(
            out,
            "\t{{ __label__ one, two, three, out; {what} go[3] = {{ {order} }}; goto *go[(unsigned)b % 3]; \
             one: r += {x}; goto out; two: r ^= {y}; three: r -= a; out:; }}"
        )
    }
}

fn wide_switch(out: &mut String, [x, y, z]: [i32; 3]) -> std::fmt::Result {
    write!(out, "\tswitch ((unsigned)(r ^ b) % 21) {{")?;
    for case in 0..20 {
        match (case + z) % 4 {
            0 => write!(out, " case {case}: r += {x} + b * {case}; break;")?,
            1 => write!(out, " case {case}: r ^= b + {y}; break;")?,
            2 => write!(out, " case {case}: b -= r * {case};")?,
            _ => write!(out, " case {case}: r = b - {case}; break;")?,
        }
    }
    writeln!(out, " default: r--; }}")
}

/// File names that warnings of a file have on AArch64, where they must be the image's own.
pub(crate) fn warning_names(file: char) -> [String; 2] {
    [format!("{file}.c"), format!("{file}.h")]
}

/// What every file begins with: what is its machine's own, then the rest.
pub(crate) fn prelude(machine: Machine) -> [&'static str; 2] {
    let own = match machine {
        Machine::X86_64 => include_str!("prelude/x86_64.h"),
        Machine::Arm64 => include_str!("prelude/aarch64.h"),
    };
    [own, include_str!("prelude/shared.h")]
}

/// A number from 1 to 120.
pub(crate) fn small(choices: &mut Choices) -> i32 {
    i32::try_from(choices.below(120)).unwrap_or(0) + 1
}

/// A lower-case letter.
pub(crate) fn letter(choices: &mut Choices) -> char {
    char::from(b"abcdefghijklmnopqrstuvwxyz"[choices.below(26)])
}
