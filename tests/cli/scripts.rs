//! Maintainer scripts that nobody has read yet.

use crate::tiny;

#[test]
fn an_unknown_script_is_shown_and_can_be_accepted() {
    let Some(mut session) = tiny::session() else {
        return;
    };
    session.write(
        "cluster.yaml",
        session.read("cluster.yaml") + "packages: [scripted]\n",
    );
    // Before anything is written, and not only when an image is built.
    let output = session.run("lock");
    assert_eq!(output.status.code(), Some(3));
    assert!(!session.path("prejoin.lock").exists());

    // The hint's own lines, pasted.
    let text = String::from_utf8(output.stderr).unwrap();
    let lines = &text[text.find("accept_scripts:").unwrap()..];
    session.write("cluster.yaml", session.read("cluster.yaml") + lines);
    session.quietly("lock");
    let output = session.run("build one");
    assert_eq!(output.status.code(), Some(0));
    session.golden("scripts");
}
