//! Attachments: uploaded when chosen, with progress.

use leptos::prelude::*;

use super::alive;
use crate::model::{AttachmentView, size_in_words};

/// The file control of the compose form. Without JavaScript, files are sent with the form.
#[island]
pub fn Attachments(initial: Vec<AttachmentView>, limit: u64) -> impl IntoView {
    let alive = alive();
    let (attached, set_attached) = signal(initial);
    let (progress, set_progress) = signal(None::<u32>);
    let (problem, set_problem) = signal(String::new());
    let input = NodeRef::<leptos::html::Input>::new();
    let chosen = move |()| {
        #[cfg(feature = "hydrate")]
        if let Some(input) = input.get_untracked() {
            upload::start(&input, limit, (set_attached, set_progress, set_problem));
        }
        #[cfg(not(feature = "hydrate"))]
        let _ = (set_attached, set_progress, set_problem);
    };
    // A file may be chosen before this runs.
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| chosen(()));
    view! {
        <div class="files" data-hydrated=move || alive.get().then_some("true")>
            <p class="hint" id="files-hint">
                "Up to "
                {size_in_words(limit)}
                " in total."
            </p>
            <ul class="attachments">
                {move || {
                    attached
                        .get()
                        .into_iter()
                        .map(|one| {
                            let label = format!("Remove {}", one.name);
                            let size = one.size_in_words();
                            view! {
                                <li>
                                    <span class="attachment-name">{one.name}</span>
                                    <span class="quiet">{size}</span>
                                    <button class="button small" name="action" value=format!("remove:{}", one.id) aria-label=label>
                                        "Remove"
                                    </button>
                                </li>
                            }
                        })
                        .collect_view()
                }}
            </ul>
            <input type="file" id="files" name="files" multiple=true node_ref=input on:change=move |_| chosen(()) aria-describedby="files-hint" />
            {move || {
                progress
                    .get()
                    .map(|done| {
                        view! {
                            <label class="uploading">
                                <span>"Attaching… " {done} " %"</span>
                                <progress max="100" value=done></progress>
                            </label>
                        }
                    })
            }}
            <p class="error" role="alert">
                {problem}
            </p>
        </div>
    }
}

#[cfg(feature = "hydrate")]
mod upload {
    use leptos::prelude::{Set, WriteSignal};
    use leptos::server_fn::ServerFn;
    use wasm_bindgen::JsCast;
    use wasm_bindgen::prelude::Closure;
    use web_sys::{FormData, HtmlInputElement, ProgressEvent, XmlHttpRequest};

    use crate::api::drafts::AttachFiles;
    use crate::error::AppError;
    use crate::model::{AttachmentView, size_in_words};

    type Signals = (WriteSignal<Vec<AttachmentView>>, WriteSignal<Option<u32>>, WriteSignal<String>);

    /// fetch reports no upload progress; XMLHttpRequest does.
    pub(super) fn start(input: &HtmlInputElement, limit: u64, (attached, progress, problem): Signals) {
        let (Some(files), Some(form)) = (input.files(), input.form()) else { return };
        if files.length() == 0 {
            return;
        }
        problem.set(String::new());
        let total: f64 = (0..files.length()).filter_map(|at| files.get(at)).map(|file| file.size()).sum();
        #[expect(clippy::cast_precision_loss, reason = "a limit of some megabytes")]
        if total > limit as f64 {
            problem.set(format!("These files are too large: attachments can be {} in total.", size_in_words(limit)));
            input.set_value("");
            return;
        }
        // Sends the whole form, so that the text is saved too.
        let (Ok(data), Ok(request)) = (FormData::new_with_form(&form), XmlHttpRequest::new()) else { return };
        if request.open("POST", AttachFiles::PATH).is_err() {
            return;
        }
        let moved = Closure::<dyn Fn(ProgressEvent)>::new(move |event: ProgressEvent| {
            if event.length_computable() {
                // Integers: formatting floats would add kilobytes.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
                progress.set(Some((event.loaded() / event.total() * 100.0) as u32));
            }
        });
        if let Ok(upload) = request.upload() {
            upload.set_onprogress(Some(moved.as_ref().unchecked_ref()));
        }
        // Submitting now would lose or duplicate these files.
        let hold = move |form: &web_sys::HtmlFormElement, held: bool| {
            let Ok(buttons) = form.query_selector_all("button") else { return };
            for at in 0..buttons.length() {
                let button = buttons.get(at).and_then(|node| node.dyn_into::<web_sys::HtmlButtonElement>().ok());
                if let Some(button) = button {
                    button.set_disabled(held);
                }
            }
        };
        hold(&form, true);
        let (control, answer, whole) = (input.clone(), request.clone(), form.clone());
        let ended = Closure::once_into_js(move || {
            drop(moved);
            hold(&whole, false);
            progress.set(None);
            let text = answer.response_text().ok().flatten().unwrap_or_default();
            let told = match answer.status() {
                Ok(200) => serde_json::from_str::<Vec<AttachmentView>>(&text).map_err(|_| AppError::Malformed),
                Ok(0) | Err(_) => Err(AppError::Unreachable),
                Ok(413) => Err(AppError::refused("These files are too large in total.")),
                Ok(_) => Err(serde_json::from_str(&text).unwrap_or(AppError::Malformed)),
            };
            match told {
                Ok(all) => {
                    attached.set(all);
                    // Uploaded files must not be sent again with the form.
                    control.set_value("");
                }
                Err(error) => problem.set(format!("Not attached. {error}")),
            }
        });
        request.set_onloadend(Some(ended.unchecked_ref()));
        progress.set(Some(0));
        if request.send_with_opt_form_data(Some(&data)).is_err() {
            hold(&form, false);
            progress.set(None);
        }
    }
}
