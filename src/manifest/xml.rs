//! A small tree of XML elements, so that a manifest reads in the code as it does in the file. `quick-xml` escapes and
//! indents.

use std::fmt::Display;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

/// An element with its attributes in the order they were given, and either children or text.
#[derive(Debug)]
pub(super) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    children: Vec<Element>,
    text: Option<String>,
}

impl Element {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, attributes: Vec::new(), children: Vec::new(), text: None }
    }

    /// Adds an attribute.
    pub(super) fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.attributes.push((name, legal(&value.to_string())));
        self
    }

    /// Adds an attribute if there is a value.
    pub(super) fn with_some(self, name: &'static str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Appends children.
    pub(super) fn holding(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children);
        self
    }

    /// Sets the text.
    pub(super) fn saying(mut self, text: &str) -> Self {
        self.text = Some(legal(text));
        self
    }

    /// The document whose root this is.
    pub(super) fn document(&self) -> String {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 1);
        let declaration = BytesDecl::new("1.0", Some("UTF-8"), None);
        let written = writer.write_event(Event::Decl(declaration)).and_then(|()| self.write(&mut writer));
        written.expect("a Vec takes every write");
        String::from_utf8(writer.into_inner()).expect("made of text") + "\n"
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let mut start = BytesStart::new(self.name);
        for (name, value) in &self.attributes {
            start.push_attribute((*name, value.as_str()));
        }
        if self.children.is_empty() && self.text.is_none() {
            return writer.write_event(Event::Empty(start));
        }
        writer.write_event(Event::Start(start))?;
        if let Some(text) = &self.text {
            writer.write_event(Event::Text(BytesText::new(text)))?;
        }
        self.children.iter().try_for_each(|child| child.write(writer))?;
        writer.write_event(Event::End(BytesEnd::new(self.name)))
    }
}

/// Without what no XML document may contain, escaped or not (XML 1.0 §2.2): one such character out of a source file
/// would make the whole manifest unreadable.
fn legal(text: &str) -> String {
    let is_char =
        |c: &char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().filter(is_char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_out_of_a_file_stays_inside_its_place() {
        let hostile = "\" x='y'/><Evil>&\0\u{1}\u{fffe}é";
        let text = Element::new("A").with("a", hostile).holding([Element::new("B").saying(hostile)]).document();
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <A a=\"&quot; x=&apos;y&apos;/&gt;&lt;Evil&gt;&amp;é\">\n \
            <B>&quot; x=&apos;y&apos;/&gt;&lt;Evil&gt;&amp;é</B>\n</A>\n";
        assert_eq!(text, expected);
    }
}
