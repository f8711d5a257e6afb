//! Prints the digest of the run, for `cargo xtask test` to compare with WebAssembly's.

fn main() {
    println!("{}", cardume_wasm_tests::digest());
}
