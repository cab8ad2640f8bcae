//! Tagged fields (KIP-482): those this version does not know are kept and written again.

use super::Writer;
use bytes::Bytes;

/// Tags that were received and are not known; eight bytes where there are none.
#[expect(clippy::box_collection, reason = "every generated struct holds one of these, and nearly all are empty")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnknownTags(Option<Box<Vec<(u32, Bytes)>>>);

impl UnknownTags {
    pub fn push(&mut self, tag: u32, value: Bytes) {
        self.0.get_or_insert_default().push((tag, value));
    }

    pub fn iter(&self) -> impl Iterator<Item = &(u32, Bytes)> {
        self.0.iter().flat_map(|tags| tags.iter())
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// How much room a tagged field begins with: most are an id or a number or two.
const FIELD_ROOM: usize = 32;

/// Collects the known tagged fields of a struct, then writes them merged with the unknown ones, in the order of their tags.
#[derive(Default)]
pub struct TagWriter(Option<Vec<(u32, Writer)>>);

impl TagWriter {
    pub fn field(&mut self, tag: u32) -> &mut Writer {
        let fields = self.0.get_or_insert_default();
        let at = fields.len();
        fields.push((tag, Writer::with_capacity(FIELD_ROOM)));
        &mut fields[at].1
    }

    /// Nearly always there is nothing to write but their number; where a struct knows no tags, the compiler sees that.
    #[inline(always)]
    pub fn write(self, unknown: &UnknownTags, w: &mut Writer) {
        match self.0 {
            None if unknown.is_empty() => w.unsigned_varint(0),
            fields => Self::write_some(fields.unwrap_or_default(), unknown, w),
        }
    }

    fn write_some(mut fields: Vec<(u32, Writer)>, unknown: &UnknownTags, w: &mut Writer) {
        let mut unknown: Vec<&(u32, Bytes)> = unknown.iter().collect();
        fields.sort_by_key(|(tag, _)| *tag);
        unknown.sort_by_key(|(tag, _)| *tag);
        w.unsigned_varint((fields.len() + unknown.len()) as u32);
        let mut unknown = unknown.into_iter().peekable();
        for (tag, field) in fields {
            while let Some((earlier, value)) = unknown.next_if(|(other, _)| *other < tag) {
                write_unknown(*earlier, value, w);
            }
            w.unsigned_varint(tag);
            w.unsigned_varint(field.len() as u32);
            w.append(field);
        }
        unknown.for_each(|(tag, value)| write_unknown(*tag, value, w));
    }
}

fn write_unknown(tag: u32, value: &[u8], w: &mut Writer) {
    w.unsigned_varint(tag);
    w.unsigned_varint(value.len() as u32);
    w.raw(value);
}
