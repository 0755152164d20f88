//! Numbers, sizes and times as people read them.

/// A minus sign that is as wide as a plus.
fn typographic(text: String) -> String {
    text.replace('-', "\u{2212}")
}

/// Three to four telling digits.
pub fn number(v: f64) -> String {
    let a = v.abs();
    if v == 0.0 {
        return "0".into();
    }
    typographic(if a >= 1000.0 {
        format!("{v:.0}")
    } else if a >= 100.0 {
        format!("{v:.1}")
    } else if a >= 10.0 {
        format!("{v:.2}")
    } else if a >= 0.1 {
        format!("{v:.3}")
    } else if a >= 0.0001 {
        format!("{v:.4}")
    } else {
        format!("{v:.1e}")
    })
}

/// A number of a column whose largest is `largest`: all with the same decimals.
pub fn fixed(v: f64, largest: f64) -> String {
    let decimals = match largest.abs() {
        a if a < 10.0 => 3,
        a if a < 100.0 => 2,
        _ => 1,
    };
    let text = format!("{v:.decimals$}");
    let zero = text.trim_start_matches(['-', '0', '.']).is_empty();
    typographic(if zero { text.trim_start_matches('-').to_owned() } else { text })
}

/// `0.734` as `73.4%`.
pub fn percent(share: f64) -> String {
    let v = share * 100.0;
    typographic(if (v - v.round()).abs() < 0.05 { format!("{v:.0}%") } else { format!("{v:.1}%") })
}

/// `0.002` as `2e−3`.
pub fn scientific(v: f64) -> String {
    if v == 0.0 {
        return "0".into();
    }
    let text = format!("{v:.2e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    typographic(format!("{mantissa}e{exponent}"))
}

/// A tick label with just the decimals its grid step needs.
pub fn tick(v: f64, step: f64) -> String {
    let decimals = (-step.abs().log10()).ceil().clamp(0.0, 8.0) as usize;
    let text = format!("{v:.decimals$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() { "0".into() } else { typographic(text) }
}

/// The next of 1, 2, 5 times a power of ten at or above `least`.
pub fn round_step(least: f64) -> f64 {
    if least.is_nan() || least <= 0.0 || least.is_infinite() {
        return 0.0;
    }
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|&s| s >= least * 0.999)
        .unwrap_or(10.0 * power)
}

/// `1 min 05 s`, `3 h 20 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".into();
    }
    let s = seconds.round() as u64;
    if s < 60 {
        format!("{s} s")
    } else if s < 3600 {
        format!("{} min {:02} s", s / 60, s % 60)
    } else {
        format!("{} h {:02} min", s / 3600, s % 3600 / 60)
    }
}

/// Seconds on an axis whose marks stand `step` seconds apart.
pub fn clock(seconds: f64, step: f64) -> String {
    let (unit, word) = if step >= 3600.0 {
        (3600.0, "h")
    } else if step >= 60.0 {
        (60.0, "min")
    } else {
        (1.0, "s")
    };
    format!("{:.0} {word}", seconds / unit)
}

/// Binary sizes: `1.4 GiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `12345` as `12 345`, with thin spaces.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{2009}');
        }
        out.push(c);
    }
    out
}

/// `0.8 M`, `1.5 B`.
pub fn parameters(n: u64) -> String {
    let v = n as f64;
    if v >= 1e9 {
        format!("{:.2} B", v / 1e9)
    } else if v >= 1e6 {
        format!("{:.1} M", v / 1e6)
    } else if v >= 1e3 {
        format!("{:.0} K", v / 1e3)
    } else {
        n.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_telling_digits() {
        assert_eq!(number(-0.00612), "\u{2212}0.0061");
        assert_eq!(number(-45.4178), "\u{2212}45.42");
        assert_eq!(number(0.0), "0");
        assert_eq!(percent(0.8281), "82.8%");
        assert_eq!(percent(1.0), "100%");
        assert_eq!(scientific(0.002), "2e\u{2212}3");
        assert_eq!(scientific(5e-5), "5e\u{2212}5");
    }

    #[test]
    fn ticks_and_steps() {
        assert_eq!(tick(-0.05, 0.05), "\u{2212}0.05");
        assert_eq!(tick(-0.0, 0.05), "0");
        assert_eq!(tick(40.0, 20.0), "40");
        assert_eq!(round_step(0.034), 0.05);
        assert_eq!(round_step(1.1), 2.0);
        assert_eq!(round_step(0.0), 0.0);
    }

    #[test]
    fn times_and_sizes() {
        assert_eq!(duration(65.2), "1 min 05 s");
        assert_eq!(duration(12_010.0), "3 h 20 min");
        assert_eq!(duration(f64::NAN), "unknown");
        assert_eq!(bytes(1_503_238_553), "1.4 GiB");
        assert_eq!(count(1_234_567), "1\u{2009}234\u{2009}567");
        assert_eq!(parameters(804_992), "805 K");
        assert_eq!(fixed(-0.0957, 8.0), "\u{2212}0.096");
        assert_eq!(fixed(-0.0003, 20.0), "0.00");
    }
}
