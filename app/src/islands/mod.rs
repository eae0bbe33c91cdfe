//! The only code that runs in the browser. Each island marks itself when it is alive, so that tests need not guess.

mod attempt;
mod complete;
mod copy;
mod guide;
mod submit;
mod times;

pub use attempt::AttemptLive;
pub use complete::CompleteSignIn;
pub use copy::CopyButton;
pub use guide::GuideTick;
pub use submit::SubmitButton;
pub use times::{mark_script, show_local_times};

use leptos::prelude::*;

/// `true` once effects run, which is only in a browser.
fn alive() -> ReadSignal<bool> {
    let (alive, set_alive) = signal(false);
    Effect::new(move |_| set_alive.set(true));
    alive
}
