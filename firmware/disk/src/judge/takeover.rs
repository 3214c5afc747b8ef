//! A disk that was made before the cluster had an id.

use prejoin_wire::disk::{Code, Content, Severity};

use super::{Case, content};
use crate::takeover::Takeover;

impl Case<'_> {
    /// Asked about once: another cluster may have had the same names. `found` is the disk under its old GUIDs.
    pub(super) fn takeover(&mut self, takeover: &Takeover, found: &Content) {
        let disk = self.facts.device.path.clone();
        let (cluster, node) = (&self.image.manifest.cluster, &self.own.node);
        let (over, beside) = takeover.sorted(found, &self.facts.content);
        let numbers: Vec<String> = over.iter().map(|p| p.number.to_string()).collect();
        if numbers.is_empty() {
            // The table in use has the new GUIDs already.
            return;
        }
        let evidence = format!(
            "it was made for node {node} before cluster {cluster} had an id: partitions {} are taken over, and get the \
             GUIDs that the node has now",
            numbers.join(", ")
        );
        // The question was answered before the run that has begun with it wrote its first table.
        let (severity, advice) = if takeover.is_begun {
            (Severity::Info, "")
        } else {
            let advice =
                "is it this cluster's? the disks of another one with the same names look the same";
            (Severity::Confirm, advice)
        };
        self.add(Code::LyTakeover, severity, &disk, evidence, advice);
        for partition in beside {
            let subject = content::title(found, partition);
            let evidence = format!(
                "it has a GUID that node {node} had before, and not its type, place and content: it is not taken over"
            );
            self.add(Code::LyTakeover, Severity::Info, &subject, evidence, "");
        }
    }
}
