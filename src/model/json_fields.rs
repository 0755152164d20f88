//! Typed look-ups in a JSON object, with errors that name the file and the field.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::ModelError;

/// One object of a JSON file; `prefix` names it in messages (`rope_scaling.`).
pub(super) struct Fields<'a> {
    pub path: &'a Path,
    pub prefix: &'static str,
    pub map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub fn error(&self, field: &str, problem: impl Into<String>) -> ModelError {
        ModelError::Field {
            path: self.path.to_path_buf(),
            field: format!("{}{field}", self.prefix),
            problem: problem.into(),
        }
    }

    /// The value, or `None` where it is absent or null.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        field: &str,
        kind: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match read(value) {
            Some(typed) => Ok(Some(typed)),
            None => Err(self.error(field, format!("is {value} where {kind} is expected"))),
        }
    }

    /// A whole number between 1 and 2^31.
    pub fn size(&self, field: &str) -> Result<Option<usize>, ModelError> {
        self.typed(field, "a whole number from 1 to 2147483648", |value| {
            value
                .as_u64()
                .filter(|n| (1..=1 << 31).contains(n))
                .and_then(|n| usize::try_from(n).ok())
        })
    }

    pub fn required_size(&self, field: &str) -> Result<usize, ModelError> {
        self.size(field)?.ok_or_else(|| self.error(field, "is missing"))
    }

    pub fn number(&self, field: &str) -> Result<Option<f64>, ModelError> {
        self.typed(field, "a number", |value| value.as_f64().filter(|x| x.is_finite()))
    }

    /// A number greater than zero.
    pub fn positive(&self, field: &str) -> Result<Option<f64>, ModelError> {
        self.typed(field, "a number above 0", |value| {
            value.as_f64().filter(|x| x.is_finite() && *x > 0.0)
        })
    }

    pub fn required_positive(&self, field: &str) -> Result<f64, ModelError> {
        self.positive(field)?.ok_or_else(|| self.error(field, "is missing"))
    }

    /// A list of finite numbers.
    pub fn required_numbers(&self, field: &str) -> Result<Vec<f64>, ModelError> {
        let numbers = self.typed(field, "a list of numbers", |value| {
            let finite = |item: &Value| item.as_f64().filter(|x| x.is_finite());
            value.as_array()?.iter().map(finite).collect()
        })?;
        numbers.ok_or_else(|| self.error(field, "is missing"))
    }

    pub fn flag(&self, field: &str) -> Result<Option<bool>, ModelError> {
        self.typed(field, "true or false", Value::as_bool)
    }

    pub fn text(&self, field: &str) -> Result<Option<&'a str>, ModelError> {
        self.typed(field, "a string", Value::as_str)
    }

    pub fn list(&self, field: &str) -> Result<Option<&'a Vec<Value>>, ModelError> {
        self.typed(field, "a list", Value::as_array)
    }

    /// A nested object; an empty one counts as absent.
    pub fn object(
        &self,
        field: &'static str,
        prefix: &'static str,
    ) -> Result<Option<Fields<'a>>, ModelError> {
        let map = self.typed(field, "an object", Value::as_object)?;
        Ok(map.filter(|map| !map.is_empty()).map(|map| Fields { path: self.path, prefix, map }))
    }

    pub fn token_id(&self, field: &str) -> Result<Option<u32>, ModelError> {
        self.typed(field, "a token id", token_id)
    }

    /// One id or a list of ids; empty where absent or null.
    pub fn token_ids(&self, field: &str) -> Result<Vec<u32>, ModelError> {
        let ids = self.typed(field, "a token id or a list of them", |value| match value {
            Value::Array(list) => list.iter().map(token_id).collect(),
            one => token_id(one).map(|id| vec![id]),
        })?;
        Ok(ids.unwrap_or_default())
    }
}

fn token_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}
