//! The browser's module: the islands of `app`.

use wasm_bindgen::prelude::wasm_bindgen;

/// Called by the page once the module is loaded.
#[wasm_bindgen]
pub fn hydrate() {
    app::islands::forget_what_was_sent();
    leptos::mount::hydrate_islands();
    app::islands::watch_leaving();
    app::islands::mark_script();
    app::islands::show_local_times();
}
