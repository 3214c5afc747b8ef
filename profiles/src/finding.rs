//! What is wrong with a cluster file, and how it is shown.

use std::fmt;

use crate::yaml::{self, Position, shorten};
use prejoin_wire::printable::printable;

/// One thing that is wrong, or looks wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule found it.
    pub code: Code,
    /// Whether it stops a build.
    pub severity: Severity,
    /// Where.
    pub position: Position,
    /// The offending text; never a secret.
    pub text: String,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// What the user can do.
    pub hint: Option<String>,
}

/// Whether a finding stops a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should look.
    Warning,
}

/// Defines the codes with their names, so that none is forgotten in [`Code::ALL`].
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal,)*) => {
        /// Which rule found something. The names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $code,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Code] = &[$(Code::$code,)*];

            /// Its stable name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Code::$code => $name,)*
                }
            }
        }
    };
}

codes! {
    /// Not YAML, an unknown key, a value of the wrong kind.
    Document = "document",
    /// Not a DNS label, or reserved.
    Name = "name",
    /// The cluster has no id, or a malformed one.
    Id = "id",
    /// Not an address.
    Address = "address",
    /// Not a network, or one with bits beyond its prefix.
    Subnet = "subnet",
    /// Not a range of addresses.
    Range = "range",
    /// Malformed, zero or group hardware address.
    Mac = "mac",
    /// Not an exact version, too old, or not in the form the distribution uses.
    Version = "version",
    /// Not a size, or a contradiction of sizes.
    Size = "size",
    /// Malformed serial number or disk identifier.
    Serial = "serial",
    /// Malformed public key, or the examples'.
    Key = "key",
    /// A private key in the cluster file.
    PrivateKey = "private-key",
    /// Malformed password hash.
    Password = "password",
    /// A user who cannot log in, or nobody who can become root.
    Login = "login",
    /// A file on a path that is not writable, not clean, or the system's.
    FilePath = "file-path",
    /// A file that not everybody may read, in an image that holds it as it is.
    FilePrivate = "file-private",
    /// A file without content, with two, or with a malformed mode or owner.
    FileContent = "file-content",
    /// Malformed Debian package name.
    Package = "package",
    /// Malformed mirror or artifact address.
    Url = "url",
    /// Malformed `package/script@digest`.
    Script = "script",
    /// Malformed label or taint.
    Label = "label",
    /// cloud-init that is not a mapping, sets what prejoin sets, or does nothing.
    CloudInit = "cloud-init",
    /// Malformed time zone, name server or time server.
    Host = "host",
    /// Something a node needs is neither given nor a default.
    Missing = "missing",
    /// Two nodes, users or files with one name.
    DuplicateName = "duplicate-name",
    /// Two nodes with one hardware address.
    DuplicateMac = "duplicate-mac",
    /// Two nodes with one serial number.
    DuplicateSerial = "duplicate-serial",
    /// Two nodes with one address.
    DuplicateAddress = "duplicate-address",
    /// Two nodes that want the same disk.
    DuplicateDisk = "duplicate-disk",
    /// An address outside of the nodes' network, or its first or last.
    OutsideSubnet = "outside-subnet",
    /// A node's address is also the gateway's, the endpoint's or a server's.
    AddressTaken = "address-taken",
    /// An address that the cluster's load balancer hands out.
    InLoadBalancer = "in-load-balancer",
    /// Networks of nodes, pods, services that share addresses.
    NetworkOverlap = "network-overlap",
    /// Networks too small for what lives in them.
    NetworkSize = "network-size",
    /// IPv4 and IPv6 where one family is needed.
    AddressFamily = "address-family",
    /// No control plane, or an even number.
    Quorum = "quorum",
    /// An endpoint is missing or does not fit.
    Endpoint = "endpoint",
    /// An operating system, board, layout or package set nobody knows.
    Unknown = "unknown",
    /// A board that the operating system has no kernel for.
    BoardOs = "board-os",
    /// Versions of nodes that do not go together.
    Skew = "skew",
    /// An option that the distribution does not have.
    Option = "option",
    /// containerd that does not go with the Kubernetes version.
    Containerd = "containerd",
    /// A kernel argument that is malformed, the image's own, or too much.
    KernelArgument = "kernel-argument",
    /// A disk selector that any disk fits.
    DiskAny = "disk-any",
    /// A layout that does not fit the smallest allowed disk.
    LayoutSize = "layout-size",
    /// A layout with a file system that the operating system cannot make.
    Filesystem = "filesystem",
    /// A layout that needs a second disk the node has not got, or the other way round.
    DataDisk = "data-disk",
    /// A node that cannot be told apart on the wire.
    Anonymous = "anonymous",
    /// A disk that the board has no place for.
    BoardDisk = "board-disk",
    /// Hardware that is known to be too weak for its role.
    Weak = "weak",
}

impl Finding {
    /// An error.
    pub fn error(
        code: Code,
        position: Position,
        text: &dyn fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        let text = shorten(&text.to_string());
        Finding {
            code,
            severity: Severity::Error,
            position,
            text,
            message: message.into(),
            hint: None,
        }
    }

    /// A warning.
    pub fn warning(
        code: Code,
        position: Position,
        text: &dyn fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Finding {
            severity: Severity::Warning,
            ..Finding::error(code, position, text, message)
        }
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Plain text of some lines for people, with the offending line of `document` underlined.
    pub fn render(&self, file: &str, document: &str) -> String {
        let Position { line, column, .. } = self.position;
        let message = printable(&self.message);
        let mut out = format!(
            "{}[{}]: {message}\n",
            self.severity.name(),
            self.code.name()
        );
        let shown = document
            .lines()
            .nth(line.wrapping_sub(1) as usize)
            .filter(|line| {
                !secret(line) && !matches!(self.code, Code::Password | Code::PrivateKey)
            });
        let margin = " ".repeat(line.to_string().len());
        if line == 0 {
            out.push_str(&format!("{margin}--> {file}\n"));
        } else {
            out.push_str(&format!("{margin}--> {file}:{line}:{column}\n"));
        }
        if let Some(shown) = shown {
            let (shown, indent, carets) = self.window(shown);
            out.push_str(&format!(
                "{margin} |\n{line} | {shown}\n{margin} | {}{}\n",
                " ".repeat(indent),
                "^".repeat(carets)
            ));
        }
        if let Some(hint) = &self.hint {
            let hint = printable(hint);
            out.push_str(&format!("{margin} = hint: {hint}\n"));
        }
        out
    }

    /// The part of a line that is shown (long lines are cut), the caret's indentation and length.
    fn window(&self, line: &str) -> (String, usize, usize) {
        const WIDTH: usize = 100;
        let clean: Vec<char> = printable(line).chars().collect();
        let start = (self.position.column.max(1) - 1) as usize;
        let cut = if start > WIDTH / 2 && clean.len() > WIDTH {
            start - WIDTH / 2
        } else {
            0
        };
        let mut shown: String = clean.iter().skip(cut).take(WIDTH).collect();
        if cut > 0 {
            shown = format!("…{}", shown.chars().skip(1).collect::<String>());
        }
        if clean.len() > cut + WIDTH {
            shown.push('…');
        }
        let shown = shown.trim_end().to_owned();
        let indent = (start - cut).min(shown.chars().count());
        let room = shown.chars().count().saturating_sub(indent).max(1);
        (
            shown,
            indent,
            (self.position.length.max(1) as usize).min(room),
        )
    }
}

/// Whether a line of a cluster file may hold something that must not get into a terminal's or a CI job's log.
fn secret(line: &str) -> bool {
    let address = line.split("://").skip(1).any(|rest| {
        rest.split('/')
            .next()
            .is_some_and(|host| host.contains('@'))
    });
    address
        || private_key(line).is_some()
        || ["password", "passwd:", "passphrase"]
            .iter()
            .any(|word| line.contains(word))
}

/// Where a private key begins in a text, as a byte offset.
pub(crate) fn private_key(text: &str) -> Option<usize> {
    ["PRIVATE KEY", "AGE-SECRET-KEY-"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min()
}

/// In document order, without repetitions: one default is wrong once, however many nodes have it.
pub(crate) fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings
        .sort_by(|a, b| (a.position, a.code, &a.message).cmp(&(b.position, b.code, &b.message)));
    findings.dedup();
    findings
}

impl Severity {
    /// `error` or `warning`.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

impl From<yaml::Error> for Finding {
    fn from(error: yaml::Error) -> Self {
        let yaml::Error {
            position,
            text,
            message,
            hint,
        } = error;
        Finding {
            code: Code::Document,
            severity: Severity::Error,
            position,
            text,
            message,
            hint,
        }
    }
}
