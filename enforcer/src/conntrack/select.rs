//! Which conversations the policy would have let open, and who pays for them in the state table.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use enforcer_common::{
    address::Address,
    endpoint::EndpointId,
    flow::FlowKey,
    host::{self, HostEnd},
    policy::{self, Party, Point},
    state::{self, StateEntry},
};

use super::Entry;
use crate::{daemon::op::Owned, policy::Tables};

/// A conversation to make known as opened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Conversation {
    /// The direction in which it was opened.
    pub key: FlowKey,
    /// Who pays for it, [`state::payer`].
    pub payer: u32,
    /// [`StateEntry::ANSWERED`], and [`StateEntry::MASKED`].
    pub flags: u8,
}

/// Who owns which address on this host.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    single: HashMap<IpAddr, EndpointId>,
    prefixes: Vec<(Owned, EndpointId)>,
}

impl Owners {
    /// Says who owns a prefix.
    pub fn insert(&mut self, owned: Owned, id: EndpointId) {
        if owned.bits == 128 {
            self.single.insert(owned.address.into(), id);
        } else {
            self.prefixes.push((owned, id));
        }
    }

    fn of(&self, address: IpAddr) -> EndpointId {
        if let Some(id) = self.single.get(&address) {
            return *id;
        }
        let owned = Owned::from(address);
        let covering = self.prefixes.iter().filter(|(prefix, _)| prefix.covers(&owned));
        covering.max_by_key(|(prefix, _)| prefix.bits).map_or(EndpointId::REMOTE, |(_, id)| *id)
    }
}

/// The policy, as it rules between those who are known on this host: by its tables, since there are many conversations,
/// and whoever asks holds the core.
pub struct Ruling<'p> {
    policy: &'p Tables,
    owners: &'p Owners,
    host: &'p HostEnd,
}

impl<'p> Ruling<'p> {
    /// The ruling of a policy.
    pub const fn new(policy: &'p Tables, owners: &'p Owners, host: &'p HostEnd) -> Self {
        Self { policy, owners, host }
    }

    /// Who pays, if `key` opens a conversation that has to be remembered: what a rule allows and what the host
    /// opens or admits. What a shared network admits needs no memory.
    fn opens(&self, key: &FlowKey) -> Option<u32> {
        let (src, dst) = (self.owners.of(key.src.into()), self.owners.of(key.dst.into()));
        let is_local = |id: EndpointId| ![EndpointId::REMOTE, EndpointId::HOST].contains(&id);
        let payer = match (src, dst) {
            (EndpointId::HOST, id) if is_local(id) => EndpointId::HOST.0,
            (EndpointId::REMOTE, id) if is_local(id) => state::payer(id.0, true),
            (id, _) if is_local(id) => state::payer(id.0, false),
            _ => return None,
        };
        self.allows(key, src, dst).then_some(payer)
    }

    /// Whether NAT has put an address of the host in the place of whoever opened it.
    fn is_masked(&self, orig: &FlowKey, behind: &FlowKey) -> bool {
        let [before, behind] = [orig.src, behind.src].map(|address| self.owners.of(address.into()));
        before != EndpointId::HOST && behind == EndpointId::HOST
    }

    /// Whether it leaves this host; then only its end here is judged.
    fn is_remote(&self, key: &FlowKey) -> bool {
        self.owners.of(key.dst.into()) == EndpointId::REMOTE
    }

    fn allows(&self, key: &FlowKey, src: EndpointId, dst: EndpointId) -> bool {
        let point = Point::of(key);
        match self.policy.ruling(&self.party(key.src, src), &self.party(key.dst, dst), point) {
            policy::Ruling::Allowed(_) => true,
            policy::Ruling::Silent if src == EndpointId::HOST => {
                self.host.flags & HostEnd::ASKS_BY_RULES == 0
            }
            policy::Ruling::Silent => dst == EndpointId::HOST && host::lists(&self.host.allow, point),
            _ => false,
        }
    }

    fn party(&self, address: Address, owner: EndpointId) -> Party {
        let membership = match owner {
            EndpointId::HOST => self.policy.host,
            _ => self.policy.membership(address.into()),
        };
        Party { membership, local: owner != EndpointId::REMOTE }
    }
}

/// The conversations to open: in the direction of the first packet that was tracked and in no other. Of one that
/// connection tracking met in the middle nobody knows who opened it, and who was asked must not pass for who asked.
pub fn conversations(entries: &[Entry], ruling: &Ruling<'_>) -> Vec<Conversation> {
    let mut open = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.goes_on()) {
        // Before and behind NAT; each end sees one of them.
        let behind = entry.reply.reversed();
        let masked = ruling.is_masked(&entry.orig, &behind);
        let opened = ruling.opens(&entry.orig);
        open.extend(opened.map(|payer| Conversation { key: entry.orig, payer, flags: StateEntry::ANSWERED }));
        // Whom NAT gives an address of the host is no host by that.
        if masked && ruling.is_remote(&behind) {
            continue;
        }
        let told = if masked { FlowKey { src: entry.orig.src, ..behind } } else { behind };
        let flags = StateEntry::ANSWERED | if masked { StateEntry::MASKED } else { 0 };
        open.extend(ruling.opens(&told).map(|payer| Conversation { key: behind, payer, flags }));
    }
    open.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use enforcer_common::flow::protocol;
    use rstest::rstest;

    use super::*;
    use crate::{
        config::Config,
        policy::{Capacity, Ids, Policy, Source, compile},
    };

    const POLICY: &str = "version = 1
        [network.web]
        prefixes = ['10.1.0.0/24']
        [network.db]
        prefixes = ['10.9.0.0/24']
        [[rule]]
        name = 'ssh'
        from = ['web']
        to = ['db', 'world']
        allow = ['tcp/22', 'udp/53']
        [[rule]]
        name = 'published'
        from = ['world']
        to = ['web']
        allow = ['tcp/80']
        [[rule]]
        name = 'sealed'
        from = ['host']
        to = ['db']
        deny = ['tcp/23']";

    fn key(protocol: u8, src: &str, dst: &str) -> FlowKey {
        let [src, dst]: [std::net::SocketAddr; 2] = [src.parse().unwrap(), dst.parse().unwrap()];
        FlowKey {
            src: src.ip().into(),
            dst: dst.ip().into(),
            src_port: src.port().to_be(),
            dst_port: dst.port().to_be(),
            protocol,
            ..FlowKey::default()
        }
    }

    /// An entry without NAT.
    fn entry(src: &str, dst: &str) -> Entry {
        let orig = key(protocol::TCP, src, dst);
        Entry { orig, reply: orig.reversed(), tcp_state: Some(Entry::ESTABLISHED), status: Entry::ASSURED }
    }

    fn selected(entries: &[Entry]) -> Vec<(String, u32)> {
        selected_where("", entries)
    }

    /// The same under another host file.
    fn selected_where(config: &str, entries: &[Entry]) -> Vec<(String, u32)> {
        let config = Config::parse(std::path::Path::new("enforcer.toml"), config).unwrap();
        let policy = Policy::parse(&[Source { name: "p".into(), text: POLICY.into() }]).unwrap();
        let ids = Ids::default().assign(&policy).unwrap();
        let tables = compile(&policy, &ids, Capacity::default()).unwrap();
        let mut owners = Owners::default();
        let owned = |text: &str| Owned::from(text.parse::<ipnet::IpNet>().unwrap());
        owners.insert(owned("10.1.0.5/32"), EndpointId(1));
        owners.insert(owned("10.9.0.0/28"), EndpointId(2));
        owners.insert(owned("192.0.2.1/32"), EndpointId::HOST);
        let told = |open: Conversation| {
            let (src, dst) = (IpAddr::from(open.key.src), IpAddr::from(open.key.dst));
            let ports = [open.key.src_port, open.key.dst_port].map(u16::from_be);
            let of_host = src == IpAddr::from([192, 0, 2, 1]) && open.payer != EndpointId::HOST.0;
            let masked = if of_host { StateEntry::MASKED } else { 0 };
            assert_eq!(open.flags, StateEntry::ANSWERED | masked);
            (format!("{src}:{} {dst}:{}", ports[0], ports[1]), open.payer)
        };
        let open = conversations(entries, &Ruling::new(&tables, &owners, config.host.end()));
        open.into_iter().map(told).collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[rstest]
    #[case::by_a_rule("10.1.0.5:4000", "10.9.0.7:22", Some(("10.1.0.5:4000 10.9.0.7:22", 1)))]
    // Perhaps met in the middle, perhaps opened from the port of what it may be asked for.
    #[case::the_other_way_round("10.9.0.7:22", "10.1.0.5:4000", None)]
    #[case::to_the_host("10.9.0.7:22", "192.0.2.1:4000", None)]
    #[case::to_the_world("10.1.0.5:4000", "5.5.5.5:22", Some(("10.1.0.5:4000 5.5.5.5:22", 1)))]
    #[case::from_the_world("5.5.5.5:4000", "10.1.0.5:80", Some(("5.5.5.5:4000 10.1.0.5:80", 1 | 1 << 31)))]
    #[case::by_the_host("192.0.2.1:4000", "10.9.0.7:80", Some(("192.0.2.1:4000 10.9.0.7:80", u32::MAX)))]
    #[case::denied_to_the_host("192.0.2.1:4000", "10.9.0.7:23", None)]
    #[case::no_rule("10.9.0.7:4000", "10.1.0.5:22", None)]
    #[case::shared("10.1.0.5:4000", "10.1.0.6:22", None)]
    #[case::nobody_local("5.5.5.5:4000", "6.6.6.6:22", None)]
    #[case::the_host_alone("192.0.2.1:4000", "5.5.5.5:22", None)]
    fn a_conversation_is_opened_the_way_that_is_allowed(
        #[case] src: &str,
        #[case] dst: &str,
        #[case] expected: Option<(&str, u32)>,
    ) {
        let expected: Vec<_> = expected.into_iter().map(|(text, payer)| (text.to_owned(), payer)).collect();
        assert_eq!(selected(&[entry(src, dst)]), expected);
    }

    #[test]
    fn the_host_file_says_what_the_host_is_asked_and_may_ask() {
        let (asked, asks) = (entry("10.9.0.7:4000", "192.0.2.1:53"), entry("192.0.2.1:4000", "10.9.0.7:80"));
        assert_eq!(selected(&[asked, asks]).len(), 2);
        let strict = "[host]\nallow = ['tcp/8053']\nto_workloads = 'rules'";
        assert_eq!(selected_where(strict, &[asked, asks]), []);
        let listed = entry("10.9.0.7:4000", "192.0.2.1:8053");
        assert_eq!(selected_where(strict, &[listed]).len(), 1);
    }

    #[test]
    fn behind_nat_each_end_has_its_own_view() {
        // A published port: the world speaks to the host, and the workload sees the world.
        let orig = key(protocol::TCP, "5.5.5.5:4000", "192.0.2.1:8080");
        let reply = key(protocol::TCP, "10.1.0.5:80", "5.5.5.5:4000");
        let published = Entry { orig, reply, ..entry("1.1.1.1:1", "1.1.1.1:1") };
        assert_eq!(selected(&[published]), [("5.5.5.5:4000 10.1.0.5:80".to_owned(), 1 | 1 << 31)]);
        // A masquerade: the workload speaks to the world, and the world sees the host.
        let orig = key(protocol::TCP, "10.1.0.5:4000", "5.5.5.5:22");
        let reply = key(protocol::TCP, "5.5.5.5:22", "192.0.2.1:61000");
        let masked = Entry { orig, reply, ..published };
        assert_eq!(selected(&[masked]), [("10.1.0.5:4000 5.5.5.5:22".to_owned(), 1)]);
    }

    #[test]
    fn whom_nat_gives_an_address_of_the_host_is_not_the_host() {
        let masked = |port: u16| {
            let orig = key(protocol::TCP, "10.1.0.5:4000", &format!("10.9.0.7:{port}"));
            let reply = key(protocol::TCP, &format!("10.9.0.7:{port}"), "192.0.2.1:61000");
            Entry { orig, reply, ..entry("1.1.1.1:1", "1.1.1.1:1") }
        };
        let both =
            [("10.1.0.5:4000 10.9.0.7:22".to_owned(), 1), ("192.0.2.1:61000 10.9.0.7:22".to_owned(), 1)];
        assert_eq!(selected(&[masked(22)]), both);
        // The host itself might.
        assert_eq!(selected(&[masked(80)]), []);
    }

    #[test]
    fn only_what_goes_on_is_opened() {
        let tcp = entry("10.1.0.5:4000", "10.9.0.7:22");
        for state in [None, Some(1), Some(2), Some(7), Some(8)] {
            assert_eq!(selected(&[Entry { tcp_state: state, ..tcp }]), [], "state {state:?}");
        }
        let orig = key(protocol::UDP, "10.1.0.5:4000", "10.9.0.7:53");
        let udp = Entry { orig, reply: orig.reversed(), tcp_state: None, status: Entry::ASSURED };
        assert_eq!(selected(&[udp]).len(), 1);
        assert_eq!(selected(&[Entry { status: 0, ..udp }]), []);
    }
}
