//! What Cardume reads of CMAF (ISO/IEC 23000-19): tracks from `moov`, facts and sample places from `moof`, and the
//! rewriting that takes muxed files apart.

pub(crate) mod codec;
pub(crate) mod edits;
pub(crate) mod fragment;
pub(crate) mod init;
pub(crate) mod prft;
pub(crate) mod split;
