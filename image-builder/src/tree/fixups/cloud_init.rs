//! F13: cloud-init's module lists. Of the stock list apt-configure fails without lsb_release, and the rest (growpart,
//! mounts, grub-dpkg, snap, puppet …) has nothing to work on. Everything else of cloud-init's configuration is data.

use super::{Cause, Context, Root};

const CONFIGURATION: &str = "etc/cloud/cloud.cfg";

pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    if !context.has("cloud-init") || context.os.cloud_init.is_empty() {
        return Ok(());
    }
    let mut text = root.input("cloud-init", CONFIGURATION)?;
    for (stage, modules) in &context.os.cloud_init {
        text = replace(&text, stage, modules).ok_or_else(|| Cause::Content {
            path: CONFIGURATION.into(),
            line: None,
            problem: format!("has no list `{stage}`"),
        })?;
    }
    root.write(CONFIGURATION, text)
}

/// The text with the items of the list `key` replaced; none when there is no such list at the top level.
fn replace(text: &str, key: &str, items: &[String]) -> Option<String> {
    let mut out = String::new();
    let mut found = false;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        if line.trim_end().strip_suffix(':') == Some(key) {
            found = true;
            for item in items {
                out.push_str(&format!(" - {item}\n"));
            }
            while lines
                .next_if(|line| line.trim_start().starts_with("- "))
                .is_some()
            {}
        }
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn lists_are_replaced_and_the_rest_stays() {
        let bench =
            Bench::new("cloud_init: {cloud_init_modules: [bootcmd, ssh], cloud_final_modules: []}")
                .package("cloud-init");
        let text = "# top\ncloud_init_modules:\n - seed_random\n - mounts\n\n# next\ncloud_final_modules:\n - fan\nsystem_info:\n   - x\n";
        let mut root = bench.root(&[(CONFIGURATION, text)]);
        apply(&mut root, &bench.context()).unwrap();
        assert_eq!(
            root.text(CONFIGURATION).unwrap(),
            "# top\ncloud_init_modules:\n - bootcmd\n - ssh\n\n# next\ncloud_final_modules:\nsystem_info:\n   - x\n"
        );
        let cause = apply(
            &mut bench.root(&[(CONFIGURATION, "users: []\n")]),
            &bench.context(),
        )
        .unwrap_err();
        assert_eq!(
            cause.to_string(),
            "`etc/cloud/cloud.cfg`: has no list `cloud_final_modules`"
        );
    }
}
