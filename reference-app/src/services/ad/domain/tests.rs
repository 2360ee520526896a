//! The transitions of a reservation, alone and in random sequences.

use proptest::prelude::*;

use super::*;
use crate::contracts::{Money, ReservationStatus as Status};

const STOCK: u32 = 10;

fn ad() -> Ad {
    Ad {
        ad_id: "bike".into(),
        seller_id: "sam".into(),
        title: "A bike".into(),
        description: "Red.\nFast.".into(),
        price: Money { minor: 100, currency: "RUB".into() },
        stock: STOCK,
        available: STOCK,
        created_at: 0,
    }
}

fn wanted(quantity: u32) -> Wanted {
    Wanted { ad_id: "bike".into(), quantity, unit_price: Money { minor: 100, currency: "RUB".into() } }
}

fn new() -> Reservation {
    Reservation::new("o-1".into(), 0)
}

fn reserved() -> Reservation {
    let mut reservation = new();
    assert_eq!(reservation.reserve(&wanted(2), Some(&ad()), 50, 1).unwrap(), 2);
    reservation
}

#[test]
fn a_reservation_is_rejected_with_its_reason() {
    let cheaper = Wanted { unit_price: Money { minor: 99, currency: "RUB".into() }, ..wanted(1) };
    let other = Wanted { unit_price: Money { minor: 100, currency: "USD".into() }, ..wanted(1) };
    let table = [
        (wanted(1), None, "unknown_ad"),
        (cheaper, Some(ad()), "price_changed"),
        (other, Some(ad()), "price_changed"),
        (wanted(STOCK + 1), Some(ad()), "out_of_stock"),
    ];
    for (wanted, ad, reason) in table {
        let mut reservation = new();
        assert_eq!(reservation.reserve(&wanted, ad.as_ref(), 50, 1).unwrap(), 0, "{reason}");
        assert_eq!((reservation.status, reservation.sequence), (Status::Rejected, 1), "{reason}");
        assert_eq!(reservation.reason.as_deref(), Some(reason));
        assert_eq!(reservation.confirm(STOCK, 2), 0);
        assert_eq!(reservation.status, Status::Rejected, "a rejected reservation cannot be confirmed");
        assert_eq!(reservation.release(3), 0);
        assert_eq!((reservation.status, reservation.sequence), (Status::Released, 2));
    }
}

#[test]
fn a_release_gives_the_pieces_back_once() {
    for confirmed in [false, true] {
        let mut reservation = reserved();
        if confirmed {
            assert_eq!(reservation.confirm(0, 2), 0, "the pieces are held already");
            assert_eq!(reservation.status, Status::Confirmed);
        }
        assert_eq!(reservation.release(3), -2);
        let released = reservation.clone();
        assert_eq!(reservation.release(4), 0);
        assert_eq!(reservation, released);
    }
}

#[test]
fn a_release_that_overtakes_the_reservation_prevents_it() {
    let mut reservation = new();
    assert_eq!(reservation.release(1), 0);
    assert_eq!((reservation.status, reservation.sequence), (Status::Released, 1));
    assert_eq!(reservation.reserve(&wanted(2), Some(&ad()), 50, 2).unwrap(), 0);
    assert_eq!((reservation.status, reservation.sequence), (Status::Rejected, 2));
    assert_eq!(reservation.reason.as_deref(), Some("released"));
}

#[test]
fn a_reservation_expires_at_its_time_and_can_be_confirmed_while_pieces_are_available() {
    let mut reservation = reserved();
    assert_eq!(reservation.expire(49), 0);
    assert_eq!(reservation.status, Status::Reserved);
    assert_eq!(reservation.expire(50), -2);
    assert_eq!((reservation.status, reservation.sequence), (Status::Expired, 2));
    let mut late = reservation.clone();
    assert_eq!(late.confirm(2, 51), 2);
    assert_eq!((late.status, late.expire(99)), (Status::Confirmed, 0));
    assert_eq!(reservation.confirm(1, 51), 0);
    assert_eq!((reservation.status, reservation.reason.as_deref()), (Status::Rejected, Some("expired")));
    assert_eq!((reservation.confirm(2, 52), reservation.sequence), (0, 3), "its order is cancelled");
}

#[test]
fn an_order_has_one_reservation() {
    let mut reservation = reserved();
    let before = reservation.clone();
    assert!(reservation.reserve(&wanted(3), Some(&ad()), 50, 2).is_err(), "another quantity");
    let other = Wanted { ad_id: "car".into(), ..wanted(2) };
    assert!(reservation.reserve(&other, Some(&ad()), 50, 2).is_err(), "another ad");
    assert_eq!(reservation.reserve(&wanted(2), None, 90, 2).unwrap(), 0);
    assert_eq!(reservation, before, "a repetition changes nothing");
}

#[test]
fn an_invalid_ad_is_refused() {
    ad().validate().unwrap();
    let wrong: [fn(&mut Ad); 10] = [
        |ad| ad.seller_id = String::new(),
        |ad| ad.title = " ".into(),
        |ad| ad.title = "a\0b".into(),
        |ad| ad.title = "a\nb".into(),
        |ad| ad.title = "ä".repeat(201),
        |ad| ad.description = "a\tb\0".into(),
        |ad| ad.description = "ä".repeat(4_001),
        |ad| ad.price.minor = 0,
        |ad| ad.price.currency = "rub".into(),
        |ad| ad.stock = 1_000_001,
    ];
    for change in wrong {
        let mut ad = ad();
        change(&mut ad);
        assert!(ad.validate().is_err(), "{ad:?}");
    }
    for id in ["", "a b", "a\0", "ä", &"x".repeat(101)] {
        assert!(check_id(id).is_err(), "{id:?}");
    }
    for quantity in [0, 1_001] {
        assert!(wanted(quantity).validate().is_err(), "{quantity}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Command {
    Reserve(u32),
    Confirm,
    Release,
    Expire,
}

fn command() -> impl Strategy<Value = (usize, Command)> {
    let command = prop_oneof![
        (1..=6_u32).prop_map(Command::Reserve),
        Just(Command::Confirm),
        Just(Command::Release),
        Just(Command::Expire),
    ];
    (0..4_usize, command)
}

proptest! {
    /// Any commands of four orders, repeated and in any order: the stock is conserved after each of them, a command that
    /// is repeated at once changes nothing, and each change has the next sequence.
    #[test]
    fn the_stock_is_conserved_by_every_sequence_of_commands(
        commands in prop::collection::vec(command(), 0..60),
    ) {
        let mut ad = ad();
        let mut orders: Vec<_> = (0..4).map(|order| Reservation::new(format!("o-{order}"), 0)).collect();
        for (step, (order, command)) in commands.into_iter().enumerate() {
            let now = step as i64;
            let mut apply = |now: i64| {
                let reservation = &mut orders[order];
                let before = (reservation.status, reservation.sequence);
                let taken = match command {
                    Command::Reserve(n) => {
                        reservation.reserve(&wanted(n), Some(&ad), now + 5, now).unwrap_or_default()
                    }
                    Command::Confirm => reservation.confirm(ad.available, now),
                    Command::Release => reservation.release(now),
                    Command::Expire => reservation.expire(now),
                };
                ad.available = u32::try_from(i64::from(ad.available) - taken).expect("not below zero");
                let after = (reservation.status, reservation.sequence);
                assert_eq!(after.1 - before.1, i64::from(after != before));
                (after, taken)
            };
            let (first, _) = apply(now);
            let (second, taken) = apply(now);
            prop_assert_eq!((second, taken), (first, 0), "{:?} twice", command);
            let held: i64 = orders.iter().map(Reservation::held).sum();
            prop_assert_eq!(i64::from(ad.available) + held, i64::from(STOCK));
        }
    }
}
