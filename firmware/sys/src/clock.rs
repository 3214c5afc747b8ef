//! The clocks.

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, Timespec};

/// Time since 1970; zero if the clock stands before that.
pub fn now() -> Duration {
    duration(rustix::time::clock_gettime(ClockId::Realtime))
}

/// Time since the machine started, sleep included.
pub fn uptime() -> Duration {
    duration(rustix::time::clock_gettime(ClockId::Boottime))
}

/// Sets the system clock to `seconds` after 1970.
pub fn set(seconds: u64) -> io::Result<()> {
    let tv_sec =
        i64::try_from(seconds).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(rustix::time::clock_settime(
        ClockId::Realtime,
        Timespec { tv_sec, tv_nsec: 0 },
    )?)
}

fn duration(time: Timespec) -> Duration {
    Duration::try_from(time).unwrap_or_default()
}
