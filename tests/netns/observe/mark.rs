//! Which frame of the play a frame is, written into its payload so that every checksum stays right.

/// What described packets carry where nothing else is said.
pub const FILLER: [u8; 8] = [0x5a; 8];

/// The sum that checksums are made of, of the two words that a mark replaces.
const SUM: u32 = 2 * 0x5a5a;

/// A frame of the play.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mark {
    /// The scene's index.
    pub scene: usize,
    /// How often the scene was played before.
    pub number: u8,
}

/// Marks a frame; one without a payload stays as it is.
pub fn put(mark: Mark, frame: &mut [u8]) {
    let Some(end) = frame.last_chunk_mut::<8>().filter(|end| **end == FILLER) else { return };
    let word = (u16::try_from(mark.scene).expect("scenes are few") + 1) << 8 | u16::from(mark.number);
    // Sums of checksums are those of ones' complement (RFC 1071).
    let rest = ((SUM + 0xffff - u32::from(word)) % 0xffff) as u16;
    end[4..6].copy_from_slice(&word.to_be_bytes());
    end[6..].copy_from_slice(&rest.to_be_bytes());
}

/// The mark in a frame or payload, if it has one.
pub fn of(frame: &[u8]) -> Option<Mark> {
    let end = frame.last_chunk::<8>()?.strip_prefix(&FILLER[..4])?;
    let [scene, number, ..] = *end else { return None };
    let sum: u32 = end.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let is_mark = sum % 0xffff == SUM % 0xffff && *end != FILLER[..4];
    is_mark.then_some(Mark { scene: usize::from(scene).checked_sub(1)?, number })
}
