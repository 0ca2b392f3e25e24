//! What the kernel datapath and the daemon agree on: the layout of every map key and value, the
//! numbering of verdicts, and the pure decisions that kernel, daemon and offline tools share.
//!
//! Rules of this crate:
//! - `no_std`, and `repr(C)` on everything that lies in a map;
//! - no implicit padding: `bytemuck::Pod` refuses it, reserved bytes are named and zero;
//! - addresses and ports are in **network byte order** as they lie in the packet, everything else in
//!   the host's;
//! - a changed layout changes [`ABI_VERSION`].
#![cfg_attr(not(test), no_std)]
#![allow(clippy::inline_always, reason = "in the datapath a call costs more than what these functions do")]

pub mod address;
pub mod control;
pub mod counter;
pub mod endpoint;
pub mod event;
pub mod flow;
pub mod flow_table;
pub mod forgotten;
pub mod fragment;
pub mod host;
pub mod limits;
pub mod mode;
pub mod policy;
pub mod prefix_trie;
pub mod shortcut;
pub mod since;
pub mod state;
pub mod verdict;

/// Version of all map layouts in this crate. Pinned maps of another version are not reused.
pub const ABI_VERSION: u32 = 4;

/// Declares a type as a map key or value: `aya::Pod` for userspace, and its size for ever.
macro_rules! map_layout {
    ($type:ty, $size:literal) => {
        const _: () = assert!(size_of::<$type>() == $size);
        // SAFETY: `bytemuck::Pod` is derived beside it: no padding, any bit pattern is valid.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
    };
}
pub(crate) use map_layout;
