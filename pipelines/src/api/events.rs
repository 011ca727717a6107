//! `/v1/events`: what happens to pipelines, as it happens: starts, failures, pauses and ends, the table `run_events`.
//!
//! | how | |
//! |---|---|
//! | `GET /v1/events` | a page of them, the oldest first |
//! | the same with `Accept: text/event-stream` | server-sent events: those that are kept, and then each as it comes |
//! | `GET /v1/events/ws` | the same as messages of a WebSocket |
//!
//! Each event comes with a cursor, which names the last event of every pipeline: whoever lost his connection goes on behind it
//! (`Last-Event-ID`, `?cursor=`), without a gap and with none twice, whatever comes and whichever process answers. An event is read from
//! the store when there is room for it on its way: who reads too slowly is cut off, and nothing is kept for him. A stream ends with the token
//! that opened it.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{
        State,
        ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use serde::Serialize;
use syncline_engine::events::{self, Event};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    facts::instant_text,
    page::{Page, Params, Part, no_such_cursor, opaque, place},
    problem::{self, At, Problem, blocking},
    status::read_failure,
};

/// Listeners at once: each holds a connection for as long as it likes, and there are 512 for everybody.
const LISTENERS: usize = 64;
/// Events that are read at once, and that wait for a listener at most.
const AHEAD: usize = 64;
/// Who takes nothing for so long is cut off; behind a cursor he misses nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a listener looks whether the process stops.
const LOOK: Duration = Duration::from_millis(250);
/// How often it looks for events that nobody in this process has told of.
const LOOK_ANYWAY: u32 = 20;

/// Where to go on: the last event of each pipeline.
type Place = BTreeMap<String, u64>;

/// Who waits for events, and what wakes them.
pub struct Listeners {
    happened: watch::Sender<()>,
    places: Arc<Semaphore>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self { happened: watch::Sender::default(), places: Arc::new(Semaphore::new(LISTENERS)) }
    }
}

impl Listeners {
    /// Something was noted.
    pub fn tell(&self) {
        self.happened.send_replace(());
    }
}

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(ws))
}

/// Something that happened to a pipeline.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub struct Shown {
    pub pipeline: String,
    /// Of its events, from 1. The newest thousand are kept.
    pub number: u64,
    #[schema(format = DateTime)]
    pub time: String,
    /// `started`, `failed`, `given_up`, `rested`, `stood_by`, `stopped`, `ended`
    pub event: String,
    pub run: Option<u64>,
    pub attempt: Option<u64>,
    pub reason: Option<String>,
    /// Goes on behind this event.
    pub cursor: String,
}

/// What happened
///
/// A page, the oldest first; its `next` is there also when nothing has come yet. With `Accept: text/event-stream` each event as it comes, and
/// `Last-Event-ID` goes on behind one.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "listEvents",
    tag = "events",
    security(("token" = ["viewer"])),
    params(Part, ("last-event-id" = Option<String>, Header, description = "`cursor` of the last event that came")),
    responses(
        (status = 200, description = "They", content((Page<Shown> = "application/json"), (String = "text/event-stream"))),
        At<400>, At<503>,
    ),
)]
pub async fn get(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Params(part): Params<Part>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("-").to_owned());
    let mut from = begin(last.or(part.cursor.clone()))?;
    let limit = part.limit()?;
    let accepts = headers.get(header::ACCEPT).map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
    if !accepts.is_some_and(|kinds| kinds.contains("text/event-stream")) {
        let items = more(&state, &caller, &mut from, limit).await?;
        return Ok(problem::json(StatusCode::OK, &Page { items, next: Some(opaque(&from)) }));
    }
    let events = follow(&state, caller, from)?;
    let stream = futures::stream::unfold(events, |mut events| async {
        let event = events.recv().await?;
        let data = serde_json::to_string(&event).unwrap_or_default();
        let sent = sse::Event::default().id(event.cursor).event(event.event).data(data);
        Some((Ok::<_, Infallible>(sent), events))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// What happens, as messages
///
/// A WebSocket: each event is a text message in JSON. `?cursor=` goes on behind one.
#[utoipa::path(
    get,
    path = "/v1/events/ws",
    operation_id = "followEvents",
    tag = "events",
    security(("token" = ["viewer"])),
    params(("cursor" = Option<String>, Query, description = "`cursor` of the last event that came")),
    responses((status = 101, description = "From here on it is a WebSocket"), At<400>, At<426>, At<503>),
)]
pub async fn ws(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Params(part): Params<Part>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let from = begin(part.cursor)?;
    let upgrade = upgrade.map_err(|rejection| {
        Problem::refused(StatusCode::UPGRADE_REQUIRED, "no-websocket", "this is for a WebSocket")
            .header(header::UPGRADE, HeaderValue::from_static("websocket"))
            .header(header::CONNECTION, HeaderValue::from_static("upgrade"))
            .seen(rejection.body_text())
            .help("without one: GET /v1/events, with `Accept: text/event-stream` for each event as it comes")
    })?;
    let events = follow(&state, caller, from)?;
    // Nothing is read from a listener but that it closes.
    let upgrade = upgrade.max_message_size(1 << 10).write_buffer_size(0).max_write_buffer_size(1 << 20);
    Ok(upgrade.on_upgrade(move |socket| speak(events, socket)))
}

async fn speak(mut events: mpsc::Receiver<Shown>, mut socket: WebSocket) {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            // What he sends is dropped; that he closes is heard.
            said = socket.recv() => match said {
                Some(Ok(_)) => continue,
                _ => return,
            },
        };
        let Some(event) = event else { break };
        let text = Utf8Bytes::from(serde_json::to_string(&event).unwrap_or_default());
        match tokio::time::timeout(PATIENCE, socket.send(Message::Text(text))).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
    let _ = tokio::time::timeout(LOOK, socket.send(Message::Close(None))).await;
}

fn listener(state: &ApiState) -> Result<OwnedSemaphorePermit, Problem> {
    state.listeners.places.clone().try_acquire_owned().map_err(|_| {
        Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many listen to events already")
            .retry_after(PATIENCE.as_secs() as u32)
            .help("ask for pages of them: GET /v1/events?cursor=…")
    })
}

fn begin(cursor: Option<String>) -> Result<Place, Problem> {
    cursor.map_or(Ok(Place::new()), |cursor| place(&cursor).ok_or_else(no_such_cursor))
}

/// Each event from a place on, as it comes, until nobody takes it or the process stops.
fn follow(state: &Arc<ApiState>, caller: Caller, from: Place) -> Result<mpsc::Receiver<Shown>, Problem> {
    let place = listener(state)?;
    let state = state.clone();
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = give(state, caller, from, &sender) => {}
            () = sender.closed() => {}
        }
    });
    Ok(receiver)
}

async fn give(state: Arc<ApiState>, caller: Caller, mut from: Place, to: &mpsc::Sender<Shown>) {
    let mut happened = state.listeners.happened.subscribe();
    loop {
        happened.borrow_and_update();
        loop {
            if !caller.still(&state) {
                return;
            }
            let Ok(events) = more(&state, &caller, &mut from, AHEAD).await else { return };
            if events.is_empty() {
                break;
            }
            for event in events {
                if !matches!(tokio::time::timeout(PATIENCE, to.send(event)).await, Ok(Ok(()))) {
                    return;
                }
            }
        }
        for _ in 0..LOOK_ANYWAY {
            if state.ingest.is_stopping() || !caller.still(&state) {
                return;
            }
            if tokio::time::timeout(LOOK, happened.changed()).await.is_ok() {
                break;
            }
        }
    }
}

/// The next events, and `from` behind them.
async fn more(state: &Arc<ApiState>, caller: &Caller, from: &mut Place, most: usize) -> Result<Vec<Shown>, Problem> {
    let (state, caller, place) = (state.clone(), caller.clone(), from.clone());
    let read = blocking(move || {
        let (mut queues, mut behind) = (vec![], Place::new());
        for pipeline in events::pipelines(&*state.store)?.into_iter().filter(|name| caller.may_touch(name)) {
            let after = place.get(&pipeline).copied().unwrap_or_default();
            queues.push(VecDeque::from(events::events_after(&*state.store, &pipeline, after)?));
            if after > 0 {
                behind.insert(pipeline, after);
            }
        }
        Ok((merged(queues, most), behind))
    });
    let read = read.await?.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, read_failure(error)));
    // What a cursor says of pipelines that are none is not said again with every event.
    let (events, behind) = read?;
    *from = behind;
    let shown = events.into_iter().map(|event| {
        from.insert(event.pipeline.clone(), event.number);
        Shown::of(event, opaque(from))
    });
    Ok(shown.collect())
}

/// The oldest first, each pipeline's in their order also where its clock was set back.
fn merged(mut queues: Vec<VecDeque<Event>>, most: usize) -> Vec<Event> {
    let mut events = vec![];
    while events.len() < most {
        let oldest = queues.iter_mut().filter(|queue| !queue.is_empty()).min_by_key(|queue| queue[0].time);
        let Some(event) = oldest.and_then(VecDeque::pop_front) else { break };
        events.push(event);
    }
    events
}

impl Shown {
    fn of(event: Event, cursor: String) -> Self {
        let Event { pipeline, number, time, kind, run, attempt, reason } = event;
        let (time, event) = (instant_text(time), kind.as_str().to_owned());
        Self { pipeline, number, time, event, run, attempt, reason, cursor }
    }
}
