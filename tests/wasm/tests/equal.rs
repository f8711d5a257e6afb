//! In WebAssembly only; `cargo xtask test` names the digest of the same code's run on this machine at compile time.
#![cfg(target_arch = "wasm32")]

use wasm_bindgen_test::wasm_bindgen_test;

const NATIVE: Option<&str> = option_env!("CARDUME_NATIVE_DIGEST");

#[wasm_bindgen_test]
fn equal_seed_and_inputs_give_equal_outputs_in_webassembly() {
    assert_eq!(
        Some(cardume_wasm_tests::digest().as_str()),
        NATIVE,
        "CARDUME_NATIVE_DIGEST is what native-digest prints"
    );
}
