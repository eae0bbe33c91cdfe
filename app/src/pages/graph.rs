//! Institution Config › General › Email: sending without SMTP.

use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use crate::api::email_config::SaveGraphUse;
use crate::components::RadioGroup;
use crate::islands::SubmitButton;
use crate::model::{Flash, GraphUse, GraphView};

/// When mailboxes send through Microsoft Graph, and what that needs at Microsoft.
pub(super) fn graph(view: GraphView) -> AnyView {
    let by_graph = (view.by_graph > 0).then(|| {
        let of =
            if view.by_graph == 1 { "1 mailbox sends".to_owned() } else { format!("{} mailboxes send", view.by_graph) };
        view! { <p>{format!("{of} through Microsoft Graph now.")}</p> }
    });
    let needs = (view.graph != GraphUse::Off).then(|| {
        view! {
            <p>
                "At Microsoft: Entra ID › App registrations › the app › API permissions › Add a permission › Microsoft Graph › Delegated permissions: "
                <strong>"Mail.Send"</strong> " (to send) and " <strong>"Mail.ReadWrite"</strong>
                " (messages above 3 MB, and to see whether a message was sent). Then grant admin consent in step 3: no one has to sign in again."
            </p>
        }
    });
    view! {
        <section class="sheet" id="without-smtp">
            <h2>"Sending without SMTP"</h2>
            <p>
                "Where Authenticated SMTP stays switched off (5.7.139), mailboxes can send through Microsoft Graph instead. Limits and Sent Items stay the same."
            </p>
            {by_graph}
            <form method="post" action=SaveGraphUse::PATH>
                <RadioGroup
                    name="graph"
                    legend="Microsoft Graph"
                    options=vec![
                        ("off", "Don't use it"),
                        ("when_refused", "Use it for mailboxes whose SMTP is switched off"),
                        ("always", "Use it for every mailbox"),
                    ]
                    chosen=view.graph.as_str()
                    flash=Flash::default()
                />
                {needs}
                <div class="actions">
                    <SubmitButton label="Use this way".to_owned() busy="Saving…".to_owned() class="button".to_owned() />
                </div>
            </form>
        </section>
    }
    .into_any()
}
