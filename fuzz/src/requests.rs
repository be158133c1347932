//! Requests as strangers send them: a path and header fields. Holds: whatever this server reads of them by itself gives
//! something, nothing or a problem and never a panic; and what has one spelling is read from no other.

/// Tries some bytes: a line with the path and its query, then lines with a field each.
pub fn run(data: &[u8]) {
    matinee::api::fuzz::request(data);
}
