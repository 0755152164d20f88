//! Which files make up the GGUF model that a path names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::GgufError;

/// Whether a path names a GGUF file, by its ending.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// The folder in which a model's other files lie: the path itself, or the folder of a GGUF file.
pub fn folder_of(model: &Path) -> &Path {
    match model.parent() {
        Some(parent) if is_gguf(model) && !model.is_dir() => {
            if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            }
        }
        _ => model,
    }
}

/// The files of the GGUF model at `path`: a GGUF file, any part of a split one, or a folder that holds one model and
/// no safetensors (which come first). `None` where there is no such model.
pub fn locate(path: &Path) -> Result<Option<Vec<PathBuf>>, GgufError> {
    if !path.is_dir() {
        return if is_gguf(path) { parts(path).map(Some) } else { Ok(None) };
    }
    let names: Vec<PathBuf> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
        .collect();
    if names.iter().any(|name| name.extension().is_some_and(|e| e == "safetensors")) {
        return Ok(None);
    }
    // Every part of a split model stands for its first.
    let mut models = BTreeMap::new();
    for name in names.into_iter().filter(|name| is_gguf(name)) {
        let first = split_name(&name).map_or(name.clone(), |split| split.part(1));
        models.entry(first).or_insert(name);
    }
    match models.len() {
        0 => Ok(None),
        1 => models.into_values().next().map(|name| parts(&path.join(name))).transpose(),
        _ => {
            let names: Vec<_> = models.keys().map(|name| name.to_string_lossy()).collect();
            Err(GgufError::Several { dir: path.to_path_buf(), names: names.join(", ") })
        }
    }
}

/// All files of the model that `path` is one file of.
fn parts(path: &Path) -> Result<Vec<PathBuf>, GgufError> {
    let Some(split) = split_name(path) else { return Ok(vec![path.to_path_buf()]) };
    let parts: Vec<PathBuf> =
        (1..=split.count).map(|number| path.with_file_name(split.part(number))).collect();
    match parts.iter().find(|part| !part.is_file()) {
        None => Ok(parts),
        Some(missing) => {
            let missing = missing.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Err(GgufError::MissingPart { path: path.to_path_buf(), missing })
        }
    }
}

/// `stem-00002-of-00005.gguf`.
struct Split {
    stem: String,
    count: u32,
    ending: String,
}

impl Split {
    fn part(&self, number: u32) -> PathBuf {
        format!("{}-{number:05}-of-{:05}.{}", self.stem, self.count, self.ending).into()
    }
}

fn split_name(path: &Path) -> Option<Split> {
    let name = path.file_name()?.to_str()?;
    let (base, ending) = name.rsplit_once('.')?;
    let (rest, count) = base.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| {
        (text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let (number, count): (u32, u32) = (digits(number)?, digits(count)?);
    (1..=count).contains(&number).then(|| Split { stem: stem.into(), count, ending: ending.into() })
}
