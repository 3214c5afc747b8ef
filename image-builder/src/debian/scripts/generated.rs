//! What generated parts of a script register: units to enable, alternatives.
//!
//! Only the words are taken from here. That the lines around them do nothing else is what [`super::check`] sees to.

use prejoin_profiles::os::Alternative;

use super::snippet::{logical, sections, tokens};

/// Units that a `postinst` enables when its package is installed for the first time.
pub fn units(postinst: &str) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    for (tool, body) in sections(postinst) {
        let enabling = matches!(
            tool,
            "dh_installsystemd" | "dh_systemd_enable" | "dh_installinit"
        );
        // Units that stay as they are on first installation are asked about in another way.
        if !enabling || body.iter().any(|line| line.contains("debian-installed")) {
            continue;
        }
        for line in logical(body.into_iter()) {
            let mut words = tokens(&line);
            if words.next() == Some("deb-systemd-helper") && words.next() == Some("enable") {
                let named = words.take_while(|word| !word.starts_with('>'));
                units.extend(named.map(|unit| unit.trim_matches('\'').replace("\\\\", "\\")));
            }
        }
    }
    units.dedup();
    units
}

/// Alternatives that a `postinst` registers, each name that goes along with another as one of its own.
pub fn alternatives(postinst: &str) -> Vec<Alternative> {
    let mut alternatives = Vec::new();
    for (tool, body) in sections(postinst) {
        if tool != "dh_installalternatives" {
            continue;
        }
        for line in logical(body.into_iter()) {
            let words: Vec<&str> = tokens(&line).collect();
            let [
                "update-alternatives",
                "--install",
                link,
                _,
                target,
                priority,
                rest @ ..,
            ] = &words[..]
            else {
                continue;
            };
            let along = rest.chunks_exact(4).filter_map(|words| match words {
                ["--slave", link, _, target] => Some((*link, *target)),
                _ => None,
            });
            let Ok(priority) = priority.parse() else {
                continue;
            };
            for (link, target) in std::iter::once((*link, *target)).chain(along) {
                let [link, target] =
                    [link, target].map(|path| path.trim_start_matches('/').to_owned());
                alternatives.push(Alternative {
                    priority,
                    link,
                    target,
                });
            }
        }
    }
    alternatives
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_from_generated_parts_alone() {
        let script = "deb-systemd-helper enable 'not.service'\n\
            # Automatically added by dh_installsystemd/13\nif new ; then\n\
            \tdeb-systemd-helper enable 'a.service' 'b.timer' >/dev/null || true\nfi\n\
            # End automatically added section\n\
            # Automatically added by dh_installsystemd/13\n\
            if deb-systemd-helper debian-installed 'c.service'; then\n\
            deb-systemd-helper enable 'c.service' >/dev/null || true\nfi\n\
            # End automatically added section\n\
            # Automatically added by dh_installalternatives/13\n\
            update-alternatives --install /usr/bin/ed ed /usr/bin/one 30 \\\n\
            --slave /usr/share/ed.1 ed.1 /usr/share/one.1\n\
            # End automatically added section\n";
        assert_eq!(units(script), ["a.service", "b.timer"]);
        let found: Vec<String> = alternatives(script).into_iter().map(String::from).collect();
        assert_eq!(
            found,
            [
                "30 usr/bin/ed usr/bin/one",
                "30 usr/share/ed.1 usr/share/one.1"
            ]
        );
    }
}
