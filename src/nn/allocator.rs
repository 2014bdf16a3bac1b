//! Settings of the C library's allocator for the large buffers of networks.
//!
//! glibc gets every buffer over 32 MB from the kernel and returns it when it is freed, so each step of a network pays for
//! clearing its pages again: extraction of ten minutes spent 27 of 218 s in the kernel, 3 of 252 with [`keep`]. Kept memory
//! becomes fragmented for the next batch with its other sizes, so [`give_back`] is called between batches.
//!
//! On other C libraries both do nothing.

unsafe extern "C" {
    fn rvc_keep_memory();
    fn rvc_give_memory_back();
}

/// Makes the process keep freed memory for reuse. Call it before the first large buffer.
pub fn keep() {
    // SAFETY: sets parameters of the allocator; the shim passes constants that glibc documents.
    unsafe { rvc_keep_memory() }
}

/// Returns free memory to the system.
pub fn give_back() {
    // SAFETY: trims the heap; glibc locks it.
    unsafe { rvc_give_memory_back() }
}
