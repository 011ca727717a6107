//! The doors themselves: sockets, addresses, and the commands' client.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use hyper::Method;
use tokio::sync::oneshot;

use super::{House, house, is_there};
use crate::{
    api::{ApiState, Doors, Server},
    control::{self, Process},
    outcome::Exit,
    tokens::{self, Grant, Role},
};

async fn served<T: Send + 'static>(
    state: Arc<ApiState>,
    folder: &Path,
    doors: Doors,
    ask: impl FnOnce(Option<SocketAddr>) -> T + Send + 'static,
) -> T {
    let server = Server::bind(doors, &folder.join(control::SOCKET)).await.unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(server.run(state, async {
        let _ = stopped.await;
    }));
    let answer = tokio::task::spawn_blocking(move || ask(address)).await.unwrap();
    stop.send(()).unwrap();
    running.await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_a_running_process_through_the_folder() {
    let House { state, folder, world: _world } = house();
    let path = folder.path().to_owned();
    let nobody = path.clone();
    let unanswered = tokio::task::spawn_blocking(move || {
        let nothing = control::call(&Process::of(&nobody), Method::GET, "/healthz", vec![]);
        // What a dead process leaves behind is there and does not answer.
        drop(std::os::unix::net::UnixListener::bind(nobody.join(control::SOCKET)).unwrap());
        [nothing, control::call(&Process::of(&nobody), Method::GET, "/healthz", vec![])]
    });
    assert_eq!(unanswered.await.unwrap(), [Ok(None), Ok(None)]);
    let asked = path.clone();
    let answers = served(state, &path, Doors::default(), move |_| {
        let mode = std::fs::metadata(asked.join(control::SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let well = control::call(&Process::of(&asked), Method::GET, "/healthz", vec![]).unwrap().unwrap();
        let refused = control::call(&Process::of(&asked), Method::POST, "/in/nothing", b"{}".to_vec()).unwrap_err();
        (well.body, refused)
    })
    .await;
    assert_eq!(answers.0, "{\"status\":\"alive\"}");
    assert_eq!((answers.1.exit, answers.1.title.as_str()), (Exit::Failed, "no running pipeline reads /in/nothing"));
    assert!(!is_there(&path.join(control::SOCKET)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_a_path_longer_than_a_socket_s_name_works_too() {
    let House { state, folder, world: _world } = house();
    let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let asked = deep.clone();
    let answer = served(state, &deep, Doors::default(), move |_| {
        control::call(&Process::of(&asked), Method::GET, "/healthz", vec![])
    });
    assert_eq!(answer.await.unwrap().unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_takes_records_and_a_stop_ends_idle_connections() {
    let House { state, folder, world: _world } = house();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let answer = served(state, folder.path(), Doors { listen: Some(any), ..Doors::default() }, |address| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address.unwrap()).unwrap();
        stream.write_all(b"POST /in/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        (String::from_utf8_lossy(&answer).into_owned(), stream)
    });
    assert_eq!(answer.await.0, "HTTP/1.1 202");
}

fn listen(address: &str) -> Doors {
    Doors { listen: Some(address.parse().unwrap()), ..Doors::default() }
}

#[tokio::test]
async fn addresses_that_cannot_be_used_say_what_to_do() {
    let folder = tempfile::TempDir::new().unwrap();
    let socket = folder.path().join(control::SOCKET);
    let refused = Server::bind(listen("0.0.0.0:7800"), &socket).await.err().unwrap();
    assert_eq!((refused.exit, &*refused.slug), (Exit::Usage, "not-loopback"));
    assert!(refused.detail[0].contains("no token"), "{refused:?}");
    let grant = Grant { role: Role::Viewer, expires: None, pipelines: None };
    tokens::create(folder.path(), "ada", grant, 0).unwrap();
    let refused = Server::bind(listen("0.0.0.0:0"), &socket).await.err().unwrap();
    assert!(&*refused.slug == "not-loopback" && refused.detail[0].contains("TLS"), "{refused:?}");
    let plain = Doors { listen_plain: true, ..listen("0.0.0.0:0") };
    assert!(Server::bind(plain, &socket).await.is_ok());
    std::fs::remove_file(&socket).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = Server::bind(listen(&taken.local_addr().unwrap().to_string()), &socket).await.err().unwrap();
    assert_eq!((refused.exit, &*refused.slug), (Exit::Environment, "address-in-use"));
    assert!(refused.title.contains(&taken.local_addr().unwrap().to_string()));
    std::fs::write(&socket, "precious").unwrap();
    let refused = Server::bind(Doors::default(), &socket).await.err().unwrap();
    assert_eq!((refused.exit, &*refused.slug), (Exit::Environment, "control-socket"));
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}
