//! Checkpoints: the complete state of a run in one safetensors file. Loading a damaged file does not change any state.
//!
//! Input: named parts. Output: a file whose tensors are named `part.tensor`, so that any tool can read the weights. The
//! file's metadata has the numbers as one JSON text, and a checksum over the whole state. The numbers are one text
//! because safetensors writes metadata in the order of a hash map, and equal runs must have equal files.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View};

use super::state::{State, Stateful, load_parts, refusal};
use super::{Contents, read_all, tensor};
use crate::core::dtype::DType;
use crate::core::error::Error;
use crate::core::files::{file_error, write_whole};
use crate::core::random;
use crate::graph::Device;
use crate::tensor::Tensor;

/// The metadata key of the numbers.
const NUMBERS: &str = "checkpoint";
/// The name of the part that every checkpoint has: this thread's generator.
const RANDOM: &str = "random";
const CHECKSUM: &str = "checksum";
/// Names of the entries that cause a warning if they differ when a run is resumed.
const DEVICE: &str = "device";
const TUNING: &str = "tuning";

/// Saves a run: the parts under their names, and this thread's generator. A run [resumed](load_checkpoint) from the
/// file is bitwise identical to an uninterrupted run.
///
/// The file is replaced atomically: after a crash, the path has either the old file or the new file. Equal runs have
/// equal files, byte for byte.
///
/// # Errors
///
/// Returns an error if a value cannot be computed or read, or if the file cannot be written ([`Error::File`]).
///
/// # Panics
///
/// Panics if two parts have the same name, or if a name contains a dot or is reserved (`random`, `checksum`, `device`,
/// `tuning`).
///
/// ```
/// use wgrad::io::{load_checkpoint, save_checkpoint};
/// use wgrad::nn::{Linear, Module};
/// use wgrad::optim::{AdamW, Optimizer};
/// use wgrad::{Device, Tensor};
///
/// # fn main() -> Result<(), wgrad::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("run.safetensors");
/// let dev = Device::cpu();
/// let mut model = Linear::new(2, 1, &dev);
/// let mut optimizer = AdamW::new(model.params(), 1e-2);
/// let mut step = 0usize;
/// if path.exists() {
///     let parts = &mut [("model", &mut model as _), ("optimizer", &mut optimizer as _), ("step", &mut step as _)];
///     load_checkpoint(&path, parts, &dev)?.iter().for_each(|warning| eprintln!("{warning}"));
/// }
/// while step < 10 {
///     model.forward(&Tensor::rand([4, 2], &dev)).square().mean().backward();
///     optimizer.step();
///     step += 1;
///     save_checkpoint(&path, &[("model", &model), ("optimizer", &optimizer), ("step", &step)], &dev)?;
/// }
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn save_checkpoint(
    path: impl AsRef<Path>,
    parts: &[(&str, &dyn Stateful)],
    device: &Device,
) -> Result<(), Error> {
    let path = path.as_ref();
    check_names(&parts.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let mut state = State::default();
    state.put_part(RANDOM, random::generator().state());
    parts.iter().for_each(|(name, part)| state.put_part(name, part.state()));
    state.put(DEVICE, device);
    if let Some(tuning) = device.tuning() {
        state.put(TUNING, tuning);
    }
    let State { tensors, mut numbers } = state;
    let contents = read_all(&tensors, every_bit)?;
    let mut checksum = Checksum::new(&numbers);
    contents.iter().for_each(|(name, view)| checksum.tensor(name, view));
    numbers.insert(CHECKSUM.to_owned(), checksum.0.to_string());
    let numbers = serde_json::to_string(&numbers).expect("strings serialize");
    let metadata = HashMap::from([(NUMBERS.to_owned(), numbers)]);
    let bytes = safetensors::serialize(contents, Some(metadata)).map_err(|error| file_error(path, error))?;
    write_whole(path, &bytes).map_err(|error| file_error(path, error))
}

/// Loads a checkpoint written by [`save_checkpoint`]: restores `parts`, which must have the same names as when they were
/// saved, and the state of this thread's random generator. Returns warnings
/// about a different adapter or differently [tuned](Device::tune) kernels: then the last bits of the resumed run may
/// differ.
///
/// # Errors
///
/// Returns [`Error::File`] if the file is damaged, or if the names, shapes or dtypes of a part do not match. In these
/// cases, nothing is changed.
///
/// # Panics
///
/// Panics in the cases of [`save_checkpoint`].
#[track_caller]
pub fn load_checkpoint(
    path: impl AsRef<Path>,
    parts: &mut [(&str, &mut dyn Stateful)],
    device: &Device,
) -> Result<Vec<String>, Error> {
    let path = path.as_ref();
    check_names(&parts.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let in_file = |error| match error {
        Error::State { reason } => file_error(path, reason),
        other => other,
    };
    let mut state = read(path, device)?;
    let warnings = warnings(&mut state, device).map_err(in_file)?;
    let mut generator = random::generator();
    let (mut all, rest): (Vec<(&str, &mut dyn Stateful)>, _) = (vec![(RANDOM, &mut generator)], parts);
    all.extend(rest.iter_mut().map(|(name, part)| (*name, &mut **part as &mut dyn Stateful)));
    load_parts(&mut all, state).map_err(in_file)?;
    random::set_generator(generator);
    Ok(warnings)
}

#[track_caller]
fn check_names(names: &[&str]) {
    for (i, name) in names.iter().enumerate() {
        if name.contains('.')
            || [RANDOM, CHECKSUM, DEVICE, TUNING].contains(name)
            || names[..i].contains(name)
        {
            crate::core::shape::refuse!(
                "checkpoint",
                "{name:?} is reserved, contains a dot, or names two parts"
            );
        }
    }
}

/// Reads the file and verifies its checksum.
fn read(path: &Path, device: &Device) -> Result<State, Error> {
    let bytes = fs::read(path).map_err(|error| file_error(path, error))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| file_error(path, error))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| file_error(path, error))?;
    let numbers = header.metadata().as_ref().and_then(|metadata| metadata.get(NUMBERS));
    let numbers = numbers.and_then(|numbers| serde_json::from_str(numbers).ok());
    let mut numbers: BTreeMap<String, String> = numbers.unwrap_or_default();
    let Some(expected) = numbers.remove(CHECKSUM) else {
        return Err(file_error(path, "it is not a checkpoint: its metadata has no checksum"));
    };
    let views: BTreeMap<&str, _> = file.iter().collect();
    let mut checksum = Checksum::new(&numbers);
    views.iter().for_each(|(name, view)| checksum.tensor(name, view));
    if checksum.0.to_string() != expected {
        return Err(file_error(path, "it is damaged: its checksum is wrong"));
    }
    let mut tensors = BTreeMap::new();
    for (name, view) in views {
        let tensor = match view.dtype() {
            Dtype::F64 => {
                Tensor::new(bytemuck::pod_collect_to_vec::<u8, f64>(view.data()), view.shape(), device)
            }
            dtype => tensor(&view, device)?
                .ok_or_else(|| file_error(path, format!("{name:?} is {dtype:?}, which is not supported")))?,
        };
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(State { tensors, numbers })
}

/// Returns warnings about differences in the device or its tuning, which may change the last bits of a run.
fn warnings(state: &mut State, device: &Device) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    let before: String = state.take(DEVICE)?;
    if before != device.to_string() {
        warnings
            .push(format!("the run was saved on {before} and resumes on {device}: its last bits may differ"));
    }
    let tuning = state.numbers.remove(TUNING);
    if let (Some(before), Some(now)) = (tuning, device.tuning())
        && before.parse::<u64>().map_err(|_| refusal(format!("{TUNING:?} is {before:?}")))? != now
    {
        let text = "kernel selection differs from the saved run (Device::tune): its last bits may differ";
        warnings.push(text.to_owned());
    }
    Ok(warnings)
}

/// Reads the contents of a tensor in the precision of its device: f64 on the CPU reference.
fn every_bit(tensor: &Tensor) -> Result<Contents, Error> {
    match tensor.dtype() {
        DType::F32 if tensor.device().is_cpu() => {
            let bytes = bytemuck::cast_slice(&tensor.to_vec::<f64>()?).to_vec();
            Ok(Contents { dtype: Dtype::F64, shape: tensor.shape().to_vec(), bytes })
        }
        _ => Contents::read(tensor),
    }
}

/// 64-bit FNV-1a checksum (Fowler, Noll and Vo, 1991), which detects every change of a single byte.
struct Checksum(u64);

impl Checksum {
    fn new(numbers: &BTreeMap<String, String>) -> Checksum {
        let mut checksum = Checksum(0xcbf2_9ce4_8422_2325);
        for text in numbers.iter().flat_map(|(name, number)| [name, number]) {
            checksum.text(text);
        }
        checksum
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Adds a text and a terminator byte, which does not occur in texts.
    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(&[0xff]);
    }

    fn tensor(&mut self, name: &str, view: &impl View) {
        self.text(name);
        self.text(&format!("{:?} {:?}", view.dtype(), view.shape()));
        self.bytes(&view.data());
    }
}
