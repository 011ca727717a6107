//! Figures as an operator's Prometheus meets them: every one that is documented is there, right, and well formed; dashboard and
//! alerts name no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    process::{Command, Stdio},
};

use rusqlite::Connection;

use crate::{
    desk::{Desk, house},
    web::Client,
};

/// Something of everything that is counted: a source in the log, one in a file, a schedule, state, dead letters, warnings, sinks of each kind.
const FOLDER: &str = "
PIPELINE shop WITH (restart_delay = '50 ms') AS
FROM http('/shop')
|> DEDUP BY id WITHIN '1 hour'
|> EXPECT id > 0 AS positive ON VIOLATION WARN
|> TEE (|> INSERT INTO file('out/shop/'))
|> SELECT CAST(id AS BIGINT) AS id
|> UPSERT INTO sqlite('shop.db', 't') KEY (id);
PIPELINE late WITH (restart_delay = '50 ms') AS
FROM file('late.ndjson') FOLLOW
|> INSERT INTO file('out/late/');
SCHEMA event EVOLVE (id BIGINT);
PIPELINE history AS FROM file('history.ndjson') SCHEMA event
|> JOIN file('history.ndjson') AS h USING (id)
|> LOOKUP sqlite('names.db', 'names') CACHE '1 minute' AS n USING (id)
|> INSERT INTO file('out/history/');
PIPELINE often EVERY '1 second' AS FROM file('history.ndjson') |> INSERT INTO file('out/often/');
";

/// The table of `docs/metrics.md`: name → kind and labels.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = fs::read_to_string(house().join("docs/metrics.md")).expect("docs/metrics.md");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|row| {
        let labels = row[3].split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
        (row[1].clone(), (row[2].clone(), labels.collect()))
    })
    .collect()
}

/// The lines of a scrape: name, labels, value.
fn samples(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()));
        (name.to_owned(), labels.collect(), value.parse().expect("a number"))
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(sample).collect()
}

/// The value of one series; `None` when there is no such series.
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let wanted = |found: &BTreeMap<String, String>| {
        labels.iter().all(|(name, value)| found.get(*name).is_some_and(|found| found == value))
    };
    samples(text).into_iter().find(|(found, of, _)| found == name && wanted(of)).map(|(_, _, value)| value)
}

fn scrape(client: &mut Client) -> String {
    let answer = client.get("/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[test]
fn every_documented_figure_is_there_and_no_other_and_promtool_has_nothing_to_say() {
    let desk = Desk::with(FOLDER);
    desk.write("history.ndjson", "{\"id\":1}\n{\"id\":2}\n");
    let names = Connection::open(desk.path("names.db")).expect("a database");
    names.execute_batch("CREATE TABLE names (id); INSERT INTO names VALUES (1)").expect("a table");
    let holder = Connection::open(desk.path("shop.db")).expect("a database");
    holder.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY); BEGIN EXCLUSIVE").expect("hold it");
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(running.address());
    running.until("late is tried again", |_| {
        value(&scrape(&mut client), "syncline_pipeline_restarts_total", &[("pipeline", "late")]) >= Some(1.0)
    });
    desk.write("late.ndjson", "{\"id\":1}\n");
    client.post("/in/shop", &[], b"{\"id\":1}\n{\"id\":1}\n{\"id\":-2}\n{\"id\":\"x\"}\nnot json\n");
    let shop = |step: &'static str| [("pipeline", "shop"), ("step", step)];
    running.until("the sink waits", |_| {
        value(&scrape(&mut client), "syncline_sink_trouble", &shop("upsert")) == Some(1.0)
    });
    let held = scrape(&mut client);
    assert_eq!(value(&held, "syncline_sink_lag_rows", &shop("upsert")), Some(2.0));
    assert!(value(&held, "syncline_sink_retries_total", &shop("upsert")) >= Some(1.0));
    assert!(value(&held, "syncline_sink_lag_seconds", &shop("upsert")) > Some(0.0));
    holder.execute_batch("ROLLBACK").expect("let go");
    running.until("all is written", |_| {
        let text = scrape(&mut client);
        let passed = [("pipeline", "shop"), ("step", "upsert"), ("fate", "passed")];
        value(&text, "syncline_step_fates_total", &passed) == Some(2.0)
            && value(&text, "syncline_pipeline_epoch", &[("pipeline", "late")]) >= Some(1.0)
    });
    let text = scrape(&mut client);

    let types: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    let told = documented();
    let expected: BTreeMap<String, String> =
        told.iter().map(|(name, (kind, _))| (name.clone(), kind.clone())).collect();
    assert_eq!(types, expected);
    for name in types.keys() {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    for (name, labels, _) in samples(&text) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| told.get(name.strip_suffix(end)?));
        let (_, expected) = told.get(&name).or(base).unwrap_or_else(|| panic!("{name} is not documented"));
        let labels: BTreeSet<String> = labels.into_keys().filter(|label| label != "le").collect();
        assert_eq!(labels, *expected, "{name}");
    }
    let lint = promtool(&["check", "metrics"], &text);
    assert_eq!(lint, "", "promtool check metrics");

    let rows = |name: &str, step| value(&text, name, &shop(step));
    assert_eq!(rows("syncline_step_rows_in_total", "source"), Some(5.0));
    assert_eq!(rows("syncline_step_rows_out_total", "dedup"), Some(3.0));
    assert_eq!(rows("syncline_expectation_warnings_total", "positive"), Some(1.0));
    assert_eq!(rows("syncline_state_keys", "dedup"), Some(3.0));
    let dead = |step, reason| value(&text, "syncline_dead_letters_total", &[("step", step), ("reason", reason)]);
    assert_eq!((dead("source", "not-json"), dead("positive", "cast")), (Some(1.0), Some(1.0)), "{text}");
    let asked = [("pipeline", "history"), ("step", "lookup")];
    assert_eq!(value(&text, "syncline_lookup_asked_total", &asked), Some(2.0));
    let running_now = [("pipeline", "shop"), ("state", "running")];
    assert_eq!(value(&text, "syncline_pipeline_state", &running_now), Some(1.0));
    for caught_up in ["syncline_source_lag_rows", "syncline_source_lag_seconds"] {
        assert_eq!(value(&text, caught_up, &[("pipeline", "shop")]), Some(0.0), "{caught_up}");
    }
    assert_eq!(value(&text, "syncline_source_lag_bytes", &[("pipeline", "history")]), Some(0.0));
    let epochs = value(&text, "syncline_epochs_total", &[("pipeline", "shop")]);
    let commits = value(&text, "syncline_commit_duration_seconds_count", &[("pipeline", "shop")]);
    assert!(epochs >= Some(1.0) && epochs == commits, "{epochs:?} {commits:?}");
    running.stop().expect(0);
}

/// Counters count what this process did, whatever the run had before it.
#[test]
fn a_process_counts_from_zero_and_a_run_that_ended_between_two_looks_is_counted_to_its_end() {
    let desk = Desk::with(
        "PIPELINE a WITH (restart = 'always', restart_delay = '200 ms') AS FROM file('in.ndjson') |> INSERT INTO file('out/');
         PIPELINE stays AS FROM http('/stays') |> INSERT INTO file('stays/');",
    );
    let lines = |to: usize| (0..to).map(|id| format!("{{\"id\":{id}}}\n")).collect::<String>();
    desk.write("in.ndjson", lines(5));
    desk.ok(&["run", "orders.sync", "--once"]);
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(running.address());
    let taken = |client: &mut Client| {
        value(&scrape(client), "syncline_step_rows_in_total", &[("pipeline", "a"), ("step", "source")])
    };
    assert_eq!(taken(&mut client), Some(0.0));
    // Several runs end before anybody looks.
    for to in [8, 9, 12] {
        desk.write("in.ndjson", lines(to));
        running.until("it is read", |_| desk.value("SELECT sum(rows_in) AS n FROM runs WHERE pipeline = 'a'") == to);
    }
    assert_eq!(taken(&mut client), Some(7.0));
    running.stop().expect(0);
}

#[test]
fn the_figures_of_one_pipeline_are_the_lines_of_all_that_are_about_it() {
    const MOVES: &str = "syncline_watermark_lag_seconds";
    let desk = Desk::with(
        "PIPELINE a AS FROM file('in.ndjson') |> DEDUP BY id |> INSERT INTO file('a/');\n\
         PIPELINE b AS FROM file('in.ndjson') |> INSERT INTO file('b/');",
    );
    desk.write("in.ndjson", "{\"id\":1}\n{\"id\":1}\n{\"id\":2}\n");
    let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(running.address());
    for name in ["a", "b"] {
        running.until("it has ended", |_| client.get(&format!("/v1/pipelines/{name}")).json()["state"] == "ended");
    }
    let all = scrape(&mut client);
    for name in ["a", "b"] {
        let answer = client.get(&format!("/v1/pipelines/{name}/metrics")).json();
        let shown = answer["metrics"].as_array().expect("a list").iter().map(|metric| {
            let labels = metric["labels"].as_object().expect("labels").iter();
            let labels = labels.map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()));
            let value = metric["value"].as_f64().expect("a number");
            let name = metric["name"].as_str().expect("a name").to_owned();
            // What the clock moves is not the same at two looks.
            let value = if name == MOVES { 0.0 } else { value };
            (name, labels.collect::<BTreeMap<_, _>>(), value)
        });
        let wanted = samples(&all).into_iter().filter_map(|(figure, mut labels, value)| {
            let value = if figure == MOVES { 0.0 } else { value };
            (labels.remove("pipeline")? == name).then_some((figure, labels, value))
        });
        let (mut shown, mut wanted): (Vec<_>, Vec<_>) = (shown.collect(), wanted.collect());
        let order = |one: &(String, BTreeMap<String, String>, f64), other: &(String, BTreeMap<String, String>, f64)| {
            (&one.0, &one.1).cmp(&(&other.0, &other.1))
        };
        shown.sort_by(order);
        wanted.sort_by(order);
        assert!(wanted.len() > 30, "{wanted:?}");
        assert_eq!(shown, wanted, "{name}");
        let kind = answer["metrics"].as_array().and_then(|all| {
            all.iter().find(|one| one["name"] == "syncline_epoch_duration_seconds_count").map(|one| one["kind"].clone())
        });
        assert_eq!(kind, Some("histogram".into()));
    }
    assert_eq!(client.get("/v1/pipelines/nobody/metrics").status, 404);
    running.stop().expect(0);
}

#[test]
fn dashboard_and_alerts_name_only_figures_that_there_are() {
    let told = documented();
    let known = |name: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        told.contains_key(name) || base.is_some_and(|base| told.get(base).is_some_and(|(kind, _)| kind == "histogram"))
    };
    for file in ["docs/dashboard.json", "docs/alerts.yml"] {
        let text = fs::read_to_string(house().join(file)).expect(file);
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        let named: BTreeSet<&str> =
            words.filter(|word| word.starts_with("syncline_") || word.starts_with("process_")).collect();
        assert!(named.len() > 5, "{file} names {named:?}");
        let unknown: Vec<&&str> = named.iter().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which docs/metrics.md does not have");
    }
    let dashboard = fs::read_to_string(house().join("docs/dashboard.json")).expect("the dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 5));
    let rules = house().join("docs/alerts.yml");
    let checked = promtool(&["check", "rules", rules.to_str().expect("a path in UTF-8")], "");
    assert!(checked.contains("SUCCESS"), "{checked}");
}

/// What Prometheus' own checker says, on whichever of its outputs.
fn promtool(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, which ./test installs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("a child of ours");
    let _ = writer.join();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
