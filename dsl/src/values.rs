//! Values of options and arguments: literals, `env()` and `secret()`, checked against what a connector says it takes.
//!
//! Nothing is looked up: `env` and `secret` stay in the plan until it is bound, and a text that looks like a secret itself is
//! refused here.

use sqlparser::ast::{Expr, Interval, Value as SqlValue};
use syncline_record::amount;
use syncline_syntax::{Diagnostic, Span, ast};

use crate::{
    catalog::{ArgumentFacts, Callee, ConnectorFacts},
    check::secret,
    duration,
    message::values as say,
    plan::Value,
};

/// The value as the plan keeps it.
pub(crate) fn value(written: &ast::Value) -> Result<Value, Diagnostic> {
    Ok(match &written.kind {
        ast::ValueKind::Text(text) => {
            if let Some(kind) = secret::looks_like(text) {
                return Err(say::secret_in_text(written.span, kind));
            }
            Value::Text(text.clone())
        }
        ast::ValueKind::Number(number) => Value::Number(number.clone()),
        ast::ValueKind::Boolean(yes) => Value::Boolean(*yes),
        ast::ValueKind::Null => Value::Null,
        ast::ValueKind::Name(name) => return Err(say::bare_word(name)),
        ast::ValueKind::Call(call) => return called(call),
        ast::ValueKind::List(items) => Value::List(items.iter().map(value).collect::<Result<_, _>>()?),
        ast::ValueKind::Sql(expr) => match interval(&expr.ast) {
            Some(text) => Value::Text(text),
            None => return Err(say::not_a_value(written.span)),
        },
    })
}

fn called(call: &ast::Call) -> Result<Value, Diagnostic> {
    let name = call.name.text.to_lowercase();
    let text = |arg: Option<&ast::Arg>| match arg {
        Some(ast::Arg { name: None, value: ast::Value { kind: ast::ValueKind::Text(text), .. }, .. }) => {
            Some(text.clone())
        }
        _ => None,
    };
    match name.as_str() {
        "env" => {
            let variable = text(call.args.first()).filter(|_| call.args.len() <= 2);
            let variable = variable.ok_or_else(|| say::env_form(call.span))?;
            let default = call.args.get(1).map(|arg| value(&arg.value)).transpose()?;
            Ok(Value::Env { name: variable, default: default.map(Box::new) })
        }
        "secret" => {
            let path = text(call.args.first()).filter(|_| call.args.len() == 1);
            Ok(Value::Secret { path: path.ok_or_else(|| say::secret_form(call.span))? })
        }
        _ => {
            let (mut positional, mut named) = (Vec::new(), Vec::new());
            for arg in &call.args {
                let given = value(&arg.value)?;
                match &arg.name {
                    Some(name) => named.push((name.text.clone(), given)),
                    None => positional.push(given),
                }
            }
            Ok(Value::Call { function: call.name.text.clone(), positional, named })
        }
    }
}

/// `INTERVAL '1 hour'` and `INTERVAL '1' HOUR` as the text of a duration.
pub(crate) fn interval(expr: &Expr) -> Option<String> {
    let Expr::Interval(Interval { value, leading_field, last_field: None, .. }) = expr else { return None };
    let Expr::Value(value) = &**value else { return None };
    let number = match &value.value {
        SqlValue::SingleQuotedString(text) => text.clone(),
        SqlValue::Number(number, _) => number.to_string(),
        _ => return None,
    };
    Some(match leading_field {
        Some(unit) => format!("{number} {unit}").to_lowercase(),
        None => number,
    })
}

/// What a connector is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Given {
    pub positional: Vec<Value>,
    pub named: Vec<(String, Value)>,
}

impl Given {
    /// The value of an argument, however it was given.
    pub fn get<'a>(&'a self, connector: &ConnectorFacts, argument: &str) -> Option<&'a Value> {
        let named = self.named.iter().find(|(name, _)| name == argument).map(|(_, value)| value);
        named.or_else(|| {
            let place = positional(&connector.arguments).position(|facts| facts.name == argument)?;
            self.positional.get(place)
        })
    }
}

fn positional(arguments: &[ArgumentFacts]) -> impl Iterator<Item = &ArgumentFacts> {
    arguments.iter().filter(|argument| argument.positional)
}

/// The arguments of a call, each checked; every mistake is said.
pub(crate) fn arguments(call: &ast::Call, callee: Callee, said: &mut Vec<Diagnostic>) -> Option<Given> {
    let before = said.len();
    let mut given = Given::default();
    let mut places: Vec<(&str, Span)> = Vec::new();
    let mut in_order = positional(callee.arguments);
    for arg in &call.args {
        let facts = match &arg.name {
            None => match in_order.next() {
                Some(facts) => facts,
                None => {
                    said.push(say::too_many(arg.span, callee));
                    continue;
                }
            },
            Some(name) => match argument(callee.arguments, &name.text) {
                Some(facts) => facts,
                None => {
                    said.push(say::no_such_argument(name.span, &name.text, callee));
                    continue;
                }
            },
        };
        if let Some((_, first)) = places.iter().find(|(name, _)| *name == facts.name) {
            said.push(say::argument_twice(arg.span, *first, &facts.name));
            continue;
        }
        places.push((&facts.name, arg.span));
        match of_argument(&arg.value, facts, said) {
            Some(value) if arg.name.is_some() => given.named.push((facts.name.clone(), value)),
            Some(value) => given.positional.push(value),
            None => {}
        }
    }
    // A misspelt argument is probably the one that is missing.
    let named = said.len() == before;
    for facts in callee.arguments.iter().filter(|facts| facts.required) {
        if named && !places.iter().any(|(name, _)| *name == facts.name) {
            said.push(say::missing_argument(call.span, facts, callee));
        }
    }
    (said.len() == before).then_some(given)
}

/// The argument of this name, without regard to case.
pub(crate) fn argument<'c>(arguments: &'c [ArgumentFacts], name: &str) -> Option<&'c ArgumentFacts> {
    arguments.iter().find(|argument| argument.name.eq_ignore_ascii_case(name))
}

/// The value that is given for an argument; what is wrong with it is said.
pub(crate) fn of_argument(written: &ast::Value, facts: &ArgumentFacts, said: &mut Vec<Diagnostic>) -> Option<Value> {
    if facts.kind == "call" {
        return called_argument(written, facts, said);
    }
    if facts.kind == "secret"
        && let Some(span) = literal(written)
    {
        said.push(say::secret_wanted(span, &facts.name));
        return None;
    }
    match value(written).and_then(|value| fits(&value, facts, written.span).map(|()| value)) {
        Ok(value) => Some(value),
        Err(wrong) => {
            said.push(wrong);
            None
        }
    }
}

/// A call of one of those that the argument takes, with its own arguments checked.
fn called_argument(written: &ast::Value, facts: &ArgumentFacts, said: &mut Vec<Diagnostic>) -> Option<Value> {
    let ast::ValueKind::Call(call) = &written.kind else {
        said.push(say::call_wanted(written, facts));
        return None;
    };
    let Some(found) = facts.calls.iter().find(|known| known.name.eq_ignore_ascii_case(&call.name.text)) else {
        said.push(say::no_such_call(&call.name, facts));
        return None;
    };
    let Given { positional, named } = arguments(call, found.callee(), said)?;
    Some(Value::Call { function: found.name.clone(), positional, named })
}

/// A text of the file, where a secret belongs: itself, in a list, or as what stands in for a variable.
fn literal(written: &ast::Value) -> Option<Span> {
    match &written.kind {
        ast::ValueKind::Text(_) => Some(written.span),
        ast::ValueKind::List(items) => items.iter().find_map(literal),
        ast::ValueKind::Call(call) if call.name.text.eq_ignore_ascii_case("env") => {
            call.args.get(1).and_then(|default| literal(&default.value))
        }
        _ => None,
    }
}

/// Whether a value can be given for an argument. What `env` and `secret` give is seen when the plan is bound.
pub(crate) fn fits(value: &Value, facts: &ArgumentFacts, span: Span) -> Result<(), Diagnostic> {
    let fit = match (facts.kind.as_str(), value) {
        ("secret", Value::List(items)) => {
            let secret = |item: &Value| matches!(item, Value::Secret { .. } | Value::Env { .. });
            !items.is_empty() && items.iter().all(secret)
        }
        (_, Value::Secret { .. } | Value::Env { default: None, .. }) => true,
        (_, Value::Env { default: Some(default), .. }) => return fits(default, facts, span),
        ("text", value) => matches!(value, Value::Text(_)),
        ("number", value) => matches!(value, Value::Number(_)),
        ("boolean", value) => matches!(value, Value::Boolean(_)),
        ("duration", Value::Text(text)) => {
            duration::microseconds(text).map_err(|why| say::not_a_duration(span, &why))?;
            true
        }
        ("size", Value::Text(text)) => amount::bytes(text).map(|_| true).map_err(|why| say::not_a_size(span, &why))?,
        ("rate", Value::Text(text)) => amount::rate(text).map(|_| true).map_err(|why| say::not_a_rate(span, &why))?,
        ("choice", Value::Text(text)) if !facts.choices.contains(text) => {
            let words: Vec<&str> = facts.choices.iter().map(String::as_str).collect();
            return Err(say::one_of(span, &facts.name, text, &words));
        }
        ("choice", Value::Text(_)) => true,
        ("duration" | "size" | "rate" | "choice" | "secret" | "call", _) => false,
        _ => true,
    };
    if fit { Ok(()) } else { Err(say::wrong_kind(span, &facts.name, &facts.kind)) }
}
