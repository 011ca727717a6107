//! `/openapi.json` as those use it who write no client themselves: openapi-python-client, a program of other people's, makes one out of it,
//! and a program that has nothing else runs the quick start.

use std::{fs, path::PathBuf, time::Duration};

use crate::{
    desk::{Desk, Running, house},
    web::Client,
};

const WITHIN: Duration = Duration::from_secs(180);

/// Of bodies that are bytes the generator knows one type by itself; nothing is formatted, since nobody reads it.
const CONFIG: &str = "
post_hooks: []
content_type_overrides:
  application/sql: application/octet-stream
";

#[test]
fn a_client_that_is_made_of_openapi_json_runs_the_quick_start() {
    let python = std::env::var_os("SYNCLINE_CLIENTS").map(PathBuf::from).filter(|python| python.is_file());
    let python =
        python.expect("SYNCLINE_CLIENTS names a Python with openapi-python-client: ./test installs it, run that");
    let desk = Desk::new();
    fs::create_dir(desk.path("pipelines")).expect("a folder");
    desk.write(
        "pipelines/bus.sync",
        "CONNECTION bus TO kafka WITH (brokers = '127.0.0.1:9', password = secret('bus/pw'));\n",
    );
    let mut running = desk.start(&["serve", "pipelines", "--listen", "127.0.0.1:0"]);
    let address = running.address();
    running.until("it is ready", |_| Client::to(address).get("/readyz").status == 200);
    let token =
        desk.ok(&["token", "create", "program", "--role", "admin", "--data", "pipelines/.syncline"]).trim().to_owned();
    let said = Client::to(address).get("/openapi.json");
    assert_eq!(said.status, 200);
    desk.write("openapi.json", &said.body);
    desk.write("config.yml", CONFIG);
    let make = ["-m", "openapi_python_client", "generate", "--path", "openapi.json", "--output-path", "made"];
    let mut command = desk.other(&python, &make);
    command.args(["--meta", "none", "--config", "config.yml", "--fail-on-warning"]);
    Running::start(command, "openapi-python-client".to_owned()).end(WITHIN).expect(0);
    let program = house().join("tests/client.py");
    let mut command = desk.other(&python, &[]);
    command.arg(program).arg(format!("http://{address}")).env("TOKEN", &token).env("PYTHONPATH", ".");
    let said = Running::start(command, "client.py".to_owned()).end(WITHIN);
    assert_eq!(said.code, Some(0), "{}\n{}\n{}", said.out(), said.err, running.err());
    assert!(!desk.path("pipelines/orders.sync").exists(), "the file of a deleted pipeline is still there");
    running.stop().expect(0);
}
