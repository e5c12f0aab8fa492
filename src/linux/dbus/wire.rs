//! D-Bus's binary format: arguments are laid out here, and read back.
//!
//! The subtlety is alignment: a number stands at a multiple of its size, a structure at a multiple of eight, counted from the
//! beginning of the message. The body begins at a multiple of eight, so it may count from its own.

use anyhow::{Result, bail};

/// A value in a property list (a "variant": it carries its own signature).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variant {
    /// `s`
    Text(String),
    /// `b`
    Bool(bool),
    /// `t`
    Number(u64),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
}

impl Variant {
    fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Bool(_) => "b",
            Self::Number(_) => "t",
            Self::Texts(_) => "as",
            Self::Numbers(_) => "au",
            Self::Bytes(_) => "ay",
        }
    }
}

/// The arguments of a call, as they are put together.
#[derive(Debug, Default)]
pub struct Body {
    pub(super) signature: String,
    pub(super) bytes: Vec<u8>,
}

impl Body {
    /// Adds a string.
    pub fn text(mut self, text: &str) -> Self {
        self.signature.push('s');
        put_text(&mut self.bytes, text);
        self
    }

    /// Adds a truth value.
    pub fn flag(mut self, flag: bool) -> Self {
        self.signature.push('b');
        put_number(&mut self.bytes, u32::from(flag));
        self
    }

    /// Adds a list of numbers.
    pub fn numbers(mut self, numbers: &[u32]) -> Self {
        self.signature.push_str("au");
        put_numbers(&mut self.bytes, numbers);
        self
    }

    /// Adds a list of names and values.
    pub fn properties(mut self, properties: &[(&str, Variant)]) -> Self {
        self.signature.push_str("a(sv)");
        put_array(&mut self.bytes, 8, |bytes| {
            for (name, value) in properties {
                pad(bytes, 8);
                put_text(bytes, name);
                put_variant(bytes, value);
            }
        });
        self
    }

    /// Adds an empty list whose elements would be of this type, a structure.
    pub fn nothing(mut self, element: &str) -> Self {
        self.signature.push('a');
        self.signature.push_str(element);
        put_array(&mut self.bytes, 8, |_| ());
        self
    }
}

/// Reads values one after the other. The caller knows their types.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`, which stood at a multiple of eight.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else { bail!("a message that ends too early") };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// A `u`.
    pub fn number(&mut self) -> Result<u32> {
        self.align(4);
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// An `s` or `o`.
    pub fn text(&mut self) -> Result<String> {
        let length = self.number()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    pub(super) fn signature(&mut self) -> Result<String> {
        let length = usize::from(self.byte()?);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

pub(super) fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

pub(super) fn put_number(bytes: &mut Vec<u8>, number: u32) {
    pad(bytes, 4);
    bytes.extend(number.to_le_bytes());
}

pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, text.len() as u32);
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

pub(super) fn put_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(signature.len() as u8);
    bytes.extend(signature.as_bytes());
    bytes.push(0);
}

/// An array whose elements are aligned to `alignment`. Its length counts neither itself nor the padding that follows it.
pub(super) fn put_array(bytes: &mut Vec<u8>, alignment: usize, elements: impl FnOnce(&mut Vec<u8>)) {
    put_number(bytes, 0);
    let length_at = bytes.len() - 4;
    pad(bytes, alignment);
    let begin = bytes.len();
    elements(bytes);
    let length = (bytes.len() - begin) as u32;
    bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_numbers(bytes: &mut Vec<u8>, numbers: &[u32]) {
    put_array(bytes, 4, |bytes| {
        for number in numbers {
            put_number(bytes, *number);
        }
    });
}

fn put_variant(bytes: &mut Vec<u8>, value: &Variant) {
    put_signature(bytes, value.signature());
    match value {
        Variant::Text(text) => put_text(bytes, text),
        Variant::Bool(flag) => put_number(bytes, u32::from(*flag)),
        Variant::Number(number) => {
            pad(bytes, 8);
            bytes.extend(number.to_le_bytes());
        }
        Variant::Texts(texts) => put_array(bytes, 4, |bytes| {
            for text in texts {
                put_text(bytes, text);
            }
        }),
        Variant::Numbers(numbers) => put_numbers(bytes, numbers),
        Variant::Bytes(all) => put_array(bytes, 1, |bytes| bytes.extend(all)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_laid_out_as_the_specification_says() {
        let body = Body::default().text("ab").properties(&[("T", Variant::Number(7))]);
        assert_eq!(body.signature, "sa(sv)");
        let expected = [
            2, 0, 0, 0, b'a', b'b', 0, 0, // "ab", padded
            24, 0, 0, 0, 0, 0, 0, 0, // the array's length, and padding to its first element
            1, 0, 0, 0, b'T', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, // "T", the signature "t", padding
            7, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(body.bytes, expected);
    }
}
