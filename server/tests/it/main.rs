//! Journeys through the real parts: sockets, databases, browsers' requests, and servers that others wrote. One program for all, so
//! that it is linked once and its tests share the machine's cores.

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
mod lease;
mod limits;
mod malformed;
mod messages;
mod migration;
mod outbox;
mod outcomes;
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
