//! The picture size in an H.264 sequence parameter set (ITU-T H.264, 7.3.2.1.1).

/// Bytes of a parameter set that are looked at: everything that matters comes before custom scaling lists end.
const LEN_LIMIT: usize = 1024;

/// Width and height in pixels, after cropping; `None` when the bytes are not a sequence parameter set.
pub(crate) fn picture_size(nal_unit: &[u8]) -> Option<(u16, u16)> {
    const SPS: u8 = 7;
    let (header, body) = nal_unit.split_first()?;
    if header & 0x1F != SPS {
        return None;
    }
    let body = without_emulation_prevention(&body[..body.len().min(LEN_LIMIT)]);
    let mut bits = Bits { bytes: &body, position: 0 };
    let profile = bits.read(8)?;
    bits.read(16)?; // constraint flags, level
    bits.exp_golomb()?; // seq_parameter_set_id
    let chroma = if has_chroma_format(profile) { bits.chroma_format()? } else { 1 };
    bits.exp_golomb()?; // log2_max_frame_num
    bits.skip_picture_order_count()?;
    bits.exp_golomb()?; // max_num_ref_frames
    bits.read(1)?; // gaps_in_frame_num_value_allowed_flag
    let width = bits.exp_golomb()?.checked_add(1)?.checked_mul(16)?;
    let map_height = bits.exp_golomb()?.checked_add(1)?.checked_mul(16)?;
    let fields = 2 - bits.read(1)?;
    if fields == 2 {
        bits.read(1)?; // mb_adaptive_frame_field_flag
    }
    bits.read(1)?; // direct_8x8_inference_flag
    let (crop_width, crop_height) = bits.cropping(chroma, fields)?;
    let size = |full: u32, crop: u32| u16::try_from(full.checked_sub(crop)?).ok().filter(|&size| size > 0);
    Some((size(width, crop_width)?, size(map_height.checked_mul(fields)?, crop_height)?))
}

/// Profiles whose parameter sets say the chroma format.
fn has_chroma_format(profile: u32) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

/// Drops the 3 of each `00 00 03` (7.4.1.1).
fn without_emulation_prevention(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut n_zeros = 0;
    for &byte in bytes {
        let is_inserted = n_zeros >= 2 && byte == 3;
        n_zeros = if byte == 0 { n_zeros + 1 } else { 0 };
        if !is_inserted {
            out.push(byte);
        }
    }
    out
}

struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Bits<'_> {
    /// At most 32 bits.
    fn read(&mut self, n_bits: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..n_bits {
            let byte = self.bytes.get(self.position / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.position % 8) & 1);
            self.position += 1;
        }
        Some(value)
    }

    /// `ue(v)`; for `se(v)` the caller only skips.
    fn exp_golomb(&mut self) -> Option<u32> {
        let mut n_zeros = 0;
        while self.read(1)? == 0 {
            n_zeros += 1;
            if n_zeros > 31 {
                return None;
            }
        }
        ((1u32 << n_zeros) - 1).checked_add(self.read(n_zeros)?)
    }

    fn signed_exp_golomb(&mut self) -> Option<i64> {
        let code = i64::from(self.exp_golomb()?);
        Some(if code % 2 == 0 { -code / 2 } else { (code + 1) / 2 })
    }

    fn chroma_format(&mut self) -> Option<u32> {
        let chroma = self.exp_golomb()?;
        if chroma == 3 {
            self.read(1)?; // separate_colour_plane_flag
        }
        self.exp_golomb()?; // bit_depth_luma
        self.exp_golomb()?; // bit_depth_chroma
        self.read(1)?; // qpprime_y_zero_transform_bypass_flag
        if self.read(1)? == 1 {
            let n_lists = if chroma == 3 { 12 } else { 8 };
            for list in 0..n_lists {
                if self.read(1)? == 1 {
                    self.skip_scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        Some(chroma)
    }

    fn skip_scaling_list(&mut self, n_entries: u32) -> Option<()> {
        let (mut last, mut next) = (8, 8);
        for _ in 0..n_entries {
            if next != 0 {
                next = (last + self.signed_exp_golomb()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
        Some(())
    }

    fn skip_picture_order_count(&mut self) -> Option<()> {
        match self.exp_golomb()? {
            0 => {
                self.exp_golomb()?;
            }
            1 => {
                self.read(1)?;
                self.exp_golomb()?;
                self.exp_golomb()?;
                let n_frames = self.exp_golomb()?;
                if n_frames > 255 {
                    return None;
                }
                for _ in 0..n_frames {
                    self.exp_golomb()?;
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Pixels that are cut off in width and height.
    fn cropping(&mut self, chroma: u32, fields: u32) -> Option<(u32, u32)> {
        if self.read(1)? == 0 {
            return Some((0, 0));
        }
        let (unit_x, unit_y) = match chroma {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let left = self.exp_golomb()?;
        let right = self.exp_golomb()?;
        let top = self.exp_golomb()?;
        let bottom = self.exp_golomb()?;
        let width = left.checked_add(right)?.checked_mul(unit_x)?;
        let height = top.checked_add(bottom)?.checked_mul(unit_y * fields)?;
        Some((width, height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameter sets that x264 wrote for these sizes.
    const SIZES: &[(&[u8], (u16, u16))] = &[
        (b"\x67\x42\xC0\x1E\xD9\x00\xA0\x2F\xF9\x70\x11\x00\x00\x03\x00\x01\x00\x00\x03\x00\x32\x0F\x16\x2E\x48", (640, 360)),
        (b"\x67\x64\x00\x28\xAC\xD9\x40\x78\x02\x27\xE5\xC0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xC8\x3C\x60\xC6\x58", (1920, 1080)),
        (b"\x67\x4D\x40\x1E\xEC\xA0\x6C\x1E\xF3\x78\x08\x80\x00\x00\x03\x00\x80\x00\x00\x19\x07\x8B\x16\xCB", (854, 480)),
        // 4:4:4, where the cropping counts single pixels.
        (b"\x67\xF4\x00\x0D\x91\x9B\x28\x2A\x33\xC7\xC5\xE0\x22\x00\x00\x03\x00\x02\x00\x00\x03\x00\x64\x1E\x28\x53\x2C", (322, 182)),
        // Interlaced.
        (b"\x67\x64\x00\x1E\xAC\xD9\x40\xB4\x24\xD8\x08\x80\x00\x00\x03\x00\x80\x00\x00\x19\x0F\x8A\x14\xCB", (720, 576)),
    ];

    #[test]
    fn sizes_that_x264_wrote_are_read() {
        for (sps, size) in SIZES {
            assert_eq!(picture_size(sps), Some(*size));
        }
    }

    #[test]
    fn truncated_and_foreign_bytes_have_no_size() {
        for (sps, _) in SIZES {
            for len in 0..8 {
                assert_eq!(picture_size(&sps[..len]), None);
            }
        }
        assert_eq!(picture_size(&[0x68, 1, 2, 3]), None);
        assert_eq!(picture_size(&[0x67; 2000]), None);
    }
}
