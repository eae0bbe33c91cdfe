//! Any other address.

use leptos::prelude::*;
use leptos_meta::Title;

/// Says so, with status 404.
#[component]
pub fn NotFound() -> impl IntoView {
    if let Some(response) = use_context::<leptos_axum::ResponseOptions>() {
        response.set_status(http::StatusCode::NOT_FOUND);
    }
    view! {
        <Title text="Not found · Entrepost" />
        <div class="band" aria-hidden="true"></div>
        <main id="content" class="entrance">
            <section class="sheet">
                <h1>"Not found"</h1>
                <p>"There is no page at this address."</p>
                <p>
                    <a class="button primary" href="/">
                        "Go to the home page"
                    </a>
                </p>
            </section>
        </main>
    }
}
