//! Conversations as templates want them: who answers which call, and what a template that is strict about roles takes.

use serde_json::{Value, json};
use tutu_llm::chat::{Message, ToolCall};

/// Fills in what one API leaves out and another has: the ids of calls, which call a tool answers, and its name.
/// `nine` is for templates that take only ids of nine letters and digits.
pub(super) fn complete(messages: &[Message], nine: bool) -> Vec<Message> {
    let mut out = messages.to_vec();
    // Calls that came up, in order, and whether they were answered.
    let mut calls: Vec<(String, String, bool)> = Vec::new();
    for message in &mut out {
        for call in &mut message.tool_calls {
            if call.id.is_empty() {
                call.id = format!("call{:05}", calls.len());
            }
            if nine {
                call.id = nine_letters(&call.id);
            }
            calls.push((call.id.clone(), call.function.name.clone(), false));
        }
        if message.role != "tool" {
            continue;
        }
        if nine && !message.tool_call_id.is_empty() {
            message.tool_call_id = nine_letters(&message.tool_call_id);
        }
        let (id, name) = (&message.tool_call_id, &message.tool_name);
        let fits = |call: &&mut (String, String, bool)| {
            if id.is_empty() { !call.2 && (name.is_empty() || *name == call.1) } else { *id == call.0 }
        };
        if let Some(call) = calls.iter_mut().find(fits) {
            call.2 = true;
            if message.tool_call_id.is_empty() {
                message.tool_call_id.clone_from(&call.0);
            }
            if message.tool_name.is_empty() {
                message.tool_name.clone_from(&call.1);
            }
        }
    }
    out
}

/// As gpt-oss has it: one call a message, with thoughts or a text before it and not both.
pub(super) fn in_channels(messages: &[Message]) -> Vec<Message> {
    let mut out = single_calls(messages);
    for message in out.iter_mut().filter(|message| !message.tool_calls.is_empty() && !message.content.is_empty()) {
        message.thinking.clear();
    }
    out
}

/// The last nine letters and digits of an id.
fn nine_letters(id: &str) -> String {
    let letters: Vec<char> = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let last: String = letters[letters.len().saturating_sub(9)..].iter().collect();
    format!("{last:0>9}")
}

/// What says the same to templates that take one call a message, no system role, no neighbours of one role, or arguments
/// as text; the gentlest first.
pub(super) fn other_ways(messages: &[Message]) -> Vec<Vec<Message>> {
    let single = single_calls(messages);
    let folded = alternating(&single);
    let written = with_written_arguments(messages);
    let both = with_written_arguments(&folded);
    [single, folded, written, both].into_iter().filter(|other| other != messages).collect()
}

fn with_written_arguments(messages: &[Message]) -> Vec<Message> {
    let mut out = messages.to_vec();
    for call in out.iter_mut().flat_map(|message| &mut message.tool_calls) {
        if !call.function.arguments.is_string() {
            call.function.arguments = Value::String(call.function.arguments.to_string());
        }
    }
    out
}

/// Each call in a message of its own, its answer behind it.
fn single_calls(messages: &[Message]) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::new();
    let mut rest = messages.iter().peekable();
    while let Some(message) = rest.next() {
        if message.tool_calls.len() < 2 {
            out.push(message.clone());
            continue;
        }
        let mut answers = Vec::new();
        while let Some(answer) = rest.next_if(|next| next.role == "tool") {
            answers.push(answer.clone());
        }
        for (at, call) in message.tool_calls.iter().enumerate() {
            let mut one = Message { tool_calls: vec![call.clone()], ..message.clone() };
            if at > 0 {
                (one.content, one.thinking) = Default::default();
            }
            out.push(one);
            while let Some(at) = answers.iter().position(|answer| answer.tool_call_id == call.id) {
                out.push(answers.remove(at));
            }
        }
        out.extend(answers);
    }
    out
}

/// The system's text before the first question, and no neighbours of one role.
fn alternating(messages: &[Message]) -> Vec<Message> {
    let mut system = Vec::new();
    let mut out: Vec<Message> = Vec::new();
    for message in messages {
        if message.role == "system" {
            system.push(message.content.as_str());
            continue;
        }
        match out.last_mut().filter(|last| last.role == message.role && message.role != "tool") {
            Some(last) => {
                last.content = join(&last.content, &message.content);
                last.tool_calls.extend(message.tool_calls.iter().cloned());
            }
            None => out.push(message.clone()),
        }
    }
    if !system.is_empty() {
        let text = system.join("\n\n");
        match out.first_mut().filter(|first| first.role == "user") {
            Some(first) => first.content = join(&text, &first.content),
            None => out.insert(0, Message::new("user", &text)),
        }
    }
    out
}

fn join(a: &str, b: &str) -> String {
    if a.is_empty() || b.is_empty() { format!("{a}{b}") } else { format!("{a}\n\n{b}") }
}

/// The conversation in words alone, for a template that has none for tools: what they are, and how to call them, in
/// the system's text; calls as the model is told to write them; answers as the user's.
pub(super) fn in_words(messages: &[Message], tools: &[Value]) -> Vec<Message> {
    let mut out: Vec<Message> = messages.iter().map(said).collect();
    if tools.is_empty() {
        return out;
    }
    let list: Vec<String> = tools.iter().map(|tool| tool["function"].to_string()).collect();
    let text = format!(
        "You can call tools. These are they, one a line:\n{}\n\nTo call a tool, write this, with its name and its arguments \
         as JSON, and nothing after it:\n{}",
        list.join("\n"),
        call(&json!("NAME"), &json!({ "ARGUMENT": "VALUE" })),
    );
    match out.first_mut().filter(|first| first.role == "system") {
        Some(system) => system.content = join(&system.content, &text),
        None => out.insert(0, Message::new("system", &text)),
    }
    out
}

fn said(message: &Message) -> Message {
    if message.role == "tool" {
        let text = format!("<tool_response>\n{}\n</tool_response>", message.content);
        return Message::new("user", &text);
    }
    let line = |one: &ToolCall| call(&json!(one.function.name), &one.function.arguments);
    let calls: Vec<String> = message.tool_calls.iter().map(line).collect();
    Message { content: join(&message.content, &calls.join("\n")), tool_calls: Vec::new(), ..message.clone() }
}

fn call(name: &Value, arguments: &Value) -> String {
    format!("<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>")
}

#[cfg(test)]
mod tests {
    use tutu_llm::chat::Call;

    use super::*;

    fn calling(calls: &[(&str, &str)]) -> Message {
        let call = |(id, name): &(&str, &str)| ToolCall {
            id: (*id).into(),
            function: Call { name: (*name).into(), arguments: json!({}) },
        };
        Message { tool_calls: calls.iter().map(call).collect(), ..Message::new("assistant", "") }
    }

    fn answer(id: &str, name: &str, text: &str) -> Message {
        Message { tool_call_id: id.into(), tool_name: name.into(), ..Message::new("tool", text) }
    }

    #[test]
    fn answers_find_their_calls() {
        let pairs = |messages: &[Message], nine| -> Vec<(String, String)> {
            let tools = complete(messages, nine).into_iter().filter(|message| message.role == "tool");
            tools.map(|message| (message.tool_call_id, message.tool_name)).collect()
        };
        let owned = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect()
        };
        let by_id =
            [calling(&[("call_a", "f"), ("call_b", "g")]), answer("call_b", "", "1"), answer("call_a", "", "2")];
        assert_eq!(pairs(&by_id, false), owned(&[("call_b", "g"), ("call_a", "f")]));
        assert_eq!(pairs(&by_id, true), owned(&[("0000callb", "g"), ("0000calla", "f")]));
        let by_name = [calling(&[("", "f"), ("", "g")]), answer("", "g", "1"), answer("", "", "2")];
        assert_eq!(pairs(&by_name, false), owned(&[("call00001", "g"), ("call00000", "f")]));
        assert_eq!(pairs(&[answer("x", "", "1")], false), owned(&[("x", "")]));
    }

    #[test]
    fn a_strict_template_gets_one_call_a_message_and_roles_in_turn() {
        let messages = [
            Message::new("system", "Be brief."),
            Message::new("user", "a"),
            Message::new("user", "b"),
            calling(&[("1", "f"), ("2", "g")]),
            answer("2", "g", "second"),
            answer("1", "f", "first"),
        ];
        let ways = other_ways(&messages);
        let roles = |messages: &[Message]| messages.iter().map(|m| m.role.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(roles(&ways[0]), "system user user assistant tool assistant tool");
        assert_eq!(ways[0][4].content, "first");
        assert_eq!(roles(&ways[1]), "user assistant tool assistant tool");
        assert_eq!(ways[1][0].content, "Be brief.\n\na\n\nb");
        assert!(other_ways(&messages[1..2]).is_empty(), "there is no other way to say it");
    }

    #[test]
    fn without_a_word_for_tools_they_are_described() {
        let tool = json!({"type": "function", "function": {"name": "f", "description": "x", "parameters": {}}});
        let messages = [Message::new("user", "a"), calling(&[("1", "f")]), answer("1", "f", "42")];
        let said = in_words(&messages, &[tool]);
        assert_eq!(said[0].role, "system");
        assert!(
            said[0].content.contains("{\"name\":\"f\",\"description\":\"x\",\"parameters\":{}}"),
            "{}",
            said[0].content
        );
        assert_eq!(said[2].content, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>");
        assert_eq!(
            (said[3].role.as_str(), said[3].content.as_str()),
            ("user", "<tool_response>\n42\n</tool_response>")
        );
    }
}
