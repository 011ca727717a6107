//! What an expression reads inside of a JSON field: `customer.address.city`, `items[0]['sku']`.

use sqlparser::ast::{AccessExpr, Expr, Subscript, Value};
use syncline_syntax::Span;

use crate::{scope::Scope, walk::Walk};

/// A member of a field of the open record, and where it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadPath {
    pub field: String,
    /// From the field to the member.
    pub keys: Vec<Key>,
    /// The name of the member, as it is written.
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Member(String),
    /// Some element of a list.
    Element,
}

impl Walk<'_> {
    /// Notes the members that a chain of accesses names, each for itself, as far as they are constants.
    pub(crate) fn path_is_read(&mut self, root: &Expr, chain: &[AccessExpr], whole: Span, scope: &Scope) {
        let Expr::Identifier(field) = root else { return };
        let undeclared = scope.columns.iter().any(|column| column.undeclared && column.name() == field.value);
        // Only what comes by the first way into the pipeline is looked at.
        if !undeclared || !scope.intakes.contains(&0) {
            return;
        }
        let mut keys = Vec::new();
        for access in chain {
            let AccessExpr::Subscript(Subscript::Index { index: Expr::Value(key) }) = access else { return };
            match &key.value {
                Value::SingleQuotedString(name) => keys.push(Key::Member(name.clone())),
                Value::Number(..) => {
                    keys.push(Key::Element);
                    continue;
                }
                _ => return,
            }
            let span = self.place_of(key.span, whole);
            let path = ReadPath { field: field.value.clone(), keys: keys.clone(), span };
            let paths = &mut self.intakes[0].paths;
            if span != whole && !paths.iter().any(|known| known.field == path.field && known.keys == path.keys) {
                paths.push(path);
            }
        }
    }
}
