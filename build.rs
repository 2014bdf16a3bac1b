//! Compiles the few libtorch calls that tch lacks (src/nn/shim.cpp) and tells the linker where libtorch is.
//!
//! The rpath lets the program find libtorch where it was built against; the copy in a Python wheel keeps only its second part, torch beside
//! the wheel's own package (xtask/wheel/build.py). libtorch_cuda is loaded at run time
//! (nn::runtime), never linked: the small wheel set has it without the libraries it needs in turn.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=src/nn/shim.cpp");
    println!("cargo:rerun-if-changed=build.rs");
    let Some(lib) = libtorch_lib() else {
        println!("cargo:warning=libtorch was not found; use `cargo xtask build`, or set LIBTORCH");
        return;
    };
    let include = lib.parent().unwrap_or(Path::new("/")).join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("src/nn/shim.cpp")
        .compile("rvc_run_shim");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("windows") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}:$ORIGIN/../torch/lib", lib.display());
    }
    println!("cargo:rustc-env=RVC_RUN_LIBTORCH_LIB={}", lib.display());
}

/// libtorch's lib folder as torch-sys says (DEP_TCH_LIBTORCH_LIB); on Windows it does not say, so LIBTORCH is asked.
fn libtorch_lib() -> Option<PathBuf> {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let told = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from);
    told.or_else(|| std::env::var_os("LIBTORCH").map(|root| PathBuf::from(root).join("lib")))
}
