//! Pages of ads, and the demonstration ads.

use super::*;
use crate::services::ad::demonstration;

#[tokio::test]
async fn ads_are_listed_newest_first_by_pages_sqlite() {
    pages(World::sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn ads_are_listed_newest_first_by_pages_postgres() {
    pages(World::postgres().await).await;
}

async fn pages(world: World) {
    let ids = ["zebra", "a", "Bee", "c-1", "c_2"];
    for id in ids {
        world.offer(id, 1).await;
        world.clock.advance(Duration::from_millis(1));
    }
    world.offer("same-1", 1).await;
    world.offer("same-2", 1).await; // in the same millisecond
    let all = page(&world, None, 100).await;
    assert_eq!(all.0.len(), 7);
    assert_eq!(all.0[2..], ["c_2", "c-1", "Bee", "a", "zebra"], "newest first");
    assert_eq!(all.1, None);
    let (mut walked, mut before) = (Vec::new(), None);
    loop {
        let (ids, next) = page(&world, before.as_deref(), 2).await;
        walked.extend(ids);
        world.clock.advance(Duration::from_millis(1));
        world.offer(&format!("added-{}", walked.len()), 1).await;
        let Some(next) = next else { break };
        before = Some(next);
    }
    assert_eq!(walked, all.0, "no ad twice, and none left out");
    let unknown = world.store.page(Some("nothing"), 2).await.err().unwrap();
    assert_eq!(unknown.kind, comms_core::ErrorKind::Invalid);
}

async fn page(world: &World, before: Option<&str>, limit: u32) -> (Vec<String>, Option<String>) {
    let page = world.store.page(before, limit).await.unwrap();
    (page.ads.into_iter().map(|ad| ad.unwrap().ad_id).collect(), page.next)
}

#[tokio::test]
async fn the_demonstration_ads_are_created_in_an_empty_table_alone_sqlite() {
    demonstrate(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn the_demonstration_ads_are_created_in_an_empty_table_alone_postgres() {
    demonstrate(World::postgres().await).await;
}

async fn demonstrate(world: World) {
    let create = || demonstration::create(&world.db, &world.store);
    let (one, two) = tokio::join!(create(), create());
    one.and(two).unwrap();
    let bike = world.store.find("bike-42").await.unwrap().unwrap();
    bike.validate().unwrap();
    assert_eq!((bike.price.minor, bike.available), (129_900, 1_000_000));
    assert_eq!(page(&world, None, 100).await.0.len(), 3);
    let mut tx = world.db.begin().await.unwrap();
    tx.execute("DELETE FROM {s}.ads WHERE ad_id = 'bike-42'", &[]).await.unwrap();
    world.db.commit(tx).await.unwrap();
    create().await.unwrap();
    assert_eq!(page(&world, None, 100).await.0.len(), 2, "a later start adds nothing");
}

/// Each page is read from a range of the index, so that a later page costs as much as the first.
#[tokio::test]
async fn a_page_of_ads_is_read_from_a_range_of_the_index() {
    let world = World::sqlite().await;
    for (query, args, step) in
        [(PAGE, vec![1.into(), "a".into(), 2.into()], "SEARCH"), (NEWEST, vec![2.into()], "SCAN")]
    {
        let explain: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {query}").into_boxed_str());
        let plan = world.db.fetch(explain, &args).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.text("detail").unwrap()).collect();
        assert_eq!(steps.len(), 1, "no sorting: {steps:?}");
        assert!(steps[0].starts_with(step) && steps[0].contains("USING INDEX ads_by_age"), "{steps:?}");
    }
}
