//! The keys of a group, and the window that may be one of them.

use datafusion::arrow::datatypes::DataType;
use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart, Spanned};
use syncline_functions::is_json;
use syncline_syntax::{
    Span,
    ast::{self, SqlExpr},
};

use super::Key;
use crate::{
    duration,
    expression::Reading,
    message::{aggregate as say, names as say_names, values as say_values},
    plan::{WindowKind, WindowPlan},
    scope::Scope,
    types::{RECORD_TIME, TIMESTAMP},
    values::interval,
    walk::Walk,
};

/// Windows that a row can be in: each holds groups of its own.
const MOST_WINDOWS: u64 = 1_000;

/// A window function as it is called, and the words of its arguments.
struct Form {
    name: &'static str,
    form: &'static str,
    lengths: usize,
}

const FORMS: [Form; 3] = [
    Form { name: "tumble", form: "tumble(time, INTERVAL '1 minute')", lengths: 1 },
    Form { name: "hop", form: "hop(time, INTERVAL '1 minute', INTERVAL '5 minutes')", lengths: 2 },
    Form { name: "session", form: "session(time, INTERVAL '30 minutes')", lengths: 1 },
];

impl Walk<'_> {
    /// `None` when one of them did not compile.
    pub(super) fn group_keys(&mut self, aggregate: &ast::Aggregate, scope: &mut Scope) -> Option<Vec<Key>> {
        let mut keys: Vec<Key> = Vec::new();
        let mut broken = false;
        for named in &aggregate.group_by {
            let Some(key) = self.group_key(named, scope) else {
                broken = true;
                continue;
            };
            let place = named.name.as_ref().map_or(named.span, |name| name.span);
            if let Some(taken) = say_names::reserved(place, &key.name) {
                self.say(taken);
                broken = true;
            } else if key.window.is_some() && keys.iter().any(|earlier| earlier.window.is_some()) {
                self.say(say::second_window(named.span));
                broken = true;
            } else if keys.iter().any(|earlier| earlier.name == key.name) {
                self.say(say_names::column_twice(place, &key.name, None));
                broken = true;
            } else {
                keys.push(key);
            }
        }
        (!broken).then_some(keys)
    }

    fn group_key(&mut self, named: &ast::NamedExpr, scope: &mut Scope) -> Option<Key> {
        if let Expr::Function(function) = &named.expr.ast
            && let [ObjectNamePart::Identifier(name)] = &function.name.0[..]
            && let Some(form) = FORMS.iter().find(|form| form.name.eq_ignore_ascii_case(&name.value))
        {
            let window = self.window(form, function, named, scope)?;
            let name = named.name.as_ref().map_or_else(|| "window_start".to_owned(), |name| name.text.clone());
            return Some(Key { name, reading: None, written: String::new(), window: Some(window) });
        }
        let written = self.resolve(&named.expr, scope, None)?.to_string();
        let reading = self.read(&named.expr, scope)?;
        let name = named.name.as_ref().map_or_else(|| reading.name.clone(), |name| name.text.clone());
        Some(Key { name, reading: Some(reading), written, window: None })
    }

    fn window(
        &mut self,
        form: &Form,
        function: &Function,
        named: &ast::NamedExpr,
        scope: &mut Scope,
    ) -> Option<WindowPlan> {
        let arguments = arguments(function).filter(|arguments| arguments.len() == form.lengths + 1);
        let Some([time, lengths @ ..]) = arguments.as_deref() else {
            self.say(say::window_form(named.expr.span, form.name, form.form));
            return None;
        };
        let mut sizes = Vec::new();
        for length in lengths {
            sizes.push(self.window_length(length, named.expr.span, form)?);
        }
        let kind = match (form.name, sizes.as_slice()) {
            ("tumble", [size]) => WindowKind::Tumble { size: *size },
            ("session", [gap]) => WindowKind::Session { gap: *gap },
            (_, [slide, size]) => WindowKind::Hop { slide: *slide, size: *size },
            _ => return None,
        };
        if let WindowKind::Hop { slide, size } = kind
            && size / slide >= MOST_WINDOWS
        {
            self.say(say::too_many_windows(named.expr.span, size / slide, MOST_WINDOWS));
            return None;
        }
        let span = self.place_of(time.span(), named.expr.span);
        let written = SqlExpr { ast: time.clone(), text: span.of(self.world.source).to_owned(), span };
        let reading = self.window_time(&written, scope)?;
        let own = reading.typed.as_column() == Some(RECORD_TIME) && self.is_metadata(RECORD_TIME, scope);
        let by_record_time = !scope.ordered && (scope.marked || own);
        if let (false, Some(source)) = (by_record_time, self.endless) {
            self.say(say::needs_watermark(written.span, &written.text, source));
            return None;
        }
        Some(WindowPlan { time: reading.sql, kind, by_record_time })
    }

    fn is_metadata(&self, name: &str, scope: &Scope) -> bool {
        scope.columns.iter().any(|column| column.name() == name && !column.visible)
    }

    /// A TIMESTAMP; JSON and text are read as one.
    fn window_time(&mut self, written: &SqlExpr, scope: &mut Scope) -> Option<Reading> {
        let reading = self.read(written, scope)?;
        let field = reading.typed.field();
        if *field.data_type() == TIMESTAMP {
            return Some(reading);
        }
        if is_json(field) || matches!(field.data_type(), DataType::Utf8View | DataType::Utf8 | DataType::Date32) {
            let sql = format!("CAST({} AS TIMESTAMP)", reading.sql);
            return Some(Reading { sql, ..reading });
        }
        self.say(say::no_instant(written.span, &syncline_functions::sql_type_of(field)));
        None
    }

    fn window_length(&mut self, written: &Expr, whole: Span, form: &Form) -> Option<u64> {
        let span = self.place_of(written.span(), whole);
        let text = interval(written).or_else(|| match written {
            Expr::Value(value) => value.value.clone().into_string(),
            _ => None,
        });
        let Some(text) = text else {
            self.say(say::window_form(whole, form.name, form.form));
            return None;
        };
        match duration::microseconds(&text) {
            Ok(0) => self.say(say_values::no_length(span)),
            Ok(micros) => return Some(micros),
            Err(why) => self.say(say_values::not_a_duration(span, &why)),
        }
        None
    }
}

fn arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}
