//! LOOKUP: a join that takes one row at most, and asks for it by the values of its columns.

use syncline_syntax::ast;

use super::Condition;
use crate::{
    expression::column_sql,
    message::steps as say,
    scope::{Joined, Scope, ScopeColumn},
    walk::Walk,
};

impl Walk<'_> {
    /// The columns that a LOOKUP asks for; `None` when its condition is more than equalities with such, which is said.
    pub(super) fn asked(
        &mut self,
        join: &ast::Join,
        condition: &Condition,
        table: &Joined,
        scope: &Scope,
    ) -> Option<Vec<String>> {
        let column = |sql: &String| {
            let names = scope.columns.iter().map(ScopeColumn::name);
            let name = names.filter_map(|name| Some((name, table.bare(name)?)));
            name.filter(|(name, _)| column_sql(self.world.planner, name) == *sql)
                .map(|(_, bare)| bare.to_owned())
                .next()
        };
        let columns: Option<Vec<String>> = condition.its.iter().map(column).collect();
        let columns = columns.filter(|_| condition.rest.is_empty());
        if let (None, Some(ast::JoinOn::On(on))) = (&columns, &join.on) {
            self.say(say::lookup_key(on.span, &table.alias));
        }
        columns
    }
}

pub(super) fn word_of(join: &ast::Join) -> &'static str {
    if join.kind == ast::JoinKind::Lookup { "LOOKUP" } else { "JOIN" }
}
