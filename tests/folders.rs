//! What needs all texts of a folder, and what is asked meanwhile: whoever writes a pipeline keeps nobody from pausing another one.
//!
//! The texts take as long as the test wants: one of them asks a store of objects for its columns, which says nothing until it is
//! told to.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
};

use serde_json::json;

use crate::{
    desk::{Desk, Running},
    web::{Answer, Client},
};

const SQL: (&str, &str) = ("Content-Type", "application/sql");

fn quick(name: &str) -> String {
    format!(
        "PIPELINE {name} AS FROM http('/{name}') |> SELECT CAST(id AS BIGINT) AS id |> INSERT INTO file('{name}/');\n"
    )
}

/// A store that is asked and says nothing.
struct Silent(TcpListener);

impl Silent {
    fn begin() -> Silent {
        Silent(TcpListener::bind("127.0.0.1:0").expect("a door"))
    }

    /// A pipeline that asks it.
    fn reader(&self, name: &str) -> String {
        let address = self.0.local_addr().expect("its address");
        let store = format!(
            "s3(endpoint => 'http://{address}', access_key => env('SHOP_KEY'), secret_key => env('SHOP_SECRET'))"
        );
        format!(
            "PIPELINE {name} AS FROM parquet('s3://shop/in/*.parquet', store => {store}) |> SELECT id |> INSERT INTO file('{name}/');\n"
        )
    }

    /// It is being asked.
    fn asked(&self) -> TcpStream {
        self.0.accept().expect("somebody").0
    }
}

/// It lets nobody in, and the columns are not known.
fn refuse(mut asked: TcpStream) {
    let mut head = [0; 4096];
    let length = asked.read(&mut head).expect("a question");
    assert!(length > 0, "nothing was asked");
    asked.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").expect("an answer");
}

fn serve(desk: &Desk) -> (Running, SocketAddr) {
    let mut command = desk.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("SHOP_KEY", "key").env("SHOP_SECRET", "secret");
    let mut running = Running::start(command, "serve".to_owned());
    let address = running.address();
    (running, address)
}

/// Asks on a way of its own.
fn beside(address: SocketAddr, method: &'static str, path: &str, body: String) -> Receiver<Answer> {
    let ((tell, told), path) = (channel(), path.to_owned());
    thread::spawn(move || {
        let _ = tell.send(Client::to(address).send(method, &path, &[SQL], body.as_bytes()));
    });
    told
}

fn waits(answer: &Receiver<Answer>) -> bool {
    matches!(answer.try_recv(), Err(TryRecvError::Empty))
}

fn state(client: &mut Client, name: &str) -> serde_json::Value {
    client.get(&format!("/v1/pipelines/{name}")).json()["state"].clone()
}

#[test]
fn a_pause_is_answered_while_a_text_is_compiled_and_writes_stay_one_after_the_other() {
    let desk = Desk::new();
    desk.write("other.sync", quick("other"));
    let silent = Silent::begin();
    let (running, address) = serve(&desk);
    let mut client = Client::to(address);
    let first = beside(address, "PUT", "/v1/pipelines/slow", silent.reader("slow"));
    let asked = silent.asked();
    let second = beside(address, "PUT", "/v1/pipelines/third", quick("third"));
    assert_eq!(client.post("/v1/pipelines/other/pause", &[], b"").status, 200);
    assert_eq!(state(&mut client, "other"), json!("paused"));
    assert!(waits(&first) && waits(&second), "the pause was behind what is compiled");
    // Nothing is written of what is not compiled, nor of what waits for it.
    assert!(!desk.path("slow.sync").exists() && !desk.path("third.sync").exists());
    refuse(asked);
    let (first, second) = (first.recv().expect("an answer"), second.recv().expect("an answer"));
    assert_eq!((first.status, second.status), (422, 201), "{first:?} {second:?}");
    assert!(!desk.path("slow.sync").exists() && desk.path("third.sync").exists());
    assert_eq!(state(&mut client, "other"), json!("paused"));
    running.stop().expect(0);
}

#[test]
fn a_file_that_changes_while_it_is_compiled_is_looked_at_again() {
    let desk = Desk::new();
    let silent = Silent::begin();
    let (mut running, address) = serve(&desk);
    desk.write("b.sync", silent.reader("b"));
    let put = beside(address, "PUT", "/v1/pipelines/a", quick("a"));
    let asked = silent.asked();
    // As it was read, it does not compile; as it is now, it does.
    desk.write("b.sync", quick("b"));
    refuse(asked);
    let put = put.recv().expect("an answer");
    assert_eq!(put.status, 201, "{put:?}");
    let mut client = Client::to(address);
    for name in ["a", "b"] {
        running.until("both run", |_| state(&mut client, name) == json!("running"));
    }
    running.stop().expect(0);
}

#[test]
fn who_waits_for_a_compiler_is_told_when_the_process_stops() {
    let desk = Desk::new();
    desk.write("other.sync", quick("other"));
    let silent = Silent::begin();
    let (running, address) = serve(&desk);
    let first = beside(address, "PUT", "/v1/pipelines/slow", silent.reader("slow"));
    let asked = silent.asked();
    running.signal("TERM");
    let answer = first.recv().expect("an answer");
    assert_eq!((answer.status, answer.json()["type"].clone()), (503, json!("urn:syncline:stopping")), "{answer:?}");
    refuse(asked);
    running.stop().expect(0);
    assert!(!desk.path("slow.sync").exists());
}
