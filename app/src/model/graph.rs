//! Microsoft Graph, beside SMTP.

use serde::{Deserialize, Serialize};

/// When an institution's mailboxes send through Microsoft Graph.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum GraphUse {
    #[default]
    Off,
    /// Those for which SMTP is switched off (5.7.139).
    WhenRefused,
    Always,
}

/// The way by which a mailbox sends.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum SendWay {
    #[default]
    Smtp,
    Graph,
}

/// How an institution's mailboxes send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphView {
    pub graph: GraphUse,
    /// Mailboxes that send through Graph now.
    pub by_graph: i64,
}
