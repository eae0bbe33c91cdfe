//! Exponential back-off with jitter, so that clients that failed together don't retry together.

/// Pauses between retries, in milliseconds.
pub struct Backoff {
    pub first_ms: i64,
    pub longest_ms: i64,
}

impl Backoff {
    /// Doubles with each earlier failure up to the longest pause, and lasts at least `asked_ms`. `jitter` (0 to 1) adds up to 20 %.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "milliseconds of a day")]
    pub fn pause_ms(&self, failures: u32, asked_ms: i64, jitter: f64) -> i64 {
        let doubled = self.first_ms.saturating_mul(1 << failures.min(16)).min(self.longest_ms).max(asked_ms);
        doubled.saturating_add((doubled as f64 * jitter.clamp(0.0, 1.0) / 5.0) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;

    #[test]
    fn doubles_up_to_the_longest_and_obeys_the_server() {
        let backoff = Backoff { first_ms: 500, longest_ms: 60_000 };
        let pauses: Vec<i64> = (0..9).map(|failures| backoff.pause_ms(failures, 0, 0.0)).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.pause_ms(u32::MAX, 0, 1.0), 72_000);
        assert_eq!(backoff.pause_ms(0, 90_000, 0.0), 90_000);
        assert_eq!(backoff.pause_ms(0, 90_000, 7.0), 108_000);
        assert_eq!(Backoff { first_ms: i64::MAX, ..backoff }.pause_ms(40, i64::MAX, 0.0), i64::MAX);
    }
}
