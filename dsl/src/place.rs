//! Places outside: which connector a source or a target means, and what it is given.
//!
//! `sqlite('shop.db', 'orders')` names its connector; `shop.orders` names a `CONNECTION`, whose options are the connector's
//! arguments and whose object fills the first argument that they leave open.

use syncline_syntax::{Diagnostic, Span, ast};

use crate::{
    catalog::{Catalog, ConnectorFacts},
    message::places as say,
    names::{ConnectionFacts, Names},
    plan::{Place, Value},
    values::{self, Given},
    walk::Walk,
};

/// Whether a place is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Source,
    /// The right side of a join: one more source, or a table that is read whole.
    Joined,
    /// Asked for rows by their key, or read whole and kept by it.
    Lookup,
    Sink,
}

impl Use {
    /// Whether the connector can be used so.
    pub fn is_of(self, connector: &ConnectorFacts) -> bool {
        match self {
            Use::Source => connector.source.is_some(),
            Use::Joined => connector.keyed || connector.source.is_some(),
            Use::Lookup => connector.keyed || connector.source.as_ref().is_some_and(|source| !source.endless),
            Use::Sink => connector.sink.is_some(),
        }
    }
}

/// A place that resolved.
#[derive(Clone, Debug)]
pub(crate) struct Resolved<'a> {
    pub connector: &'a ConnectorFacts,
    pub place: Place,
}

/// The place of a call such as `file('a.ndjson')`.
pub(crate) fn of_call<'a>(
    call: &ast::Call,
    uses: Use,
    catalog: &'a Catalog,
    source: &str,
    said: &mut Vec<Diagnostic>,
) -> Option<Resolved<'a>> {
    let found = catalog.connectors.iter().find(|connector| connector.name.eq_ignore_ascii_case(&call.name.text));
    let Some(connector) = found else {
        said.push(say::no_such_place(&call.name, uses, catalog));
        return None;
    };
    if !uses.is_of(connector) {
        said.push(say::cannot_be_used(call.span, connector, uses, catalog));
        return None;
    }
    let given = values::arguments(call, connector.callee(), said)?;
    Some(Resolved { connector, place: place(connector, given, call.span, source) })
}

/// The place of an object of a connection, such as `shop.orders`.
pub(crate) fn of_object<'a>(
    name: &ast::Name,
    uses: Use,
    catalog: &'a Catalog,
    names: &Names<'a>,
    source: &str,
    said: &mut Vec<Diagnostic>,
) -> Option<Resolved<'a>> {
    let (first, object) = name.parts.split_first()?;
    let Some(connection) = names.connection(&first.text) else {
        said.push(say::no_such_connection(first, object.is_empty(), names, uses, catalog));
        return None;
    };
    // What is wrong with the connection has been said where it is declared.
    let connector = connection.connector?;
    if object.is_empty() {
        said.push(say::no_object(name.span, &first.text));
        return None;
    }
    if !uses.is_of(connector) {
        said.push(say::cannot_be_used(name.span, connector, uses, catalog));
        return None;
    }
    let object: Vec<&str> = object.iter().map(|part| part.text.as_str()).collect();
    let given = filled(connection, connector, object.join("."), name.span, said)?;
    Some(Resolved { connector, place: place(connector, given, name.span, source) })
}

/// The options of a connection, and an object of it in the first argument that they leave open.
fn filled(
    connection: &ConnectionFacts<'_>,
    connector: &ConnectorFacts,
    object: String,
    span: Span,
    said: &mut Vec<Diagnostic>,
) -> Option<Given> {
    let mut given = Given { positional: Vec::new(), named: connection.options.clone() };
    let open = connector.arguments.iter().find(|facts| given.get(connector, &facts.name).is_none() && facts.required);
    let Some(open) = open else {
        said.push(say::no_place_for_object(span, connector));
        return None;
    };
    given.named.push((open.name.clone(), Value::Text(object)));
    for facts in connector.arguments.iter().filter(|facts| facts.required) {
        if given.get(connector, &facts.name).is_none() {
            said.push(say::connection_lacks(span, connection.name, &facts.name));
            return None;
        }
    }
    Some(given)
}

/// The changelog `object` in the connection that an option names.
pub(crate) fn of_changelog(name: &ast::Ident, object: String, walk: &mut Walk<'_>) -> Option<Place> {
    let mut said = Vec::new();
    let catalog = walk.world.catalog;
    let found = match walk.world.names.connection(&name.text) {
        None => {
            said.push(say::no_such_connection(name, false, &walk.world.names, Use::Sink, catalog));
            None
        }
        // What is wrong with the connection has been said where it is declared.
        Some(connection) => connection.connector.and_then(|connector| {
            if !connector.changelog {
                said.push(say::keeps_no_changelog(name, connector, catalog));
                return None;
            }
            let given = filled(connection, connector, object.clone(), name.span, &mut said)?;
            let text = format!("{}.{object}", connection.name.text);
            Some(Place { text, ..place(connector, given, name.span, walk.world.source) })
        }),
    };
    said.into_iter().for_each(|one| walk.say(one));
    found
}

fn place(connector: &ConnectorFacts, given: Given, span: Span, source: &str) -> Place {
    Place {
        connector: connector.name.clone(),
        positional: given.positional,
        named: given.named,
        text: span.of(source).split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// What a place is, however it was written: its connector and every argument by name.
pub(crate) fn identity(place: &Place, catalog: &Catalog) -> (String, Vec<(String, Value)>) {
    let mut all = place.named.clone();
    if let Some(connector) = catalog.connector(&place.connector) {
        let names = connector.arguments.iter().filter(|argument| argument.positional);
        all.extend(names.zip(&place.positional).map(|(argument, value)| (argument.name.clone(), value.clone())));
    }
    all.sort_by(|one, other| one.0.cmp(&other.0));
    (place.connector.clone(), all)
}

/// The same without its options: the required arguments say which thing it is.
pub(crate) fn thing(place: &Place, catalog: &Catalog) -> (String, Vec<(String, Value)>) {
    let (connector, mut all) = identity(place, catalog);
    if let Some(facts) = catalog.connector(&connector) {
        all.retain(|(name, _)| values::argument(&facts.arguments, name).is_some_and(|argument| argument.required));
    }
    (connector, all)
}
