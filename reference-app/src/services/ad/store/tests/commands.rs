//! The commands of orders.

use std::collections::HashSet;

use comms_grpc::keyed;
use tonic::{Code, Request, Status as Refusal};

use super::*;
use crate::{
    contracts::{
        ReservationChanged,
        ad::proto::{ConfirmRequest, Money as Price, ReleaseRequest, ReserveRequest, ads_server::Ads as _},
    },
    services::ad::api::Api,
};

#[tokio::test]
async fn of_32_concurrent_orders_exactly_10_get_the_10_pieces_sqlite() {
    exactly_ten_win(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn of_32_concurrent_orders_exactly_10_get_the_10_pieces_postgres() {
    exactly_ten_win(World::postgres().await).await;
}

async fn exactly_ten_win(world: World) {
    world.offer("bike", 10).await;
    let orders: Vec<_> = (0..32).map(|order| format!("o-{order}")).collect();
    let reserved = futures::future::join_all(orders.iter().map(|order| world.reserve(order, 1))).await;
    let winners: Vec<_> = reserved.iter().filter(|reserved| reserved.status == Status::Reserved).collect();
    assert_eq!(winners.len(), 10);
    assert_eq!(world.available().await, 0);
    let others = reserved.iter().filter(|reserved| reserved.status != Status::Reserved);
    for other in others {
        assert_eq!(state(other), (Status::Rejected, Some("out_of_stock"), 1), "{}", other.order_id);
    }
    futures::future::join_all(orders.iter().map(|order| world.release(order))).await;
    assert_eq!(world.available().await, 10, "each release gives its pieces back once");
}

#[tokio::test]
async fn concurrent_commands_of_one_order_take_effect_once_sqlite() {
    one_order_at_once(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn concurrent_commands_of_one_order_take_effect_once_postgres() {
    one_order_at_once(World::postgres().await).await;
}

/// The first commands of one order at the same time: nothing fails, and the pieces are taken and given back once.
async fn one_order_at_once(world: World) {
    world.offer("bike", 10).await;
    let reserved = futures::future::join_all((0..8).map(|_| world.reserve("o-1", 3))).await;
    assert!(reserved.iter().all(|reservation| state(reservation) == (Status::Reserved, None, 1)));
    assert_eq!(world.available().await, 7);
    let released = futures::future::join_all((0..8).map(|_| world.release("o-1"))).await;
    assert!(released.iter().all(|reservation| state(reservation) == (Status::Released, None, 2)));
    assert_eq!(world.available().await, 10);

    let overtaking = futures::future::join(world.reserve("o-2", 3), world.release("o-2")).await;
    assert_eq!(world.release("o-2").await.status, Status::Released, "{overtaking:?}");
    assert_eq!(world.available().await, 10);
}

#[tokio::test]
async fn each_command_moves_the_stock_once_sqlite() {
    life(World::sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn each_command_moves_the_stock_once_postgres() {
    life(World::postgres().await).await;
}

async fn life(world: World) {
    world.offer("bike", 10).await;
    assert_eq!(state(&world.reserve("o-1", 4).await), (Status::Reserved, None, 1));
    assert_eq!(state(&world.confirm("o-1").await), (Status::Confirmed, None, 2));
    assert_eq!(state(&world.confirm("o-1").await), (Status::Confirmed, None, 2));
    assert_eq!(state(&world.reserve("o-1", 4).await), (Status::Confirmed, None, 2), "a late copy");
    assert_eq!(world.available().await, 6);
    assert_eq!(state(&world.release("o-1").await), (Status::Released, None, 3));
    assert_eq!(world.available().await, 10);

    let tombstone = world.release("o-2").await;
    assert_eq!(state(&tombstone), (Status::Released, None, 1));
    assert_eq!(tombstone.ad_id, None);
    assert_eq!(state(&world.reserve("o-2", 4).await), (Status::Rejected, Some("released"), 2));
    assert_eq!(world.available().await, 10);

    assert_eq!(state(&world.reserve("o-3", 11).await), (Status::Rejected, Some("out_of_stock"), 1));
    let unknown = Wanted { ad_id: "car".into(), ..wanted(1) };
    let reserve = async |mut tx: Scoped<Tx>| world.store.reserve(&mut tx, "o-4", &unknown, TTL).await;
    let unknown = in_transaction(&world.db, reserve).await.unwrap();
    assert_eq!(state(&unknown), (Status::Rejected, Some("unknown_ad"), 1));
    let confirm = async |mut tx: Scoped<Tx>| world.store.confirm(&mut tx, "o-5").await;
    let error = in_transaction(&world.db, confirm).await.unwrap_err();
    assert_eq!(error.kind, comms_core::ErrorKind::NotFound);
    assert_eq!(world.events().await, 9, "one event for each command that was accepted");
}

/// A caller repeats a command with the same key, because it has lost the reply and the event.
#[tokio::test]
async fn a_repeated_command_publishes_its_reply_again() {
    let world = World::sqlite().await;
    world.offer("bike", 10).await;
    let api = Api { db: world.db.clone(), store: world.store.clone(), clock: world.clock.clone(), ttl: TTL };
    let request = |quantity| ReserveRequest {
        order_id: "o-1".into(),
        ad_id: "bike".into(),
        quantity,
        unit_price: Some(Price { minor: 100, currency: "RUB".into() }),
    };
    let reserve = async |quantity| {
        let reply = api.reserve(keyed(Request::new(request(quantity)), "k-1").unwrap()).await;
        reply.map(|reply| reply.into_inner())
    };
    let first = reserve(2).await.unwrap();
    assert_eq!((&*first.status, first.sequence), ("RESERVED", 1));
    for _ in 0..2 {
        assert_eq!(reserve(2).await.unwrap(), first);
    }
    let code = |refusal: Refusal| refusal.code();
    assert_eq!(reserve(3).await.map_err(code), Err(Code::InvalidArgument), "the key of another request");
    let keyless = api.reserve(Request::new(request(2))).await;
    assert_eq!(keyless.err().map(code), Some(Code::InvalidArgument));

    let events = published(&world).await;
    assert_eq!(events.len(), 3, "a reply event for each repetition");
    let ids: HashSet<_> = events.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), 3, "each with an id of its own, or the caller's inbox would skip it");
    assert!(events.iter().all(|(_, event)| *event == events[0].1), "and with the same content");
    assert_eq!((events[0].1.status, events[0].1.sequence), (Status::Reserved, 1));
    assert_eq!(world.available().await, 8);

    let release = ReleaseRequest { order_id: "o-1".into() };
    let released = api.release(keyed(Request::new(release), "k-2").unwrap()).await.unwrap().into_inner();
    assert_eq!((&*released.status, released.sequence), ("RELEASED", 2));
    let late = reserve(2).await.unwrap();
    assert_eq!(
        (&*late.status, late.sequence),
        ("RELEASED", 2),
        "the current state, and not the stored reply"
    );
    let confirm = ConfirmRequest { order_id: "o-2".into() };
    let unknown = api.confirm(keyed(Request::new(confirm), "k-3").unwrap()).await;
    assert_eq!(unknown.err().map(code), Some(Code::NotFound));
    assert_eq!(world.available().await, 10);
}

/// Of two orders of one piece, the one whose reservation has expired is refused. It stays refused when the piece is there
/// again, because its order is cancelled, and the refusal is published for each call.
#[tokio::test]
async fn a_confirmation_that_came_too_late_stays_refused() {
    let world = World::sqlite().await;
    world.offer("bike", 1).await;
    let api = Api { db: world.db.clone(), store: world.store.clone(), clock: world.clock.clone(), ttl: TTL };
    let confirm = async || {
        let request = keyed(Request::new(ConfirmRequest { order_id: "o-1".into() }), "k-1").unwrap();
        api.confirm(request).await.unwrap().into_inner().status
    };
    world.reserve("o-1", 1).await;
    world.clock.advance(TTL);
    in_transaction(&world.db, async |mut tx| world.store.expire(&mut tx, "o-1").await).await.unwrap();
    assert_eq!(world.reserve("o-2", 1).await.status, Status::Reserved);
    assert_eq!(confirm().await, "REJECTED");
    world.release("o-2").await;
    assert_eq!((confirm().await, world.available().await), ("REJECTED".to_owned(), 1));
    let events = published(&world).await;
    let refused = events.iter().filter(|(_, event)| event.reason.as_deref() == Some("expired"));
    assert_eq!(refused.count(), 2);
}

/// Returns the ids and events of the outbox, in their order.
async fn published(world: &World) -> Vec<(String, ReservationChanged)> {
    let sql = "SELECT msg_id, CAST(payload AS TEXT) AS payload FROM {s}.comms_outbox ORDER BY id";
    let rows = world.db.fetch(sql, &[]).await.unwrap();
    let read = |row: &Row| {
        let event = serde_json::from_str(&row.text("payload").unwrap()).unwrap();
        (row.text("msg_id").unwrap(), event)
    };
    rows.iter().map(read).collect()
}
