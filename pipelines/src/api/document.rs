//! `GET /openapi.json`: what this process answers, in OpenAPI 3.1, made from the routes themselves.
//!
//! A route says its own parameters and answers where it stands. What the frame around the routes asks of every request and can answer
//! for it (ids, roles, `If-None-Match`, `Idempotency-Key`) is added here, in one place.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use axum::{http::HeaderMap, response::Response};
use utoipa::{
    OpenApi as _,
    openapi::{
        ComponentsBuilder, HeaderBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi, OpenApiBuilder,
        PathItem, Ref, RefOr, Required, Schema, Type,
        path::{Operation, ParameterBuilder, ParameterIn},
        schema::ArrayItems,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState, etag,
    idempotency::{self, KEY},
    problem::{Details, Diagnostic, documented},
    request,
};

static DOCUMENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // Plain structs with text keys always serialise.
    serde_json::to_vec(&described(super::routes().into_openapi())).unwrap_or_default()
});

/// What the names of pages begin with.
const PAGE: &str = "Page_";
/// The name of the security scheme.
pub const TOKEN: &str = "token";

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(get))
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenApi",
    tag = "process",
    security(()),
    responses((status = 200, body = Object, description = "It"), etag::Unchanged),
)]
pub async fn get(headers: HeaderMap) -> Response {
    etag::sent(&headers, "application/json", DOCUMENT.clone())
}

/// What stands in the document before any route.
pub fn empty() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(components(schemas(Details, Diagnostic)))]
    struct Shapes;
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "What `syncline token create` has shown. Asked for on TCP once there is a token; the data folder's socket asks for none. The \
             scopes are the least role that a route wants: viewer, operator, admin.",
        ))
        .build();
    let mut components = ComponentsBuilder::new().security_scheme(TOKEN, SecurityScheme::Http(token)).build();
    components.schemas.extend(Shapes::openapi().components.unwrap_or_default().schemas);
    let info = InfoBuilder::new()
        .title("Syncline")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Pipelines of a data folder: how they do, what happened, and what can be asked of them."))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// The document with what the frame adds to each route.
fn described(mut document: OpenApi) -> OpenApi {
    if let Some(components) = &mut document.components {
        name_items(&mut components.schemas);
    }
    let paths = std::mem::take(&mut document.paths.paths);
    for (path, mut item) in paths {
        // What takes the rest of a path is a parameter like others to whoever reads.
        let path = path.replace("{*", "{");
        for (method, operation) in operations(&mut item) {
            frame(method, &path, operation);
        }
        document.paths.paths.insert(path, item);
    }
    document
}

/// A page names what it is of. Written out in it once more, as derived, it would be another type to whoever makes a client.
fn name_items(shapes: &mut BTreeMap<String, RefOr<Schema>>) {
    let names: Vec<String> = shapes.keys().filter_map(|name| Some(name.strip_prefix(PAGE)?.to_owned())).collect();
    for item in names.iter().filter(|item| shapes.contains_key(*item)).cloned().collect::<Vec<_>>() {
        let Some(RefOr::T(Schema::Object(page))) = shapes.get_mut(&format!("{PAGE}{item}")) else { continue };
        if let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items") {
            items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(item).into()));
        }
    }
}

/// The operations of a path, by method.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let methods =
        [("GET", &mut item.get), ("PUT", &mut item.put), ("POST", &mut item.post), ("DELETE", &mut item.delete)];
    methods.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn frame(method: &str, path: &str, operation: &mut Operation) {
    // A token that is none, also where none is asked for; a browser on behalf of another site, or a name that is not this machine's; a
    // file of tokens that others can read.
    let mut statuses = vec![401, 403, 503];
    if path.contains('{') {
        statuses.push(400);
    }
    if operation.request_body.is_some() {
        // One that broke off, came too slowly, or is too long.
        statuses.extend([400, 408, 413]);
    }
    if idempotency::is_for(method, path) {
        statuses.extend([400, 408, 409, 413, 422]);
        let said = "The same key with the same request gets the same answer again, for a day.";
        parameter(operation, KEY.as_str(), said);
    }
    if operation.responses.responses.contains_key("304") {
        parameter(
            operation,
            "if-none-match",
            "The ETag of an answer that the asker has: 304 when it is still the same.",
        );
    }
    parameter(operation, request::ID.as_str(), "How the asker calls this request.");
    for status in statuses {
        let (status, response) = documented(status);
        operation.responses.responses.entry(status).or_insert(response);
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let id = HeaderBuilder::new().description(Some("The id of the request")).schema(Some(text())).build();
            response.headers.insert(request::ID.as_str().to_owned(), id.into());
        }
    }
}

fn parameter(operation: &mut Operation, name: &str, description: &str) {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(text()))
        .build();
    operation.parameters.get_or_insert_default().push(parameter.into());
}

fn text() -> Schema {
    ObjectBuilder::new().schema_type(Type::String).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn document() -> Value {
        serde_json::from_slice(&DOCUMENT).unwrap()
    }

    #[test]
    fn every_route_says_who_may_and_what_it_answers() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let of = format!("{method} {path}: {operation}");
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "the id is taken: {of}");
                assert!(operation["security"].is_array() && operation["summary"].is_string(), "{of}");
                assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{of}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.keys().any(|status| status.starts_with('2') || status == "101"), "{of}");
                for (status, response) in responses.iter().filter(|(status, _)| ["4", "5"].contains(&&status[..1])) {
                    let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/Problem", "{status} of {of}");
                }
            }
        }
    }

    #[test]
    fn a_page_names_what_it_is_of() {
        let document = document();
        let shapes = document["components"]["schemas"].as_object().unwrap();
        let pages: Vec<_> = shapes.iter().filter(|(name, _)| name.starts_with(PAGE)).collect();
        assert!(pages.len() > 5, "{pages:?}");
        for (name, page) in pages {
            let item = name.strip_prefix(PAGE).unwrap();
            let named = format!("#/components/schemas/{item}");
            assert_eq!(page["properties"]["items"]["items"]["$ref"], named, "{name}");
        }
    }

    /// A parameter of a query that is told as one of the path keeps a generator from making the route at all.
    #[test]
    fn what_is_a_parameter_of_the_path_stands_in_it() {
        for (path, item) in document()["paths"].as_object().unwrap() {
            let inside: BTreeSet<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            for (method, operation) in item.as_object().unwrap() {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let told = parameters.filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap());
                assert_eq!(told.collect::<BTreeSet<_>>(), inside, "{method} {path}");
            }
        }
    }

    /// A reference to nothing would stop every generator of clients.
    #[test]
    fn every_shape_that_is_named_is_there() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(members) => members.iter().for_each(|(name, value)| match (name.as_str(), value) {
                    ("$ref", Value::String(to)) => drop(found.insert(to.clone())),
                    _ => references(value, found),
                }),
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 5, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
