//! Model folders copied and spoilt.
#![allow(dead_code)] // each test file uses its own part

use std::fs;
use std::path::Path;

use dpop_studio::model::checkpoint::Checkpoint;
use dpop_studio::model::config::ModelConfig;
use dpop_studio::model::error::ModelError;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tempfile::TempDir;

/// A writable copy of a model folder.
pub fn copy(folder: &Path) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::write(dir.path().join(path.file_name().unwrap()), fs::read(&path).unwrap()).unwrap();
    }
    dir
}

/// Everything that training would read.
pub fn load(dir: &Path) -> Result<(), ModelError> {
    let config = ModelConfig::read(dir)?;
    let checkpoint = Checkpoint::open(dir, &config)?;
    let names: Vec<_> = checkpoint.names().into_iter().map(str::to_owned).collect();
    names.iter().try_for_each(|name| checkpoint.tensor(name).map(|_| ()))
}

/// The message, after checking that it is a sentence with a remedy that holds all of `parts`.
pub fn refused(dir: &Path, parts: &[&str]) -> String {
    let message = load(dir).expect_err("accepted").to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert!(message.ends_with('.') && message.matches(['.', '?', ':']).count() >= 2, "{message}");
    message
}

pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// Rewrites a safetensors file with changed tensors.
pub fn edit(path: &Path, change: impl FnOnce(&mut Vec<Tensor>)) {
    let bytes = fs::read(path).unwrap();
    let mut tensors: Vec<_> = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, view)| Tensor {
            name,
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        })
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|t| (t.name.as_str(), TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

pub fn find<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Tensor {
    tensors.iter_mut().find(|t| t.name == name).unwrap()
}

pub fn edit_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}
