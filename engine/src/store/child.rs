//! Tests that need a process to die: the test runs itself again as a child, which works on a folder until it is killed.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Tells the child that it is one, and where to work.
const FOLDER: &str = "SYNCLINE_TEST_CHILD_FOLDER";
/// What a child prints goes after this, since the test harness prints too.
const SAYS: &str = "child says ";

/// In a child: the folder to work in.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// In a child: tells the parent.
pub fn say(line: impl std::fmt::Display) {
    // One write per line: what is killed in between must not leave half a number.
    println!("{SAYS}{line}");
}

/// Starts `test` (its path in the crate) as a child that works in `folder`, with writes past a limit on the size of files
/// failing instead of killing it. The child is killed after it has said `lines` lines; returns all that it said.
pub fn killed_after(test: &str, folder: &Path, lines: usize) -> Vec<String> {
    let mut child = start(test, folder);
    let mut said = Vec::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            said.extend(line.split_once(SAYS).map(|(_, said)| said.to_owned()));
            if said.len() == lines {
                child.kill().expect("the child can be killed");
            }
        }
    }
    child.wait().expect("the child has ended");
    said
}

/// Lets a child run to its end; returns all that it said, when it succeeded.
pub fn finished(test: &str, folder: &Path) -> Vec<String> {
    let output = start(test, folder).wait_with_output().expect("the child has ended");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {text}", output.status);
    text.lines().filter_map(|line| line.split_once(SAYS)).map(|(_, said)| said.to_owned()).collect()
}

fn start(test: &str, folder: &Path) -> Child {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(program);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(FOLDER, folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a child can be started")
}

/// From here on, no file of this process may grow past `bytes`; `None`: as large as before.
pub fn limit_files(bytes: Option<u64>) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).expect("a softer limit may be set");
}

/// A copy of a folder as a process that died at this instant would leave it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file can be copied");
        }
    }
}
