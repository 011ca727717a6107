//! The shell of `syncline query`, as a person at a terminal meets it.

use std::{fs, io::Write, os::unix::fs::PermissionsExt, process::Stdio};

use crate::desk::{Desk, Running, binary, house};

const ORDERS: &str = "PIPELINE orders AS FROM file('orders.ndjson') |> DEDUP BY id |> INSERT INTO file('out/');";
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b;";

/// A person at a terminal, whose home this desk is. What was shown.
fn person(desk: &Desk, arguments: &[&str], script: &str) -> String {
    let terminal = house().join("tests/terminal.py");
    let (terminal, program) = (terminal.to_string_lossy(), binary());
    let program = program.to_string_lossy();
    let mut command = desk.other("python3", &[&[&*terminal, &*program], arguments].concat());
    command.env("HOME", desk.path("")).env_remove("XDG_STATE_HOME");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("python3, which ./test installs");
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("a child of ours");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A desk on which a pipeline ran, and maybe another one runs.
fn lived_in() -> Desk {
    let desk = Desk::with(ORDERS);
    desk.append("orders.ndjson", [r#"{"id":1}"#, r#"{"id":1}"#, r#"{"id":2}"#]);
    desk.ok(&["run", "orders.sync"]);
    desk
}

fn questions_go_over_lines_and_a_press_of_ctrl_c_ends_one_and_not_the_shell(desk: &Desk) {
    let script = format!(
        "prompt\ntype SELECT 1 +\nwait -> \ntype 41 AS answer;\nwait 42\nprompt\n\
         type SELECT 'dropped\nwait -> \npress c\nprompt\n\
         type \\d orders.dedup\nwait key_fingerprint\nprompt\n\
         type \\format csv\nprompt\ntype SELECT 'a' AS one, 'b' AS two;\nwait one,two\nwait a,b\nprompt\n\
         type SELECT * FROM nothing;\nwait there is no table `nothing`\nprompt\n\
         type {ENDLESS}\nwait generate_series(1, 100000000) b;\nrest\n"
    );
    // The question is being answered when the key is pressed: what is pressed before is dropped with the line.
    let script = format!("{script}press c\nwait cancelled\nprompt\ntype SELECT 6 * 7 AS again;\nwait 42\n");
    let script =
        format!("{script}prompt\ntype  SELECT 'not to be kept';\nwait not to be kept\nprompt\npress d\nend 0\n");
    person(desk, &["query"], &script);
}

#[test]
fn a_shell_on_a_folder_remembers_what_was_typed_for_its_owner_alone() {
    let desk = lived_in();
    questions_go_over_lines_and_a_press_of_ctrl_c_ends_one_and_not_the_shell(&desk);
    let history = desk.path(".local/state/syncline/history");
    let kept = fs::read_to_string(&history).expect("what was typed");
    assert!(kept.contains("SELECT 6 * 7 AS again;") && kept.contains("41 AS answer;"), "{kept}");
    assert!(!kept.contains("not to be kept"), "{kept}");
    let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(history), mode(desk.path(".local/state/syncline"))), (0o600, 0o700));
    // The next shell has it.
    let shown =
        person(&desk, &["query"], "prompt\npress up\nwait 7 AS again\ntype \nwait 42\nprompt\npress d\nend 0\n");
    assert!(!shown.contains("not to be kept"), "{shown}");
}

#[test]
fn a_shell_asks_the_process_that_holds_the_folder() {
    let desk = lived_in();
    desk.write("live.sync", "PIPELINE live AS FROM http('/live') |> INSERT INTO file('live/');");
    let mut running: Running = desk.start(&["run", "live.sync", "--listen", "127.0.0.1:0"]);
    running.address();
    questions_go_over_lines_and_a_press_of_ctrl_c_ends_one_and_not_the_shell(&desk);
    running.stop().expect(0);
}

/// The shell asked the folder beside it, whatever ledger was named.
#[test]
fn a_shell_asks_the_ledger_that_it_was_given() {
    let desk = Desk::with("PIPELINE orders AS FROM file('orders.ndjson') |> WHERE id = 1 |> INSERT INTO file('out/');");
    desk.append("orders.ndjson", [r#"{"id":1}"#, r#"{"id":2}"#]);
    desk.ok(&["run", "orders.sync", "--ledger", "ledger"]);
    let place = desk.path("ledger").to_string_lossy().into_owned();
    let elsewhere = Desk::new();
    let script = "prompt\ntype SELECT step || '!' AS told FROM ledger;\nwait where!\nprompt\npress d\nend 0\n";
    person(&elsewhere, &["query", "--ledger", &place], script);
    assert!(elsewhere.ok(&["query", "--ledger", &place, "-c", "\\d ledger", "-o", "csv"]).contains("key_fingerprint"));
}
