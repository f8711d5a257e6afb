//! What a service manager is told: systemd's protocol, wherever `NOTIFY_SOCKET` is set; else nothing happens.

/// The tracker takes connections.
pub fn ready() {
    #[cfg(target_os = "linux")]
    notify(&[sd_notify::NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] follows.
pub fn reloading() {
    #[cfg(target_os = "linux")]
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        notify(&[sd_notify::NotifyState::Reloading, now]);
    }
}

/// The tracker goes down.
pub fn stopping() {
    #[cfg(target_os = "linux")]
    notify(&[sd_notify::NotifyState::Stopping]);
}

/// Says that the process lives, as often as the manager asks for; ends at once where it does not ask. To be spawned: then it shows
/// that tasks run.
pub async fn keep_alive() {
    #[cfg(target_os = "linux")]
    if let Some(timeout) = sd_notify::watchdog_enabled() {
        // Half of it, as sd_watchdog_enabled(3) advises.
        let mut beat = tokio::time::interval(timeout / 2);
        loop {
            beat.tick().await;
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}

#[cfg(target_os = "linux")]
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}

/// Lets the process have as many files open as the system allows: each connection is one. Says when that is too few for
/// `connection_limit`.
pub fn raise_file_limit(connection_limit: u32) {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
        if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            tracing::warn!("the limit on open files cannot be raised to {hard}: {error}");
        }
        let wanted = u64::from(connection_limit) + FILES_BESIDE_CONNECTIONS;
        if hard < wanted {
            tracing::warn!(
                "connection_limit is {connection_limit}, but the system allows only {hard} open files; \
                 raise that to {wanted} (LimitNOFILE= in systemd, ulimit -n in a shell)"
            );
        }
    }
}

/// Encoders, films, the store, the log. (Wild guess: RTMP takes 256.)
#[cfg(unix)]
const FILES_BESIDE_CONNECTIONS: u64 = 1_000;
