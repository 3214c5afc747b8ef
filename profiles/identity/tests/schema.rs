//! cloud-init itself, the version that nodes run, judges every seed.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests write files and run tools"
)]

mod support;

use std::fs;
use std::path::Path;

use prejoin_identity::{INTERFACE, Seed};
use prejoin_profiles::check::cloud_init::{BASE_KEYS, MODULES};
use prejoin_profiles::cluster::{Cluster, Node};
use prejoin_profiles::os::Os;
use support::{CloudInit, clusters, traps};

fn write(cluster: &Cluster, node: &Node, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (name, text) in Seed::of(cluster, node).unwrap().files() {
        fs::write(folder.join(name), text).unwrap();
    }
}

/// What `cloud-init schema` says to the seeds in folders below `folder`; empty if nothing. Deprecations count.
fn complaints(cloud_init: &CloudInit, folder: &Path) -> String {
    // The command itself, many times in one process: starting it takes a second.
    let script = "
import contextlib, io, os, sys
from cloudinit.cmd.main import main
for seed in sorted(os.listdir()):
    for name, kind in ('user-data', 'cloud-config'), ('network-config', 'network-config'):
        file, said = os.path.join(seed, name), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = main(['cloud-init', 'schema', '--config-file', file, '--schema-type', kind])
            except SystemExit as exit:
                code = exit.code
        if code or said.getvalue().strip() != 'Valid schema ' + file:
            print(said.getvalue(), 'exit code', code)
print('done')
";
    let output = cloud_init
        .python(folder)
        .args(["-c", script])
        .output()
        .unwrap();
    let said = String::from_utf8([output.stderr, output.stdout].concat()).unwrap();
    said.strip_suffix("done\n").expect(&said).to_owned()
}

#[test]
fn every_seed_is_valid() {
    let Some(cloud_init) = CloudInit::find() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, cluster) in clusters() {
        for node in &cluster.nodes {
            write(
                &cluster,
                node,
                &folder.path().join(format!("{name}@{}", node.name.value)),
            );
        }
    }
    assert_eq!(complaints(&cloud_init, folder.path()), "");
}

#[test]
fn the_judge_is_awake() {
    let Some(cloud_init) = CloudInit::find() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let cluster = traps(|text| text.replace("bootcmd: [echo cluster]", "bootcmd: [12]"));
    write(&cluster, &cluster.nodes[0], &folder.path().join("wrong"));
    assert!(complaints(&cloud_init, folder.path()).contains("bootcmd"));
    let folder = tempfile::tempdir().unwrap();
    let cluster = traps(|text| text.replace("bootcmd: [echo cluster]", "chpasswd: { list: [] }"));
    write(
        &cluster,
        &cluster.nodes[0],
        &folder.path().join("deprecated"),
    );
    assert!(complaints(&cloud_init, folder.path()).contains("eprecated"));
}

#[test]
fn names_that_look_like_something_else_arrive() {
    let Some(cloud_init) = CloudInit::find() else {
        return;
    };
    let cluster = traps(|text| text);
    let folder = tempfile::tempdir().unwrap();
    write(&cluster, cluster.node("012").unwrap(), folder.path());
    let script = "
from cloudinit import util
user, meta = (util.load_yaml(open(name).read()) for name in ('user-data', 'meta-data'))
print(repr(user['hostname']), [u['name'] for u in user['users']], repr(meta['local-hostname']), user['bootcmd'])
print(repr(user['users'][1]['ssh_authorized_keys'][0][-14:]), user['ssh_pwauth'], user['ssh'], repr(user['final_message']))
";
    let output = cloud_init
        .python(folder.path())
        .args(["-c", script])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "'012' ['no', 'y'] '012' ['echo cluster', 'echo node']\n\
         'not: a comment' True {'emit_keys_to_console': True} 'on: 012 {{ version }}'\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn networkd_gets_a_file_that_matches_the_interface() {
    let Some(cloud_init) = CloudInit::find() else {
        return;
    };
    let cluster = traps(|text| text);
    let rendered = |node: &str, name: &str| {
        let folder = tempfile::tempdir().unwrap();
        write(&cluster, cluster.node(node).unwrap(), folder.path());
        let arguments = "devel net-convert -p network-config -k yaml -O networkd -D debian -d out";
        let output = cloud_init.run(&arguments.split(' ').collect::<Vec<_>>(), folder.path());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let path = format!("out/etc/systemd/network/10-cloud-init-{name}.network");
        fs::read_to_string(folder.path().join(path)).unwrap()
    };
    insta::assert_snapshot!(rendered("012", INTERFACE), @r"
    [Address]
    Address=fd00:10::b/64

    [Link]
    MTUBytes=9000

    [Match]
    MACAddress=52:54:00:12:34:56
    Name=lan0

    [Network]
    DHCP=no
    DNS=fd00:10::1

    [Route]
    Destination=::/0
    Gateway=fd00:10::1
    ");
    insta::assert_snapshot!(rendered("null", "e*"), @r"
    [Address]
    Address=fd00:10::a/64

    [Link]
    MTUBytes=9000

    [Match]
    Name=e*

    [Network]
    DHCP=no
    DNS=fd00:10::1

    [Route]
    Destination=::/0
    Gateway=fd00:10::1
    ");
}

/// What `prejoin check` takes for the keys of a module is what cloud-init's own schema says, and the modules that the
/// image runs are modules of cloud-init.
#[test]
fn the_check_knows_the_keys_of_every_module() {
    let Some(cloud_init) = CloudInit::find() else {
        return;
    };
    let script = r"
import json, os, cloudinit.config.schema as schema
found = json.load(open(os.path.join(os.path.dirname(schema.__file__), 'schemas', 'schema-cloud-config-v1.json')))
modules = {}
for part in found['allOf']:
    name = part['$ref'].rsplit('/', 1)[1]
    if name.startswith('cc_'):
        modules[name[3:]] = sorted(found['$defs'][name]['properties'])
keys = {key for module in modules.values() for key in module}
print(json.dumps({'modules': modules, 'base': sorted(set(found['properties']) - keys)}))
folder = os.path.dirname(os.path.realpath(schema.__file__))
print(json.dumps(sorted(name[3:-3] for name in os.listdir(folder) if name.startswith('cc_'))))
";
    let folder = tempfile::tempdir().unwrap();
    let output = cloud_init
        .python(folder.path())
        .args(["-c", script])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let mut lines = said
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let table: std::collections::BTreeMap<_, _> = MODULES.iter().copied().collect();
    assert_eq!(
        lines.next().unwrap(),
        serde_json::json!({ "modules": table, "base": BASE_KEYS }),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let known = lines.next().unwrap();
    let known: Vec<&str> = known
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let os = Os::built_in("debian-13").unwrap();
    for module in os.cloud_init.values().flatten() {
        let name = module.replace('-', "_");
        assert!(known.contains(&name.as_str()), "{module}");
    }
}
