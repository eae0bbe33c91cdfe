//! How large HTML becomes when it is parsed. Unclosed formatting is repeated in every block that follows (HTML
//! standard, "reconstruct the active formatting elements"): some hundred kilobytes may become gigabytes. So it is first parsed
//! into counters only.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::tree_builder::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::{Attribute, ExpandedName, LocalName, ParseOpts, QualName, ns, parse_fragment};

/// Elements of a message that is shown as it was designed.
const ELEMENTS: usize = 50_000;
/// Time limit; real messages take milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes between two checks of the count.
const PIECE: usize = 256;

/// Counts elements, and keeps none.
struct Counter {
    document: Rc<QualName>,
    elements: Rc<Cell<usize>>,
}

fn named(name: &str) -> QualName {
    QualName::new(None, ns!(html), LocalName::from(name))
}

impl TreeSink for Counter {
    type Handle = Rc<QualName>;
    type Output = ();
    type ElemName<'a> = ExpandedName<'a>;

    fn finish(self) {}

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> Self::Handle {
        Rc::clone(&self.document)
    }

    fn elem_name<'a>(&'a self, target: &'a Self::Handle) -> ExpandedName<'a> {
        target.expanded()
    }

    fn create_element(&self, name: QualName, _: Vec<Attribute>, _: ElementFlags) -> Self::Handle {
        self.elements.set(self.elements.get() + 1);
        Rc::new(name)
    }

    fn create_comment(&self, _: StrTendril) -> Self::Handle {
        Rc::clone(&self.document)
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> Self::Handle {
        Rc::clone(&self.document)
    }

    fn append(&self, _: &Self::Handle, _: NodeOrText<Self::Handle>) {}

    fn append_based_on_parent_node(&self, _: &Self::Handle, _: &Self::Handle, _: NodeOrText<Self::Handle>) {}

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    fn get_template_contents(&self, target: &Self::Handle) -> Self::Handle {
        Rc::clone(target)
    }

    fn same_node(&self, one: &Self::Handle, other: &Self::Handle) -> bool {
        Rc::ptr_eq(one, other)
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, _: &Self::Handle, _: NodeOrText<Self::Handle>) {}

    fn add_attrs_if_missing(&self, _: &Self::Handle, _: Vec<Attribute>) {}

    fn remove_from_parent(&self, _: &Self::Handle) {}

    fn reparent_children(&self, _: &Self::Handle, _: &Self::Handle) {}
}

/// Whether HTML becomes few enough elements, soon enough, to be shown.
pub(crate) fn within_limits(html: &str) -> bool {
    let elements = Rc::new(Cell::new(0));
    let counter = Counter { document: Rc::new(named("#document")), elements: Rc::clone(&elements) };
    let mut parser = parse_fragment(counter, ParseOpts::default(), named("div"), Vec::new(), false);
    let began = Instant::now();
    let mut rest = html;
    while !rest.is_empty() {
        let mut end = PIECE.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (piece, after) = rest.split_at(end);
        parser.process(StrTendril::from(piece));
        if elements.get() > ELEMENTS || began.elapsed() > PATIENCE {
            return false;
        }
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::within_limits;

    #[test]
    fn what_multiplies_is_noticed_and_what_people_write_is_not() {
        let fonts = (0..5_000).fold("<p>".to_owned(), |mut html, size| {
            let _ = write!(html, "<font size={size}>");
            html
        });
        assert!(!within_limits(&(fonts + &"<p>x".repeat(5_000))));
        assert!(within_limits(&"<tr><td><font size=2><b>Term</b> dates</font></td></tr>".repeat(2_000)));
        assert!(within_limits("<b><i>mis</b>nested</i> <template><p>x</template> <svg><p>y"));
    }
}
