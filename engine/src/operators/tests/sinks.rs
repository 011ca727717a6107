//! The last step before a sink.

use arrow::datatypes::Schema;

use crate::{
    operator::{
        Operator,
        harness::{by, given, given_wanted, wanted, when},
    },
    operators::{
        Present,
        present::{Deletes, OUT, OpenRecord, Presentation},
    },
};

fn present(deletes: Deletes) -> impl Fn(&Schema) -> Box<dyn Operator> {
    move |schema| {
        Box::new(Present::new(Presentation {
            columns: vec!["name".into(), "id".into()],
            open: None,
            sequence: Some(by(&["v"], schema)),
            delete_when: Some(when("gone = true", schema)),
            deletes,
            keys: vec![],
        }))
    }
}

const ROWS: [&str; 3] = [
    r#"{"id":1,"name":"ada","v":1,"gone":false}"#,
    r#"{"id":2,"name":"bob","v":2,"gone":true}"#,
    r#"{"id":3,"name":"cleo","v":3,"gone":"?"}"#,
];
const FIELDS: [&str; 4] = ["id", "name", "v:int", "gone"];
const DEAD: &str = "1 dead (gone: `\"?\"` is not a BOOLEAN)";

#[test]
fn a_delete_goes_on_is_absorbed_or_clears_its_group() {
    given(&FIELDS, present(Deletes::Apply))
        .input(ROWS)
        .output(&[r#"{"name":"ada","id":1}"#, r#"-{"name":"bob","id":2}"#])
        .fates(&format!("2 passed · {DEAD}"));
    given(&FIELDS, present(Deletes::Absorb))
        .input(ROWS)
        .output(&[r#"{"name":"ada","id":1}"#])
        .fates(&format!("1 passed · 1 absorbed · {DEAD}"));
    given(&FIELDS, present(Deletes::Clear))
        .input(ROWS)
        .output(&[r#"{"name":"ada","id":1}"#, r#"~-{"name":"bob","id":2}"#])
        .fates(&format!("1 passed · 1 absorbed · {DEAD}"));
}

#[test]
fn a_row_without_its_key_or_its_version_is_dead_while_its_bytes_are_there() {
    let keyed = |schema: &Schema| -> Box<dyn Operator> {
        Box::new(Present::new(Presentation {
            columns: vec!["id".into()],
            open: None,
            sequence: Some(by(&["v"], schema)),
            delete_when: None,
            deletes: Deletes::Apply,
            keys: vec!["id".into()],
        }))
    };
    given(&FIELDS, keyed)
        .input([r#"{"id":1,"v":1}"#, r#"{"id":null,"v":2}"#, r#"{"id":3}"#])
        .output(&[r#"{"id":1}"#])
        .fates("1 passed · 2 dead (id is NULL; SEQUENCE BY is NULL)");
}

#[test]
fn a_batch_of_deletes_that_are_absorbed_puts_nothing_out() {
    given(&FIELDS, present(Deletes::Absorb)).input([ROWS[1]]).output(&[]).fates("1 absorbed");
}

/// Shows the hidden text of open records.
struct Open(Present);

impl Operator for Open {
    fn push(
        &mut self,
        batch: syncline_record::Batch,
        out: &mut crate::operator::Output,
    ) -> Result<(), crate::operator::Halt> {
        self.0.push(batch, out)?;
        for batch in &mut out.emitted {
            let texts = batch
                .rows
                .column_by_name(OUT)
                .cloned()
                .ok_or_else(|| crate::operator::Halt::Broken { step: "open".into(), detail: "no text".into() })?;
            batch.rows = crate::operators::present::put_column(&batch.rows, "record", texts);
        }
        Ok(())
    }
}

fn open(dropped: &'static [&'static str], set: &'static [&'static str]) -> crate::operator::harness::Bench {
    let whole = crate::operators::decode::Wanted { whole_record: true, ..wanted(&["id"]) };
    given_wanted(whole, move |_| {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        Box::new(Open(Present::new(Presentation {
            columns: vec![],
            open: Some(OpenRecord { dropped: names(dropped), set: names(set) }),
            sequence: None,
            delete_when: None,
            deletes: Deletes::Apply,
            keys: vec![],
        })))
    })
}

#[test]
fn an_open_record_leaves_as_its_bytes_with_only_the_changes_spliced_in() {
    const RECORD: &str = r#"{"b": [1,  2], "id":1.0, "secret":"x"}"#;
    let text = |record: &str| format!(r#"{{"record":{}}}"#, serde_json::Value::from(record));
    open(&[], &[]).input([RECORD]).output(&[&text(RECORD)]);
    open(&["secret"], &[]).input([RECORD]).output(&[&text(r#"{"b": [1,  2], "id":1.0}"#)]);
    open(&[], &["id"]).input([RECORD, r#"{}"#]).output(&[&text(RECORD), &text(r#"{"id":null}"#)]);
}
