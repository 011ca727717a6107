//! Lists as values of parameters: `WHERE id = ANY($1)` is how drivers ask for some rows by their keys.
//!
//! One dimension; elements are read as values of their own type, in the text form (`{1,NULL,"a b"}`) and in the binary one.

use syncline_analytics::ScalarValue;

/// Types of lists, and those of their elements.
const LISTS: [(u32, u32); 14] = [
    (1000, 16),
    (1001, 17),
    (1005, 21),
    (1007, 23),
    (1009, 25),
    (1015, 25),
    (1016, 20),
    (1021, 700),
    (1022, 701),
    (1115, 1114),
    (1182, 1082),
    (1185, 1184),
    (1231, 1700),
    (2951, 2950),
];

/// The type of the elements of a list of this type.
pub fn element_of(oid: u32) -> Option<u32> {
    LISTS.iter().find(|(list, _)| *list == oid).map(|(_, element)| *element)
}

/// The elements of a text, each of them as a text; `None` where it is no list of one dimension.
pub fn texts(list: &str) -> Option<Vec<Option<String>>> {
    let mut letters = list.trim().strip_prefix('{')?.strip_suffix('}')?.chars().peekable();
    let mut elements = vec![];
    letters.next_if(|letter| letter.is_whitespace());
    if letters.peek().is_none() {
        return Some(elements);
    }
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        let (mut text, quoted) = (String::new(), letters.next_if_eq(&'"').is_some());
        loop {
            match (quoted, letters.peek()) {
                (true, Some('"')) => {
                    letters.next();
                    break;
                }
                (true, None) | (false, Some('{' | '}' | '"')) => return None,
                (false, None | Some(',')) => break,
                (_, Some('\\')) => {
                    letters.next();
                    text.push(letters.next()?);
                }
                (_, Some(letter)) => {
                    text.push(*letter);
                    letters.next();
                }
            }
        }
        let bare = text.trim_end();
        elements.push(match quoted {
            true => Some(text),
            false if bare.is_empty() => return None,
            false => Some(bare.to_owned()).filter(|text| !text.eq_ignore_ascii_case("NULL")),
        });
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        match letters.next() {
            None => return Some(elements),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

/// The elements of the binary form, whose type has to be this.
pub fn binaries(list: &[u8], element: u32) -> Option<Vec<Option<&[u8]>>> {
    let mut rest = list;
    let int = |rest: &mut &[u8]| {
        let (int, after) = rest.split_at_checked(4)?;
        *rest = after;
        Some(i32::from_be_bytes(int.try_into().ok()?))
    };
    let (dimensions, _nulls, of) = (int(&mut rest)?, int(&mut rest)?, int(&mut rest)?);
    if of as u32 != element {
        return None;
    }
    if dimensions == 0 {
        return rest.is_empty().then(Vec::new);
    }
    let (count, _first) = (int(&mut rest)?, int(&mut rest)?);
    let mut elements = vec![];
    for _ in 0..count {
        let length = int(&mut rest)?;
        elements.push(match usize::try_from(length) {
            Err(_) => None,
            Ok(length) => {
                let (bytes, after) = rest.split_at_checked(length)?;
                rest = after;
                Some(bytes)
            }
        });
    }
    (dimensions == 1 && rest.is_empty()).then_some(elements)
}

/// A list of these, which are all of one type.
pub fn list(values: &[ScalarValue], null: &ScalarValue) -> Option<ScalarValue> {
    // Decimals each have as many digits as they are written with: a list has those of its longest.
    let digits = |value: &&ScalarValue| match value {
        ScalarValue::Decimal128(_, _, scale) => *scale,
        _ => 0,
    };
    let kind = values.iter().filter(|value| !value.is_null()).max_by_key(digits).unwrap_or(null).data_type();
    let values: Option<Vec<ScalarValue>> = values.iter().map(|value| value.cast_to(&kind).ok()).collect();
    Some(ScalarValue::List(ScalarValue::new_list_nullable(&values?, &kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_texts_is_read_with_its_quotes_and_its_nulls() {
        let some = |texts: &[&str]| Some(texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>());
        assert_eq!(texts("{}"), some(&[]));
        assert_eq!(texts("{1, 2,3}"), some(&["1", "2", "3"]));
        assert_eq!(texts(r#"{"a, b","\"q\"",a b ,"NULL",""}"#), some(&["a, b", "\"q\"", "a b", "NULL", ""]));
        assert_eq!(texts("{NULL,x}"), Some(vec![None, Some("x".to_owned())]));
        for wrong in ["", "1", "{", "{1", "{1,}", "{{1},{2}}", "{\"a}", "{a\"b\"}", "{\"a\"b}", "{1}}", "{a\\"] {
            assert_eq!(texts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_binary_list_is_read_whole_or_not_at_all() {
        let ints = |ints: &[i32]| ints.iter().flat_map(|int| int.to_be_bytes()).collect::<Vec<u8>>();
        let two = ints(&[1, 1, 23, 2, 1, 4, 7, -1]);
        assert_eq!(binaries(&two, 23), Some(vec![Some(&[0, 0, 0, 7][..]), None]));
        assert_eq!(binaries(&ints(&[0, 0, 23]), 23), Some(vec![]));
        assert_eq!(binaries(&two, 20), None);
        for length in 0..two.len() {
            assert_eq!(binaries(&two[..length], 23), None, "{length}");
        }
        assert_eq!(binaries(&ints(&[1, 0, 23, i32::MAX, 1]), 23), None);
        assert_eq!(binaries(&ints(&[2, 0, 23, 1, 1, 1, 1, 4, 7]), 23), None);
    }
}
