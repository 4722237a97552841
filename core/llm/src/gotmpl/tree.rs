//! A template as a tree.

use alloc::{boxed::Box, collections::BTreeSet, string::String, vec::Vec};

use super::function::Function;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Byte of the source.
    pub at: u32,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Bytes of the source.
    Text(u32, u32),
    Print(Pipe),
    /// `if` and `with`, with all their `else if`.
    Branch {
        with: bool,
        arms: Vec<(Pipe, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    Range {
        over: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// `template` and `block`.
    Call {
        name: String,
        with: Option<Pipe>,
    },
    Break,
    Continue,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipe {
    pub assign: Option<Assign>,
    pub commands: Vec<Command>,
}

/// `$a :=`, `$a =`, `$i, $a :=`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assign {
    pub declare: bool,
    pub first: String,
    pub second: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub head: Term,
    pub arguments: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub at: u32,
    pub kind: Operand,
    /// Fields that follow, `.A.B`.
    pub fields: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Empty for `$`.
    Variable(String),
    Function(Function),
    Pipe(Box<Pipe>),
}

/// Adds the names of all fields and templates' variables, in lower case.
pub(super) fn names(nodes: &[Node], out: &mut BTreeSet<String>) {
    for node in nodes {
        match &node.kind {
            Kind::Text(..) | Kind::Break | Kind::Continue => {}
            Kind::Print(pipe) => pipe_names(pipe, out),
            Kind::Branch { arms, otherwise, .. } => {
                for (pipe, body) in arms {
                    pipe_names(pipe, out);
                    names(body, out);
                }
                names(otherwise, out);
            }
            Kind::Range { over, body, otherwise } => {
                pipe_names(over, out);
                names(body, out);
                names(otherwise, out);
            }
            Kind::Call { with, .. } => with.iter().for_each(|pipe| pipe_names(pipe, out)),
        }
    }
}

fn pipe_names(pipe: &Pipe, out: &mut BTreeSet<String>) {
    for term in pipe.commands.iter().flat_map(|command| core::iter::once(&command.head).chain(&command.arguments)) {
        out.extend(term.fields.iter().map(|name| name.to_lowercase()));
        if let Operand::Pipe(inner) = &term.kind {
            pipe_names(inner, out);
        }
    }
}

/// Leaves out what comes after the first place that prints the field `name`; whether there was one.
pub(super) fn cut_after(nodes: &mut Vec<Node>, name: &str) -> bool {
    for i in 0..nodes.len() {
        let found = match &mut nodes[i].kind {
            Kind::Print(pipe) => prints(pipe, name),
            // Each way through ends at its own place.
            Kind::Branch { arms, otherwise, .. } => {
                let cut = arms.iter_mut().fold(false, |cut, (_, body)| cut_after(body, name) || cut);
                cut_after(otherwise, name) || cut
            }
            Kind::Range { body, otherwise, .. } => {
                let cut = cut_after(body, name);
                cut_after(otherwise, name) || cut
            }
            Kind::Text(..) | Kind::Call { .. } | Kind::Break | Kind::Continue => false,
        };
        if found {
            nodes.truncate(i + 1);
            return true;
        }
    }
    false
}

fn prints(pipe: &Pipe, name: &str) -> bool {
    let mut terms = pipe.commands.iter().flat_map(|command| core::iter::once(&command.head).chain(&command.arguments));
    terms.any(|term| {
        term.fields.iter().any(|field| field == name)
            || matches!(&term.kind, Operand::Pipe(inner) if prints(inner, name))
    })
}
