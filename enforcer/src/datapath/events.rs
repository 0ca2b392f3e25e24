//! Reads drop events from the ring, as the typed records the datapath wrote.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use enforcer_common::event::DropEvent;
use tokio::io::{Interest, unix::AsyncFd};

/// The ring, waited for by tokio.
pub struct Events {
    ring: AsyncFd<Ring>,
}

struct Ring(RingBuf<MapData>);

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Events {
    /// Starts waiting for the ring; needs a tokio runtime.
    pub fn new(ring: RingBuf<MapData>) -> std::io::Result<Self> {
        // SAFETY: the ring owns its descriptor and lives as long as the registration.
        let ring = unsafe { AsyncFd::register_with_interest(Ring(ring), Interest::READABLE)? };
        Ok(Self { ring })
    }

    /// Waits until there is something, and takes all of it.
    pub async fn next_batch(&mut self) -> std::io::Result<Vec<DropEvent>> {
        let mut guard = self.ring.readable_mut().await?;
        let mut events = Vec::new();
        let ring = &mut guard.get_inner_mut().0;
        while let Some(record) = ring.next() {
            events.extend(decode(&Bytes::copy_from_slice(&record)));
        }
        guard.clear_ready();
        Ok(events)
    }
}

/// One record; a record of another size is from another version and says nothing.
fn decode(record: &Bytes) -> Option<DropEvent> {
    bytemuck::try_pod_read_unaligned(record).ok()
}
