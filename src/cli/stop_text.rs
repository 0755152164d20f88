//! Ends a text before the first stop text, also where that comes in pieces.

/// Watches a text for stop texts; what may be the beginning of one waits until that is known.
#[derive(Debug, Default)]
pub struct StopText {
    stops: Vec<String>,
    held: String,
}

impl StopText {
    pub fn new(stops: &[String]) -> StopText {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        StopText { stops, held: String::new() }
    }

    /// What can be shown now that `piece` has come, and whether the text ends there.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = first {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let begun = |stop: &String| {
            let ends = (1..stop.len()).rev().filter(|&end| stop.is_char_boundary(end));
            ends.filter(|&end| self.held.ends_with(&stop[..end])).max().unwrap_or(0)
        };
        let waiting = self.stops.iter().map(begun).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - waiting);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What still waits when the text has ended otherwise.
    pub fn finish(self) -> String {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut watch = StopText::new(&stops);
        let mut text = String::new();
        for piece in pieces {
            let (now, ends) = watch.push(piece);
            text.push_str(&now);
            if ends {
                return (text, true);
            }
        }
        text.push_str(&watch.finish());
        (text, false)
    }

    #[test]
    fn texts_end_before_a_stop_and_lose_nothing_without_one() {
        assert_eq!(shown(&["\n\n"], &["a\n", "\nb"]), ("a".into(), true));
        assert_eq!(shown(&["\n\n"], &["a\n", "b\n"]), ("a\nb\n".into(), false));
        assert_eq!(shown(&["abcd"], &["xa", "b", "c", "ab", "cde"]), ("xabc".into(), true));
        assert_eq!(shown(&["yz", "y"], &["xyz"]), ("x".into(), true));
        assert_eq!(shown(&["ąę"], &["xą", "ąę"]), ("xą".into(), true));
        assert_eq!(shown(&[], &["a", "b"]), ("ab".into(), false));
        assert_eq!(shown(&[""], &["a"]), ("a".into(), false));
    }

    #[test]
    fn what_may_be_a_stop_waits() {
        let mut watch = StopText::new(&["User:".to_owned()]);
        assert_eq!(watch.push("Yes. Us"), ("Yes. ".into(), false));
        assert_eq!(watch.push("e it"), ("Use it".into(), false));
    }
}
