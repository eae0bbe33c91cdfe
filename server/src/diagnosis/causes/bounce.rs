//! Messages that came back.

use super::{Cause, cause, say};
use app::model::FixedBy::{Administrator, You};
use app::model::Remedy::TryAgain;

pub(super) static CAUSES: &[Cause] = &[
    cause(
        "bounced",
        "The message came back.",
        (
            "The recipient's mail server did not take it. The evidence below has its words.",
            "The recipient's mail server did not take it. The evidence below has its words.",
        ),
        (You, TryAgain),
        &[say(
            "Check the address {address}. If it is right, ask the recipient by another way, and show them the evidence.",
        )],
    ),
    cause(
        "bounce_domain_unknown",
        "There is no mail server for this address.",
        (
            "The part behind the @ of {address} does not take mail.",
            "The domain of {address} has no mail server, or none that takes mail for it.",
        ),
        (You, TryAgain),
        &[say("Check how {address} is spelt, above all behind the @.")],
    ),
    cause(
        "bounce_full",
        "The recipient's mailbox is full.",
        ("{address} takes no mail until its owner makes room.", "The mailbox of {address} has reached its quota."),
        (You, TryAgain),
        &[say("Tell the recipient by another way, and send the message again later.")],
    ),
    cause(
        "bounce_too_large",
        "The message is too large for the recipient.",
        (
            "The recipient's mail server takes no message of this size.",
            "The recipient's mail server takes no message of this size.",
        ),
        (You, TryAgain),
        &[say("Send the files as a link, or in several messages.")],
    ),
    cause(
        "bounce_late",
        "The recipient's mail server could not be reached.",
        (
            "It was tried for a long time, without an answer.",
            "Exchange Online tried for a long time and got no answer from the recipient's mail server.",
        ),
        (You, TryAgain),
        &[say("Check how {address} is spelt. If it is right, send the message again later.")],
    ),
    cause(
        "bounce_spam",
        "The recipient's mail server took the message for spam.",
        (
            "It was not delivered to {address}. Your mailbox works.",
            "The recipient's side refused the message as spam. The sender's mailbox and connection work.",
        ),
        (You, TryAgain),
        &[
            say("Write it in other words, with fewer links and files, and send it again."),
            say(
                "If it happens with many recipients, tell an administrator: the domain's reputation, or its SPF, DKIM and DMARC records, may be the reason.",
            ),
        ],
    ),
    cause(
        "bounce_not_accepted",
        "The recipient does not accept messages from you.",
        (
            "{address} takes messages from some senders only, or no mail at all.",
            "{address} is restricted to some senders, or its mail server does not accept this one.",
        ),
        (You, TryAgain),
        &[say("Ask the recipient, or the owner of that list or group, to allow your address.")],
    ),
    cause(
        "bounce_domain_records",
        "The institution's domain is not set up for mail to this recipient.",
        (
            "The recipient's provider demands records in your domain that are missing.",
            "The recipient's provider demands SPF, DKIM and DMARC for the sender's domain, and one of them is missing or wrong.",
        ),
        (Administrator, TryAgain),
        &[
            say(
                "Microsoft Defender portal › Email & collaboration › Policies › Email authentication settings › DKIM: switch it on for the domain, and publish the two records it shows.",
            ),
            say(
                "In the domain's DNS, publish an SPF record that includes spf.protection.outlook.com, and a DMARC record.",
            ),
        ],
    ),
];
