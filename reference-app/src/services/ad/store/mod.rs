//! The SQL of ad-service: ads here, the reservations of their stock in `reservations`.

pub(super) mod reservations;
#[cfg(test)]
mod tests;

use comms_core::{BoxError, Error, clock::rfc3339, event::EventSource};

use super::domain::Ad;
use crate::{
    contracts::Money,
    platform::db::{Db, Row, Tx},
};

const FIND: &str =
    "SELECT ad_id, seller_id, title, description, price_minor, currency, stock, available, created_at
    FROM {s}.ads WHERE ad_id = $1";
const PAGE: &str =
    "SELECT ad_id, seller_id, title, description, price_minor, currency, stock, available, created_at
    FROM {s}.ads WHERE (created_at, ad_id) < ($1, $2) ORDER BY created_at DESC, ad_id DESC LIMIT $3";
const NEWEST: &str =
    "SELECT ad_id, seller_id, title, description, price_minor, currency, stock, available, created_at
    FROM {s}.ads ORDER BY created_at DESC, ad_id DESC LIMIT $1";

/// One page of ads, newest first.
pub(super) struct Page {
    /// The ads. A corrupt row is an error at its place, so that the caller can show the others.
    pub(super) ads: Vec<Result<Ad, Error>>,
    /// The `before` of the next page; `None` on the last page.
    pub(super) next: Option<String>,
}

#[derive(Clone)]
pub(super) struct Store {
    db: Db,
    events: EventSource,
}

impl Store {
    pub(super) const fn new(db: Db, events: EventSource) -> Self {
        Self { db, events }
    }

    /// Returns the time, in milliseconds since the Unix epoch.
    pub(super) fn now(&self) -> i64 {
        self.events.clock().unix_millis()
    }

    /// Inserts a new ad. An ad with the same id stays as it is.
    pub(super) async fn insert(&self, tx: &mut Tx, ad: &Ad) -> Result<(), Error> {
        tx.execute(
            "INSERT INTO {s}.ads (ad_id, seller_id, title, description, price_minor, currency, stock, available,
             created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (ad_id) DO NOTHING",
            &[
                (&ad.ad_id).into(),
                (&ad.seller_id).into(),
                (&ad.title).into(),
                (&ad.description).into(),
                ad.price.minor.into(),
                (&ad.price.currency).into(),
                i64::from(ad.stock).into(),
                i64::from(ad.available).into(),
                ad.created_at.into(),
            ],
        )
        .await
        .map(drop)
    }

    /// Returns whether there is an ad.
    pub(super) async fn has_ads(&self, tx: &mut Tx) -> Result<bool, Error> {
        let rows = tx.fetch("SELECT ad_id FROM {s}.ads LIMIT 1", &[]).await?;
        Ok(!rows.is_empty())
    }

    /// Returns the ad.
    pub(super) async fn find(&self, ad_id: &str) -> Result<Option<Ad>, Error> {
        let rows = self.db.fetch(FIND, &[ad_id.into()]).await?;
        rows.first().map(ad).transpose()
    }

    /// Returns the newest ads that are older than the ad `before`, at most `limit`. A page begins at an ad and not at an
    /// offset, so ads that are added between two calls neither move nor repeat the others.
    ///
    /// # Errors
    /// Returns `Invalid` if there is no ad `before`.
    pub(super) async fn page(&self, before: Option<&str>, limit: u32) -> Result<Page, Error> {
        // One row more than the limit shows whether there is a next page.
        let rows = i64::from(limit.saturating_add(1)).into();
        let mut rows = match before {
            None => self.db.fetch(NEWEST, &[rows]).await?,
            Some(before) => {
                let before = self.find(before).await?;
                let before = before.ok_or_else(|| Error::invalid("before must be the id of an ad"))?;
                self.db.fetch(PAGE, &[before.created_at.into(), (&before.ad_id).into(), rows]).await?
            }
        };
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let last = rows.last().filter(|_| has_more);
        let next = last.map(|row| row.text("ad_id")).transpose()?;
        Ok(Page { ads: rows.iter().map(ad).collect(), next })
    }

    /// Returns the ad, and locks its row until the transaction ends.
    async fn lock_ad(&self, tx: &mut Tx, ad_id: &str) -> Result<Option<Ad>, Error> {
        if tx.is_postgres() {
            let sql = "SELECT ad_id FROM {s}.ads WHERE ad_id = $1 FOR UPDATE";
            tx.fetch(sql, &[ad_id.into()]).await?;
        }
        tx.fetch(FIND, &[ad_id.into()]).await?.first().map(ad).transpose()
    }
}

/// Formats a stored time by RFC 3339.
pub(super) fn timestamp(unix_millis: i64) -> String {
    rfc3339(std::time::Duration::from_millis(u64::try_from(unix_millis).unwrap_or_default()))
}

/// Reads an ad from a row. A corrupt row is `Internal` and not `Fatal`: it affects this ad alone.
fn ad(row: &Row) -> Result<Ad, Error> {
    parse(row).map_err(|error| Error::internal(error).context("a corrupt row of ads"))
}

fn parse(row: &Row) -> Result<Ad, BoxError> {
    Ok(Ad {
        ad_id: row.text("ad_id")?,
        seller_id: row.text("seller_id")?,
        title: row.text("title")?,
        description: row.text("description")?,
        price: Money { minor: row.int("price_minor")?, currency: row.text("currency")? },
        stock: u32::try_from(row.int("stock")?)?,
        available: u32::try_from(row.int("available")?)?,
        created_at: row.int("created_at")?,
    })
}
