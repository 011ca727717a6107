//! Literals that look like a token: a pipeline file is read by many, a token is not.

/// What each kind of token begins with, and how many more characters a real one has at least.
const PREFIXES: [(&str, usize); 19] = [
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxa-", 10),
    ("xoxs-", 10),
    ("xapp-", 10),
    ("AKIA", 16),
    ("ASIA", 16),
    ("sk_live_", 10),
    ("rk_live_", 10),
    ("AIza", 30),
    ("secret_", 30),
    ("eyJhbGciOi", 20),
];

/// Shorter texts are names and words, whatever their letters.
const SHORTEST_RANDOM: usize = 32;

/// Bits per character; English words and paths stay below 4, random base64 of this length is above 4.3.
const RANDOM_BITS: f64 = 4.2;

/// The kind of secret that a text looks like.
pub(crate) fn looks_like(text: &str) -> Option<&'static str> {
    let text = text.trim();
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    let token = |rest: &str, least: usize| rest.len() >= least && !rest.contains(char::is_whitespace);
    if PREFIXES.iter().any(|(prefix, least)| text.strip_prefix(prefix).is_some_and(|rest| token(rest, *least))) {
        return Some("an access token");
    }
    if has_password(text) {
        return Some("a password in an address");
    }
    is_random(text).then_some("a key")
}

/// `scheme://user:password@host`.
fn has_password(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
}

/// Long text of base64 letters without a word in it.
fn is_random(text: &str) -> bool {
    let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-');
    if text.len() < SHORTEST_RANDOM || !text.chars().all(base64) {
        return false;
    }
    let has = |of: fn(&char) -> bool| text.chars().any(|c| of(&c));
    let mixed = has(char::is_ascii_digit) && has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase);
    mixed && bits_per_character(text) > RANDOM_BITS
}

fn bits_per_character(text: &str) -> f64 {
    let mut counts = [0usize; 256];
    text.bytes().for_each(|byte| counts[byte as usize] += 1);
    let length = text.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| *count as f64 / length)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_seen_and_names_are_not() {
        let token = |prefix: &str| format!("{prefix}{}", "a1B2c3D4e5F6g7H8i9J0".repeat(2));
        assert_eq!(looks_like(&token("ghp_")), Some("an access token"));
        assert_eq!(looks_like(&token("xoxb-")), Some("an access token"));
        assert_eq!(looks_like("-----BEGIN RSA PRIVATE KEY-----\nMII"), Some("a private key"));
        assert_eq!(looks_like("postgres://app:hunter2@db/shop"), Some("a password in an address"));
        assert_eq!(looks_like("9fKq2LmZ7xVtB4nRwY6cJ1pHs8DgE3uA"), Some("a key"));
        for plain in [
            "events/2026/11/20/orders-of-the-north-region-*.ndjson",
            "postgres://app@db/shop",
            "https://example.org/a:b@c",
            "a_rather_long_table_name_of_a_warehouse_2026",
            "AKIA",
            "orders",
            "0123456789012345678901234567890123456789",
        ] {
            assert_eq!(looks_like(plain), None, "{plain}");
        }
    }
}
