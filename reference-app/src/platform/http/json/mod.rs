//! Strict JSON bodies. A refusal lists every error with its place.
//!
//! - `node`: the parsed document. `reader` reads a type from it, with `access` for lists, objects and enums.
//! - `read_error` and `error_list`: the errors, collected over several passes. `placeholder` replaces values that
//!   could not be read.
//! - `pointer`: JSON pointers. `validation_text`: the texts of the validator.

mod access;
mod error_list;
mod node;
mod placeholder;
mod pointer;
mod read_error;
mod reader;
#[cfg(test)]
mod tests;
mod validation_text;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Serialize, de::DeserializeOwned};

use super::{FieldError, Problem};
use error_list::ErrorList;
use node::Node;

/// A JSON body: of a request, read and validated, or of a response.
///
/// A request is refused with
/// - 415 for a content type that is not JSON, or none;
/// - 413 for a body over the limit of [`edge`](super::edge());
/// - 400 for a text that is not JSON, with line and column; bytes after the value are an error, too;
/// - 422 for a body that does not fit `T` or does not validate. `errors` lists up to 32 errors, each with its JSON
///   pointer (RFC 6901): wrong types, missing and unknown fields, duplicate fields, numbers outside the range of
///   their type, and the errors of [`Validate`].
///
/// A struct is read only from an object, never from a list. Unknown fields are refused even without
/// `#[serde(deny_unknown_fields)]`. Validation uses the field names of Rust: if serde renames a field, rename it for
/// garde with `#[garde(rename = "...")]`, too.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned + Validate<Context = ()>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(wrong_media_type());
        }
        let body = Bytes::from_request(request, state).await.map_err(|e| unread(&e))?;
        parse(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Reads and validates `body`.
///
/// # Errors
/// Returns a problem with status 400 or 422, as [`Json`] describes.
pub(super) fn parse<T: DeserializeOwned + Validate<Context = ()>>(body: &[u8]) -> Result<T, Problem> {
    let mut errors = Vec::new();
    let mut node = document(body)?;
    node.remove_duplicates("", &mut errors);
    let errors = ErrorList::new(errors);
    let value: Option<T> = reader::read(&node, &errors);
    let mut errors = errors.into_errors();
    if let Some(Err(report)) = value.as_ref().map(Validate::validate) {
        // Skip validation errors of values that could not be read.
        let known: Vec<_> = errors.iter().map(|error| error.pointer.clone()).collect();
        let checked = report.iter().map(|(path, error)| (pointer::from_garde_path(path), error));
        let new = checked.filter(|(place, _)| known.iter().all(|other| !pointer::overlap(place, other)));
        errors.extend(
            new.map(|(place, error)| FieldError::new(place, validation_text::sentence(error.message()))),
        );
    }
    match value {
        Some(value) if errors.is_empty() => Ok(value),
        _ => Err(Problem::fields(errors)),
    }
}

fn document(body: &[u8]) -> Result<Node, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let node = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        // The text is valid JSON, but no type can hold the number.
        match error.inner().to_string().starts_with("number out of range") {
            true => {
                let place = pointer::from_path(error.path());
                Problem::fields(vec![FieldError::new(place, "The number is out of range.")])
            }
            false => malformed(error.inner()),
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(node)
}

fn malformed(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let reason = if error.is_eof() {
        "the text ends too early"
    } else if error.to_string().starts_with("trailing characters") {
        "the text continues after the value"
    } else if error.to_string().starts_with("recursion limit") {
        "the value is nested too deeply"
    } else {
        "this is not JSON"
    };
    let detail = format!("Line {line}, column {column}: {reason}.");
    Problem::new(StatusCode::BAD_REQUEST, "malformed-json", "The body is not JSON", detail)
}

/// Returns whether the content type is `application/json`, or a type with the suffix `+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let mut sent = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (sent.next(), sent.next()) else { return false };
    let media = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let media = media.to_ascii_lowercase();
    let subtype = media.strip_prefix("application/");
    subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

fn wrong_media_type() -> Problem {
    let detail = "Send the body with the header Content-Type: application/json.";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body must be JSON", detail)
        .with_header(header::ACCEPT, HeaderValue::from_static("application/json"))
}

fn unread(rejection: &BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = "The body exceeds the size limit of this service. Send a smaller body.";
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
        }
        _ => {
            let detail = "The body ended before it was complete.";
            Problem::new(StatusCode::BAD_REQUEST, "incomplete-body", "The body cannot be read", detail)
        }
    }
}
