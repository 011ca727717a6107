//! Every fault that can be had here, and the oracle behind each. `./test --soak` has more of them.

use std::{
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use crate::{
    chance::{Chance, kills, soak},
    desk::{Desk, Running},
    kafka::{self, Broker, Network, Weather},
    oracle::{
        aim::{AIMS, Aim, CHANGELOG_AIMS, kill_in},
        ledger::{Ledger, RUN, RUN_ONCE, Sent},
    },
    part::port,
    promises::figure,
    web::Client,
};

/// A stop is over within this, whatever is broken.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
/// Milliseconds that a process lives that is killed at any time: from its first moments to well into the work.
const LIFE: (u64, u64) = (5, 1_000);

/// Shown while a long run goes on, which tests are not when they only print.
fn progress(line: &str) {
    if soak() {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// A third of the kills come at any time; the others are aimed at each window in turn.
fn aim(kill: usize, aims: &[Aim]) -> Option<Aim> {
    (!kill.is_multiple_of(3)).then(|| aims[(kill - kill / 3 - 1) % aims.len()])
}

#[test]
fn soak_every_input_counts_once_whenever_the_process_is_killed() {
    let bus = kafka::shared();
    let ledger = Ledger::new(&bus, &bus);
    killed_everywhere("soak_every_input_counts_once_whenever_the_process_is_killed", ledger, &AIMS);
}

/// Every eighth time another machine stands by, and takes over.
#[test]
fn soak_with_a_changelog_every_input_counts_once_whenever_and_wherever_the_process_is_killed() {
    let bus = kafka::shared();
    let ledger = Ledger::kept(2, &bus, &bus);
    let aims = [AIMS.as_slice(), CHANGELOG_AIMS.as_slice()].concat();
    let test = "soak_with_a_changelog_every_input_counts_once_whenever_and_wherever_the_process_is_killed";
    killed_everywhere(test, ledger, &aims);
}

/// Processes that are looked at for a window that each is in once.
const TRIES: usize = 100;
/// How often a kill takes the machine out of the work.
const MOVED: usize = 8;

fn killed_everywhere(test: &str, mut ledger: Ledger, aims: &[Aim]) {
    let (mut chance, seed) = Chance::told(test);
    let kills = if soak() { kills(500) } else { 30 };
    let feed = ledger.feed(Sent::nothing(seed));
    let began = Instant::now();
    let (mut aimed, mut moved) = (BTreeMap::<&str, u64>::new(), 0);
    for kill in 0..kills {
        match aim(kill, aims) {
            None => {
                let running = ledger.desk().start(&RUN);
                thread::sleep(Duration::from_millis(chance.between(LIFE.0, LIFE.1)));
                assert!(running.kill(), "a process that reads a topic runs until it is killed");
            }
            Some(aim) => {
                shoot(aim, &ledger);
                *aimed.entry(aim.name).or_default() += 1;
            }
        }
        if ledger.desks.len() > 1 && kill % MOVED == MOVED - 1 {
            take_over(&mut ledger, aims[kill % aims.len()]);
            moved += 1;
        }
        if kill % 10 == 9 {
            progress(&format!("{test}: {} of {kills} kills, {} s", kill + 1, began.elapsed().as_secs()));
        }
    }
    let sent = feed.end();
    ledger.settle(&sent);
    let fell = windows(ledger.desk());
    let took = began.elapsed().as_secs();
    eprintln!("{test}: seed {seed}, {kills} kills in {took} s, {} records in; killed in {fell:?}", sent.len());
    // Each that was aimed at, as often; those of the others fell where they fell.
    let missed: Vec<_> =
        aimed.iter().filter(|(name, aimed)| fell.get(**name).is_none_or(|fell| fell < aimed)).collect();
    assert!(missed.is_empty() && aimed.len() == aims.len(), "aimed at {aimed:?}, missed {missed:?}: {fell:?}");
    let least = aims.iter().map(|aim| fell.get(aim.name).copied().unwrap_or_default()).min().unwrap_or_default();
    let moves = if moved > 0 { format!(", {moved} times another machine went on") } else { String::new() };
    let shown =
        format!("{kills} kills, each window {least} times or more{moves}, {} records: 0 lost, 0 twice", sent.len());
    figure(test, &shown);
}

/// Kills a process in a window, and lets the next one note it.
fn shoot(aim: Aim, ledger: &Ledger) {
    let start = || ledger.desk().start(&RUN);
    if aim.is_of_a_start() {
        works_and_is_killed(start());
    }
    let hit = (0..TRIES).any(|_| kill_in(aim, ledger.desk(), &ledger.name, start()));
    assert!(hit, "{TRIES} processes were not seen in {}", aim.name);
    if aim.is_of_the_changelog() {
        works_and_is_killed(start());
    }
}

fn works_and_is_killed(mut running: Running) {
    running.until("it works", |running| running.err().contains("started"));
    assert!(running.kill(), "it runs until it is killed");
}

/// One works and one stands by; the one is killed, and the other goes on.
fn take_over(ledger: &mut Ledger, aim: Aim) {
    let mut one = ledger.desk().start(&RUN);
    one.until("it works", |one| one.err().contains("started"));
    let other = (ledger.at + 1) % ledger.desks.len();
    let mut next = ledger.desks[other].start(&RUN);
    next.address();
    if aim.is_of_a_start() {
        assert!(one.kill(), "it works");
    } else {
        kill_in(aim, ledger.desk(), &ledger.name, one);
    }
    ledger.at = other;
    works_and_is_killed(next);
}

/// The windows in which processes were killed, and how many.
fn windows(desk: &Desk) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for run in desk.query("SELECT killed FROM runs") {
        let killed: BTreeMap<String, u64> =
            serde_json::from_str(run["killed"].as_str().unwrap_or("{}")).expect("JSON text");
        killed.into_iter().for_each(|(window, many)| *all.entry(window).or_default() += many);
    }
    all
}

/// What `/readyz` says is in the way; nothing when it is ready. Each time over a new connection: one on which nothing comes for long, as on a
/// machine that is busy otherwise, is closed.
fn obstacles(address: SocketAddr) -> String {
    let answer = Client::to(address).get("/readyz");
    if answer.status == 200 { String::new() } else { answer.body }
}

fn until_written(ledger: &Ledger, running: &mut Running) {
    let before = ledger.written();
    running.until("it writes", |_| ledger.written() > before);
}

/// Asks it to stop; it does so in time, and well.
fn stops(running: Running, while_: &str) {
    let asked = Instant::now();
    running.stop().expect(0);
    eprintln!("stopped {while_}: {:.1} s", asked.elapsed().as_secs_f64());
    assert!(asked.elapsed() < STOPPED_WITHIN, "{while_} it took {:?}", asked.elapsed());
}

#[test]
fn soak_a_broker_is_waited_for_whenever_it_goes_away() {
    let broker = Broker::start();
    let ledger = Ledger::new(&broker.bus, &broker.bus);
    goes_away("soak_a_broker_is_waited_for_whenever_it_goes_away", broker, &ledger);
}

#[test]
fn soak_with_a_changelog_a_broker_is_waited_for_whenever_it_goes_away() {
    let broker = Broker::start();
    let ledger = Ledger::kept(1, &broker.bus, &broker.bus);
    goes_away("soak_with_a_changelog_a_broker_is_waited_for_whenever_it_goes_away", broker, &ledger);
}

/// Before it starts, while rows are on their way, and while the pipeline is told to stop.
fn goes_away(test: &str, mut broker: Broker, ledger: &Ledger) {
    let (mut chance, seed) = Chance::told(test);
    broker.kill();
    let mut running = ledger.desk().start(&RUN);
    let address = running.address();
    running.until("it says why it is not ready", |_| obstacles(address).contains("no broker answers"));
    stops(running, "at a start without a broker");
    let mut running = ledger.desk().start(&RUN);
    let address = running.address();
    running.until("it waits", |_| obstacles(address).contains("no broker answers"));
    broker.restart();
    let back = Instant::now();
    running.until("it is ready", |_| obstacles(address).is_empty());
    eprintln!("brokers: ready {:.1} s after the broker", back.elapsed().as_secs_f64());
    let feed = ledger.feed(Sent::nothing(seed));
    until_written(ledger, &mut running);
    let faults = if soak() { 6 } else { 2 };
    for fault in 0..faults {
        thread::sleep(Duration::from_millis(chance.between(300, 1_500)));
        hurt(&mut broker, fault, &mut chance);
        progress(&format!("brokers: {} of {faults} faults", fault + 1));
    }
    let sent = feed.end();
    let took = ledger.until_settled(&sent);
    eprintln!("brokers: seed {seed}, {faults} faults, everything {:.1} s after the last", took.as_secs_f64());
    let feed = ledger.feed(sent);
    until_written(ledger, &mut running);
    stops(running, "under load");
    let mut running = ledger.desk().start(&RUN);
    until_written(ledger, &mut running);
    broker.pause();
    thread::sleep(Duration::from_millis(chance.between(0, 2_000)));
    stops(running, "while the broker stands still");
    broker.go_on();
    let mut running = ledger.desk().start(&RUN);
    until_written(ledger, &mut running);
    broker.kill();
    thread::sleep(Duration::from_millis(chance.between(0, 2_000)));
    stops(running, "without a broker");
    broker.restart();
    let sent = feed.end();
    ledger.settle(&sent);
    let shown = format!(
        "{faults} faults, everything {:.1} s after the last, {} records: 0 lost, 0 twice",
        took.as_secs_f64(),
        sent.len()
    );
    figure(test, &shown);
}

/// In turn: killed, and stopped; of the longer run the last is a minute's absence.
fn hurt(broker: &mut Broker, fault: usize, chance: &mut Chance) {
    if fault == 5 {
        broker.kill();
        thread::sleep(Duration::from_secs(60));
        return broker.restart();
    }
    let away = Duration::from_millis(chance.between(100, 3_000));
    if fault.is_multiple_of(2) {
        broker.kill();
        thread::sleep(away);
        return broker.restart();
    }
    // Longer than a client waits for an answer.
    broker.pause();
    thread::sleep(Duration::from_secs(4) + away);
    broker.go_on();
}

#[test]
fn soak_in_bad_weather_rows_come_late_and_once() {
    let network = Network::start();
    let ledger = Ledger::new(&network.broker.bus, &network.bus);
    in_bad_weather("soak_in_bad_weather_rows_come_late_and_once", &network, &ledger);
}

#[test]
fn soak_with_a_changelog_in_bad_weather_rows_come_late_and_once() {
    let network = Network::start();
    let ledger = Ledger::kept(1, &network.broker.bus, &network.bus);
    in_bad_weather("soak_with_a_changelog_in_bad_weather_rows_come_late_and_once", &network, &ledger);
}

fn in_bad_weather(test: &str, network: &Network, ledger: &Ledger) {
    let (_, seed) = Chance::told(test);
    let mut running = ledger.desk().start(&RUN);
    let feed = ledger.feed(Sent::nothing(seed));
    until_written(ledger, &mut running);
    let weathers = [Weather::Slow(Duration::from_millis(200)), Weather::Cut, Weather::Silent, Weather::Narrow(50)];
    let (rounds, each) = if soak() { (4, Duration::from_secs(20)) } else { (1, Duration::from_secs(3)) };
    for round in 0..rounds {
        for weather in weathers {
            network.is(weather);
            thread::sleep(each);
        }
        network.is(Weather::Fair);
        progress(&format!("weather: {} of {rounds} rounds", round + 1));
    }
    let sent = feed.end();
    let took = ledger.until_settled(&sent);
    eprintln!("weather: seed {seed}, {rounds} rounds, everything {:.1} s after the last", took.as_secs_f64());
    let feed = ledger.feed(sent);
    until_written(ledger, &mut running);
    network.is(Weather::Silent);
    stops(running, "in a network that is silent");
    network.is(Weather::Fair);
    let sent = feed.end();
    ledger.settle(&sent);
    let shown = format!(
        "{rounds} rounds, everything {:.1} s after the last, {} records: 0 lost, 0 twice",
        took.as_secs_f64(),
        sent.len()
    );
    figure(test, &shown);
}

#[test]
fn without_a_broker_once_gives_up_and_says_why() {
    let desk = Desk::with(&format!(
        "PIPELINE orders AS FROM kafka('orders', brokers => '127.0.0.1:{}') |> SELECT n |> INSERT INTO stdout();",
        port()
    ));
    let began = Instant::now();
    let said = desk.say(&RUN_ONCE).expect(3);
    assert!(said.err.contains("no broker answers within 10 s") && said.err.contains("refused"), "{}", said.err);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
