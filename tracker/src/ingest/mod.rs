//! Takes media from encoders: RTMP, and HTTP push of CMAF. What comes in leaves through [`crate::channel::Broadcast`].

mod clock;
mod flv;
mod fmp4;
pub mod push;
mod remux;
pub mod rtmp;
mod sps;
mod timestamp;

pub use clock::CaptureClock;
