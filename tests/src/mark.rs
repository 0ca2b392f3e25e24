//! Which of many frames a frame is, written into its last bytes so that every checksum stays right.

/// What described packets carry where nothing else is said.
pub const FILLER: [u8; 8] = [0x5a; 8];

/// The sum that checksums are made of, of the two words that a mark replaces.
const SUM: u32 = 2 * 0x5a5a;

/// One of many frames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mark {
    /// Which; below 255.
    pub index: usize,
    /// How often it was sent before.
    pub number: u8,
}

/// Marks a frame: in its payload, or behind the end of a packet that has none.
pub fn put(mark: Mark, frame: &mut Vec<u8>) {
    if !frame.ends_with(&FILLER) {
        frame.extend(FILLER);
    }
    let index = u8::try_from(mark.index + 1).expect("so many frames are not told apart");
    let word = u16::from_be_bytes([index, mark.number]);
    // Sums of checksums are those of ones' complement (RFC 1071).
    let rest = ((SUM + 0xffff - u32::from(word)) % 0xffff) as u16;
    let at = frame.len() - 4;
    frame[at..].copy_from_slice(&[word.to_be_bytes(), rest.to_be_bytes()].concat());
}

/// The mark in a frame or payload, if it has one.
pub fn of(frame: &[u8]) -> Option<Mark> {
    let end = frame.last_chunk::<8>()?.strip_prefix(&FILLER[..4])?;
    let [index, number, ..] = *end else { return None };
    let sum: u32 = end.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let is_mark = sum % 0xffff == SUM % 0xffff && *end != FILLER[..4];
    is_mark.then_some(Mark { index: usize::from(index).checked_sub(1)?, number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{BLUE_A, BLUE_B, arp_request, from};

    #[test]
    fn a_mark_is_found_again_and_changes_no_checksum() {
        for packet in [from(BLUE_A.v4).to(BLUE_B.v4).udp(9), arp_request(BLUE_A.v4, BLUE_B.v4)] {
            let whole = packet.bytes();
            assert_eq!(of(&whole), None);
            for (index, number) in [(0, 0), (7, 255), (254, 3)] {
                let mut frame = whole.clone();
                put(Mark { index, number }, &mut frame);
                assert_eq!(of(&frame), Some(Mark { index, number }));
                let sum = |frame: &[u8]| {
                    frame.chunks(2).fold(0, |sum, word| {
                        sum + u32::from(word[0]) * 256 + u32::from(*word.get(1).unwrap_or(&0))
                    }) % 0xffff
                };
                assert_eq!(sum(&frame[..whole.len()]), sum(&whole));
            }
        }
    }
}
