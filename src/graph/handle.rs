//! Handles: the user's references to nodes.

use std::sync::Arc;

use super::node::{Edge, Node};

/// The user's reference to an output, in a `Tensor` or a stored gradient. A node counts its handles, and a run keeps
/// the values of nodes that have handles.
pub(crate) struct Handle {
    pub node: Arc<Node>,
    pub out: u8,
}

impl Handle {
    pub fn new(node: Arc<Node>, out: u8) -> Handle {
        node.hold();
        Handle { node, out }
    }

    pub fn edge(&self) -> Edge {
        Edge { node: self.node.clone(), out: self.out }
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        Handle::new(self.node.clone(), self.out)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.node.unhold();
    }
}
