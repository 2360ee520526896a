//! The gRPC server of ad-service.

use std::time::Duration;

use comms_core::{
    Error, Scoped,
    clock::Clock,
    idempotency::{CallKey, StoredReply, reply_once},
    in_transaction,
};
use comms_grpc::{key_of, refused, to_status};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    domain::{Ad, Reservation, Wanted, check_id},
    store::{Store, timestamp},
};
use crate::{
    contracts::{
        Money,
        ad::{
            MAX_PAGE,
            proto::{
                self, ConfirmRequest, CreateAdReply, CreateAdRequest, GetAdRequest, ListAdsReply,
                ListAdsRequest, ReleaseRequest, ReserveRequest, ads_server::Ads,
            },
        },
    },
    platform::db::{Db, Tx},
};

pub(super) struct Api {
    pub(super) db: Db,
    pub(super) store: Store,
    pub(super) clock: Clock,
    /// How long a reservation lasts if it is not confirmed.
    pub(super) ttl: Duration,
}

// A call that changes something is one transaction, so an error of the kind `NotExecuted` proves that nothing was
// committed.
#[tonic::async_trait]
impl Ads for Api {
    async fn create_ad(&self, request: Request<CreateAdRequest>) -> Result<Response<CreateAdReply>, Status> {
        let key = key_of(&request)?;
        let reply = self.create(&key, request.into_inner()).await.map_err(|e| refused(&e))?;
        Ok(Response::new(reply))
    }

    async fn get_ad(&self, request: Request<GetAdRequest>) -> Result<Response<proto::Ad>, Status> {
        let ad_id = request.into_inner().ad_id;
        let ad = match check_id(&ad_id) {
            Ok(()) => self.store.find(&ad_id).await.map_err(|e| to_status(&e))?,
            Err(_) => None,
        };
        Ok(Response::new(ad_message(&ad.ok_or_else(|| Status::not_found("no such ad"))?)))
    }

    async fn list_ads(&self, request: Request<ListAdsRequest>) -> Result<Response<ListAdsReply>, Status> {
        let reply = self.list(request.into_inner()).await.map_err(|e| to_status(&e))?;
        Ok(Response::new(reply))
    }

    async fn reserve(
        &self,
        request: Request<ReserveRequest>,
    ) -> Result<Response<proto::Reservation>, Status> {
        let key = key_of(&request)?;
        let request = request.into_inner();
        let price = request.unit_price.clone().unwrap_or_default();
        let wanted = Wanted {
            ad_id: request.ad_id.clone(),
            quantity: request.quantity,
            unit_price: Money { minor: price.minor, currency: price.currency },
        };
        let work = async |mut tx: Scoped<Tx>| {
            self.store.reserve(&mut tx, &request.order_id, &wanted, self.ttl).await
        };
        self.command("reserve", &key, &request.order_id, &request, work).await
    }

    async fn confirm(
        &self,
        request: Request<ConfirmRequest>,
    ) -> Result<Response<proto::Reservation>, Status> {
        key_of(&request)?;
        let order_id = request.into_inner().order_id;
        // Without a stored reply: a repetition confirms a reservation that was rejected because its pieces were gone.
        let confirm = async |mut tx: Scoped<Tx>| self.store.confirm(&mut tx, &order_id).await;
        let reservation = in_transaction(&self.db, confirm).await.map_err(|e| refused(&e))?;
        Ok(Response::new(reservation_message(reservation).map_err(|e| to_status(&e))?))
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<proto::Reservation>, Status> {
        let key = key_of(&request)?;
        let request = request.into_inner();
        let work = async |mut tx: Scoped<Tx>| self.store.release(&mut tx, &request.order_id).await;
        self.command("release", &key, &request.order_id, &request, work).await
    }
}

impl Api {
    /// Commits the ad and the reply in one transaction. A second call with the same key returns the stored reply.
    async fn create(&self, key: &str, request: CreateAdRequest) -> Result<CreateAdReply, Error> {
        let call = CallKey::new(&request.seller_id, "create-ad", key, &request.encode_to_vec())?;
        let ad = self.new_ad(request);
        ad.validate()?;
        let replied = reply_once(&self.db, &call, async |mut tx| {
            self.store.insert(&mut tx, &ad).await?;
            Ok(StoredReply::new(0, ad_message(&ad).encode_to_vec()))
        })
        .await?;
        let ad = proto::Ad::decode(replied.reply.body).map_err(Error::internal)?;
        Ok(CreateAdReply { ad: Some(ad), replayed: replied.replayed })
    }

    fn new_ad(&self, request: CreateAdRequest) -> Ad {
        let price = request.price.unwrap_or_default();
        Ad {
            ad_id: self.clock.uuid_v7().to_string(),
            seller_id: request.seller_id,
            title: request.title,
            description: request.description,
            price: Money { minor: price.minor, currency: price.currency },
            stock: request.stock,
            available: request.stock,
            created_at: self.clock.unix_millis(),
        }
    }

    /// Returns one page of ads. An ad whose row is corrupt is logged and left out.
    async fn list(&self, request: ListAdsRequest) -> Result<ListAdsReply, Error> {
        if !(1..=MAX_PAGE).contains(&request.limit) {
            return Err(Error::invalid(format!("the limit must be from 1 to {MAX_PAGE}")));
        }
        request.before.as_deref().map(check_id).transpose()?;
        let page = self.store.page(request.before.as_deref(), request.limit).await?;
        let readable = page.ads.into_iter().filter_map(|ad| ad.inspect_err(log_corrupt_ad).ok());
        Ok(ListAdsReply { ads: readable.map(|ad| ad_message(&ad)).collect(), next: page.next })
    }

    /// Runs a command of the order once for its key.
    ///
    /// The caller may have lost the event of the first run, and waits for another one, so a repetition publishes the event
    /// of the current state again, in a new message. The stored reply is not used: the reservation may have expired.
    async fn command<W>(
        &self,
        operation: &str,
        key: &str,
        order_id: &str,
        request: &impl prost::Message,
        work: W,
    ) -> Result<Response<proto::Reservation>, Status>
    where
        W: AsyncFnOnce(Scoped<Tx>) -> Result<Reservation, Error>,
    {
        let run = async {
            let call = CallKey::new("order-service", operation, key, &request.encode_to_vec())?;
            let mut reservation = None;
            let replied = reply_once(&self.db, &call, async |tx| {
                reservation = Some(work(tx).await?);
                Ok(StoredReply::new(0, Vec::new()))
            });
            replied.await?;
            match reservation {
                Some(reservation) => Ok(reservation),
                None => {
                    in_transaction(&self.db, async |mut tx| self.store.publish_again(&mut tx, order_id).await)
                        .await
                }
            }
        };
        let reservation = run.await.map_err(|e: Error| refused(&e))?;
        Ok(Response::new(reservation_message(reservation).map_err(|e| to_status(&e))?))
    }
}

fn log_corrupt_ad(error: &Error) {
    tracing::error!(error = %error.chain(), "left an unreadable ad out of a list");
}

/// Returns `ad` as a message of the gRPC contract.
fn ad_message(ad: &Ad) -> proto::Ad {
    proto::Ad {
        ad_id: ad.ad_id.clone(),
        seller_id: ad.seller_id.clone(),
        title: ad.title.clone(),
        description: ad.description.clone(),
        price: Some(proto::Money { minor: ad.price.minor, currency: ad.price.currency.clone() }),
        available: ad.available,
        created_at: timestamp(ad.created_at),
    }
}

/// Returns `reservation` as a message of the gRPC contract.
fn reservation_message(reservation: Reservation) -> Result<proto::Reservation, Error> {
    Ok(proto::Reservation {
        order_id: reservation.order_id,
        ad_id: reservation.ad_id,
        quantity: reservation.quantity,
        status: <&str>::from(reservation.status).to_owned(),
        reason: reservation.reason,
        sequence: u32::try_from(reservation.sequence).map_err(Error::internal)?,
        expires_at: timestamp(reservation.expires_at),
    })
}
