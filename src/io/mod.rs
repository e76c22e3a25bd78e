//! Saving and loading: tensors in safetensors files with PyTorch's names, and checkpoints from which a run resumes
//! exactly.

mod checkpoint;
mod state;

pub use checkpoint::{load_checkpoint, save_checkpoint};
pub(crate) use state::load_parts;
pub use state::{State, Stateful};

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};

use crate::core::dtype::{DType, Element};
use crate::core::error::Error;
use crate::core::files::{file_error, write_whole};
use crate::graph::Device;
use crate::nn::Module;
use crate::tensor::Tensor;

/// Writes tensors to a file. All values are read first, and the file is replaced atomically, so a failure leaves an
/// existing file unchanged.
///
/// # Errors
///
/// Returns an error if a value cannot be computed or read, or if the file cannot be written ([`Error::File`]).
pub fn save_tensors(path: impl AsRef<Path>, tensors: &BTreeMap<String, Tensor>) -> Result<(), Error> {
    let path = path.as_ref();
    let contents = read_all(tensors, Contents::read)?;
    let bytes = safetensors::serialize(contents, None).map_err(|error| file_error(path, error))?;
    write_whole(path, &bytes).map_err(|error| file_error(path, error))
}

/// Computes all tensors in one run, then reads each.
fn read_all(
    tensors: &BTreeMap<String, Tensor>,
    read: impl Fn(&Tensor) -> Result<Contents, Error>,
) -> Result<Vec<(&String, Contents)>, Error> {
    if let Some(tensor) = tensors.values().next() {
        let on_device = tensors.values().filter(|other| other.device() == tensor.device());
        let nodes: Vec<_> = on_device.map(|tensor| tensor.node().clone()).collect();
        tensor.device().realize(&nodes)?;
    }
    tensors.iter().map(|(name, tensor)| Ok((name, read(tensor)?))).collect()
}

/// Reads all tensors of a file onto the device.
///
/// # Errors
///
/// Returns [`Error::File`] if the file cannot be read, is not a safetensors file, or holds a dtype that is not
/// supported (or an i64 beyond i32), and [`Error::TooLarge`] if a tensor exceeds the device's storage binding limit.
pub fn load_tensors(path: impl AsRef<Path>, device: &Device) -> Result<BTreeMap<String, Tensor>, Error> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|error| file_error(path, error))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| file_error(path, error))?;
    file.iter()
        .map(|(name, view)| {
            let unsupported =
                || file_error(path, format!("{name:?} is {:?}, which is not supported", view.dtype()));
            Ok((name.to_owned(), tensor(&view, device)?.ok_or_else(unsupported)?))
        })
        .collect()
}

/// Converts a tensor of a file. Returns `None` if the dtype is not supported, or if an integer does not fit into i32.
fn tensor(view: &TensorView, device: &Device) -> Result<Option<Tensor>, Error> {
    let (shape, data) = (view.shape(), view.data());
    if let Some(allowed) = device.binding_limit().filter(|&limit| data.len() as u64 > limit) {
        return Err(Error::TooLarge { bytes: data.len() as u64, limit: "storage binding", allowed });
    }
    Ok(Some(match view.dtype() {
        Dtype::F32 => Tensor::new(f32::from_bytes(data), shape, device),
        Dtype::I32 => Tensor::new(i32::from_bytes(data), shape, device),
        Dtype::U32 => Tensor::new(u32::from_bytes(data), shape, device),
        // PyTorch stores indices and counts as i64.
        Dtype::I64 => {
            let wide = data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes));
            match wide.map(i32::try_from).collect::<Result<Vec<_>, _>>() {
                Ok(narrow) => Tensor::new(narrow, shape, device),
                Err(_) => return Ok(None),
            }
        }
        Dtype::BOOL => Tensor::new(data.iter().map(|&x| x != 0).collect::<Vec<_>>(), shape, device),
        _ => return Ok(None),
    }))
}

/// Saves the variables of a module under their names, such as `0.weight`.
///
/// # Errors
///
/// Returns an error if a value cannot be computed or read, or if the file cannot be written ([`Error::File`]).
pub fn save(path: impl AsRef<Path>, module: &dyn Module) -> Result<(), Error> {
    let tensors = module.named_vars().into_iter().map(|(name, var)| (name, var.tensor())).collect();
    save_tensors(path, &tensors)
}

/// Loads the variables of a module. Names, shapes and dtypes must match.
///
/// # Errors
///
/// Returns [`Error::File`] if the file cannot be read, or if names, shapes or dtypes do not match; then nothing is
/// changed. Returns [`Error::TooLarge`] if a tensor exceeds the device's storage binding limit.
pub fn load(path: impl AsRef<Path>, module: &dyn Module) -> Result<(), Error> {
    let (path, vars) = (path.as_ref(), module.named_vars());
    let Some((_, first)) = vars.first() else { return Ok(()) };
    let tensors = load_tensors(path, first.tensor().device())?;
    module.load_state_dict(&tensors).map_err(|error| match error {
        Error::State { reason } => file_error(path, reason),
        other => other,
    })
}

/// The bytes of a tensor in safetensors format.
struct Contents {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Contents {
    fn read(tensor: &Tensor) -> Result<Contents, Error> {
        let (dtype, bytes) = match tensor.dtype() {
            DType::F32 => (Dtype::F32, bytemuck::cast_slice(&tensor.to_vec::<f32>()?).to_vec()),
            DType::I32 => (Dtype::I32, bytemuck::cast_slice(&tensor.to_vec::<i32>()?).to_vec()),
            DType::U32 => (Dtype::U32, bytemuck::cast_slice(&tensor.to_vec::<u32>()?).to_vec()),
            DType::Bool => (Dtype::BOOL, tensor.to_vec::<bool>()?.into_iter().map(u8::from).collect()),
        };
        Ok(Contents { dtype, shape: tensor.shape().to_vec(), bytes })
    }
}

impl View for Contents {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
