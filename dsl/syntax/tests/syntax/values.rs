//! A diagnostic as a value: as JSON, as an edit, as a guess.

use syncline_syntax::{Edit, Span, apply_fix, nearest, parse};

#[test]
fn json_has_the_slug_the_places_and_the_edit() {
    let source = "PIPELINE é AS FROM http('/a')\n|> WHER x;";
    let said: Vec<String> = parse(source).1.iter().map(|one| one.to_json("a.sync", source).to_string()).collect();
    let expected = r#"{"slug":"misspelt-keyword","severity":"error","title":"`WHER` is not a step","file":"a.sync","labels":[{"text":"WHERE?","primary":true,"span":{"start":{"line":2,"column":4,"byte":34},"end":{"line":2,"column":8,"byte":38}}}],"help":[],"fix":{"what":"write WHERE","edits":[{"span":{"start":{"line":2,"column":4,"byte":34},"end":{"line":2,"column":8,"byte":38}},"text":"WHERE"}]}}"#;
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(said.iter().map(|one| parsed(one)).collect::<Vec<_>>(), [parsed(expected)]);
}

#[test]
fn edits_are_made_in_any_order_and_never_outside() {
    let edits = [
        Edit::insert(99, "!"),
        Edit::replace(Span::new(2, 3), "c"),
        Edit::insert(0, "> "),
        Edit::delete(Span::new(3, 4)),
    ];
    assert_eq!(apply_fix("a bd", &edits), "> a c!");
    assert_eq!(apply_fix("é", &[Edit::insert(1, "x")]), "xé");
}

#[test]
fn the_nearest_word_is_near() {
    let among = ["created_at", "customer", "id", "total"];
    let guess = |word| nearest(word, among.into_iter());
    assert_eq!(
        [guess("custmer"), guess("ID"), guess("create_at"), guess("toatl"), guess("xy"), guess("region")],
        [Some("customer"), Some("id"), Some("created_at"), Some("total"), None, None]
    );
}
