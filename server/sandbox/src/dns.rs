//! DNS over UDP for the tenant's domains and the names that their records include. Everything else does not exist.

use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, MX, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;

use crate::Shared;

/// A record of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsRecord {
    Txt(String),
    /// Preference and host.
    Mx(u16, String),
    Cname(String),
    /// The server fails to answer for this name (SERVFAIL).
    Fails,
}

/// Seconds that answers may be cached.
const TTL: u32 = 60;
/// Aliases that are followed.
const MOST_ALIASES: usize = 8;
/// RFC 1035, 3.3: a character-string of TXT has at most 255 bytes.
const MOST_BYTES: usize = 255;

/// Records of a healthy domain that has not got DMARC yet.
pub(crate) fn healthy(domain: &str) -> Vec<(String, Vec<DnsRecord>)> {
    let dashed = domain.replace('.', "-");
    let selector = |n: u8| format!("selector{n}-{dashed}._domainkey.sandbox.onmicrosoft.example");
    let txt = |text: &str| DnsRecord::Txt(text.to_owned());
    vec![
        (
            domain.to_owned(),
            vec![
                txt("v=spf1 include:spf.protection.outlook.com -all"),
                DnsRecord::Mx(0, format!("{dashed}.mail.protection.outlook.com")),
            ],
        ),
        (format!("selector1._domainkey.{domain}"), vec![DnsRecord::Cname(selector(1))]),
        (format!("selector2._domainkey.{domain}"), vec![DnsRecord::Cname(selector(2))]),
        (selector(1), vec![txt("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A")]),
        ("spf.protection.outlook.com".to_owned(), vec![txt("v=spf1 ip4:192.0.2.0/24 -all")]),
    ]
}

fn key(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_lowercase()
}

fn name(text: &str) -> Option<Name> {
    Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).ok()
}

fn answer(shared: &Shared, question: &Message) -> Message {
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    let Some(query) = question.queries.first() else {
        reply.metadata.response_code = ResponseCode::FormErr;
        return reply;
    };
    reply.add_query(query.clone());
    let world = shared.world();
    let mut at = query.name().clone();
    for _ in 0..MOST_ALIASES {
        let Some(records) = world.dns.get(&key(&at)) else {
            reply.metadata.response_code = ResponseCode::NXDomain;
            return reply;
        };
        let mut alias = None;
        for record in records {
            let data = match (record, query.query_type()) {
                (DnsRecord::Txt(text), RecordType::TXT) => {
                    Some(RData::TXT(TXT::from_bytes(text.as_bytes().chunks(MOST_BYTES).collect())))
                }
                (DnsRecord::Mx(preference, host), RecordType::MX) => {
                    name(host).map(|host| RData::MX(MX::new(*preference, host)))
                }
                (DnsRecord::Cname(target), _) => {
                    alias = name(target);
                    alias.clone().map(|target| RData::CNAME(CNAME(target)))
                }
                (DnsRecord::Fails, _) => {
                    reply.metadata.response_code = ResponseCode::ServFail;
                    return reply;
                }
                _ => None,
            };
            if let Some(data) = data {
                reply.add_answer(Record::from_rdata(at.clone(), TTL, data));
            }
        }
        match alias {
            Some(target) => at = target,
            None => return reply,
        }
    }
    reply.metadata.response_code = ResponseCode::ServFail;
    reply
}

/// Answers until the sandbox stops.
pub(crate) async fn serve(shared: Arc<Shared>, socket: UdpSocket) {
    let mut buffer = [0_u8; 1500];
    loop {
        let received = tokio::select! {
            () = shared.stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let Ok((length, from)) = received else { continue };
        let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
        if question.metadata.message_type != MessageType::Query {
            continue;
        }
        let reply = answer(&shared, &question).to_vec();
        if let Ok(reply) = reply {
            let _ = socket.send_to(&reply, from).await;
        }
    }
}
