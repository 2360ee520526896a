//! `GET /v1/analytics/orders` and `GET /v1/analytics/revenue`: figures of all buyers, for administrators.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{RawQuery, State},
};
use comms_core::clock;
use serde::Serialize;

use super::{Gateway, reply};
use crate::{
    contracts::{
        Money,
        analytics::{
            MAX_RANGE,
            proto::{DailyRevenue, Freshness, OrderCount, Range},
        },
    },
    platform::{
        http::{Admin, FieldError, Problem},
        rfc3339,
    },
};

/// The length of a range whose begin is not named: 7 days.
const DEFAULT_RANGE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The body of a response: the figures of a range, and how recent they are.
#[derive(Serialize)]
pub(super) struct Figures<T> {
    from: String,
    to: String,
    /// When the last event that the figures include was stored. Null if they include none.
    as_of: Option<String>,
    /// The number of events that the figures do not include yet, estimated. Null if it is not known.
    lag_events: Option<u64>,
    #[serde(flatten)]
    figures: T,
}

/// The orders of a range, by hour.
#[derive(Serialize)]
pub(super) struct Orders {
    hours: Vec<Hour>,
}

/// The counts of an hour, by status.
#[derive(Serialize)]
struct Hour {
    hour: String,
    /// The orders that were created in this hour, by their status now.
    orders: BTreeMap<String, i64>,
    /// The orders that entered a status in this hour.
    transitions: BTreeMap<String, i64>,
}

/// The revenue of a range, by day and currency.
#[derive(Serialize)]
pub(super) struct Revenue {
    days: Vec<Day>,
}

/// The revenue of a day in a currency.
#[derive(Serialize)]
struct Day {
    day: String,
    /// The totals of the orders paid on this day, less those of the orders refunded on this day.
    revenue: Money,
    /// The orders paid on this day.
    paid: i64,
    /// The paid orders that were cancelled on this day.
    refunded: i64,
}

/// `GET /v1/analytics/orders?from=...&to=...`: returns the numbers of orders by hour and status.
pub(super) async fn orders(
    State(gateway): State<Arc<Gateway>>,
    Admin(_): Admin,
    RawQuery(query): RawQuery,
) -> Result<Json<Figures<Orders>>, Problem> {
    let range = parse_query(&query.unwrap_or_default(), gateway.clock.unix())?;
    let reply = reply(gateway.analytics.clone().get_orders(range).await)?;
    let figures = Orders { hours: by_hour(reply.counts) };
    Ok(Json(Figures::new(range, reply.freshness.unwrap_or_default(), figures)))
}

/// `GET /v1/analytics/revenue?from=...&to=...`: returns the revenue by day and currency.
pub(super) async fn revenue(
    State(gateway): State<Arc<Gateway>>,
    Admin(_): Admin,
    RawQuery(query): RawQuery,
) -> Result<Json<Figures<Revenue>>, Problem> {
    let range = parse_query(&query.unwrap_or_default(), gateway.clock.unix())?;
    let reply = reply(gateway.analytics.clone().get_revenue(range).await)?;
    let figures = Revenue { days: reply.days.into_iter().map(Day::from).collect() };
    Ok(Json(Figures::new(range, reply.freshness.unwrap_or_default(), figures)))
}

impl<T> Figures<T> {
    fn new(range: Range, freshness: Freshness, figures: T) -> Self {
        let millis = |millis: i64| clock::rfc3339(Duration::from_millis(millis.unsigned_abs()));
        Self {
            from: time(range.from),
            to: time(range.to),
            as_of: freshness.as_of.map(millis),
            lag_events: freshness.lag_events,
            figures,
        }
    }
}

impl From<DailyRevenue> for Day {
    fn from(daily: DailyRevenue) -> Self {
        let DailyRevenue { day, currency, minor, paid, refunded } = daily;
        let day = time(day).chars().take("2026-11-27".len()).collect();
        Self { day, revenue: Money { minor, currency }, paid, refunded }
    }
}

/// Groups the counts, which are ordered by hour.
fn by_hour(counts: Vec<OrderCount>) -> Vec<Hour> {
    let mut hours: Vec<Hour> = Vec::new();
    for OrderCount { hour, status, orders, transitions } in counts {
        let hour = time(hour);
        if hours.last().is_none_or(|last| last.hour != hour) {
            hours.push(Hour { hour, orders: BTreeMap::new(), transitions: BTreeMap::new() });
        }
        let Some(last) = hours.last_mut() else { continue };
        for (counts, count) in [(&mut last.orders, orders), (&mut last.transitions, transitions)] {
            if count != 0 {
                counts.insert(status.clone(), count);
            }
        }
    }
    hours
}

fn time(seconds: i64) -> String {
    clock::rfc3339(Duration::from_secs(seconds.unsigned_abs()))
}

/// Returns the range that the query names. Without `to` it ends now, and without `from` it has 7 days.
fn parse_query(query: &str, now: Duration) -> Result<Range, Problem> {
    let (mut from, mut to, mut errors) = (None, None, Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let slot = match name.as_ref() {
            "from" => Ok(&mut from),
            "to" => Ok(&mut to),
            _ => Err("This parameter does not exist. The parameters are from and to.".to_owned()),
        };
        let result = slot.and_then(|slot| match slot.replace(parse_time(&value)?) {
            None => Ok(()),
            Some(_) => Err("Send this parameter once.".to_owned()),
        });
        if let Err(detail) = result {
            errors.push(FieldError::new(format!("/{}", name.replace('~', "~0").replace('/', "~1")), detail));
        }
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let to = to.unwrap_or(now);
    let from = from.unwrap_or_else(|| to.saturating_sub(DEFAULT_RANGE));
    // Whole seconds, so that the range of analytics-service contains the range of the client.
    let range = Range { from: seconds(from), to: seconds(to + Duration::from_nanos(999_999_999)) };
    let refused = |detail: &str| Err(Problem::fields(vec![FieldError::new("/from", detail)]));
    match range.to - range.from {
        ..=0 => refused("The range must begin before its end."),
        length if length > seconds(MAX_RANGE) => refused("The range may have at most 31 days."),
        _ => Ok(range),
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    rfc3339::parse(text).map_err(|_| {
        "Send a time of RFC 3339 from 1970 on, such as 2026-11-27T06:30:00Z. Encode a + as %2B.".to_owned()
    })
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_761_000); // 2026-11-27T06:30:00Z

    fn refused(query: &str) -> Vec<String> {
        let problem = parse_query(query, NOW).unwrap_err();
        problem.errors().iter().map(|error| error.pointer.clone()).collect()
    }

    #[test]
    fn a_query_names_a_range_or_parts_of_it() {
        let (now, week) = (seconds(NOW), seconds(DEFAULT_RANGE));
        for (query, from, to) in [
            ("", now - week, now),
            ("to=2026-11-27T05:30:00Z", now - 3_600 - week, now - 3_600),
            ("from=2026-11-27T05:30:00Z", now - 3_600, now),
            ("from=2026-11-27T08:30:00%2B03:00&to=2026-11-27T06:30:00Z", now - 3_600, now),
            ("from=2026-10-27T06:30:00Z", now - 31 * 24 * 3_600, now),
            ("from=2026-11-27T06:29:59.1Z&to=2026-11-27T06:29:59.9Z", now - 1, now),
        ] {
            assert_eq!(parse_query(query, NOW).unwrap(), Range { from, to }, "{query}");
        }
    }

    #[test]
    fn a_range_that_is_malformed_empty_or_too_long_has_an_error_at_its_place() {
        for (query, pointers) in [
            ("from=yesterday", &["/from"][..]),
            ("from=2026-11-27T08:30:00+03:00", &["/from"]),
            ("to=1969-12-31T23:00:00Z&from=", &["/to", "/from"]),
            ("from=2026-11-27T06:30:00Z", &["/from"]),
            ("from=2026-11-27T05:00:00Z&to=2026-11-27T05:00:00Z", &["/from"]),
            ("from=2026-11-28T06:30:00Z", &["/from"]),
            ("from=2026-10-27T06:29:59Z", &["/from"]),
            ("from=2026-11-27T05:30:00Z&from=2026-11-27T05:30:00Z", &["/from"]),
            ("since=2026-11-27T05:30:00Z", &["/since"]),
        ] {
            assert_eq!(refused(query), pointers, "{query}");
        }
    }

    #[test]
    fn counts_are_grouped_by_hour_without_zeros() {
        let count = |hour, status: &str, orders, transitions| OrderCount {
            hour,
            status: status.into(),
            orders,
            transitions,
        };
        let hours =
            by_hour(vec![count(0, "CREATED", 0, 2), count(0, "PAID", 2, 0), count(3_600, "PAID", 0, 2)]);
        let body = serde_json::to_value(Orders { hours }).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"hours": [
                {"hour": "1970-01-01T00:00:00.000Z", "orders": {"PAID": 2}, "transitions": {"CREATED": 2}},
                {"hour": "1970-01-01T01:00:00.000Z", "orders": {}, "transitions": {"PAID": 2}},
            ]})
        );
    }
}
