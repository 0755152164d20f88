//! Are distances, repeats, lengths and word differences right?

use dpop_studio::data::analysis::{
    DiffKind, Duplicate, Lengths, PairDistance, Summary, diff_words, duplicates, edit_distance,
};
use dpop_studio::data::{PreferencePair, Text, TokenizedPair};

/// The textbook matrix, to compare with.
fn levenshtein(a: &[u32], b: &[u32]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

/// Small reproducible numbers.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as u32) % n
    }
}

#[test]
fn edit_distance_is_levenshteins() {
    for (a, b, expected) in [
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("abc", "", 3),
        ("", "", 0),
        ("flaw", "lawn", 2),
        ("same", "same", 0),
    ] {
        let ids = |s: &str| s.bytes().map(u32::from).collect::<Vec<_>>();
        assert_eq!(edit_distance(&ids(a), &ids(b)), expected, "{a} {b}");
    }
    let mut random = Lcg(1);
    for round in 0..600 {
        // Lengths around the 64-bit blocks; few kinds of token, so that much repeats.
        let (n, m) = (random.below(300) as usize, random.below(300) as usize);
        let kinds = 2 + random.below(30);
        let a: Vec<u32> = (0..n).map(|_| random.below(kinds)).collect();
        let mut b: Vec<u32> = (0..m).map(|_| random.below(kinds)).collect();
        if round % 2 == 0 {
            // Related texts: some tokens changed, some removed.
            b = a.iter().copied().filter(|_| random.below(10) > 0).collect();
            for token in &mut b {
                if random.below(12) == 0 {
                    *token = random.below(kinds);
                }
            }
        }
        assert_eq!(edit_distance(&a, &b), levenshtein(&a, &b), "round {round}: {a:?} {b:?}");
    }
}

#[test]
fn distances_are_normalised_by_the_longer_answer() {
    let pair = |chosen: &[u32], rejected: &[u32]| TokenizedPair {
        row: 0,
        prompt_ids: vec![1],
        chosen_ids: chosen.to_vec(),
        rejected_ids: rejected.to_vec(),
    };
    let distance = PairDistance::of(&pair(&[5, 6, 7, 8], &[5, 6, 9, 8, 2]));
    assert_eq!(distance, PairDistance { edits: 2, normalised: 0.4, first_difference: 2 });
}

#[test]
fn long_different_texts_take_little_time() {
    let mut random = Lcg(7);
    let mut text = |n: usize| -> Vec<u32> { (0..n).map(|_| random.below(30_000)).collect() };
    let (a, b) = (text(20_000), text(20_000));
    let start = std::time::Instant::now();
    assert!(edit_distance(&a, &b) > 19_000);
    assert!(start.elapsed().as_secs_f64() < 5.0, "{:?}", start.elapsed());
}

#[test]
fn summaries_take_nearest_ranks() {
    let s = Summary::of((1..=100).rev().map(f64::from)).unwrap();
    assert_eq!((s.min, s.median, s.mean, s.p95, s.max), (1.0, 50.5, 50.5, 95.0, 100.0));
    let s = Summary::of([3.0, 1.0, 2.0]).unwrap();
    assert_eq!((s.min, s.median, s.p95, s.max), (1.0, 2.0, 3.0, 3.0));
    assert_eq!(Summary::of([]), None);
    assert_eq!(Lengths::of(&[]), None);
}

#[test]
fn repeats_and_contradictions_are_found() {
    let pair = |row, prompt: &str, chosen: &str, rejected: &str| {
        let text = |s: &str| Text::Plain(s.to_owned());
        PreferencePair { row, prompt: text(prompt), chosen: text(chosen), rejected: text(rejected) }
    };
    let pairs = [
        pair(0, "p", "a", "b"),
        pair(2, "p", "a", "c"),
        pair(3, "q", "a", "b"),
        pair(4, "p", "a", "b"),
        pair(5, "p", "b", "a"),
        pair(6, "q", "a", "b"),
    ];
    let expected = [(4, 0, false), (5, 0, true), (6, 3, false)];
    assert_eq!(
        duplicates(&pairs),
        expected.map(|(row, of, reversed)| Duplicate { row, of, reversed })
    );
}

#[test]
fn word_differences_rebuild_both_answers() {
    let (chosen, rejected) =
        ("He goes to the park every day.\nOK", "He goes to the stupid park every single day.\nOK");
    let runs = diff_words(chosen, rejected);
    let side = |kind| {
        runs.iter()
            .filter(|(k, _)| *k == DiffKind::Same || *k == kind)
            .map(|(_, s)| s.as_str())
            .collect::<String>()
    };
    assert_eq!(side(DiffKind::Chosen), chosen);
    assert_eq!(side(DiffKind::Rejected), rejected);
    let only: Vec<&str> =
        runs.iter().filter(|(k, _)| *k == DiffKind::Rejected).map(|(_, s)| s.trim()).collect();
    assert_eq!(only, ["stupid", "single"]);
    assert!(runs.iter().all(|(k, _)| *k != DiffKind::Chosen));
    assert_eq!(diff_words("a", "a"), [(DiffKind::Same, "a".to_owned())]);
    assert_eq!(diff_words("", ""), []);
}
