//! Makes every change of a file at once, each behind a switch.
//!
//! Only what decides is changed: a condition is turned round or left out, a bound is moved by one,
//! a statement is left out, an arm of a `match` is never taken, a function answers nothing.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote};
use syn::spanned::Spanned as _;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Arm, Attribute, BinOp, Block, Expr, File, ImplItemFn, ItemFn, ItemImpl, ItemMod, Pat,
    ReturnType, Signature, Stmt, Type, UnOp, parse_quote,
};

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its number, which the switch is told.
    pub number: u32,
    /// Path of the file from the workspace's folder on.
    pub file: String,
    /// The line in the file, from 1 on.
    pub line: usize,
    /// The function that it stands in.
    pub function: String,
    /// The text of that line.
    pub text: String,
    /// What is changed, and where on the line, from 1 on.
    pub what: String,
    /// See above.
    pub column: usize,
}

/// Puts switches into one file after the other.
#[derive(Debug)]
pub struct Changer<'a> {
    /// Numbers of changes that do not compile.
    excluded: &'a HashSet<u32>,
    changes: Vec<Change>,
    file: String,
    lines: Vec<String>,
    functions: Vec<String>,
}

impl<'a> Changer<'a> {
    /// Leaves the changes with these numbers out.
    #[must_use]
    pub fn new(excluded: &'a HashSet<u32>) -> Changer<'a> {
        Changer {
            excluded,
            changes: Vec::new(),
            file: String::new(),
            lines: Vec::new(),
            functions: Vec::new(),
        }
    }

    /// The text of a file, with all switches.
    ///
    /// # Errors
    /// When it is no Rust.
    pub fn change(&mut self, name: &str, text: &str) -> syn::Result<String> {
        let mut file: File = syn::parse_file(text)?;
        name.clone_into(&mut self.file);
        self.lines = text.lines().map(|line| line.trim().to_owned()).collect();
        self.visit_file_mut(&mut file);
        Ok(prettyplease::unparse(&file))
    }

    /// All changes that were made.
    #[must_use]
    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    /// Notes a change; nothing if it does not compile. Numbers do not depend on what is left out.
    ///
    /// What is answered asks the switch, and notes that the change makes a difference here.
    fn switch(&mut self, span: Span, what: impl Into<String>) -> Option<TokenStream> {
        let number = self.number(span, what)?;
        Some(quote!(crate::mutant_switch::on(#number)))
    }

    /// The same for a change that makes a difference for some values alone.
    fn number(&mut self, span: Span, what: impl Into<String>) -> Option<u32> {
        let number = u32::try_from(self.changes.len()).expect("few changes") + 1;
        let start = span.start();
        let text = self.lines.get(start.line.wrapping_sub(1));
        self.changes.push(Change {
            number,
            file: self.file.clone(),
            line: start.line,
            function: self.functions.join("::"),
            text: text.cloned().unwrap_or_default(),
            what: what.into(),
            column: start.column + 1,
        });
        let is_there = !self.excluded.contains(&number);
        is_there.then_some(number)
    }

    /// A truth, turned round.
    fn turn(&mut self, expr: &mut Expr) {
        if let Some(on) = self.switch(expr.span(), "turned round") {
            *expr = parse_quote!(((#expr) != #on));
        }
    }

    /// A condition of `if`, `while` or an arm.
    fn condition(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Let(binding) => {
                self.visit_expr_mut(&mut binding.expr);
                if let Some(number) = self.number(expr.span(), "never") {
                    *expr = parse_quote!(!crate::mutant_switch::made(#number)
                        && #expr
                        && crate::mutant_switch::reached(#number));
                }
            }
            Expr::Binary(binary)
                if matches!(binary.op, BinOp::And(_)) && has_let(&binary.left, &binary.right) =>
            {
                self.condition(&mut binary.left);
                self.condition(&mut binary.right);
            }
            _ => {
                self.visit_expr_mut(expr);
                if !is_switched(expr) {
                    self.turn(expr);
                }
            }
        }
    }

    fn binary(&mut self, expr: &mut Expr) {
        let Expr::Binary(binary) = &*expr else { return };
        let (left, op, right) = (&binary.left, binary.op, &binary.right);
        let span = op.span();
        let told = |other: &str| format!("`{}` to `{other}`", op.to_token_stream());
        match op {
            BinOp::Eq(_) | BinOp::Ne(_) => {
                let other = if matches!(op, BinOp::Eq(_)) {
                    "!="
                } else {
                    "=="
                };
                if let Some(on) = self.switch(span, told(other)) {
                    *expr = parse_quote!(((#left #op #right) != #on));
                }
            }
            BinOp::And(_) | BinOp::Or(_) => {
                let operands = [left.to_token_stream(), right.to_token_stream()];
                let is_and = matches!(op, BinOp::And(_));
                let mut made = Vec::new();
                for (operand, place) in operands.into_iter().zip(["in front of", "behind"]) {
                    let what = format!("left out {place} `{}`", op.to_token_stream());
                    made.push(match self.number(span, what) {
                        Some(number) => {
                            let value =
                                quote!(crate::mutant_switch::seen(#number, #operand, #is_and));
                            match is_and {
                                true => quote!((crate::mutant_switch::made(#number) || #value)),
                                false => quote!((!crate::mutant_switch::made(#number) && #value)),
                            }
                        }
                        None => quote!((#operand)),
                    });
                }
                let [first, second] = [&made[0], &made[1]];
                *expr = parse_quote!((#first #op #second));
            }
            BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => {
                let moved: BinOp = match op {
                    BinOp::Lt(_) => parse_quote!(<=),
                    BinOp::Le(_) => parse_quote!(<),
                    BinOp::Gt(_) => parse_quote!(>=),
                    _ => parse_quote!(>),
                };
                let to = moved.to_token_stream().to_string();
                let inner: Expr = match self.number(span, told(&to)) {
                    Some(number) => parse_quote!(match (&(#left), &(#right)) {
                        (left__, right__) => {
                            let moved__ = *left__ #moved *right__;
                            if crate::mutant_switch::made(#number) {
                                moved__
                            } else {
                                crate::mutant_switch::seen(
                                    #number,
                                    *left__ #op *right__,
                                    moved__,
                                )
                            }
                        }
                    }),
                    None => expr.clone(),
                };
                *expr = match self.switch(span, format!("turned round: `{}`", op.to_token_stream()))
                {
                    Some(on) => parse_quote!(((#inner) != #on)),
                    None => inner,
                };
            }
            _ => {
                let other: BinOp = match op {
                    BinOp::Add(_) => parse_quote!(-),
                    BinOp::Sub(_) => parse_quote!(+),
                    BinOp::Mul(_) => parse_quote!(+),
                    BinOp::Div(_) => parse_quote!(*),
                    BinOp::Rem(_) => parse_quote!(/),
                    BinOp::BitAnd(_) => parse_quote!(|),
                    BinOp::BitOr(_) => parse_quote!(&),
                    BinOp::Shl(_) => parse_quote!(>>),
                    BinOp::Shr(_) => parse_quote!(<<),
                    _ => return,
                };
                let to = other.to_token_stream().to_string();
                if let Some(on) = self.switch(span, told(&to)) {
                    *expr = parse_quote!(match (#left, #right) {
                        (left__, right__) => if #on {
                            left__ #other right__
                        } else {
                            left__ #op right__
                        },
                    });
                }
            }
        }
    }

    fn body(&mut self, signature: &Signature, block: &mut Block) {
        let ReturnType::Type(_, answer) = &signature.output else {
            return;
        };
        for instead in answers(answer) {
            let what = format!("answers {}", instead.to_token_stream());
            if let Some(on) = self.switch(signature.ident.span(), what) {
                block
                    .stmts
                    .insert(0, parse_quote!(if #on { return #instead; }));
            }
        }
    }

    fn function(&mut self, attributes: &[Attribute], signature: &Signature, block: &mut Block) {
        if signature.constness.is_some() || is_of_tests(attributes) {
            return;
        }
        self.functions.push(signature.ident.to_string());
        self.visit_block_mut(block);
        self.body(signature, block);
        self.functions.pop();
    }
}

impl VisitMut for Changer<'_> {
    fn visit_item_fn_mut(&mut self, item: &mut ItemFn) {
        self.function(&item.attrs, &item.sig, &mut item.block);
    }

    fn visit_impl_item_fn_mut(&mut self, item: &mut ImplItemFn) {
        self.function(&item.attrs, &item.sig, &mut item.block);
    }

    fn visit_item_impl_mut(&mut self, item: &mut ItemImpl) {
        // Words and what is printed for a person decide nothing.
        let is_printed = item.trait_.as_ref().is_some_and(|(_, path, _)| {
            path.segments
                .last()
                .is_some_and(|last| last.ident == "Display" || last.ident == "Debug")
        });
        if is_printed || is_of_tests(&item.attrs) {
            return;
        }
        let Type::Path(of) = &*item.self_ty else {
            return;
        };
        let name = of.path.segments.last().map(|last| last.ident.to_string());
        self.functions.extend(name);
        visit_mut::visit_item_impl_mut(self, item);
        self.functions.pop();
    }

    fn visit_item_mod_mut(&mut self, item: &mut ItemMod) {
        if !is_of_tests(&item.attrs) {
            visit_mut::visit_item_mod_mut(self, item);
        }
    }

    // What the compiler computes cannot ask a switch.
    fn visit_item_const_mut(&mut self, _: &mut syn::ItemConst) {}
    fn visit_item_static_mut(&mut self, _: &mut syn::ItemStatic) {}
    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}
    fn visit_trait_item_const_mut(&mut self, _: &mut syn::TraitItemConst) {}
    fn visit_expr_const_mut(&mut self, _: &mut syn::ExprConst) {}
    fn visit_type_mut(&mut self, _: &mut Type) {}
    fn visit_pat_mut(&mut self, _: &mut Pat) {}
    fn visit_attribute_mut(&mut self, _: &mut Attribute) {}
    fn visit_generic_argument_mut(&mut self, _: &mut syn::GenericArgument) {}
    fn visit_item_enum_mut(&mut self, _: &mut syn::ItemEnum) {}
    fn visit_expr_repeat_mut(&mut self, repeat: &mut syn::ExprRepeat) {
        self.visit_expr_mut(&mut repeat.expr);
    }

    fn visit_arm_mut(&mut self, arm: &mut Arm) {
        if let Some((_, guard)) = &mut arm.guard {
            self.condition(guard);
        }
        self.visit_expr_mut(&mut arm.body);
    }

    fn visit_stmt_mut(&mut self, statement: &mut Stmt) {
        visit_mut::visit_stmt_mut(self, statement);
        let left_out = match statement {
            Stmt::Expr(expr, Some(_)) => is_done_for_its_effect(expr),
            Stmt::Macro(checked) => checked.mac.path.is_ident("ensure"),
            _ => false,
        };
        if left_out && let Some(on) = self.switch(statement.span(), "left out") {
            *statement = parse_quote!(if !#on { #statement });
        }
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            Expr::If(branch) => {
                self.condition(&mut branch.cond);
                self.visit_block_mut(&mut branch.then_branch);
                if let Some((_, otherwise)) = &mut branch.else_branch {
                    self.visit_expr_mut(otherwise);
                }
                return;
            }
            Expr::While(while_loop) => {
                self.condition(&mut while_loop.cond);
                self.visit_block_mut(&mut while_loop.body);
                return;
            }
            _ => visit_mut::visit_expr_mut(self, expr),
        }
        match expr {
            Expr::Binary(_) => self.binary(expr),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) && !is_switched(&unary.expr) => {
                let inner = &unary.expr;
                if let Some(on) = self.switch(unary.span(), "`!` deleted") {
                    *expr = parse_quote!(match #inner {
                        inner__ => if #on { inner__ } else { !inner__ }
                    });
                }
            }
            Expr::MethodCall(call) if is_name_of_truth(&call.method.to_string()) => self.turn(expr),
            Expr::Call(call) => {
                let Expr::Path(path) = &*call.func else {
                    return;
                };
                let name = path.path.segments.last().map(|last| last.ident.to_string());
                if name.is_some_and(|name| is_name_of_truth(&name)) {
                    self.turn(expr);
                }
            }
            Expr::Macro(of) if of.mac.path.is_ident("matches") => self.turn(expr),
            Expr::Match(choice) => {
                let has_rest = choice.arms.last().is_some_and(|last| {
                    last.guard.is_none() && matches!(&last.pat, Pat::Wild(_) | Pat::Ident(_))
                });
                let count = choice.arms.len();
                for arm in choice
                    .arms
                    .iter_mut()
                    .take(if has_rest { count - 1 } else { 0 })
                {
                    let Some(number) = self.number(arm.pat.span(), "never") else {
                        continue;
                    };
                    let made = quote!(crate::mutant_switch::made(#number));
                    let reached = quote!(crate::mutant_switch::reached(#number));
                    let guard: Expr = match &arm.guard {
                        Some((_, guard)) => parse_quote!(!#made && (#guard) && #reached),
                        None => parse_quote!(!#made && #reached),
                    };
                    arm.guard = Some((Default::default(), Box::new(guard)));
                }
            }
            _ => {}
        }
    }
}

/// What a function of this type may answer without having looked.
fn answers(answer: &Type) -> Vec<Expr> {
    let Type::Path(path) = answer else {
        return Vec::new();
    };
    let Some(last) = path.path.segments.last() else {
        return Vec::new();
    };
    let text = answer.to_token_stream().to_string().replace(' ', "");
    match last.ident.to_string().as_str() {
        "bool" => vec![parse_quote!(true), parse_quote!(false)],
        "Option" => vec![parse_quote!(None)],
        "Vec" => vec![parse_quote!(Default::default())],
        "Result" if text.contains("Result<()") => vec![parse_quote!(Ok(()))],
        "u64" | "usize" | "u32" | "i64" => vec![parse_quote!(0), parse_quote!(1)],
        _ => Vec::new(),
    }
}

/// Whether a name says yes or no, as the house names such things and the standard library does.
fn is_name_of_truth(name: &str) -> bool {
    let begins = [
        "is_",
        "has_",
        "can_",
        "may_",
        "was_",
        "are_",
        "contains",
        "starts_with",
        "ends_with",
    ];
    begins.iter().any(|begin| name.starts_with(begin)) || matches!(name, "any" | "all")
}

/// Whether a switch turns it round already.
fn is_switched(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => is_switched(&inner.expr),
        Expr::Binary(_) => true,
        Expr::Match(_) | Expr::Unary(_) => true,
        Expr::MethodCall(call) => is_name_of_truth(&call.method.to_string()),
        _ => false,
    }
}

fn has_let(left: &Expr, right: &Expr) -> bool {
    fn is(expr: &Expr) -> bool {
        match expr {
            Expr::Let(_) => true,
            Expr::Binary(binary) if matches!(binary.op, BinOp::And(_)) => {
                has_let(&binary.left, &binary.right)
            }
            _ => false,
        }
    }
    is(left) || is(right)
}

/// Whether nothing but its effect is of use.
fn is_done_for_its_effect(expr: &Expr) -> bool {
    match expr {
        // Words for a log decide nothing.
        Expr::MethodCall(call) => call.method != "log",
        Expr::Call(_) | Expr::Assign(_) => true,
        Expr::Try(tried) => is_done_for_its_effect(&tried.expr),
        Expr::Binary(binary) => matches!(
            binary.op,
            BinOp::AddAssign(_)
                | BinOp::SubAssign(_)
                | BinOp::BitOrAssign(_)
                | BinOp::BitAndAssign(_)
        ),
        _ => false,
    }
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = attribute.to_token_stream().to_string().replace(' ', "");
        text == "#[test]" || text.starts_with("#[cfg(test") || text.starts_with("#[cfg(loom")
    })
}
