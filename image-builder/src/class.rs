//! What kind of failure an error is, so that the command line can answer with an exit code.

/// Kind of failure, by who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What was asked for is wrong or cannot be had: a profile, a package name, a malformed file.
    Input,
    /// A server does not answer, or not with what was asked for; trying again later may help.
    Network,
    /// Something is not what its signature or digest says. Never tried again silently.
    Integrity,
    /// This machine: a full disk, missing permissions.
    Environment,
}
