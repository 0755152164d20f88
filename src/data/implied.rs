//! Where the prompt ends when a file gives whole texts instead of a prompt and answers.

use super::pair::Message;

/// HH-RLHF: the prompt ends with the last `\n\nAssistant:` that both dialogues share.
pub(crate) fn hh_split(chosen: &str, rejected: &str) -> Option<usize> {
    const TURN: &str = "\n\nAssistant:";
    if !chosen.trim_start().starts_with("Human:") {
        return None;
    }
    let shared = common_chars(chosen, rejected);
    chosen[..shared].rfind(TURN).map(|at| at + TURN.len())
}

/// TRL's `extract_prompt`: split where the texts first differ, one earlier when a space precedes.
pub(crate) fn trl_split(chosen: &str, rejected: &str) -> usize {
    let shared = common_chars(chosen, rejected);
    let head = &chosen[..shared];
    let shorter = chosen.len().min(rejected.len());
    let back = if shared == shorter {
        // One text begins with the other: keep the last shared character as the shorter answer.
        head.chars().next_back().map_or(0, char::len_utf8)
    } else {
        usize::from(head.ends_with(' '))
    };
    shared - back
}

/// Bytes of the longest common prefix, at a character boundary.
fn common_chars(a: &str, b: &str) -> usize {
    a.char_indices()
        .zip(b.chars())
        .find(|((_, x), y)| x != y)
        .map_or(a.len().min(b.len()), |((at, _), _)| at)
}

/// Messages that both conversations begin with, leaving at least one to each.
pub(crate) fn common_messages(chosen: &[Message], rejected: &[Message]) -> usize {
    let same = chosen.iter().zip(rejected).take_while(|(a, b)| a == b).count();
    same.min(chosen.len().saturating_sub(1)).min(rejected.len().saturating_sub(1))
}
