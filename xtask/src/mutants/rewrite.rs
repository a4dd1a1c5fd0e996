//! The mutants of a source file, as branches beside the right code.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use anyhow::Context;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, ReturnType, Type};

/// One wrong change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    /// The value of the environment variable that chooses it.
    pub(super) id: u32,
    /// The file, from the workspace's root.
    pub(super) file: String,
    /// The lines that it stands on, in the changed file as in the right one.
    pub(super) lines: Range<usize>,
    /// The change, in words.
    change: String,
    /// Where it begins in the right file.
    offset: usize,
    /// Whether it changes an operator, not a whole function.
    is_operator: bool,
}

impl Mutant {
    /// The same for the same mutant, whichever others there are.
    pub(super) fn key(&self) -> (String, usize, String) {
        (self.file.clone(), self.offset, self.change.clone())
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.lines.start, self.change)
    }
}

/// The text that is written into a file at one place.
#[derive(Debug)]
struct Insertion {
    at: usize,
    /// The longer of two that begin at one place stands outside; the shorter of two that end there ends first.
    order: isize,
    text: String,
}

/// Changes `source` so that each of its mutants can be chosen, and returns them, numbered from `first_id`.
///
/// Lines stay where they are, so that an error of the compiler names the mutant that it is about.
pub(super) fn rewrite(
    file: &str,
    source: &str,
    first_id: u32,
    left_out: &BTreeSet<(String, usize, String)>,
) -> anyhow::Result<(String, Vec<Mutant>)> {
    let parsed = syn::parse_file(source).with_context(|| file.to_owned())?;
    let mut visitor =
        Visitor { file, source, next_id: first_id, left_out, insertions: vec![], mutants: vec![] };
    visitor.visit_file(&parsed);
    let Visitor { mut insertions, mutants, .. } = visitor;
    insertions.sort_by_key(|insertion| (insertion.at, insertion.order));
    let mut text = String::with_capacity(source.len() * 2);
    let mut from = 0;
    for insertion in insertions {
        text += &source[from..insertion.at];
        text += &insertion.text;
        from = insertion.at;
    }
    text += &source[from..];
    Ok((text, mutants))
}

/// Leaves one operator of each line, the outermost, and all changes of whole functions.
pub(super) fn keep_outermost(mutants: &mut Vec<Mutant>) {
    let mut lines = BTreeSet::new();
    // Of operators in each other the outer one comes first.
    mutants.retain(|mutant| {
        !mutant.is_operator || lines.insert((mutant.file.clone(), mutant.lines.start))
    });
}

struct Visitor<'a> {
    file: &'a str,
    source: &'a str,
    next_id: u32,
    left_out: &'a BTreeSet<(String, usize, String)>,
    insertions: Vec<Insertion>,
    mutants: Vec<Mutant>,
}

impl Visitor<'_> {
    /// Takes up a mutant, unless it is left out, and returns its number.
    fn add(&mut self, range: &Range<usize>, change: String, is_operator: bool) -> Option<u32> {
        let line = |at: usize| self.source[..at].matches('\n').count() + 1;
        let lines = line(range.start)..line(range.end) + 1;
        let (file, id) = (self.file.to_owned(), self.next_id);
        let mutant = Mutant { id, file, lines, change, offset: range.start, is_operator };
        if self.left_out.contains(&mutant.key()) {
            return None;
        }
        self.next_id += 1;
        self.mutants.push(mutant);
        Some(id)
    }

    /// Puts `wrong` beside the expression in `range`.
    fn beside(&mut self, range: Range<usize>, wrong: &str, change: String) {
        // A comment would swallow what follows it on the one line.
        if wrong.contains("//") {
            return;
        }
        let Some(id) = self.add(&range, change, true) else { return };
        let wrong = wrong.replace('\n', " ");
        let length = isize::try_from(range.len()).unwrap_or(isize::MAX);
        let text = format!("(if crate::__mutants::on({id}) {{ {wrong} }} else {{ ");
        self.insertions.push(Insertion { at: range.start, order: -length, text });
        let end = Insertion { at: range.end, order: isize::MIN + length, text: " })".to_owned() };
        self.insertions.push(end);
    }

    /// Lets the function with this body return at once.
    fn return_early(&mut self, name: &syn::Ident, output: &ReturnType, body: &syn::Block) {
        if body.stmts.is_empty() {
            return;
        }
        let at = body.brace_token.span.open().byte_range().end;
        let whole = self.source[body.span().byte_range()].trim_matches(['{', '}']).trim();
        // A function that always returns a value is not changed by returning it.
        for &value in values_of(output).iter().filter(|value| **value != whole) {
            let change = match value {
                "" => format!("{name} does nothing"),
                value => format!("{name} returns {value}"),
            };
            let range = body.brace_token.span.open().byte_range();
            let Some(id) = self.add(&range, change, false) else { continue };
            let text = format!(" if crate::__mutants::on({id}) {{ return {value}; }} ");
            self.insertions.push(Insertion { at, order: -1, text });
        }
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let condition_binds = binds(&binary.left) || binds(&binary.right);
        let (range, operator) = (binary.span().byte_range(), binary.op.span().byte_range());
        if let (Some(other), false) = (other_operator(&binary.op), condition_binds) {
            let before = &self.source[range.start..operator.start];
            let wrong = format!("{before}{other}{}", &self.source[operator.end..range.end]);
            let change = format!("`{other}` instead of `{}`", &self.source[operator]);
            self.beside(range, &wrong, change);
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        if matches!(unary.op, syn::UnOp::Not(_)) {
            let wrong = self.source[unary.expr.span().byte_range()].to_owned();
            self.beside(unary.span().byte_range(), &wrong, "without `!`".to_owned());
        }
        visit::visit_expr_unary(self, unary);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if function.sig.constness.is_none() && !is_test(&function.attrs) {
            self.return_early(&function.sig.ident, &function.sig.output, &function.block);
            visit::visit_block(self, &function.block);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        // What a type shows of itself decides nothing.
        if function.sig.constness.is_none() && function.sig.ident != "fmt" {
            self.return_early(&function.sig.ident, &function.sig.output, &function.block);
            visit::visit_block(self, &function.block);
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            visit::visit_block(self, body);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    // Constants and everything that is not an expression stay as they are.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_item_enum(&mut self, _: &'ast syn::ItemEnum) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }
}

/// Whether a condition binds variables, as `let` does: it has to stay where it is.
fn binds(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.segments.last().is_some_and(|last| last.ident == "test"),
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        syn::Meta::NameValue(_) => false,
    })
}

/// The operator that a mistake would write.
fn other_operator(operator: &BinOp) -> Option<&'static str> {
    Some(match operator {
        BinOp::Lt(_) => "<=",
        BinOp::Le(_) => "<",
        BinOp::Gt(_) => ">=",
        BinOp::Ge(_) => ">",
        BinOp::Eq(_) => "!=",
        BinOp::Ne(_) => "==",
        BinOp::And(_) => "||",
        BinOp::Or(_) => "&&",
        BinOp::Add(_) => "-",
        BinOp::Sub(_) => "+",
        BinOp::Mul(_) => "/",
        BinOp::Div(_) => "*",
        BinOp::AddAssign(_) => "-=",
        BinOp::SubAssign(_) => "+=",
        BinOp::MulAssign(_) => "/=",
        BinOp::DivAssign(_) => "*=",
        _ => return None,
    })
}

/// The values that a function that does not do its work could return.
fn values_of(output: &ReturnType) -> &'static [&'static str] {
    let ReturnType::Type(_, returned) = output else { return &[""] };
    let Type::Path(path) = &**returned else { return &[] };
    let Some(last) = path.path.segments.last() else { return &[] };
    match last.ident.to_string().as_str() {
        "bool" => &["true", "false"],
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i32" | "i64" => &["0", "1"],
        "f32" | "f64" => &["0.0", "1.0"],
        "String" => &["String::new()"],
        "Duration" => &["std::time::Duration::ZERO", "std::time::Duration::from_secs(1)"],
        "Option" => &["None"],
        "Vec" => &["Vec::new()"],
        "Result" if returns_unit(last) => &["Ok(())"],
        _ => &[],
    }
}

/// Whether a `Result` has nothing to say but that all is well.
fn returns_unit(result: &syn::PathSegment) -> bool {
    let syn::PathArguments::AngleBracketed(arguments) = &result.arguments else { return false };
    matches!(arguments.args.first(), Some(syn::GenericArgument::Type(Type::Tuple(tuple))) if tuple.elems.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(source: &str) -> (String, Vec<String>) {
        let (text, mutants) = rewrite("a.rs", source, 1, &BTreeSet::new()).unwrap();
        syn::parse_file(&text).unwrap();
        (text, mutants.iter().map(Mutant::to_string).collect())
    }

    #[test]
    fn a_wrong_operator_stands_beside_the_right_one() {
        let (text, mutants) = rewritten("fn f() -> &str {\n    g(a < b)\n}");
        let line = "g((if crate::__mutants::on(1) { a <= b } else { a < b }))";
        assert_eq!(text, format!("fn f() -> &str {{\n    {line}\n}}"));
        assert_eq!(mutants, ["a.rs:2: `<=` instead of `<`"]);
    }

    #[test]
    fn operators_in_each_other_are_changed_one_at_a_time() {
        let (text, mutants) = rewritten("fn f(&self) -> T {\n    a + b\n        + c && !d\n}");
        assert_eq!(mutants.len(), 4, "{mutants:?}");
        assert_eq!(text.lines().count(), 4, "lines stay where they are: {text}");
        assert!(text.contains("{ a + b         + c || !d }"), "{text}");
        assert!(text.contains("{ a - b }") && text.contains("{ d }"), "{text}");
    }

    #[test]
    fn of_the_operators_on_one_line_the_outermost_can_be_kept() {
        let source = "fn f() -> bool { a + b < c }\nfn g() -> T {\n    a + b\n        + !c\n}";
        let (_, mut mutants) = rewrite("a.rs", source, 1, &BTreeSet::new()).unwrap();
        keep_outermost(&mut mutants);
        let kept: Vec<String> = mutants.iter().map(Mutant::to_string).collect();
        let returns = ["1: f returns true", "1: f returns false", "1: `<=` instead of `<`"];
        let others = ["3: `-` instead of `+`", "4: without `!`"];
        let all = returns.into_iter().chain(others);
        assert_eq!(kept, all.map(|change| format!("a.rs:{change}")).collect::<Vec<_>>());
    }

    #[test]
    fn a_function_may_return_at_once() {
        let (text, mutants) = rewritten("fn f() -> bool { g() }\nfn g() { f(); }\nfn h() {}");
        assert!(text.contains("if crate::__mutants::on(2) { return false; }"), "{text}");
        let changes = ["1: f returns true", "1: f returns false", "2: g does nothing"];
        assert_eq!(mutants, changes.map(|change| format!("a.rs:{change}")));
    }

    #[test]
    fn a_function_that_always_returns_a_value_is_not_changed_to_return_it() {
        let (_, mutants) = rewritten("fn f() -> bool {\n    false\n}\nfn g() -> u32 { 0 }");
        assert_eq!(mutants, ["a.rs:1: f returns true", "a.rs:4: g returns 1"]);
    }

    #[test]
    fn what_the_compiler_evaluates_what_tests_and_what_binds_stays_as_it_is() {
        for source in [
            "const A: u32 = 1 + 1;",
            "const fn f() -> u32 { 1 + 1 }",
            "fn f() -> [u8; 2] { [0; 1 + 1] }",
            "#[cfg(test)]\nmod tests { fn f() -> u32 { 1 + 1 } }",
            "#[tokio::test]\nasync fn f() { g(1 + 1); }",
            "fn f() -> T { if let Some(a) = b && c { d } else { e } }",
            "fn f() -> T { g(a // sum\n + b) }",
        ] {
            assert_eq!(rewritten(source), (source.to_owned(), vec![]));
        }
    }

    #[test]
    fn a_mutant_that_does_not_compile_is_left_out() {
        let source = "fn f() -> T { g(a + b, a < b) }";
        let (_, mutants) = rewrite("a.rs", source, 1, &BTreeSet::new()).unwrap();
        let left_out = [mutants[0].key()].into();
        let (text, rest) = rewrite("a.rs", source, 1, &left_out).unwrap();
        assert_eq!(rest.len(), 1);
        assert!(text.contains("g(a + b, (if"), "{text}");
    }
}
