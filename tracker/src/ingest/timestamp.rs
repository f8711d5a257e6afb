//! RTMP's clock.

/// Continues RTMP's 32-bit timestamps past their wrap after 49.7 days.
#[derive(Debug, Default)]
pub(super) struct Unwrapper {
    last: Option<i64>,
}

impl Unwrapper {
    /// The time nearest to the one before it that has this timestamp.
    pub(super) fn unwrap(&mut self, timestamp: u32) -> i64 {
        let time = match self.last {
            None => i64::from(timestamp),
            Some(last) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "the low 32 bits are meant"
                )]
                let step = timestamp.wrapping_sub(last as u32);
                last + i64::from(step.cast_signed())
            }
        };
        self.last = Some(time);
        time
    }
}
