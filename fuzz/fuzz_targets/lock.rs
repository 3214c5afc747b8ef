//! The lock file, and its way back to text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prejoin_profiles::lock::Lock;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(lock) = Lock::parse(text) {
        let again = Lock::parse(&lock.to_yaml()).expect("what was written is read");
        assert_eq!(again, lock);
        assert_eq!(again.digest(), lock.digest());
        assert!(lock.sets.values().flat_map(|set| &set.packages).all(|id| lock.packages.contains_key(id)));
    }
});
