//! Where is likelihood lost: are means by distance from the edit, and percentiles, what they are said to be?

use dpop_studio::insight::{edit_profile, percentile};

#[test]
fn means_stand_by_distance_from_the_first_difference() {
    // Two answers: the first differs at its third token, the second at its first.
    let profile = edit_profile([(&[-1.0f32, -2.0, -4.0, -8.0][..], 2), (&[-0.5f32, -0.25], 0)]);
    let points: Vec<(isize, f64, usize)> =
        profile.points.iter().map(|p| (p.offset, p.mean, p.tokens)).collect();
    assert_eq!(points, [(-2, -1.0, 1), (-1, -2.0, 1), (0, -2.25, 2), (1, -4.125, 2)]);
    assert_eq!(profile.before, Some(-1.5));
    assert_eq!(profile.at, Some(-2.25));
    // Every token counts once, not every answer.
    assert_eq!(profile.after, Some(-4.125));
    let uneven = edit_profile([(&[-1.0f32, -3.0, -3.0][..], 0), (&[-1.0f32, -9.0], 0)]);
    assert_eq!(uneven.after, Some(-5.0));
}

#[test]
fn an_answer_that_only_begins_the_other_has_no_difference_of_its_own() {
    let profile = edit_profile([(&[-1.0f32, -2.0][..], 2)]);
    assert_eq!((profile.before, profile.at, profile.after), (Some(-1.5), None, None));
    assert_eq!(edit_profile([]).points, []);
}

#[test]
fn percentiles_are_numpys() {
    // numpy 2: np.percentile([1, 2, 4, 8, 16, 32], [0, 10, 50, 90, 100])
    let values = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
    let expected = [1.0, 1.5, 6.0, 24.0, 32.0];
    for (q, expected) in [0.0, 0.1, 0.5, 0.9, 1.0].into_iter().zip(expected) {
        assert!((percentile(&values, q).unwrap() - expected).abs() < 1e-12, "{q}");
    }
    assert_eq!(percentile(&[3.0], 0.9), Some(3.0));
    assert_eq!(percentile(&[], 0.5), None);
}
