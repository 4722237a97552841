//! What each family writes, read however it is cut.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use serde_json::json;

use super::{Family, Parser, Part, Start, Tool};

fn tools() -> Arc<[Tool]> {
    let weather = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"},
        "units": {"type": ["string", "null"]}, "at": {"type": "object"}}});
    [("get_weather", weather), ("now", json!({"type": "object", "properties": {}}))]
        .map(|(name, parameters)| Tool { name: name.into(), parameters, strict: false })
        .into()
}

/// What is read, a line a part; the same however the text is cut.
fn read(family: &Family, tools: &Arc<[Tool]>, start: Start, text: &str) -> String {
    let mut results = Vec::new();
    for size in [1, 2, 3, 5, 8, 1000] {
        let mut parser = Parser::new(family, tools.clone(), start);
        let mut parts: Vec<Part> = Vec::new();
        let chars: Vec<char> = text.chars().collect();
        for chunk in chars.chunks(size) {
            parser.text(&chunk.iter().collect::<String>(), &mut parts);
        }
        parser.finish(&mut parts);
        results.push(lines(&parts));
    }
    assert!(results.iter().all(|result| *result == results[0]), "{results:#?}");
    results.swap_remove(0)
}

fn lines(parts: &[Part]) -> String {
    let mut out = String::new();
    let mut last = "";
    for part in parts {
        let (kind, text) = match part {
            Part::Thinking(text) => ("thinking", text.as_str()),
            Part::Content(text) => ("content", text.as_str()),
            Part::Call(name) => ("call", name.as_str()),
            Part::Arguments(text) => ("arguments", text.as_str()),
            Part::CallEnd => ("end", ""),
        };
        if kind == last && kind != "call" {
            out += text;
        } else {
            let first = if out.is_empty() { "" } else { "\n" };
            out += &format!("{first}{kind} {text}");
        }
        last = kind;
    }
    out
}

fn family(template: &str) -> Family {
    Family::of(&format!("tools {template}"), |_| false)
}

const QWEN: &str = "<think></think><tool_call>";

#[test]
fn thoughts_are_told_from_the_answer() {
    for (start, text, want) in [
        (Start::Answer, "<think>\nA b.\n\nC\n</think>\n\nYes <b>", "thinking A b.\n\nC\ncontent Yes <b>"),
        (Start::Thinking, "\nSo.\n</think>\n\nYes", "thinking So.\ncontent Yes"),
        (Start::Thinking, "<think>So.</think>Yes", "thinking So.\ncontent Yes"),
        (Start::Answer, "<think>\n\n</think>\n\nYes", "content Yes"),
        (Start::Answer, "<thin air", "content <thin air"),
        (Start::Answer, " a <think>b</think>", "content  a <think>b</think>"),
        (Start::Answer, "<think>cut off </thi", "thinking cut off </thi"),
        (Start::Text, "<think>", "content <think>"),
    ] {
        assert_eq!(read(&family(QWEN), &tools(), start, text), want, "{text}");
    }
    assert_eq!(read(&Family::default(), &tools(), Start::Answer, "<think>a</think>"), "content <think>a</think>");
}

#[test]
fn hermes_and_qwen_call_in_tags() {
    let call = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Z}\\\"rich\"}}\n</tool_call>";
    let read = |text: &str| read(&family(QWEN), &tools(), Start::Answer, text);
    let want = "call get_weather\narguments {\"city\": \"Z}\\\"rich\"}\nend ";
    assert_eq!(read(call), want);
    assert_eq!(read(&format!("Let me look.\n\n{call}\n{call}")), format!("content Let me look.\n{want}\n{want}"));
    assert_eq!(read(&format!("<think>\nHm.\n</think>\n\n{call}")), format!("thinking Hm.\n{want}"));
    assert_eq!(read(&format!("{call} And now?")), format!("{want}\ncontent And now?"));
    // The other order, a list, a string, nothing.
    assert_eq!(
        read("<tool_call>{\"arguments\":{\"city\":\"B\"},\"name\":\"get_weather\"}</tool_call>"),
        "call get_weather\narguments {\"city\":\"B\"}\nend "
    );
    assert_eq!(
        read("<tool_call>[{\"name\":\"now\"}, {\"name\":\"now\",\"arguments\":null}]</tool_call>"),
        "call now\narguments {}\nend \ncall now\narguments {}\nend "
    );
    assert_eq!(
        read("<tool_call>{\"name\":\"now\",\"arguments\":\"{\\\"a\\\":1}\"}</tool_call>"),
        "call now\narguments {\"a\":1}\nend "
    );
    // Cut off.
    assert_eq!(read("<tool_call>\n{\"name\": \"now\", \"arguments\": {\"a"), "call now\narguments {\"a");
}

#[test]
fn what_turns_out_not_to_be_a_call_is_text() {
    let read = |text: &str| read(&family(QWEN), &tools(), Start::Answer, text);
    for text in [
        "<tool_call>\nnothing",
        "a <tool_call>{\"name\": \"other\", \"arguments\": {}}</tool_call> b",
        "<tool_call>{\"name\": \"now\"",
        "<tool_call>",
        "<tool",
        "a <tool_call>{\"x\": 1}</tool_call>",
        "{\"name\": \"other\", \"arguments\": {}}",
        "{\"name\": \"now\", \"arguments\": {",
        "[{\"name\": \"now\", \"arguments\": {}}, 1]",
        "See {\"name\": \"now\", \"arguments\": {}}",
        "```json\n{\"a\": 1}\n```",
    ] {
        assert_eq!(read(text), format!("content {text}"), "{text}");
    }
    let none: Arc<[Tool]> = Vec::new().into();
    let text = "<tool_call>{\"name\": \"now\"}</tool_call>";
    assert_eq!(super::tests::read(&family(QWEN), &none, Start::Answer, text), format!("content {text}"));
}

#[test]
fn a_call_without_its_mark_is_one_where_an_answer_begins() {
    let read = |text: &str| read(&family(QWEN), &tools(), Start::Answer, text);
    let one = "{\n  \"name\": \"get_weather\",\n  \"arguments\": {\"city\": \"Rome\"}\n}";
    let want = "call get_weather\narguments {\"city\": \"Rome\"}\nend ";
    for text in [
        String::from(one),
        format!("\n{one}\n"),
        format!("[{one}]"),
        format!("```json\n{one}\n```"),
        format!("```\n[{one}]\n```\n"),
        format!("```json\n{one}"),
    ] {
        assert_eq!(read(&text), want, "{text}");
        assert_eq!(read(&format!("<think>Hm.</think>\n{text}")), format!("thinking Hm.\n{want}"), "{text}");
    }
    for text in [format!("{one}\n{one}"), format!("[{one}, {one}]"), format!("```json\n{one}\n{one}\n```")] {
        assert_eq!(read(&text), format!("{want}\n{want}"), "{text}");
    }
    assert_eq!(read(&format!("```json\n{one}\n```\nDone.")), format!("{want}\ncontent Done."));
    // The last brace is forgotten now and then; what is called and with what is known.
    let open = "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}";
    for text in [open.into(), format!("{open}\n"), format!("```json\n{open}")] {
        assert_eq!(read(&text), want, "{text}");
    }
    let llama = super::tests::read(&family("<|python_tag|>"), &tools(), Start::Answer, &format!("```json\n{one}\n```"));
    assert_eq!(llama, want);
}

#[test]
fn text_that_cannot_be_a_call_is_given_out_at_once() {
    for (pieces, text) in [(&["{\"", "ci"][..], "{\"ci"), (&["```", "py"], "```py"), (&["[", "1"], "[1"), (&["a"], "a")]
    {
        let mut parser = Parser::new(&family(QWEN), tools(), Start::Answer);
        let mut parts = Vec::new();
        pieces.iter().for_each(|piece| parser.text(piece, &mut parts));
        assert_eq!(lines(&parts), format!("content {text}"));
    }
}

#[test]
fn qwen_coder_writes_a_tag_for_each_argument() {
    let text = "<tool_call>\n<function=get_weather>\n<parameter=city>\nNew \"York\"\nCity\n</parameter>\n<parameter=days>\n3\n</parameter>\n\
                <parameter=units>\n12\n</parameter>\n<parameter=at>\n{\"a\": [1]}\n</parameter>\n</function>\n</tool_call>\n\
                <tool_call>\n<function=now>\n</function>\n</tool_call>";
    let want = "call get_weather\narguments {\"city\":\"New \\\"York\\\"\\nCity\",\"days\":3,\"units\":\"12\",\"at\":{\"a\":[1]}}\nend \n\
                call now\narguments {}\nend ";
    assert_eq!(read(&family("<tool_call><function="), &tools(), Start::Answer, text), want);
}

#[test]
fn llama_calls_with_a_bare_object() {
    let read = |text: &str| read(&family("<|python_tag|>"), &tools(), Start::Answer, text);
    let want = "call get_weather\narguments {\"city\": \"Rome\"}\nend ";
    assert_eq!(read("{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}"), want);
    assert_eq!(
        read("<|python_tag|>{\"type\": \"function\", \"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}"),
        want
    );
    assert_eq!(
        read("\n{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"now\", \"parameters\": {}}"),
        "call now\narguments {}\nend \ncall now\narguments {}\nend "
    );
    assert_eq!(read("{\"answer\": 42}"), "content {\"answer\": 42}");
    assert_eq!(
        read("See {\"name\": \"now\", \"parameters\": {}}"),
        "content See {\"name\": \"now\", \"parameters\": {}}"
    );
}

#[test]
fn mistral_calls_in_a_list_or_by_name() {
    let old = family("[TOOL_CALLS]");
    let two = "call now\narguments {}\nend \ncall get_weather\narguments {\"city\": \"X\"}\nend ";
    let text = "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"get_weather\", \"arguments\": {\"city\": \"X\"}, \"id\": \"a1b2c3d4e\"}]";
    assert_eq!(read(&old, &tools(), Start::Answer, text), two);
    let new = family("[TOOL_CALLS][ARGS]");
    let text = "[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]get_weather[CALL_ID]a1b2c3d4e[ARGS]{\"city\": \"X\"}";
    assert_eq!(read(&new, &tools(), Start::Answer, text), two);
    assert_eq!(read(&new, &tools(), Start::Answer, "[TOOL_CALLS]other[ARGS]{}"), "content [TOOL_CALLS]other[ARGS]{}");
}

#[test]
fn deepseek_calls_between_five_marks() {
    let mark = |name: &str| format!("<\u{ff5c}tool\u{2581}{name}\u{ff5c}>");
    let (open, close) = (mark("calls\u{2581}begin"), mark("calls\u{2581}end"));
    let (begin, separator, end) = (mark("call\u{2581}begin"), mark("sep"), mark("call\u{2581}end"));
    let want = "thinking Hm.\ncall get_weather\narguments {\"city\": \"X\"}\nend \ncall now\narguments {}\nend ";
    let marked = |name: &str, json: &str| format!("{begin}function{separator}{name}\n```json\n{json}\n```{end}");
    let text = format!(
        "Hm.\n</think>\n\n{open}{}\n{}{close}",
        marked("get_weather", "{\"city\": \"X\"}"),
        marked("now", "{}")
    );
    let old = family(&format!("<think></think>{open}```json"));
    assert_eq!(read(&old, &tools(), Start::Thinking, &text), want);
    let plain = |name: &str, json: &str| format!("{begin}{name}{separator}{json}{end}");
    let text = format!("Hm.</think>{open}{}{}{close}", plain("get_weather", "{\"city\": \"X\"}"), plain("now", "{}"));
    let new = family(&format!("<think></think>{open}"));
    assert_eq!(read(&new, &tools(), Start::Thinking, &text), want);
}

#[test]
fn phi_and_granite_call_in_a_list() {
    let text = "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]<|/tool_call|>";
    assert_eq!(
        read(&family("<|tool_call|><|/tool_call|>"), &tools(), Start::Answer, text),
        "call now\narguments {}\nend "
    );
    let text = "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]";
    assert_eq!(read(&family("<|tool_call|>"), &tools(), Start::Answer, text), "call now\narguments {}\nend ");
}

#[test]
fn control_tokens_mark_or_are_left_out() {
    let mut parser = Parser::new(&family(QWEN), tools(), Start::Answer);
    let mut parts = Vec::new();
    parser.control("<think>", &mut parts);
    parser.text("a", &mut parts);
    parser.control("<|pad|>", &mut parts);
    parser.control("</think>", &mut parts);
    parser.text("b", &mut parts);
    parser.control("<tool_call>", &mut parts);
    parser.text("{\"name\": \"now\"}", &mut parts);
    parser.control("</tool_call>", &mut parts);
    assert_eq!(lines(&parts), "thinking a\ncontent b\ncall now\narguments {}\nend ");
}
