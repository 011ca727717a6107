//! A schema registry of others, which speaks Confluent's protocol: Apicurio, with its state in memory.

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    part::{Part, port},
    web::Client,
};

/// Where Confluent's protocol is spoken.
const ROOT: &str = "/apis/ccompat/v7";
const HEAP: &str = "-Xmx384m";

pub struct Registry {
    address: SocketAddr,
    _part: Part,
    _folder: TempDir,
}

impl Registry {
    pub fn start() -> Registry {
        let named = std::env::var_os("SYNCLINE_REGISTRY").map(PathBuf::from);
        let home =
            named.expect("SYNCLINE_REGISTRY names the schema registry of these tests: ./test fetches it, run that");
        let folder = tempfile::tempdir().expect("a folder of the registry");
        let address = SocketAddr::from(([127, 0, 0, 1], port()));
        let mut command = Command::new("java");
        command.args([HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar"]).arg(home.join("registry.jar"));
        command.env("QUARKUS_HTTP_HOST", "127.0.0.1").env("QUARKUS_HTTP_PORT", address.port().to_string());
        command.current_dir(folder.path());
        let mut part = Part::start(command, folder.path(), "registry");
        part.until("the registry answers", || {
            TcpStream::connect(address).is_ok() && Client::to(address).get(&format!("{ROOT}/subjects")).status == 200
        });
        Registry { address, _part: part, _folder: folder }
    }

    /// What clients are told: `schema.registry.url`.
    pub fn url(&self) -> String {
        format!("http://{}{ROOT}", self.address)
    }

    /// A new version of a subject; its id. Kinds are `AVRO`, `PROTOBUF` and `JSON`.
    pub fn register(&self, subject: &str, kind: &str, schema: &str) -> i64 {
        let body = json!({"schemaType": kind, "schema": schema}).to_string();
        let kind = ("Content-Type", "application/vnd.schemaregistry.v1+json");
        let answer =
            Client::to(self.address).post(&format!("{ROOT}/subjects/{subject}/versions"), &[kind], body.as_bytes());
        answer.json()["id"].as_i64().unwrap_or_else(|| panic!("{subject}: {answer:?}"))
    }

    pub fn schema(&self, id: i64) -> Value {
        Client::to(self.address).get(&format!("{ROOT}/schemas/ids/{id}")).json()
    }
}

#[test]
fn a_registry_knows_the_schemas_that_it_is_given() {
    let registry = Registry::start();
    let schema = r#"{"type":"record","name":"order","fields":[{"name":"id","type":"long"}]}"#;
    let id = registry.register("orders-value", "AVRO", schema);
    assert_eq!(registry.register("orders-value", "AVRO", schema), id);
    assert_ne!(registry.register("other-value", "AVRO", &schema.replace("long", "int")), id);
    let proto = registry.register("orders-proto", "PROTOBUF", "syntax = \"proto3\"; message Order { int64 id = 1; }");
    assert!(proto > id);
    let found: Value = serde_json::from_str(registry.schema(id)["schema"].as_str().expect("text")).expect("JSON");
    assert_eq!(found, serde_json::from_str::<Value>(schema).expect("JSON"));
    assert!(registry.url().ends_with("/apis/ccompat/v7"), "{}", registry.url());
}
