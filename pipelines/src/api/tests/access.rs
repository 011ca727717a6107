//! Who gets in, through which door, and to what.

use axum::{
    body::Body,
    http::{Request, Response},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{House, answer, house};
use crate::{
    api::{
        access::{Entrance, FILTERED},
        router,
    },
    tokens::{self, Grant, Role},
};

fn token(house: &House, name: &str, role: Role, pipelines: Option<&[&str]>) -> String {
    let pipelines = pipelines.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let grant = Grant { role, expires: None, pipelines };
    tokens::create(house.folder.path(), name, grant, house.state.clock.now()).unwrap().1
}

async fn send(house: &House, entrance: Entrance, request: Request<Body>) -> Response<Body> {
    router(house.state.clone(), entrance).oneshot(request).await.unwrap()
}

fn request(method: &str, path: &str, token: Option<&str>) -> Request<Body> {
    // Another name than this machine's is for whoever has a token.
    let request = Request::builder().method(method).uri(path);
    let request = match token {
        Some(token) => request.header("host", "sync.example").header("authorization", format!("Bearer {token}")),
        None => request.header("host", "localhost"),
    };
    request.body(Body::from("{}")).unwrap()
}

async fn status(house: &House, entrance: Entrance, method: &str, path: &str, token: Option<&str>) -> u16 {
    send(house, entrance, request(method, path, token)).await.status().as_u16()
}

#[tokio::test]
async fn without_a_token_only_this_machine_gets_in_and_with_one_nobody_who_has_none() {
    let house = house();
    let doors = [Entrance::Socket, Entrance::Loopback, Entrance::Network];
    let looks = async |house: &House, token: Option<&str>| {
        let mut found = vec![];
        for door in doors {
            // Nobody shows a token on the socket.
            let token = token.filter(|_| door != Entrance::Socket);
            found.push(status(house, door, "GET", "/v1/status", token).await);
        }
        found
    };
    assert_eq!(looks(&house, None).await, [200, 200, 401]);
    // One that is no token is never taken for none.
    assert_eq!(looks(&house, Some("sl_00000000_00")).await, [200, 401, 401]);
    let viewer = token(&house, "ada", Role::Viewer, None);
    assert_eq!(looks(&house, None).await, [200, 401, 401]);
    assert_eq!(looks(&house, Some(&viewer)).await, [200, 200, 200]);
    for open in ["/healthz", "/openapi.json"] {
        assert_eq!(status(&house, Entrance::Network, "GET", open, None).await, 200, "{open}");
    }
    assert_eq!(status(&house, Entrance::Loopback, "GET", "/metrics", None).await, 401);
    let response = send(&house, Entrance::Loopback, request("GET", "/v1/status", Some("sl_x_y"))).await;
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert_eq!(challenge, "Bearer realm=\"syncline\", error=\"invalid_token\"");
    let (_, problem) = answer(response).await;
    assert!(!problem.to_string().contains("sl_x_y"), "{problem}");
    tokens::revoke(house.folder.path(), "ada").unwrap();
    // To other machines it does not open again.
    assert_eq!(looks(&house, None).await, [200, 200, 401]);
    assert_eq!(looks(&house, Some(&viewer)).await, [200, 401, 401]);
}

#[tokio::test]
async fn a_role_opens_its_routes_and_no_others() {
    let house = house();
    let tokens = [Role::Viewer, Role::Operator, Role::Admin].map(|role| token(&house, role.as_str(), role, None));
    for (method, path, expected) in [
        ("GET", "/v1/pipelines", [200, 200, 200]),
        ("HEAD", "/v1/pipelines", [200, 200, 200]),
        ("GET", "/metrics", [404, 404, 404]),
        ("POST", "/v1/queries", [400, 400, 400]),
        ("POST", "/v1/schedules/none/pause", [403, 404, 404]),
        ("POST", "/v1/schedules/none/run", [403, 404, 404]),
        ("POST", "/in/orders", [403, 202, 202]),
        ("GET", "/v1/tokens", [403, 403, 200]),
        ("DELETE", "/v1/tokens/none", [403, 403, 404]),
        ("PATCH", "/v1/tokens", [405, 405, 405]),
        ("GET", "/v1/none", [404, 404, 404]),
    ] {
        for (token, expected) in tokens.iter().zip(expected) {
            assert_eq!(status(&house, Entrance::Network, method, path, Some(token)).await, expected, "{method} {path}");
        }
    }
    let response = send(&house, Entrance::Network, request("GET", "/v1/tokens", Some(&tokens[1]))).await;
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("insufficient_scope") && challenge.contains("scope=\"admin\""), "{challenge}");
    assert_eq!(answer(response).await.1["role"], json!("admin"));
}

/// Every route, and the least role that it opens for; `-`: for everybody, as far as this table goes. Written by hand, so that a route which
/// says nothing of it, or another thing than it should, is seen.
const TABLE: &str = "
    GET /healthz -
    GET /readyz -
    GET /openapi.json -
    POST /in/{*path} -
    GET /metrics viewer
    GET /v1/backfills viewer
    GET /v1/checkpoints viewer
    GET /v1/connections viewer
    POST /v1/connections/{connection}/discover operator
    POST /v1/connections/{connection}/test operator
    GET /v1/dead-letters viewer
    POST /v1/dead-letters/discard operator
    POST /v1/dead-letters/retry operator
    GET /v1/dead-letters/{id} viewer
    GET /v1/dead-letters/{id}/bytes viewer
    POST /v1/dead-letters/{id}/discard operator
    POST /v1/dead-letters/{id}/retry operator
    GET /v1/events viewer
    GET /v1/events/ws viewer
    GET /v1/pipelines viewer
    GET /v1/pipelines/{pipeline} viewer
    PUT /v1/pipelines/{pipeline} admin
    DELETE /v1/pipelines/{pipeline} admin
    POST /v1/pipelines/{pipeline}/backfill operator
    POST /v1/pipelines/{pipeline}/backfill/cancel operator
    POST /v1/pipelines/{pipeline}/backfill/pause operator
    POST /v1/pipelines/{pipeline}/backfill/resume operator
    GET /v1/pipelines/{pipeline}/graph viewer
    GET /v1/pipelines/{pipeline}/metrics viewer
    POST /v1/pipelines/{pipeline}/pause operator
    POST /v1/pipelines/{pipeline}/restart operator
    POST /v1/pipelines/{pipeline}/resume operator
    GET /v1/pipelines/{pipeline}/revisions viewer
    POST /v1/pipelines/{pipeline}/rollback admin
    GET /v1/pipelines/{pipeline}/runs viewer
    GET /v1/pipelines/{pipeline}/runs/{run} viewer
    POST /v1/pipelines/{pipeline}/stop operator
    GET /v1/pipelines/{pipeline}/text viewer
    POST /v1/plans viewer
    POST /v1/plans/{plan}/apply admin
    POST /v1/queries viewer
    DELETE /v1/queries/{id} viewer
    GET /v1/runs viewer
    GET /v1/schedules viewer
    GET /v1/schedules/{pipeline} viewer
    POST /v1/schedules/{pipeline}/pause operator
    POST /v1/schedules/{pipeline}/resume operator
    POST /v1/schedules/{pipeline}/run operator
    GET /v1/status viewer
    GET /v1/tokens admin
    POST /v1/tokens admin
    DELETE /v1/tokens/{name} admin";

#[tokio::test]
async fn every_route_of_the_document_opens_for_the_roles_of_the_table_and_no_others() {
    let house = house();
    let roles = [Role::Viewer, Role::Operator, Role::Admin];
    let tokens = roles.map(|role| token(&house, role.as_str(), role, None));
    let one = token(&house, "one", Role::Admin, Some(&["orders"]));
    let document = serde_json::to_value(crate::api::routes().into_openapi()).unwrap();
    let mut found = vec![];
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods =
            item.as_object().unwrap().keys().filter(|name| !["parameters", "summary"].contains(&name.as_str()));
        found.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let table: Vec<(&str, &str)> = TABLE.lines().skip(1).filter_map(|line| line.trim().rsplit_once(' ')).collect();
    let mut told: Vec<&str> = table.iter().map(|(route, _)| *route).collect();
    found.sort();
    told.sort_unstable();
    assert_eq!(found, told, "the routes, and those of the table");
    for (route, role) in table {
        let (method, path) = route.split_once(' ').unwrap();
        let of_others = path.replace("{*path}", "none").replace("{pipeline}", "none").replace("{run}", "1");
        let path = of_others.replace(['{', '}'], "");
        let least = roles.iter().position(|known| known.as_str() == role);
        let nobody = status(&house, Entrance::Network, method, &path, None).await;
        assert_eq!(nobody == 401, least.is_some(), "{route} without a token: {nobody}");
        for (rank, token) in tokens.iter().enumerate() {
            let got = status(&house, Entrance::Network, method, &path, Some(token)).await;
            assert_eq!(got == 403, least.is_some_and(|least| rank < least), "{route} as {:?}: {got}", roles[rank]);
            assert_ne!(got, 401, "{route}");
        }
        // A token for some pipelines opens what is of none of them, or shows nothing of others, and nothing else.
        let got = status(&house, Entrance::Network, method, &path, Some(&one)).await;
        let open = least.is_none() || FILTERED.contains(&path_of(route));
        assert_eq!(got == 403, !open, "{route} with a token for another pipeline: {got}");
    }
}

fn path_of(route: &str) -> &str {
    route.split_once(' ').map_or(route, |(_, path)| path)
}

#[tokio::test]
async fn a_token_for_some_pipelines_shows_nothing_of_others() {
    let house = house();
    house.state.live().starting("orders", 0);
    house.state.live().starting("secret", 0);
    house.state.ingest.open(syncline_connectors::http::HttpPath::open("secret"), "secret");
    let one = token(&house, "shop", Role::Admin, Some(&["orders"]));
    let get = async |path: &str| answer(send(&house, Entrance::Network, request("GET", path, Some(&one))).await).await;
    let (_, page) = get("/v1/pipelines").await;
    let names: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|item| &item["pipeline"]).collect();
    assert_eq!(names, [&json!("orders")]);
    assert_eq!((get("/v1/pipelines/orders").await.0, get("/v1/pipelines/orders/runs").await.0), (200, 200));
    for closed in [
        "/v1/pipelines/secret",
        "/v1/pipelines/secre%74",
        "/v1/pipelines/secret/runs",
        "/v1/schedules/secret",
        "/v1/status",
        "/v1/checkpoints",
        "/v1/tokens",
        "/metrics",
    ] {
        let (status, problem) = get(closed).await;
        assert_eq!((status, &problem["type"]), (403, &json!("urn:syncline:token-not-for-this")), "{closed}");
    }
    for (method, path, expected) in
        [("POST", "/v1/queries", 403), ("POST", "/in/orders", 202), ("POST", "/in/secret", 403)]
    {
        assert_eq!(status(&house, Entrance::Network, method, path, Some(&one)).await, expected, "{path}");
    }
}

#[tokio::test]
async fn a_token_is_made_over_the_api_shown_once_and_revoked() {
    let house = house();
    let ask = async |method: &str, path: &str, body: Value| {
        let request = Request::builder().method(method).uri(path).header("idempotency-key", "k");
        answer(send(&house, Entrance::Socket, request.body(Body::from(body.to_string())).unwrap()).await).await
    };
    let (status, made) =
        ask("POST", "/v1/tokens", json!({"name": "ada", "role": "operator", "expires": "1d", "pipelines": ["orders"]}))
            .await;
    assert_eq!((status, &made["role"], &made["pipelines"]), (201, &json!("operator"), &json!(["orders"])));
    let text = made["token"].as_str().unwrap().to_owned();
    let (_, listed) = ask("GET", "/v1/tokens", json!(null)).await;
    assert_eq!((&listed["items"][0]["id"], listed["items"][0].get("token")), (&made["id"], None));
    let mut kept = false;
    house
        .state
        .store
        .scan(b"", &mut |_, value| {
            kept |= String::from_utf8_lossy(value).contains(&text);
            true
        })
        .unwrap();
    assert!(!kept, "the token is in the store");
    for (body, expected) in [
        (json!({"name": "ada", "role": "viewer"}), 409),
        (json!({"name": "a b", "role": "viewer"}), 400),
        (json!({"name": "b", "role": "king"}), 400),
        (json!({"name": "b", "role": "viewer", "expires": "never"}), 400),
        (json!("x".repeat(100_000)), 413),
    ] {
        assert_eq!(ask("POST", "/v1/tokens", body).await.0, expected);
    }
    assert_eq!(ask("DELETE", "/v1/tokens/ada", json!(null)).await.0, 204);
    assert_eq!(ask("DELETE", "/v1/tokens/ada", json!(null)).await.0, 404);
}

#[tokio::test]
async fn what_was_asked_stands_in_tables_with_who_and_what_became_of_it() {
    let house = house();
    let operator = token(&house, "ada", Role::Operator, None);
    for (method, path, token) in [
        ("GET", "/v1/runs?limit=1", Some(operator.as_str())),
        ("POST", "/v1/schedules/none/pause", Some(&operator)),
        ("DELETE", "/v1/tokens/x", Some(&operator)),
        ("DELETE", "/v1/tokens/x", None),
        ("GET", "/nowhere", Some(&operator)),
        ("GET", "/healthz", None),
        ("POST", "/in/orders", Some(&operator)),
    ] {
        status(&house, Entrance::Network, method, path, token).await;
    }
    house.state.journal.write(&*house.state.store).unwrap();
    house.state.journal.write(&*house.state.store).unwrap();
    let rows = async |sql: &str| {
        let request = Request::post("/v1/queries").body(Body::from(json!({ "sql": sql }).to_string())).unwrap();
        answer(send(&house, Entrance::Socket, request).await).await.1["rows"].clone()
    };
    assert_eq!(
        rows("SELECT method, route, status, who FROM requests").await,
        json!([
            ["GET", "/v1/runs", 200, "ada"],
            ["POST", "/v1/schedules/{pipeline}/pause", 404, "ada"],
            ["DELETE", "/v1/tokens/{name}", 403, "ada"],
            ["DELETE", "/v1/tokens/{name}", 401, "nobody"],
            ["GET", null, 404, "ada"],
        ])
    );
    assert_eq!(
        rows("SELECT who, action, target, outcome, status FROM audit_log").await,
        json!([
            ["ada", "POST /v1/schedules/{pipeline}/pause", "/v1/schedules/none/pause", "no-such-schedule", 404],
            ["ada", "DELETE /v1/tokens/{name}", "/v1/tokens/x", "role-too-low", 403],
            ["nobody", "DELETE /v1/tokens/{name}", "/v1/tokens/x", "no-token", 401],
        ])
    );
    assert_eq!(rows("SELECT count(*) FROM requests r JOIN audit_log a ON r.id = a.id").await, json!([[3]]));
}

/// A process that is open to other machines is asked by anybody; what he asks must not push out what those did who may.
#[tokio::test]
async fn nobody_fills_the_audit_log_and_a_long_path_takes_little_of_it() {
    let house = house();
    let ada = token(&house, "ada", Role::Operator, None);
    let long = format!("/v1/schedules/{}/pause", "x".repeat(20_000));
    for _ in 0..20 {
        assert_eq!(status(&house, Entrance::Network, "POST", &long, None).await, 401);
    }
    assert_eq!(status(&house, Entrance::Network, "POST", &long, Some(&ada)).await, 404);
    house.state.journal.write(&*house.state.store).unwrap();
    let calls = syncline_engine::requests::read_calls(&*house.state.store).unwrap();
    let who: Vec<&str> = calls.iter().map(|call| call.who.as_str()).collect();
    assert_eq!(who, ["nobody", "ada"]);
    assert!(calls.iter().all(|call| call.target.len() < 1000 && call.target.starts_with("/v1/schedules/xxx")));
    // They were asked all the same.
    assert_eq!(syncline_engine::requests::read_requests(&*house.state.store).unwrap().len(), 21);
}
