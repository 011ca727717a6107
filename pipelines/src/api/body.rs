//! A request's body on its way in: how long it may be, how long it may take, and whose memory it is meanwhile.
//!
//! All bodies together have a bounded memory. A body takes its share as it arrives and not as it announces itself: an
//! announcement is free, and whoever announces much and sends nothing must not keep others out.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use syncline_record::amount;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::{ApiState, problem::Problem};

/// How long a body may take.
pub struct Patience {
    /// Until it is whole.
    pub whole: Duration,
    /// Until the next piece of it.
    pub piece: Duration,
}

/// A body that takes longer holds memory that others need, and one of which nothing arrives for so long will hardly be whole in
/// time.
pub const PATIENCE: Patience = Patience { whole: Duration::from_secs(60), piece: Duration::from_secs(15) };
/// Memory is taken in steps of this many KiB, so that a body of many pieces does not ask for each.
const STEP_KIB: usize = 64;
/// Other bodies are over in about a second.
const LATER: u32 = 1;

/// The longest body in JSON that says what to do.
const JSON: usize = 64 << 10;

/// A body that announces itself as too long need not arrive.
pub fn check_length(headers: &HeaderMap, most: usize) -> Result<(), Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) { Err(too_large(most)) } else { Ok(()) }
}

/// The body, and the memory that it holds.
pub async fn receive(
    state: &ApiState,
    body: Body,
    most: usize,
    patience: Patience,
) -> Result<(Bytes, Option<Room>), Problem> {
    let arrived = tokio::time::timeout(patience.whole, gather(state, body, most, patience.piece)).await;
    arrived.unwrap_or_else(|_| Err(slow(patience.whole)))
}

/// Bytes as they are, in the document.
#[derive(ToSchema)]
#[schema(as = Bytes, value_type = String, format = Binary)]
pub struct Raw(pub Vec<u8>);

/// A share of the memory for bodies.
pub struct Room {
    permit: OwnedSemaphorePermit,
}

impl Room {
    /// Sees to it that the share is at least so many bytes.
    async fn grow(room: &mut Option<Room>, state: &ApiState, bytes: usize) -> Result<(), Problem> {
        let held = room.as_ref().map_or(0, |room| room.permit.num_permits());
        let wanted = (bytes >> 10) + 1;
        if wanted <= held {
            return Ok(());
        }
        // The first step is as long as the first piece: most bodies are one, and a small one.
        let more = if held == 0 { wanted } else { (wanted - held).next_multiple_of(STEP_KIB) };
        let permit = state.room_for(more).await.ok_or_else(busy)?;
        match room {
            Some(room) => room.permit.merge(permit),
            None => *room = Some(Room { permit }),
        }
        Ok(())
    }
}

async fn gather(
    state: &ApiState,
    mut body: Body,
    most: usize,
    pause: Duration,
) -> Result<(Bytes, Option<Room>), Problem> {
    let (mut first, mut whole, mut room) = (Bytes::new(), Vec::new(), None);
    loop {
        let frame = tokio::time::timeout(pause, body.frame()).await.map_err(|_| slow(pause))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            Problem::refused(StatusCode::BAD_REQUEST, "broken-body", "the body broke off").seen(error.to_string())
        })?;
        let Ok(piece) = frame.into_data() else { continue };
        let length = first.len().max(whole.len()) + piece.len();
        if length > most {
            return Err(too_large(most));
        }
        Room::grow(&mut room, state, length).await?;
        if first.is_empty() && whole.is_empty() {
            first = piece;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&piece);
        }
    }
    Ok((if whole.is_empty() { first } else { whole.into() }, room))
}

fn slow(after: Duration) -> Problem {
    let title = format!("the body did not arrive within {after:?}");
    Problem::refused(StatusCode::REQUEST_TIMEOUT, "slow-body", title)
}

fn too_large(most: usize) -> Problem {
    let title = format!("the body is longer than {}", amount::shown(most as u64));
    Problem::refused(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title).help("send it as several requests")
}

fn busy() -> Problem {
    Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many bodies are on their way at once")
        .retry_after(LATER)
}

/// A body in JSON. `example`: what it looks like.
pub async fn json<T: DeserializeOwned>(request: Request, example: &str) -> Result<T, Problem> {
    let body = Limited::new(request.into_body(), JSON).collect().await.map_err(|error| {
        Problem::refused(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body did not arrive whole")
            .seen(error.to_string())
    })?;
    let bytes: Bytes = body.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| {
        Problem::refused(StatusCode::BAD_REQUEST, "no-such-body", "the body is not what this route takes")
            .seen(error.to_string())
            .help(format!("send {example}"))
    })
}
