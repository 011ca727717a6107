//! Sources and targets: connectors, connections and their objects.

use syncline_syntax::{Diagnostic, Span, ast::Ident};

use super::{listed, with_nearest};
use crate::{
    catalog::{Catalog, ConnectorFacts},
    explain::slug,
    names::Names,
    place::Use,
};

fn examples(uses: Use, catalog: &Catalog) -> String {
    let able = catalog.connectors.iter().filter(|connector| uses.is_of(connector));
    listed(able.map(|connector| connector.name.as_str()))
}

fn role(uses: Use) -> &'static str {
    match uses {
        Use::Source | Use::Joined => "source",
        Use::Lookup => "table",
        Use::Sink => "sink",
    }
}

pub(crate) fn no_such_place(name: &Ident, uses: Use, catalog: &Catalog) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_FUNCTION, format!("there is no {} called {}", role(uses), name.text));
    let names = catalog.connectors.iter().map(|connector| connector.name.as_str());
    with_nearest(said, name.span, &name.text, names, "not part of this version").help(format!(
        "{}s: {}",
        role(uses),
        examples(uses, catalog)
    ))
}

pub(crate) fn cannot_be_used(span: Span, connector: &ConnectorFacts, uses: Use, catalog: &Catalog) -> Diagnostic {
    let title = match uses {
        Use::Source if connector.keyed => {
            format!("{} can be joined and asked by key, and is no source of its own", connector.name)
        }
        Use::Source | Use::Joined => format!("{} can only be written to", connector.name),
        Use::Lookup => format!("{} has no rows that could be asked for", connector.name),
        Use::Sink => format!("{} can only be read from", connector.name),
    };
    let said = Diagnostic::error(slug::SINK_CANNOT, title).at(span, format!("used as a {}", role(uses)));
    let said = match (uses, connector.keyed) {
        (Use::Source, true) => {
            let name = &connector.name;
            said.help(format!(
                "|> JOIN {name}(…) AS t ON t.id = id reads it whole, |> LOOKUP {name}(…) the rows of a key"
            ))
        }
        _ => said,
    };
    said.help(format!("{}s: {}", role(uses), examples(uses, catalog)))
}

pub(crate) fn no_such_connection(name: &Ident, alone: bool, names: &Names, uses: Use, catalog: &Catalog) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_CONNECTION, format!("there is no connection called {}", name.text));
    let known: Vec<&str> = names.connections.iter().map(|connection| connection.name.text.as_str()).collect();
    let said = with_nearest(said, name.span, &name.text, known.iter().copied(), "no CONNECTION has this name");
    match (alone, known.is_empty()) {
        (true, _) => said.help(format!("name a {}: {}", role(uses), examples(uses, catalog))),
        (false, true) => said.help(format!("declare it: CONNECTION {} TO … WITH (…);", name.text)),
        (false, false) => said.help(format!("in this file: {}", listed(known))),
    }
}

pub(crate) fn keeps_no_changelog(name: &Ident, connector: &ConnectorFacts, catalog: &Catalog) -> Diagnostic {
    let able = catalog.connectors.iter().filter(|able| able.changelog).map(|able| able.name.as_str());
    let able: Vec<&str> = able.collect();
    let said = Diagnostic::error(slug::CHANGELOG, format!("{} keeps no changelogs", connector.name))
        .at(name.span, format!("a CONNECTION TO {}", connector.name));
    if able.is_empty() { said } else { said.help(format!("name a connection to {}", listed(able))) }
}

/// `reads`: the place that only this machine has.
pub(crate) fn changelog_and_local(option: Span, reads: &str) -> Diagnostic {
    Diagnostic::error(slug::CHANGELOG, format!("another machine could not go on: it has no {reads}"))
        .at(option, "what the pipeline keeps would move, and what it reads would not")
        .help("read from Kafka, or leave `changelog` out: what it keeps then stays in the data folder")
}

pub(crate) fn no_object(span: Span, connection: &str) -> Diagnostic {
    Diagnostic::error(slug::MISSING_ARGUMENT, format!("{connection} is a connection, and rows need a place in it"))
        .at(span, "no object")
        .help(format!("write {connection}.name"))
}

pub(crate) fn no_place_for_object(span: Span, connector: &ConnectorFacts) -> Diagnostic {
    let names = listed(connector.arguments.iter().map(|argument| argument.name.as_str()));
    Diagnostic::error(slug::NO_SUCH_OPTION, format!("{} has no further place for an object", connector.name))
        .at(span, "its connection says everything already")
        .help(format!("leave one of these out of the connection: {names}"))
}

pub(crate) fn connection_lacks(span: Span, connection: &Ident, argument: &str) -> Diagnostic {
    Diagnostic::error(slug::MISSING_ARGUMENT, format!("{} does not say its {argument}", connection.text))
        .at(span, "used here")
        .also(connection.span, "declared here")
        .help(format!("add it: WITH ({argument} = …)"))
}
