//! Reloads a page, but not while it is being left: `location.reload()` ends a navigation that has begun,
//! and the link that was pressed would do nothing.

/// Notes when a navigation begins. Called once.
pub fn watch_leaving() {
    #[cfg(feature = "hydrate")]
    leptos::task::spawn_local(watch::forever());
}

#[cfg(feature = "hydrate")]
pub(super) use watch::{Reconnect, next, reload};

#[cfg(feature = "hydrate")]
mod watch {
    use std::cell::Cell;

    use leptos::prelude::window;
    use wasm_bindgen_futures::JsFuture;

    /// After this, a navigation that didn't leave was a download or failed.
    const IS_NONE_AFTER: f64 = 10_000.0;

    thread_local! {
        /// When the newest navigation began, in milliseconds since 1970.
        static BEGAN: Cell<f64> = const { Cell::new(0.0) };
    }

    pub(super) async fn forever() {
        loop {
            next(&window(), "beforeunload").await;
            BEGAN.set(js_sys::Date::now());
        }
    }

    /// Reloads the page, unless it is being left.
    pub(in super::super) async fn reload() {
        loop {
            let rest = BEGAN.get() + IS_NONE_AFTER - js_sys::Date::now();
            if rest <= 0.0 {
                break;
            }
            #[expect(clippy::cast_possible_truncation, reason = "at most IS_NONE_AFTER")]
            sleep(rest as i32 + 1).await;
        }
        let _ = window().location().reload();
    }

    async fn sleep(milliseconds: i32) {
        let waited = js_sys::Promise::new(&mut |resolve, _| {
            let _ = window().set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, milliseconds);
        });
        let _ = JsFuture::from(waited).await;
    }

    /// Pauses before following a stream again: a second, then twice as long each time, at most a minute.
    pub(in super::super) struct Reconnect(i32);

    impl Reconnect {
        pub(in super::super) const fn new() -> Self {
            Self(500)
        }

        /// The connection worked for a while.
        pub(in super::super) fn reset(&mut self) {
            *self = Self::new();
        }

        pub(in super::super) async fn pause(&mut self) {
            self.0 = (self.0 * 2).min(60_000);
            sleep(self.0).await;
        }
    }

    pub(in super::super) async fn next(target: &web_sys::EventTarget, name: &str) {
        let came = js_sys::Promise::new(&mut |resolve, _| {
            let options = web_sys::AddEventListenerOptions::new();
            options.set_once(true);
            let _ = target.add_event_listener_with_callback_and_add_event_listener_options(name, &resolve, &options);
        });
        let _ = JsFuture::from(came).await;
    }
}
