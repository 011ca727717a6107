//! Ways into a server: passwords, TLS, and a server that is not there.

use super::{server::GUARDED, *};

fn opened(url: &str, named: &[(&str, serde_json::Value)]) -> Result<(), SinkError> {
    let named = named.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let args = Args { positional: vec![json!(url), json!("orders")], named };
    let mut sink = made(&args, Write::Insert, &rows(vec![ints("id", &[Some(1)])])).unwrap();
    sink.open(&stream("log", 1)).map(drop)
}

#[test]
fn a_password_lets_in_and_a_wrong_one_is_told_without_it() {
    let database = shared().database();
    let (user, password) = GUARDED;
    let url = |password: &str| database.url().replace("postgres@", &format!("{user}:{password}@"));
    assert_eq!(opened(&url(password), &[]), Ok(()));
    let bare = database.url().replace("postgres@", &format!("{user}@"));
    assert_eq!(opened(&bare, &[("password", json!(password))]), Ok(()));
    let Err(SinkError::Never(refused)) = opened(&url("tr0ub5dor"), &[]) else { panic!("a wrong password lets in") };
    assert!(refused.contains("password authentication failed for user \"ada\""), "{refused}");
    assert!(!refused.contains("tr0ub"), "{refused}");
    let Err(SinkError::Never(refused)) = opened(&bare, &[]) else { panic!("no password lets in") };
    assert!(refused.contains("password"), "{refused}");
}

#[test]
fn tls_proves_what_its_word_says() {
    let database = shared().database();
    let by = |host: &str| database.url().replace("127.0.0.1", host);
    let mode = |word: &str| ("sslmode", json!(word));
    let ca = ("sslrootcert", json!("ca.crt"));
    assert_eq!(opened(&by("localhost"), &[mode("require")]), Ok(()));
    assert_eq!(opened(&by("localhost"), &[mode("verify-full"), ca.clone()]), Ok(()));
    assert_eq!(opened(&by("127.0.0.1"), &[mode("verify-ca"), ca.clone()]), Ok(()));
    // The certificate names `localhost`, and no number.
    for (host, named) in [
        ("127.0.0.1", vec![mode("verify-full"), ca.clone()]),
        ("localhost", vec![mode("verify-full"), ("sslrootcert", json!("server.crt"))]),
        ("localhost", vec![mode("verify-ca")]),
    ] {
        let Err(SinkError::Never(refused)) = opened(&by(host), &named) else { panic!("{host} {named:?} is believed") };
        assert!(refused.contains("sslrootcert") || refused.contains("certificate"), "{refused}");
    }
    let tls = database.sql("SELECT 1");
    assert_eq!(tls, ["1"]);
    let missing = opened(&by("localhost"), &[mode("verify-ca"), ("sslrootcert", json!("none.crt"))]);
    assert!(matches!(missing, Err(SinkError::Never(_))), "{missing:?}");
}

#[test]
fn a_server_that_is_not_there_is_waited_for() {
    let refused = opened("postgres://postgres@127.0.0.1:1/shop", &[]);
    let Err(SinkError::Reconnect(refused)) = refused else { panic!("{refused:?}") };
    assert_eq!(refused, "database shop at 127.0.0.1:1: cannot connect: error connecting to server: Connection refused");
    let database = shared().database();
    let nowhere = database.url().replace(database.name(), "nowhere");
    let Err(SinkError::Never(refused)) = opened(&nowhere, &[]) else { panic!("there is no such database") };
    assert!(refused.contains("database \"nowhere\" does not exist"), "{refused}");
}

/// Another writer's lock is trouble that passes: the batch is taken again.
#[test]
fn what_was_ended_by_the_server_is_tried_again() {
    let shop = Shop::new();
    let batch = rows(vec![ints("id", &[Some(1)])]);
    let mut sink = shop.sink(Write::Insert, &batch);
    sink.open(&stream("log", 1)).unwrap();
    shop.0.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
    let said = sink.apply(&[OutboxRows { base: 0, rows: batch.clone() }]);
    assert!(matches!(said, Err(SinkError::Reconnect(_))), "{said:?}");
    assert_eq!(sink.open(&stream("log", 1)), Ok(Some(Delivered::default())));
}
