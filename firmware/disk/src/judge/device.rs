//! What the device and its users say.

use prejoin_wire::disk::{Code, Device, Health, Severity, Signature, Unreadable, Usage};
use prejoin_wire::selector::Transport;

use super::{Case, and_more};
use crate::select;

impl Case<'_> {
    pub(super) fn device(&mut self) {
        let device = self.facts.device.clone();
        let disk = device.title();
        let add = |case: &mut Self, code, severity, evidence: String, advice: &str| {
            case.add(code, severity, &disk, evidence, advice);
        };
        use Severity::{Confirm, Refuse};
        if !device.twins.is_empty() {
            let evidence = format!("{} says that it is the same disk", device.twins.join(", "));
            add(
                self,
                Code::IdNotUnique,
                Refuse,
                evidence,
                "unplug one of them",
            );
        }
        let mismatches = select::mismatches(&device, &self.intent.selector);
        if !mismatches.is_empty() {
            // Behind a USB bridge a disk shows the bridge's name and number; a file has none.
            let severity = if device.file || device.transport == Some(Transport::Usb) {
                Confirm
            } else {
                Refuse
            };
            let evidence = format!(
                "the node's `disk` asks for another one: {}",
                mismatches.join(", ")
            );
            add(
                self,
                Code::IdMismatch,
                severity,
                evidence,
                "is it the right disk? if so, correct the cluster file",
            );
        }
        if self.intent.by_kernel_name && !device.file {
            let evidence = format!("{} may be another disk after the next start", device.path);
            add(
                self,
                Code::IdNameOnly,
                Confirm,
                evidence,
                "use a name below /dev/disk/by-id",
            );
        }
        if device.read_only {
            add(
                self,
                Code::DvReadOnly,
                Refuse,
                "it is read-only".into(),
                "is there a write-protect switch?",
            );
        }
        if device.zoned {
            add(
                self,
                Code::DvZoned,
                Refuse,
                "it is zoned, and cannot be written in any order".into(),
                "",
            );
        }
        if let Some(why) = &device.boot_medium {
            add(
                self,
                Code::DvBootMedium,
                Refuse,
                format!("the running system came from it: {why}"),
                "",
            );
        }
        if device.transport == Some(Transport::Usb) {
            add(
                self,
                Code::DvUsb,
                Confirm,
                "it is attached by USB".into(),
                "",
            );
        } else if device.removable {
            add(
                self,
                Code::DvRemovable,
                Confirm,
                "it can be taken out".into(),
                "",
            );
        }
        if device.is_virtual && !device.file {
            add(
                self,
                Code::DvVirtual,
                Confirm,
                "it is not a real disk".into(),
                "",
            );
        }
        self.sectors(&device, &disk);
        if let Some(health) = &device.health {
            self.health(health, &disk);
        }
        let locks = self.locks(&device);
        for evidence in &locks {
            let advice = "unlock it first: with its password as the machine starts, with sedutil-cli or cryptsetup";
            add(self, Code::DvLocked, Refuse, evidence.clone(), advice);
        }
        let unreadable = &self.facts.content.unreadable;
        if let Some(first) = unreadable.first() {
            let (state, advice) = match locks.is_empty() {
                true => ("", "what cannot be read may be data: replace the disk"),
                false => ("; the drive is locked", "unlock the drive first"),
            };
            add(
                self,
                Code::DvIoError,
                Refuse,
                format!(
                    "{}{}{state}",
                    missing(first),
                    and_more(unreadable.len() - 1)
                ),
                advice,
            );
        }
    }

    /// Why the drive's own encryption is believed to stand before what is on it.
    fn locks(&self, device: &Device) -> Vec<String> {
        let content = &self.facts.content;
        let mut locks = Vec::new();
        let opal = device.opal.unwrap_or_default();
        if opal.locked {
            let missing = content
                .unreadable
                .first()
                .map(|one| format!(", and cannot be read: {}", missing(one)));
            locks.push(format!(
                "the drive is locked by its own encryption (OPAL){}",
                missing.unwrap_or_default()
            ));
        }
        if opal.shadowed {
            locks.push(
                "it shows the shadow that asks for its password instead of what is at its start"
                    .into(),
            );
        }
        // Where the drive could not be asked, what is left in the open says it.
        let left = |signature: &&Signature| {
            signature
                .version
                .as_ref()
                .is_some_and(|version| version.contains("HW-OPAL"))
        };
        for signature in content
            .signatures
            .iter()
            .filter(left)
            .filter(|_| device.opal.is_none())
        {
            if let Some(one) = content
                .unreadable
                .iter()
                .find(|one| one.extent.meets(&signature.of))
            {
                let (kind, start) = (&signature.kind, signature.magic.start);
                locks.push(format!(
                    "{kind} at byte {start} leaves encryption to the drive, and {}",
                    missing(one)
                ));
            }
        }
        locks
    }

    fn sectors(&mut self, device: &Device, disk: &str) {
        let (image, found) = (self.image.manifest.sector_size, device.sector_size);
        let boots = &self.intent.sector_sizes;
        if found != 0 && found != image {
            let evidence = format!("its sectors have {found} bytes, the image is made for {image}");
            let advice = format!("build the image with --sector-size {found}");
            self.add(Code::DvSector, Severity::Refuse, disk, evidence, &advice);
        }
        if found != 0 && !boots.is_empty() && !boots.contains(&found) {
            let evidence =
                format!("the board's firmware does not start from sectors of {found} bytes");
            self.add(
                Code::DvFirmware4k,
                Severity::Refuse,
                disk,
                evidence,
                "use another disk",
            );
        }
    }

    fn health(&mut self, health: &Health, disk: &str) {
        const WARNINGS: [&str; 5] = [
            "its spare capacity is nearly used up",
            "it is too hot, or too cold",
            "it is no longer reliable",
            "it can only be read any more",
            "its memory backup failed",
        ];
        let said = |bit: &usize| health.critical_warning & (1 << bit) != 0;
        let warnings: Vec<&str> = (0..WARNINGS.len())
            .filter(said)
            .map(|bit| WARNINGS[bit])
            .collect();
        if health.critical_warning != 0 {
            let evidence = format!("the drive warns of itself: {}", warnings.join(", "));
            let code = if health.critical_warning & 8 != 0 {
                Code::DvReadOnly
            } else {
                Code::DvSmart
            };
            self.add(code, Severity::Refuse, disk, evidence, "replace the disk");
        }
        if health.used >= 100 || health.spare < health.spare_threshold {
            let evidence = format!(
                "{} % of its endurance is used, {} % of its spare capacity is left",
                health.used, health.spare
            );
            self.add(
                Code::DvWorn,
                Severity::Confirm,
                disk,
                evidence,
                "plan to replace it",
            );
        }
    }

    pub(super) fn usage(&mut self) {
        // Nobody takes the running system's disk from under it.
        let running = self.facts.device.boot_medium.is_some();
        let unless_running = |advice: String| if running { String::new() } else { advice };
        for usage in self.facts.usage.clone() {
            let refuse = Severity::Refuse;
            match usage {
                Usage::Mounted { device, at } => {
                    let advice = unless_running(format!("umount {at}"));
                    self.add(
                        Code::UsMounted,
                        refuse,
                        &device,
                        format!("mounted at {at}"),
                        &advice,
                    );
                }
                Usage::Swap { device } => {
                    let advice = unless_running(format!("swapoff {device}"));
                    self.add(Code::UsSwap, refuse, &device, "swap is on it", &advice);
                }
                Usage::Holder { device, by } => {
                    let advice = unless_running(format!("stop {by} first"));
                    self.add(
                        Code::UsHolder,
                        refuse,
                        &device,
                        format!("{by} is made of it"),
                        &advice,
                    );
                }
                Usage::Loop { device, by } => {
                    let advice = format!("losetup --detach {by}");
                    self.add(
                        Code::UsLoop,
                        refuse,
                        &device,
                        format!("{by} reads it"),
                        &advice,
                    );
                }
                Usage::Claimed { error } => {
                    let disk = self.facts.device.path.clone();
                    self.add(
                        Code::UsClaimed,
                        refuse,
                        &disk,
                        format!("somebody has it for themselves: {error}"),
                        "",
                    );
                }
                Usage::Open {
                    device,
                    process,
                    program,
                } => {
                    let evidence = format!("{program} (process {process}) has it open");
                    self.add(
                        Code::UsOpen,
                        Severity::Confirm,
                        &device,
                        evidence,
                        "end that program",
                    );
                }
            }
        }
    }
}

/// What cannot be read, and why.
fn missing(unreadable: &Unreadable) -> String {
    format!(
        "bytes {} to {}: {}",
        unreadable.extent.start,
        unreadable.extent.end(),
        unreadable.error
    )
}
