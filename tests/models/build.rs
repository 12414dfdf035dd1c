//! Says to the crate that it is on the checker's primitives.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(reset_gatekeeper_models)");
    println!("cargo::rustc-cfg=reset_gatekeeper_models");
}
