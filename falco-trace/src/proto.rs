//! Writes protobuf messages: enough for the forms that traces are exported in, without a generator.

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// A message under construction. Values that are the default of their type are left out, as proto3 has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn uint(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.key(field, VARINT);
            self.varint(value);
        }
    }

    /// A negative number takes ten bytes.
    pub(crate) fn int(&mut self, field: u64, value: i64) {
        self.uint(field, value as u64);
    }

    pub(crate) fn text(&mut self, field: u64, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    pub(crate) fn bytes(&mut self, field: u64, value: &[u8]) {
        if !value.is_empty() {
            self.always(field, value);
        }
    }

    pub(crate) fn float(&mut self, field: u64, value: f32) {
        if value != 0.0 {
            self.key(field, FIXED_32);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    #[cfg(feature = "otlp")]
    pub(crate) fn double(&mut self, field: u64, value: f64) {
        self.key(field, FIXED_64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A boolean of an `AnyValue`, where false is written, too.
    #[cfg(feature = "otlp")]
    pub(crate) fn message_bool(&mut self, value: bool) {
        self.key(2, VARINT);
        self.varint(value.into());
    }

    pub(crate) fn fixed64(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.key(field, FIXED_64);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A message within this one, also if it is empty.
    pub(crate) fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.always(field, &inner.0);
    }

    fn always(&mut self, field: u64, value: &[u8]) {
        self.key(field, BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
