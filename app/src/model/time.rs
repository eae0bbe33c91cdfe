//! Times and their texts.

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Negative values go back.
    pub fn plus_ms(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
    /// Milliseconds since `earlier`.
    pub fn since_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
    /// `2026-11-26T07:15:04Z`, for `<time>` and scripts.
    pub fn iso(self) -> String {
        let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        time::OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000))
            .ok()
            .and_then(|at| at.format(format).ok())
            .unwrap_or_default()
    }
    /// The time in words, in a zone or in UTC, without seconds: `26 November 2026, 08:15`, `26 November 2026, 07:15 UTC`.
    pub fn text(self, zone: Option<UtcOffset>) -> String {
        let words = time::macros::format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute]");
        let minutes = zone.map_or(0, |zone| i64::from(zone.0));
        let text = time::OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000) + minutes * 60)
            .ok()
            .and_then(|at| at.format(words).ok());
        match (text, zone) {
            (Some(text), None) => format!("{text} UTC"),
            (text, _) => text.unwrap_or_default(),
        }
    }
    /// The time in words, in UTC and with seconds: `26 November 2026, 07:15:04 UTC`. Empty beyond the year 9999.
    pub fn utc_text(self) -> String {
        let words = time::macros::format_description!(
            "[day padding:none] [month repr:long] [year], [hour]:[minute]:[second] UTC"
        );
        time::OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000))
            .ok()
            .and_then(|at| at.format(words).ok())
            .unwrap_or_default()
    }
}

/// Minutes a zone is ahead of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtcOffset(i16);

impl UtcOffset {
    /// Accepts UTC−12 to UTC+14.
    pub fn parse(minutes: &str) -> Option<Self> {
        minutes.parse().ok().filter(|minutes| (-12 * 60..=14 * 60).contains(minutes)).map(Self)
    }
}

/// `today`, `in 1 day`, `in 12 days`
pub fn in_days(days: i64) -> String {
    match days {
        ..=0 => "today".to_owned(),
        1 => "in 1 day".to_owned(),
        _ => format!("in {days} days"),
    }
}
