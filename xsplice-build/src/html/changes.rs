//! Brings together what the differ and the linker know of each function.

use xsplice_diff::disassembly::{Code, new_code, original_code, patched_code};
use xsplice_diff::extract::Extract;
use xsplice_diff::report::{FunctionChange, Status};
use xsplice_link::record::RecordPlan;

use super::Page;

/// A function of the page.
#[derive(Debug)]
pub struct Function<'a> {
    /// Where links to it lead: never made from a name.
    pub anchor: String,
    /// What the report says of it.
    pub change: &'a FunctionChange,
    /// The original code; `None` for a new function, and when something was refused.
    pub old: Option<Code<'a>>,
    /// The new code; `None` when something was refused.
    pub new: Option<Code<'a>>,
    /// Where it lands; `None` for a new function, and when nothing was linked.
    pub plan: Option<&'a RecordPlan>,
}

/// All functions, in the order of the report.
pub fn functions_of<'a>(page: &Page<'a>) -> Vec<Function<'a>> {
    let plans: &'a [RecordPlan] = match page.linked {
        Some(linked) => &linked.payload.records,
        None => &[],
    };
    page.diffs
        .iter()
        .flat_map(|diff| {
            let extract = diff.extract.as_ref();
            diff.functions.iter().map(move |change| (change, extract))
        })
        .enumerate()
        .map(|(index, (change, extract))| function(index, change, extract, plans))
        .collect()
}

fn function<'a>(
    index: usize,
    change: &'a FunctionChange,
    extract: Option<&'a Extract<'_>>,
    plans: &'a [RecordPlan],
) -> Function<'a> {
    let mut function = Function {
        anchor: format!("function-{}", index + 1),
        change,
        old: None,
        new: None,
        plan: None,
    };
    let Some(extract) = extract else {
        return function;
    };
    let record = extract.records.iter().find(|record| {
        change.status == Status::Changed
            && extract
                .symbols
                .get(record.symbol.0)
                .is_some_and(|symbol| symbol.name == change.name)
    });
    match record {
        Some(record) => {
            function.old = Some(original_code(&record.original));
            function.new = patched_code(extract, record);
            // The base qualifies locals by their file: `file#name`.
            function.plan = plans.iter().find(|plan| {
                let bare = plan.name.rsplit('#').next();
                plan.object == extract.object && bare == Some(record.name.as_str())
            });
        }
        None => function.new = new_code(extract, &change.name),
    }
    function
}
