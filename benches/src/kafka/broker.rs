//! The broker that all contestants use: the one that `KAFKA_BROKERS` names, or one that is started for the run.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rdkafka::{ClientConfig, consumer::BaseConsumer, consumer::Consumer};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Broker {
    pub address: String,
    started: Option<(Child, PathBuf)>,
}

impl Broker {
    pub fn there_or_started() -> Broker {
        if let Ok(address) = std::env::var("KAFKA_BROKERS") {
            return Broker { address, started: None };
        }
        let home = std::env::var_os("SYNCLINE_KAFKA").map(PathBuf::from).filter(|home| home.join("jars").is_dir());
        let home = home.expect("KAFKA_BROKERS names a broker, or SYNCLINE_KAFKA the Kafka that ./test fetched");
        let folder = std::env::temp_dir().join(format!("syncline-bench-kafka-{}", std::process::id()));
        fs::create_dir_all(folder.join("data")).expect("a folder of the broker");
        let [port, controller] = [(); 2].map(|()| free_port());
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAIN://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners=PLAIN://127.0.0.1:{port}\n\
             listener.security.protocol.map=PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT\ninter.broker.listener.name=PLAIN\n\
             controller.listener.names=CONTROLLER\nlog.dirs={}\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=3\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=3\n\
             share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n",
            folder.join("data").display()
        );
        let properties = folder.join("broker.properties");
        fs::write(&properties, settings).expect("the broker's settings");
        let kafka = |class: &str, arguments: &[&str]| {
            let mut command = Command::new("java");
            command.args(["-Xmx1g", "-cp"]).arg(home.join("jars/*")).arg(class).args(arguments);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let file = properties.to_string_lossy();
        let formatted =
            kafka("kafka.tools.StorageTool", &["format", "-t", "c3luY2xpbmUtYmVuY2hlcw", "-c", &file]).status();
        assert!(formatted.is_ok_and(|status| status.success()), "the broker's folder is formatted");
        let child = kafka("kafka.Kafka", &[&file]).spawn().expect("the broker starts");
        let address = format!("127.0.0.1:{port}");
        let broker = Broker { address, started: Some((child, folder)) };
        broker.awaited();
        broker
    }

    pub fn folder(&self) -> Option<&Path> {
        self.started.as_ref().map(|(_, folder)| folder.as_path())
    }

    fn awaited(&self) {
        let began = Instant::now();
        loop {
            let mut config = ClientConfig::new();
            let client: BaseConsumer = config.set("bootstrap.servers", &self.address).create().expect("a client");
            if client.fetch_metadata(None, Duration::from_secs(2)).is_ok_and(|seen| !seen.brokers().is_empty()) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "the broker answers within {PATIENCE:?}");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some((child, folder)) = &mut self.started {
            let _ = child.kill().and_then(|()| child.wait());
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
