//! What stands before the nodes of a cluster: one address, behind which one that lives answers; or a cable, which can be pulled.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes each connection to the node that it points at.
#[derive(Debug)]
pub struct Balancer {
    /// Where it listens.
    pub address: SocketAddr,
    node: Arc<Mutex<SocketAddr>>,
    is_silent: watch::Sender<bool>,
    listening: JoinHandle<()>,
}

impl Balancer {
    /// Before this node.
    pub async fn start(node: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = Arc::new(Mutex::new(node));
        let is_silent = watch::Sender::new(false);
        let (known, silence) = (Arc::clone(&node), is_silent.subscribe());
        let listening = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let node = *known.lock().unwrap();
                tokio::spawn(pass(socket, node, silence.clone()));
            }
        });
        Self { address, node, is_silent, listening }
    }

    /// Passes what comes from now on to this one.
    pub fn point_at(&self, node: SocketAddr) {
        *self.node.lock().unwrap() = node;
    }

    /// Passes nothing any more, either way: no connection ends, and each end finds the other silent.
    pub fn fall_silent(&self) {
        self.is_silent.send_replace(true);
    }

    /// Passes new connections again; those that were silent end.
    pub fn speak(&self) {
        self.is_silent.send_replace(false);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn pass(mut from: TcpStream, node: SocketAddr, mut silence: watch::Receiver<bool>) {
    let copying = async {
        if let Ok(mut to) = TcpStream::connect(node).await {
            // However it ends, both sides close.
            let _ = copy_bidirectional(&mut from, &mut to).await;
        }
    };
    tokio::pin!(copying);
    tokio::select! {
        biased;
        Ok(_) = silence.wait_for(|is_silent| *is_silent) => {}
        () = &mut copying => return,
    }
    // Ends when the balancer goes, too.
    let _ = silence.wait_for(|is_silent| !*is_silent).await;
}
