//! A broker that demands to know who comes: TLS with an authority of its own, and names with passwords, plain and SCRAM.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    desk::{PATIENCE, Running, Said},
    kafka::{
        broker::{Broker, Listener},
        java,
    },
};

pub const USER: &str = "tester";
/// SCRAM's is in the data folder that `./test` has formatted.
pub const PASSWORD: &str = "a-secret-of-the-tests";

const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required";

/// One broker with a door of each kind, beside the open one of the harness.
pub struct Guarded {
    pub broker: Broker,
    /// Encrypted, and anybody may enter.
    pub tls: String,
    /// Encrypted, by name and password: `PLAIN` or `SCRAM-SHA-512`.
    pub named_tls: String,
    /// The same in the open.
    pub named: String,
}

impl Guarded {
    pub fn start() -> Guarded {
        let doors = [
            Listener::new("TLS", "SSL"),
            Listener::new("NAMEDTLS", "SASL_SSL"),
            Listener::new("NAMED", "SASL_PLAINTEXT"),
        ];
        let [tls, named_tls, named] = [0, 1, 2].map(|door: usize| format!("127.0.0.1:{}", doors[door].port));
        let plain =
            format!("org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";");
        let scram = format!("{SCRAM};");
        let mut settings = vec![
            ("ssl.keystore.type".to_owned(), "PEM".to_owned()),
            ("ssl.keystore.location".to_owned(), "broker.pem".to_owned()),
            ("sasl.enabled.mechanisms".to_owned(), "PLAIN,SCRAM-SHA-512".to_owned()),
        ];
        for door in ["namedtls", "named"] {
            settings.push((format!("listener.name.{door}.plain.sasl.jaas.config"), plain.clone()));
            settings.push((format!("listener.name.{door}.scram-sha-512.sasl.jaas.config"), scram.clone()));
        }
        Guarded { broker: Broker::with(&doors, &settings, certify), tls, named_tls, named }
    }

    /// The certificate of the authority, which clients must be told of.
    pub fn authority(&self) -> PathBuf {
        self.broker.folder().join("authority.pem")
    }
}

/// Makes an authority, and a certificate of the broker for this machine.
fn certify(folder: &Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
        let output = output.expect("openssl, which ./test installs");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -days 2 -subj /CN=authority -keyout authority.key -out authority.pem"));
    openssl(&format!("req {key} -subj /CN=broker -keyout broker.key -out broker.request"));
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").expect("write the names");
    openssl(
        "x509 -req -in broker.request -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile names -out broker.crt",
    );
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("what openssl wrote");
    fs::write(folder.join("broker.pem"), read("broker.key") + &read("broker.crt")).expect("write the key store");
}

/// How a client enters, or fails to.
fn knocks(guarded: &Guarded, door: &str, settings: &[(&str, &str)]) -> Said {
    let mut command = Command::new("kcat");
    command.args(["-L", "-m", "5", "-b", door]).stdin(Stdio::null());
    command.arg("-X").arg(format!("ssl.ca.location={}", guarded.authority().display()));
    for (name, value) in settings {
        command.args(["-X", &format!("{name}={value}")]);
    }
    Running::start(command, format!("kcat -L {settings:?}")).end(PATIENCE)
}

/// Kafka's own client: Debian's librdkafka (2.0) says its nonce twice (fixed in 2.6.1), which brokers of today take for an attack.
fn knocks_with_scram(guarded: &Guarded, password: &str) -> Said {
    let settings = format!(
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         sasl.jaas.config={SCRAM} username=\"{USER}\" password=\"{password}\";\n",
        guarded.authority().display()
    );
    let file = guarded.broker.folder().join("client.properties");
    fs::write(&file, settings).expect("write the settings");
    let command = java(
        &[],
        "org.apache.kafka.tools.TopicCommand",
        &["--bootstrap-server", &guarded.named_tls, "--list", "--command-config", file.to_str().expect("a path")],
    );
    Running::start(command, "the topic command".to_owned()).end(PATIENCE)
}

#[test]
fn a_guarded_broker_lets_in_who_has_a_name_and_a_password() {
    let guarded = Guarded::start();
    let (user, password) = (("sasl.username", USER), ("sasl.password", PASSWORD));
    let (tls, named_tls) = (("security.protocol", "SSL"), ("security.protocol", "SASL_SSL"));
    let named = ("security.protocol", "SASL_PLAINTEXT");
    knocks(&guarded, &guarded.tls, &[tls]).expect(0);
    let plain = ("sasl.mechanism", "PLAIN");
    knocks(&guarded, &guarded.named_tls, &[named_tls, plain, user, password]).expect(0);
    knocks(&guarded, &guarded.named, &[named, plain, user, password]).expect(0);
    let said = knocks(&guarded, &guarded.named_tls, &[named_tls, plain, user, ("sasl.password", "another")]);
    assert!(said.expect(1).err.contains("Authentication failed"));
    knocks_with_scram(&guarded, PASSWORD).expect(0);
    assert!(knocks_with_scram(&guarded, "another").expect(1).out().contains("SaslAuthenticationException"));
    knocks(&guarded, &guarded.named_tls, &[]).expect(1);
    // A certificate that signed nothing.
    let other = guarded.broker.folder().join("broker.crt");
    let other = ("ssl.ca.location", other.to_str().expect("a path"));
    let said = knocks(&guarded, &guarded.tls, &[tls, other]).expect(1);
    assert!(said.err.contains("certificate verify failed"), "{}", said.err);
}
