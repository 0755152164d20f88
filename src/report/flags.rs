//! Where the flags of marks stand: never over one another.

/// Most rows of flags; a mark whose flag finds no place keeps its line.
const MOST_ROWS: usize = 3;

/// Rows to keep free above the lines for so many marks.
pub fn rows_for(marks: usize) -> usize {
    marks.min(MOST_ROWS)
}

/// The places taken so far, row by row from the top.
#[derive(Debug, Default)]
pub struct FlagRows {
    rows: [Vec<(f64, f64)>; MOST_ROWS],
}

impl FlagRows {
    /// The first row in which nothing stands between `left` and `right`; from then on something does.
    pub fn place(&mut self, left: f64, right: f64) -> Option<usize> {
        let free = |row: &Vec<(f64, f64)>| row.iter().all(|(l, r)| right < *l || *r < left);
        let row = self.rows.iter().position(free)?;
        self.rows[row].push((left, right));
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_share_a_row_only_where_they_do_not_touch() {
        let mut rows = FlagRows::default();
        let spans = [(0.0, 50.0), (60.0, 90.0), (40.0, 70.0), (45.0, 65.0), (48.0, 55.0)];
        let placed = spans.map(|(left, right)| rows.place(left, right));
        assert_eq!(placed, [Some(0), Some(0), Some(1), Some(2), None]);
    }
}
