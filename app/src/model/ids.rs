//! Identifiers: UUIDs generated before the row is stored.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id!(InstitutionId);
id!(UserId);
id!(SessionId);
id!(MailboxId);
id!(AttemptId);
id!(RegistrationId);
id!(DeliveryId);
id!(DraftId);
id!(AttachmentId);
id!(InvitationListId);
id!(SigningKeyId);
id!(DeviceId);
