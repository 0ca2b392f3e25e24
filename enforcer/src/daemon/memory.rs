//! What a policy or a burst of workloads took is given back to the system: the allocator alone would keep it.

/// Returns free memory to the system. It takes a millisecond or so: not for a packet's or a request's way.
pub fn give_back() {
    // Other allocators keep less.
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no preconditions; the C library locks its heaps itself.
    unsafe {
        libc::malloc_trim(0);
    }
}
