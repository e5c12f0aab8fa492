//! Preloaded into crun where root may not raise limits: `setrlimit(RLIMIT_MEMLOCK)` succeeds, whether it did or not.
//!
//! crun raises that limit before it loads its device filter, and gives up if it cannot. Since Linux 5.11 the limit has
//! nothing to do with BPF (its memory is charged to the cgroup), so the filter is loaded all the same, and is a real one.

use std::ffi::{c_int, c_void};

const RLIMIT_MEMLOCK: c_int = 8;

unsafe extern "C" {
    fn prlimit(pid: c_int, resource: c_int, new: *const c_void, old: *mut c_void) -> c_int;
}

/// # Safety
///
/// As setrlimit(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setrlimit(resource: c_int, limit: *const c_void) -> c_int {
    // SAFETY: the caller's promise is ours.
    let result = unsafe { prlimit(0, resource, limit, std::ptr::null_mut()) };
    if resource == RLIMIT_MEMLOCK { 0 } else { result }
}

/// # Safety
///
/// As setrlimit(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setrlimit64(resource: c_int, limit: *const c_void) -> c_int {
    // SAFETY: the same function; an rlim_t has 64 bits.
    unsafe { setrlimit(resource, limit) }
}
