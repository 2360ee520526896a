//! Temporal: the trip booking of the Java samples.

use comms_core::saga::Definition;

use crate::{
    participants::{Data, step, undoable},
    table::{Row, check},
};

/// The sample books one after the other and compensates together (`parallelCompensation`). Here the compensations of a
/// parallel stage run together.
fn trip() -> Definition<Data> {
    Definition::builder("trip", 1)
        .parallel(["car", "hotel", "flight"].map(|name| undoable(step(name), name)))
        .build()
        .unwrap()
}

#[test]
fn the_trip_booking_with_parallel_compensations() {
    let rows = [
        Row::failed(
            "a refused flight cancels the car and the hotel together",
            "flight",
            &[
                ("car done", ""),
                ("hotel done", ""),
                ("flight failed", "compensate car, compensate hotel"),
                ("hotel undone", ""),
                ("car undone", ""),
            ],
        ),
        Row::failed(
            "the bookings in progress are awaited before the first compensation",
            "flight",
            &[
                ("car done", ""),
                ("flight failed", ""),
                ("hotel done", "compensate car, compensate hotel"),
                ("car undone", ""),
                ("car undone", "ignored"),
                ("hotel undone", ""),
            ],
        ),
        // As in the Java sample, which registers a compensation before its activity.
        Row::failed(
            "a booking whose outcome is unknown is cancelled too",
            "car",
            &[
                ("car failed", ""),
                ("timer hotel/execute/1/limit", ""),
                ("flight done", "compensate hotel, compensate flight"),
                ("hotel done", "ignored"),
                ("flight undone", ""),
                ("hotel undone", ""),
            ],
        ),
        Row::failed(
            "a late refusal of an unknown booking saves its cancellation while another is awaited",
            "car",
            &[
                ("timer hotel/execute/1/limit", ""),
                ("car failed", ""),
                ("timer hotel/execute/1/retry", "ignored"),
                ("hotel failed", ""),
                ("hotel done", "ignored"),
                ("flight done", "compensate flight"),
                ("flight undone", ""),
            ],
        ),
        Row::failed(
            "the second failure keeps the first cause",
            "hotel",
            &[
                ("hotel failed", ""),
                ("flight failed", ""),
                ("car done", "compensate car"),
                ("car undone", ""),
            ],
        ),
        Row::failed(
            "every compensation that fails is reported, and none stops the others",
            "flight",
            &[
                ("car done", ""),
                ("hotel done", ""),
                ("flight failed", "compensate car, compensate hotel"),
                ("car not-undone", ""),
                ("hotel not-undone", ""),
                ("timer car/compensate/1/retry", "compensate car"),
                ("timer hotel/compensate/1/retry", "compensate hotel"),
                ("car not-undone", ""),
                ("hotel not-undone", ""),
                ("retry", "compensate car, compensate hotel"),
                ("car undone", ""),
                ("hotel undone", ""),
            ],
        )
        .alarms(&["car", "hotel"]),
    ];
    check(&trip(), "execute car, execute hotel, execute flight", &rows);
}
