//! Webhooks from outside: signed by their providers, forged by others, sent twice, cut off by `kill -9`.
//!
//! Who signs and who forges is `webhooks.py`, which shares nothing with Syncline. GitHub's own 329 example payloads are the
//! deliveries; each is sent twice, among twelve forgeries of it.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use crate::{
    chance::{Chance, soak},
    desk::{Desk, PATIENCE, Running, house, python, python_reads},
    github::{self, PAYLOADS},
    look,
    promises::figure,
    web::{Answer, Client},
};

const SECRET: &str = "It's a Secret to Everybody";
/// What stands in every forged body that is not a genuine one (`webhooks.py`).
const MARK: &str = "forged-7f3a91";

/// An `INSERT`, so that whatever came in twice would be there twice.
const PIPELINE: &str = "
PIPELINE hooks WITH (checkpoint_every = '50 milliseconds') AS
FROM http('/github', verify => github(secret('github/webhook')))
|> SELECT _headers['x-github-delivery'] AS delivery, _headers['x-github-event'] AS event, action,
          _headers['x-hub-signature-256'] AS signature
|> INSERT INTO file('out/');
";

fn desk(pipeline: &str) -> Desk {
    let desk = Desk::with(pipeline);
    secret(&desk, "github/webhook", SECRET);
    desk
}

fn secret(desk: &Desk, name: &str, text: &str) {
    let mut command = desk.command(&["secret", "set", name]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads the secret");
    assert!(child.wait().expect("a child of ours").success(), "secret set {name}");
}

/// The real payloads in a folder, as `webhooks.py` reads them; what must be in the output, sorted.
fn deliveries(desk: &Desk, chance: &mut Chance, rounds: usize) -> Vec<String> {
    let (mut index, mut expected) = (String::new(), vec![]);
    let all = (0..rounds).flat_map(|_| github::deliveries(chance)).collect::<Vec<_>>();
    for (number, delivery) in all.iter().enumerate() {
        desk.write(&format!("sent/{number}.json"), &delivery.body);
        index.push_str(&format!("{number}\t{}\t{}\n", delivery.guid, delivery.event));
        let body: Value = serde_json::from_slice(&delivery.body).expect("a payload");
        expected.push(format!("{}|{}|{}", delivery.guid, delivery.event, text(&body["action"])));
    }
    desk.write("sent/index.tsv", index);
    expected.sort();
    expected
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn posting(desk: &Desk, address: SocketAddr, seed: u64) -> Running {
    let mut command = desk.other("python3", &[]);
    command.arg(house().join("tests/webhooks.py")).arg("post").arg(desk.path("sent"));
    command.arg(format!("http://{address}/in/github")).arg(SECRET).arg(seed.to_string()).stdin(Stdio::null());
    Running::start(command, "webhooks.py post".to_owned())
}

fn written(desk: &Desk) -> Vec<String> {
    let row = |line: String| {
        let row: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(row["signature"], Value::Null, "a signature was kept: {line}");
        format!("{}|{}|{}", text(&row["delivery"]), text(&row["event"]), text(&row["action"]))
    };
    let mut rows: Vec<String> = look::lines(&desk.path("out")).into_iter().map(row).collect();
    rows.sort();
    rows
}

/// outcome, or `refused` with its reason → requests, from SQL.
fn counts(desk: &Desk) -> BTreeMap<String, u64> {
    let rows = desk.query("SELECT outcome, reason, requests FROM deliveries WHERE path = '/in/github'");
    let row = |row: &Value| {
        let reason = row["reason"].as_str().map_or(String::new(), |reason| format!(": {reason}"));
        (format!("{}{reason}", text(&row["outcome"])), row["requests"].as_u64().expect("a count"))
    };
    rows.iter().map(row).collect()
}

#[test]
fn genuine_webhooks_are_taken_once_and_no_forged_one_gets_in() {
    let (mut chance, seed) = Chance::told("webhooks");
    let desk = desk(PIPELINE);
    let expected = deliveries(&desk, &mut chance, 1);
    let mut server = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0", "--ingest", "127.0.0.1:0"]);
    let address = ingest(&mut server);
    let said = posting(&desk, address, seed).end(PATIENCE).expect(0);
    let answers: Value = serde_json::from_str(&said.out()).expect("what was answered");
    server.until("all is read", |_| desk.value("SELECT sum(rows_in) AS n FROM runs") == PAYLOADS);
    let status = desk.ok(&["status"]);
    assert!(status.contains("/in/github · verified by github"), "{status}");
    let metrics = Client::to(server.address()).get("/metrics").body;
    let refused = "syncline_ingest_requests_total{path=\"github\",status=\"401\"}";
    assert!(metrics.lines().any(|line| line.starts_with(refused)), "{metrics}");
    server.stop().expect(0);
    look::same("what came in", &written(&desk), &expected);
    let forged = 12 * PAYLOADS as u64 + 40;
    assert_eq!(answers, json!({"accepted": PAYLOADS, "duplicate": PAYLOADS, "refused": forged, "retries": 0}));
    let many = |times: u64| times * PAYLOADS as u64;
    let counted: BTreeMap<String, u64> = [
        ("accepted", many(1)),
        ("duplicate", many(1)),
        ("refused: malformed", many(4)),
        ("refused: mismatch", many(5)),
        ("refused: missing", many(3)),
        ("refused: replayed", 40),
    ]
    .map(|(what, times)| (what.to_owned(), times))
    .into();
    assert_eq!(counts(&desk), counted, "each request has one outcome, and they are kept");
    let page = |step| format!("{step}: {PAYLOADS} in · {PAYLOADS} passed");
    assert_eq!(desk.books("hooks"), ["insert", "select", "source"].map(page));
    assert_eq!(desk.value("SELECT count(*) AS n FROM dead_letters"), 0);
    holds_nothing_of_forgers_nor_the_secret(&desk);
}

/// Counted by the hour in which each came in, for the team that owns its repository. Repositories of nobody match nothing.
const HOURLY: &str = "
PIPELINE hourly WITH (checkpoint_every = '50 milliseconds') AS
FROM http('/github', verify => github(secret('github/webhook')))
|> EXTEND _headers['x-github-delivery'] AS delivery, _headers['x-github-event'] AS event, repository['full_name'] AS name
|> TEE (|> SELECT delivery, _timestamp AS at |> INSERT INTO file('seen/'))
|> JOIN file('repositories.csv') AS owner ON name = owner.full_name
|> AGGREGATE COUNT(*) AS deliveries, COUNT(DISTINCT delivery) AS ids, MIN(delivery::VARCHAR) AS first
   GROUP BY tumble(_timestamp, INTERVAL '1 hour') AS hour, owner.team AS team, event
|> INSERT INTO sqlite('counts.db', 'hourly');
";

const REPOSITORIES: &str = "full_name,team
Codertocat/Hello-World,core
octo-org/octo-repo,platform
Octocoders/Hello-World,core
electron/electron,desktop
github/hello-world,platform
nobody/ever,none
";

#[test]
fn genuine_webhooks_joined_with_a_table_are_counted_per_hour_as_an_independent_script_counts_them() {
    let (mut chance, seed) = Chance::told("webhooks, counted");
    let desk = desk(HOURLY);
    desk.write("repositories.csv", REPOSITORIES);
    deliveries(&desk, &mut chance, 1);
    let door = free_address();
    let (listen, ingest) = (free_address().to_string(), door.to_string());
    let start = || desk.start(&["run", "orders.sync", "--listen", &listen, "--ingest", &ingest]);
    let mut post = posting(&desk, door, seed);
    for life in 0..3 {
        let mut running = start();
        running.until("it takes webhooks", |_| TcpStream::connect(door).is_ok());
        if life == 0 {
            sender_has_begun(&desk, &mut running);
        }
        thread::sleep(Duration::from_millis(chance.between(20, 250)));
        assert!(running.kill() && !post.ended(), "the sender was done before all kills");
    }
    let mut last = start();
    post.end(PATIENCE).expect(0);
    last.until("all is read", |_| desk.value("SELECT sum(rows_in) AS n FROM runs") == PAYLOADS);
    last.stop().expect(0);
    assert_eq!(look::sqlite(&desk.path("counts.db"), "SELECT count(*) FROM hourly"), [["0"]], "the hour is not over");
    // The end of a batch ends the hour.
    desk.ok(&["run", "orders.sync", "--once"]);
    let folder = desk.path("");
    let counted = python("webhooks_counts.py", &[&folder.to_string_lossy()]);
    let counted: Vec<Vec<String>> = counted.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    assert!(counted.len() > 40, "the script counted next to nothing: {counted:?}");
    let rows = "SELECT hour, team, event, deliveries, ids, first FROM hourly ORDER BY 1, 2, 3";
    assert_eq!(look::sqlite(&desk.path("counts.db"), rows), counted);
    let sum = |column: usize| counted.iter().map(|row| row[column].parse::<usize>().expect("a count")).sum::<usize>();
    let (matched, groups) = (sum(3), counted.len());
    let unmatched = PAYLOADS - matched;
    assert!(unmatched > 0, "every repository belongs to somebody");
    // Each step had its rows in one of the two runs.
    let mut books = desk.books("hourly");
    books.retain(|page| !page.ends_with(": 0 in"));
    let all = |step: &str| format!("{step}: {PAYLOADS} in · {PAYLOADS} passed");
    let expected = [
        format!("aggregate: {matched} in · {matched} absorbed"),
        all("extend"),
        format!("insert: {groups} in · {groups} passed"),
        format!("join: {PAYLOADS} in · {matched} passed · {unmatched} filtered"),
        all("source"),
        all("tee"),
        all("tee/insert"),
        all("tee/select"),
    ];
    assert_eq!(books, expected);
    holds_nothing_of_forgers_nor_the_secret(&desk);
}

/// Neither a forged body, nor a forged id, nor the secret itself is anywhere in the data folder.
fn holds_nothing_of_forgers_nor_the_secret(desk: &Desk) {
    let mut looked = 0;
    let mut folders = vec![desk.path(".syncline")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() && path.file_name().is_some_and(|name| name != "secrets") {
                let bytes = fs::read(&path).expect("a file");
                looked += bytes.len();
                for word in [MARK, SECRET] {
                    assert!(!holds(&bytes, word.as_bytes()), "{word} is in {}", path.display());
                }
            }
        }
    }
    let real = fs::read(log_file(&desk.path(".syncline/log"))).expect("the log of the path");
    assert!(looked > 1 << 20 && holds(&real, b"x-github-delivery"), "this looked in the wrong place: {looked} bytes");
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

fn log_file(folder: &Path) -> std::path::PathBuf {
    let topics = fs::read_dir(folder).expect("the log").flatten().map(|entry| entry.path());
    let topic = topics.into_iter().find(|path| path.to_string_lossy().contains("github")).expect("the path's topic");
    let mut files = fs::read_dir(topic).expect("its files").flatten().map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "log")).expect("a file of frames")
}

#[test]
fn soak_webhooks_are_taken_once_whenever_the_process_is_killed() {
    let (mut chance, seed) = Chance::told("webhooks, killed");
    let (rounds, kills) = if soak() { (20, 30) } else { (1, 6) };
    let desk = desk(PIPELINE);
    let expected = deliveries(&desk, &mut chance, rounds);
    let door = free_address();
    let (listen, ingest) = (free_address().to_string(), door.to_string());
    let start = || desk.start(&["run", "orders.sync", "--listen", &listen, "--ingest", &ingest]);
    let mut post = posting(&desk, door, seed);
    let mut fell = 0;
    while fell < kills && !post.ended() {
        let mut running = start();
        running.until("it takes webhooks", |_| TcpStream::connect(door).is_ok());
        if fell == 0 {
            sender_has_begun(&desk, &mut running);
        }
        thread::sleep(Duration::from_millis(chance.between(20, 250)));
        assert!(running.kill(), "the server ended by itself: start it by hand and look");
        fell += 1;
    }
    assert_eq!(fell, kills, "the sender was done before all kills");
    let mut last = start();
    let said = post.end(Duration::from_secs(3_600)).expect(0);
    let answers: Value = serde_json::from_str(&said.out()).expect("what was answered");
    let many = (PAYLOADS * rounds) as u64;
    last.until("all is read", |_| desk.value("SELECT sum(rows_in) AS n FROM runs") == many);
    last.stop().expect(0);
    look::same("what came in", &written(&desk), &expected);
    eprintln!("webhooks: {fell} kills; {answers}");
    // Who was killed before he could say 202 said 200 afterwards.
    let both = answers["accepted"].as_u64().zip(answers["duplicate"].as_u64()).map(|(one, other)| one + other);
    assert_eq!((both, &answers["refused"]), (Some(2 * many), &json!(12 * many + 40)));
    assert!(answers["accepted"].as_u64() <= Some(many) && answers["retries"].as_u64() > Some(0), "{answers}");
    assert_eq!(counts(&desk)["accepted"], many, "what is accepted is counted from the log");
    holds_nothing_of_forgers_nor_the_secret(&desk);
    figure(
        "soak_webhooks_are_taken_once_whenever_the_process_is_killed",
        &format!("{fell} kills, {many} deliveries, each taken once, {} of forgers refused", answers["refused"]),
    );
}

/// Kills before the first delivery would prove nothing: signing them all takes the sender a while.
fn sender_has_begun(desk: &Desk, running: &mut Running) {
    running.until("the sender has begun", |_| desk.value("SELECT count(*) AS n FROM deliveries") != 0);
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Where records are taken and nothing else, as the process says.
fn ingest(server: &mut Running) -> SocketAddr {
    let told = |err: &str| err.split_once("records are taken on http://")?.1.split("/in/").next()?.parse().ok();
    let mut address = None;
    server.until("it takes records", |running| {
        address = told(&running.err());
        address.is_some()
    });
    address.expect("just seen")
}

/// A request with the headers that its sender puts there.
struct Signed {
    scheme: &'static str,
    secret: &'static str,
    id: &'static str,
    body: &'static str,
}

impl Signed {
    fn headers(&self, seconds: i64) -> Vec<(String, String)> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_secs() as i64;
        let Signed { scheme, secret, id, body } = self;
        let time = (now + seconds).to_string();
        let asked = json!({"scheme": scheme, "secret": secret, "id": id, "time": time, "body": body});
        let printed = python_reads("webhooks.py", &["sign"], format!("{asked}\n").as_bytes());
        let headers: BTreeMap<String, String> = serde_json::from_str(&printed).expect("headers");
        headers.into_iter().collect()
    }

    fn post(&self, client: &mut Client, path: &str, seconds: i64) -> Answer {
        let headers = self.headers(seconds);
        let mut headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.push(("Content-Type", "application/json"));
        client.post(path, &headers, self.body.as_bytes())
    }
}

#[test]
fn every_scheme_takes_what_its_provider_sends_and_slack_s_question_is_answered() {
    let desk = Desk::with(
        "
PIPELINE slack AS FROM http('/slack', verify => slack(secret('slack'))) |> INSERT INTO file('out/slack/');
PIPELINE billing AS FROM http('/billing', verify => standard_webhooks([secret('new'), secret('old')])) |> INSERT INTO file('out/billing/');
PIPELINE shop AS FROM http('/shop', verify => hmac_sha256(secret('shop'), header => 'X-Signature', encoding => 'base64', id => 'X-Id')) |> INSERT INTO file('out/shop/');
",
    );
    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (name, text) in
        [("slack", "8f742231b10e"), ("new", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"), ("old", OLD), ("shop", "s")]
    {
        secret(&desk, name, text);
    }
    let mut server = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(server.address());
    let slack = |body| Signed { scheme: "slack", secret: "8f742231b10e", id: "", body };
    let asked = slack(r#"{"token":"x","challenge":"3eZbrw1aB10QpL","type":"url_verification"}"#);
    let answer = asked.post(&mut client, "/in/slack", 0);
    assert_eq!((answer.status, answer.body.as_str()), (200, "3eZbrw1aB10QpL"));
    assert_eq!(asked.post(&mut client, "/in/slack", -301).status, 401, "an old question is no question");
    let event = slack(r#"{"type":"event_callback","event_id":"Ev1","event":{"type":"message","text":"hi"}}"#);
    assert_eq!(event.post(&mut client, "/in/slack", 0).status, 200, "without a body, which Slack would show");
    assert_eq!(event.post(&mut client, "/in/slack", 1).status, 200, "a retry has another time, and the same event_id");
    let bill = Signed { scheme: "standard_webhooks", secret: OLD, id: "msg_1", body: r#"{"amount": 9.50}"# };
    assert_eq!(
        bill.post(&mut client, "/in/billing", -240).status,
        202,
        "the secret that is being replaced still holds"
    );
    let again = bill.post(&mut client, "/in/billing", 0);
    assert_eq!((again.status, again.json()), (200, json!({"accepted": 0, "rejected": 0, "duplicate": true})));
    let late = bill.post(&mut client, "/in/billing", 420);
    assert_eq!((late.status, late.header("content-type")), (401, Some("application/problem+json")));
    assert_eq!(late.json()["title"], "this request is not verified");
    let order = Signed { scheme: "hmac_sha256", secret: "s", id: "o-1", body: r#"{"order": 1}"# };
    let statuses = [0, 0].map(|_| order.post(&mut client, "/in/shop", 0).status);
    assert_eq!(statuses, [202, 200]);
    assert_eq!(order.post(&mut client, "/in/slack", 0).status, 401, "another provider's");
    server.until("all is read", |_| desk.value("SELECT sum(rows_in) AS n FROM runs") == 3);
    server.stop().expect(0);
    let out = |name: &str| look::lines(&desk.path(&format!("out/{name}")));
    assert_eq!([out("slack"), out("billing"), out("shop")], [[event.body], [bill.body], [order.body]]);
    let plan = desk.ok(&["check", "orders.sync", "--plan"]);
    assert!(plan.contains("secret('old')") && !plan.contains("MfKQ9r8GKYqr"), "{plan}");
}

#[test]
fn the_door_for_records_shows_nothing_else_and_strangers_need_a_signature() {
    let open = "PIPELINE open AS FROM http('/open') |> INSERT INTO stdout();\n";
    let hooks = desk(&format!("{PIPELINE}{open}"));
    let refused = hooks.say(&["run", "orders.sync", "--listen", "127.0.0.1:0", "--ingest", "0.0.0.0:0"]).expect(2);
    for told in
        ["0.0.0.0:0 can be reached from other machines", "/in/open has no `verify`: http('/open') of pipeline open"]
    {
        assert!(refused.err.contains(told), "{}", refused.err);
    }
    assert!(!refused.err.contains("/in/github has no"), "{}", refused.err);
    let nothing = Desk::with("PIPELINE a AS FROM file('a.ndjson') |> INSERT INTO stdout();");
    nothing.say(&["run", "orders.sync", "--ingest", "127.0.0.1:0"]).expect(2);

    hooks.write("orders.sync", PIPELINE);
    let mut server = hooks.start(&["run", "orders.sync", "--listen", "127.0.0.1:0", "--ingest", "0.0.0.0:0"]);
    let port = ingest(&mut server).port();
    let mut outside = Client::to(SocketAddr::from(([127, 0, 0, 1], port)));
    for path in ["/", "/metrics", "/healthz", "/readyz", "/v1/status", "/v1/dead-letters", "/in"] {
        let answer = outside.get(path);
        assert_eq!((answer.status, answer.json()["title"].as_str()), (404, Some("there is nothing here")), "{path}");
    }
    assert_eq!(outside.post("/v1/queries", &[], br#"{"sql": "SELECT 1"}"#).status, 404);
    assert_eq!(outside.get("/in/github").status, 405);
    let unknown = outside.post("/in/nothing", &[], b"{}");
    assert_eq!((unknown.status, &unknown.json()["paths"]), (404, &Value::Null), "paths are not told to strangers");
    assert_eq!(outside.post("/in/github", &[("Origin", "https://hooks.example")], b"{}").status, 401);
    let one = Signed { scheme: "github", secret: SECRET, id: "d-1", body: r#"{"action": "opened"}"# };
    assert_eq!(one.post(&mut outside, "/in/github", 0).status, 202);
    assert_eq!(Client::to(server.address()).get("/healthz").status, 200);
    server.until("it is read", |_| hooks.value("SELECT sum(rows_in) AS n FROM runs") == 1);
    server.stop().expect(0);
}

#[test]
fn a_secret_that_is_missing_or_useless_is_told_before_anything_runs() {
    let desk = Desk::with(PIPELINE);
    let missing = desk.say(&["run", "orders.sync"]).expect(3);
    for told in
        ["secret('github/webhook') is not set", "syncline secret set github/webhook", "pipeline hooks: http('/github'"]
    {
        assert!(missing.err.contains(told), "{}", missing.err);
    }
    desk.write("orders.sync", PIPELINE.replace("github(secret", "standard_webhooks(secret"));
    secret(&desk, "github/webhook", SECRET);
    let useless = desk.say(&["run", "orders.sync"]).expect(2);
    assert!(useless.err.contains("it is not base64 behind whsec_") && !useless.err.contains(SECRET), "{}", useless.err);
    desk.write("orders.sync", "PIPELINE a AS FROM http('/x', verify => github('hunter2')) |> INSERT INTO stdout();");
    let literal = desk.say(&["check", "orders.sync"]).expect(2);
    assert!(literal.err.contains("the secret stands in the file, where everybody can read it"), "{}", literal.err);
}

#[test]
fn a_replaced_secret_holds_after_a_reload_and_the_old_one_does_not() {
    let desk = desk(PIPELINE);
    let mut server = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(server.address());
    let with = |secret, id| Signed { scheme: "github", secret, id, body: "{}" };
    assert_eq!(with(SECRET, "1").post(&mut client, "/in/github", 0).status, 202);
    secret(&desk, "github/webhook", "another");
    server.signal("HUP");
    server.until("the new secret holds", |_| with("another", "2").post(&mut client, "/in/github", 0).status != 401);
    assert_eq!(with(SECRET, "3").post(&mut client, "/in/github", 0).status, 401);
    assert_eq!(with("another", "1").post(&mut client, "/in/github", 0).status, 200, "known all the same");
    server.stop().expect(0);
}

#[test]
fn bodies_rates_and_connections_have_their_bounds() {
    let desk = Desk::with(
        "PIPELINE a AS FROM http('/a', max_body => '100 bytes', rate_limit => '3 per second') |> INSERT INTO file('out/');",
    );
    let mut server = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let address = server.address();
    let mut client = Client::to(address);
    let long = client.post("/in/a", &[], format!("{{\"a\": \"{}\"}}", "x".repeat(100)).as_bytes());
    assert_eq!((long.status, long.json()["title"].as_str()), (413, Some("the body is longer than 100 bytes")));
    let answers: Vec<Answer> = (0..4).map(|_| client.post("/in/a", &[], b"{}")).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [202, 202, 202, 429]);
    let wait: u64 = answers[3].header("retry-after").and_then(|wait| wait.parse().ok()).expect("when to come back");
    assert_eq!(((1..=2).contains(&wait), answers[3].json()["type"].as_str()), (true, Some("urn:syncline:rate-limit")));
    thread::sleep(Duration::from_secs(wait));
    assert_eq!(client.post("/in/a", &[], b"{}").status, 202);

    // 512 connections that say nothing: the next one waits until one of them is gone.
    drop(client);
    let mut idle: Vec<TcpStream> = (0..512).map(|_| TcpStream::connect(address).expect("a place")).collect();
    let mut next = TcpStream::connect(address).expect("a place in the queue");
    next.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    next.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is queued");
    let mut byte = [0];
    assert!(next.read(&mut byte).is_err(), "513 connections are served");
    idle.truncate(500);
    next.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    assert_eq!(next.read(&mut byte).expect("an answer, now that there is a place"), 1);
    server.stop().expect(0);
}
