//! What the browser loads: the islands of `app`, and nothing else.

use wasm_bindgen::prelude::wasm_bindgen;

/// Called by the page's loader once the module is ready.
#[wasm_bindgen]
pub fn hydrate() {
    app::islands::forget_what_was_sent();
    leptos::mount::hydrate_islands();
    app::islands::watch_leaving();
    app::islands::mark_script();
    app::islands::show_local_times();
}
