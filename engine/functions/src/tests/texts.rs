//! What is one JSON text, compared with serde_json on every case, whole and inside a record.
//!
//! The cases are written after the classes of JSONTestSuite (<https://github.com/nst/JSONTestSuite>): what must be taken, what
//! must be refused, and what a parser may decide. Of the last, a lone surrogate is refused, and numbers of any size are taken.

use arrow::buffer::Buffer;
use proptest::prelude::*;

use crate::*;

const TAKEN: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "12",
    "1234567890",
    "-1234567890",
    "0.0",
    "0.5",
    "-0.5",
    "10.25",
    "1e1",
    "1E1",
    "1e+1",
    "1e-1",
    "1E+01",
    "1.5e3",
    "-1.5E-3",
    "0e0",
    "0e+1",
    "0.0e-0",
    "20e1",
    "123.456e78",
    "1e400",
    "-1e-400",
    "1e99999999999999999999",
    "123456789012345678901234567890",
    "0.00000000000000000000000000000000000001",
    "-237462374673276894279832749832423479823246327846",
    "\"\"",
    "\"a\"",
    "\" \"",
    "\"\\\"\"",
    "\"\\\\\"",
    "\"\\/\"",
    "\"\\b\\f\\n\\r\\t\"",
    "\"\\u0000\"",
    "\"\\u0041\"",
    "\"\\u00e9\"",
    "\"\\uFFFF\"",
    "\"\\uD83D\\uDE00\"",
    "\"\\ud83d\\ude00\"",
    "\"\\udbff\\udfff\"",
    "\"\\uD834\\uDd1e\"",
    "\"\\u0022\"",
    "\"\\u005C\"",
    "\"\\\\u0000\"",
    "\"\\\\n\"",
    "\"\\\\a\"",
    "\"é\"",
    "\"日本語\"",
    "\"😀\"",
    "\"\u{7f}\"",
    "\"\u{80}\"",
    "\"\u{2028}\u{2029}\"",
    "\"\u{fffe}\"",
    "\"\u{10ffff}\"",
    "\"\u{feff}\"",
    "\"a/*b*/c\"",
    "\"0123456789abcde\"",
    "\"0123456789abcdef\"",
    "\"0123456789abcdef0\"",
    "\"0123456789abcd\\\"\"",
    "\"0123456789abcde\\\"\"",
    "\"0123456789abcdef\\\\\"",
    "\"0123456789abcd\\u0041\"",
    "\"{[]}\"",
    "\"asd \"",
    "\"new\\u00A0line\"",
    "\"\\u0123\"",
    "\"\\u0821\"",
    "\"\\uDBFF\\uDFFE\"",
    "[]",
    "[ ]",
    "[\n]",
    "[\t\r\n ]",
    "[1]",
    "[1,2]",
    "[ 1 , 2 ]",
    "[[]]",
    "[[],[]]",
    "[{}]",
    "[null]",
    "[true,false,null]",
    "[\"a\",1,{}]",
    "[1,null,null,null,2]",
    "[[[[[[]]]]]]",
    "[1\n]",
    " [1]",
    "[1] ",
    "[\"\"]",
    "[\"a\"]",
    "{}",
    "{ }",
    "{\n\t}",
    "{\"a\":1}",
    "{ \"a\" : 1 }",
    "{\"a\":1,\"b\":2}",
    "{\"a\":{}}",
    "{\"a\":[]}",
    "{\"\":0}",
    "{\"a\":1,\"a\":2}",
    "{\"a\":null,\"a\":null}",
    "{\"a\\u0062\":1}",
    "{\"\\u0000\":1}",
    "{\"min\":-1.0e+28,\"max\":1.0e+28}",
    "{\"x\":[{\"id\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}],\"id\":\"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\"}",
    "{\"a\":[]}\n",
    "\t{\"a\":\"b\"}\r\n",
    "[{\"a\":[{\"b\":[{}]}]}]",
    "{\"a\":[1,{\"b\":[2,{\"c\":\"}]\"}]}]}",
    "\"\\u0060\\u012a\\u12AB\"",
    "[0.1,1e5,-7]",
];

const REFUSED: &[&str] = &[
    "",
    " ",
    "\n",
    "\t",
    "nul",
    "nulL",
    "nulll",
    "tru",
    "True",
    "truee",
    "fals",
    "FALSE",
    "falsee",
    "N",
    "NaN",
    "nan",
    "Infinity",
    "-Infinity",
    "inf",
    "undefined",
    "a",
    "a1",
    "_",
    "*",
    "'a'",
    "'",
    "`a`",
    "-",
    "--1",
    "+1",
    "++1",
    "+",
    "01",
    "-01",
    "00",
    "-00",
    "1.",
    "-1.",
    ".1",
    "-.1",
    "1..2",
    "1.2.3",
    "1.e1",
    ".e1",
    "1e",
    "1E",
    "1e+",
    "1e-",
    "1ee1",
    "1e1.5",
    "1e+-1",
    "0e",
    "0e+",
    "0.e1",
    "1a",
    "1 2",
    "0x1",
    "0x42",
    "1_000",
    "1,000",
    "- 1",
    "1e 1",
    "1 .5",
    "1.0e",
    "2.e3",
    "-a",
    "-Inf",
    "\u{ff11}",
    "1\u{a0}",
    "\"",
    "\"a",
    "a\"",
    "\"\\\"",
    "\"\\",
    "\"\\a\"",
    "\"\\x41\"",
    "\"\\0\"",
    "\"\\'\"",
    "\"\\U0041\"",
    "\"\\u\"",
    "\"\\u0\"",
    "\"\\u00\"",
    "\"\\u004\"",
    "\"\\u004g\"",
    "\"\\u 041\"",
    "\"\\u+041\"",
    "\"\\u00A\"",
    "\"\\u\u{e9}000\"",
    "\"\\ud800\"",
    "\"\\udc00\"",
    "\"\\ud800a\"",
    "\"\\ud800\\n\"",
    "\"\\ud800\\u\"",
    "\"\\ud800\\u0041\"",
    "\"\\ud800\\ud800\"",
    "\"\\udfff\\ud800\"",
    "\"\\uD800\\uD800\\u0078\"",
    "\"0123456789abcdef\\ud800\"",
    "\"\n\"",
    "\"\t\"",
    "\"\r\"",
    "\"\u{0}\"",
    "\"\u{1f}\"",
    "\"a\u{8}b\"",
    "\"0123456789abcde\n\"",
    "\"0123456789abcdef\u{1}0123456789\"",
    "\"a\"b",
    "\"a\" \"b\"",
    "\"\"x",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[,]",
    "[1,,2]",
    "[1 2]",
    "[1:2]",
    "[1;2]",
    "[1]]",
    "[1}",
    "[}",
    "[[]",
    "[[1]",
    "[1,\n",
    "[\"a\"",
    "[\"a",
    "[\"a\",",
    "[tru]",
    "[a]",
    "[-]",
    "[\u{c}]",
    "[1]x",
    "[1],",
    "[*]",
    "[\"\": 1]",
    "[\\n]",
    "['a']",
    "{",
    "}",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{,}",
    "{,\"a\":1}",
    "{\"a\" 1}",
    "{\"a\"::1}",
    "{\"a\",1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1,,\"b\":2}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{null:1}",
    "{\"a\":1]",
    "{]",
    "{\"a\":}",
    "{\"a\":1}}",
    "{\"a\":1}x",
    "{\"a\":1}{",
];

const MORE_REFUSED: &[&str] = &[
    "{\"a\":1}#",
    "{\"a\":1}//x",
    "{\"a\":1}/**/",
    "{/**/\"a\":1}",
    "// x\n1",
    "1 // x",
    "\u{feff}{}",
    "\u{feff}1",
    "{\"a\":\"b",
    "{\"a\\ud800\":1}",
    "{\"a\n\":1}",
    "{\"a\u{1}\":1}",
    "{\"a\":tru}",
    "{\"a\":01}",
    "{\"a\":1.}",
    "{\"a\":\"\\x\"}",
    "{\"a\":{\"b\":[1,}}",
    "{\"a\":{\"b\":[1,2]]}",
    "[\u{a0}1]",
    "[\u{2028}1]",
    "{\"a\":[\"\\ud800\"]}",
    "{[1]:1}",
];

fn taken_by_serde(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok()
}

/// Our verdict on a text, and on an object that holds it: they must be one. (A record is an object whose members are read or not.)
fn taken(bytes: &[u8]) -> bool {
    let alone = validate(bytes).is_ok();
    for wanted in [vec![], vec![json_field("a")], vec![json_field("z")]] {
        let mut record = b"{\"z\": 1, \"a\": ".to_vec();
        record.extend_from_slice(bytes);
        record.extend_from_slice(b" }");
        let spans = [(0, record.len() as u32)];
        let decoded = Decoder::new(&wanted, Unknown::Ignore).decode(&Buffer::from_vec(record.clone()), &spans);
        let inside = decoded.bad.is_empty();
        // `1, "b": 2` is no text, but inside an object it is more members.
        if inside != alone {
            assert!(!alone && taken_by_serde(&record), "{:?}: alone {alone}", String::from_utf8_lossy(bytes));
        }
    }
    alone
}

#[test]
fn every_text_that_is_json_is_taken() {
    for text in TAKEN {
        assert!(taken_by_serde(text.as_bytes()), "serde_json refuses {text:?}");
        assert!(taken(text.as_bytes()), "{text:?}: {:?}", validate(text.as_bytes()));
    }
}

#[test]
fn every_text_that_is_not_json_is_refused() {
    for text in REFUSED.iter().chain(MORE_REFUSED) {
        assert!(!taken_by_serde(text.as_bytes()), "serde_json takes {text:?}");
        assert!(!taken(text.as_bytes()), "{text:?}");
    }
}

#[test]
fn every_prefix_of_a_text_is_refused() {
    let text = br#"{"a":[1.5e-3,"x\u00e9\"",{"b":null,"c":[true,false]}],"0123456789abcdef":"0123456789abcdef\\"}"#;
    assert!(taken(text));
    for end in 0..text.len() {
        assert!(!taken(&text[..end]), "{}", String::from_utf8_lossy(&text[..end]));
    }
}

#[test]
fn every_byte_outside_its_place_is_judged_as_serde_does() {
    for byte in 0..=255u8 {
        for around in [
            (&b"\""[..], &b"\""[..]),
            (b"\"0123456789abcdefg", b"hij\""),
            (b"", b""),
            (b"1", b""),
            (b"[", b"1]"),
            (b"\"\\", b"\""),
        ] {
            let text = [around.0, &[byte], around.1].concat();
            assert_eq!(validate(&text).is_ok(), taken_by_serde(&text), "{:?}", String::from_utf8_lossy(&text));
        }
    }
}

#[test]
fn bytes_that_are_not_utf8_are_named() {
    for text in [
        &b"\"\xff\""[..],
        b"\"\xc3\"",
        b"\"\xe2\x82\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xf4\x90\x80\x80\"",
        b"\"\xc0\x80\"",
        b"\xff\xfe",
        b"{\"\x80\":1}",
    ] {
        assert!(!taken(text));
        assert_eq!(validate(text).unwrap_err().slug, "not-utf8");
    }
}

#[test]
fn nesting_ends_at_a_thousand() {
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    for (open, inner, close) in [("[", "1", "]"), ("{\"a\":", "1", "}"), ("[", "", "]")] {
        assert_eq!(validate(nested(open, inner, close, 1000).as_bytes()), Ok(()));
        assert_eq!(validate(nested(open, inner, close, 1001).as_bytes()).unwrap_err().slug, "too-deep");
        assert_eq!(validate(nested(open, inner, close, 200_000).as_bytes()).unwrap_err().slug, "too-deep");
    }
    // The record itself is one level.
    for (depth, wanted) in [(999, None), (1000, Some("too-deep"))] {
        let record = format!("{{\"a\":{}}}", nested("[", "", "]", depth));
        let spans = [(0, record.len() as u32)];
        let decoded = Decoder::new(&[], Unknown::Ignore).decode(&Buffer::from_vec(record.into_bytes()), &spans);
        assert_eq!(decoded.bad.first().map(|(_, reason)| reason.slug.as_str()), wanted);
    }
}

/// Any JSON value, with strings of every kind.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(|number| serde_json::json!(number)),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_written_value_is_taken(value in any_json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert!(taken(&text));
    }

    #[test]
    fn a_text_with_changed_bytes_is_judged_as_serde_does(
        value in any_json(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..4),
    ) {
        let mut text = serde_json::to_vec(&value).unwrap();
        for (place, byte, kind) in changes {
            let at = place.index(text.len().max(1)).min(text.len());
            let byte = *b"{}[]\":,\\u0e-+. tn\n\x00\xc3".get(byte as usize % 32).unwrap_or(&byte);
            match kind {
                0 if at < text.len() => text[at] = byte,
                1 if at < text.len() => { text.remove(at); }
                _ => text.insert(at, byte),
            }
        }
        prop_assert_eq!(taken(&text), taken_by_serde(&text), "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn random_bytes_are_judged_as_serde_does(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(validate(&bytes).is_ok(), taken_by_serde(&bytes));
    }

    #[test]
    fn random_marks_are_judged_as_serde_does(text in "[\\[\\]{}\":,0-9eE.+\\-atrufalsn\\\\ ]{0,24}") {
        prop_assert_eq!(validate(text.as_bytes()).is_ok(), taken_by_serde(text.as_bytes()));
    }
}
