//! Pages of counters: no page makes the reader panic, and labels are found where they stand.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_protocol::prometheus::samples;

fuzz_target!(|data: &[u8]| check(&String::from_utf8_lossy(data)));

fn check(page: &str) {
    for sample in samples(page) {
        assert!(!sample.name.is_empty());
        let _ = (sample.label("model"), sample.label(""));
    }
}
