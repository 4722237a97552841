//! A tree and its data to text, in a bounded number of steps.

use alloc::{collections::BTreeMap, string::String, vec, vec::Vec};

use super::{
    error::{Fault, Raised},
    format,
    function::{Dates, Function},
    tree::{Assign, Command, Kind, Node, Operand, Pipe, Term},
    value::{Origin, Piece, Pieces, Text, Value},
};

/// Blocks, pipes and templates within each other while a template runs.
const DEPTH_MAX: usize = 200;

/// Bytes that are looked through count as one step.
const BYTES_PER_STEP: usize = 64;

/// What a run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes, values and items that are looked at.
    pub steps: usize,
    /// Bytes of all texts that are made on the way, what is printed among them.
    pub bytes: usize,
}

impl Default for Limits {
    /// Some ten thousand messages' worth, and 64 MiB.
    fn default() -> Self {
        Self { steps: 5_000_000, bytes: 64 << 20 }
    }
}

/// What of it is left.
#[derive(Debug, Default)]
pub(super) struct Budget(pub Limits);

impl Budget {
    pub(super) fn step(&mut self) -> Result<(), Fault> {
        self.0.steps = self.0.steps.checked_sub(1).ok_or(Fault::Steps)?;
        Ok(())
    }

    /// Texts are made.
    pub(super) fn bytes(&mut self, count: usize) -> Result<(), Fault> {
        self.0.bytes = self.0.bytes.checked_sub(count).ok_or(Fault::Bytes)?;
        Ok(())
    }

    /// Texts are looked through.
    pub(super) fn read(&mut self, count: usize) -> Result<(), Fault> {
        self.0.steps = self.0.steps.checked_sub(count / BYTES_PER_STEP).ok_or(Fault::Steps)?;
        Ok(())
    }
}

/// What is run, and with what.
pub(super) struct Program<'t> {
    pub source: &'t str,
    pub main: &'t [Node],
    pub templates: &'t BTreeMap<String, Vec<Node>>,
    pub dates: Dates<'t>,
}

/// Runs it. What was printed before a fault is lost.
pub(super) fn run(program: &Program<'_>, data: Value, budget: &mut Budget) -> Result<Vec<Piece>, Raised> {
    let variables = vec![("", data.clone())];
    let mut run = Run { program, out: Pieces::default(), variables, budget, depth: 0 };
    run.nodes(program.main, &data)?;
    Ok(run.out.0)
}

struct Run<'t, 'b> {
    program: &'t Program<'t>,
    out: Pieces,
    /// Those in sight; the last of a name is meant. The first is `$`.
    variables: Vec<(&'t str, Value)>,
    budget: &'b mut Budget,
    depth: usize,
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

fn at(at: u32) -> impl Fn(Fault) -> Raised {
    move |fault| Raised { at, fault }
}

impl<'t> Run<'t, '_> {
    fn nodes(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow, Raised> {
        let outer = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(outer);
        Ok(flow)
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(Fault::Deep) } else { Ok(()) }
    }

    fn node(&mut self, node: &'t Node, dot: &Value) -> Result<Flow, Raised> {
        self.budget.step().map_err(at(node.at))?;
        match &node.kind {
            Kind::Text(from, to) => {
                let text = &self.program.source[*from as usize..*to as usize];
                self.budget.bytes(text.len()).map_err(at(node.at))?;
                self.out.push(Origin::Template, text);
            }
            Kind::Print(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.assign.is_none() {
                    format::display(&value, &mut self.out, self.budget).map_err(at(node.at))?;
                }
            }
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
            Kind::Call { name, with } => {
                let data = match with {
                    Some(pipe) => self.pipe(pipe, dot)?,
                    None => Value::Nil,
                };
                let unknown = || Raised { at: node.at, fault: Fault::Template(name.clone()) };
                let nodes = self.program.templates.get(name).ok_or_else(unknown)?;
                self.deeper().map_err(at(node.at))?;
                let outer = core::mem::replace(&mut self.variables, vec![("", data.clone())]);
                self.nodes(nodes, &data)?;
                self.variables = outer;
                self.depth -= 1;
            }
            Kind::Branch { .. } | Kind::Range { .. } => {
                self.deeper().map_err(at(node.at))?;
                let outer = self.variables.len();
                let flow = self.block(node, dot)?;
                self.variables.truncate(outer);
                self.depth -= 1;
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn block(&mut self, node: &'t Node, dot: &Value) -> Result<Flow, Raised> {
        match &node.kind {
            Kind::Branch { with, arms, otherwise } => {
                for (pipe, body) in arms {
                    let value = self.pipe(pipe, dot)?;
                    if value.is_true() {
                        return self.nodes(body, if *with { &value } else { dot });
                    }
                }
                self.nodes(otherwise, dot)
            }
            Kind::Range { over, body, otherwise } => {
                let value = self.commands(over, dot)?;
                if !self.range(node.at, &value, over.assign.as_ref(), body)? {
                    return self.nodes(otherwise, dot);
                }
                Ok(Flow::On)
            }
            _ => Ok(Flow::On),
        }
    }

    /// Whether there was anything to go through.
    fn range(
        &mut self,
        place: u32,
        value: &Value,
        assign: Option<&'t Assign>,
        body: &'t [Node],
    ) -> Result<bool, Raised> {
        match value {
            Value::Nil => Ok(false),
            Value::List(list) => {
                for (i, item) in list.items().iter().enumerate() {
                    if !self.turn(place, Value::Int(i as i64), item, assign, body)? {
                        break;
                    }
                }
                Ok(!list.items().is_empty())
            }
            Value::Map(map) => {
                for (key, item) in map.iter() {
                    self.budget.bytes(key.len()).map_err(at(place))?;
                    if !self.turn(place, Value::data(key), item, assign, body)? {
                        break;
                    }
                }
                Ok(!map.is_empty())
            }
            Value::Int(count) => {
                for i in 0..*count {
                    if !self.turn(place, Value::Int(i), &Value::Int(i), assign, body)? {
                        break;
                    }
                }
                Ok(*count > 0)
            }
            other => Err(Raised { at: place, fault: Fault::NotRange(other.kind()) }),
        }
    }

    /// One turn of a `range`; whether there shall be another.
    fn turn(
        &mut self,
        place: u32,
        key: Value,
        item: &Value,
        assign: Option<&'t Assign>,
        body: &'t [Node],
    ) -> Result<bool, Raised> {
        self.budget.step().map_err(at(place))?;
        let outer = self.variables.len();
        match assign {
            Some(assign @ Assign { second: Some(second), .. }) => {
                self.set(assign.declare, &assign.first, key);
                self.set(assign.declare, second, item.clone());
            }
            Some(assign) => self.set(assign.declare, &assign.first, item.clone()),
            None => {}
        }
        let flow = self.nodes(body, item)?;
        self.variables.truncate(outer);
        Ok(flow != Flow::Break)
    }

    fn set(&mut self, declare: bool, name: &'t str, value: Value) {
        if declare {
            self.variables.push((name, value));
        } else if let Some((_, old)) = self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            *old = value;
        }
    }

    /// The value of a pipe, kept in the variable that it is for.
    fn pipe(&mut self, pipe: &'t Pipe, dot: &Value) -> Result<Value, Raised> {
        let value = self.commands(pipe, dot)?;
        if let Some(assign) = &pipe.assign {
            self.set(assign.declare, &assign.first, value.clone());
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &'t Pipe, dot: &Value) -> Result<Value, Raised> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, value, dot)?);
        }
        Ok(value.unwrap_or(Value::Nil))
    }

    /// `handed` is the value of the command before it.
    fn command(&mut self, command: &'t Command, handed: Option<Value>, dot: &Value) -> Result<Value, Raised> {
        let place = command.head.at;
        let Operand::Function(function) = command.head.kind else {
            if !command.arguments.is_empty() || handed.is_some() {
                return Err(Raised { at: place, fault: Fault::NotFunction });
            }
            return self.term(&command.head, dot);
        };
        if matches!(function, Function::And | Function::Or) {
            return self.choose(function, command, handed, dot);
        }
        self.budget.step().map_err(at(place))?;
        let mut values = Vec::with_capacity(command.arguments.len() + 1);
        for argument in &command.arguments {
            values.push(self.term(argument, dot)?);
        }
        values.extend(handed);
        function.call(&values, self.program.dates, self.budget).map_err(at(place))
    }

    /// `and` and `or`: the first value that decides, or the last.
    fn choose(
        &mut self,
        function: Function,
        command: &'t Command,
        handed: Option<Value>,
        dot: &Value,
    ) -> Result<Value, Raised> {
        let mut last = None;
        for argument in &command.arguments {
            let value = self.term(argument, dot)?;
            if value.is_true() == (function == Function::Or) {
                return Ok(value);
            }
            last = Some(value);
        }
        handed.or(last).ok_or_else(|| at(command.head.at)(function.wrong()))
    }

    fn term(&mut self, term: &'t Term, dot: &Value) -> Result<Value, Raised> {
        self.budget.step().map_err(at(term.at))?;
        let mut value = match &term.kind {
            Operand::Dot => dot.clone(),
            Operand::Nil => Value::Nil,
            Operand::Bool(flag) => Value::Bool(*flag),
            Operand::Int(number) => Value::Int(*number),
            Operand::Float(number) => Value::Float(*number),
            Operand::Text(text) => {
                self.budget.bytes(text.len()).map_err(at(term.at))?;
                Value::Text(Text::new(Origin::Template, text))
            }
            Operand::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map_or(Value::Nil, |(_, value)| value.clone())
            }
            // Alone it is a call without values.
            Operand::Function(function) => function.call(&[], self.program.dates, self.budget).map_err(at(term.at))?,
            Operand::Pipe(pipe) => {
                self.deeper().map_err(at(term.at))?;
                let outer = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                self.variables.truncate(outer);
                self.depth -= 1;
                value
            }
        };
        for name in &term.fields {
            value = self.field(&value, name).map_err(at(term.at))?;
        }
        Ok(value)
    }

    fn field(&mut self, value: &Value, name: &str) -> Result<Value, Fault> {
        self.budget.step()?;
        // The one method that Ollama's values have.
        if name == "ToTypeScriptType" && matches!(value, Value::Record(_)) {
            return Function::ToTypeScriptType.call(core::slice::from_ref(value), self.program.dates, self.budget);
        }
        value.field(name)
    }
}
