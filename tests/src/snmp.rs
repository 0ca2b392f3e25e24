//! What the kernel's protocols have counted in a namespace (`/proc/net/snmp`, `/proc/net/snmp6`).

use crate::netns::NetNs;

/// A counter of IPv4 or of a protocol above both families: `Tcp` and `OutSegs` for example.
#[track_caller]
pub fn counted(netns: &impl AsRef<NetNs>, protocol: &str, name: &str) -> u64 {
    let shown = text(netns, "/proc/net/snmp");
    let mut lines = shown.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(':'));
    let [names, values] =
        [lines.next(), lines.next()].map(|line| line.expect("two lines").split_whitespace());
    let value = names.zip(values).find(|(of, _)| *of == name).expect("it is counted").1;
    value.parse().expect("a number")
}

/// A counter of IPv6.
#[track_caller]
pub fn counted6(netns: &impl AsRef<NetNs>, name: &str) -> u64 {
    let shown = text(netns, "/proc/net/snmp6");
    let mut lines = shown.lines().filter_map(|line| line.strip_prefix(name));
    let value = lines.next().expect("it is counted");
    value.trim().parse().expect("a number")
}

#[track_caller]
fn text(netns: &impl AsRef<NetNs>, file: &str) -> String {
    String::from_utf8(netns.as_ref().run("cat", &[file]).stdout).expect("it is text")
}
