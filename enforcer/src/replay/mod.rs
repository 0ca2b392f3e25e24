//! What would have become of captured packets: a file is read again, and each of its packets judged at the
//! hooks that it would have met.
//!
//! ```text
//! capture ──▶ cast ──▶ the hooks of each packet ──▶ judges ──▶ rows
//! pcap,       whose addresses               the reference evaluator,
//! pcapng      these are                     the kernel's programs
//! ```

use std::{net::IpAddr, time::Duration};

use enforcer_common::event::Hook;
use serde::{Deserialize, Serialize};

mod capture;
mod cast;
mod headers;
mod kernel;
mod reference;

pub use capture::{CaptureError, Captured, read};
pub use cast::{Cast, CastError};
pub use kernel::KernelJudge;
pub use reference::Reference;

use headers::Headers;
#[cfg(test)]
pub(crate) use headers::udp;

/// A frame in front of a hook.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// Where it is seen.
    pub hook: Hook,
    /// Behind whose interface.
    pub endpoint: &'a str,
    /// The Ethernet header and everything behind it.
    pub frame: &'a [u8],
    /// Through whose interface it entered the host.
    pub stamp: Option<&'a str>,
    /// The host itself sent it.
    pub locally_generated: bool,
    /// When, since the first packet of the capture.
    pub now: Duration,
}

/// What a judge makes of a frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opinion {
    /// `pass` or `drop`.
    pub verdict: String,
    /// Slugs, any of which may be the reason; none where the judge does not know.
    pub reasons: Vec<String>,
    /// The network or rule that decides, where the judge knows.
    pub by: Option<String>,
}

/// Whoever says what becomes of a frame. It remembers the frames before, as the host would.
pub trait Judge {
    /// The verdict; `None` for a frame that this judge cannot be shown.
    fn judge(&mut self, sighting: &Sighting) -> anyhow::Result<Option<Opinion>>;
}

/// What becomes of one packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its number in the file, from 1.
    pub number: usize,
    /// When it was captured, RFC 3339.
    pub time: String,
    /// Microseconds since the first packet.
    pub offset_us: u64,
    /// Protocol; nothing where the packet cannot be read that far.
    pub proto: Option<String>,
    /// Source.
    pub src: Option<IpAddr>,
    /// Its port, where there are ports.
    pub src_port: u16,
    /// Destination.
    pub dst: Option<IpAddr>,
    /// Its port, where there are ports.
    pub dst_port: u16,
    /// The hook that decided: `from-endpoint` or `to-endpoint`; `None` for a packet that meets none.
    pub hook: Option<String>,
    /// The reference evaluator's.
    pub opinion: Option<Opinion>,
    /// The kernel's; `None` where it was not asked or cannot say.
    pub kernel: Option<Opinion>,
    /// No hook was found at which the two differ.
    pub agrees: bool,
    /// Why the packet is not judged.
    pub note: Option<String>,
}

impl Opinion {
    /// An opinion with one reason.
    pub fn exactly(verdict: enforcer_common::verdict::Verdict) -> Self {
        Self { verdict: verdict.name().to_owned(), reasons: vec![verdict.slug().to_owned()], by: None }
    }

    fn passes(&self) -> bool {
        self.verdict == "pass"
    }

    /// Whether both may be right.
    fn agrees_with(&self, other: &Self) -> bool {
        let unknown = self.reasons.is_empty() || other.reasons.is_empty();
        let common = || self.reasons.iter().any(|reason| other.reasons.contains(reason));
        self.verdict == other.verdict && (unknown || common())
    }
}

/// Judges all packets in the order of the file, and gives each row to `tell`.
pub fn replay(
    packets: &[Captured],
    cast: &Cast,
    reference: &mut dyn Judge,
    mut kernel: Option<&mut dyn Judge>,
    mut tell: impl FnMut(Row) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let start = packets.first().map(|packet| packet.time).unwrap_or_default();
    for (index, packet) in packets.iter().enumerate() {
        let now = packet.time.saturating_sub(start);
        let mut row = Row::new(index + 1, packet, now);
        match cast.sightings(packet, now) {
            Err(note) => row.note = Some(note.to_owned()),
            Ok(sightings) => {
                for sighting in sightings {
                    let kernel = kernel.as_mut().map(|kernel| &mut **kernel as &mut dyn Judge);
                    if !row.judged(&sighting, reference, kernel)? {
                        break;
                    }
                }
            }
        }
        tell(row)?;
    }
    Ok(())
}

impl Row {
    fn new(number: usize, packet: &Captured, now: Duration) -> Self {
        let Headers { proto, src, src_port, dst, dst_port, .. } = Headers::of(&packet.frame);
        let time = std::time::UNIX_EPOCH + packet.time;
        Self {
            number,
            time: humantime::format_rfc3339_micros(time).to_string(),
            offset_us: now.as_micros() as u64,
            proto,
            src,
            src_port,
            dst,
            dst_port,
            hook: None,
            opinion: None,
            kernel: None,
            agrees: true,
            note: None,
        }
    }

    /// Asks about one hook; whether the packet goes on to the next one.
    fn judged(
        &mut self,
        sighting: &Sighting,
        reference: &mut dyn Judge,
        kernel: Option<&mut dyn Judge>,
    ) -> anyhow::Result<bool> {
        let opinion = reference.judge(sighting)?;
        let other = kernel.map(|kernel| kernel.judge(sighting)).transpose()?.flatten();
        let differs =
            opinion.as_ref().zip(other.as_ref()).is_some_and(|(opinion, other)| !opinion.agrees_with(other));
        self.agrees &= !differs;
        let goes_on = opinion.as_ref().is_some_and(Opinion::passes) && !differs;
        let hook = if sighting.hook == Hook::FromEndpoint { "from-endpoint" } else { "to-endpoint" };
        (self.hook, self.opinion, self.kernel) = (Some(hook.to_owned()), opinion, other);
        Ok(goes_on)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use enforcer_common::verdict::{DropReason, PassReason, Verdict};

    use super::*;

    /// Says what it was told to, in that order.
    struct Scripted(VecDeque<Option<Opinion>>, Vec<String>);

    impl Scripted {
        fn new(opinions: impl IntoIterator<Item = Option<Verdict>>) -> Self {
            Self(opinions.into_iter().map(|verdict| verdict.map(Opinion::exactly)).collect(), Vec::new())
        }
    }

    impl Judge for Scripted {
        fn judge(&mut self, sighting: &Sighting) -> anyhow::Result<Option<Opinion>> {
            let Sighting { hook, endpoint, stamp, .. } = sighting;
            self.1.push(format!("{hook:?} {endpoint} {}", stamp.unwrap_or("-")));
            Ok(self.0.pop_front().expect("there are opinions for every hook"))
        }
    }

    const PASS: Option<Verdict> = Some(Verdict::Pass(PassReason::SharedNetwork));
    const DROP: Option<Verdict> = Some(Verdict::Drop(DropReason::DefaultDeny));

    /// One packet each way between two endpoints.
    fn run(reference: &mut Scripted, kernel: Option<&mut Scripted>) -> Vec<Row> {
        let packets = [udp("10.1.0.5", "10.1.0.6"), udp("10.1.0.6", "10.1.0.5")];
        let packets = packets.map(|frame| Captured { time: Duration::ZERO, frame, cut: false });
        let cast = Cast::new(&packets, Vec::new(), Vec::new()).unwrap();
        let mut rows = Vec::new();
        let kernel = kernel.map(|kernel| kernel as &mut dyn Judge);
        replay(&packets, &cast, reference, kernel, |row| {
            rows.push(row);
            Ok(())
        })
        .unwrap();
        rows
    }

    #[test]
    fn a_packet_meets_the_second_hook_only_if_the_first_passes_it() {
        let mut reference = Scripted::new([DROP, PASS, DROP]);
        let rows = run(&mut reference, None);
        let hooks: Vec<_> = rows.iter().map(|row| row.hook.as_deref().unwrap()).collect();
        assert_eq!(hooks, ["from-endpoint", "to-endpoint"]);
        assert_eq!(reference.1, ["FromEndpoint ep1 -", "FromEndpoint ep2 -", "ToEndpoint ep1 ep2"]);
        assert!(rows.iter().all(|row| row.agrees && row.kernel.is_none()));
    }

    #[test]
    fn a_difference_at_any_hook_is_told() {
        let rows = run(&mut Scripted::new([DROP, PASS, PASS]), Some(&mut Scripted::new([PASS, PASS, DROP])));
        assert_eq!(rows.iter().map(|row| row.agrees).collect::<Vec<_>>(), [false, false]);
        // Who cannot say does not contradict.
        let rows = run(&mut Scripted::new([DROP, DROP]), Some(&mut Scripted::new([None, DROP])));
        assert!(rows.iter().all(|row| row.agrees));
    }

    #[test]
    fn opinions_agree_on_the_verdict_and_a_reason() {
        let opinion = |verdict: &str, reasons: &[&str]| Opinion {
            verdict: verdict.to_owned(),
            reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
            by: None,
        };
        let malformed = opinion("drop", &["truncated", "bad-header"]);
        assert!(malformed.agrees_with(&opinion("drop", &["bad-header"])));
        assert!(malformed.agrees_with(&opinion("drop", &[])));
        assert!(!malformed.agrees_with(&opinion("drop", &["martian"])));
        assert!(!malformed.agrees_with(&opinion("pass", &[])));
    }
}
