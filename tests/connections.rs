//! Connections over HTTP: the answers are those of the commands, nobody gets in who may not, and no secret gets out.

use serde_json::{Value, json};

use crate::{
    desk::Desk,
    kafka::{self, Record},
    web::Client,
};

/// Does not answer, and its password is one.
const DOWN: &str = "CONNECTION down TO postgres WITH (url = secret('down/url'));\n";
const PASSWORD: &str = "hunter-of-secrets-7";

#[test]
fn connections_are_listed_tested_and_looked_into_over_http_as_by_the_commands() {
    let bus = kafka::shared();
    let topic = bus.topic("connections_http", 2);
    topic.produce(&[
        Record::new("1", r#"{"id":1,"total":9.50,"at":"2026-11-20T10:00:00Z"}"#),
        Record::new("2", r#"{"id":2,"total":1.5,"at":"2026-11-20T10:00:00Z"}"#).partition(1),
    ]);
    let lines = bus.topic("connections_http_lines", 1);
    lines.produce(&[Record::new("k", "1;ada"), Record::new("k", "2;bob")]);
    let desk = Desk::new();
    let declared = format!("CONNECTION bus TO kafka WITH (brokers = '{}');\n{DOWN}", bus.brokers());
    desk.write("connections.sync", declared);
    desk.write("password", format!("postgres://ada:{PASSWORD}@127.0.0.1:9/shop"));
    let mut set = desk.command(&["secret", "set", "down/url"]);
    set.stdin(std::fs::File::open(desk.path("password")).expect("the file"));
    assert!(set.output().expect("it runs").status.success());
    let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(running.address());
    running.until("it is ready", |_| client.get("/readyz").status == 200);
    let listed = client.get("/v1/connections").json();
    let options = |name: &str| {
        let one = listed["items"].as_array().expect("a list").iter().find(|one| one["name"] == name);
        one.map(|one| one["options"].clone())
    };
    assert_eq!(options("bus"), Some(json!({ "brokers": bus.brokers() })));
    assert_eq!(options("down"), Some(json!({ "url": { "secret": "down/url" } })));

    let command = |arguments: &[&str]| -> Value {
        let out = desk.ok(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    };
    let told = client.post("/v1/connections/BUS/test", &[], b"");
    assert_eq!((told.status, told.json()["told"].clone()), (200, command(&["connection", "test", "bus"])), "{told:?}");
    let of = |list: &Value| {
        list.as_array().expect("a list").iter().find(|one| one["topic"] == topic.name.as_str()).cloned().expect("it")
    };
    let found = client.post("/v1/connections/bus/discover", &[], b"");
    assert_eq!(found.status, 200, "{found:?}");
    assert_eq!(of(&found.json()["objects"]), of(&command(&["discover", "bus"])));
    let discover = |client: &mut Client, object: &str| {
        let wanted = json!({ "object": object, "rows": 100 }).to_string();
        client.post("/v1/connections/bus/discover", &[], wanted.as_bytes())
    };
    let found = discover(&mut client, &topic.name).json();
    assert_eq!(found["schema"], command(&["discover", &format!("bus.{}", topic.name)]));
    assert!(found["text"].as_str().is_some_and(|text| text.contains("at    TIMESTAMP      NOT NULL")), "{found}");
    let place = format!("{} FORMAT csv (delimiter = ';')", lines.name);
    let found = discover(&mut client, &place).json();
    assert_eq!(found["schema"], command(&["discover", &format!("bus.{place}")]));

    // What is no part of a connection is not read: not another place, and no step.
    desk.write("etc.ndjson", "{\"root\": 1}\n");
    for other in [
        "x |> JOIN file('etc.ndjson') AS e USING (root)",
        "x\n|> INSERT INTO stdout();\nPIPELINE more AS\nFROM file('etc.ndjson')",
        "x |> INSERT INTO file('here/')",
    ] {
        let refused = discover(&mut client, other);
        assert_eq!(
            (refused.status, refused.json()["type"].clone()),
            (422, json!("urn:syncline:no-such-object")),
            "{other}"
        );
    }
    let wrong = discover(&mut client, "x FORMAT nonsense");
    assert_eq!(wrong.status, 422, "{wrong:?}");
    assert!(wrong.json()["diagnostics"].as_array().is_some_and(|found| !found.is_empty()), "{wrong:?}");
    let nobody = client.post("/v1/connections/nobody/test", &[], b"");
    assert_eq!(nobody.status, 404, "{nobody:?}");
    assert!(nobody.json()["help"].to_string().contains("bus, down"), "{nobody:?}");
    let down = client.post("/v1/connections/down/test", &[], b"");
    assert_eq!((down.status, down.json()["type"].clone()), (502, json!("urn:syncline:connection-failed")), "{down:?}");
    assert!(!down.body.contains(PASSWORD), "{down:?}");

    let token = desk.ok(&["token", "create", "ada", "--role", "viewer"]);
    let bearer = format!("Bearer {}", token.trim());
    let his = [("authorization", bearer.as_str())];
    assert_eq!(client.send("GET", "/v1/connections", &his, b"").status, 200);
    for verb in ["test", "discover"] {
        assert_eq!(client.post(&format!("/v1/connections/bus/{verb}"), &his, b"").status, 403, "{verb}");
    }
    let said = running.stop().expect(0);
    assert!(!said.err.contains(PASSWORD), "{}", said.err);
}
