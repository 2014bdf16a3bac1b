//! What the C library's allocator does with the large buffers of networks.
//!
//! glibc asks the kernel for every buffer over 32 MB and gives it back when it is freed, so that each of a network's steps pays for
//! clearing its pages anew: extraction of ten minutes spent 27 of 218 s in the kernel, 3 of 252 with [`keep`]. What is kept
//! becomes holes that the next batch, of other sizes, does not fit, so [`give_back`] is called between batches.
//!
//! On other C libraries both do nothing.

unsafe extern "C" {
    fn rvc_keep_memory();
    fn rvc_give_memory_back();
}

/// Freed memory stays with the process and is used again. For the whole process; call it before the first large buffer.
pub fn keep() {
    // SAFETY: sets parameters of the allocator; the shim passes constants that glibc documents.
    unsafe { rvc_keep_memory() }
}

/// Returns to the system what is free now.
pub fn give_back() {
    // SAFETY: trims the heap; glibc locks it.
    unsafe { rvc_give_memory_back() }
}
