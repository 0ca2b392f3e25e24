//! A few policies, and whom each lets open a connection to whom: by the reference evaluator, and by the
//! tables that a bank holds.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::LazyLock,
};

use enforcer_common::policy::{Party, Point};

use super::host::LABELS;
use crate::daemon::op::Owned;
use crate::policy::{
    Capacity, Ids, Labels, Policy, Prefix, Source, Tables, compile,
    oracle::{Endpoint, World},
};

/// Addresses of workloads, of the host and of somebody in the world; what is asked about.
pub const WORKLOADS: [&str; 6] =
    ["10.1.0.5", "10.1.0.6", "10.2.0.5", "10.9.0.5", "2001:db8:1::5", "2001:db8:9::5"];
const HOST: &str = "10.1.0.1";
const STRANGER: &str = "203.0.113.9";
const PORTS: [u16; 2] = [80, 5432];
const TCP: u8 = 6;

const TEXTS: [&str; 8] = [
    "version = 1",
    r#"
    version = 1
    [network.blue]
    prefixes = ["10.1.0.0/24", "2001:db8:1::/64"]
    "#,
    r#"
    version = 1
    [network.green]
    prefixes = ["10.2.0.0/24", "10.9.0.0/24", "2001:db8:9::/64"]
    "#,
    r#"
    version = 1
    [network.blue]
    prefixes = ["10.1.0.0/24", "10.2.0.0/24"]
    [network.db]
    prefixes = ["10.9.0.0/24", "2001:db8:9::/64"]
    [[rule]]
    name = "blue uses postgres"
    from = ["blue"]
    to = ["db"]
    allow = ["tcp/5432"]
    "#,
    r#"
    version = 1
    [network.all]
    prefixes = ["10.0.0.0/8", "2001:db8::/32"]
    [network.db]
    prefixes = ["10.9.0.0/24"]
    [[rule]]
    name = "no web at the database"
    from = ["any"]
    to = ["db"]
    deny = ["tcp/80"]
    "#,
    r#"
    version = 1
    [network.red]
    prefixes = ["10.1.0.0/24", "2001:db8:1::/64"]
    [network.db]
    prefixes = ["10.2.0.0/24"]
    [[rule]]
    name = "red browses"
    from = ["red"]
    to = ["world"]
    allow = ["tcp/80"]
    [[rule]]
    name = "the host asks the database"
    from = ["host"]
    to = ["db"]
    allow = ["tcp/5432"]
    "#,
    r#"
    version = 1
    [network.team]
    members = ["docker:label:team=blue"]
    [network.db]
    prefixes = ["10.9.0.0/24"]
    "#,
    r#"
    version = 1
    [network.team]
    prefixes = ["10.2.0.0/24"]
    members = ["docker:label:team"]
    [group.web]
    members = ["docker:name:web"]
    [group.db]
    prefixes = ["10.9.0.0/24", "10.1.0.0/24"]
    [[rule]]
    name = "the web asks the database"
    from = ["web"]
    to = ["db"]
    allow = ["tcp/5432"]
    "#,
];

/// All of them.
pub static POOL: LazyLock<Vec<Pooled>> = LazyLock::new(|| TEXTS.iter().map(|text| pooled(text)).collect());

/// A policy, and what it says.
pub struct Pooled {
    /// The policy.
    pub policy: Policy,
    /// Its digest.
    pub digest: [u8; 32],
    /// Whom it lets open what.
    pub passes: Passes,
}

/// A bit for each pair of parties, in an element for each port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passes([u64; PORTS.len()]);

impl Passes {
    fn collect(mut opens: impl FnMut(usize, usize, u16) -> bool) -> Self {
        let count = parties().count();
        let pairs = || (0..count).flat_map(|src| (0..count).map(move |dst| (src, dst)));
        Self(PORTS.map(|port| {
            pairs().zip(0..).map(|((src, dst), bit)| u64::from(opens(src, dst, port)) << bit).sum()
        }))
    }

    /// What the kernel's own decision makes of the tables of a bank.
    pub fn of(tables: &Tables) -> Self {
        let party = |address: &str| match address {
            HOST => Party { membership: tables.host, local: true },
            address => {
                Party { membership: tables.membership(address.parse().unwrap()), local: address != STRANGER }
            }
        };
        let parties: Vec<Party> = parties().map(party).collect();
        Self::collect(|src, dst, port| {
            tables.ruling(&parties[src], &parties[dst], Point::port(TCP, port)).passes()
        })
    }

    /// Whether both say the same of a pair.
    pub fn agrees(self, other: Self, pair: usize) -> bool {
        self.0.iter().zip(other.0).all(|(one, other)| (one ^ other) >> pair & 1 == 0)
    }

    /// What either lets open.
    pub fn or(self, other: Self) -> Self {
        Self(std::array::from_fn(|port| self.0[port] | other.0[port]))
    }

    /// A connection that this lets open and `allowed` does not.
    pub fn beyond(self, allowed: Self) -> Option<String> {
        let names: Vec<&str> = parties().collect();
        PORTS.iter().enumerate().find_map(|(index, port)| {
            let surplus = self.0[index] & !allowed.0[index];
            let bit = surplus.trailing_zeros() as usize;
            let (src, dst) = (bit / names.len(), bit % names.len());
            (surplus != 0).then(|| format!("{} to {} port {port}", names[src], names[dst]))
        })
    }
}

/// Which policy of the pool has this digest.
pub fn by_digest(digest: &[u8; 32]) -> Option<usize> {
    POOL.iter().position(|pooled| pooled.digest == *digest)
}

/// In the order of the bits of [`Passes`].
pub fn parties() -> impl Iterator<Item = &'static str> {
    WORKLOADS.into_iter().chain([HOST, STRANGER])
}

/// Workloads' addresses, with what is known of each.
pub fn labels(known: impl Fn(Owned) -> BTreeSet<String>) -> Labels {
    let mut labels = Labels::none();
    for address in WORKLOADS.map(|text| text.parse::<IpAddr>().unwrap()) {
        let prefix = Prefix::owned(address.into()).unwrap();
        for label in &known(address.into()) {
            labels.add(label, prefix);
        }
    }
    labels
}

thread_local! {
    static RESOLVED: RefCell<HashMap<(usize, String), Passes>> = RefCell::default();
}

/// What a policy of the pool lets open where this is known.
pub fn resolved(policy: usize, labels: &Labels) -> Passes {
    let key = (policy, format!("{labels:?}"));
    RESOLVED.with_borrow_mut(|known| {
        *known.entry(key).or_insert_with(|| {
            let policy = POOL[policy].policy.resolve(labels);
            let ids = Ids::default().assign(&policy).unwrap();
            Passes::of(&compile(&policy, &ids, Capacity::default()).unwrap())
        })
    })
}

fn pooled(text: &str) -> Pooled {
    let source = Source { name: "pool".to_owned(), text: text.to_owned() };
    let policy = Policy::parse(&[source]).unwrap();
    let addresses = WORKLOADS.iter().map(|text| text.parse::<IpAddr>().unwrap().into()).collect();
    let mut world = World {
        endpoints: vec![Endpoint { name: "veth".to_owned(), addresses, ..Endpoint::default() }],
        host: vec![HOST.parse::<IpAddr>().unwrap().into()],
        ..World::default()
    };
    // Whoever may be a member at any time.
    let everybody = labels(|_| LABELS.iter().map(|label| (*label).to_owned()).collect());
    world.apply(policy.resolve(&everybody));
    let addresses: Vec<IpAddr> = parties().map(|text| text.parse().unwrap()).collect();
    let passes = Passes::collect(|src, dst, port| world.lets_open(addresses[src], addresses[dst], port));
    Pooled { digest: policy.digest(), policy, passes }
}
