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
mod fates;
mod folders;
mod hostile;
mod id_token;
mod inbox;
mod limits;
mod line;
mod malformed;
mod messages;
mod migration;
mod outbox;
mod pace;
mod proxy;
mod registration;
mod secrets;
mod shown;
mod source;
mod start;
mod store;
mod tokens;
mod upkeep;
