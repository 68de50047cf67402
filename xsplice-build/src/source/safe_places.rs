//! Where a line of its own may be put into a file of C: not within comments, literals, continued
//! lines and parentheses, which may be the arguments of a macro.

/// What a line says to the preprocessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    /// `#if`, `#ifdef`, `#ifndef`.
    If,
    /// `#elif` and its forms.
    Elif,
    /// `#else`.
    Else,
    /// `#endif`.
    Endif,
    /// Another.
    Other,
    /// Nothing.
    None,
}

/// A line of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'t> {
    /// With its end.
    pub bytes: &'t [u8],
    /// Whether another may be put before it.
    pub is_safe: bool,
    /// What it begins with.
    pub directive: Directive,
}

/// Where the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Code,
    Comment,
    LineComment,
    /// A string or a character, by the mark that ends it.
    Literal(u8),
}

struct Reader {
    within: Within,
    /// How many parentheses are open.
    depth: usize,
    /// The same at each open `#if`, and whether it has an `#else`: its groups are read one for the
    /// other, and what may be left out as a whole opens as many as it closes.
    at_if: Vec<(usize, bool)>,
    /// Whether the line before continues in this one.
    is_continued: bool,
    /// Whether that is a line of a directive.
    is_directive: bool,
}

/// The lines of a file, in order.
pub(super) fn read(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut reader = Reader {
        within: Within::Code,
        depth: 0,
        at_if: Vec::new(),
        is_continued: false,
        is_directive: false,
    };
    text.split_inclusive(|byte| *byte == b'\n')
        .map(move |bytes| reader.line(bytes))
}

impl Reader {
    fn line<'t>(&mut self, bytes: &'t [u8]) -> Line<'t> {
        // A function ends in the first column: what was counted wrong before does not matter.
        if bytes.first() == Some(&b'}') && self.within == Within::Code && !self.is_continued {
            self.depth = 0;
        }
        let is_fresh = self.within == Within::Code && !self.is_continued;
        let directive = match is_fresh {
            true => directive(bytes),
            false => Directive::None,
        };
        let is_safe = is_fresh && self.depth == 0;
        self.is_directive = match self.is_continued {
            true => self.is_directive,
            false => directive != Directive::None,
        };
        match directive {
            Directive::If => self.at_if.push((self.depth, false)),
            Directive::Elif | Directive::Else => {
                if let Some((depth, has_else)) = self.at_if.last_mut() {
                    self.depth = *depth;
                    *has_else |= directive == Directive::Else;
                }
            }
            Directive::Endif => {
                if let Some((depth, false)) = self.at_if.pop() {
                    self.depth = depth;
                }
            }
            Directive::Other | Directive::None => {}
        }
        let content = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        self.is_continued = content.ends_with(b"\\");
        self.scan(content);
        Line {
            bytes,
            is_safe,
            directive,
        }
    }

    /// Reads a line without its end.
    fn scan(&mut self, line: &[u8]) {
        let mut at = 0;
        while let Some(&byte) = line.get(at) {
            let next = line.get(at + 1).copied();
            let mut length = 1;
            match (self.within, byte, next) {
                (Within::Code, b'/', Some(b'*')) => (self.within, length) = (Within::Comment, 2),
                (Within::Comment, b'*', Some(b'/')) => (self.within, length) = (Within::Code, 2),
                (Within::Code, b'/', Some(b'/')) => self.within = Within::LineComment,
                (Within::Code, b'"' | b'\'', _) => self.within = Within::Literal(byte),
                (Within::Literal(_), b'\\', Some(_)) => length = 2,
                (Within::Literal(end), _, _) if byte == end => self.within = Within::Code,
                (Within::Code, b'(', _) if !self.is_directive => self.depth += 1,
                (Within::Code, b')', _) if !self.is_directive => {
                    self.depth = self.depth.saturating_sub(1);
                }
                _ => {}
            }
            at += length;
        }
        // Text that is left out by #if need not be well-formed.
        let ends = self.within != Within::Comment && !self.is_continued;
        if ends {
            self.within = Within::Code;
        }
    }
}

/// What a line says that begins neither in a comment nor as the continuation of another.
fn directive(line: &[u8]) -> Directive {
    let Some(rest) = line.trim_ascii_start().strip_prefix(b"#") else {
        return Directive::None;
    };
    let rest = rest.trim_ascii_start();
    let end = rest.iter().position(|byte| !byte.is_ascii_alphabetic());
    match &rest[..end.unwrap_or(rest.len())] {
        b"if" | b"ifdef" | b"ifndef" => Directive::If,
        b"elif" | b"elifdef" | b"elifndef" => Directive::Elif,
        b"else" => Directive::Else,
        b"endif" => Directive::Endif,
        _ => Directive::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    fn safe(text: &str) -> Vec<usize> {
        let lines = read(text.as_bytes()).enumerate();
        let safe = lines.filter(|(_, line)| line.is_safe);
        safe.map(|(index, _)| index + 1).collect()
    }

    #[test]
    fn lines_that_others_continue_are_not_safe() {
        assert_eq!(safe("a;\nb(c,\n  d);\ne;\n"), [1, 2, 4]);
        assert_eq!(safe("/* (\n' */\na;\n"), [1, 3]);
        assert_eq!(safe("#define F(x) \\\n  g(\\\n x)\na;\n"), [1, 4]);
        assert_eq!(safe("s = \"(\\\n\";\na;\n"), [1, 3]);
        assert_eq!(safe("c = '('; d = '\\''; // it's (\na;\n"), [1, 2]);
    }

    #[test]
    fn groups_of_one_condition_are_read_one_for_the_other() {
        let text = "#ifdef A\nif (a &&\n#else\nif (b &&\n#endif\n  c)\nd;\n";
        // The second group begins where the first did.
        assert_eq!(safe(text), [1, 2, 4, 7]);
        // What looks like a character ends with its line, and the parenthesis within it is none.
        let text = "#if 0\nit's (\n#endif\nf(\n}\ng;\n";
        assert_eq!(safe(text), [1, 2, 3, 4, 5, 6]);
        assert_eq!(safe("#if 0\ng(\n#endif\nf;\n"), [1, 2, 4]);
    }
}
