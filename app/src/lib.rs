//! Pages, islands, server functions, domain types with validation, and the traits that the
//! server implements.
//!
//! **Architecture invariant:** nothing here uses sqlx, lettre or oauth2, and no type contains a secret except the posted form,
//! so secrets can't reach WebAssembly. Pages are compiled for the server only; the browser gets the islands.

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
