//! The plan as a person reads it: one line a step, branches indented, what the step puts out below it.

use std::fmt::{self, Display, Formatter};

use crate::{
    duration,
    plan::{
        BoundPlan, Column, CsvPlan, FilePlan, JoinPlan, Keep, Plan, Restart, SinkPlan, SortKey, SourcePlan, Step,
        StepKind, Value, Violation, WindowKind, WindowPlan, WritePlan,
    },
};

impl Display for FilePlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, plan) in self.pipelines.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{plan}")?;
        }
        Ok(())
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "pipeline {} · checkpoint every {}", self.pipeline, duration::shown(self.options.checkpoint_every))?;
        if let Some(delivery) = &self.options.delivery {
            write!(f, " · {delivery}")?;
        }
        if let Some(changelog) = &self.options.changelog {
            write!(f, " · changelog {}", changelog.text)?;
        }
        if self.options.tasks > 1 {
            write!(f, " · {} tasks", self.options.tasks)?;
        }
        if self.options.standby {
            write!(f, " · copies stand by")?;
        }
        if self.options.ledger_all {
            write!(f, " · ledger of all rows")?;
        }
        if let Some(idle) = self.options.waits.idle_after {
            write!(f, " · a partition is idle after {}", duration::shown(idle))?;
        }
        if let Some(future) = self.options.waits.future {
            write!(f, " · times up to {} ahead", duration::shown(future))?;
        }
        let Restart { when, delay, most } = self.options.restart;
        if let Some(when) = when {
            write!(f, " · restarts: {}", when.as_str())?;
        }
        if let Some(delay) = delay {
            write!(f, " · first restart after {}", duration::shown(delay))?;
        }
        if let Some(most) = most {
            write!(f, " · at most {most} restarts")?;
        }
        writeln!(f)?;
        if let Some(schedule) = &self.schedule {
            writeln!(f, "  runs {schedule}")?;
        }
        source(f, &self.source, "")?;
        steps(f, &self.flow, 1)
    }
}

fn source(f: &mut Formatter<'_>, source: &SourcePlan, indent: &str) -> fmt::Result {
    let ends = if source.endless { "never ends" } else { "ends" };
    let follow = if source.follow { " · follows" } else { "" };
    let dialect = source.csv.as_ref().map_or(String::new(), dialect);
    let writer = source.stream.as_ref().map_or(String::new(), |stream| format!(" of {}", stream.writer));
    writeln!(f, "{indent}  from {} · {}{writer}{dialect}{follow} · {ends}", source.place.text, source.format)?;
    let fields: Vec<String> = source
        .fields
        .iter()
        .map(|field| format!("{} {}{}", field.name, field.kind.0, if field.not_null { " NOT NULL" } else { "" }))
        .collect();
    let other = match (source.reject_unknown, source.evolves) {
        (true, _) => " · no other field",
        (false, true) => " · other fields are kept",
        (false, false) => "",
    };
    writeln!(f, "{indent}       fields: {}{other}", listed(&fields))?;
    if !source.key.is_empty() {
        writeln!(f, "{indent}       key: {}", source.key.join(", "))?;
    }
    if source.whole_record {
        writeln!(f, "{indent}       whole record")?;
    }
    if !source.metadata.is_empty() {
        writeln!(f, "{indent}       metadata: {}", source.metadata.join(", "))?;
    }
    if let Some(time) = &source.event_time {
        writeln!(f, "{indent}       time: {}, up to {} late", time.column, duration::shown(time.delay))?;
    }
    if !source.partitioned_by.is_empty() {
        writeln!(f, "{indent}       partitioned by: {}", source.partitioned_by.join(", "))?;
    }
    Ok(())
}

/// How CSV differs from what one expects of it.
fn dialect(csv: &CsvPlan) -> String {
    let sign =
        |name: &str, sign: char| format!(" {name} {}", if sign == '\t' { "tab".into() } else { sign.to_string() });
    let mut out = String::new();
    if csv.delimiter != ',' {
        out.push_str(&sign("delimiter", csv.delimiter));
    }
    match csv.quote {
        Some('"') => {}
        Some(quote) => out.push_str(&sign("quote", quote)),
        None => out.push_str(" without quotes"),
    }
    out.extend(csv.escape.map(|escape| sign("escape", escape)));
    out.extend(csv.comment.map(|comment| sign("comment", comment)));
    if !csv.header {
        out.push_str(" without header");
    }
    if csv.nulls != [""] {
        out.push_str(&format!(
            " null {}",
            csv.nulls.iter().map(|null| format!("'{null}'")).collect::<Vec<_>>().join(", ")
        ));
    }
    out
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn steps(f: &mut Formatter<'_>, flow: &[Step], depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    for step in flow {
        writeln!(f, "{indent}{}: {}", step.id, step.kind)?;
        match &step.kind {
            StepKind::Project { columns, .. } | StepKind::Aggregate { columns, .. } => {
                project(f, step, columns, &indent)?
            }
            StepKind::Tee { flow } => steps(f, flow, depth + 1)?,
            StepKind::Fork { flows } => flows.iter().try_for_each(|flow| steps(f, flow, depth + 1))?,
            StepKind::Union { arms } => {
                for arm in arms {
                    source(f, &arm.source, &format!("{indent}  "))?;
                    steps(f, &arm.flow, depth + 2)?;
                    let columns = arm.columns.iter().map(|(name, sql)| format!("{name} = {sql}"));
                    writeln!(f, "{indent}    as {}", columns.collect::<Vec<_>>().join(", "))?;
                }
            }
            StepKind::Join(join) => joined(f, join, &indent)?,
            StepKind::Arms { arms, .. } => {
                for arm in arms {
                    let role = if arm.primary { "primary" } else { "derived" };
                    let ids = if arm.ids { " · with ids" } else { "" };
                    writeln!(f, "{indent}  {role} {}{ids}", arm.name)?;
                    steps(f, &arm.flow, depth + 2)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn joined(f: &mut Formatter<'_>, join: &JoinPlan, indent: &str) -> fmt::Result {
    source(f, &join.table, &format!("{indent}  "))?;
    if let (Some(age), true) = (join.refresh, join.lookup.is_some()) {
        writeln!(f, "{indent}         an answer holds for {}", duration::shown(age))?;
    } else if let Some(refresh) = join.refresh {
        writeln!(f, "{indent}         read again every {}", duration::shown(refresh))?;
    }
    let keys = join.keys.iter().map(|(own, its)| format!("{own} = {its}"));
    if let Some(BoundPlan { own, its, least, most, .. }) = join.bound.as_deref() {
        writeln!(f, "{indent}    where {its} - {own} is {} to {}", signed(*least), signed(*most))?;
    }
    writeln!(f, "{indent}    on {}", keys.chain(join.residual.clone()).collect::<Vec<_>>().join(" AND "))?;
    writeln!(f, "{indent}    takes {}", listed(&join.columns))
}

fn signed(micros: i64) -> String {
    format!("{}{}", if micros < 0 { "-" } else { "" }, duration::shown(micros.unsigned_abs()))
}

fn project(f: &mut Formatter<'_>, step: &Step, columns: &[(String, String)], indent: &str) -> fmt::Result {
    for (name, sql) in columns {
        let column = step.columns.iter().find(|column: &&Column| column.name == *name);
        let kind = column.map_or("", |column| column.kind.0.as_str());
        let hidden = if column.is_some_and(|column| !column.visible) { " (hidden)" } else { "" };
        writeln!(f, "{indent}  {name} {kind}{hidden} = {sql}")?;
    }
    if let Some(open) = &step.open {
        let dropped =
            if open.dropped.is_empty() { String::new() } else { format!(", without {}", open.dropped.join(", ")) };
        let set = if open.set.is_empty() { String::new() } else { format!(", with {}", open.set.join(", ")) };
        writeln!(f, "{indent}  the rest of the record{dropped}{set}")?;
    }
    Ok(())
}

/// One line: what it does, without what is in its branches and the columns that it makes.
impl Display for StepKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Line(self))
    }
}

/// The line of a step.
struct Line<'a>(&'a StepKind);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            StepKind::Where { predicate, groups, of_deletes } => {
                write!(f, "WHERE {predicate}{}", clears(*groups))?;
                of_deletes.iter().try_for_each(|asked| write!(f, " · of deletes {asked}"))
            }
            StepKind::Project { word, .. } => f.write_str(word),
            StepKind::Dedup { by, within, keep, order_by, .. } => {
                f.write_str("DEDUP")?;
                write!(f, " BY {}", if by.is_empty() { "the content".to_owned() } else { by.join(", ") })?;
                if let Some(within) = within {
                    write!(f, " WITHIN {}", duration::shown(*within))?;
                }
                match (keep, order_by) {
                    (Keep::First, _) => Ok(()),
                    (Keep::Last, None) => f.write_str(" KEEP LAST"),
                    (Keep::Last, Some(order)) => write!(f, " KEEP LAST BY {order}"),
                }
            }
            StepKind::Aggregate { keys, window, calls, .. } => aggregate(f, keys, window.as_ref(), calls),
            StepKind::Lanes { by, lanes } => write!(f, "SHARD BY {} INTO {lanes}", by.join(", ")),
            StepKind::Arms { by, delete_when, .. } => {
                write!(f, "SHARD BY {}", by.join(", "))?;
                delete_when.iter().try_for_each(|when| write!(f, " · DELETE WHEN {when}"))
            }
            StepKind::Expect { predicate, violation, groups, .. } => {
                let word = match violation {
                    Violation::Drop => "DROP",
                    Violation::DeadLetter => "DEAD LETTER",
                    Violation::Warn => "WARN",
                    Violation::Fail => "FAIL",
                };
                write!(f, "EXPECT {predicate} ON VIOLATION {word}{}", clears(*groups))
            }
            StepKind::Unnest { arrays, groups } => {
                let arrays: Vec<&str> = arrays.iter().map(|(_, sql)| sql.as_str()).collect();
                write!(f, "UNNEST {}{}", arrays.join(", "), clears(*groups))
            }
            StepKind::Sort { keys, most } => {
                let keys: Vec<String> = keys.iter().map(sort_key).collect();
                write!(f, "ORDER BY {}", keys.join(", "))?;
                most.iter().try_for_each(|most| write!(f, " · keeps {most}"))
            }
            StepKind::Limit { count, offset: 0 } => write!(f, "LIMIT {count}"),
            StepKind::Limit { count, offset } => write!(f, "LIMIT {count} OFFSET {offset}"),
            StepKind::Tee { .. } => f.write_str("TEE"),
            StepKind::Fork { .. } => f.write_str("FORK"),
            StepKind::Union { arms } if arms.iter().any(|arm| arm.history) => f.write_str("history first"),
            StepKind::Union { arms } if arms.iter().any(|arm| arm.beside.is_some()) => f.write_str("history beside"),
            StepKind::Union { .. } => f.write_str("UNION ALL"),
            StepKind::Join(join) => {
                let word = match (join.left, &join.lookup) {
                    (_, Some(_)) => "LOOKUP",
                    (true, None) => "LEFT JOIN",
                    (false, None) => "JOIN",
                };
                write!(f, "{word} {} AS {}{}", join.table.place.text, join.alias, clears(join.groups))
            }
            StepKind::Group { per } => write!(f, "group by {}", per.join(", ")),
            StepKind::Sink(sink) => write!(f, "{}", Sink(sink)),
            StepKind::Hop { topic, by, .. } if by.is_empty() => {
                write!(f, "repartition: all to one task, through {topic}")
            }
            StepKind::Hop { topic, by, .. } => write!(f, "repartition by {}, through {topic}", by.join(", ")),
        }
    }
}

fn aggregate(
    f: &mut Formatter<'_>,
    keys: &[(String, String)],
    window: Option<&WindowPlan>,
    calls: &[(String, String)],
) -> fmt::Result {
    let named = |(name, sql): &(String, String)| if name == sql { sql.clone() } else { format!("{sql} AS {name}") };
    write!(f, "AGGREGATE {}", listed(&calls.iter().map(named).collect::<Vec<_>>()))?;
    let key = |key: &(String, String)| match window.filter(|_| key.1.is_empty()) {
        Some(window) => format!("{} AS {}", Window(window), key.0),
        None => named(key),
    };
    if !keys.is_empty() {
        write!(f, " GROUP BY {}", keys.iter().map(key).collect::<Vec<_>>().join(", "))?;
    }
    match window {
        Some(window) if !window.by_record_time => f.write_str(" · complete at the end"),
        None => f.write_str(" · complete at the end"),
        Some(_) => Ok(()),
    }
}

struct Window<'a>(&'a WindowPlan);

impl Display for Window<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let time = &self.0.time;
        match self.0.kind {
            WindowKind::Tumble { size } => write!(f, "tumble({time}, {})", duration::shown(size)),
            WindowKind::Hop { slide, size } => {
                write!(f, "hop({time}, {}, {})", duration::shown(slide), duration::shown(size))
            }
            WindowKind::Session { gap } => write!(f, "session({time}, {})", duration::shown(gap)),
        }
    }
}

fn sort_key(key: &SortKey) -> String {
    let order = if key.descending { " DESC" } else { "" };
    // PostgreSQL's place for NULL is not said.
    let nulls = match (key.descending, key.nulls_first) {
        (true, false) => " NULLS LAST",
        (false, true) => " NULLS FIRST",
        _ => "",
    };
    format!("{}{order}{nulls}", key.sql)
}

fn clears(groups: bool) -> &'static str {
    if groups { " · clears its group" } else { "" }
}

struct Sink<'a>(&'a SinkPlan);

impl Display for Sink<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let SinkPlan { place, write, columns, csv } = self.0;
        let target = &place.text;
        let sequence = match write {
            WritePlan::Insert { key } if key.is_empty() => {
                let word = if place.stream().is_some() { "AS STREAM" } else { "INSERT INTO" };
                write!(f, "{word} {target}")?;
                &None
            }
            WritePlan::Insert { key } => {
                write!(f, "INSERT INTO {target} KEY ({})", key.join(", "))?;
                &None
            }
            WritePlan::Upsert { key, sequence, .. } => {
                write!(f, "UPSERT INTO {target} KEY ({})", key.join(", "))?;
                sequence
            }
            WritePlan::Replace { per, sequence } => {
                write!(f, "REPLACE INTO {target} PER ({})", per.join(", "))?;
                sequence
            }
        };
        if let Some(sequence) = sequence {
            write!(f, " SEQUENCE BY {sequence}")?;
        }
        if let WritePlan::Upsert { delete_when, ignore_nulls, .. } = write {
            if let Some(when) = delete_when {
                write!(f, " DELETE WHEN {when}")?;
            }
            if *ignore_nulls {
                f.write_str(" IGNORE NULLS")?;
            }
        }
        let columns = if columns.is_empty() { "the whole record".to_owned() } else { columns.join(", ") };
        write!(f, " · {columns}")?;
        match csv {
            Some(csv) => write!(f, " · csv{}", dialect(csv)),
            None => Ok(()),
        }
    }
}

/// As SQL; `env` and `secret` show where a value comes from, never what it is.
impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Value::Number(number) => f.write_str(number),
            Value::Boolean(yes) => write!(f, "{yes}"),
            Value::Null => f.write_str("NULL"),
            Value::Env { name, default: None } => write!(f, "env('{name}')"),
            Value::Env { name, default: Some(default) } => write!(f, "env('{name}', {default})"),
            Value::Secret { path } => write!(f, "secret('{path}')"),
            Value::Call { function, positional, named } => {
                let positional = positional.iter().map(Value::to_string);
                let named = named.iter().map(|(name, value)| format!("{name} => {value}"));
                write!(f, "{function}({})", positional.chain(named).collect::<Vec<_>>().join(", "))
            }
            Value::List(items) => {
                write!(f, "[{}]", items.iter().map(Value::to_string).collect::<Vec<_>>().join(", "))
            }
        }
    }
}
