//! A step of the guide: remembered as soon as it is ticked.

use leptos::prelude::*;

use super::alive;
use crate::api::email_config::set_guide_step;

#[island]
pub fn GuideTick(
    step: String,
    done: bool,
    /// Proven: it can't be unticked.
    settled: bool,
    label: String,
) -> impl IntoView {
    let alive = alive();
    let (ticked, set_ticked) = signal(done);
    let (failed, set_failed) = signal(false);
    let name = step.clone();
    let change = move |event: leptos::ev::Event| {
        let wanted = event_target_checked(&event);
        let step = name.clone();
        set_ticked.set(wanted);
        leptos::task::spawn_local(async move {
            let kept = set_guide_step(step, wanted).await.is_ok();
            set_failed.set(!kept);
            if !kept {
                set_ticked.set(!wanted);
            }
        });
    };
    view! {
        <input
            type="checkbox"
            name="steps[]"
            form="guide-form"
            value=step.clone()
            id=format!("step-{step}")
            aria-label=label
            checked=done
            disabled=settled
            prop:checked=ticked
            on:change=change
            data-hydrated=move || alive.get().then_some("true")
        />
        <span class="error" role="alert">
            {move || failed.get().then_some("Not saved. Try again.")}
        </span>
    }
}
