//! One address before all nodes, for those who know a single one: encoders, and viewers without a resolver of their own.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Passes each connection to the first node that takes it.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    /// Wakes when a connection ends.
    pub(super) ended: Rc<Notify>,
    /// When the last connection came.
    pub(super) came_at: Rc<Cell<Option<Instant>>>,
    nodes: Rc<RefCell<Vec<SocketAddr>>>,
    cut: Rc<Notify>,
    listening: tokio::task::JoinHandle<()>,
}

/// Which node is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Each time another one, as resolvers do.
    Turns,
    /// The first in the list that lives.
    First,
}

impl Door {
    pub(super) async fn open(nodes: Vec<SocketAddr>, order: Order) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (ended, came_at) = (Rc::new(Notify::new()), Rc::new(Cell::new(None)));
        let (tell, note) = (Rc::clone(&ended), Rc::clone(&came_at));
        let (nodes, cut) = (Rc::new(RefCell::new(nodes)), Rc::new(Notify::new()));
        let (known, cutting) = (Rc::clone(&nodes), Rc::clone(&cut));
        let listening = tokio::task::spawn_local(async move {
            let mut turn = 0;
            while let Ok((socket, _)) = listener.accept().await {
                note.set(Some(Instant::now()));
                let mut nodes = known.borrow().clone();
                if order == Order::Turns {
                    let n_nodes = nodes.len().max(1);
                    nodes.rotate_left(turn % n_nodes);
                    turn += 1;
                }
                let (tell, cut) = (Rc::clone(&tell), Rc::clone(&cutting));
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        () = pass(socket, &nodes) => {}
                        () = cut.notified() => {}
                    }
                    tell.notify_one();
                });
            }
        });
        Ok(Self { address, ended, came_at, nodes, cut, listening })
    }

    /// Ends all connections, and leads to this node no more.
    pub(super) fn leave(&self, node: SocketAddr) {
        self.nodes.borrow_mut().retain(|other| *other != node);
        self.cut.notify_waiters();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn pass(mut from: TcpStream, nodes: &[SocketAddr]) {
    for node in nodes {
        if let Ok(mut to) = TcpStream::connect(node).await {
            // Small messages that somebody waits for.
            let _ = (from.set_nodelay(true), to.set_nodelay(true));
            // However it ends, both sides close.
            let _ = copy_bidirectional(&mut from, &mut to).await;
            return;
        }
    }
}
