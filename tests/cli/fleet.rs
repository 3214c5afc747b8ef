//! Many nodes of one kind.

use std::fmt::Write as _;
use std::fs;

use crate::session::Session;
use crate::tiny::{self, files};

/// Bytes that a further node may add to an output folder.
const NODE: u64 = 10_000;

fn with_nodes(session: &Session, count: usize) {
    let text = session.read("cluster.yaml");
    let (head, rest) = text.split_once("nodes:\n").unwrap();
    let (_, tail) = rest.split_once("id: ").unwrap();
    let mut nodes = String::new();
    for number in 0..count {
        writeln!(
            nodes,
            "  - {{ name: n{number}, board: tiny-amd64, address: 10.0.{}.{}, disk: {{ serial: S{number} }} }}",
            1 + number / 200,
            number % 200 + 1
        )
        .unwrap();
    }
    let head = head.replace("10.0.0.0/24", "10.0.0.0/16");
    session.write("cluster.yaml", format!("{head}nodes:\n{nodes}id: {tail}"));
}

fn size(session: &Session) -> u64 {
    let out = session.path("out");
    let sizes = files(&out)
        .into_iter()
        .map(|path| fs::metadata(out.join(path)).unwrap().len());
    sizes.sum()
}

#[test]
fn a_further_node_costs_kilobytes() {
    let Some(session) = tiny::session() else {
        return;
    };
    with_nodes(&session, 1);
    session.quietly("lock");
    session.quietly("build");
    let one = size(&session);
    let more = 100;
    with_nodes(&session, 1 + more as usize);
    session.quietly("build");
    let each = (size(&session) - one) / more;
    assert!(each < NODE, "{each} bytes");
    assert_eq!(files(&session.path("out/systems")).len(), 1);
    session.quietly("verify n0 n57");
}
