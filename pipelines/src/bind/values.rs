//! Arguments with `env()` and `secret()` replaced by what they stand for.

use serde_json::{Map, Number, Value as Json};
use syncline_connectors::Args;
use syncline_dsl::plan::{Place, Value};

use super::{BindError, Secrets};

/// The arguments of a place, ready for its connector.
pub fn arguments(place: &Place, secrets: &Secrets<'_>) -> Result<Args, BindError> {
    let mut args = Args::default();
    for value in &place.positional {
        args.positional.push(resolve(value, secrets)?);
    }
    for (name, value) in &place.named {
        args.named.insert(name.clone(), resolve(value, secrets)?);
    }
    Ok(args)
}

fn resolve(value: &Value, secrets: &Secrets<'_>) -> Result<Json, BindError> {
    Ok(match value {
        Value::Text(text) => Json::String(text.clone()),
        Value::Number(text) => text.parse::<Number>().map_or_else(|_| Json::String(text.clone()), Json::Number),
        Value::Boolean(truth) => Json::Bool(*truth),
        Value::Null => Json::Null,
        Value::Env { name, default } => match (std::env::var(name), default) {
            (Ok(text), _) => Json::String(text),
            (Err(_), Some(default)) => resolve(default, secrets)?,
            (Err(_), None) => return Err(BindError::Env { name: name.clone() }),
        },
        Value::Secret { path } => Json::String(secrets(path).map_err(|detail| BindError::Secret { detail })?),
        Value::List(values) => {
            Json::Array(values.iter().map(|value| resolve(value, secrets)).collect::<Result<_, _>>()?)
        }
        Value::Call { function, positional, named } => {
            let mut call = Map::new();
            call.insert("function".into(), Json::String(function.clone()));
            let positional = positional.iter().map(|value| resolve(value, secrets)).collect::<Result<_, _>>()?;
            call.insert("positional".into(), Json::Array(positional));
            for (name, value) in named {
                call.insert(name.clone(), resolve(value, secrets)?);
            }
            Json::Object(call)
        }
    })
}
