//! The browser shell in a real browser.
//!
//! Run by `wasm-bindgen-test-runner`, which opens Chromium through `webdriver.json`; empty on other targets.
#![cfg(target_arch = "wasm32")]

mod connections;
mod double;
mod fixture;
mod media;
mod player;
mod support;
mod tracker;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);
