//! A request's body on its way in: how long it may be, how long it may take, and whose memory it is meanwhile.
//!
//! All bodies together have a bounded memory. A body takes its share as it arrives and not as it announces itself: an
//! announcement is free, and whoever announces much and sends nothing must not keep others out.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use syncline_record::amount;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::{ApiState, problem::Problem};
use crate::deploy::LONGEST_TEXT;

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
pub const JSON: usize = 64 << 10;
/// The longest body with the text of a pipeline: in JSON each line's end and each quote of it is two bytes.
pub const TEXT: usize = 2 * LONGEST_TEXT + JSON;

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

/// The whole body of a request, of at most so many bytes, and the memory that it holds.
pub struct Whole<const MOST: usize> {
    pub bytes: Bytes,
    _room: Option<Room>,
}

/// A body that is here already, and whose memory somebody further out holds.
#[derive(Clone)]
pub struct Arrived(pub Bytes);

impl<const MOST: usize> FromRequest<Arc<ApiState>> for Whole<MOST> {
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &Arc<ApiState>) -> Result<Self, Problem> {
        check_length(request.headers(), MOST)?;
        match request.extensions_mut().remove::<Arrived>() {
            Some(Arrived(bytes)) if bytes.len() > MOST => Err(too_large(MOST)),
            Some(Arrived(bytes)) => Ok(Self { bytes, _room: None }),
            None => {
                let (bytes, _room) = receive(state, request.into_body(), MOST, PATIENCE).await?;
                Ok(Self { bytes, _room })
            }
        }
    }
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
    Problem::refused(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title)
}

fn busy() -> Problem {
    Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many bodies are on their way at once")
        .retry_after(LATER)
}

/// A body in JSON. `example`: what it looks like.
pub async fn json<T: DeserializeOwned>(state: &Arc<ApiState>, request: Request, example: &str) -> Result<T, Problem> {
    let body = Whole::<JSON>::from_request(request, state).await?;
    serde_json::from_slice(&body.bytes).map_err(|error| {
        Problem::refused(StatusCode::BAD_REQUEST, "no-such-body", "the body is not what this route takes")
            .seen(error.to_string())
            .help(format!("send {example}"))
    })
}
