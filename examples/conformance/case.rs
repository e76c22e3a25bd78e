//! The format: groups of cases in JSON, with their tensors in safetensors files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use wgrad::{Device, Tensor};

use crate::guard::Fault;

/// A file of cases and its tensors.
pub struct Group {
    pub name: String,
    pub cases: Vec<Value>,
    pub tensors: HashMap<String, Host>,
}

/// A tensor on the host.
#[derive(Clone, Debug)]
pub struct Host {
    pub shape: Vec<usize>,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub enum Data {
    F32(Vec<f32>),
    I32(Vec<i32>),
    Bool(Vec<bool>),
}

/// The names of the groups in a folder, sorted.
pub fn groups(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "json") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    ensure!(!names.is_empty(), "{}: there is no *.json file", folder.display());
    names.sort();
    Ok(names)
}

impl Group {
    pub fn read(folder: &Path, name: &str) -> Result<Group> {
        let file = |ext: &str| -> PathBuf { folder.join(format!("{name}.{ext}")) };
        let json = std::fs::read(file("json")).with_context(|| file("json").display().to_string())?;
        let cases = serde_json::from_slice(&json).with_context(|| file("json").display().to_string())?;
        let mut tensors = HashMap::new();
        if file("safetensors").exists() {
            let bytes = std::fs::read(file("safetensors"))?;
            let stored = SafeTensors::deserialize(&bytes)
                .with_context(|| file("safetensors").display().to_string())?;
            for (name, view) in stored.tensors() {
                let host = Host::read(view.dtype(), view.shape(), view.data()).context(name.clone())?;
                tensors.insert(name, host);
            }
        }
        Ok(Group { name: name.to_owned(), cases, tensors })
    }
}

impl Host {
    fn read(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<Host> {
        let words = bytes.as_chunks::<4>().0.iter();
        let data = match dtype {
            Dtype::F32 => Data::F32(words.map(|&word| f32::from_le_bytes(word)).collect()),
            Dtype::I32 => Data::I32(words.map(|&word| i32::from_le_bytes(word)).collect()),
            Dtype::BOOL => Data::Bool(bytes.iter().map(|&byte| byte != 0).collect()),
            other => bail!("the format has no {other:?}"),
        };
        Ok(Host { shape: shape.to_vec(), data })
    }

    /// Creates a leaf on the device.
    pub fn tensor(&self, device: &Device) -> Tensor {
        match &self.data {
            Data::F32(data) => Tensor::new(data, &self.shape[..], device),
            Data::I32(data) => Tensor::new(data, &self.shape[..], device),
            Data::Bool(data) => Tensor::new(data, &self.shape[..], device),
        }
    }

    pub fn values(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(data) => data.iter().map(|&x| x.into()).collect(),
            Data::I32(data) => data.iter().map(|&x| x.into()).collect(),
            Data::Bool(data) => data.iter().map(|&x| x.into()).collect(),
        }
    }
}

/// One case, with the tensors of its group and the device it runs on.
pub struct Case<'a> {
    pub group: &'a Group,
    pub json: &'a Value,
    pub device: &'a Device,
}

impl<'a> Case<'a> {
    pub fn id(&self) -> &'a str {
        self.json["id"].as_str().unwrap_or("a case without an id")
    }

    pub fn op(&self) -> &'a str {
        text(&self.json["op"])
    }

    pub fn attrs(&self) -> Attrs<'a> {
        Attrs(&self.json["attrs"])
    }

    /// The tensor with this name.
    pub fn host(&self, name: &Value) -> &'a Host {
        let name = text(name);
        let found = self.group.tensors.get(name);
        found.unwrap_or_else(|| Fault::Malformed(format!("there is no tensor {name}")).raise())
    }

    pub fn tensor(&self, name: &Value) -> Tensor {
        self.host(name).tensor(self.device)
    }

    /// A list of the case; empty if it is absent.
    pub fn list(&self, key: &str) -> &'a [Value] {
        list(&self.json[key])
    }

    /// The names and values of an object of the case.
    pub fn entries(&self, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.json[key].as_object().into_iter().flatten()
    }

    /// `(rtol, atol)` of an expected tensor.
    pub fn tolerance(&self, name: &Value) -> (f64, f64) {
        let own = name.as_str().map(|name| &self.json["tol"][name]);
        match own.and_then(Value::as_array) {
            Some(pair) => (number(&pair[0]), number(&pair[1])),
            None => (number(&self.json["rtol"]), number(&self.json["atol"])),
        }
    }
}

/// Keyword arguments. An absent one and `null` both read as `None`.
#[derive(Clone, Copy)]
pub struct Attrs<'a>(pub &'a Value);

impl<'a> Attrs<'a> {
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.get(key).map(number)
    }

    pub fn int(&self, key: &str) -> Option<i64> {
        self.get(key).map(int)
    }

    /// A list of integers. A single integer is a list with one element.
    pub fn ints(&self, key: &str) -> Option<Vec<i64>> {
        let value = self.get(key)?;
        Some(if value.is_array() { list(value).iter().map(int).collect() } else { vec![int(value)] })
    }

    /// A number that the library takes as `usize`.
    pub fn size(&self, key: &str) -> Option<usize> {
        self.int(key).map(|value| size(key, value))
    }

    /// One size for each of `N` dims. A single size applies to all dims.
    pub fn sizes<const N: usize>(&self, key: &str) -> Option<[usize; N]> {
        let given: Vec<usize> = self.ints(key)?.into_iter().map(|value| size(key, value)).collect();
        Some(std::array::from_fn(|i| match given.len() {
            1 => given[0],
            n if n == N => given[i],
            n => Fault::Malformed(format!("{key} has {n} sizes, not {N}")).raise(),
        }))
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).map(|value| value.as_bool().unwrap_or_else(|| wrong(value, "a bool")))
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key).map(text)
    }
}

fn size(key: &str, value: i64) -> usize {
    value.try_into().unwrap_or_else(|_| Fault::Impossible(format!("{key} {value} as a usize")).raise())
}

fn wrong(value: &Value, what: &str) -> ! {
    Fault::Malformed(format!("{value} is not {what}")).raise()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| wrong(value, "a string"))
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| wrong(value, "an integer"))
}

/// A number, or one of the special values that JSON lacks.
pub fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        Some("nan") => f64::NAN,
        _ => value.as_f64().unwrap_or_else(|| wrong(value, "a number")),
    }
}

pub fn list(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        value => value.as_array().unwrap_or_else(|| wrong(value, "a list")),
    }
}
