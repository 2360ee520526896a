//! The ads that a first start creates, so that orders can be placed at once.

use std::{future::pending, time::Duration};

use comms_core::{Error, clock::Clock, health::Component, in_transaction, shutdown::ShutdownSignal};

use super::{domain::Ad, store::Store};
use crate::{
    contracts::{Money, ad::MAX_STOCK},
    platform::db::Db,
};

/// The ids, titles, descriptions and prices in kopecks. The web page and the commands that the program prints order the
/// first one.
const ADS: [(&str, &str, &str, i64); 3] = [
    ("bike-42", "City bike", "Seven gears, a basket and a bell.", 129_900),
    ("lamp-7", "Desk lamp", "Warm light, and an arm that stays where it is put.", 4_990),
    ("tent-3", "Tent for three", "Stands in ten minutes. Waterproof.", 899_000),
];
/// The seller of the ads.
const SELLER: &str = "demonstration";
/// The wait after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Creates the ads when the database is open, and waits for the shutdown. `component` is unready until then.
pub(super) async fn run(
    (db, store): (Db, Store),
    clock: Clock,
    component: Component,
    shutdown: ShutdownSignal,
) -> Result<(), Error> {
    component.unready("the demonstration ads are not created yet");
    let created = async {
        db.opened().await;
        while let Err(error) = create(&db, &store).await {
            tracing::warn!(error = %error.chain(), "could not create the demonstration ads");
            clock.sleep(PAUSE).await;
        }
        component.ready();
        pending::<()>().await;
    };
    tokio::select! {
        () = shutdown.wait() => Ok(()),
        () = created => Ok(()),
    }
}

/// Creates the ads if there is no ad. Of two processes that start at the same time, one creates them.
pub(super) async fn create(db: &Db, store: &Store) -> Result<(), Error> {
    in_transaction(db, async |mut tx| {
        if store.has_ads(&mut tx).await? {
            return Ok(());
        }
        for (ad_id, title, description, minor) in ADS {
            let ad = Ad {
                ad_id: ad_id.to_owned(),
                seller_id: SELLER.to_owned(),
                title: title.to_owned(),
                description: description.to_owned(),
                price: Money { minor, currency: "RUB".to_owned() },
                stock: MAX_STOCK,
                available: MAX_STOCK,
                created_at: store.now(),
            };
            store.insert(&mut tx, &ad).await?;
        }
        Ok(())
    })
    .await
}
