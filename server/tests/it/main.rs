//! Journeys through real sockets, databases and servers by others. One test program: it's linked once, and its tests share the
//! cores.

mod common;

mod attacks;
mod authorisation;
mod command_line;
mod connections;
mod crash;
mod disk;
mod dovecot;
mod drafts;
mod events;
mod folders;
mod hostile;
mod id_token;
mod inbox;
mod kept_sessions;
mod lease;
mod limits;
mod malformed;
mod messages;
mod migration;
mod outbox;
mod outcomes;
mod pipelining;
mod proxy;
mod registration;
mod secrets;
mod shown;
mod source;
mod start;
mod store;
mod throttle;
mod tokens;
mod upkeep;
mod versions;
