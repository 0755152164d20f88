//! Chat templates: the Jinja programs that models ship to turn messages into text.
//!
//! Set up as transformers sets up Jinja (`trim_blocks`, `lstrip_blocks`, loop controls,
//! `raise_exception`, `strftime_now`, `tojson` without HTML escapes), so that the text is equal byte
//! for byte. A template is foreign code: it has no access to files, and fuel bounds its run time.

use std::error::Error as _;
use std::fmt;

use jiff::ZonedDateTime;
use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::{Map, Value as Json};

use super::pair::Message;
use super::python_json;

/// Instructions, and blocks of 64 bytes, that one rendering may use: about 100 MB of text.
const FUEL: u64 = 2_000_000;

const NAME: &str = "chat_template";

/// Special tokens that templates may name, as in transformers' `special_tokens_map`.
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error(
        "the model's chat template cannot be read: {0}; take `tokenizer_config.json` or `chat_template.jinja` from the model's page again"
    )]
    Syntax(String),
    #[error(
        "the model's chat templates are {0}, and none is named `default`; keep one template, or name one `default`"
    )]
    NoDefault(String),
    /// The template called `raise_exception`.
    #[error(
        "the model's chat template refuses this conversation: {0}; change the messages to fit the model"
    )]
    Refused(String),
    #[error(
        "the model's chat template runs too long; take the template from the model's page again"
    )]
    TooLong,
    #[error(
        "the model's chat template fails on this conversation: {0}; change the messages, or use another template"
    )]
    Render(String),
}

/// A compiled chat template with the model's special tokens.
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: Map<String, Json>,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("special_tokens", &self.special_tokens)
            .finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// The template of `tokenizer_config.json`, or `standalone` (the text of `chat_template.jinja`),
    /// which wins as in transformers. `None` when the model has neither.
    pub fn from_config(
        config: &Json,
        standalone: Option<&str>,
    ) -> Result<Option<Self>, TemplateError> {
        let source = match (standalone, config.get("chat_template")) {
            (Some(text), _) => text,
            (None, Some(Json::String(text))) => text,
            (None, Some(Json::Array(list))) => default_of(list)?,
            (None, _) => return Ok(None),
        };
        let mut special_tokens = Map::new();
        for name in SPECIAL_TOKENS {
            if let Some(token) = token_text(config.get(name)) {
                special_tokens.insert(name.to_owned(), Json::String(token.to_owned()));
            }
        }
        Self::new(source, special_tokens).map(Some)
    }

    /// Compiles `source`. `special_tokens` are variables of the template.
    pub fn new(source: &str, special_tokens: Map<String, Json>) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|e| TemplateError::Syntax(e.to_string()))?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_filter("tojson", python_json::tojson);
        environment.add_function("raise_exception", raise_exception);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|e| TemplateError::Syntax(describe(&e)))?;
        let mut template = Self { environment, special_tokens };
        template.set_now(ZonedDateTime::now().datetime());
        Ok(template)
    }

    /// Fixes the moment that `strftime_now` speaks of: by default, when the template was compiled.
    /// A resumed run passes the date of its start, so that its prompts stay the same.
    pub fn set_now(&mut self, now: DateTime) {
        self.environment.add_function("strftime_now", move |format: String| {
            jiff::fmt::strtime::format(&format, now)
                .map_err(|e| minijinja::Error::new(ErrorKind::InvalidOperation, e.to_string()))
        });
    }

    /// The text of a conversation; `add_generation_prompt` appends what precedes an answer.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        let mut variables = Map::new();
        let messages = messages
            .iter()
            .map(|m| {
                let mut message = Map::new();
                message.insert("role".to_owned(), Json::String(m.role.clone()));
                message.insert("content".to_owned(), Json::String(m.content.clone()));
                Json::Object(message)
            })
            .collect();
        variables.insert("messages".to_owned(), Json::Array(messages));
        variables.insert("add_generation_prompt".to_owned(), Json::Bool(add_generation_prompt));
        self.render_with(variables)
    }

    /// The text for arbitrary variables (`messages`, `tools`, `documents`, ..), as
    /// `apply_chat_template` takes them.
    pub fn render_with(&self, mut variables: Map<String, Json>) -> Result<String, TemplateError> {
        // transformers passes these two always: templates tell "none" from "undefined".
        for name in ["tools", "documents"] {
            variables.entry(name).or_insert(Json::Null);
        }
        for (name, token) in &self.special_tokens {
            variables.entry(name.clone()).or_insert_with(|| token.clone());
        }
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(Serde(&variables)))
            .map_err(|e| render_error(&e))
    }
}

/// A special token as `tokenizer_config.json` writes it: text, or an object with `content`.
pub(crate) fn token_text(value: Option<&Json>) -> Option<&str> {
    match value? {
        Json::String(text) => Some(text),
        Json::Object(object) => object.get("content").and_then(Json::as_str),
        _ => None,
    }
}

/// Several named templates: `[{"name": "default", "template": ".."}, ..]`.
fn default_of(list: &[Json]) -> Result<&str, TemplateError> {
    let name = |entry: &Json| {
        entry.get("name").and_then(Json::as_str).map(str::to_owned).unwrap_or_default()
    };
    list.iter()
        .find(|entry| name(entry) == "default")
        .or(if list.len() == 1 { list.first() } else { None })
        .and_then(|entry| entry.get("template").and_then(Json::as_str))
        .ok_or_else(|| {
            let names: Vec<String> = list.iter().map(name).collect();
            TemplateError::NoDefault(names.join(", "))
        })
}

/// What a template raised through `raise_exception`.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raised by the template")
        .with_source(Raised(message)))
}

fn render_error(error: &minijinja::Error) -> TemplateError {
    if error.kind() == ErrorKind::OutOfFuel {
        return TemplateError::TooLong;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return TemplateError::Refused(message.trim_end_matches('.').to_owned());
        }
        source = cause.source();
    }
    TemplateError::Render(describe(error))
}

/// The error and its line in the template.
fn describe(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

/// transformers marks the model's own words with `{% generation %}`, to mask them for training. The
/// tag changes nothing in the text, so it becomes a condition that always holds.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let word = tag
            .trim_start_matches(['{', '%', '-', '+'])
            .trim_end_matches(['}', '%', '-', '+'])
            .trim();
        match word {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
