//! The pickle machine: every opcode of protocols 0 to 5, over a flat table of values.
//!
//! It runs nothing and looks nothing up: a name stays a name, a call is data (calls.rs). Lengths are checked against the
//! bytes left before anything is allocated, and the total size of the values is limited (arena.rs). An unknown opcode,
//! or one whose operands have the wrong type, is an error with its offset.

use super::Fault;
use super::arena::{Arena, Id, Node, Span};
use super::calls::kind_name;
use super::input::{Input, raw_unicode, unquote};
use super::opcodes as op;
use std::collections::HashMap;
use std::io::BufRead;

type Step<T> = Result<T, Fault>;

const HIGHEST_PROTOCOL: u8 = 5;

/// Reads one pickle, up to and including its STOP, and returns its value.
pub(super) fn read<R: BufRead>(input: &mut Input<R>, arena: &mut Arena) -> Step<Id> {
    let mut machine = Machine { input, arena, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    loop {
        let at = machine.input.at();
        let step = machine.input.byte().and_then(|opcode| match opcode {
            op::STOP => machine.pop().map(Some),
            other => machine.step(other).map(|()| None),
        });
        match step {
            Ok(None) => {}
            Ok(Some(value)) => return Ok(value),
            Err(fault) => return Err(fault.context(format_args!("byte {at}"))),
        }
    }
}

struct Machine<'a, R> {
    input: &'a mut Input<R>,
    arena: &'a mut Arena,
    stack: Vec<Id>,
    /// The heights of the stack at the open MARKs.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<R: BufRead> Machine<'_, R> {
    fn step(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            // Stack and memo.
            op::MARK => self.mark(),
            op::POP => self.discard(),
            op::POP_MARK => self.pop_mark().map(drop),
            op::DUP => self.top().and_then(|top| self.push(top)),
            op::GET => self.line_number().and_then(|i| self.get(i)),
            op::BINGET => self.number::<1>().and_then(|i| self.get(i)),
            op::LONG_BINGET => self.number::<4>().and_then(|i| self.get(i)),
            op::PUT => self.line_number().and_then(|i| self.put(i)),
            op::BINPUT => self.number::<1>().and_then(|i| self.put(i)),
            op::LONG_BINPUT => self.number::<4>().and_then(|i| self.put(i)),
            op::MEMOIZE => self.put(self.memo.len() as u64),
            // Containers.
            op::EMPTY_LIST => self.push_node(Node::List(Vec::new())),
            op::EMPTY_DICT => self.push_node(Node::Dict(Vec::new())),
            op::EMPTY_SET => self.push_node(Node::Set(Vec::new())),
            op::EMPTY_TUPLE => self.push(Id::EMPTY_TUPLE),
            op::LIST => self.pop_mark().and_then(|items| self.push_node(Node::List(items))),
            op::TUPLE => self.pop_mark().and_then(|items| self.push_tuple(items)),
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => self.short_tuple(usize::from(opcode - op::TUPLE1 + 1)),
            op::FROZENSET => self.pop_mark().and_then(|items| self.push_node(Node::Set(items))),
            op::DICT => self.pop_mark().and_then(|items| self.dict(&items)),
            op::APPEND => self.pop().and_then(|item| self.append(&[item])),
            op::APPENDS => self.pop_mark().and_then(|items| self.append(&items)),
            op::ADDITEMS => self.pop_mark().and_then(|items| self.add(&items)),
            op::SETITEM => self.set_item(),
            op::SETITEMS => self.pop_mark().and_then(|items| self.set_items(&items)),
            // Names and calls.
            op::GLOBAL => self.global(),
            op::STACK_GLOBAL => self.stack_global(),
            op::EXT1 => self.number::<1>().and_then(|code| self.extension(code)),
            op::EXT2 => self.number::<2>().and_then(|code| self.extension(code)),
            op::EXT4 => self.number::<4>().and_then(|code| self.extension(code)),
            op::REDUCE | op::NEWOBJ => self.call(),
            op::NEWOBJ_EX => self.call_with_names(),
            op::OBJ => self.pop_mark().and_then(|items| self.object(&items)),
            op::INST => self.instance(),
            op::BUILD => self.build(),
            op::PERSID => self.text_persistent_id(),
            op::BINPERSID => self.persistent_id(),
            // The frame of a pickle.
            op::PROTO => self.protocol(),
            op::FRAME => self.number::<8>().and_then(|n| self.input.claim(n)),
            op::NEXT_BUFFER | op::READONLY_BUFFER => Err(Fault::new("it needs buffers from outside the file")),
            other => self.literal(other),
        }
    }

    /// Numbers and texts.
    fn literal(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            op::NONE => self.push(Id::NONE),
            op::NEWTRUE => self.push(Id::TRUE),
            op::NEWFALSE => self.push(Id::FALSE),
            op::INT | op::LONG => self.line_int(),
            op::BININT => self.input.array().and_then(|b| self.push_int(i32::from_le_bytes(b).into())),
            op::BININT1 => self.number::<1>().and_then(|n| self.push_int(n.into())),
            op::BININT2 => self.number::<2>().and_then(|n| self.push_int(n.into())),
            op::LONG1 => self.number::<1>().and_then(|n| self.long(n)),
            op::LONG4 => self.signed_length().and_then(|n| self.long(n)),
            op::FLOAT => self.line_float(),
            op::BINFLOAT => self.input.array().and_then(|b| self.push_node(Node::Float(f64::from_be_bytes(b)))),
            op::STRING => self.quoted(),
            op::UNICODE => self.escaped(),
            op::SHORT_BINSTRING => self.number::<1>().and_then(|n| self.text(n)),
            op::BINSTRING => self.signed_length().and_then(|n| self.text(n)),
            op::SHORT_BINUNICODE => self.number::<1>().and_then(|n| self.text(n)),
            op::BINUNICODE => self.number::<4>().and_then(|n| self.text(n)),
            op::BINUNICODE8 => self.number::<8>().and_then(|n| self.text(n)),
            op::SHORT_BINBYTES => self.number::<1>().and_then(|n| self.bytes(n)),
            op::BINBYTES => self.number::<4>().and_then(|n| self.bytes(n)),
            op::BINBYTES8 | op::BYTEARRAY8 => self.number::<8>().and_then(|n| self.bytes(n)),
            other => Err(Fault::new(format!("{other:#04x} is not an instruction"))),
        }
    }

    // --- Stack and memo --------------------------------------------------------------------------------------------

    fn push(&mut self, id: Id) -> Step<()> {
        self.arena.spend(2 * size_of::<Id>())?;
        self.stack.push(id);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Step<()> {
        let id = self.arena.push(node)?;
        self.push(id)
    }

    fn push_int(&mut self, value: i128) -> Step<()> {
        let id = self.arena.push_int(value)?;
        self.push(id)
    }

    fn push_tuple(&mut self, items: Vec<Id>) -> Step<()> {
        if items.is_empty() { self.push(Id::EMPTY_TUPLE) } else { self.push_node(Node::Tuple(items)) }
    }

    /// The top value; values below the last MARK are out of reach.
    fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(Fault::new("the stack is empty"));
        }
        self.stack.pop().ok_or_else(|| Fault::new("the stack is empty"))
    }

    fn top(&mut self) -> Step<Id> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(top)
    }

    fn mark(&mut self) -> Step<()> {
        self.arena.spend(2 * size_of::<usize>())?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// POP removes a MARK if nothing is above it.
    fn discard(&mut self) -> Step<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    /// Everything above the last MARK.
    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        let floor = self.marks.pop().ok_or_else(|| Fault::new("there is no mark"))?;
        self.arena.spend(2 * size_of_val(&self.stack[floor..]))?;
        Ok(self.stack.split_off(floor))
    }

    fn get(&mut self, index: u64) -> Step<()> {
        let known = u32::try_from(index).ok().and_then(|index| self.memo.get(&index).copied());
        let id = known.ok_or_else(|| Fault::new(format!("no value is stored under {index}")))?;
        self.push(id)
    }

    fn put(&mut self, index: u64) -> Step<()> {
        let key = u32::try_from(index)
            .map_err(|_| Fault::new(format!("{index} is not a valid number to store a value under")))?;
        let top = self.top()?;
        self.arena.spend(4 * size_of::<(u32, Id)>())?;
        self.memo.insert(key, top);
        Ok(())
    }

    // --- Operands --------------------------------------------------------------------------------------------------

    /// A little-endian number of N bytes.
    fn number<const N: usize>(&mut self) -> Step<u64> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.input.array::<N>()?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn signed_length(&mut self) -> Step<u64> {
        let n = i32::from_le_bytes(self.input.array()?);
        u64::try_from(n).map_err(|_| Fault::new(format!("a length of {n}")))
    }

    fn line_number(&mut self) -> Step<u64> {
        let line = self.line_text()?;
        line.trim()
            .parse()
            .map_err(|_| Fault::new(format!("{:?} is not a valid number to store a value under", shorten(&line))))
    }

    fn line_text(&mut self) -> Step<String> {
        String::from_utf8(self.input.line()?).map_err(|_| Fault::new("a line that is not text"))
    }

    // --- Numbers and texts -----------------------------------------------------------------------------------------

    fn line_int(&mut self) -> Step<()> {
        let line = self.line_text()?;
        match line.trim() {
            // How protocol 0 writes bools.
            "00" => return self.push(Id::FALSE),
            "01" => return self.push(Id::TRUE),
            _ => {}
        }
        let digits = line.trim().trim_end_matches('L');
        let bare = digits.strip_prefix(['-', '+']).unwrap_or(digits);
        if bare.is_empty() || !bare.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Fault::new(format!("{:?} is not a whole number", shorten(&line))));
        }
        match digits.parse() {
            Ok(value) => self.push_int(value),
            Err(_) => self.huge_int(),
        }
    }

    /// A whole number of more than 128 bits: no model needs one, so only its type is kept.
    fn huge_int(&mut self) -> Step<()> {
        let class = self.arena.push_global(b"builtins", b"int")?;
        let id = self.arena.inert(class, Id::EMPTY_TUPLE)?;
        self.push(id)
    }

    /// A little-endian two's complement of `n` bytes.
    fn long(&mut self, n: u64) -> Step<()> {
        let mut bytes = Vec::new();
        self.arena.spend(self.input.left().min(n) as usize)?;
        self.input.append(n, &mut bytes)?;
        if bytes.len() > 16 {
            return self.huge_int();
        }
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        bytes.resize(16, fill);
        self.push_int(i128::from_le_bytes(bytes.try_into().expect("16 bytes")))
    }

    fn line_float(&mut self) -> Step<()> {
        let line = self.line_text()?;
        match line.trim().parse() {
            Ok(value) => self.push_node(Node::Float(value)),
            Err(_) => Err(Fault::new(format!("{:?} is not a number", shorten(&line)))),
        }
    }

    fn span(&mut self, n: u64) -> Step<Span> {
        self.input.claim(n)?;
        self.arena.spend(n as usize)?;
        let start = self.arena.pool().len();
        self.input.append(n, self.arena.pool())?;
        self.arena.since(start)
    }

    fn text(&mut self, n: u64) -> Step<()> {
        let span = self.span(n)?;
        let node = self.arena.text_node(span);
        self.push_node(node)
    }

    fn bytes(&mut self, n: u64) -> Step<()> {
        let span = self.span(n)?;
        self.push_node(Node::Bytes(span))
    }

    fn quoted(&mut self) -> Step<()> {
        let bytes = unquote(&self.input.line()?).ok_or_else(|| Fault::new("a text without its quotes"))?;
        let span = self.arena.span(&bytes)?;
        let node = self.arena.text_node(span);
        self.push_node(node)
    }

    fn escaped(&mut self) -> Step<()> {
        let text = raw_unicode(&self.input.line()?).ok_or_else(|| Fault::new("a text with a broken escape"))?;
        let id = self.arena.push_text(&text)?;
        self.push(id)
    }

    // --- Containers ------------------------------------------------------------------------------------------------

    fn short_tuple(&mut self, n: usize) -> Step<()> {
        let mut items = (0..n).map(|_| self.pop()).collect::<Step<Vec<Id>>>()?;
        items.reverse();
        self.push_tuple(items)
    }

    fn dict(&mut self, items: &[Id]) -> Step<()> {
        self.push_node(Node::Dict(Vec::new()))?;
        self.set_items(items)
    }

    fn append(&mut self, new: &[Id]) -> Step<()> {
        self.arena.spend(2 * size_of_val(new))?;
        let target = self.top()?;
        match self.arena.node_mut(target) {
            Node::List(items) => items.extend(new),
            Node::Object(object) => object.items.extend(new),
            other => return Err(Fault::new(format!("appends to {}", kind_name(other)))),
        }
        Ok(())
    }

    fn add(&mut self, new: &[Id]) -> Step<()> {
        self.arena.spend(2 * size_of_val(new))?;
        let target = self.top()?;
        match self.arena.node_mut(target) {
            Node::Set(items) => items.extend(new),
            Node::Object(object) => object.items.extend(new),
            other => return Err(Fault::new(format!("adds to {}", kind_name(other)))),
        }
        Ok(())
    }

    fn set_item(&mut self) -> Step<()> {
        let value = self.pop()?;
        let key = self.pop()?;
        self.set_items(&[key, value])
    }

    fn set_items(&mut self, new: &[Id]) -> Step<()> {
        let (pairs, rest) = new.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Fault::new("a key without a value"));
        }
        self.arena.spend(2 * size_of_val(new))?;
        let target = self.top()?;
        let new = pairs.iter().map(|&[key, value]| (key, value));
        match self.arena.node_mut(target) {
            Node::Dict(pairs) => pairs.extend(new),
            Node::Object(object) => object.pairs.extend(new),
            other => return Err(Fault::new(format!("sets items of {}", kind_name(other)))),
        }
        Ok(())
    }

    // --- Names and calls -------------------------------------------------------------------------------------------

    fn global(&mut self) -> Step<()> {
        let (module, name) = (self.input.line()?, self.input.line()?);
        let id = self.arena.push_global(&module, &name)?;
        self.push(id)
    }

    fn stack_global(&mut self) -> Step<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Some(module), Some(name)) = (self.arena.text(module), self.arena.text(name)) else {
            return Err(Fault::new("a name that is not text"));
        };
        // Texts can be shared and long; names are neither.
        let (module, name) = (module.as_bytes().to_vec(), name.as_bytes().to_vec());
        let id = self.arena.push_global(&module, &name)?;
        self.push(id)
    }

    /// A class by its number in a registry that is not in the file.
    fn extension(&mut self, code: u64) -> Step<()> {
        let id = self.arena.push_global(b"copyreg.extension", code.to_string().as_bytes())?;
        self.push(id)
    }

    fn call(&mut self) -> Step<()> {
        let (args, callee) = (self.pop()?, self.pop()?);
        self.call_of(callee, args)
    }

    fn call_of(&mut self, callee: Id, args: Id) -> Step<()> {
        let id = self.arena.call(callee, args)?;
        self.push(id)
    }

    fn call_with_names(&mut self) -> Step<()> {
        let (named, args, class) = (self.pop()?, self.pop()?, self.pop()?);
        if !matches!((self.arena.node(args), self.arena.node(named)), (Node::Tuple(_), Node::Dict(_))) {
            return Err(Fault::new("a call whose arguments are not a tuple and a dict"));
        }
        if self.arena.children(named) == Some(0) {
            return self.call_of(class, args);
        }
        let both = self.arena.push(Node::Tuple(vec![args, named]))?;
        let id = self.arena.inert(class, both)?;
        self.push(id)
    }

    /// OBJ: the class, then its arguments.
    fn object(&mut self, items: &[Id]) -> Step<()> {
        let (&class, args) = items.split_first().ok_or_else(|| Fault::new("an object without a class"))?;
        let args = if args.is_empty() { Id::EMPTY_TUPLE } else { self.arena.push(Node::Tuple(args.to_vec()))? };
        self.call_of(class, args)
    }

    /// INST: the arguments above the mark, then the class by name.
    fn instance(&mut self) -> Step<()> {
        let (module, name) = (self.input.line()?, self.input.line()?);
        let class = self.arena.push_global(&module, &name)?;
        let mut items = self.pop_mark()?;
        items.insert(0, class);
        self.object(&items)
    }

    fn build(&mut self) -> Step<()> {
        let state = self.pop()?;
        let target = self.top()?;
        self.arena.set_state(target, state)
    }

    fn text_persistent_id(&mut self) -> Step<()> {
        let line = self.line_text()?;
        let id = self.arena.push_text(&line)?;
        let id = self.arena.persistent(id)?;
        self.push(id)
    }

    fn persistent_id(&mut self) -> Step<()> {
        let id = self.pop()?;
        let id = self.arena.persistent(id)?;
        self.push(id)
    }

    fn protocol(&mut self) -> Step<()> {
        match self.input.byte()? {
            0..=HIGHEST_PROTOCOL => Ok(()),
            other => Err(Fault::new(format!("protocol {other}; supported are 0 to {HIGHEST_PROTOCOL}"))),
        }
    }
}

/// The beginning of a line, for a message.
fn shorten(line: &str) -> String {
    line.chars().take(40).collect()
}
