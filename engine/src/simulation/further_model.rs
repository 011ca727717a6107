//! What the steps of a seed must do with the rows that come to them, the plain way: all rows are kept, and looked at again.
//!
//! An end of the input that was committed counts: it closes windows and sets rows free that still waited, whatever comes later.

use std::collections::{BTreeMap, BTreeSet};

use syncline_record::{Fate, Micros};

use super::{
    further::{Drawn, GAP, HOP, NAMES, NEAR, SIZE, Tally},
    input::Order,
};

/// Rows and their sum, of one group.
type Sum = (u64, i64);

#[derive(Debug, Default)]
pub struct Further {
    drawn: Drawn,
    windows: BTreeMap<(Micros, String), Sum>,
    /// Of each key, the rows that count in its sessions.
    times: BTreeMap<String, Vec<(Micros, i64)>>,
    whole: BTreeMap<String, Sum>,
    /// Keys that something came to since the last end.
    touched: BTreeSet<String>,
    ended_to: Micros,
    lefts: Vec<Left>,
    rights: Vec<(Micros, String, String)>,
    /// What comes out, by sink.
    lines: BTreeMap<&'static str, Vec<String>>,
}

#[derive(Debug)]
struct Left {
    time: Micros,
    key: String,
    text: String,
    met: bool,
    /// It went out alone, and is in no pair any more.
    gone: bool,
}

/// The fates of one row, by step.
pub type Fates = Vec<(&'static str, Fate)>;

fn token(key: &Option<String>) -> String {
    key.as_ref().map_or("null".to_owned(), |key| format!("\"{key}\""))
}

impl Further {
    pub fn of(drawn: Drawn) -> Self {
        Self { drawn, ended_to: Micros::MIN, ..Self::default() }
    }

    /// What came out at a sink, in the order of the text.
    pub fn lines(&self, sink: &str) -> Vec<String> {
        let mut lines = self.lines.get(sink).cloned().unwrap_or_default();
        lines.sort();
        lines
    }

    fn put(&mut self, sink: &'static str, line: String) {
        self.lines.entry(sink).or_default().push(line);
    }

    /// A row, with the watermark of its partition before it.
    pub fn take(&mut self, order: &Order, mark: Micros) -> Fates {
        let mut fates = vec![];
        if let Some(tally) = self.drawn.tally {
            fates.push(("tally", self.count(tally, order, mark)));
        }
        if let Some(left) = self.drawn.matched {
            fates.push(("match", self.find(order, left)));
        }
        if let Some(outer) = self.drawn.pair {
            self.pair(order, mark, outer, &mut fates);
        }
        fates
    }

    fn count(&mut self, tally: Tally, order: &Order, mark: Micros) -> Fate {
        let (key, amount) = (token(&order.key), order.amount.unwrap_or_default());
        let open = |limit: Micros| mark < limit && limit > self.ended_to;
        match tally {
            Tally::Whole => {
                add(self.whole.entry(key.clone()).or_default(), amount);
                self.touched.insert(key);
            }
            Tally::Session if open(order.time + GAP) => self.times.entry(key).or_default().push((order.time, amount)),
            Tally::Session => return Fate::Late,
            Tally::Tumble | Tally::Hop => {
                let starts: Vec<Micros> = starts(tally, order.time).filter(|start| open(start + size(tally))).collect();
                if starts.is_empty() {
                    return Fate::Late;
                }
                starts.into_iter().for_each(|start| add(self.windows.entry((start, key.clone())).or_default(), amount));
            }
        }
        Fate::Absorbed
    }

    fn find(&mut self, order: &Order, left: bool) -> Fate {
        let key = token(&order.key);
        let of_line = |line: &&str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (order.key.is_some() && line["key"].as_str() == order.key.as_deref()).then(|| line["name"].to_string())
        };
        let mut names: Vec<String> = NAMES.iter().filter_map(of_line).collect();
        if names.is_empty() {
            if !left {
                return Fate::Filtered;
            }
            names.push("null".to_owned());
        }
        names.into_iter().for_each(|name| self.put("matched", format!("{} {key} {name}", order.id)));
        Fate::Passed
    }

    fn pair(&mut self, order: &Order, mark: Micros, outer: bool, fates: &mut Fates) {
        let text = format!("{} {}", order.id, order.amount.unwrap_or_default());
        if order.time < mark {
            return fates.extend([("pair", Fate::Late), ("pair", Fate::Late)]);
        }
        let Some(key) = order.key.clone() else {
            fates.extend([("pair", if outer { Fate::Absorbed } else { Fate::Filtered }), ("pair", Fate::Filtered)]);
            if outer {
                self.put("pairs", format!("{text} null null"));
            }
            return;
        };
        fates.extend([("pair", Fate::Absorbed), ("pair", Fate::Absorbed)]);
        let mut left = Left { time: order.time, key: key.clone(), text: text.clone(), met: false, gone: false };
        let mut made = vec![];
        for (time, its, right) in &self.rights {
            if *its == key && is_near(left.time, *time) {
                left.met = true;
                made.push(format!("{text} {right}"));
            }
        }
        self.lefts.push(left);
        let near = |left: &&mut Left| left.key == key && !left.gone && is_near(left.time, order.time);
        for left in self.lefts.iter_mut().filter(near) {
            left.met = true;
            made.push(format!("{} {text}", left.text));
        }
        self.rights.push((order.time, key, text));
        made.into_iter().for_each(|line| self.put("pairs", line));
    }

    /// The input is at its end, and this is committed.
    pub fn end(&mut self) {
        let reached = match self.drawn.tally {
            Some(Tally::Session) => {
                let last = self.times.values().flatten().map(|(time, _)| *time).max();
                last.map(|last| last + 2 * GAP - 1)
            }
            Some(tally) => self.windows.keys().map(|(start, _)| start + size(tally)).max(),
            None => None,
        };
        self.ended_to = self.ended_to.max(reached.unwrap_or(Micros::MIN));
        for key in std::mem::take(&mut self.touched) {
            let (rows, sum) = self.whole[&key];
            self.put("totals", format!("{key} {rows} {sum}"));
        }
        if self.drawn.pair == Some(true) {
            let mut alone = vec![];
            for left in self.lefts.iter_mut().filter(|left| !left.met && !left.gone) {
                left.gone = true;
                alone.push(format!("{} null null", left.text));
            }
            alone.into_iter().for_each(|line| self.put("pairs", line));
        }
    }

    /// After the last end: windows and sessions, each of which goes out once.
    pub fn close(&mut self) {
        for ((start, key), (rows, sum)) in std::mem::take(&mut self.windows) {
            self.put("totals", format!("{start} {key} {rows} {sum}"));
        }
        for (key, mut rows) in std::mem::take(&mut self.times) {
            rows.sort_unstable();
            for session in rows.chunk_by(|one, next| next.0 - one.0 < GAP) {
                let sum: i64 = session.iter().map(|(_, amount)| amount).sum();
                self.put("totals", format!("{} {key} {} {sum}", session[0].0, session.len()));
            }
        }
    }
}

fn is_near(left: Micros, right: Micros) -> bool {
    (NEAR.least..=NEAR.most).contains(&(right - left))
}

fn add(sum: &mut Sum, amount: i64) {
    sum.0 += 1;
    sum.1 += amount;
}

fn size(tally: Tally) -> Micros {
    if tally == Tally::Hop { HOP.size } else { SIZE }
}

fn starts(tally: Tally, time: Micros) -> impl Iterator<Item = Micros> {
    let (size, slide) = (size(tally), if tally == Tally::Hop { HOP.slide } else { SIZE });
    let last = time.div_euclid(slide) * slide;
    (0..).map(move |back| last - back * slide).take_while(move |start| start + size > time)
}
