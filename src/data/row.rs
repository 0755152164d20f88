//! One JSON object to one preference pair, whatever the spelling of its columns.

use serde_json::{Map, Value};

use super::implied::{common_messages, hh_split, trl_split};
use super::pair::{Message, PreferencePair, Text};
use super::source::Schema;

/// Why a row gave no pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub field: Option<String>,
    pub reason: String,
    pub kind: FaultKind,
}

/// Faults that speak about the whole file when every row has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    Row,
    /// Not JSON.
    Syntax,
    /// One answer with a thumbs-up or thumbs-down (KTO).
    Unpaired,
    /// One answer and no verdict (supervised fine-tuning).
    SingleAnswer,
}

impl Fault {
    pub(crate) fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), reason: reason.into(), kind: FaultKind::Row }
    }

    pub(crate) fn whole(kind: FaultKind, reason: impl Into<String>) -> Self {
        Self { field: None, reason: reason.into(), kind }
    }
}

type Row = Map<String, Value>;

const CHOSEN: [&str; 4] = ["chosen", "chosen_messages", "chosen_response", "preferred"];
const REJECTED: [&str; 4] = ["rejected", "rejected_messages", "rejected_response", "dispreferred"];
const PROMPT: [&str; 5] = ["prompt", "question", "query", "conversations", "messages"];
const SYSTEM: [&str; 2] = ["system", "system_prompt"];
/// TRL's older and newer names of the pre-tokenised columns.
const IDS: [[&str; 3]; 2] = [
    ["prompt_input_ids", "chosen_input_ids", "rejected_input_ids"],
    ["prompt_ids", "chosen_ids", "rejected_ids"],
];

/// Reads row number `row`. Each spelling in DESIGN section 5 is a branch here.
pub(crate) fn pair_from_row(row: usize, value: &Value) -> Result<(Schema, PreferencePair), Fault> {
    let Value::Object(object) = value else {
        return Err(Fault::whole(
            FaultKind::Row,
            format!(
                "is {}, but a row must be an object such as {{\"prompt\": .., \"chosen\": .., \"rejected\": ..}}",
                kind_of(value)
            ),
        ));
    };
    let (schema, prompt, chosen, rejected) = match pre_tokenised(object)? {
        Some(ids) => ids,
        None => from_text(object)?,
    };
    for (field, answer) in [("chosen", &chosen), ("rejected", &rejected)] {
        if answer.is_blank() {
            return Err(Fault::new(field, "is empty; write an answer or remove the row"));
        }
    }
    if chosen == rejected {
        return Err(Fault::new(
            "rejected",
            "is the same as `chosen`, so there is nothing to prefer; change one or remove the row",
        ));
    }
    Ok((schema, PreferencePair { row, prompt, chosen, rejected }))
}

type Parts = (Schema, Text, Text, Text);

fn pre_tokenised(object: &Row) -> Result<Option<Parts>, Fault> {
    for names in IDS {
        if !object.contains_key(names[1]) {
            continue;
        }
        let mut parts = Vec::with_capacity(3);
        for name in names {
            parts.push(Text::Ids(ids(object, name)?));
        }
        if let (Some(rejected), Some(chosen), Some(prompt)) =
            (parts.pop(), parts.pop(), parts.pop())
        {
            return Ok(Some((Schema::PreTokenised, prompt, chosen, rejected)));
        }
    }
    Ok(None)
}

fn ids(object: &Row, name: &str) -> Result<Vec<u32>, Fault> {
    let value = object.get(name).ok_or_else(|| missing(object, name))?;
    let list = value.as_array().ok_or_else(|| {
        Fault::new(name, format!("is {}, but must be a list of token ids", kind_of(value)))
    })?;
    list.iter()
        .enumerate()
        .map(|(i, id)| {
            id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
                Fault::new(name, format!("holds {id} at position {i}, which is not a token id"))
            })
        })
        .collect()
}

/// An answer or a prompt before both sides are known.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Plain(String),
    Messages(Vec<Message>),
}

fn from_text(object: &Row) -> Result<Parts, Fault> {
    let (chosen, rejected) = answers(object)?;
    if object.get("tools").is_some_and(is_filled) {
        return Err(Fault::new(
            "tools",
            "holds tool definitions, which cannot be trained on; remove the field or the row",
        ));
    }
    if object.contains_key("instruction") {
        let prompt = alpaca_prompt(object)?;
        return Ok((
            Schema::Alpaca,
            Text::Messages(prompt),
            as_messages(chosen),
            as_messages(rejected),
        ));
    }
    let Some((name, value)) = first_of(object, &PROMPT) else {
        return implied(chosen, rejected);
    };
    let prompt = part(name, value)?;
    let schema = if is_share_gpt(value) { Schema::ShareGpt } else { Schema::Conversational };
    match (prompt, chosen, rejected) {
        (Part::Plain(prompt), Part::Plain(chosen), Part::Plain(rejected)) => {
            Ok(plain(object, prompt, chosen, rejected)?)
        }
        // UltraFeedback binarized: `prompt` repeats the first message of both conversations.
        (Part::Plain(prompt), Part::Messages(chosen), Part::Messages(rejected)) => {
            if common_messages(&chosen, &rejected) > 0 {
                return implied(Part::Messages(chosen), Part::Messages(rejected));
            }
            let prompt = with_system(object, vec![message("user", prompt)])?;
            Ok((
                Schema::Conversational,
                Text::Messages(prompt),
                Text::Messages(chosen),
                Text::Messages(rejected),
            ))
        }
        (Part::Messages(prompt), Part::Messages(chosen), Part::Messages(rejected)) => {
            let (chosen, rejected) = without_prompt(&prompt, chosen, rejected);
            let prompt = with_system(object, prompt)?;
            Ok((schema, Text::Messages(prompt), Text::Messages(chosen), Text::Messages(rejected)))
        }
        (Part::Messages(prompt), chosen, rejected) => {
            let prompt = with_system(object, prompt)?;
            Ok((schema, Text::Messages(prompt), as_messages(chosen), as_messages(rejected)))
        }
        (Part::Plain(_), _, _) => Err(mixed()),
    }
}

fn plain(object: &Row, prompt: String, chosen: String, rejected: String) -> Result<Parts, Fault> {
    // A system column makes the row a conversation (Orca pairs), empty or not, so that all rows of
    // the file are treated alike.
    if first_of(object, &SYSTEM).is_some() {
        let prompt = with_system(object, vec![message("user", prompt)])?;
        return Ok((
            Schema::Conversational,
            Text::Messages(prompt),
            as_messages(Part::Plain(chosen)),
            as_messages(Part::Plain(rejected)),
        ));
    }
    Ok((Schema::Plain, Text::Plain(prompt), Text::Plain(chosen), Text::Plain(rejected)))
}

fn answers(object: &Row) -> Result<(Part, Part), Fault> {
    let chosen = first_of(object, &CHOSEN);
    let rejected = first_of(object, &REJECTED);
    match (chosen, rejected) {
        (Some((a, chosen)), Some((b, rejected))) => Ok((part(a, chosen)?, part(b, rejected)?)),
        (Some(_), None) => Err(missing(object, "rejected")),
        (None, Some(_)) => Err(missing(object, "chosen")),
        (None, None) => Err(no_answers(object)),
    }
}

fn no_answers(object: &Row) -> Fault {
    let has = |names: &[&str]| names.iter().any(|name| object.contains_key(*name));
    if has(&["label", "kto_tag"])
        && has(&["messages", "conversations", "completion", "prompt", "instruction"])
    {
        return Fault::whole(
            FaultKind::Unpaired,
            "has one answer with a label (the KTO format), not a chosen and a rejected answer",
        );
    }
    if has(&["messages", "conversations", "completion", "output", "response", "answer", "text"]) {
        return Fault::whole(
            FaultKind::SingleAnswer,
            "has one answer and nothing to compare it with; add `chosen` and `rejected`",
        );
    }
    missing(object, "chosen")
}

fn missing(object: &Row, name: &str) -> Fault {
    let found: Vec<String> =
        object.keys().take(8).map(|key| format!("`{}`", clip(key, 40))).collect();
    let found = if found.is_empty() { "no fields".to_owned() } else { found.join(", ") };
    Fault::new(
        name,
        format!("is missing (the row has {found}); add it or rename the field that holds it"),
    )
}

/// The first of `names` that the row has. A `null` counts as absent, except where nothing else is there.
fn first_of<'a>(object: &'a Row, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
    let mut null = None;
    for name in names {
        match object.get(*name) {
            Some(Value::Null) if null.is_none() => null = Some((*name, &Value::Null)),
            Some(Value::Null) | None => {}
            Some(value) => return Some((*name, value)),
        }
    }
    null
}

fn part(name: &str, value: &Value) -> Result<Part, Fault> {
    match value {
        Value::String(text) => Ok(Part::Plain(text.clone())),
        Value::Object(_) => Ok(Part::Messages(vec![read_message(name, value)?])),
        Value::Array(list) if list.first().is_some_and(Value::is_object) => {
            list.iter().map(|m| read_message(name, m)).collect::<Result<_, _>>().map(Part::Messages)
        }
        Value::Array(list) if list.is_empty() => {
            Err(Fault::new(name, "is an empty list; write an answer or remove the row"))
        }
        Value::Array(list) if list.first().is_some_and(Value::is_u64) => Err(Fault::new(
            name,
            "is a list of numbers; token ids go into `prompt_input_ids`, `chosen_input_ids` and `rejected_input_ids`",
        )),
        _ => Err(Fault::new(
            name,
            format!(
                "is {}, but must be text or a list of messages with `role` and `content`",
                kind_of(value)
            ),
        )),
    }
}

/// `{"role", "content"}`, or ShareGPT's `{"from", "value"}` with its role names.
fn read_message(name: &str, value: &Value) -> Result<Message, Fault> {
    let Value::Object(object) = value else {
        return Err(Fault::new(name, format!("has {} where a message should be", kind_of(value))));
    };
    if object.get("tool_calls").is_some_and(is_filled) {
        return Err(Fault::new(name, "calls a tool, which cannot be trained on; remove the row"));
    }
    let share_gpt = !object.contains_key("role");
    let (role_key, content_key) = if share_gpt { ("from", "value") } else { ("role", "content") };
    let role =
        object.get(role_key).and_then(Value::as_str).filter(|role| !role.is_empty()).ok_or_else(
            || {
                Fault::new(
                    name,
                    "has a message without a `role` (`system`, `user` or `assistant`); add it",
                )
            },
        )?;
    let role = match role {
        "human" => "user",
        "gpt" | "bot" | "chatgpt" if share_gpt => "assistant",
        "observation" if share_gpt => "tool",
        "function_call" if share_gpt => {
            return Err(Fault::new(
                name,
                "calls a tool, which cannot be trained on; remove the row",
            ));
        }
        other => other,
    };
    let content = object.get(content_key).ok_or_else(|| {
        Fault::new(
            name,
            format!("has a message without `{content_key}`; add the text of the message"),
        )
    })?;
    Ok(Message { role: role.to_owned(), content: read_content(name, content)? })
}

/// Text, or a list of text parts (`{"type": "text", "text" | "value": ..}`), which are joined.
fn read_content(name: &str, content: &Value) -> Result<String, Fault> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let mut joined = String::new();
            for part in parts {
                let text = part.get("text").or_else(|| part.get("value")).and_then(Value::as_str);
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
                match (kind, text) {
                    ("text", Some(text)) => joined.push_str(text),
                    _ => {
                        return Err(Fault::new(
                            name,
                            format!(
                                "has a message part of type `{}`; only text can be trained on",
                                clip(kind, 40)
                            ),
                        ));
                    }
                }
            }
            Ok(joined)
        }
        other => Err(Fault::new(
            name,
            format!("has a message whose content is {}, but must be text", kind_of(other)),
        )),
    }
}

/// LLaMA-Factory's alpaca columns: `instruction`, `input`, `system`, `history`.
fn alpaca_prompt(object: &Row) -> Result<Vec<Message>, Fault> {
    let instruction = string(object, "instruction")?;
    let input = string(object, "input")?;
    let mut messages = Vec::new();
    if let Some(history) = object.get("history").filter(|h| is_filled(h)) {
        let wrong = || Fault::new("history", "must be a list of [question, answer] pairs");
        for turn in history.as_array().ok_or_else(wrong)? {
            let turn = turn.as_array().filter(|turn| turn.len() == 2).ok_or_else(wrong)?;
            for (role, text) in ["user", "assistant"].into_iter().zip(turn) {
                messages.push(message(role, text.as_str().ok_or_else(wrong)?.to_owned()));
            }
        }
    }
    let question = match (instruction.is_empty(), input.is_empty()) {
        (false, false) => format!("{instruction}\n{input}"),
        _ => instruction + &input,
    };
    if question.trim().is_empty() {
        return Err(Fault::new("instruction", "is empty; write the question or remove the row"));
    }
    messages.push(message("user", question));
    with_system(object, messages)
}

/// An optional text field: absent and null are empty.
fn string(object: &Row, name: &str) -> Result<String, Fault> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(Fault::new(name, format!("is {}, but must be text", kind_of(other)))),
    }
}

fn with_system(object: &Row, mut messages: Vec<Message>) -> Result<Vec<Message>, Fault> {
    if let Some((name, _)) = first_of(object, &SYSTEM) {
        let system = string(object, name)?;
        if !system.trim().is_empty() && messages.first().is_none_or(|m| m.role != "system") {
            messages.insert(0, message("system", system));
        }
    }
    Ok(messages)
}

/// No prompt column: the prompt is what both answers begin with.
fn implied(chosen: Part, rejected: Part) -> Result<Parts, Fault> {
    match (chosen, rejected) {
        (Part::Plain(chosen), Part::Plain(rejected)) => implied_plain(&chosen, &rejected),
        (Part::Messages(mut chosen), Part::Messages(mut rejected)) => {
            let shared = common_messages(&chosen, &rejected);
            if shared == 0 {
                return Err(no_prompt());
            }
            rejected.drain(..shared);
            let answer = chosen.split_off(shared);
            Ok((
                Schema::ImpliedConversational,
                Text::Messages(chosen),
                Text::Messages(answer),
                Text::Messages(rejected),
            ))
        }
        _ => Err(mixed()),
    }
}

fn implied_plain(chosen: &str, rejected: &str) -> Result<Parts, Fault> {
    // Refused here, because the split below would leave two equal, possibly empty, answers.
    if chosen == rejected {
        return Err(Fault::new(
            "rejected",
            "is the same as `chosen`, so there is nothing to prefer; change one or remove the row",
        ));
    }
    let (schema, at) = match hh_split(chosen, rejected) {
        Some(at) => (Schema::HhRlhf, at),
        None => (Schema::ImpliedPlain, trl_split(chosen, rejected)),
    };
    if at == 0 {
        return Err(no_prompt());
    }
    let text = |s: &str| Text::Plain(s.to_owned());
    Ok((schema, text(&chosen[..at]), text(&chosen[at..]), text(&rejected[at..])))
}

/// Some files repeat the prompt in both answers beside giving it.
fn without_prompt(
    prompt: &[Message],
    mut chosen: Vec<Message>,
    mut rejected: Vec<Message>,
) -> (Vec<Message>, Vec<Message>) {
    let repeats = |answer: &[Message]| answer.len() > prompt.len() && answer.starts_with(prompt);
    if repeats(&chosen) && repeats(&rejected) {
        chosen.drain(..prompt.len());
        rejected.drain(..prompt.len());
    }
    (chosen, rejected)
}

fn as_messages(part: Part) -> Text {
    Text::Messages(match part {
        Part::Plain(text) => vec![message("assistant", text)],
        Part::Messages(messages) => messages,
    })
}

fn message(role: &str, content: String) -> Message {
    Message { role: role.to_owned(), content }
}

fn is_share_gpt(value: &Value) -> bool {
    value.as_array().and_then(|list| list.first()).is_some_and(|first| first.get("from").is_some())
}

/// Neither null nor an empty list, object or text.
fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty() && text != "[]",
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn mixed() -> Fault {
    Fault::new(
        "chosen",
        "and `rejected` differ in kind (one is text, the other a list of messages); write both the same way",
    )
}

fn no_prompt() -> Fault {
    Fault::new(
        "prompt",
        "is missing, and `chosen` and `rejected` do not begin alike, so no prompt can be read from them; add a `prompt` field",
    )
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// At most `max` characters, for quoting what a file says.
pub(crate) fn clip(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
