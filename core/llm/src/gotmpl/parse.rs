//! Tokens to a tree.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::{
    error::{Fault, Raised},
    function::Function,
    lex::{Lexeme, Lexer, Token},
    tree::{Assign, Command, Kind, Node, Operand, Pipe, Term},
};

/// Blocks and parentheses within each other. The largest of Ollama's templates have some ten.
const DEPTH_MAX: usize = 100;
/// Variables in sight at once; they are looked for one by one.
const VARIABLES_MAX: usize = 256;

/// What a source holds.
#[derive(Debug)]
pub(super) struct Parsed {
    pub main: Vec<Node>,
    pub templates: BTreeMap<String, Vec<Node>>,
}

pub(super) fn parse(source: &str) -> Result<Parsed, Raised> {
    let mut parser = Parser {
        lexer: Lexer::new(source),
        peeked: None,
        variables: vec![String::new()],
        loops: 0,
        depth: 0,
        templates: BTreeMap::new(),
    };
    let (main, _) = parser.list(None)?;
    Ok(Parsed { main, templates: parser.templates })
}

struct Parser<'s> {
    lexer: Lexer<'s>,
    peeked: Option<Lexeme<'s>>,
    variables: Vec<String>,
    /// How many `range` the place lies in.
    loops: usize,
    depth: usize,
    templates: BTreeMap<String, Vec<Node>>,
}

/// What ended a list.
enum Ended<'s> {
    End,
    /// With the word after it, `if` or `with`.
    Else(Option<&'s str>),
}

impl<'s> Parser<'s> {
    fn next(&mut self) -> Result<Lexeme<'s>, Raised> {
        match self.peeked.take() {
            Some(lexeme) => Ok(lexeme),
            None => self.lexer.next(),
        }
    }

    fn peek(&mut self) -> Result<&Lexeme<'s>, Raised> {
        let lexeme = self.next()?;
        Ok(self.peeked.insert(lexeme))
    }

    fn unexpected<T>(&self, at: usize, expected: &'static str) -> Result<T, Raised> {
        Err(Raised::new(at, Fault::Expected { expected, found: self.lexer.shown(at) }))
    }

    fn close(&mut self) -> Result<(), Raised> {
        let lexeme = self.next()?;
        if lexeme.token == Token::Close { Ok(()) } else { self.unexpected(lexeme.at, "}}") }
    }

    fn deeper(&mut self, at: usize) -> Result<(), Raised> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(Raised::new(at, Fault::Deep)) } else { Ok(()) }
    }

    /// Nodes up to the `end` or `else` of `block`, or to the end of the source.
    fn list(&mut self, block: Option<(usize, &'static str)>) -> Result<(Vec<Node>, Ended<'s>), Raised> {
        let mut nodes = Vec::new();
        loop {
            let lexeme = self.next()?;
            let at = lexeme.at as u32;
            match lexeme.token {
                Token::Text(from, to) => nodes.push(Node { at, kind: Kind::Text(from as u32, to as u32) }),
                Token::Open => {
                    let inner = self.peek()?.clone();
                    let word = if let Token::Word(word) = inner.token { word } else { "" };
                    match (word, block) {
                        ("end", Some(_)) => {
                            self.next()?;
                            self.close()?;
                            return Ok((nodes, Ended::End));
                        }
                        ("else", Some(_)) => {
                            self.next()?;
                            let again = match self.peek()?.token {
                                Token::Word(word @ ("if" | "with")) => Some(word),
                                _ => None,
                            };
                            if again.is_some() {
                                self.next()?;
                            } else {
                                self.close()?;
                            }
                            return Ok((nodes, Ended::Else(again)));
                        }
                        ("end" | "else", None) => return self.unexpected(inner.at, "an action"),
                        ("define", None) => {
                            self.next()?;
                            self.define(lexeme.at)?;
                        }
                        ("define", Some(_)) => return self.unexpected(inner.at, "an action"),
                        _ => {
                            let kind = self.action(lexeme.at, word)?;
                            nodes.push(Node { at, kind });
                        }
                    }
                }
                _ => {
                    return match block {
                        None => Ok((nodes, Ended::End)),
                        Some((at, what)) => Err(Raised::new(at, Fault::Open(what))),
                    };
                }
            }
        }
    }

    /// What stands in `{{ }}`.
    fn action(&mut self, at: usize, word: &str) -> Result<Kind, Raised> {
        let keyword = matches!(word, "if" | "with" | "range" | "block" | "template" | "break" | "continue");
        if !keyword {
            let pipe = self.pipe(false)?;
            self.close()?;
            return Ok(Kind::Print(pipe));
        }
        let word_at = self.next()?.at;
        self.deeper(at)?;
        // What a block declares ends with it.
        let outer = self.variables.len();
        let kind = match word {
            "if" | "with" => self.branch(at, word == "with")?,
            "range" => self.range(at)?,
            "template" => self.call()?,
            "block" => self.block(at)?,
            _ if self.loops == 0 => return self.unexpected(word_at, "an action outside range"),
            _ => {
                self.close()?;
                if word == "break" { Kind::Break } else { Kind::Continue }
            }
        };
        self.variables.truncate(outer);
        self.depth -= 1;
        Ok(kind)
    }

    fn branch(&mut self, at: usize, with: bool) -> Result<Kind, Raised> {
        let name = if with { "{{with}}" } else { "{{if}}" };
        let mut arms = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let pipe = self.pipe(false)?;
            self.close()?;
            let (body, ended) = self.scoped(Some((at, name)))?;
            arms.push((pipe, body));
            match ended {
                Ended::End => break,
                Ended::Else(None) => {
                    otherwise = self.last(at, name)?;
                    break;
                }
                Ended::Else(Some(word)) if (word == "with") == with => {}
                Ended::Else(Some(word)) => {
                    // Mixed kinds: the rest is one block in the `else`, and has no `end` of its own.
                    self.deeper(at)?;
                    let kind = self.branch(at, word == "with")?;
                    self.depth -= 1;
                    otherwise.push(Node { at: at as u32, kind });
                    break;
                }
            }
        }
        Ok(Kind::Branch { with, arms, otherwise })
    }

    /// A list whose variables end with it.
    fn scoped(&mut self, block: Option<(usize, &'static str)>) -> Result<(Vec<Node>, Ended<'s>), Raised> {
        let outer = self.variables.len();
        let list = self.list(block)?;
        self.variables.truncate(outer);
        Ok(list)
    }

    /// The list of an `else`, which no other may follow.
    fn last(&mut self, at: usize, name: &'static str) -> Result<Vec<Node>, Raised> {
        match self.scoped(Some((at, name)))? {
            (nodes, Ended::End) => Ok(nodes),
            _ => Err(Raised::new(at, Fault::Open(name))),
        }
    }

    fn range(&mut self, at: usize) -> Result<Kind, Raised> {
        const NAME: &str = "{{range}}";
        let over = self.pipe(true)?;
        self.close()?;
        self.loops += 1;
        let (body, ended) = self.scoped(Some((at, NAME)))?;
        self.loops -= 1;
        let otherwise = match ended {
            Ended::End => Vec::new(),
            Ended::Else(None) => self.last(at, NAME)?,
            Ended::Else(Some(_)) => return Err(Raised::new(at, Fault::Open(NAME))),
        };
        Ok(Kind::Range { over, body, otherwise })
    }

    fn name(&mut self) -> Result<String, Raised> {
        let lexeme = self.next()?;
        match lexeme.token {
            Token::Str(name) => Ok(name),
            _ => self.unexpected(lexeme.at, "a template's name"),
        }
    }

    fn call(&mut self) -> Result<Kind, Raised> {
        let name = self.name()?;
        let with = if self.peek()?.token == Token::Close { None } else { Some(self.pipe(false)?) };
        self.close()?;
        Ok(Kind::Call { name, with })
    }

    fn block(&mut self, at: usize) -> Result<Kind, Raised> {
        let name = self.name()?;
        let with = Some(self.pipe(false)?);
        self.close()?;
        self.template(at, "{{block}}", name.clone())?;
        Ok(Kind::Call { name, with })
    }

    fn define(&mut self, at: usize) -> Result<(), Raised> {
        self.deeper(at)?;
        let name = self.name()?;
        self.close()?;
        self.template(at, "{{define}}", name)?;
        self.depth -= 1;
        Ok(())
    }

    /// The body of a template, which sees nothing of where it stands.
    fn template(&mut self, at: usize, what: &'static str, name: String) -> Result<(), Raised> {
        let outer = core::mem::replace(&mut self.variables, vec![String::new()]);
        let loops = core::mem::take(&mut self.loops);
        let (nodes, ended) = self.list(Some((at, what)))?;
        if !matches!(ended, Ended::End) {
            return Err(Raised::new(at, Fault::Open(what)));
        }
        (self.variables, self.loops) = (outer, loops);
        self.templates.insert(name, nodes);
        Ok(())
    }

    /// Commands with `|` between them, up to what ends them. In `range` two variables can be declared.
    fn pipe(&mut self, range: bool) -> Result<Pipe, Raised> {
        let (assign, mut first) = self.assign(range)?;
        let mut commands = Vec::new();
        loop {
            let command = self.command(first.take())?;
            // A value that is handed on needs a function that takes it.
            if !commands.is_empty() && !matches!(command.head.kind, Operand::Function(_)) {
                return Err(Raised { at: command.head.at, fault: Fault::NotFunction });
            }
            commands.push(command);
            if self.peek()?.token != Token::Pipe {
                break;
            }
            self.next()?;
        }
        if let Some(assign) = assign.as_ref().filter(|assign| assign.declare) {
            let names = core::iter::once(&assign.first).chain(&assign.second);
            self.variables.extend(names.cloned());
            if self.variables.len() > VARIABLES_MAX {
                return Err(Raised { at: commands[0].head.at, fault: Fault::Crowded });
            }
        }
        Ok(Pipe { assign, commands })
    }

    /// The variables that a pipe is for; or, where the variable was only the first value, that value.
    fn assign(&mut self, range: bool) -> Result<(Option<Assign>, Option<Term>), Raised> {
        let Lexeme { token: Token::Variable(name), at, .. } = *self.peek()? else { return Ok((None, None)) };
        self.next()?;
        let mut second = None;
        let next = self.peek()?.clone();
        if next.token == Token::Comma && range {
            self.next()?;
            let lexeme = self.next()?;
            let Token::Variable(name) = lexeme.token else { return self.unexpected(lexeme.at, "a variable") };
            second = Some((name, lexeme.at));
        }
        let next = self.peek()?.clone();
        let declare = match next.token {
            Token::Declare => true,
            Token::Assign => false,
            _ if second.is_some() => return self.unexpected(next.at, ":="),
            _ => return Ok((None, Some(self.variable(name, at)?))),
        };
        self.next()?;
        for (name, at) in core::iter::once((name, at)).chain(second) {
            if !declare {
                self.known(name, at)?;
            }
        }
        let second = second.map(|(name, _)| name.to_string());
        Ok((Some(Assign { declare, first: name.into(), second }), None))
    }

    fn known(&self, name: &str, at: usize) -> Result<(), Raised> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(Raised::new(at, Fault::Variable(name.into())))
    }

    fn variable(&mut self, name: &str, at: usize) -> Result<Term, Raised> {
        self.known(name, at)?;
        let fields = self.fields()?;
        Ok(Term { at: at as u32, kind: Operand::Variable(name.into()), fields })
    }

    fn command(&mut self, first: Option<Term>) -> Result<Command, Raised> {
        let head = match first {
            Some(term) => term,
            None => match self.term()? {
                Some(term) => term,
                None => {
                    let at = self.peek()?.at;
                    return self.unexpected(at, "a value");
                }
            },
        };
        let mut arguments = Vec::new();
        while let Some(term) = self.term()? {
            arguments.push(term);
        }
        if head.kind == Operand::Nil {
            return Err(Raised { at: head.at, fault: Fault::NotFunction });
        }
        Ok(Command { head, arguments })
    }

    /// A value; `None` where a command ends.
    fn term(&mut self) -> Result<Option<Term>, Raised> {
        let lexeme = self.peek()?.clone();
        if matches!(lexeme.token, Token::Close | Token::Pipe | Token::RightParen) {
            return Ok(None);
        }
        self.next()?;
        let at = lexeme.at;
        let kind = match lexeme.token {
            Token::Dot => Operand::Dot,
            Token::Field(name) => {
                let mut fields = vec![name.to_string()];
                fields.extend(self.fields()?);
                return Ok(Some(Term { at: at as u32, kind: Operand::Dot, fields }));
            }
            Token::Variable(name) => return self.variable(name, at).map(Some),
            Token::Word("true") => Operand::Bool(true),
            Token::Word("false") => Operand::Bool(false),
            Token::Word("nil") => Operand::Nil,
            Token::Word(name) => match Function::find(name) {
                Some(function) => Operand::Function(function),
                None => return Err(Raised::new(at, Fault::Function(name.into()))),
            },
            Token::Int(number) => Operand::Int(number),
            Token::Float(number) => Operand::Float(number),
            Token::Str(text) => Operand::Text(text),
            Token::LeftParen => {
                self.deeper(at)?;
                let outer = self.variables.len();
                let pipe = self.pipe(false)?;
                self.variables.truncate(outer);
                if self.next()?.token != Token::RightParen {
                    return Err(Raised::new(at, Fault::Open("a parenthesis")));
                }
                self.depth -= 1;
                let fields = self.fields()?;
                return Ok(Some(Term { at: at as u32, kind: Operand::Pipe(Box::new(pipe)), fields }));
            }
            _ => return self.unexpected(at, "a value"),
        };
        Ok(Some(Term { at: at as u32, kind, fields: Vec::new() }))
    }

    /// Fields that follow without a space.
    fn fields(&mut self) -> Result<Vec<String>, Raised> {
        let mut fields = Vec::new();
        while let Lexeme { token: Token::Field(name), spaced: false, .. } = *self.peek()? {
            self.next()?;
            fields.push(name.to_string());
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn fault(source: &str) -> Fault {
        parse(source).unwrap_err().fault
    }

    #[test]
    fn blocks_must_be_closed_and_not_twice() {
        for (source, what) in [
            ("{{if .A}}x", "{{if}}"),
            ("{{with .A}}x{{else}}y{{else}}z{{end}}", "{{with}}"),
            ("{{range .A}}{{else if .B}}{{end}}", "{{range}}"),
            ("{{define \"a\"}}x", "{{define}}"),
            ("{{(.A}}", "a parenthesis"),
        ] {
            assert_eq!(fault(source), Fault::Open(what), "{source}");
        }
        assert!(matches!(fault("a{{end}}"), Fault::Expected { .. }));
        assert!(matches!(fault("{{break}}"), Fault::Expected { .. }));
        assert!(matches!(fault("{{if .A}}{{define \"a\"}}{{end}}{{end}}"), Fault::Expected { .. }));
    }

    #[test]
    fn variables_and_functions_must_be_known() {
        assert_eq!(fault("{{$x}}"), Fault::Variable("x".into()));
        assert_eq!(fault("{{$x = 1}}"), Fault::Variable("x".into()));
        assert_eq!(fault("{{if true}}{{$x := 1}}{{end}}{{$x}}"), Fault::Variable("x".into()));
        assert_eq!(fault("{{$x := 1}}{{define \"a\"}}{{$x}}{{end}}"), Fault::Variable("x".into()));
        assert_eq!(fault("{{system .A}}"), Fault::Function("system".into()));
        assert!(parse("{{$x := 1}}{{range $i, $y := .A}}{{$x}}{{$i}}{{$y}}{{end}}{{$x}}").is_ok());
    }

    #[test]
    fn values_are_handed_to_functions_only() {
        assert_eq!(fault("{{.A | .B}}"), Fault::NotFunction);
        assert_eq!(fault("{{.A | 3}}"), Fault::NotFunction);
        assert_eq!(fault("{{nil}}"), Fault::NotFunction);
        assert!(matches!(fault("{{}}"), Fault::Expected { .. }));
        assert!(matches!(fault("{{.A | }}"), Fault::Expected { .. }));
        assert!(matches!(fault("{{.A, .B}}"), Fault::Expected { .. }));
    }

    #[test]
    fn depth_and_variables_are_bounded() {
        assert_eq!(fault(&"{{if .A}}".repeat(1000)), Fault::Deep);
        assert_eq!(fault(&format!("{{{{{}", "(".repeat(100_000))), Fault::Deep);
        assert_eq!(fault(&("{{if .A}}".to_string() + &"{{else with .A}}{{else if .A}}".repeat(500))), Fault::Deep);
        assert_eq!(fault(&"{{$x := 1}}".repeat(1000)), Fault::Crowded);
        let chain = format!("{{{{if .A}}}}{}{{{{end}}}}", "{{else if .B}}x".repeat(1000));
        assert!(parse(&chain).is_ok(), "a long chain is not a deep one");
    }
}
