//! The text that servers show to Prometheus: names, labels and values.
//!
//! The exposition format 0.0.4 and OpenMetrics 1.0, as far as a reader of samples needs them:
//! comments, types and timestamps are passed over, and so is a line that cannot be read, since
//! one broken series must not hide the others.

use std::borrow::Cow;

/// One sample of a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The series' name.
    pub name: &'a str,
    /// Its value; may be infinite or not a number.
    pub value: f64,
    /// What stands between the braces.
    labels: &'a str,
}

/// Every sample of a page that can be read.
pub fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter_map(sample)
}

impl<'a> Sample<'a> {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut rest = self.labels;
        loop {
            let (label, behind) = rest.split_once('=')?;
            let quoted = behind.trim_start().strip_prefix('"')?;
            let end = end_of_quoted(quoted)?;
            if label.trim() == name {
                return Some(unescaped(&quoted[..end]));
            }
            rest = quoted[end + 1..].trim_start().strip_prefix(',')?;
        }
    }
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(labels) => {
            let end = end_of_labels(labels)?;
            (&labels[..end], &labels[end + 1..])
        }
        None => ("", rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then_some(Sample { name, value, labels })
}

/// Where the closing brace stands: one inside of quotes does not count.
fn end_of_labels(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        match text[at..].find(['"', '}'])? + at {
            found if text[found..].starts_with('}') => return Some(found),
            quote => at = quote + 1 + end_of_quoted(&text[quote + 1..])? + 1,
        }
    }
}

/// Where the closing quote stands; an escaped one does not count.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut escaped = false;
    for c in text.chars() {
        match (escaped, c) {
            (false, '\\') => {
                escaped = true;
                continue;
            }
            (true, 'n') => plain.push('\n'),
            _ => plain.push(c),
        }
        escaped = false;
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = r#"# HELP nv_inference_request_success Number of successful requests
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="fraud",version="1"} 12
nv_cpu_utilization 0.25 1712000000000
ts_inference_requests_total{model_name="mnist",hostname="h",} 1.0
odd{a="x}y,\"z\\",b = "line\nbreak"} +Inf
broken{a="never closed 3
novalue{a="b"}
"#;

    #[test]
    fn samples_have_names_labels_and_values() {
        let all: Vec<_> = samples(PAGE).collect();
        let names: Vec<_> = all.iter().map(|sample| sample.name).collect();
        let wanted = [
            "nv_inference_request_success",
            "nv_cpu_utilization",
            "ts_inference_requests_total",
            "odd",
        ];
        assert_eq!(names, wanted);
        assert_eq!(all[0].label("model").as_deref(), Some("fraud"));
        assert_eq!(all[0].label("version").as_deref(), Some("1"));
        assert_eq!(all[0].label("engine"), None);
        assert_eq!((all[0].value, all[1].value), (12.0, 0.25));
        assert_eq!(all[2].label("hostname").as_deref(), Some("h"), "a comma may stand at the end");
    }

    #[test]
    fn values_of_labels_may_hold_anything() {
        let odd = samples(PAGE).find(|sample| sample.name == "odd").unwrap();
        assert_eq!(odd.label("a").as_deref(), Some("x}y,\"z\\"));
        assert_eq!(odd.label("b").as_deref(), Some("line\nbreak"));
        assert!(odd.value.is_infinite());
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic(page in "[a-z{}=\"\\\\, 0-9.\n#é]{0,200}") {
            for sample in samples(&page) {
                let _ = sample.label("a");
            }
        }

        #[test]
        fn what_is_written_is_read(value in any::<f64>(), label in "\\PC{0,20}") {
            let escaped = label.replace('\\', "\\\\").replace('"', "\\\"");
            let page = format!("name{{a=\"{escaped}\",b=\"1\"}} {value}");
            let read = samples(&page).next().unwrap();
            let same = read.value == value || (read.value.is_nan() && value.is_nan());
            prop_assert!(same);
            prop_assert_eq!(read.label("a").unwrap(), label);
            prop_assert_eq!(read.label("b").unwrap(), "1");
        }
    }
}
