//! What is written below a mount point lies where the documents say, and kernel arguments of the cluster file arrive.

use crate::cluster::lab;
use crate::qemu::{self, Machine};
use crate::ssh::Login;
use crate::tools::{absent, checked, folder, say, tool};

/// Nodes with a layout of their own: name, address, and where their data is mounted.
const NODES: [(&str, &str, &str); 3] = [
    ("at-srv", "10.0.2.20", "/srv"),
    ("at-opt", "10.0.2.21", "/opt"),
    ("in-srv", "10.0.2.22", "/srv/some-data"),
];
/// All other trees that can be written, and where each is on the state partition.
const TREES: [(&str, &str); 6] = [
    ("/var", ""),
    ("/etc", "/lib/overlay/etc.upper"),
    ("/home", "/lib/overlay/home"),
    ("/root", "/lib/overlay/root"),
    ("/srv", "/lib/overlay/srv"),
    ("/opt", "/lib/overlay/opt"),
];
/// What `kernel_args` of the first node ask of modules that the initramfs loads.
const PARAMETERS: &str = "cat /sys/module/loop/parameters/max_loop; \
    cat /sys/module/nvme_core/parameters/default_ps_max_latency_us; \
    cat /sys/module/usb_storage/parameters/quirks; grep -c ^e1000e /proc/modules";

#[test]
fn data_lies_where_the_documents_say() {
    if qemu::absent() || absent(&["debugfs"]) {
        return;
    }
    let Some(lab) = lab() else { return };
    for (number, (node, address, mount)) in NODES.into_iter().enumerate() {
        checked(&mut lab.prejoin(&format!("export {node} --format raw")));
        qemu::fresh(node);
        let disk = lab.disk(node, node, 24 << 30);
        let mac = format!("52:54:00:12:34:{}", 20 + number);
        let mut machine = Machine::pc(&disk, address, &mac, &[]);
        let login = Login::new(lab, &machine);
        say(&format!("{node}: writing through every mount point"));
        assert_eq!(login.wait(&mut machine), "running");
        if number == 0 {
            assert_eq!(login.run(PARAMETERS), "9\n0\n152d:0578:u\n0\n");
        }
        for at in TREES.map(|(at, _)| at).into_iter().chain([mount]) {
            assert_eq!(login.run(&format!("sudo touch {at}/probe")), "", "{at}");
        }
        let starts = login.run("cat /sys/class/block/vda[78]/start");
        login.power_off();
        machine.wait_off();
        let starts: Vec<u64> = starts.lines().map(|line| line.parse().unwrap()).collect();
        let [state, data] = starts[..] else {
            panic!("{node}: {starts:?}")
        };
        assert!(has(node, data, ""), "{node}: {mount} is the data");
        for (at, folder) in TREES.into_iter().filter(|(at, _)| *at != mount) {
            assert!(has(node, state, folder), "{node}: {at} is the state");
        }
        // Data at `/srv` does not shadow anything that was written to the state.
        let shadowed = TREES.into_iter().find(|(at, _)| *at == mount);
        if let Some((at, folder)) = shadowed {
            assert!(!has(node, state, folder), "{node}: {at} is not the state");
        }
    }
}

/// Whether debugfs finds the probe in a folder of the file system that begins at a sector of a node's disk.
fn has(node: &str, sector: u64, below: &str) -> bool {
    let disk = folder("disks").join(format!("{node}.raw"));
    let mut debugfs = tool("debugfs");
    debugfs.args(["-R", &format!("stat {below}/probe")]);
    debugfs.arg(format!("{}?offset={}", disk.display(), sector * 512));
    checked(&mut debugfs).contains("Type: regular")
}
