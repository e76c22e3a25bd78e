//! The table of dtypes: sizes, WGSL types, conversions on load and store, and the corresponding host types.

use std::borrow::Cow;
use std::fmt;

use crate::core::array::Array;

/// Defines `DType`, with one row per dtype. `load` converts a storage value `{}` to a register value; `store` converts
/// a register value `{}` to a storage value.
macro_rules! dtypes {
    ($($(#[$doc:meta])* $name:ident {
        name: $text:literal, bytes: $bytes:literal, storage: $storage:literal, register: $register:literal,
        load: $load:literal, store: $store:literal,
    })*) => {
        /// Type of a tensor's elements.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DType { $($(#[$doc])* $name,)* }

        impl DType {
            /// All dtypes.
            pub const ALL: &[DType] = &[$(DType::$name),*];

            /// Returns the size of an element in a GPU buffer, in bytes.
            pub const fn bytes(self) -> usize { match self { $(DType::$name => $bytes,)* } }

            /// Returns the dtype's name in messages, such as `f32`.
            pub const fn name(self) -> &'static str { match self { $(DType::$name => $text,)* } }

            /// Returns the WGSL type of an element in a storage buffer.
            pub(crate) const fn storage(self) -> &'static str { match self { $(DType::$name => $storage,)* } }

            /// Returns the WGSL type of an element in a register.
            pub(crate) const fn register(self) -> &'static str { match self { $(DType::$name => $register,)* } }

            /// Returns a WGSL expression that converts the storage value `text` to a register value.
            pub(crate) fn load(self, text: &str) -> String {
                match self { $(DType::$name => $load.replace("{}", text),)* }
            }

            /// Returns a WGSL expression that converts the register value `text` to a storage value.
            pub(crate) fn store(self, text: &str) -> String {
                match self { $(DType::$name => $store.replace("{}", text),)* }
            }
        }
    };
}

dtypes! {
    /// 32-bit floating point.
    F32 { name: "f32", bytes: 4, storage: "f32", register: "f32", load: "{}", store: "{}", }
    /// 32-bit signed integer; arithmetic wraps.
    I32 { name: "i32", bytes: 4, storage: "i32", register: "i32", load: "{}", store: "{}", }
    /// 32-bit unsigned integer; arithmetic wraps.
    U32 { name: "u32", bytes: 4, storage: "u32", register: "u32", load: "{}", store: "{}", }
    /// True or false; a `u32` of 0 or 1 in a buffer, since WGSL has no storable bool.
    Bool { name: "bool", bytes: 4, storage: "u32", register: "bool",
           load: "({} != 0u)", store: "select(0u, 1u, {})", }
}

impl DType {
    /// True for floating-point dtypes, which are the differentiable ones.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A host type that can be uploaded to tensors and read from tensors.
///
/// `f64` makes a tensor of [`DType::F32`]: the CPU reference keeps full precision, and a GPU rounds to f32.
pub trait Element: Copy + 'static {
    /// The dtype of a tensor made from this type.
    const DTYPE: DType;
    #[doc(hidden)]
    fn to_array(data: &[Self]) -> Array;
    #[doc(hidden)]
    fn from_array(array: &Array) -> Vec<Self>;
    #[doc(hidden)]
    fn to_bytes(data: &[Self]) -> Cow<'_, [u8]>;
    #[doc(hidden)]
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;
}

/// Implements `Element` for host types with the same bit representation as in a GPU buffer.
macro_rules! plain_element {
    ($($host:ty, $dtype:ident, $array:ident, $wide:ty;)*) => {$(
        impl Element for $host {
            const DTYPE: DType = DType::$dtype;
            fn to_array(data: &[$host]) -> Array {
                Array::$array(data.iter().map(|&x| x as $wide).collect())
            }
            fn from_array(array: &Array) -> Vec<$host> {
                let Array::$array(data) = array else { unreachable!("dtype was checked") };
                data.iter().map(|&x| x as $host).collect()
            }
            fn to_bytes(data: &[$host]) -> Cow<'_, [u8]> {
                Cow::Borrowed(bytemuck::cast_slice(data))
            }
            fn from_bytes(bytes: &[u8]) -> Vec<$host> {
                bytemuck::pod_collect_to_vec(bytes)
            }
        }
    )*};
}
plain_element! {
    f32, F32, Float, f64;
    i32, I32, Int, i32;
    u32, U32, Uint, u32;
}

impl Element for f64 {
    const DTYPE: DType = DType::F32;
    fn to_array(data: &[f64]) -> Array {
        Array::Float(data.to_vec())
    }
    fn from_array(array: &Array) -> Vec<f64> {
        let Array::Float(data) = array else { unreachable!("dtype was checked") };
        data.clone()
    }
    fn to_bytes(data: &[f64]) -> Cow<'_, [u8]> {
        let rounded: Vec<f32> = data.iter().map(|&x| x as f32).collect();
        Cow::Owned(bytemuck::cast_slice(&rounded).to_vec())
    }
    fn from_bytes(bytes: &[u8]) -> Vec<f64> {
        f32::from_bytes(bytes).into_iter().map(f64::from).collect()
    }
}

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn to_array(data: &[bool]) -> Array {
        Array::Bool(data.to_vec())
    }
    fn from_array(array: &Array) -> Vec<bool> {
        let Array::Bool(data) = array else { unreachable!("dtype was checked") };
        data.clone()
    }
    fn to_bytes(data: &[bool]) -> Cow<'_, [u8]> {
        let words: Vec<u32> = data.iter().map(|&x| u32::from(x)).collect();
        Cow::Owned(bytemuck::cast_slice(&words).to_vec())
    }
    fn from_bytes(bytes: &[u8]) -> Vec<bool> {
        u32::from_bytes(bytes).into_iter().map(|x| x != 0).collect()
    }
}
