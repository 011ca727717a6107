//! A network that loses the answer to a commit, or the commit itself: nobody guesses what became of it.

use std::{
    io::{Read, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use super::*;

/// Which half of a commit is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loses {
    Question,
    Answer,
}

/// A way to the server that is cut at the n-th commit, and only then. Its port.
fn way(to: u16, nth: u32, loses: Loses) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let commits = Arc::new(AtomicU32::new(0));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let mute = Arc::new(AtomicBool::new(false));
            let (commits, heard) = (commits.clone(), mute.clone());
            let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let mut block = [0; 65_536];
                while let Ok(length @ 1..) = from.read(&mut block) {
                    let asked = block[..length].windows(7).any(|words| words == b"COMMIT\0");
                    let cut = asked && commits.fetch_add(1, Ordering::SeqCst) + 1 == nth;
                    if cut && loses == Loses::Question {
                        break;
                    }
                    mute.fetch_or(cut, Ordering::SeqCst);
                    if into.write_all(&block[..length]).is_err() {
                        break;
                    }
                }
                let _ = (from.shutdown(Shutdown::Both), into.shutdown(Shutdown::Both));
            });
            let (mut from, mut into) = (server, client);
            thread::spawn(move || {
                let mut block = [0; 65_536];
                while let Ok(length @ 1..) = from.read(&mut block) {
                    if heard.load(Ordering::SeqCst) || into.write_all(&block[..length]).is_err() {
                        break;
                    }
                }
                let _ = (from.shutdown(Shutdown::Both), into.shutdown(Shutdown::Both));
            });
        }
    });
    port
}

#[test]
fn a_commit_whose_answer_is_lost_counts_and_one_that_was_lost_itself_does_not() {
    // The first commit is that of the start.
    for (loses, committed) in [(Loses::Answer, 1), (Loses::Question, 0)] {
        let shop = Shop::new();
        let port = way(shop.0.server().port(), 2, loses);
        let url = shop.0.url().replace(&shop.0.server().port().to_string(), &port.to_string());
        let batch = rows(vec![ints("id", &[Some(1)])]);
        let args = Args { positional: vec![json!(url), json!("orders")], ..Args::default() };
        let mut sink = made(&args, Write::Insert, &batch).unwrap();
        sink.open(&stream("log", 1)).unwrap();
        sink.apply(&[OutboxRows { base: 0, rows: batch.clone() }]).unwrap();
        let said = sink.commit(&Delivered { next: 1, ..Delivered::default() });
        assert!(matches!(said, Err(SinkError::Reconnect(_))), "{loses:?}: {said:?}");
        let told = sink.open(&stream("log", 1)).unwrap().unwrap();
        assert_eq!(told.next, committed, "{loses:?}");
        // What the engine does with it: the rows from there on, once more.
        sink.apply(&[OutboxRows { base: 0, rows: batch.clone() }]).unwrap();
        sink.commit(&Delivered { next: 1, ..Delivered::default() }).unwrap();
        assert_eq!(shop.0.sql("SELECT id FROM orders"), ["1"], "{loses:?}");
    }
}
