//! The only code that runs in the browser. Each island marks itself once hydrated, for tests.
//!
//! The server ends the children of an element, and several views in a row, with a comment (see `.cargo/config.toml`). Where the browser
//! finds several elements in a row, they stand last in their parent.

mod attachments;
mod attempt;
mod complete;
mod copy;
mod draft;
mod guide;
mod leaving;
mod live;
mod submit;
mod times;

pub use attachments::Attachments;
pub use attempt::AttemptLive;
pub use complete::CompleteSignIn;
pub use copy::CopyButton;
pub use draft::{DraftKeeper, forget_what_was_sent};
pub use guide::GuideTick;
pub use leaving::watch_leaving;
pub use live::LiveMail;
pub use submit::SubmitButton;
pub use times::{mark_script, show_local_times};

use leptos::prelude::*;

/// `true` once effects run, which is only in a browser.
fn alive() -> ReadSignal<bool> {
    let (alive, set_alive) = signal(false);
    Effect::new(move |_| set_alive.set(true));
    alive
}
