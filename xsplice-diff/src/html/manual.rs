//! Pages of the manual (`--explain-code`) inside the report.

use std::fmt::Write;

use super::text::Text;

/// A page of the manual as HTML: paragraphs, lists, examples and code, which is all they use.
#[must_use]
pub(crate) fn html(markdown: &str) -> String {
    let mut out = String::new();
    for block in markdown.split("\n\n") {
        if block.starts_with("    ") {
            let lines: Vec<&str> = block
                .lines()
                .map(|line| line.strip_prefix("    ").unwrap_or(line))
                .collect();
            let _ = write!(out, "<pre>{}</pre>", Text(&lines.join("\n")));
        } else if let Some(items) = block.strip_prefix("- ") {
            out.push_str("<ul>");
            for item in items.split("\n- ") {
                let _ = write!(out, "<li>{}</li>", prose(item));
            }
            out.push_str("</ul>");
        } else {
            let _ = write!(out, "<p>{}</p>", prose(block));
        }
    }
    out
}

/// Text with `code` in it.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        let _ = if index % 2 == 0 {
            write!(out, "{}", Text(part))
        } else {
            write!(out, "<code>{}</code>", Text(part))
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::html;
    use crate::tell::code_page;

    #[test]
    fn a_page_of_the_manual_keeps_its_parts() {
        let page = code_page::find("changed-data").expect("documented");
        let html = html(page.text);
        assert!(html.contains("<pre>-int limit"), "{html}");
        assert!(html.contains("<ul><li>The value:"), "{html}");
        assert!(!html.contains('`'), "{html}");
    }
}
