//! Host data for uploads and reads, convertible to and from each backend's format.

use std::borrow::Cow;

use super::array::Array;
use super::dtype::Element;

/// Elements to upload.
pub(crate) trait Upload {
    fn bytes(&self) -> usize;
    fn to_array(&self) -> Array;
    fn to_bytes(&self) -> Cow<'_, [u8]>;
}

impl<T: Element> Upload for &[T] {
    fn bytes(&self) -> usize {
        self.len() * T::DTYPE.bytes()
    }

    fn to_array(&self) -> Array {
        T::to_array(self)
    }

    fn to_bytes(&self) -> Cow<'_, [u8]> {
        T::to_bytes(self)
    }
}

/// Elements read from a device, in the backend's format.
pub(crate) enum Download<'a> {
    Array(&'a Array),
    Bytes(Vec<u8>),
}

impl Download<'_> {
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        match self {
            Download::Array(array) => T::from_array(array),
            Download::Bytes(bytes) => T::from_bytes(bytes),
        }
    }
}
