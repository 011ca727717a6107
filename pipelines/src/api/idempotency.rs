//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a POST that is sent again because its answer was lost does its work once.
//!
//! | the same key | |
//! |---|---|
//! | with the same request | the answer that the first one got, with `idempotency-replayed: true` |
//! | with another request | 422, and nothing is done |
//! | while the first one is on its way | 409; send it again when that has an answer |
//!
//! An answer is kept in the store before it is sent, for a day, and of each asker the newest of them at most: whoever asks much pushes out
//! answers of his own, and nobody else's. Only what did something is kept: a request
//! that was refused changed nothing, and may be sent again with the same key. The work goes on when the asker goes away, and its answer is
//! kept for when he comes back. A crash of the process between the work and its answer leaves the work done and the key unknown; where that
//! must not do it twice, the work says so itself.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use syncline_engine::{
    checkpoint::{self, ReadError},
    store::{Changes, StateStore},
};
use syncline_record::{Micros, keys};

use super::{
    ApiState,
    access::Caller,
    body,
    problem::{Problem, blocking},
    status::read_failure,
};

pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest key that an asker may give.
const LONGEST: usize = 255;
/// The longest request whose work is done once: its bytes are compared with those that come again.
const MOST: usize = body::TEXT;
/// The longest answer that is kept: those of work are a few hundred bytes. In JSON it may take twice as many, and a value of the store has 96 KiB.
const ANSWER: usize = 40 << 10;
/// Keys of one asker at once: one a second for hours.
const KEYS: usize = 10_000;
/// Bytes of their answers: ten thousand of work have a few megabytes, and as many plans must not fill a disk.
const BYTES: usize = 32 << 20;
/// How long an asker may take to come back.
const AGE: Micros = 24 * 60 * 60 * 1_000_000;
/// What keys of the store begin with.
const PREFIX: &[u8] = b"a/key/";

/// Whether a route heeds the header. A question changes nothing, so it needs none; a new token is shown once and kept nowhere.
pub fn is_for(method: &str, path: &str) -> bool {
    method == "POST" && path.starts_with("/v1/") && !["/v1/queries", "/v1/tokens"].contains(&path)
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Of the request.
    fingerprint: String,
    time: Micros,
    status: u16,
    /// Of the headers those that say what the body is and where the thing is.
    headers: Vec<(String, String)>,
    body: String,
}

/// What is kept of one asker, the oldest first.
#[derive(Default)]
struct Queue {
    all: VecDeque<Known>,
    /// Of all of them.
    bytes: usize,
}

/// An answer in the store.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    time: Micros,
    key: Vec<u8>,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, known: Known) {
        self.bytes += known.bytes;
        self.all.push_back(known);
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let gone = self.all.pop_front()?;
        self.bytes -= gone.bytes;
        Some(gone.key)
    }

    /// Nobody comes back for the oldest any more.
    fn has_old(&self, now: Micros) -> bool {
        self.all.front().is_some_and(|known| known.time + AGE < now)
    }
}

/// Queues by asker.
type Queues = BTreeMap<Vec<u8>, Queue>;

/// What is known of keys beside the store.
#[derive(Default)]
pub struct Keys {
    /// Those whose request is on its way.
    going: Mutex<HashSet<Vec<u8>>>,
    /// Those in the store; read from it when they are first needed.
    kept: Mutex<Option<Queues>>,
}

impl Keys {
    fn going(&self) -> MutexGuard<'_, HashSet<Vec<u8>>> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an answer; the oldest ones of its asker make room, and of all askers those that are too old.
    fn keep(&self, store: &dyn StateStore, key: Vec<u8>, answer: &Kept) -> Result<(), ReadError> {
        let mut known = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = Some(all(store)?);
        }
        let queues = known.get_or_insert_default();
        let mut changes = Changes::default();
        for queue in queues.values_mut() {
            while queue.has_old(answer.time) {
                queue.pop().into_iter().for_each(|gone| changes.remove(gone));
            }
        }
        queues.retain(|_, queue| !queue.all.is_empty());
        let mine = queues.entry(asker(&key).to_vec()).or_default();
        if let Some(index) = mine.all.iter().position(|known| known.key == key) {
            mine.bytes -= mine.all.remove(index).map_or(0, |known| known.bytes);
        }
        let bytes = answer.body.len();
        while mine.all.len() >= KEYS || mine.bytes + bytes > BYTES {
            let Some(gone) = mine.pop() else { break };
            changes.remove(gone);
        }
        checkpoint::put(&mut changes, key.clone(), answer);
        store.apply(changes)?;
        store.flush()?;
        mine.push(Known { time: answer.time, key, bytes });
        Ok(())
    }
}

/// The key of the store: whose it is, then what he calls it. No name has a NUL in it.
fn key_of(who: &str, key: &str) -> Vec<u8> {
    [PREFIX, who.as_bytes(), b"\0", key.as_bytes()].concat()
}

/// Whose a key of the store is.
fn asker(key: &[u8]) -> &[u8] {
    let rest = key.strip_prefix(PREFIX).unwrap_or_default();
    rest.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// All keys of the store.
fn all(store: &dyn StateStore) -> Result<Queues, ReadError> {
    let mut found = vec![];
    store.scan(PREFIX, &mut |key, value| {
        // One that cannot be read is the oldest.
        let (time, bytes) =
            serde_json::from_slice::<Kept>(value).map_or((0, value.len()), |kept| (kept.time, kept.body.len()));
        found.push(Known { time, key: key.to_vec(), bytes });
        true
    })?;
    found.sort();
    let mut queues = Queues::new();
    found.into_iter().for_each(|known| queues.entry(asker(&known.key).to_vec()).or_default().push(known));
    Ok(queues)
}

/// A key whose request is on its way; free again when this is let go.
struct Going {
    state: Arc<ApiState>,
    key: Vec<u8>,
}

impl Drop for Going {
    fn drop(&mut self) {
        self.state.keys.going().remove(&self.key);
    }
}

/// Does the work of a request once.
pub async fn once(State(state): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    if !is_for(request.method().as_str(), request.uri().path()) {
        return next.run(request).await;
    }
    let key = match given(request.headers()) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    // The work goes on when its asker goes away.
    let work = tokio::spawn(async move { answer(state, key, request, next).await });
    match work.await {
        Ok(answer) => answer.unwrap_or_else(Problem::into_response),
        Err(_) => Problem::stopping().into_response(),
    }
}

async fn answer(state: Arc<ApiState>, key: String, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    body::check_length(&parts.headers, MOST)?;
    let (body, _room) = body::receive(&state, body, MOST, body::PATIENCE).await?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let what = [parts.method.as_str().as_bytes(), b" ", target.as_bytes(), b"\0", &body].concat();
    let fingerprint = keys::hex128(keys::content_hash(&what));
    // Two who chose the same key by chance do not get each other's answers.
    let who = parts.extensions.get::<Caller>().map_or("", |caller| &*caller.name);
    let key = key_of(who, &key);
    if !state.keys.going().insert(key.clone()) {
        return Err(Problem::refused(
            StatusCode::CONFLICT,
            "idempotency-key-going",
            "a request with this key is on its way",
        )
        .help("send it again when the first one has its answer"));
    }
    let going = Going { state: state.clone(), key: key.clone() };
    let now = state.clock.now();
    let known = {
        let (store, key) = (state.store.clone(), key.clone());
        blocking(move || checkpoint::read::<Kept>(&*store, &key)).await?.map_err(unread)?
    };
    if let Some(known) = known.filter(|known| known.time + AGE >= now) {
        return again(known, &fingerprint);
    }
    parts.extensions.insert(body::Arrived(body));
    let response = next.run(Request::from_parts(parts, Body::empty())).await;
    if !response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    // Routes whose work is done once answer with a few bytes that are there already.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if let Ok(text) = std::str::from_utf8(&body)
        && text.len() <= ANSWER
    {
        let kept = kept(fingerprint, now, &parts.status, &parts.headers, text);
        let state = state.clone();
        let written = blocking(move || state.keys.keep(&*state.store, key, &kept)).await?;
        // The work is done, and the asker has to know.
        if let Err(error) = written {
            tracing::warn!("the answer to an Idempotency-Key could not be kept: {error}");
        }
    }
    drop(going);
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn kept(fingerprint: String, time: Micros, status: &StatusCode, headers: &HeaderMap, body: &str) -> Kept {
    let telling = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];
    let headers =
        telling.iter().filter_map(|name| Some((name.to_string(), headers.get(name)?.to_str().ok()?.to_owned())));
    Kept { fingerprint, time, status: status.as_u16(), headers: headers.collect(), body: body.to_owned() }
}

/// The answer that the first request got.
fn again(known: Kept, fingerprint: &str) -> Result<Response, Problem> {
    if known.fingerprint != fingerprint {
        let title = "this key was given to another request";
        return Err(Problem::refused(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", title)
            .help("give each request a key of its own; only one that is sent again has the same"));
    }
    let mut response = Response::new(Body::from(known.body));
    *response.status_mut() = StatusCode::from_u16(known.status).unwrap_or(StatusCode::OK);
    for (name, value) in known.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn unread(error: ReadError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, read_failure(error))
}

/// The key: a text of structured fields (RFC 9651), or the same without its quotes.
fn given(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte);
    if values.next().is_some() || text.is_empty() || text.len() > LONGEST || !text.bytes().all(plain) {
        return Err(Problem::refused(StatusCode::BAD_REQUEST, "idempotency-key", "this cannot be an Idempotency-Key")
            .help(format!("send one, of 1 to {LONGEST} plain characters: Idempotency-Key: \"8e03978e-40d5-43dd-bc93-6894a57f9324\"")));
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use syncline_engine::store::{memory::MemoryStore, sled::MAX_VALUE};

    use super::*;

    fn answer(time: Micros, body: &str) -> Kept {
        kept(String::new(), time, &StatusCode::OK, &HeaderMap::new(), body)
    }

    /// What the store has of an asker: the oldest, and how many there are.
    fn has(store: &MemoryStore, who: &str) -> Option<(String, usize)> {
        let all = all(store).unwrap();
        let queue = all.get(who.as_bytes())?;
        let oldest = &queue.all[0].key[key_of(who, "").len()..];
        Some((String::from_utf8_lossy(oldest).into_owned(), queue.all.len()))
    }

    #[test]
    fn keys_are_bounded_in_number_and_age_over_restarts_too() {
        let store = MemoryStore::new();
        let key = |number: i64| key_of("ada", &number.to_string());
        let keys = Keys::default();
        for number in 0..KEYS as i64 + 3 {
            keys.keep(&store, key(number), &answer(number, "")).unwrap();
        }
        assert_eq!(has(&store, "ada"), Some(("3".to_owned(), KEYS)));
        // The same one again takes no place, and another process knows what is there.
        let keys = Keys::default();
        keys.keep(&store, key(5), &answer(KEYS as i64 + 9, "")).unwrap();
        assert_eq!(has(&store, "ada"), Some(("3".to_owned(), KEYS)));
        // What is too old goes, whoever asks next.
        keys.keep(&store, key_of("bob", "b"), &answer(KEYS as i64 + 10 + AGE, "")).unwrap();
        assert_eq!((has(&store, "ada"), has(&store, "bob")), (None, Some(("b".to_owned(), 1))));
    }

    #[test]
    fn the_longest_answer_has_room_in_a_value_of_the_store() {
        let longest = serde_json::to_vec(&answer(Micros::MAX, &"\"".repeat(ANSWER))).unwrap();
        assert!(longest.len() + 1024 < MAX_VALUE, "{}", longest.len());
    }

    #[test]
    fn whoever_asks_much_pushes_out_answers_of_his_own_and_nobody_else_s() {
        let store = MemoryStore::new();
        let mut keys = Keys::default();
        keys.keep(&store, key_of("ada", "a"), &answer(1, "done")).unwrap();
        // As a name, the one is the beginning of the other.
        keys.keep(&store, key_of("ad", "a"), &answer(1, "done")).unwrap();
        for number in 0..KEYS + 3 {
            keys.keep(&store, key_of("bob", &number.to_string()), &answer(2, "")).unwrap();
        }
        let large = "x".repeat(ANSWER);
        for number in 0..BYTES / ANSWER + 3 {
            if number == 100 {
                keys = Keys::default();
            }
            keys.keep(&store, key_of("eve", &number.to_string()), &answer(3 + number as i64, &large)).unwrap();
        }
        let told = ["ada", "ad", "bob", "eve"].map(|who| has(&store, who).map(|(_, many)| many));
        assert_eq!(told, [Some(1), Some(1), Some(KEYS), Some(BYTES / ANSWER)]);
        assert!(checkpoint::read::<Kept>(&store, &key_of("eve", "2")).unwrap().is_none());
    }
}
