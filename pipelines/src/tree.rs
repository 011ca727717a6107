//! What would run, for people: a tree of steps, what each keeps below it.

use std::fmt::Write;

use crate::planned::{BranchLine, Planned, ScheduleLine, SourceLine, StateLine, StepLine, keys};

impl Planned {
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let mut facts = vec![format!("checkpoint every {}", self.checkpoint_every)];
        facts.extend(self.delivery.as_ref().map(|word| format!("{word} is asked for")));
        facts.extend(self.changelog.as_ref().map(|place| format!("changelog {place}")));
        facts.push(match self.epoch {
            0 if self.changelog.is_some() => "nothing is committed here, and the changelog is not asked".to_owned(),
            0 => "nothing is committed yet".to_owned(),
            epoch => format!("goes on from epoch {epoch}"),
        });
        let digest = self.digest.get(..16).unwrap_or(&self.digest);
        line(&mut out, &format!("pipeline {} of {} · plan {digest}", self.pipeline, self.file));
        line(&mut out, &format!("  {}", facts.join(" · ")));
        if let Some(schedule) = &self.schedule {
            let ScheduleLine { kind, expression, time_zone, missed, next } = schedule;
            line(&mut out, &format!("  {kind} {expression} · {time_zone} · if missed {missed}"));
            line(&mut out, &format!("  due {}", next.join(", ")));
        }
        if let Some(since) = &self.since {
            line(&mut out, &format!("  {}", since.to_text()));
        }
        line(&mut out, &format!("  from {}", from(&self.source)));
        steps(&mut out, &self.steps, "  ");
        for lost in self.lost.iter().filter(|lost| !self.is_shown(&lost.step)) {
            let what = match lost.undelivered {
                0 => keys(lost.keys),
                rows => format!("{rows} rows that wait for their sink"),
            };
            line(&mut out, &format!("  would be lost: {}: {what}", lost.step));
        }
        for moved in &self.moved {
            line(&mut out, &format!("  would take over: {} what was {}", moved.to, moved.from));
        }
        out
    }

    /// Whether the loss of its state stands beside the step.
    fn is_shown(&self, step: &str) -> bool {
        fn has(steps: &[StepLine], step: &str) -> bool {
            let lost =
                |line: &StepLine| line.step == step && line.state.as_ref().is_some_and(|state| state.fate == "lost");
            steps.iter().any(|line| lost(line) || line.branches.iter().any(|branch| has(&branch.steps, step)))
        }
        self.lost.iter().any(|lost| lost.step == step && lost.undelivered == 0) && has(&self.steps, step)
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}", text.trim_end());
}

fn from(source: &SourceLine) -> String {
    let mut facts = vec![source.place.clone(), source.format.clone()];
    facts.push(if source.ends { "ends" } else { "never ends" }.to_owned());
    if !source.partitioned_by.is_empty() {
        facts.push(format!("partitioned by {}", source.partitioned_by.join(", ")));
    }
    facts.extend(source.read_on.map(|count| match count {
        1 => "read on where it was left".to_owned(),
        count => format!("{count} partitions read on where they were left"),
    }));
    facts.join(" · ")
}

fn steps(out: &mut String, all: &[StepLine], indent: &str) {
    for (index, step) in all.iter().enumerate() {
        let last = index + 1 == all.len();
        let (turn, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        line(out, &format!("{indent}{turn}{}: {}", step.step, step.does));
        let indent = format!("{indent}{below}");
        for fact in facts(step) {
            line(out, &format!("{indent}  {fact}"));
        }
        for branch in &step.branches {
            self::branch(out, branch, &indent);
        }
    }
}

fn branch(out: &mut String, branch: &BranchLine, indent: &str) {
    if let Some(name) = &branch.name {
        line(out, &format!("{indent}{name}"));
    }
    if let Some(source) = &branch.source {
        line(out, &format!("{indent}from {}", from(source)));
    }
    steps(out, &branch.steps, indent);
}

fn facts(step: &StepLine) -> Vec<String> {
    let state = step.state.iter().map(state);
    let sink = step.sink.iter().map(|sink| sink.keeps.clone());
    state.chain(sink).collect()
}

fn state(state: &StateLine) -> String {
    let key = if state.key.is_empty() { String::new() } else { format!(" by {}", state.key.join(", ")) };
    let fate = match state.fate {
        "kept" => format!(" · kept: {}", keys(state.keys)),
        "lost" => format!(" · would be lost: {}", keys(state.keys)),
        "migrated" => format!(" · migrated: {}, {}", keys(state.keys), state.how.as_deref().unwrap_or_default()),
        _ => String::new(),
    };
    format!("state {}{key}: {}{fate}", state.digest, state.costs)
}
