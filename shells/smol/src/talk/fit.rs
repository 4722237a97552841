//! Making a prompt fit the context, and saying what it cost.

use tutu_llm::chat::Message;

use super::{Error, Rendered};
use crate::engine::Card;

/// What was left out of a prompt that did not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Whole messages.
    pub messages: usize,
    /// Tokens, those of the messages among them.
    pub tokens: usize,
}

impl Dropped {
    /// Whether nothing was.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// The prompt of as many of the last messages as fit. Messages of the system stay, and the last one does.
///
/// `render` is asked about few of the possible beginnings, each at most once.
///
/// # Errors
/// What `render` says of all messages, or of the fewest.
pub(super) fn messages(
    card: &Card,
    messages: &[Message],
    render: &dyn Fn(&[Message]) -> Result<Rendered, Error>,
) -> Result<Rendered, Error> {
    let whole = render(messages)?;
    let fits = |rendered: &Rendered| rendered.tokens.len() < card.context();
    if fits(&whole) {
        return Ok(whole);
    }
    let all = whole.tokens.len();
    let from = |start: usize| {
        let kept: Vec<Message> = messages
            .iter()
            .enumerate()
            .filter(|(at, m)| *at >= start || m.role == "system")
            .map(|(_, m)| m.clone())
            .collect();
        let mut rendered = render(&kept)?;
        rendered.dropped.messages = messages.len() - kept.len();
        rendered.dropped.tokens = all.saturating_sub(rendered.tokens.len());
        Ok::<_, Error>(rendered)
    };
    let starts = starts(messages);
    // Fewer messages make a shorter prompt: the first start that fits is found by halving.
    let (mut low, mut high, mut best) = (0, starts.len(), None);
    while low < high {
        let middle = (low + high) / 2;
        match from(starts[middle]) {
            Ok(rendered) if fits(&rendered) => (high, best) = (middle, Some(rendered)),
            _ => low = middle + 1,
        }
    }
    // What a template refuses is no way out: then everything stays, and is cut.
    Ok(best.or_else(|| from(*starts.last()?).ok()).unwrap_or(whole))
}

/// Where a shorter conversation may begin: with a question, or the last message. An answer of a tool whose call is
/// gone would be one that nobody asked for.
fn starts(messages: &[Message]) -> Vec<usize> {
    let last = messages.len().saturating_sub(1);
    let first = messages.iter().position(|message| message.role != "system").unwrap_or(last);
    (first + 1..=last).filter(|&at| messages[at].role == "user" || at == last).collect()
}

/// Takes tokens out of the middle: the first `keep` stay, and as many of the last as fill half of the context.
/// Half, so that there is room to answer, and the next turn does not have to cut again.
pub(super) fn cut(rendered: &mut Rendered, keep: usize, context: usize) {
    let before = rendered.tokens.len();
    if before < context {
        return;
    }
    let room = (context / 2).max(1);
    let keep = keep.min(room / 2);
    let tail = before - (room - keep);
    rendered.tokens.drain(keep..tail);
    rendered.dropped.tokens += before - rendered.tokens.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_conversation_begins_with_a_question() {
        let roles = ["system", "user", "assistant", "tool", "assistant", "user", "assistant", "tool"];
        let messages: Vec<Message> = roles.iter().map(|role| Message::new(role, "x")).collect();
        assert_eq!(starts(&messages), [5, 7]);
        assert_eq!(starts(&messages[..2]), Vec::<usize>::new());
        assert_eq!(starts(&[]), Vec::<usize>::new());
    }

    #[test]
    fn what_is_cut_is_the_middle() {
        let mut rendered = Rendered { tokens: (0..100).collect(), ..Rendered::default() };
        cut(&mut rendered, 4, 40);
        assert_eq!(rendered.tokens, (0..4).chain(84..100).collect::<Vec<u32>>());
        assert_eq!(rendered.dropped, Dropped { messages: 0, tokens: 80 });
        let whole = rendered.clone();
        cut(&mut rendered, 4, 40);
        assert_eq!(rendered, whole, "what fits stays");
    }
}
