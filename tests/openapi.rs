//! The API against its own description: schemathesis, a program of other people's, reads `/openapi.json` and asks what it allows and what
//! it does not. Nothing that it sends may be answered by a 5xx, or by anything that the description does not say.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    chance::Chance,
    desk::{Desk, Running},
    web::Client,
};

/// How long it asks, and how long it may take to get ready and to report, on a machine that does other things too.
const ASKS: &str = "25";
const WITHIN: Duration = Duration::from_secs(240);

/// Not whether everything that fits is taken: what SQL is, no description of an API says.
const UNCHECKED: &str = "positive_data_acceptance";
/// What holds once there is a token.
const OF_TOKENS: &str = "positive_data_acceptance,ignored_auth,missing_required_header";

const PIPELINES: &str = "
PIPELINE orders AS
FROM http('/orders')
|> SELECT CAST(id AS BIGINT) AS id
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id);

PIPELINE report EVERY '1 hour' AS
FROM file('in/*.ndjson')
|> SELECT CAST(id AS BIGINT) AS id
|> INSERT INTO file('out/');
";

/// A process with runs, a schedule and dead letters.
fn lived_in(desk: &Desk) -> (Running, SocketAddr) {
    desk.write("in/a.ndjson", "{\"id\": 1}\n");
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let address = running.address();
    let mut client = Client::to(address);
    running.until("it is ready", |_| client.get("/readyz").status == 200);
    let lines = (0..30).map(|id| if id % 2 == 0 { format!(r#"{{"id": {id}}}"#) } else { r#"{"id": "x"}"#.to_owned() });
    let sent = client.post("/in/orders", &[], lines.collect::<Vec<_>>().join("\n").as_bytes());
    assert_eq!(sent.status, 202, "{sent:?}");
    running.until("letters", |_| {
        client.get("/v1/dead-letters").json()["items"].as_array().is_some_and(|letters| letters.len() == 15)
    });
    (running, address)
}

/// Asks all that the description allows, and what it does not; the same seed asks the same.
fn ask(desk: &Desk, address: SocketAddr, seed: u64, unchecked: &str, more: &[&str]) {
    let python = std::env::var_os("SYNCLINE_SCHEMATHESIS").map(PathBuf::from).filter(|python| python.is_file());
    let python = python.expect("SYNCLINE_SCHEMATHESIS names a Python with schemathesis: ./test installs it, run that");
    let (url, seed) = (format!("http://{address}/openapi.json"), (seed % (1 << 32)).to_string());
    let mut command = desk.other(python, &["-m", "schemathesis.cli", "run", &url, "--seed", &seed]);
    command.args(["--max-examples", "12", "--max-time", ASKS, "--phases", "examples,coverage,fuzzing"]);
    command.args(["--checks", "all", "--exclude-checks", unchecked, "--no-color", "--no-shrink", "--warnings", "off"]);
    command
        .args(["--generation-database", "none", "--suppress-health-check", "all", "--request-timeout", "30"])
        // It stops pipelines; to say so with 503 is what this route is for.
        .args(["--exclude-operation-id", "getReadiness"])
        .args(more);
    let said = Running::start(command, "schemathesis".to_owned()).end(WITHIN);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out(), said.err);
    let out = said.out();
    let generated = out.lines().find_map(|line| line.trim().split_once(" generated")?.0.parse::<u64>().ok());
    assert!(generated.is_some_and(|many| many > 100), "it asked little:\n{out}");
}

#[test]
fn whatever_is_asked_is_answered_as_openapi_json_says() {
    let (_, seed) = Chance::told("openapi");
    let desk = Desk::with(PIPELINES);
    let (running, address) = lived_in(&desk);
    // It would show tokens that are none, which open nothing.
    desk.write("schemathesis.toml", "[generation]\nwith-security-parameters = false\n");
    // A first token would close the door to whoever has none.
    ask(&desk, address, seed, OF_TOKENS, &["--exclude-operation-id", "createToken"]);
    let said = running.stop().expect(0);
    assert!(!said.err.contains("panic"), "{}", said.err);
}

#[test]
fn whatever_the_holder_of_a_token_asks_is_answered_as_openapi_json_says() {
    let (_, seed) = Chance::told("openapi_token");
    let desk = Desk::with(PIPELINES);
    let (running, address) = lived_in(&desk);
    let token = desk.ok(&["token", "create", "schemathesis", "--role", "admin"]);
    let closed = Client::to(address).get("/v1/pipelines");
    assert_eq!((closed.status, closed.header("www-authenticate").is_some()), (401, true));
    let header = format!("Authorization: Bearer {}", token.trim());
    ask(&desk, address, seed, UNCHECKED, &["-H", &header, "--exclude-operation-id", "revokeToken"]);
    let asked = desk.value("SELECT count(*) FROM requests WHERE who = 'schemathesis' AND status < 300");
    assert!(asked.as_u64().is_some_and(|asked| asked > 50), "{asked}");
    let said = running.stop().expect(0);
    assert!(!said.err.contains("panic") && !said.err.contains(token.trim()), "{}", said.err);
}
