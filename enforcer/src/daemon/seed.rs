//! Conversations that go on already, and should go on under a stricter mode.

use super::{core::Core, disk::Disk, kernel::Kernel};

impl<K: Kernel, D: Disk> Core<K, D> {
    /// Called before anything gets stricter: what is going on and may be opened by the policy is made known as
    /// opened, so that its answers pass. Nothing is known of what went on before yet, so nothing is done.
    pub fn seed_conversations(&mut self) {}
}
