//! Bounces.

use super::{Cause, cause, say};
use app::model::FixedBy::{Administrator, You};
use app::model::Remedy::TestAgain;

pub(super) static CAUSES: &[Cause] = &[
    cause(
        "bounced",
        "The message was returned undelivered.",
        "The recipient's mail server didn't accept it. The technical details below show its reply.",
        "The recipient's mail server didn't accept it. The technical details below show its reply.",
        You,
        TestAgain,
        &[say(
            "Check the address {address}. If it's right, contact the recipient another way and send them the technical details.",
        )],
    ),
    cause(
        "bounce_domain_unknown",
        "There is no mail server for this address.",
        "The part after the @ of {address} doesn't receive mail.",
        "The domain of {address} has no mail server that accepts mail for it.",
        You,
        TestAgain,
        &[say("Check the spelling of {address}, especially after the @.")],
    ),
    cause(
        "bounce_full",
        "The recipient's mailbox is full.",
        "{address} can't receive mail until its owner frees space.",
        "The mailbox of {address} has reached its quota.",
        You,
        TestAgain,
        &[say("Tell the recipient another way, and send the message again later.")],
    ),
    cause(
        "bounce_too_large",
        "The message is too large for the recipient.",
        "The recipient's mail server doesn't accept messages of this size.",
        "The recipient's mail server doesn't accept messages of this size.",
        You,
        TestAgain,
        &[say("Send the files as a link, or in several messages.")],
    ),
    cause(
        "bounce_late",
        "The recipient's mail server could not be reached.",
        "Microsoft tried for a long time and got no answer.",
        "Exchange Online tried for a long time and got no answer from the recipient's mail server.",
        You,
        TestAgain,
        &[say("Check the spelling of {address}. If it's right, send the message again later.")],
    ),
    cause(
        "bounce_spam",
        "The recipient's mail server treated the message as spam.",
        "It wasn't delivered to {address}. Your mailbox works.",
        "The recipient's side refused the message as spam. The sender's mailbox and connection work.",
        You,
        TestAgain,
        &[
            say("Reword it, use fewer links and files, and send it again."),
            say(
                "If it happens with many recipients, tell an administrator: the domain's reputation, or its SPF, DKIM and DMARC records, may be the reason.",
            ),
        ],
    ),
    cause(
        "bounce_not_accepted",
        "The recipient does not accept messages from you.",
        "{address} accepts messages from certain senders only, or no mail at all.",
        "{address} is restricted to certain senders, or its mail server doesn't accept this one.",
        You,
        TestAgain,
        &[say("Ask the recipient, or the owner of that list or group, to allow your address.")],
    ),
    cause(
        "bounce_domain_records",
        "The institution's domain is not set up for mail to this recipient.",
        "The recipient's provider requires settings of your institution's domain that are missing.",
        "The recipient's provider requires SPF, DKIM and DMARC for the sender's domain, and one of them is missing or wrong.",
        Administrator,
        TestAgain,
        &[
            say(
                "Microsoft Defender portal › Email & collaboration › Policies › Email authentication settings › DKIM: switch it on for the domain, and publish the two records it shows.",
            ),
            say(
                "Institution › Mail health in Entrepost shows under Sender's domains which record is missing or wrong, and the value to publish in the domain's DNS.",
            ),
        ],
    ),
];
