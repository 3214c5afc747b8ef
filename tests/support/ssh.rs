//! Logging in to a machine with the key that its image was given.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::cluster::Lab;
use crate::qemu::{Machine, PATIENCE, tail};
use crate::tools::{said, tool};

/// Exit code of ssh itself, as opposed to that of the remote command (ssh(1)).
const NO_CONNECTION: i32 = 255;

/// How to log in.
pub struct Login {
    key: PathBuf,
    port: u16,
}

impl Login {
    /// The login of the cluster's user on a machine.
    pub fn new(lab: &Lab, machine: &Machine) -> Self {
        Login {
            key: lab.key(),
            port: machine.port,
        }
    }

    /// Waits until systemd says that the system has started, and returns the state that it says.
    pub fn wait(&self, machine: &mut Machine) -> String {
        let started = Instant::now();
        loop {
            // Nobody may log in before systemd-user-sessions.service has started.
            if let Ok(state) = self.try_run("systemctl is-system-running --wait") {
                return state.trim().to_owned();
            }
            machine.alive();
            assert!(
                started.elapsed() < PATIENCE,
                "nobody can log in:\n{}",
                tail(&machine.seen())
            );
            std::thread::sleep(Duration::from_secs(2));
        }
    }

    /// What a script prints on both streams, in order; the login itself must work.
    pub fn run(&self, script: &str) -> String {
        self.try_run(script)
            .unwrap_or_else(|error| panic!("logging in: {error}"))
    }

    /// Switches the machine off, which may cut the connection before the answer.
    pub fn power_off(&self) {
        let _ = self.try_run("sudo systemctl poweroff");
    }

    fn try_run(&self, script: &str) -> Result<String, String> {
        let mut ssh = tool("ssh");
        ssh.args(["-F", "none", "-i"])
            .arg(&self.key)
            .args(["-p", &self.port.to_string()]);
        for option in [
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=30",
            "ServerAliveInterval=60",
            "ServerAliveCountMax=10",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.args([
            "tester@127.0.0.1",
            "exec bash -c \"$(cat)\" 2>&1 < /dev/null",
        ]);
        let mut child = ssh
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A script is small: it fits into the pipe. A broken pipe shows in the exit code.
        let _ = std::io::Write::write_all(&mut stdin, script.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            Some(NO_CONNECTION) | None => Err(said(&output)),
            Some(_) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        }
    }
}
