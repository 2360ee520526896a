//! An endpoint that returns from an ejection, and whose attempts lose to the hedges.

use comms_grpc::ServerConfig;

use super::{builder, connect_all, previous_attempts};
use crate::{
    h2_peer::{Answer, H2Peer},
    outliers::{outlier, short},
    support::{TestService, call, eventually, start},
};

/// The endpoint never answers after its first failures. As the first attempt of a call, its trial is overtaken by the hedge.
/// As the hedge, it loses to the attempt before it, which proves nothing.
#[tokio::test]
async fn a_trial_that_is_overtaken_by_its_hedge_ends_with_another_ejection() {
    let silent = H2Peer::start(|n| if n < 5 { Answer::Status("14", vec![]) } else { Answer::Silence }).await;
    let good = start(TestService::default(), ServerConfig::default()).await;
    let channel = builder(&[silent.address, good.address]).outliers(short()).build().unwrap();
    connect_all(&channel).await;
    while !outlier(&channel, 0).ejected {
        call(&channel, "report", 0).await.unwrap();
    }
    let (mut overtaken, mut earlier) = (0, 0);
    while overtaken == 0 || earlier == 0 {
        eventually("the endpoint is on trial", || outlier(&channel, 0).on_trial).await;
        let before = previous_attempts(&silent).len();
        call(&channel, "sleep", 60).await.unwrap();
        let state = outlier(&channel, 0);
        match previous_attempts(&silent).get(before) {
            // The endpoint has not received the call.
            None => {}
            Some(0) => {
                overtaken += 1;
                assert!(state.ejected, "{state:?}");
            }
            Some(_) => {
                earlier += 1;
                assert!(state.on_trial && !state.ejected, "{state:?}");
            }
        }
    }
}
