//! `POST /v1/ads` creates an ad, `GET /v1/ads/{ad_id}` shows one, `GET /v1/ads` lists all.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use comms_core::Error;
use comms_grpc::keyed;
use garde::Validate;
use serde::{Deserialize, Serialize};

use super::{
    Gateway,
    caching::cacheable,
    orders::{Price, idempotency_key, identifier, marked},
    paging::{encode_cursor, parse_query},
    reply,
};
use crate::{
    contracts::{
        Money,
        ad::{MAX_DESCRIPTION, MAX_PAGE, MAX_STOCK, MAX_TITLE, proto as ads},
    },
    platform::http::{Json, Principal, Problem},
};

/// `POST /v1/ads`: answers 201 with the ad's URL when the ad and the stored reply are committed. The seller is the
/// principal.
pub(super) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Principal(seller_id): Principal,
    headers: HeaderMap,
    body: Result<Json<NewAd>, Problem>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let Json(ad) = body?;
    let request = ads::CreateAdRequest {
        seller_id,
        title: ad.title,
        description: ad.description.unwrap_or_default(),
        price: Some(ads::Money { minor: ad.price.minor, currency: ad.price.currency }),
        stock: ad.stock,
    };
    let request = keyed(tonic::Request::new(request), key)?;
    let reply = reply(gateway.ads.clone().create_ad(request).await)?;
    let ad = reply.ad.ok_or_else(|| Error::internal("ad-service replied without an ad"))?;
    let location = [(header::LOCATION, url(&ad.ad_id))];
    let response = (StatusCode::CREATED, location, Json(AdBody::from(ad))).into_response();
    Ok(marked(response, reply.replayed))
}

/// `GET /v1/ads/{ad_id}`: returns an ad to anyone, with an entity tag.
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    ad_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    // A path that cannot be an id is 404, as the id of an ad that does not exist.
    let id = ad_id.ok().map(|Path(text)| text).filter(|text| identifier(text, &()).is_ok());
    let request = ads::GetAdRequest { ad_id: id.ok_or_else(|| Error::not_found("no such ad"))? };
    let ad = reply(gateway.ads.clone().get_ad(request).await)?;
    cacheable(&headers, &AdBody::from(ad))
}

/// `GET /v1/ads?limit=20&cursor=...`: returns a page of ads to anyone, newest first, with an entity tag.
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = parse_query(&query.unwrap_or_default(), MAX_PAGE, decode_ad_id);
    let (limit, before) = query.map_err(Problem::fields)?;
    let request = ads::ListAdsRequest { limit, before };
    let reply = reply(gateway.ads.clone().list_ads(request).await)?;
    let next = reply.next.map(|ad_id| encode_cursor(ad_id.as_bytes()));
    cacheable(&headers, &Page { ads: reply.ads.into_iter().map(AdBody::from).collect(), next })
}

fn decode_ad_id(cursor: Vec<u8>) -> Option<String> {
    let id = String::from_utf8(cursor).ok()?;
    (!id.is_empty() && identifier(&id, &()).is_ok()).then_some(id)
}

/// The body of `POST /v1/ads`.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct NewAd {
    #[garde(length(chars, min = 1, max = MAX_TITLE), custom(one_line))]
    title: String,
    #[garde(inner(length(chars, max = MAX_DESCRIPTION), custom(text)))]
    description: Option<String>,
    /// The price of one piece.
    #[garde(dive)]
    price: Price,
    /// The number of pieces.
    #[garde(range(max = MAX_STOCK))]
    stock: u32,
}

fn one_line(title: &str, _: &()) -> garde::Result {
    match title.trim().is_empty() || title.contains(char::is_control) {
        true => Err(garde::Error::new("must be one line of text")),
        false => Ok(()),
    }
}

fn text(description: &str, _: &()) -> garde::Result {
    match description.contains(|c: char| c.is_control() && c != '\n') {
        true => Err(garde::Error::new("control characters other than line feeds are not allowed")),
        false => Ok(()),
    }
}

/// An ad in a response.
#[derive(Serialize)]
struct AdBody {
    ad_id: String,
    seller_id: String,
    title: String,
    description: String,
    price: Money,
    /// The pieces that can be ordered now.
    available: u32,
    created_at: String,
    links: Links,
}

#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    own: String,
}

/// The body of a list.
#[derive(Serialize)]
struct Page {
    ads: Vec<AdBody>,
    /// The `cursor` of the next page; null on the last page.
    next: Option<String>,
}

impl From<ads::Ad> for AdBody {
    fn from(ad: ads::Ad) -> Self {
        let price = ad.price.unwrap_or_default();
        Self {
            links: Links { own: url(&ad.ad_id) },
            ad_id: ad.ad_id,
            seller_id: ad.seller_id,
            title: ad.title,
            description: ad.description,
            price: Money { minor: price.minor, currency: price.currency },
            available: ad.available,
            created_at: ad.created_at,
        }
    }
}

fn url(ad_id: &str) -> String {
    format!("/v1/ads/{ad_id}")
}
