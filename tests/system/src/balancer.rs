//! What stands before the nodes of a cluster: one address, behind which one that lives answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Passes each connection to the node that it points at.
#[derive(Debug)]
pub struct Balancer {
    /// Where it listens.
    pub address: SocketAddr,
    node: Arc<Mutex<SocketAddr>>,
    listening: JoinHandle<()>,
}

impl Balancer {
    /// Before this node.
    pub async fn start(node: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = Arc::new(Mutex::new(node));
        let known = Arc::clone(&node);
        let listening = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let node = *known.lock().unwrap();
                tokio::spawn(pass(socket, node));
            }
        });
        Self { address, node, listening }
    }

    /// Passes what comes from now on to this one.
    pub fn point_at(&self, node: SocketAddr) {
        *self.node.lock().unwrap() = node;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn pass(mut from: TcpStream, node: SocketAddr) {
    if let Ok(mut to) = TcpStream::connect(node).await {
        // However it ends, both sides close.
        let _ = copy_bidirectional(&mut from, &mut to).await;
    }
}
