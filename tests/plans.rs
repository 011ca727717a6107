//! `syncline plan` and the words of delivery: what would run, what each way keeps, and what an edit would do to the state that is there.

use serde_json::Value;

use crate::{
    desk::{Desk, Said},
    web::Client,
};

const ORDERS: &str = "\
PIPELINE orders WITH (delivery = 'at least once') AS
FROM file('orders.ndjson')
|> WHERE total > 1
|> DEDUP BY id WITHIN '1 hour'
|> SELECT id, CAST(total AS BIGINT) AS total
|> TEE (|> INSERT INTO stdout())
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id);
";

fn plan(desk: &Desk) -> Said {
    desk.say(&["plan", "orders.sync"])
}

/// What it prints, without digests, which are other texts when the engine means something else by a state.
fn shown(said: &Said) -> String {
    let hex = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = |word: &str| if hex(word.trim_end_matches(':')) { "…" } else { word }.to_owned();
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    said.out().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_plan_is_a_tree_and_starts_nothing() {
    let desk = Desk::with(ORDERS);
    let expected = "\
pipeline orders of orders.sync · plan …
  checkpoint every 200 ms · at least once is asked for · nothing is committed yet
  from file('orders.ndjson') · json · ends
  ├─ where: WHERE total > 1
  ├─ dedup: DEDUP BY id WITHIN 1 hour
  │    state … by id: 34 bytes of memory for each key, for 1 hour
  ├─ select: SELECT id, total
  ├─ tee: TEE
  │  └─ tee/insert: INSERT INTO stdout() · id, total
  │       at least once
  └─ upsert: UPSERT INTO sqlite('shop.db', 'orders') KEY (id) · id, total
       exactly once";
    assert_eq!(shown(&plan(&desk).expect(0)), expected);
    assert!(!desk.path(".syncline").exists() && !desk.path("shop.db").exists(), "nothing was made");
}

#[test]
fn what_becomes_of_state_is_told_before_it_happens() {
    let desk = Desk::with(ORDERS);
    desk.append("orders.ndjson", (0..5).map(|n| format!(r#"{{"id":"{n}","total":{}}}"#, n + 2)));
    desk.ok(&["run", "orders.sync"]);
    let kept = shown(&plan(&desk).expect(0));
    assert!(kept.contains(" · kept: 5 keys\n") && kept.contains("goes on from epoch "), "{kept}");
    assert!(kept.contains("ends · read on where it was left\n"), "{kept}");
    // Another key makes other state of it.
    let edited = ORDERS.replace("DEDUP BY id", "DEDUP BY id, total");
    desk.write("orders.sync", &edited);
    let said = plan(&desk).expect(2);
    assert!(shown(&said).contains(" · would be lost: 5 keys\n"), "{}", said.out());
    let refused = desk.say(&["run", "orders.sync"]).expect(2);
    let words = |said: &Said| said.err[said.err.find("error: ").expect("an error")..].to_owned();
    assert_eq!(words(&said), words(&refused), "run says the same");
    // A step that is gone.
    desk.write("orders.sync", ORDERS.replace("|> DEDUP BY id WITHIN '1 hour'\n", ""));
    let said = plan(&desk).expect(2);
    assert!(said.out().ends_with("  would be lost: dedup: 5 keys\n"), "{}", said.out());
    // A step that would take over from another.
    let two = |first: &str, second: &str| {
        let branch =
            |by: &str, to: &str| format!("(|> DEDUP BY {by} WITHIN '1 day' |> SELECT id |> INSERT INTO file('{to}/'))");
        let flows = [branch(first, "a"), branch(second, "b")].join(", ");
        format!("PIPELINE two AS FROM file('orders.ndjson') |> FORK {flows};")
    };
    desk.write("two.sync", two("id", "total"));
    desk.ok(&["run", "two.sync"]);
    desk.write("two.sync", two("total", "id").replace("'a/'", "'x/'").replace("'b/'", "'a/'").replace("'x/'", "'b/'"));
    let said = desk.say(&["plan", "two.sync"]).expect(2);
    assert!(said.out().contains("  would take over: ") && said.err.contains("--fresh"), "{}{}", said.out(), said.err);
    // Nothing of all this has changed anything.
    desk.write("orders.sync", ORDERS);
    assert_eq!(shown(&plan(&desk).expect(0)), kept);
}

#[test]
fn machines_read_the_same_as_json() {
    let desk = Desk::with(ORDERS);
    let said = desk.ok(&["plan", "orders.sync", "-o", "json"]);
    let found: Value = serde_json::from_str(&said).expect("JSON");
    let planned = &found["pipelines"][0];
    assert_eq!(
        planned["source"],
        serde_json::json!({"step": "source", "place": "file('orders.ndjson')", "format": "json", "ends": true})
    );
    let steps: Vec<&str> =
        planned["steps"].as_array().expect("steps").iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(steps, ["where", "dedup", "select", "tee", "upsert"]);
    assert_eq!(planned["steps"][1]["state"]["fate"], "new");
    assert_eq!(
        planned["steps"][3]["branches"][0]["steps"][0]["sink"],
        serde_json::json!({"to": "stdout()", "keeps": "at least once"})
    );
    assert_eq!(planned["co_partitioned"], false, "a DEDUP wants all rows of a key");
    let lines = desk.ok(&["plan", "orders.sync", "-o", "ndjson"]);
    assert_eq!(lines.lines().count(), 1);
}

#[test]
fn a_plan_asks_for_no_secret_and_shows_none() {
    let desk = Desk::with(
        "CONNECTION shop TO postgres WITH (url = secret('shop/url'));
PIPELINE orders AS FROM http_get(env('NOWHERE_SET')) FORMAT json |> SELECT id
|> TEE (|> INSERT INTO kafka('a', brokers => 'b:1', settings => 'ssl.key.password=hush-hush'))
|> INSERT INTO shop.orders;",
    );
    let mut command = desk.command(&["plan", "orders.sync"]);
    command.env("SYNCLINE_SECRET_SHOP_URL", "postgres://bo:quiet-quiet@db/shop");
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    for secret in ["hush-hush", "quiet-quiet"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(said.contains("'ssl.key.password=[secret]'") && said.contains("shop.orders"), "{said}");
    let wrong = Desk::with("PIPELINE a AS FROM file('a') |> INSRT INTO stdout();");
    wrong.say(&["plan", "orders.sync"]).expect(2);
}

#[test]
fn a_running_process_tells_what_it_has_committed() {
    let desk = Desk::with(
        "PIPELINE orders AS FROM http('/orders') |> DEDUP BY id WITHIN '1 hour' |> INSERT INTO file('out/');",
    );
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(running.address());
    client.post("/in/orders", &[], b"{\"id\":1}\n{\"id\":2}\n");
    running.until("it is kept", |_| shown(&plan(&desk)).contains(" · kept: 2 keys\n"));
    let file = std::fs::read_to_string(desk.path("orders.sync")).expect("the file");
    desk.write("orders.sync", file.replace("BY id", "BY id, n"));
    let said = plan(&desk).expect(2);
    assert!(shown(&said).contains(" · would be lost: 2 keys\n"), "{}", said.out());
    assert!(said.err.contains("--drop-state dedup"), "{}", said.err);
    running.stop().expect(0);
}

#[test]
fn check_says_what_each_way_keeps_and_refuses_what_one_cannot() {
    let desk = Desk::with(ORDERS);
    let said = desk.say(&["check", "orders.sync"]).expect(0);
    let expected = "\
orders.sync: ok (orders)
  orders: file('orders.ndjson') → stdout(): at least once
  orders: file('orders.ndjson') → sqlite('shop.db', 'orders'): exactly once
";
    assert!(said.err.ends_with(expected), "{}", said.err);
    let found: Value = serde_json::from_str(&desk.ok(&["check", "orders.sync", "-o", "json"])).expect("JSON");
    let first = serde_json::json!({"pipeline": "orders", "from": ["file('orders.ndjson')"], "step": "tee/insert", "to": "stdout()", "keeps": "at least once"});
    assert_eq!(found["delivery"][0], first);
    assert_eq!(found["delivery"].as_array().map(Vec::len), Some(2));
    desk.write("orders.sync", ORDERS.replace("'at least once'", "'exactly once'"));
    let said = desk.say(&["check", "orders.sync"]).expect(2);
    assert!(said.err.contains("error: 'exactly once' cannot be kept to the end"), "{}", said.err);
    assert!(said.err.contains("delivery-not-possible"), "{}", said.err);
}
