//! Text from files, made safe for the page; numbers, made readable.

use std::fmt;

/// Escapes arbitrary text for content and for quoted attributes.
///
/// Characters that would be invisible or turn the text around them (controls, direction marks)
/// are spelt out, so that a name cannot look like another one.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for character in self.0.chars() {
            match character {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                '\n' => out.write_char('\n')?,
                _ if is_misleading(character) => write!(out, "{}", character.escape_unicode())?,
                _ => out.write_char(character)?,
            }
        }
        Ok(())
    }
}

fn is_misleading(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A name, a path or a value, in the type of code.
#[must_use]
pub fn code(text: &str) -> String {
    format!("<code>{}</code>", Text(text))
}

/// `1 function`, `2 functions`.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// Bytes as people say them: exact below 1 KiB, else with one decimal and the exact number.
#[must_use]
pub fn size(bytes: usize) -> String {
    const UNITS: [&str; 3] = ["KiB", "MiB", "GiB"];
    if bytes < 1024 {
        return count(bytes, "byte");
    }
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// The same for a number of a file.
#[must_use]
pub fn size_u64(bytes: u64) -> String {
    size(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// With a comma before every third digit.
#[must_use]
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Text, grouped, size};

    #[test]
    fn text_stands_for_itself_in_content_and_attributes() {
        assert_eq!(
            Text("a<b>&\"c'\u{202e}d\u{0}").to_string(),
            "a&lt;b&gt;&amp;&quot;c&#39;\\u{202e}d\\u{0}"
        );
        assert_eq!(Text("größe.c#f").to_string(), "größe.c#f");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(size(1), "1 byte");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 * 1024 * 1024), "3.0 MiB");
    }
}
