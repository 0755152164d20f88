//! Changes of the form taken back and made again, and its settings as they are kept under a name.

use std::collections::BTreeMap;

use super::{Form, KEPT_BY_PRESETS, Moment};
use crate::config::FIELDS;

/// Changes that can be taken back.
const UNDONE_AT_MOST: usize = 100;

impl Form {
    /// Remembers how the fields stand, before they change.
    pub(super) fn mark(&mut self) {
        self.past.push((self.values.clone(), self.preset));
        if self.past.len() > UNDONE_AT_MOST {
            self.past.remove(0);
        }
        self.future.clear();
        self.changing = None;
    }

    pub fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }

    pub fn undo(&mut self) {
        if let Some(before) = self.past.pop() {
            let now = self.exchange(before);
            self.future.push(now);
        }
    }

    pub fn redo(&mut self) {
        if let Some(after) = self.future.pop() {
            let now = self.exchange(after);
            self.past.push(now);
        }
    }

    fn exchange(&mut self, (values, preset): Moment) -> Moment {
        let now = (std::mem::replace(&mut self.values, values), self.preset);
        self.preset = preset;
        self.changing = None;
        self.validate();
        now
    }

    /// From here on there is nothing to take back.
    pub fn forget_past(&mut self) {
        self.past.clear();
        self.future.clear();
        self.changing = None;
    }

    /// Every field but those of files and machine, to be kept under a name.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let own = self.values.iter().filter(|(name, _)| !KEPT_BY_PRESETS.contains(name));
        own.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    /// Takes over what [`Self::settings`] gave; fields it does not know stay.
    pub fn use_settings(&mut self, settings: &BTreeMap<String, String>) {
        self.mark();
        for field in FIELDS.iter().filter(|field| !KEPT_BY_PRESETS.contains(&field.name)) {
            if let Some(value) = settings.get(field.name) {
                self.values.insert(field.name, value.clone());
            }
        }
        self.preset = None;
        self.validate();
    }
}

#[cfg(test)]
mod tests {
    use super::super::DEMO_PRESET;
    use super::super::tests::filled;

    #[test]
    fn changes_are_taken_back_one_by_one_and_made_again() {
        let (_dir, mut form) = filled();
        form.forget_past();
        for typed in ["0", "0.", "0.2"] {
            form.set("beta", typed);
        }
        form.set("rank", "4");
        form.apply_preset(DEMO_PRESET);
        form.undo();
        assert_eq!((form.get("rank"), form.preset().is_none()), ("4", true));
        form.undo();
        assert_eq!(form.get("beta"), "0.2");
        form.undo();
        assert_eq!(form.get("beta"), "0.1", "the keystrokes in one field are one change");
        assert!(!form.can_undo());
        form.redo();
        form.redo();
        assert_eq!((form.get("beta"), form.get("rank")), ("0.2", "4"));
        form.set("beta", "0.5");
        assert!(!form.can_redo(), "a new change ends what could be made again");
    }

    #[test]
    fn settings_by_name_leave_the_files_alone() {
        let (_dir, mut form) = filled();
        form.set("beta", "0.7");
        let kept = form.settings();
        let data = form.get("data").to_owned();
        form.apply_preset(DEMO_PRESET);
        form.use_settings(&kept);
        assert_eq!((form.get("beta"), form.get("data")), ("0.7", data.as_str()));
        assert!(!kept.contains_key("data") && form.complaints().is_empty());
    }
}
