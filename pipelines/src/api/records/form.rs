//! A form as a record: providers that can send JSON as well still send `application/x-www-form-urlencoded`, some by default.
//!
//! A field `payload` that holds JSON is the record (GitHub, Slack's buttons); otherwise the fields are one, each a text (Slack's
//! commands). The encoding is that of the URL standard; what is not of it, or no UTF-8, is no form.

/// The record of a form; `None` where the bytes are none.
pub fn record(body: &[u8]) -> Option<Vec<u8>> {
    let mut fields = vec![];
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        fields.push((decoded(&pair[..end])?, decoded(pair.get(end + 1..).unwrap_or_default())?));
    }
    if fields.is_empty() {
        return None;
    }
    if let [(name, value)] = fields.as_slice()
        && name == "payload"
    {
        return Some(value.clone().into_bytes());
    }
    let mut object = vec![b'{'];
    for (index, (name, value)) in fields.iter().enumerate() {
        object.extend_from_slice(if index > 0 { b"," } else { b"" });
        // Texts always serialise.
        object.extend(serde_json::to_vec(name).unwrap_or_default());
        object.push(b':');
        object.extend(serde_json::to_vec(value).unwrap_or_default());
    }
    object.push(b'}');
    Some(object)
}

fn decoded(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => digit(*rest.next()?)? << 4 | digit(*rest.next()?)?,
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Option<String> {
        record(body.as_bytes()).map(|record| String::from_utf8(record).unwrap())
    }

    #[test]
    fn a_payload_is_the_record_and_other_fields_are_one() {
        assert_eq!(of("payload=%7B%22a%22%3A+1.50%2c%22s%22:%22%C3%BC%22%7d").unwrap(), r#"{"a": 1.50,"s":"ü"}"#);
        let command = of("command=%2Fdeploy&text=&user_name=a+%22b%22&empty").unwrap();
        assert_eq!(command, r#"{"command":"/deploy","text":"","user_name":"a \"b\"","empty":""}"#);
        // Two of one name: as in JSON, the last one holds, and neither is lost.
        assert_eq!(of("a=1&a=2&&payload=x").unwrap(), r#"{"a":"1","a":"2","payload":"x"}"#);
    }

    #[test]
    fn what_is_no_form_is_none() {
        for body in ["", "&&", "a=%", "a=%2", "a=%zz", "a=%ff"] {
            assert_eq!(of(body), None, "{body}");
        }
    }
}
