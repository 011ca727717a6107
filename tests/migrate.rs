//! Edits that define a step otherwise and leave its state readable: it is migrated, as the plan says before, and a way back undoes it.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    chance::Chance,
    desk::{Desk, Running},
    look,
    web::{Answer, Client},
};

const SQL: (&str, &str) = ("Content-Type", "application/sql");

fn orders(within: &str) -> String {
    format!(
        "PIPELINE orders WITH (checkpoint_every = '20 ms') AS FROM http('/orders')\n\
         |> SELECT CAST(id AS BIGINT) AS id, CAST(v AS BIGINT) AS v\n\
         |> DEDUP BY id WITHIN {within} |> UPSERT INTO sqlite('out.db', 'orders') KEY (id);\n"
    )
}

fn serve(desk: &Desk) -> (Running, Client) {
    let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
    let client = Client::to(running.address());
    (running, client)
}

fn put(client: &mut Client, text: &str) -> Answer {
    client.send("PUT", "/v1/pipelines/orders", &[SQL], text.as_bytes())
}

fn send(client: &mut Client, ids: std::ops::Range<usize>, v: usize) {
    let lines: String = ids.map(|id| format!("{{\"id\":{id},\"v\":{v}}}\n")).collect();
    let answer = client.post("/in/orders", &[("Content-Type", "application/x-ndjson")], lines.as_bytes());
    assert_eq!(answer.status, 202, "{answer:?}");
}

fn table(desk: &Desk, columns: &str) -> Vec<String> {
    let path = desk.path("out.db");
    let made = path.exists()
        && look::sqlite(&path, "SELECT count(*) FROM sqlite_master WHERE name = 'orders'").concat() == ["1"];
    let rows = if made { look::sqlite(&path, &format!("SELECT {columns} FROM orders ORDER BY 1")) } else { vec![] };
    rows.into_iter().map(|row| row.join(" ")).collect()
}

fn keys(desk: &Desk, step: &str) -> Value {
    let status: Value = serde_json::from_str(&desk.ok(&["status", "-o", "json"])).expect("JSON");
    let steps = status["pipelines"][0]["steps"].as_array().cloned().unwrap_or_default();
    let found = steps.iter().find(|found| found["step"] == step).map(|found| found["state"]["keys"].clone());
    found.unwrap_or_default()
}

fn slug(answer: &Answer) -> String {
    answer.json()["type"].as_str().unwrap_or_default().trim_start_matches("urn:syncline:").to_owned()
}

fn states(client: &mut Client, text: &str) -> Value {
    let plan = client.send("POST", "/v1/plans", &[SQL], text.as_bytes());
    assert_eq!(plan.status, 200, "{plan:?}");
    plan.json()["pipelines"][0]["states"].clone()
}

#[test]
fn keys_go_on_with_another_window_and_come_back_with_the_one_before() {
    let (hour, hours) = (orders("'1 hour'"), orders("'2 hours'"));
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    assert_eq!(put(&mut client, &hour).status, 201);
    send(&mut client, 0..7, 1);
    running.until("the rows are there", |_| table(&desk, "id").len() == 7);
    let how = "known for 2 hours from now on; keys that 1 hour let go of before are not known again";
    let migrates = json!([{"step": "dedup", "becomes": "migrate", "keys": 7, "how": how}]);
    assert_eq!(states(&mut client, &hours), migrates);
    desk.write("elsewhere/orders.sync", &hours);
    let told = desk.ok(&["plan", "elsewhere/orders.sync", "--data", ".syncline"]);
    fs::remove_dir_all(desk.path("elsewhere")).expect("a folder");
    assert!(told.contains(&format!(" · migrated: 7 keys, {how}")), "{told}");
    assert_eq!(put(&mut client, &hours).status, 200);
    assert_eq!(keys(&desk, "dedup"), 7);
    // Whoever starts next reads what was written anew.
    assert!(running.kill());
    let (mut running, mut client) = serve(&desk);
    send(&mut client, 0..10, 2);
    let both = |first: usize, all: usize| -> Vec<String> {
        (0..all).map(|id| format!("{id} {}", if id < first { 1 } else { 2 })).collect()
    };
    let by_number = |desk: &Desk| {
        let mut rows = table(desk, "id, v");
        rows.sort_by_key(|row| row.split(' ').next().and_then(|id| id.parse::<usize>().ok()));
        rows
    };
    running.until("only what is new came", |_| by_number(&desk) == both(7, 10));
    assert_eq!(keys(&desk, "dedup"), 10);
    let shorter = "known for 30 minutes from now on; keys that are older go";
    assert_eq!(states(&mut client, &orders("'30 minutes'"))[0]["how"], shorter);
    // The way back has the state of before, in the layout of before.
    let back = client.post("/v1/pipelines/orders/rollback", &[], b"");
    assert_eq!(back.status, 200, "{back:?}");
    assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), hour);
    send(&mut client, 0..12, 2);
    running.until("it knows what it knew", |_| by_number(&desk) == both(7, 12));
    assert_eq!(keys(&desk, "dedup"), 12);
    running.stop().expect(0);
    assert_eq!(desk.query("SELECT step FROM steps WHERE NOT balanced"), [Value::Null; 0]);
}

#[test]
fn newest_rows_go_on_with_another_window_and_another_order_of_them_does_not() {
    let last = |within: &str, by: &str| orders(&format!("'{within}' KEEP LAST BY {by}"));
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    assert_eq!(put(&mut client, &last("2 hours", "v")).status, 201);
    send(&mut client, 0..3, 5);
    running.until("the rows are there", |_| table(&desk, "id, v") == ["0 5", "1 5", "2 5"]);
    assert_eq!(states(&mut client, &last("2 hours", "-v"))[0]["becomes"], "drop");
    assert_eq!(put(&mut client, &last("1 hour", "v")).status, 200);
    send(&mut client, 0..4, 4);
    running.until("older rows do not win", |_| table(&desk, "id, v") == ["0 5", "1 5", "2 5", "3 4"]);
    assert!(running.kill());
    let (mut running, mut client) = serve(&desk);
    send(&mut client, 0..4, 5);
    running.until("newer rows do", |_| table(&desk, "id, v") == ["0 5", "1 5", "2 5", "3 5"]);
    running.stop().expect(0);
}

/// Killed at any moment of the exchange, it has the state of one of the two texts, whole.
#[test]
fn soak_killed_while_state_is_migrated_nothing_of_it_is_lost() {
    let mut chance = Chance::told("killed while state is migrated").0;
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    let windows = ["'1 hour'", "'2 hours'", "'3 hours'"];
    assert_eq!(put(&mut client, &orders(windows[0])).status, 201);
    // What is killed at any moment of its way has to be on it: how long one takes is looked at first.
    let rehearsed = Instant::now();
    desk.write("next.txt", orders("'4 hours'"));
    desk.ok(&["apply", "next.txt", "--yes"]);
    let whole = rehearsed.elapsed().as_micros() as u64;
    let (rounds, mut sent, mut kills) = (if crate::chance::soak() { 100 } else { 6 }, 0, 0);
    for round in 0..rounds {
        send(&mut client, sent..sent + 50, round);
        sent += 50;
        running.until("the rows are there", |_| table(&desk, "id").len() == sent);
        let next = orders(windows[(round + 1) % 3]);
        desk.write("next.txt", &next);
        // Until it is there: a kill may leave the old text.
        while fs::read_to_string(desk.path("orders.sync")).expect("its file") != next {
            let asking = Running::start(desk.command(&["apply", "next.txt", "--yes"]), "the asking".to_owned());
            std::thread::sleep(Duration::from_micros(chance.below(whole)));
            assert!(running.kill());
            drop(asking);
            kills += 1;
            (running, client) = serve(&desk);
            running.until("it runs", |_| client.get("/v1/pipelines/orders").json()["state"] == "running");
            assert_eq!(keys(&desk, "dedup"), sent, "round {round}");
        }
        // All of them are known: none comes again.
        send(&mut client, 0..sent, 9_999);
        send(&mut client, sent..sent + 1, round);
        sent += 1;
        running.until("a new one came", |_| table(&desk, "id").len() == sent);
        assert_eq!(look::sqlite(&desk.path("out.db"), "SELECT count(*) FROM orders WHERE v = 9999").concat(), ["0"]);
    }
    running.stop().expect(0);
    assert_eq!(desk.query("SELECT step FROM steps WHERE NOT balanced"), [Value::Null; 0]);
    crate::promises::figure(
        "soak_killed_while_state_is_migrated_nothing_of_it_is_lost",
        &format!(
            "{rounds} migrations, {kills} kills within {} ms of each, {sent} keys, each known all the time",
            whole / 1000
        ),
    );
}

fn sums(calls: &str) -> String {
    format!(
        "PIPELINE orders AS FROM file('in.ndjson') |> SELECT customer, CAST(n AS BIGINT) AS n\n\
         |> AGGREGATE {calls} GROUP BY customer |> UPSERT INTO sqlite('out.db', 'orders') KEY (customer);\n"
    )
}

#[test]
fn answers_that_stay_go_on_and_one_that_nobody_counted_is_refused() {
    let all = sums("SUM(n) AS total, COUNT(*) AS orders, MIN(n) AS least");
    let fewer = sums("COUNT(*) AS orders, SUM(n) AS total");
    let line = |n: usize| json!({"customer": format!("c{}", n % 3), "n": n});
    let desk = Desk::with(&all);
    desk.append("in.ndjson", (0..90).map(line));
    desk.ok(&["run", "orders.sync"]);
    desk.append("in.ndjson", (90..120).map(line));
    desk.ok(&["run", "orders.sync"]);
    desk.write("orders.sync", &fewer);
    let plan: Value = serde_json::from_str(&desk.ok(&["plan", "orders.sync", "-o", "json"])).expect("JSON");
    let how = "its answers stay but MIN(n), which goes";
    let pipeline = plan["pipelines"].as_array().map_or(&plan, |all| &all[0]);
    assert_eq!(
        pipeline["states"],
        json!([{"step": "aggregate", "becomes": "migrate", "keys": 3, "how": how}]),
        "{plan}"
    );
    desk.append("in.ndjson", (120..150).map(line));
    desk.ok(&["run", "orders.sync"]);
    // The same of a run that never had the other answers.
    let other = Desk::with(&fewer);
    other.append("in.ndjson", (0..150).map(line));
    other.ok(&["run", "orders.sync"]);
    let columns = "customer, total, orders";
    assert_eq!(table(&desk, columns), table(&other, columns));
    assert_eq!(desk.query("SELECT step FROM steps WHERE NOT balanced"), [Value::Null; 0]);
    // What no state holds would be wrong for ever.
    desk.write("orders.sync", sums("COUNT(*) AS orders, SUM(n) AS total, MAX(n) AS least"));
    let refused = desk.say(&["run", "orders.sync"]).expect(2);
    assert!(refused.err.contains("aggregate: 3 keys"), "{}", refused.err);
}

#[test]
fn windows_that_are_open_go_on_with_fewer_answers() {
    let minutes = |calls: &str| {
        format!(
            "SCHEMA sale (at TIMESTAMP NOT NULL, n BIGINT, WATERMARK FOR at AS at);\n\
             PIPELINE orders AS FROM file('in.ndjson') FOLLOW SCHEMA sale\n\
             |> AGGREGATE {calls} GROUP BY tumble(at, INTERVAL '1 minute') AS minute\n\
             |> UPSERT INTO sqlite('out.db', 'orders') KEY (minute);\n"
        )
    };
    let at = |second: usize, n: usize| json!({"at": format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60), "n": n});
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    desk.append("in.ndjson", (0..30).map(|second| at(second, 1)));
    assert_eq!(put(&mut client, &minutes("MAX(n) AS most, SUM(n) AS total")).status, 201);
    running.until("the window is open", |_| keys(&desk, "aggregate") == 1);
    let text = minutes("SUM(n) AS total");
    assert_eq!(states(&mut client, &text)[0]["becomes"], "migrate");
    assert_eq!(put(&mut client, &text).status, 200);
    desk.append("in.ndjson", (30..70).map(|second| at(second, 1)));
    running.until("the window is whole", |_| table(&desk, "total") == ["60"]);
    let lost = put(&mut client, &minutes("SUM(n) AS total, MIN(n) AS most"));
    assert_eq!((lost.status, slug(&lost).as_str()), (409, "state-would-be-lost"), "{lost:?}");
    running.stop().expect(0);
}
