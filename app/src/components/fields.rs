//! Form fields: label, hint, error, control, in that order.

use leptos::prelude::*;

use crate::islands::SubmitButton;
use crate::model::{Flash, Timestamp};

/// Frame of one control, with its hint and error.
#[component]
pub fn Field(
    name: &'static str,
    label: &'static str,
    #[prop(into, optional)] hint: String,
    #[prop(optional)] optional: bool,
    flash: Flash,
    children: Children,
) -> impl IntoView {
    let error = flash.error(name).map(ToOwned::to_owned);
    let invalid = error.is_some();
    view! {
        <div class="field" class:invalid=invalid>
            <label for=name>{label} {optional.then(|| view! { <span class="optional">" (optional)"</span> })}</label>
            {(!hint.is_empty())
                .then(|| {
                    view! {
                        <p class="hint" id=format!("{name}-hint")>
                            {hint}
                        </p>
                    }
                })}
            {error
                .map(|error| {
                    view! {
                        <p class="error" id=format!("{name}-error")>
                            {error}
                        </p>
                    }
                })}
            {children()}
        </div>
    }
}

#[component]
pub fn TextInput(
    name: &'static str,
    label: &'static str,
    /// `email`, `password`, `date`, `text`.
    #[prop(default = "text")]
    kind: &'static str,
    /// Value, unless another was typed.
    #[prop(into, optional)]
    value: String,
    #[prop(into, optional)] hint: String,
    #[prop(into, optional)] placeholder: String,
    #[prop(default = "off")] autocomplete: &'static str,
    #[prop(optional)] optional: bool,
    #[prop(optional)] mono: bool,
    #[prop(optional)] autofocus: bool,
    /// Email keyboard, no capitals; pasted lines stay separate.
    #[prop(optional)]
    addresses: bool,
    /// Suggestions: value and name.
    #[prop(optional)]
    suggestions: Vec<(String, String)>,
    flash: Flash,
) -> impl IntoView {
    let list = (!suggestions.is_empty()).then(|| format!("{name}-suggestions"));
    let options = list.clone().map(|id| {
        let options =
            suggestions.into_iter().map(|(value, name)| view! { <option value=value>{name}</option> }).collect_view();
        view! { <datalist id=id>{options}</datalist> }
    });
    let value = flash.typed(name).map_or(value, ToOwned::to_owned);
    let invalid = flash.error(name).is_some();
    let described = match (hint.is_empty(), invalid) {
        (true, false) => None,
        (false, false) => Some(format!("{name}-hint")),
        (true, true) => Some(format!("{name}-error")),
        (false, true) => Some(format!("{name}-hint {name}-error")),
    };
    if addresses {
        return view! {
            <Field name label hint optional flash>
                <textarea
                    id=name
                    name=name
                    rows="1"
                    class="addresses"
                    autocomplete=autocomplete
                    aria-invalid=invalid.then_some("true")
                    aria-describedby=described
                    spellcheck="false"
                    inputmode="email"
                    autocapitalize="none"
                >
                    {value}
                </textarea>
            </Field>
        }
        .into_any();
    }
    view! {
        <Field name label hint optional flash>
            <input
                id=name
                name=name
                type=kind
                value=value
                placeholder=(!placeholder.is_empty()).then_some(placeholder)
                autofocus=autofocus
                autocomplete=autocomplete
                class:mono=mono
                aria-invalid=invalid.then_some("true")
                aria-describedby=described
                spellcheck="false"
                list=list
            />
            {options}
        </Field>
    }
    .into_any()
}

#[component]
pub fn RadioGroup(
    name: &'static str,
    legend: &'static str,
    #[prop(into, optional)] hint: String,
    options: Vec<(&'static str, &'static str)>,
    /// Value, unless another was posted.
    #[prop(into)]
    chosen: String,
    flash: Flash,
) -> impl IntoView {
    let chosen = flash.typed(name).filter(|typed| !typed.is_empty()).map_or(chosen, ToOwned::to_owned);
    let described = (!hint.is_empty()).then(|| format!("{name}-hint"));
    view! {
        <fieldset class="field" aria-describedby=described>
            <legend>{legend}</legend>
            {(!hint.is_empty())
                .then(|| {
                    view! {
                        <p class="hint" id=format!("{name}-hint")>
                            {hint}
                        </p>
                    }
                })}
            <div class="radios">
                {options
                    .into_iter()
                    .map(|(value, label)| {
                        view! {
                            <label class="radio">
                                <input type="radio" id=format!("{name}-{value}") name=name value=value checked=chosen == value />
                                <span>{label}</span>
                            </label>
                        }
                    })
                    .collect_view()}
            </div>
        </fieldset>
    }
}

/// The summary of errors at the top of a form. Each error links to its field.
#[component]
pub fn ErrorSummary(
    flash: Flash,
    #[prop(default = "Not saved. Check the fields below.")] title: &'static str,
    #[prop(optional)] after: &'static str,
) -> impl IntoView {
    (!flash.errors.is_empty()).then(|| {
        view! {
            <div class="banner bad" role="alert" tabindex="-1" autofocus id="errors">
                <span class="banner-sign" aria-hidden="true">
                    "✕"
                </span>
                <div class="banner-body">
                    <p class="banner-title">
                        <span class="visually-hidden">"Problem: "</span>
                        {title}
                    </p>
                    <ul class="plain">
                        {flash
                            .errors
                            .into_iter()
                            .map(|error| {
                                view! {
                                    <li>
                                        <a href=format!("#{}", error.field)>{error.label} ": " {error.text}</a>
                                    </li>
                                }
                            })
                            .collect_view()}
                    </ul>
                    {(!after.is_empty()).then(|| view! { <p>{after}</p> })}
                </div>
            </div>
        }
    })
}

#[component]
pub fn Submit(
    action: &'static str,
    values: Vec<(&'static str, String)>,
    #[prop(into)] label: String,
    #[prop(default = "button")] class: &'static str,
    #[prop(optional)] busy: &'static str,
    /// The browser adds `utc_offset`, its zone's offset at this time, in minutes.
    #[prop(optional_no_strip)]
    zone_at: Option<Timestamp>,
) -> impl IntoView {
    let button = if busy.is_empty() {
        view! { <button class=class>{label}</button> }.into_any()
    } else {
        view! { <SubmitButton label busy=busy.to_owned() class=class.to_owned() /> }.into_any()
    };
    view! {
        <form method="post" action=action>
            {values.into_iter().map(|(name, value)| view! { <input type="hidden" name=name value=value /> }).collect_view()}
            {zone_at.map(|at| view! { <input type="hidden" name="utc_offset" data-at=at.iso() /> })}
            {button}
        </form>
    }
}
