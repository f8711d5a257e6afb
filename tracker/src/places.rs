//! Places of which there are so many: connections, sockets, encoders.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many of something may be open at once; a handle that is cheap to clone. The limit may change meanwhile: when it is
/// lowered, those who are in stay.
#[derive(Debug, Clone)]
pub struct Places(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    limit: AtomicU32,
    n_taken: AtomicU32,
}

/// One that is taken; dropping it gives it back.
#[derive(Debug)]
pub struct Place(Arc<Counts>);

impl Places {
    /// So many.
    pub fn new(limit: u32) -> Self {
        Self(Arc::new(Counts { limit: AtomicU32::new(limit), n_taken: AtomicU32::new(0) }))
    }

    /// One of them; `None` when all are taken.
    pub fn take(&self) -> Option<Place> {
        let limit = self.limit();
        let one_more = |n: u32| (n < limit).then_some(n + 1);
        let taken = self.0.n_taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| Place(Arc::clone(&self.0)))
    }

    /// How many there are.
    pub fn limit(&self) -> u32 {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// How many are taken.
    pub fn n_taken(&self) -> u32 {
        self.0.n_taken.load(Ordering::Relaxed)
    }

    /// From now on there are so many.
    pub fn set_limit(&self, limit: u32) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.n_taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowered_limit_takes_nobody_s_place_and_a_raised_one_makes_room() {
        let places = Places::new(2);
        let (first, second) = (places.take().unwrap(), places.take());
        assert!(second.is_some() && places.take().is_none());
        places.set_limit(1);
        assert_eq!(places.n_taken(), 2);
        drop(first);
        assert!(places.take().is_none(), "there is one, and it is taken");
        places.set_limit(2);
        assert!(places.take().is_some());
    }
}
