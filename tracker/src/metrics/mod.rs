//! What a tracker counts for its operator, and the page that tells it to Prometheus.

mod page;
mod refusals;
mod usage;

pub use page::{CONTENT_TYPE, Kind, Page};
pub use refusals::{Refusal, Refusals};
pub(crate) use usage::Usage;
