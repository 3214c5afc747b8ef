//! Finding the one disk that is meant.

use prejoin_wire::disk::{Code, Device, Finding, Severity};
use prejoin_wire::selector::DiskSelector;

/// What came of looking for a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The only disk that fits: its index.
    pub chosen: Option<usize>,
    /// For every disk, what about it does not fit; nothing if it does.
    pub reasons: Vec<Vec<String>>,
    /// Why none was chosen.
    pub finding: Option<Finding>,
}

/// Looks for the disk that a selector means among all disks of a machine. Exactly one must fit: nothing is guessed.
pub fn select(disks: &[Device], selector: &DiskSelector) -> Choice {
    let reasons: Vec<Vec<String>> = disks
        .iter()
        .map(|disk| {
            let running = disk.boot_medium.iter();
            let running = running.map(|why| format!("the running system came from it: {why}"));
            mismatches(disk, selector)
                .into_iter()
                .chain(running)
                .collect()
        })
        .collect();
    let fitting: Vec<usize> = (0..disks.len())
        .filter(|&index| reasons[index].is_empty())
        .collect();
    let finding = |code, evidence: String, advice: &str| Finding {
        code,
        severity: Severity::Refuse,
        subject: "the disks of this machine".into(),
        evidence,
        advice: Some(advice.into()),
    };
    let finding = match fitting[..] {
        [_] => None,
        [] => {
            let why = |(disk, reasons): (&Device, &Vec<String>)| {
                format!("{}: {}", disk.path, reasons.join(", "))
            };
            let list: Vec<String> = disks.iter().zip(&reasons).map(why).collect();
            let evidence = if list.is_empty() {
                "there is no disk".into()
            } else {
                list.join("; ")
            };
            Some(finding(
                Code::IdNoMatch,
                evidence,
                "is it connected? correct the node's `disk` in the cluster file",
            ))
        }
        _ => {
            let list: Vec<String> = fitting.iter().map(|&index| disks[index].title()).collect();
            Some(finding(
                Code::IdAmbiguous,
                list.join("; "),
                "name the disk by its serial number or wwid",
            ))
        }
    };
    Choice {
        chosen: if finding.is_none() {
            fitting.first().copied()
        } else {
            None
        },
        reasons,
        finding,
    }
}

/// What about a disk does not fit a selector.
pub fn mismatches(disk: &Device, selector: &DiskSelector) -> Vec<String> {
    let mut reasons = Vec::new();
    let text = |found: &Option<String>| found.clone().unwrap_or_else(|| "unknown".into());
    if let Some(serial) = &selector.serial
        && disk.serial.as_deref() != Some(serial.as_str())
    {
        reasons.push(format!("serial {}, not {}", text(&disk.serial), serial));
    }
    if let Some(wwid) = &selector.wwid
        && disk.wwid.as_deref() != Some(wwid.as_str())
    {
        reasons.push(format!("wwid {}, not {}", text(&disk.wwid), wwid));
    }
    if let Some(model) = &selector.model
        && !disk
            .model
            .as_deref()
            .is_some_and(|found| covers(model, found))
    {
        reasons.push(format!("model {}, not {}", text(&disk.model), model));
    }
    if let Some(transport) = selector.transport
        && disk.transport != Some(transport)
    {
        let found = disk.transport.map_or("unknown", |found| found.name());
        reasons.push(format!("attached by {found}, not {}", transport.name()));
    }
    if let Some(least) = &selector.min_size
        && disk.size < least.bytes()
    {
        reasons.push(format!("{} bytes, less than {}", disk.size, least));
    }
    if let Some(most) = &selector.max_size
        && disk.size > most.bytes()
    {
        reasons.push(format!("{} bytes, more than {}", disk.size, most));
    }
    if let Some(rotational) = selector.rotational
        && disk.rotational != Some(rotational)
    {
        reasons.push(
            if rotational {
                "not spinning"
            } else {
                "spinning"
            }
            .to_owned(),
        );
    }
    reasons
}

/// Whether `pattern`, in which `*` stands for any text, covers all of `text`.
fn covers(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use prejoin_wire::selector::Transport;

    use super::*;

    fn disk(serial: &str, size: u64) -> Device {
        Device {
            path: format!("/dev/{serial}"),
            serial: Some(serial.into()),
            size,
            model: Some("Samsung SSD 990 PRO 2TB".into()),
            transport: Some(Transport::Nvme),
            ..Device::default()
        }
    }

    #[test]
    fn exactly_one_must_fit() {
        let disks = [disk("a", 100), disk("b", 200)];
        let any = DiskSelector {
            transport: Some(Transport::Nvme),
            ..DiskSelector::default()
        };
        let both = select(&disks, &any);
        assert_eq!(
            (both.chosen, both.finding.map(|finding| finding.code)),
            (None, Some(Code::IdAmbiguous))
        );
        assert_eq!(select(&disks[..1], &any).chosen, Some(0));
        let none = select(
            &disks,
            &DiskSelector {
                transport: Some(Transport::Usb),
                ..DiskSelector::default()
            },
        );
        assert_eq!(
            none.reasons,
            [["attached by nvme, not usb"], ["attached by nvme, not usb"]]
        );
        assert_eq!(
            none.finding.unwrap().evidence,
            "/dev/a: attached by nvme, not usb; /dev/b: attached by nvme, not usb"
        );
        assert_eq!(
            select(&[], &any).finding.unwrap().evidence,
            "there is no disk"
        );
    }

    #[test]
    fn the_disk_of_the_running_system_does_not_fit() {
        let running = Device {
            boot_medium: Some("/ is mounted from it".into()),
            ..disk("a", 100)
        };
        let any = DiskSelector::default();
        let alone = select(std::slice::from_ref(&running), &any);
        assert_eq!(alone.chosen, None);
        assert_eq!(
            alone.reasons,
            [["the running system came from it: / is mounted from it"]]
        );
        // The other one is meant, then.
        assert_eq!(select(&[running, disk("b", 100)], &any).chosen, Some(1));
    }

    #[test]
    fn models_have_patterns() {
        for (pattern, fits) in [
            ("Samsung SSD 990 PRO 2TB", true),
            ("Samsung*", true),
            ("*990*2TB", true),
            ("*", true),
            ("*990", false),
            ("SSD*", false),
            ("Samsung*990*990*", false),
        ] {
            assert_eq!(
                covers(pattern, "Samsung SSD 990 PRO 2TB"),
                fits,
                "{pattern}"
            );
        }
        assert!(!covers("ab*ba", "aba"));
    }
}
