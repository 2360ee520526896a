//! The gRPC server of order-service.

use std::time::Duration;

use comms_core::{
    Error,
    clock::Clock,
    event_sourcing::{Audit, AuthType},
    idempotency::{CallKey, StoredReply, reply_once},
};
use comms_grpc::{key_of, refused, to_status};
use comms_outbox::saga::Coordinator;
use prost::Message as _;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    change::{Change, Placement},
    domain::Order,
    history,
    runs::Variants,
    store::{REVISION, Store, timestamp},
};
use crate::{
    contracts::{
        self,
        order::{
            MAX_PAGE,
            proto::{
                GetOrderHistoryReply, GetOrderHistoryRequest, GetOrderRequest, ListOrdersReply,
                ListOrdersRequest, PlaceOrderReply, PlaceOrderRequest, orders_server::Orders,
            },
        },
    },
    platform::db::{Db, ProjectionHandle},
};

/// How long a list waits for the changes that were committed before it.
const LIST_WAIT: Duration = Duration::from_millis(200);

pub(super) struct Api {
    pub(super) db: Db,
    pub(super) store: Store,
    /// The projection that writes the rows of lists.
    pub(super) list: ProjectionHandle,
    pub(super) variants: Variants,
    pub(super) runs: Coordinator<Db>,
    /// Whether new orders are choreographed.
    pub(super) choreographed: bool,
    pub(super) clock: Clock,
}

#[tonic::async_trait]
impl Orders for Api {
    async fn place_order(
        &self,
        request: Request<PlaceOrderRequest>,
    ) -> Result<Response<PlaceOrderReply>, Status> {
        let key = key_of(&request)?;
        let request = request.into_inner();
        // The call is one transaction, so an error of the kind `NotExecuted` proves that nothing was committed.
        let reply = self.place(&key, request).await.map_err(|e| refused(&e))?;
        Ok(Response::new(reply))
    }

    async fn get_order(
        &self,
        request: Request<GetOrderRequest>,
    ) -> Result<Response<contracts::order::proto::Order>, Status> {
        let request = request.into_inner();
        let order = self.store.find(&request.order_id).await.map_err(|e| to_status(&e))?;
        // NOT_FOUND also for the order of another buyer: the status must not show that the order exists.
        let order = order.filter(|order| order.buyer_id == request.buyer_id);
        let order = order.ok_or_else(|| Status::not_found("no such order"))?;
        Ok(Response::new(message(&order).map_err(|e| to_status(&e))?))
    }

    async fn get_order_history(
        &self,
        request: Request<GetOrderHistoryRequest>,
    ) -> Result<Response<GetOrderHistoryReply>, Status> {
        let request = request.into_inner();
        let events = self.store.history(&request.order_id).await.map_err(|e| to_status(&e))?;
        let reply = history::of_buyer(&events, &request.buyer_id)
            .map_err(|e| to_status(&e.context(format_args!("history of order {}", request.order_id))))?;
        Ok(Response::new(reply.ok_or_else(|| Status::not_found("no such order"))?))
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersReply>, Status> {
        let reply = self.list(request.into_inner()).await.map_err(|e| to_status(&e))?;
        Ok(Response::new(reply))
    }
}

impl Api {
    /// Commits the order, the start of its saga, the messages for other services and the reply in one transaction. A second call with the same
    /// key returns the stored reply.
    async fn place(&self, key: &str, request: PlaceOrderRequest) -> Result<PlaceOrderReply, Error> {
        let call = CallKey::new(&request.buyer_id, "place-order", key, &request.encode_to_vec())?;
        let audit = Audit::new(AuthType::AppUser, &*request.buyer_id).reason("the buyer placed the order");
        let new = self.placement(request);
        let replied = reply_once(&self.db, &call, async |mut tx| {
            let order_id = new.order_id.clone();
            let order = self.store.change(&mut tx, &order_id, vec![Change::Place(new)], audit).await?;
            self.variants.start(&self.runs, &mut tx, &order).await?;
            Ok(StoredReply::new(0, message(&order)?.encode_to_vec()))
        })
        .await?;
        let order = contracts::order::proto::Order::decode(replied.reply.body).map_err(Error::internal)?;
        Ok(PlaceOrderReply { order: Some(order), replayed: replied.replayed })
    }

    /// Returns one page of the buyer's orders, after the projection has applied the changes that were committed before
    /// the call. If this takes too long, the page is not marked as up to date. An order whose row is corrupt is logged and left out.
    async fn list(&self, request: ListOrdersRequest) -> Result<ListOrdersReply, Error> {
        if !(1..=MAX_PAGE).contains(&request.limit) {
            return Err(Error::invalid(format!("the limit must be from 1 to {MAX_PAGE}")));
        }
        let before = request.before.as_deref().map(Uuid::try_parse).transpose();
        let before = before.map_err(|_| Error::invalid("before must be the id of an order"))?;
        let applied = self.list.wait_for_committed(LIST_WAIT).await;
        let page = self.store.page(&request.buyer_id, before, request.limit).await?;
        let messages = page.orders.into_iter().map(|order| order.and_then(|order| message(&order)));
        let orders = messages.filter_map(|message| message.inspect_err(log_corrupt_order).ok()).collect();
        let up_to_date = applied.is_ok() && page.revision == REVISION;
        Ok(ListOrdersReply { orders, next: page.next, up_to_date })
    }

    fn placement(&self, request: PlaceOrderRequest) -> Placement {
        let price = request.unit_price.unwrap_or_default();
        Placement {
            order_id: self.clock.uuid_v7().to_string(),
            buyer_id: request.buyer_id,
            ad_id: request.ad_id,
            quantity: request.quantity,
            unit_price: contracts::Money { minor: price.minor, currency: price.currency },
            choreographed: self.choreographed,
        }
    }
}

fn log_corrupt_order(error: &Error) {
    tracing::error!(error = %error.chain(), "left an unreadable order out of a list");
}

/// Returns `order` as a message of the gRPC contract.
fn message(order: &Order) -> Result<contracts::order::proto::Order, Error> {
    let money = |m: contracts::Money| contracts::order::proto::Money { minor: m.minor, currency: m.currency };
    Ok(contracts::order::proto::Order {
        order_id: order.order_id.clone(),
        buyer_id: order.buyer_id.clone(),
        ad_id: order.ad_id.clone(),
        quantity: order.quantity,
        unit_price: Some(money(order.unit_price.clone())),
        total: Some(money(order.total().map_err(Error::internal)?)),
        status: <&str>::from(order.status).to_owned(),
        sequence: u32::try_from(order.sequence).map_err(Error::internal)?,
        payment_id: order.payment_id.clone(),
        reason: order.reason.clone(),
        created_at: timestamp(order.created_at),
        updated_at: timestamp(order.updated_at),
    })
}
