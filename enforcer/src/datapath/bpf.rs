//! The few `bpf(2)` operations that aya 0.14 has no interface for: batches, single raw updates, what a
//! link is attached to, and a mapped array. Layouts are the kernel's own (`linux/bpf.h`), as generated
//! in aya-obj.

use std::{
    ffi::CString,
    io,
    marker::PhantomData,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr::NonNull,
};

use aya::Pod;
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_map_type, bpf_prog_type};

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: `attr` is a whole, initialised `bpf_attr`; every pointer in it was set by a caller below
    // from a slice or value that outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_int, std::ptr::from_mut(attr), size_of::<bpf_attr>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn zeroed() -> bpf_attr {
    // SAFETY: the kernel's attribute union is plain data for which zero means "not given".
    unsafe { std::mem::zeroed() }
}

/// By reference: an owned descriptor must stay open over the call that follows.
fn fd(object: &impl AsFd) -> u32 {
    object.as_fd().as_raw_fd() as u32
}

/// Writes one entry (`BPF_MAP_UPDATE_ELEM`, `BPF_ANY`).
///
/// For an outer map of maps the value is the inner map's descriptor; the kernel then waits until no
/// running program can see the map that was there before.
pub fn update<K: Pod, V: Pod>(map: impl AsFd, key: &K, value: &V) -> io::Result<()> {
    let mut attr = zeroed();
    attr.__bindgen_anon_2.map_fd = fd(&map);
    attr.__bindgen_anon_2.key = std::ptr::from_ref(key) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = std::ptr::from_ref(value) as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Removes one entry (`BPF_MAP_DELETE_ELEM`).
pub fn delete<K: Pod>(map: impl AsFd, key: &K) -> io::Result<()> {
    let mut attr = zeroed();
    attr.__bindgen_anon_2.map_fd = fd(&map);
    attr.__bindgen_anon_2.key = std::ptr::from_ref(key) as u64;
    bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr).map(drop)
}

/// Reads the value of an array's entry (`BPF_MAP_LOOKUP_ELEM`); of a map of maps the id of the inner map.
/// `value` is as long as the map's values are.
pub fn read_entry(array: impl AsFd, index: u32, value: &mut [u8]) -> io::Result<()> {
    let mut attr = zeroed();
    attr.__bindgen_anon_2.map_fd = fd(&array);
    attr.__bindgen_anon_2.key = std::ptr::from_ref(&index) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr).map(drop)
}

/// Writes the value of an array's entry, which is as long as the map's values are.
pub fn write_entry(array: impl AsFd, index: u32, value: &[u8]) -> io::Result<()> {
    let mut attr = zeroed();
    attr.__bindgen_anon_2.map_fd = fd(&array);
    attr.__bindgen_anon_2.key = std::ptr::from_ref(&index) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Opens a map by its id (`BPF_MAP_GET_FD_BY_ID`); needs `CAP_SYS_ADMIN`.
pub fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.__bindgen_anon_6.__bindgen_anon_1.map_id = id;
    let fd = bpf(bpf_cmd::BPF_MAP_GET_FD_BY_ID, &mut attr)?;
    // SAFETY: the kernel made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// What a map is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapShape {
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Entries.
    pub entries: u32,
    /// Flags.
    pub flags: u32,
}

impl MapShape {
    /// As an object describes it.
    pub fn of(map: &aya_obj::Map) -> Self {
        Self {
            kind: map.map_type(),
            key: map.key_size(),
            value: map.value_size(),
            entries: map.max_entries(),
            flags: map.map_flags(),
        }
    }
}

/// Makes a map (`BPF_MAP_CREATE`); one of maps for maps like `inner`.
pub fn create_map(name: &str, shape: MapShape, inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the variant of this command; the union was zeroed.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    (create.map_type, create.key_size, create.value_size) = (shape.kind, shape.key, shape.value);
    (create.max_entries, create.map_flags) = (shape.entries, shape.flags);
    create.inner_map_fd = inner.map_or(0, |inner| inner.as_raw_fd() as u32);
    // The last byte stays NUL.
    for (to, from) in create.map_name[..15].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let fd = bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr).or_else(|error| {
        if error.raw_os_error() != Some(libc::EPERM) {
            return Err(error);
        }
        lift_memory_limit();
        bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr)
    })?;
    // SAFETY: the kernel made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Kernels before 5.11 count tables as locked memory, and refuse beyond what few kilobytes a process may lock. aya
/// does the same for the tables that it makes.
fn lift_memory_limit() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit is a live, initialized value. When it stays, the second try says so.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

/// Waits until all programs that run now have ended, but those that may sleep: the kernel does so for whoever exchanges
/// a map in a map of maps (`maybe_wait_bpf_programs`), here one that nobody knows.
pub fn wait_for_programs() -> io::Result<()> {
    let shape = |kind: bpf_map_type| MapShape { kind: kind as u32, key: 4, value: 4, entries: 1, flags: 0 };
    let inner = create_map("enforcer_grace", shape(bpf_map_type::BPF_MAP_TYPE_ARRAY), None)?;
    let outer = shape(bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS);
    let outer = create_map("enforcer_grace", outer, Some(inner.as_fd()))?;
    update(outer, &0_u32, &inner.as_raw_fd())
}

/// How many ticks the kernel's timer has counted (`jiffies_64`), and `CLOCK_MONOTONIC` in nanoseconds right after: a
/// program asks for both at once.
pub fn ticks_and_time() -> io::Result<[u64; 2]> {
    const JIFFIES64: u64 = 118;
    const KTIME_GET_NS: u64 = 5;
    let shape =
        MapShape { kind: bpf_map_type::BPF_MAP_TYPE_ARRAY as u32, key: 4, value: 16, entries: 1, flags: 0 };
    let told = create_map("enforcer_clock", shape, None)?;
    let call = |helper: u64| 0x85 | helper << 32;
    let program = [
        // r6 = the value of the map
        0x2618 | u64::from(fd(&told)) << 32,
        0,
        call(JIFFIES64),
        // *(u64 *)r6 = r0
        0x067b,
        call(KTIME_GET_NS),
        // *(u64 *)(r6 + 8) = r0
        0x067b | 8 << 16,
        // r0 = 0; exit
        0x00b7,
        0x0095,
    ];
    run_once(&load_classifier(&program)?)?;
    let mut value = [0; 16];
    read_entry(told, 0, &mut value)?;
    let (ticks, now) = value.split_at(8);
    Ok([ticks, now].map(|word| u64::from_ne_bytes(word.try_into().expect("half of sixteen bytes"))))
}

/// Loads a program for a tc hook (`BPF_PROG_LOAD`), instruction by instruction as a little-endian kernel reads them.
fn load_classifier(instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the variant of this command; the union was zeroed.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    (load.insns, load.insn_cnt) = (instructions.as_ptr() as u64, instructions.len() as u32);
    load.license = c"GPL".as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)?;
    // SAFETY: the kernel made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Runs a tc program over an empty frame (`BPF_PROG_TEST_RUN`).
fn run_once(program: &OwnedFd) -> io::Result<()> {
    const FRAME: [u8; 14] = [0; 14];
    let mut attr = zeroed();
    // SAFETY: the variant of this command; the union was zeroed.
    let test = unsafe { &mut attr.test };
    test.prog_fd = fd(program);
    (test.data_in, test.data_size_in, test.repeat) = (FRAME.as_ptr() as u64, FRAME.len() as u32, 1);
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr).map(drop)
}

/// Pins an object (`BPF_OBJ_PIN`).
pub fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = fd(&object);
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Reads one entry (`BPF_MAP_LOOKUP_ELEM`); of an outer map of maps the id of the inner map.
pub fn lookup<K: Pod, V: Pod + Default>(map: impl AsFd, key: &K) -> io::Result<Option<V>> {
    let mut value = V::default();
    let mut attr = zeroed();
    attr.__bindgen_anon_2.map_fd = fd(&map);
    attr.__bindgen_anon_2.key = std::ptr::from_ref(key) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = &raw mut value as u64;
    match bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Closes a map to every later write from user space, for good (`BPF_MAP_FREEZE`).
pub fn freeze(map: impl AsFd) -> io::Result<()> {
    let mut attr = zeroed();
    attr.__bindgen_anon_2.map_fd = fd(&map);
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// Writes many entries with one call (`BPF_MAP_UPDATE_BATCH`), or one by one where the kernel has no
/// batches for this type of map; stops at the first failure.
pub fn update_batch<K: Pod, V: Pod>(map: impl AsFd, keys: &[K], values: &[V]) -> io::Result<()> {
    assert_eq!(keys.len(), values.len(), "a value for each key");
    if keys.is_empty() {
        return Ok(());
    }
    let mut attr = zeroed();
    attr.batch.keys = keys.as_ptr() as u64;
    attr.batch.values = values.as_ptr() as u64;
    attr.batch.count = keys.len() as u32;
    attr.batch.map_fd = fd(&map);
    match bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attr) {
        Err(error) if matches!(error.raw_os_error(), Some(ENOTSUPP | libc::EINVAL)) => {
            keys.iter().zip(values).try_for_each(|(key, value)| update(map.as_fd(), key, value))
        }
        outcome => outcome.map(drop),
    }
}

/// A batch without entries; what fails where the kernel has no batches for this type of map.
pub fn update_nothing(map: impl AsFd) -> io::Result<()> {
    let mut attr = zeroed();
    attr.batch.map_fd = fd(&map);
    bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attr).map(drop)
}

/// The kernel's own "not supported", which libc does not name.
const ENOTSUPP: i32 = 524;

/// Every entry of a hash map (`BPF_MAP_LOOKUP_BATCH`), as one pass over its buckets saw it.
pub fn entries<K: Pod + Default, V: Pod + Default>(map: impl AsFd) -> io::Result<Vec<(K, V)>> {
    let mut all = Vec::new();
    let mut chunk = 4096;
    let mut cursor: Option<u32> = None;
    loop {
        let mut keys = vec![K::default(); chunk];
        let mut values = vec![V::default(); chunk];
        let (count, next) = match lookup_batch(map.as_fd(), cursor, &mut keys, &mut values) {
            // A bucket holds more entries than the buffers do: same place, larger buffers.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                chunk *= 2;
                continue;
            }
            outcome => outcome?,
        };
        all.extend(keys.into_iter().zip(values).take(count));
        match next {
            Some(_) => cursor = next,
            None => return Ok(all),
        }
    }
}

/// How many entries were read, and where to go on; `None` at the end of the map.
fn lookup_batch<K, V>(
    map: impl AsFd,
    cursor: Option<u32>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, Option<u32>)> {
    let mut next = 0_u32;
    let mut attr = zeroed();
    attr.batch.in_batch = cursor.as_ref().map_or(0, |cursor| std::ptr::from_ref(cursor) as u64);
    attr.batch.out_batch = &raw mut next as u64;
    attr.batch.keys = keys.as_mut_ptr() as u64;
    attr.batch.values = values.as_mut_ptr() as u64;
    attr.batch.count = keys.len() as u32;
    attr.batch.map_fd = fd(&map);
    let outcome = bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr);
    // SAFETY: the kernel writes the count back in every outcome that is used below.
    let count = unsafe { attr.batch.count } as usize;
    match outcome {
        Ok(_) => Ok((count, Some(next))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((count, None)),
        Err(error) => Err(error),
    }
}

/// What a tcx or XDP link is attached to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkTarget {
    /// Interface; 0 when it is gone.
    pub ifindex: u32,
    /// The program behind the link.
    pub program_id: u32,
}

/// Asks a tcx or XDP link what it is attached to (`BPF_OBJ_GET_INFO_BY_FD`).
pub fn link_target(link: impl AsFd) -> io::Result<LinkTarget> {
    // SAFETY: plain data for the kernel to fill.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    let mut attr = zeroed();
    attr.info.bpf_fd = fd(&link);
    attr.info.info_len = size_of::<bpf_link_info>() as u32;
    attr.info.info = &raw mut info as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    // SAFETY: all variants of the union are plain data, and only tcx and XDP links are asked, whose variants
    // both begin with the index.
    let ifindex = unsafe { info.__bindgen_anon_1.tcx.ifindex };
    Ok(LinkTarget { ifindex, program_id: info.prog_id })
}

/// Detaches a link at once (`BPF_LINK_DETACH`); by its last reference it would go some time later.
pub fn detach_link(link: impl AsFd) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_detach.link_fd = fd(&link);
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// Opens a pinned object (`BPF_OBJ_GET`).
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the kernel made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Which end of an interface's tc hooks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcxHook {
    /// tc ingress.
    Ingress,
    /// tc egress.
    Egress,
}

/// Ids of the programs on a tcx hook, in the order they run (`BPF_PROG_QUERY`).
pub fn tcx_programs(ifindex: u32, hook: TcxHook) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; 64];
    let mut attr = zeroed();
    attr.query.__bindgen_anon_1.target_ifindex = ifindex;
    attr.query.attach_type = match hook {
        TcxHook::Ingress => bpf_attach_type::BPF_TCX_INGRESS,
        TcxHook::Egress => bpf_attach_type::BPF_TCX_EGRESS,
    } as u32;
    attr.query.prog_ids = ids.as_mut_ptr() as u64;
    attr.query.__bindgen_anon_2.count = ids.len() as u32;
    bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr)?;
    // SAFETY: the kernel wrote the count.
    let count = unsafe { attr.query.__bindgen_anon_2.count } as usize;
    Ok(ids[..count].to_vec())
}

/// The first entries of a `BPF_F_MMAPABLE` array, shared with the kernel.
#[derive(Debug)]
pub struct Mapped<T> {
    first: NonNull<T>,
    entries: usize,
    shared: PhantomData<T>,
}

// SAFETY: the mapping belongs to no thread; who writes through `as_ptr` uses atomics.
unsafe impl<T> Send for Mapped<T> {}
// SAFETY: see above.
unsafe impl<T> Sync for Mapped<T> {}

impl<T: Copy> Mapped<T> {
    /// Maps so many `entries` of `map`, read-only or writable. An entry is as long as the map's values are, a multiple
    /// of 8 bytes.
    pub fn new(map: impl AsFd, entries: usize, writable: bool) -> io::Result<Self> {
        let bytes = Self::bytes(entries);
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping of pages that the kernel keeps for the map's entries.
        let page = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, map.as_fd().as_raw_fd(), 0)
        };
        match NonNull::new(page) {
            Some(page) if page.as_ptr() != libc::MAP_FAILED => {
                Ok(Self { first: page.cast(), entries, shared: PhantomData })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The first entry. Others read it concurrently: write whole words atomically.
    pub const fn as_ptr(&self) -> *mut T {
        self.first.as_ptr()
    }

    /// All of them.
    pub fn entries(&self) -> impl Iterator<Item = *mut T> {
        // SAFETY: every one lies in the mapping.
        (0..self.entries).map(|at| unsafe { self.first.as_ptr().add(at) })
    }
}

impl<T> Mapped<T> {
    const fn bytes(entries: usize) -> usize {
        (size_of::<T>() * entries).next_multiple_of(4096)
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, which nothing else unmaps.
        unsafe { libc::munmap(self.first.as_ptr().cast(), Self::bytes(self.entries)) };
    }
}
