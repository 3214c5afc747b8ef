//! Rules for single values.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::Findings;
use crate::cluster::cloud_config::Tree;
use crate::cluster::raw::Text;
use crate::cluster::{CloudConfig, Effect, Taint};
use crate::finding::{Code, Finding, private_key};
use crate::timezones;
use crate::units::{Mac, Version};
use crate::yaml::Located;
use prejoin_wire::digest::Digest;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// Reads a value of a type that says itself what is wrong with a text.
pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(
    text: Text,
    code: Code,
    f: &mut Findings,
) -> Option<Located<T>> {
    match text.parse::<T>() {
        Ok(value) => Some(Located::at(value, text.position)),
        Err(error) => {
            let (message, hint) = match code {
                Code::Address => (
                    "not an IP address".to_owned(),
                    Some("write it as `192.168.10.11`"),
                ),
                Code::Id => (format!("`{}` is not a UUID", *text), hint(code, &text)),
                _ => (error.to_string(), hint(code, &text)),
            };
            let finding = Finding::error(code, text.position, &text, message);
            f.push(Finding {
                hint: hint.map(str::to_owned),
                ..finding
            });
            None
        }
    }
}

fn hint(code: Code, text: &str) -> Option<&'static str> {
    match code {
        Code::Version if format!("v{text}").parse::<Version>().is_ok() => {
            Some("put a `v` in front")
        }
        Code::Version => Some("name one exact release, so that a build next year is the same"),
        Code::Mac => Some("copy it from the label, or from `ip link`"),
        Code::Subnet => Some("the prefix length of a usual home network is 24"),
        Code::Range => Some("write `192.168.10.150-192.168.10.160`"),
        Code::Size => Some("write `240 GB` or `16 GiB`"),
        Code::Id => Some(
            "restore it from version control or `prejoin.lock`; for a new cluster remove the line, and `prejoin lock` \
             writes a random one",
        ),
        _ => None,
    }
}

/// The cluster's id; nil is what programs write where they have none.
pub(super) fn cluster_id(text: Text, f: &mut Findings) -> Option<Located<Uuid>> {
    // With hyphens: the form that everything else prints it in, and that is searched for.
    let id = parsed::<Hyphenated>(text, Code::Id, f)?;
    let id = Located::at(id.value.into_uuid(), id.position);
    if id.value != Uuid::nil() {
        return Some(id);
    }
    let message = "all zeroes tell no cluster from another";
    let hint = "remove the line, and `prejoin lock` writes a random one";
    f.push(Finding::error(Code::Id, id.position, &id, message).hint(hint));
    None
}

/// A DNS label of RFC 1123: what Kubernetes takes for a node's name and Linux for a host's.
pub(super) fn label(text: Text, what: &str, f: &mut Findings) -> Text {
    let message = if text.is_empty() {
        Some("is empty")
    } else if text.len() > 63 {
        Some("is longer than 63 characters")
    } else if !text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        Some("may hold lower-case letters, digits and hyphens only (RFC 1123)")
    } else if text.starts_with('-') || text.ends_with('-') {
        Some("may not begin or end with a hyphen (RFC 1123)")
    } else if text.value == "localhost" {
        Some("is reserved")
    } else {
        None
    };
    if let Some(message) = message {
        let suggestion: String = text
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(63)
            .collect::<String>()
            .trim_matches('-')
            .to_owned();
        let finding = Finding::error(
            Code::Name,
            text.position,
            &text,
            format!("the {what} {message}"),
        );
        let hint = match suggestion.as_str() {
            "" | "localhost" => "choose another name, such as `node1`".to_owned(),
            suggestion => format!("try `{suggestion}`"),
        };
        f.push(finding.hint(hint));
    }
    text
}

/// A DNS name or an IP address.
pub(super) fn host_name(text: Text, f: &mut Findings) -> Text {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.len() <= 253 && text.split('.').all(label);
    if !name && text.parse::<IpAddr>().is_err() {
        let message = "neither a DNS name nor an address";
        f.push(
            Finding::error(Code::Host, text.position, &text, message)
                .hint("write it as `k8s.lab.internal`"),
        );
    }
    text
}

pub(super) fn mac(text: Text, f: &mut Findings) -> Option<Located<Mac>> {
    let mac = parsed::<Mac>(text.clone(), Code::Mac, f)?;
    let message = if mac.is_zero() {
        "the hardware address is all zero"
    } else if mac.is_group() {
        "a group (multicast or broadcast) address cannot be a machine's own"
    } else {
        return Some(mac);
    };
    f.push(
        Finding::error(Code::Mac, text.position, &text, message)
            .hint("copy it from the label, or from `ip link`"),
    );
    None
}

/// Serial numbers, models and identifiers: printable, and not one of the fillers of careless vendors.
pub(super) fn serial(text: Text, f: &mut Findings) -> Text {
    const FILLERS: [&str; 8] = [
        "to be filled by o.e.m.",
        "default string",
        "system serial number",
        "not specified",
        "none",
        "0123456789",
        "123456789",
        "n/a",
    ];
    let value = text.value.trim();
    let finding = |message: &str| Finding::error(Code::Serial, text.position, &text, message);
    if value.is_empty()
        || value.len() > 128
        || !value.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
    {
        f.push(
            finding("empty, too long or not printable")
                .hint("copy it as the machine or drive reports it"),
        );
    } else if FILLERS.contains(&value.to_lowercase().as_str()) || value.bytes().all(|b| b == b'0') {
        f.push(
            finding("a filler that many machines share, not a serial number")
                .hint("use `mac`, or another key"),
        );
    }
    let trimmed = value.to_owned();
    text.map(|_| trimmed)
}

/// Debian package names (Debian policy 5.6.7).
pub(super) fn packages(list: Vec<Text>, f: &mut Findings) -> Vec<Text> {
    for text in &list {
        let clean = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
        let good = text.len() >= 2
            && text.bytes().all(clean)
            && text.as_bytes()[0].is_ascii_alphanumeric();
        if !good {
            let message = "not the name of a Debian package";
            let hint =
                "lower-case letters, digits and `+-.`; versions are chosen by `prejoin lock`";
            f.push(Finding::error(Code::Package, text.position, text, message).hint(hint));
        }
    }
    list
}

pub(super) fn urls(list: Vec<Text>, f: &mut Findings) -> Vec<Text> {
    for text in &list {
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let good = rest.is_some_and(|rest| {
            !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(|b| b.is_ascii_graphic())
        });
        if !good {
            let message = "not an address of a mirror";
            f.push(
                Finding::error(Code::Url, text.position, text, message)
                    .hint("it begins with `https://` or `http://`"),
            );
        } else if rest
            .and_then(|rest| rest.split('/').next())
            .is_some_and(|host| host.contains('@'))
        {
            let message = "a mirror's address holds a user name or password";
            let finding = Finding::error(Code::Url, text.position, &"", message);
            f.push(finding.hint("cluster files are shared: use a mirror that needs no password"));
        }
    }
    list
}

pub(super) fn folder_or_url(text: Text, f: &mut Findings) -> Text {
    if text.contains("://") {
        return urls(vec![text], f).remove(0);
    }
    if text.is_empty() || text.contains('\0') {
        f.push(
            Finding::error(
                Code::Url,
                text.position,
                &text,
                "neither a folder nor an address",
            )
            .hint("write `./artifacts`"),
        );
    }
    text
}

/// `package/script@sha256:digest`.
pub(super) fn accepted_script(text: Text, f: &mut Findings) -> Text {
    const SCRIPTS: [&str; 6] = [
        "config", "preinst", "postinst", "prerm", "postrm", "triggers",
    ];
    let good = text.split_once('@').is_some_and(|(path, digest)| {
        let script = path
            .split_once('/')
            .is_some_and(|(package, script)| !package.is_empty() && SCRIPTS.contains(&script));
        script
            && digest
                .strip_prefix("sha256:")
                .is_some_and(|digest| digest.parse::<Digest>().is_ok())
    });
    if !good {
        let message = "not of the form `package/script@sha256:digest`";
        f.push(
            Finding::error(Code::Script, text.position, &text, message)
                .hint("copy the line that `prejoin lock` prints"),
        );
    }
    text
}

/// A name of the tz database, as the image has it.
pub(super) fn timezone(text: Text, f: &mut Findings) -> Text {
    if !timezones::is_known(&text) {
        let message = "not a time zone";
        let finding = Finding::error(Code::Host, text.position, &text, message);
        f.push(finding.hint(timezones::advice(&text)));
    }
    text
}

/// The user's cloud-config: a mapping without secrets. What it says is `check`'s business.
pub(super) fn mapping(document: Located<Tree>, f: &mut Findings) -> Option<CloudConfig> {
    let document = CloudConfig::from(document);
    let at = document.position;
    if !document.value.is_object() {
        let finding = Finding::error(
            Code::CloudInit,
            at,
            &"",
            "cloud-config is a mapping of keys",
        );
        f.push(finding.hint("indent the keys below `cloud_init:`, without `#cloud-config`"));
        return None;
    }
    if private_key(&document.value.to_string()).is_some() {
        // cloud-init keeps its input readable in /var/lib/cloud and on the identity partition.
        let message = "a private key stands in the cloud-config";
        let finding = Finding::error(Code::PrivateKey, at, &"", message);
        f.push(
            finding.hint("keep it in a file of its own and name that as `source` under `files:`"),
        );
    }
    Some(document)
}

/// `key=value:Effect` or `key:Effect`.
pub(super) fn taint(text: Text, f: &mut Findings) -> Option<Located<Taint>> {
    let parsed = text.rsplit_once(':').and_then(|(rest, effect)| {
        let effect = match effect {
            "NoSchedule" => Effect::NoSchedule,
            "PreferNoSchedule" => Effect::PreferNoSchedule,
            "NoExecute" => Effect::NoExecute,
            _ => return None,
        };
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        let good = label_key(key) && label_value(value);
        good.then(|| Taint {
            key: key.to_owned(),
            value: value.to_owned(),
            effect,
        })
    });
    if parsed.is_none() {
        let hint = "write `key=value:NoSchedule`, `:PreferNoSchedule` or `:NoExecute`";
        f.push(Finding::error(Code::Label, text.position, &text, "not a taint").hint(hint));
    }
    parsed.map(|taint| Located::at(taint, text.position))
}

/// Whether a node may carry the label; a kubelet may not give itself most of `kubernetes.io`
/// (NodeRestriction admission plugin).
pub(super) fn node_label(key: &str, value: &Text, f: &mut Findings) -> bool {
    let finding = |message: String| Finding::error(Code::Label, value.position, value, message);
    if !label_key(key) || !label_value(value) {
        let hint = "letters, digits and `-_.`, at most 63 characters; the key may have a DNS name and `/` in front";
        f.push(finding(format!("`{key}: {}` is not a label", value.value)).hint(hint));
        return false;
    }
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    let within = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
    let allowed = within("kubelet.kubernetes.io")
        || within("node.kubernetes.io")
        || prefix == "topology.kubernetes.io";
    if (within("kubernetes.io") || within("k8s.io")) && !allowed {
        let message = format!("a node may not give itself the label `{key}` (NodeRestriction)");
        f.push(finding(message).hint("use `node.kubernetes.io/…` or a domain of your own"));
        return false;
    }
    true
}

fn label_key(key: &str) -> bool {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let dns = |prefix: &str| {
        prefix.len() <= 253
            && prefix.split('.').all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    };
    prefix.is_none_or(dns) && !name.is_empty() && label_value(name)
}

fn label_value(value: &str) -> bool {
    let end = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    value.len() <= 63
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && end(value.as_bytes().first())
        && end(value.as_bytes().last())
}
