//! How long the machine stands still by itself: a process that comes before all others naps for a millisecond, again and again, and sees how late
//! it is woken. On a virtual machine the host takes its processors away; whoever waits for an answer then waits for that too.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const NAP: Duration = Duration::from_millis(1);
/// Later than this it was no nap.
const LATE: Duration = Duration::from_millis(5);

/// The process itself: answers each line with how often it was woken late since the last one, and the longest of those times in microseconds.
pub fn run() {
    let (asks, asked) = mpsc::channel();
    thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|_| asks.send(())));
    let (mut late, mut longest) = (0, Duration::ZERO);
    loop {
        let began = Instant::now();
        thread::sleep(NAP);
        let took = began.elapsed();
        late += u64::from(took > LATE);
        longest = longest.max(took);
        match asked.try_recv() {
            Ok(()) => {
                println!("{late} {}", longest.as_micros());
                (late, longest) = (0, Duration::ZERO);
            }
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return,
        }
    }
}

pub struct Stalls {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Stalls {
    /// `None` where this user may not come before others.
    pub fn watch() -> Option<Stalls> {
        let program = std::env::current_exe().ok()?;
        let mut command = Command::new("chrt");
        command.args(["--fifo", "50"]).arg(program).arg("stalls");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let (asks, answers) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
        let mut stalls = Stalls { child, asks, answers };
        stalls.since().map(|_| stalls)
    }

    /// Since it was last asked: how often the machine stood still for more than 5 ms, and the longest time.
    pub fn since(&mut self) -> Option<(u64, Duration)> {
        writeln!(self.asks).ok()?;
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        let (late, longest) = line.trim().split_once(' ')?;
        Some((late.parse().ok()?, Duration::from_micros(longest.parse().ok()?)))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}
