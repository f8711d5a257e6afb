//! A load has a pace and a length; nothing else in the tests waits for time to pass.

use std::time::Duration;

/// Lets so much time pass.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
