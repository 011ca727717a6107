//! Who may not ask, whoever he is: pages of other sites that are open in a browser on this machine.

use axum::{
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{access::Caller, problem::Problem};

/// A page of another site that is open in a browser on this machine can reach a loopback address. It cannot hide its origin, and
/// a name that it made point here is not a loopback name.
pub fn same_site(headers: &HeaderMap) -> Result<(), Problem> {
    let foreign = text(headers, header::ORIGIN).filter(|origin| !is_loopback(origin.split("://").last().unwrap_or("")));
    match foreign {
        None => Ok(()),
        Some(origin) => {
            let title = format!("requests on behalf of {origin} are refused");
            Err(Problem::refused(StatusCode::FORBIDDEN, "foreign-origin", title))
        }
    }
}

/// A path that verifies its senders asks for more than their origin, so `ingest` asks for that of the others itself.
pub async fn from_here(request: Request, next: Next) -> Response {
    // A browser does not send a token of its own accord.
    if request.extensions().get::<Caller>().is_some_and(|caller| caller.by_token) {
        return next.run(request).await;
    }
    let headers = request.headers();
    let path = request.uri().path();
    if !path.starts_with("/in/")
        && let Err(problem) = same_site(headers)
    {
        return problem.into_response();
    }
    // Records may come through a tunnel under another name; answers may not go out that way.
    let looks = request.method() != Method::OPTIONS && path.starts_with("/v1/");
    if let Some(host) = text(headers, header::HOST).filter(|host| looks && !is_loopback(host)) {
        let title = format!("{host} is not a name of this machine's loopback address");
        return Problem::refused(StatusCode::FORBIDDEN, "foreign-host", title)
            .help("use http://127.0.0.1 or http://localhost")
            .into_response();
    }
    next.run(request).await
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
