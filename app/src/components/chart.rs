//! A bar chart as SVG, with its figures in a table.

use leptos::prelude::*;

use crate::model::MailCounts;

/// Units of the drawing.
const BAR: i64 = 20;
const HEIGHT: i64 = 120;

/// Columns of counts, each with a name. `id` is unique on the page.
#[component]
pub fn CountChart(
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    columns: Vec<(String, MailCounts)>,
) -> impl IntoView {
    let most = columns.iter().map(|(_, counts)| counts.all()).max().unwrap_or_default().max(1);
    let width = BAR * i64::try_from(columns.len()).unwrap_or_default();
    let total: MailCounts = columns.iter().map(|(_, counts)| *counts).sum();
    let words: Vec<String> = total.parts().iter().map(|(name, count)| format!("{name}: {count}")).collect();
    let words = words.join(", ");
    let bars = columns.iter().zip(0_i64..).map(|((name, counts), at)| {
        let mut top = HEIGHT;
        let parts = counts.parts().into_iter().filter(|(_, count)| *count > 0).map(|(kind, count)| {
            // What happened is seen, however little beside the most.
            let height = (count * HEIGHT / most).max(2);
            top -= height;
            let class = format!("bar {}", kind.to_lowercase());
            view! { <rect class=class x=at * BAR + 2 y=top.max(0) width=BAR - 4 height=height /> }
        });
        let parts = parts.collect_view();
        view! {
            <g>
                <title>{format!("{name}: {}", counts.parts().map(|(kind, count)| format!("{kind} {count}")).join(", "))}</title>
                {parts}
            </g>
        }
    });
    let bars = bars.collect_view();
    let legend = total.parts().into_iter().map(|(kind, count)| {
        view! {
            <li>
                <span class=format!("key {}", kind.to_lowercase()) aria-hidden="true"></span>
                {format!("{kind} {count}")}
            </li>
        }
    });
    let legend = legend.collect_view();
    let rows = columns.iter().filter(|(_, counts)| counts.all() > 0).map(|(name, counts)| {
        let cells = counts.parts().map(|(_, count)| view! { <td>{count}</td> }).collect_view();
        view! {
            <tr>
                <th scope="row">{name.clone()}</th>
                {cells}
            </tr>
        }
    });
    let rows = rows.collect_view();
    let heads = total.parts().map(|(kind, _)| view! { <th scope="col">{kind}</th> }).collect_view();
    view! {
        <figure class="chart">
            <figcaption id=id>{title}</figcaption>
            <ul class="legend">{legend}</ul>
            <svg viewBox=format!("0 0 {width} {HEIGHT}") preserveAspectRatio="none" role="img" aria-label=format!("{title}. {words}.")>
                {bars}
            </svg>
            <div class="chart-ends quiet" aria-hidden="true">
                <span>{columns.first().map(|(name, _)| name.clone())}</span>
                <span>{columns.last().map(|(name, _)| name.clone())}</span>
            </div>
            <details>
                <summary>"Show as a table"</summary>
                <table class="figures" aria-labelledby=id>
                    <thead>
                        <tr>
                            <th scope="col">{unit}</th>
                            {heads}
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </details>
        </figure>
    }
}
