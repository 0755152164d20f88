// Which keys a query sees: rows of its prefix, rows of its own sequence, and none before `first`, counted in both.
struct Sight {
    prefix_start: u32,
    prefix_end: u32,
    own_start: u32,
    own_end: u32,
    first: u32,
}

fn sight_of(token: u32, tokens: u32, window: u32) -> Sight {
    var s = Sight(0u, 0u, 0u, 0u, 0u);
    if token < tokens {
        s.prefix_start = u32(spans[token * 5u]);
        s.prefix_end = u32(spans[token * 5u + 1u]);
        s.own_start = u32(spans[token * 5u + 2u]);
        // Prefix and own keys are consecutive positions.
        let seen = u32(spans[token * 5u + 4u]) + 1u;
        s.own_end = s.own_start + seen - (s.prefix_end - s.prefix_start);
        if window > 0u && seen > window { s.first = seen - window; }
    }
    return s;
}

fn sees(s: Sight, key: u32) -> bool {
    let in_prefix = key >= s.prefix_start && key < s.prefix_end;
    let in_own = key >= s.own_start && key < s.own_end;
    let place = select(s.prefix_end - s.prefix_start + key - s.own_start, key - s.prefix_start, in_prefix);
    return (in_prefix || in_own) && place >= s.first;
}
