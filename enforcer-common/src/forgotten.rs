//! Memory that the verifier does not follow.

use bytemuck::{Pod, Zeroable};

/// A value that, where it lies in a map, the verifier knows nothing about once it is written: paths that
/// differ in it alone meet again, and a loop costs its length and not two to its power.
///
/// Volatile, because the compiler would keep it in a register, where the verifier follows it.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Forgotten<T>(T);

impl<T: Copy> Forgotten<T> {
    /// The value.
    #[inline(always)]
    pub fn get(&self) -> T {
        // SAFETY: a reference is valid and aligned.
        unsafe { core::ptr::read_volatile(&raw const self.0) }
    }

    /// Replaces it.
    #[inline(always)]
    pub fn set(&mut self, value: T) {
        // SAFETY: see `get`.
        unsafe { core::ptr::write_volatile(&raw mut self.0, value) }
    }
}
