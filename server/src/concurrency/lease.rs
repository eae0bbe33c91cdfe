//! Leases: renewed while work is done under them.

use std::pin::pin;
use std::time::Duration;

/// Runs `work`, and meanwhile `renew` at each interval.
pub async fn renewing<T, R>(work: impl Future<Output = T>, interval: Duration, renew: impl Fn() -> R) -> T
where
    R: Future<Output = ()>,
{
    let mut work = pin!(work);
    loop {
        let renewed = async {
            tokio::time::sleep(interval).await;
            renew().await;
        };
        tokio::select! {
            done = &mut work => return done,
            () = renewed => {}
        }
    }
}
