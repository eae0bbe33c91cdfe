//! What the command line does besides serving.

mod doctor;
mod key;
mod people;

use std::io::Write;
use std::sync::Arc;

use server::clock::Clock;
use server::config::{Config, Source};
use server::service::Services;
use server::wiring::{StartError, build};

pub use doctor::doctor;
pub use key::rotate_key;
pub use people::{add_institution, add_user};

/// The services of the process's settings.
pub async fn services() -> Result<Arc<Services>, StartError> {
    build(Config::read(&Source::from_process()?)?, Clock::system()).await
}

/// A line for the person at the terminal. Nobody reading (`entrepost doctor | head -1`) is no reason to fail.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
