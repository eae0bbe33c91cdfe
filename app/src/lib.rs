//! What people see, and the contract: domain types, validation, pages, islands, server functions, and the traits that the
//! server implements.
//!
//! **Architecture invariant:** nothing here names sqlx, lettre or oauth2, and no type holds a secret but the form field on its
//! way in; so a secret cannot reach WebAssembly. Pages exist on the server only; the browser gets the islands.

#![recursion_limit = "512"]

pub mod api;
#[cfg(feature = "ssr")]
pub mod backend;
pub mod components;
pub mod error;
pub mod islands;
pub mod model;
#[cfg(feature = "ssr")]
pub mod pages;
#[cfg(feature = "ssr")]
mod shell;

#[cfg(feature = "ssr")]
pub use shell::{App, shell};
