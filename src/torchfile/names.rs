//! The dotted names of a file's tensors: every path from the root over dictionaries, lists and the data of foreign objects.

use super::Fault;
use super::arena::{Arena, Id, Key, Node};
use std::collections::HashMap;

/// Deepest nesting of a tensor; real files have up to some 10 levels (an optimizer's state in a trainer's).
const DEEPEST: usize = 200;
/// Longest name in bytes; real ones have up to a hundred or two.
const LONGEST_NAME: usize = 4096;

/// A tensor under one of its names.
pub(super) struct Named {
    pub name: String,
    /// The length of the name of the container that holds it, without the dot.
    pub parent: usize,
    /// The tensor's number in the arena.
    pub tensor: u32,
}

/// The tensors in the order of the file, and the index of each name in that list.
///
/// A container in several places gives its tensors several names; cycles are not followed.
/// Errors: more or longer names than a file of its size needs.
pub(super) fn of(arena: &mut Arena, root: Id) -> Result<(Vec<Named>, HashMap<String, usize>), Fault> {
    let mut walk = Walk { list: Vec::new(), places: HashMap::new(), frames: Vec::new() };
    if let Node::Tensor(tensor) = *arena.node(root) {
        walk.add(arena, tensor, None)?;
        return Ok((walk.list, walk.places));
    }
    let mut open = vec![false; arena.len()];
    // Containers without a tensor below them are searched only once, even if they are shared.
    let mut barren = vec![false; arena.len()];
    walk.frames.push(Frame { id: root, key: None, next: 0, found: false });
    open[root.index()] = true;
    while let Some(frame) = walk.frames.last_mut() {
        arena.spend(size_of::<Id>())?;
        let Some((key, child)) = arena.child(frame.id, frame.next) else {
            let (id, found) = (frame.id.index(), frame.found);
            (open[id], barren[id]) = (false, !found);
            walk.frames.pop();
            if let Some(above) = walk.frames.last_mut() {
                above.found |= found;
            }
            continue;
        };
        frame.next += 1;
        if let Node::Tensor(tensor) = *arena.node(child) {
            frame.found = true;
            walk.add(arena, tensor, Some(key))?;
        } else if arena.children(child).is_some() && !open[child.index()] && !barren[child.index()] {
            open[child.index()] = true;
            arena.spend(2 * size_of::<Frame>())?;
            walk.frames.push(Frame { id: child, key: Some(key), next: 0, found: false });
        }
    }
    Ok((walk.list, walk.places))
}

/// A container that is being searched; the root has no key.
struct Frame {
    id: Id,
    key: Option<Key>,
    next: usize,
    found: bool,
}

struct Walk {
    list: Vec<Named>,
    places: HashMap<String, usize>,
    frames: Vec<Frame>,
}

impl Walk {
    fn add(&mut self, arena: &mut Arena, tensor: u32, key: Option<Key>) -> Result<(), Fault> {
        if self.frames.len() > DEEPEST {
            return Err(Fault::new(format!("a tensor is nested more than {DEEPEST} levels deep")));
        }
        let mut name = String::new();
        let mut parent = 0;
        for key in self.frames.iter().filter_map(|frame| frame.key).chain(key) {
            parent = name.len();
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&arena.key_text(key));
            if name.len() > LONGEST_NAME {
                return Err(Fault::new(format!("a tensor's name is longer than {LONGEST_NAME} bytes")));
            }
        }
        arena.spend(3 * size_of::<Named>() + 2 * name.len())?;
        // Of a duplicate key the last one counts, as in Python.
        if let Some(&place) = self.places.get(&name) {
            self.list[place].tensor = tensor;
            return Ok(());
        }
        self.places.insert(name.clone(), self.list.len());
        self.list.push(Named { name, parent, tensor });
        Ok(())
    }
}
