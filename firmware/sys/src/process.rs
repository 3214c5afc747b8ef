//! Programs run in another root, the hand-over to init, and the end of the machine.
#![expect(clippy::disallowed_methods, reason = "starts programs")]
#![expect(unsafe_code, reason = "changes the root between fork and exec")]

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{WaitOptions, chdir, chroot};
use rustix::system::RebootCommand;

/// Runs `program` (a path in `root`) with `root` as its root directory and `environment` as its whole environment;
/// waits for it and returns all it wrote.
pub fn run(
    root: &Path,
    program: &str,
    arguments: &[&OsStr],
    environment: &[(&str, &str)],
) -> io::Result<Output> {
    let root = CString::new(root.as_os_str().as_bytes())?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    let enter = move || {
        chroot(root.as_c_str())?;
        chdir(c"/")?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes two system calls on C strings that exist already; it
    // allocates nothing and takes no lock.
    unsafe { command.pre_exec(enter) }.output()
}

/// Moves the mount at `root` onto `/`, makes it the root directory and replaces this process by `program`, a path in
/// it, which sees itself called `name`. Returns only on failure.
pub fn switch_root(root: &Path, program: &str, name: &str) -> io::Error {
    let enter = || -> io::Result<()> {
        chdir(root)?;
        rustix::mount::mount_move(".", "/")?;
        chroot(".")?;
        chdir("/")?;
        Ok(())
    };
    match enter() {
        Err(error) => error,
        Ok(()) => Command::new(program).arg0(name).exec(),
    }
}

/// Writes all file systems to their devices.
pub fn sync() {
    rustix::fs::sync();
}

/// Restarts the machine at once; call [`sync`] before.
pub fn reboot() -> io::Error {
    match rustix::system::reboot(RebootCommand::Restart) {
        Ok(()) => io::Error::other("the machine goes on running"),
        Err(error) => error.into(),
    }
}

/// Switches the machine off at once; call [`sync`] before.
pub fn power_off() -> io::Error {
    match rustix::system::reboot(RebootCommand::PowerOff) {
        Ok(()) => io::Error::other("the machine goes on running"),
        Err(error) => error.into(),
    }
}

/// Collects children that have ended; process 1 inherits every orphan.
pub fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

/// The kernel's release, as `6.12.117+deb13-amd64`.
pub fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_in_another_root_with_its_own_environment() {
        let arguments = ["-c", "echo $NAME; cd /; ls / | head -n 1; exit 3"].map(OsStr::new);
        match run(Path::new("/"), "/bin/sh", &arguments, &[("NAME", "value")]) {
            Ok(output) => {
                assert_eq!(output.status.code(), Some(3));
                assert!(output.stdout.starts_with(b"value\n"));
            }
            // Not root: no chroot.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        assert!(run(Path::new("/"), "/no/such/program", &[], &[]).is_err());
    }
}
