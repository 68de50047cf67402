//! Tells from the text of a hunk whether it changes a member of a structure or union.
//!
//! Only the hunk is read, not the rest of the file. What tells is the end of the type below the
//! line, or its beginning above it or behind the `@@`.

use diffy::Line;

/// Whether a removed or added line looks like a member.
pub(super) fn changes_member(hunk: &diffy::Hunk<'_, [u8]>) -> bool {
    let lines: Vec<(bool, String)> = hunk
        .lines()
        .iter()
        .map(|line| match line {
            Line::Context(text) => (false, String::from_utf8_lossy(text).into_owned()),
            Line::Delete(text) | Line::Insert(text) => {
                (true, String::from_utf8_lossy(text).into_owned())
            }
        })
        .collect();
    let heading = hunk.function_context().map(String::from_utf8_lossy);
    let heading = heading.as_deref().unwrap_or_default();
    let mut all = lines.iter().enumerate();
    all.any(|(at, (is_changed, text))| {
        *is_changed && is_declaration(text) && is_in_type(&lines, at, heading)
    })
}

/// Whether a line that stands inside something ends a declaration or a statement.
fn is_declaration(line: &str) -> bool {
    let code = line.split("/*").next().unwrap_or_default();
    let code = code.split("//").next().unwrap_or_default().trim_end();
    line.starts_with([' ', '\t']) && code.ends_with(';')
}

fn is_in_type(lines: &[(bool, String)], at: usize, heading: &str) -> bool {
    let is_outermost = |line: &&str| {
        let starts_inside = line.starts_with([' ', '\t', '#', '*', '/', '{']);
        !starts_inside && !line.trim().is_empty()
    };
    let mut below = lines[at + 1..].iter().map(|(_, text)| text.as_str());
    if let Some(end) = below.find(is_outermost) {
        let end = end.trim_end();
        return end.starts_with('}') && end.ends_with(';') && !end.contains("while");
    }
    let mut above = lines[..at].iter().rev().map(|(_, text)| text.as_str());
    begins_type(above.find(is_outermost).unwrap_or(heading))
}

fn begins_type(line: &str) -> bool {
    const KINDS: [&str; 4] = ["struct ", "union ", "typedef struct", "typedef union"];
    let begins = KINDS.iter().any(|kind| line.starts_with(kind));
    begins && !line.contains(['(', ';', '='])
}
