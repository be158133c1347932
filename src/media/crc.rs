//! The checksum of sections in transport streams.

/// CRC of ISO/IEC 13818-1 annex A: over a whole section with it, it is zero.
#[must_use]
pub fn crc(bytes: &[u8]) -> u32 {
    let shifted = |crc: u32, _| if crc & 1 << 31 == 0 { crc << 1 } else { crc << 1 ^ 0x04C1_1DB7 };
    bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte) << 24, shifted))
}
