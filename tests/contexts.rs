//! Commands that speak to a server somewhere else: over TLS, with a token, by the name of a context, and with the answers that they have
//! beside the data folder.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use serde_json::json;

use crate::{
    desk::{Desk, Running, Said},
    web::Client,
};

const ORDERS: &str = "PIPELINE orders AS FROM http('/orders') |> SELECT CAST(id AS BIGINT) AS id\n\
                      |> UPSERT INTO sqlite('out.db', 'orders') KEY (id);\n";

/// Somebody on another machine: a folder without data, and a place for his contexts.
struct Away {
    desk: Desk,
}

impl Away {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.desk.command(arguments);
        command.env("SYNCLINE_CONFIG", self.desk.path("config"));
        command
    }

    fn run(&self, command: Command) -> Said {
        Running::start(command, "away".to_owned()).end(Duration::from_secs(60))
    }

    fn say(&self, arguments: &[&str]) -> Said {
        self.run(self.command(arguments))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        self.say(arguments).expect(0).out()
    }
}

#[test]
fn commands_speak_to_a_server_by_its_name_with_its_token_and_in_tls_that_is_verified() {
    let (desk, away) = (Desk::new(), Away { desk: Desk::new() });
    let openssl =
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"];
    let mut made = desk.other("openssl", &openssl);
    made.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    made.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    Running::start(made, "openssl".to_owned()).end(Duration::from_secs(60)).expect(0);
    let token = desk.ok(&["token", "create", "ada", "--role", "admin"]).trim().to_owned();
    let viewer = desk.ok(&["token", "create", "eve", "--role", "viewer"]).trim().to_owned();
    let tls = ["--listen-tls-cert", "cert.pem", "--listen-tls-key", "key.pem"];
    let mut running = desk.start(&[&["serve", "--listen", "127.0.0.1:0"][..], &tls].concat());
    let mut port = String::new();
    running.until("it listens", |running| {
        let err = running.err();
        let told =
            err.split_once("listening on https://127.0.0.1:").and_then(|(_, rest)| rest.split_whitespace().next());
        port = told.unwrap_or_default().to_owned();
        !port.is_empty()
    });
    let url = format!("https://localhost:{port}");
    fs::copy(desk.path("cert.pem"), away.desk.path("ca.pem")).expect("the certificate");
    away.desk.write("orders.sync", ORDERS);
    away.desk.write("token", &token);

    let mut add = away.command(&["context", "add", "prod", &url, "--ca", "ca.pem", "--token-stdin"]);
    add.stdin(fs::File::open(away.desk.path("token")).expect("the token"));
    let said = away.run(add).expect(0);
    assert!(!said.err.contains(&token), "{}", said.err);
    let mode = fs::metadata(away.desk.path("config/contexts")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let listed = away.ok(&["context", "list", "-o", "json"]);
    assert!(!listed.contains(&token) && listed.contains("\"token\":\"kept\""), "{listed}");

    let prod = ["--context", "prod"];
    away.ok(&[&["apply", "orders.sync", "--yes"][..], &prod].concat());
    assert!(desk.path("orders.sync").exists(), "it is written where the server is");
    let shown = away.ok(&[&["status"][..], &prod].concat());
    assert!(shown.contains(&format!("of prod (localhost:{port})")) && shown.contains("orders ·"), "{shown}");
    // The answers are those that are given beside the data folder.
    let sql = "SELECT pipeline, run, balanced FROM runs";
    let rows = |said: String| serde_json::from_str::<serde_json::Value>(&said).expect("JSON");
    assert_eq!(rows(away.ok(&[&["query", sql, "-o", "json"][..], &prod].concat())), json!(desk.query(sql)));
    for arguments in [&["revisions", "orders", "-o", "json"][..], &["backfill", "status", "-o", "json"]] {
        assert_eq!(rows(away.ok(&[arguments, &prod].concat())), rows(desk.ok(arguments)), "{arguments:?}");
    }
    for arguments in [&["schedule", "list", "-o", "json"][..], &["dead-letters", "list", "-o", "json"]] {
        assert_eq!(rows(away.ok(&[arguments, &prod].concat())), json!([]), "{arguments:?}");
    }
    // What a text would do there, with the state that is there; here there is none.
    away.desk.write("change.sync", ORDERS.replace("|> UPSERT", "|> WHERE id > 1 |> UPSERT"));
    let planned = rows(away.ok(&[&["plan", "change.sync", "-o", "json"][..], &prod].concat()));
    let since = &planned["pipelines"][0]["since"];
    assert_eq!((&since["revision"], &planned["dropped"]), (&json!(1), &json!([])), "{planned}");
    let shown = away.ok(&[&["plan", "change.sync"][..], &prod].concat());
    assert!(shown.contains("since revision 1: added where"), "{shown}");
    assert!(!away.desk.path(".syncline").exists(), "nothing is made here");
    away.desk.write("wrong.sync", ORDERS.replace("|> UPSERT", "|> WHERE nobody > 1 |> UPSERT"));
    let refused = away.say(&[&["plan", "wrong.sync"][..], &prod].concat()).expect(1);
    assert!(refused.err.contains("nobody") && refused.err.contains("nothing was changed"), "{}", refused.err);
    // Its tokens: shown once, and not in a list.
    let ben =
        away.ok(&[&["token", "create", "ben", "--role", "operator", "--pipelines", "orders,x"][..], &prod].concat());
    let listed = away.ok(&[&["token", "list", "-o", "csv"][..], &prod].concat());
    assert_eq!(listed, desk.ok(&["token", "list", "-o", "csv"]));
    assert!(listed.contains("ben,") && listed.contains("\"orders,x\"") && ben.trim().starts_with("sl_"), "{listed}");
    assert!(!listed.contains(ben.trim()) && !away.desk.path(".syncline").exists());
    let again = away.say(&[&["token", "create", "ben", "--role", "viewer"][..], &prod].concat()).expect(1);
    assert!(again.err.contains("ben"), "{}", again.err);
    away.desk.write("ben", &ben);
    away.ok(&["context", "add", "ben", &url, "--ca", "ca.pem", "--token-file", "ben"]);
    let short = away.say(&["token", "list", "--context", "ben"]).expect(1);
    assert!(short.err.contains("this asks for the role admin"), "{}", short.err);
    away.ok(&[&["token", "revoke", "ben"][..], &prod].concat());
    away.say(&[&["token", "revoke", "ben"][..], &prod].concat()).expect(1);
    assert!(!desk.ok(&["token", "list"]).contains("ben"));
    away.ok(&["context", "remove", "ben"]);
    // Secrets stay where they are used, also where the context is not named each time.
    let mut secret = away.command(&["secret", "set", "shop/key"]);
    secret.env("SYNCLINE_CONTEXT", "prod");
    for said in [away.run(secret).expect(2), away.say(&[&["secret", "list"][..], &prod].concat()).expect(2)] {
        assert!(
            said.err.contains("no secret goes over the network") && said.err.contains("--context local"),
            "{}",
            said.err
        );
    }
    assert!(!away.desk.path(".syncline").exists());
    away.ok(&["secret", "list", "--context", "local"]);
    // By its name in the environment, and from now on.
    let mut pause = away.command(&["pipeline", "pause", "orders"]);
    pause.env("SYNCLINE_CONTEXT", "prod");
    away.run(pause).expect(0);
    let state = "SELECT state FROM pipelines";
    let is = |wanted: &str| desk.ok(&["pipeline", "list"]).contains(&format!("orders  {wanted}"));
    assert!(is("paused"), "{}", desk.ok(&["pipeline", "list"]));
    away.ok(&["context", "use", "prod"]);
    away.ok(&["pipeline", "resume", "orders"]);
    assert!(!is("paused"));
    let local = away.say(&["query", state, "--context", "local"]).expect(2);
    assert!(local.err.contains("no .syncline folder"), "{}", local.err);
    // It is written down within a second.
    let who = "SELECT who FROM audit_log WHERE target LIKE '%/pause'";
    running.until("it is noted", |_| desk.query(who) == [json!({"who": "ada"})]);

    // Who may only look, may only look.
    let add = ["context", "add", "look", &url, "--ca", "ca.pem", "--token-env", "EVE"];
    away.ok(&add);
    let mut delete = away.command(&["pipeline", "delete", "orders", "--context", "look"]);
    delete.env("EVE", &viewer);
    let refused = away.run(delete).expect(1);
    assert!(refused.err.contains("this asks for the role admin") && !refused.err.contains(&viewer), "{}", refused.err);
    let nothing = away.say(&["status", "--context", "look"]).expect(3);
    assert!(nothing.err.contains("EVE is not set"), "{}", nothing.err);
    // Nobody is spoken to who cannot prove who he is: not signed by whom we know, or of another name.
    away.ok(&["context", "add", "strange", &url, "--token-file", "token"]);
    let strange = away.say(&["status", "--context", "strange"]).expect(3);
    assert!(strange.err.contains("does not prove") && !strange.err.contains(&token), "{}", strange.err);
    away.ok(&["context", "add", "other", &format!("https://127.0.0.1:{port}"), "--ca", "ca.pem"]);
    assert!(away.say(&["status", "--context", "other"]).expect(3).err.contains("does not prove"));
    let clear = away.say(&["context", "add", "clear", "http://sync.example", "--token-file", "token"]).expect(2);
    assert!(clear.err.contains("could be read by anybody"), "{}", clear.err);

    away.ok(&["context", "add", "open", "http://sync.example:7800"]);
    let clear = away.say(&["token", "create", "kim", "--role", "viewer", "--context", "open"]).expect(2);
    assert!(clear.err.contains("could be read by anybody"), "{}", clear.err);
    away.ok(&["context", "remove", "open"]);

    let wrong = away.say(&["serve", "--context", "prod"]).expect(2);
    assert!(wrong.err.contains("speaks to no server"), "{}", wrong.err);
    let unknown = away.say(&["status", "--context", "prd"]).expect(2);
    assert!(unknown.err.contains("there are look, other, prod, strange and local"), "{}", unknown.err);
    away.ok(&["context", "remove", "prod"]);
    assert!(!fs::read_to_string(away.desk.path("config/contexts")).expect("the file").contains(&token));
    let said = running.stop().expect(0);
    assert!(!said.err.contains(&token) && !said.err.contains(&viewer), "{}", said.err);
    away.ok(&["context", "add", "gone", &url, "--ca", "ca.pem", "--token-file", "token"]);
    let gone = away.say(&["status", "--context", "gone"]).expect(3);
    assert!(gone.err.contains("gone does not answer at localhost:"), "{}", gone.err);
}

#[test]
fn a_server_of_this_machine_needs_no_tls_and_may_have_a_path_before_its_own() {
    let (desk, away) = (Desk::with(ORDERS), Away { desk: Desk::new() });
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let address = running.address();
    running.until("it is ready", |_| Client::to(address).get("/readyz").status == 200);
    away.ok(&["context", "add", "here", &format!("http://{address}")]);
    assert!(away.ok(&["status", "--context", "here"]).contains("orders ·"));
    away.ok(&["context", "add", "below", &format!("http://{address}/team/")]);
    let nothing = away.say(&["status", "--context", "below"]).expect(1);
    assert!(nothing.err.contains("there is no /team/v1/status"), "{}", nothing.err);
    running.stop().expect(0);
}
