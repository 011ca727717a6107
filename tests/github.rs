//! Real webhooks: the 329 example payloads that GitHub's SDK publishes, each posted twice, in a random order.
//!
//! What must be in each table, and which rows must be dead letters, is computed by `oracle_github.py`. The payloads hold what real
//! ones hold: events without a sender, and a `created_at` that is text in one event and a number in another.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::value::RawValue;

use crate::{
    chance::Chance,
    desk::{Desk, python},
    look,
    web::Client,
};

const PIPELINE: &str = "
PIPELINE github AS
FROM http('/github')
|> DEDUP BY _headers['x-github-delivery'] WITHIN '3 days'
|> EXTEND _headers['x-github-delivery'] AS delivery, _headers['x-github-event'] AS event
|> SHARD BY delivery INTO (
     PRIMARY deliveries AS (
       |> SELECT delivery, event, action, _id
       |> UPSERT INTO sqlite('github.db', 'deliveries') KEY (delivery)
     ),
     DERIVED repositories AS (
       |> WHERE repository IS NOT NULL
       |> SELECT CAST(repository['id'] AS BIGINT) AS id, repository['full_name'] AS name,
                 CAST(repository['created_at'] AS TIMESTAMP) AS created_at, delivery, _id
       |> UPSERT INTO sqlite('github.db', 'repositories') KEY (id)
     ),
     DERIVED senders AS (
       |> SELECT CAST(sender['id'] AS BIGINT) AS id, sender['login'] AS login, event, _id
       |> UPSERT INTO sqlite('github.db', 'senders') KEY (id)
     )
   );
";

pub const PAYLOADS: usize = 329;

pub struct Delivery {
    pub guid: String,
    pub event: String,
    pub body: Vec<u8>,
}

#[test]
fn every_webhook_counts_once_and_each_arm_holds_what_an_independent_script_says() {
    let (mut chance, _) = Chance::told("github");
    let deliveries = deliveries(&mut chance);
    assert_eq!(deliveries.len(), PAYLOADS);
    let mut order: Vec<usize> = (0..PAYLOADS).chain(0..PAYLOADS).collect();
    chance.shuffle(&mut order);
    let posted: Vec<&Delivery> = order.iter().map(|index| &deliveries[*index]).collect();

    let first = Desk::new();
    run(&first, &posted);
    look::same("the tables", &tables(&first, &posted), &expected(&first, &posted));
    let duplicates = first.value("SELECT sum(duplicate) AS n FROM steps WHERE step = 'dedup'");
    assert_eq!(duplicates, PAYLOADS, "each was posted twice");
    let dead = first.value("SELECT count(*) AS n FROM dead_letters").as_u64().expect("a count");
    assert!(dead > 0, "the payloads hold rows that cannot be taken: {dead}");
    first.books("github");

    let again = Desk::new();
    run(&again, &posted);
    assert_eq!(ids(&again), ids(&first), "a replay gives the same ids");
}

fn run(desk: &Desk, posted: &[&Delivery]) {
    desk.write("github.sync", PIPELINE);
    let mut server = desk.start(&["run", "github.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(server.address());
    for delivery in posted {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-GitHub-Delivery", &delivery.guid),
            ("X-GitHub-Event", &delivery.event),
            ("User-Agent", "GitHub-Hookshot/test"),
        ];
        let answer = client.post("/in/github", &headers, &delivery.body);
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    server.until("all is written", |_| {
        std::thread::sleep(Duration::from_millis(100));
        let taken = "SELECT sum(rows_in) AS n FROM steps WHERE pipeline = 'github' AND step = 'dedup'";
        let waiting = "SELECT sum(waiting) AS n FROM steps WHERE pipeline = 'github'";
        desk.value(taken) == 2 * PAYLOADS && desk.value(waiting) == 0
    });
    server.stop().expect(0);
}

/// The payloads with an id each: drawn once, as GitHub draws them, and the same for both postings.
pub fn deliveries(chance: &mut Chance) -> Vec<Delivery> {
    #[derive(Debug)]
    struct Group(String, Vec<Box<RawValue>>);
    let folder = std::env::var_os("SYNCLINE_PAYLOADS").map(PathBuf::from).unwrap_or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        cache.unwrap_or_else(home).join("syncline/webhooks-examples-7.6.1")
    });
    let file = folder.join("api.github.com/index.json");
    let text = fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; run ./test, which fetches it", file.display()));
    let groups: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&text).expect("the index is JSON");
    let raw: Vec<std::collections::BTreeMap<String, Box<RawValue>>> =
        serde_json::from_str(&text).expect("the index is JSON");
    let groups = groups.iter().zip(&raw).map(|(group, raw)| {
        let examples: Vec<Box<RawValue>> = serde_json::from_str(raw["examples"].get()).expect("a list of examples");
        Group(group["name"].as_str().expect("a name").to_owned(), examples)
    });
    let mut deliveries = vec![];
    for Group(event, examples) in groups {
        for example in examples {
            let bits = (chance.next(), chance.next());
            let guid =
                format!("{:08x}-{:04x}-{:04x}-{:016x}", bits.0 >> 32, bits.0 >> 16 & 0xffff, bits.0 & 0xffff, bits.1);
            deliveries.push(Delivery { guid, event: event.clone(), body: example.get().as_bytes().to_vec() });
        }
    }
    deliveries
}

/// What the script says, from the bodies and headers as they were posted.
fn expected(desk: &Desk, posted: &[&Delivery]) -> Vec<String> {
    let mut index = String::new();
    for (number, delivery) in posted.iter().enumerate() {
        desk.write(&format!("posted/{number}.json"), &delivery.body);
        index.push_str(&format!("{number}\t{}\t{}\n", delivery.guid, delivery.event));
    }
    desk.write("posted/index.tsv", index);
    let folder = desk.path("posted");
    python("oracle_github.py", &[&folder.to_string_lossy()]).lines().map(str::to_owned).collect()
}

/// Every row of every arm and every dead letter, one to a line, in the script's form.
fn tables(desk: &Desk, posted: &[&Delivery]) -> Vec<String> {
    let db = desk.path("github.db");
    let mut lines = vec![];
    for (table, columns) in [
        ("deliveries", "delivery, event, action"),
        ("repositories", "id, name, strftime('%Y-%m-%dT%H:%M:%SZ', created_at), delivery"),
        ("senders", "id, login, event"),
    ] {
        for row in look::sqlite(&db, &format!("SELECT {columns} FROM {table}")) {
            lines.push(format!("{table}|{}", row.join("|")));
        }
    }
    // One request, one record: the offset of a dead letter's record says which posting it was.
    for row in desk.query("SELECT step, record_offset FROM dead_letters WHERE pipeline = 'github'") {
        let posting = row["record_offset"].as_u64().and_then(|offset| posted.get(offset as usize));
        let arm = row["step"].as_str().and_then(|step| step.split('/').next()).unwrap_or_default();
        lines.push(format!("dead|{arm}|{}", posting.map_or("no such posting", |delivery| &delivery.guid)));
    }
    lines.sort();
    lines
}

fn ids(desk: &Desk) -> Vec<Vec<String>> {
    let arm = |(table, key): (&str, &str)| {
        look::sqlite(&desk.path("github.db"), &format!("SELECT '{table}', {key}, _id FROM {table} ORDER BY {key}"))
    };
    let ids: Vec<Vec<String>> =
        [("deliveries", "delivery"), ("repositories", "id"), ("senders", "id")].into_iter().flat_map(arm).collect();
    let is_id = |id: &String| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    assert!(ids.iter().all(|row| is_id(&row[2])), "{ids:?}");
    ids
}
