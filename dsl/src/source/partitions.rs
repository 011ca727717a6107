//! PARTITIONED BY: the columns that the producers of a topic make the key of a record of.
//!
//! It is a claim about records that others write, so it is checked again where they are read.

use syncline_syntax::ast;

use crate::{
    message::{names as say_names, source as say},
    place::Resolved,
    scope::{Found, Scope},
    walk::Walk,
};

impl Walk<'_> {
    /// The columns in their own spelling; none where nothing, or nothing right, is said.
    pub(super) fn partitioned_by(
        &mut self,
        written: &ast::Source,
        place: &Option<Resolved<'_>>,
        scope: &mut Scope,
    ) -> Vec<String> {
        let Some(columns) = &written.partitioned_by else { return Vec::new() };
        let Some(resolved) = place else { return Vec::new() };
        if !resolved.connector.source.as_ref().is_some_and(|source| source.keys) {
            self.say(say::no_partitions(columns.span, &resolved.connector.name));
            return Vec::new();
        }
        let mut key: Vec<String> = Vec::new();
        for name in &columns.names {
            if matches!(scope.find(&name.text), Found::Column(found) if !found.visible) {
                self.say(say::partitioned_by_hidden(name));
                continue;
            }
            match self.column(&name.text, name.span, scope) {
                Some(column) if key.contains(&column) => {
                    self.say(say_names::column_twice(name.span, &column, None));
                }
                found => key.extend(found),
            }
        }
        key
    }
}
