//! LET and FUNCTION: expressions that have a name.
//!
//! They stand for their text: each use is put in place of the name and typed there, with brackets around it. A column that was
//! declared comes before a `LET` of its name, a field that nothing declares after it.

use std::ops::ControlFlow;

use sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart, VisitMut,
    visit_expressions,
};
use syncline_syntax::{Span, ast};

use super::{Resolver, null};
use crate::{
    message::shorthand as say,
    names::Names,
    scope::{Found, same_name},
};

/// Parts that all uses in one expression may add up to: each can double the last, and the tree is walked by recursion.
pub(super) const MOST_PARTS: usize = 300;

impl Resolver<'_, '_> {
    /// What a name stands for, when it is no column.
    pub(super) fn named_value(&mut self, name: &str, place: Span) -> Option<Expr> {
        if let Some((_, given)) = self.parameters.iter().find(|(parameter, _)| same_name(parameter, name)) {
            let given = given.clone();
            return Some(if self.afford(&given, place) { given } else { null() });
        }
        let declared = match self.scope.find(name) {
            Found::Column(column) => !column.undeclared,
            Found::Several(_) | Found::Gone(_) => true,
            Found::Undeclared | Found::Lost | Found::Nothing => false,
        };
        let value = if declared { None } else { self.walk.world.names.value(name) }?;
        Some(self.put_in(&value.value, Vec::new(), place))
    }

    /// The call of a `FUNCTION` of the file, with its arguments put in.
    pub(super) fn called(&mut self, function: &Function) -> Option<Expr> {
        let [ObjectNamePart::Identifier(name)] = &function.name.0[..] else { return None };
        let declared = self.walk.world.names.function(&name.value)?;
        let place = self.walk.place_of(name.span, self.whole);
        let Some(given) = arguments(function).filter(|given| given.len() == declared.parameters.len()) else {
            let said = say::arguments(place, declared);
            self.walk.say(said);
            self.broken = true;
            return Some(null());
        };
        let mut parameters = Vec::new();
        for (parameter, given) in declared.parameters.iter().zip(given) {
            let mut given = given.clone();
            // Names in the arguments are those at the call.
            let _ = VisitMut::visit(&mut given, self);
            let given = match &parameter.data_type {
                Some(kind) => cast(given, &kind.ast),
                None => grouped(given),
            };
            parameters.push((parameter.name.text.clone(), given));
        }
        let body = self.put_in(&declared.body, parameters, place);
        Some(declared.returns.as_ref().map_or(body.clone(), |kind| cast(body, &kind.ast)))
    }

    fn put_in(&mut self, body: &ast::SqlExpr, parameters: Vec<(String, Expr)>, used: Span) -> Expr {
        if !self.afford(&body.ast, used) {
            return null();
        }
        let said = self.walk.said.len();
        let mut ast = body.ast.clone();
        let mut inner = Resolver {
            walk: &mut *self.walk,
            scope: &mut *self.scope,
            whole: body.span,
            broken: false,
            parameters,
            parts_left: self.parts_left,
            levels: self.levels.clone(),
            rows: None,
        };
        let _ = VisitMut::visit(&mut ast, &mut inner);
        let (broken, parts_left) = (inner.broken, inner.parts_left);
        (self.broken, self.parts_left) = (self.broken || broken, parts_left);
        // A mistake is shown where it was written, with the place that uses it.
        let about_it = self.walk.said.split_off(said);
        self.walk.said.extend(about_it.into_iter().map(|one| one.also(used, "used here")));
        grouped(ast)
    }

    fn afford(&mut self, expr: &Expr, used: Span) -> bool {
        match self.parts_left.checked_sub(parts(expr)) {
            Some(left) => self.parts_left = left,
            None => {
                if !self.broken {
                    self.walk.say(say::too_large(used, MOST_PARTS));
                }
                self.broken = true;
            }
        }
        !self.broken
    }
}

fn parts(expr: &Expr) -> usize {
    let mut count = 0;
    let _ = visit_expressions(expr, |_| {
        count += 1;
        ControlFlow::<()>::Continue(())
    });
    count
}

fn grouped(expr: Expr) -> Expr {
    match expr {
        Expr::Identifier(_) | Expr::Value(_) | Expr::Function(_) | Expr::Nested(_) | Expr::Cast { .. } => expr,
        other => Expr::Nested(Box::new(other)),
    }
}

fn cast(expr: Expr, data_type: &DataType) -> Expr {
    let data_type = data_type.clone();
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// The arguments of a plain call; `None` where it has something else in its brackets.
pub(super) fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = list.duplicate_treatment.is_none() && list.clauses.is_empty() && function.over.is_none();
    let each = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    each.collect::<Option<Vec<&Expr>>>().filter(|_| plain)
}

/// The way from a `LET` or `FUNCTION` back to itself, if there is one: names, its own at both ends.
pub(crate) fn way_back(names: &Names, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen: Vec<String> = Vec::new();
    while let Some(way) = ways.pop() {
        for next in way.last().map(|last| used(names, last)).unwrap_or_default() {
            let mut longer = way.clone();
            longer.push(next.clone());
            if same_name(&next, start) {
                return Some(longer);
            }
            if !seen.contains(&next) {
                seen.push(next);
                ways.push(longer);
            }
        }
    }
    None
}

/// The values and functions that the text behind a name uses. Functions are called `name()` here.
fn used(names: &Names, name: &str) -> Vec<String> {
    let (body, parameters) = match name.strip_suffix("()") {
        Some(function) => match names.function(function) {
            Some(function) => (&function.body, function.parameters.as_slice()),
            None => return Vec::new(),
        },
        None => match names.value(name) {
            Some(value) => (&value.value, &[][..]),
            None => return Vec::new(),
        },
    };
    let mut found = Vec::new();
    let is_parameter = |name: &str| parameters.iter().any(|parameter| same_name(&parameter.name.text, name));
    let _ = visit_expressions(&body.ast, |part| {
        match part {
            Expr::Identifier(name) if !is_parameter(&name.value) => {
                found.extend(names.value(&name.value).map(|value| value.name.text.clone()));
            }
            Expr::CompoundIdentifier(path) => {
                let first = path.first().filter(|first| !is_parameter(&first.value));
                found.extend(first.and_then(|first| names.value(&first.value)).map(|value| value.name.text.clone()));
            }
            Expr::Function(function) => {
                if let [ObjectNamePart::Identifier(name)] = &function.name.0[..] {
                    found.extend(names.function(&name.value).map(|function| format!("{}()", function.name.text)));
                }
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    found
}
