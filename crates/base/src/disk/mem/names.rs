//! A simulated directory: the names that everybody sees, and the changes of names that are not durable yet, by which a power cut goes back.

use super::MemFile;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone)]
pub enum Node {
    Dir(Arc<Mutex<Dir>>),
    File(Arc<MemFile>),
}

#[derive(Default)]
pub struct Dir {
    pub entries: BTreeMap<String, Node>,
    changes: Vec<Change>,
}

/// A name and what it stood for before. Renaming changes two names at once.
struct Change {
    name: String,
    before: Option<Node>,
    and: Option<(String, Option<Node>)>,
}

impl Dir {
    pub fn is_dirty(&self) -> bool {
        !self.changes.is_empty()
    }

    pub fn link(&mut self, name: &str, node: Node) {
        let before = self.entries.insert(name.to_owned(), node);
        self.changes.push(Change { name: name.to_owned(), before, and: None });
    }

    pub fn unlink(&mut self, name: &str) -> Option<Node> {
        let before = self.entries.remove(name)?;
        self.changes.push(Change { name: name.to_owned(), before: Some(before.clone()), and: None });
        Some(before)
    }

    /// Whether there was such a name.
    pub fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(node) = self.entries.remove(from) else { return false };
        let replaced = self.entries.insert(to.to_owned(), node.clone());
        self.changes.push(Change { name: to.to_owned(), before: replaced, and: Some((from.to_owned(), Some(node))) });
        true
    }

    pub fn sync(&mut self) {
        self.changes.clear();
    }

    /// A power cut: of the changes since the last sync the first `kept` have got out; file systems keep the order of these.
    pub fn crash(&mut self, kept: usize) {
        while self.changes.len() > kept {
            let Some(change) = self.changes.pop() else { break };
            for (name, before) in [Some((change.name, change.before)), change.and].into_iter().flatten() {
                match before {
                    Some(node) => drop(self.entries.insert(name, node)),
                    None => drop(self.entries.remove(&name)),
                }
            }
        }
        self.changes.clear();
    }

    pub fn unsynced(&self) -> usize {
        self.changes.len()
    }
}
