//! What a policy or a burst of workloads took is given back to the system: the allocator alone would keep it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

/// After a burst the tasks that talk with the kernel still hold what they have read.
const LULL: Duration = Duration::from_secs(1);

/// Gives memory back some time after each time it is calm.
pub async fn give_back_when(calm: Arc<Notify>) {
    loop {
        calm.notified().await;
        tokio::time::sleep(LULL).await;
        give_back();
    }
}

/// Returns free memory to the system. It takes a millisecond or so: not for a packet's or a request's way.
pub fn give_back() {
    // Other allocators keep less.
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no preconditions; the C library locks its heaps itself.
    unsafe {
        libc::malloc_trim(0);
    }
}
