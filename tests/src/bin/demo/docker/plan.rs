//! Who is there, and who may talk to whom.

use std::net::{IpAddr, Ipv4Addr};

use enforcer_tests::docker::{Container, Engine};
use enforcer_tests::matrix::{Asked, Tried};
use enforcer_tests::traffic::Protocol;

/// Docker's networks.
pub const DOCKER_NETWORKS: [(&str, &str); 2] = [("front", "10.61.1.0/24"), ("back", "10.61.2.0/24")];
/// The networks of the policy.
pub const COLOURS: [&str; 2] = ["blue", "red"];

/// A container of the demo.
pub struct Place {
    /// Its name.
    pub name: &'static str,
    /// Its network of Docker's.
    pub network: &'static str,
    /// Its address.
    address: &'static str,
    /// Its network of the policy.
    pub colour: &'static str,
    /// Whether its echo port is published.
    pub is_published: bool,
}

/// Neither of Docker's networks is one of the policy's.
#[rustfmt::skip]
pub const PLACES: [Place; 4] = [
    Place { name: "web",   network: "front", address: "10.61.1.10", colour: "blue", is_published: false },
    Place { name: "api",   network: "back",  address: "10.61.2.10", colour: "blue", is_published: false },
    Place { name: "audit", network: "front", address: "10.61.1.20", colour: "red",  is_published: true },
    Place { name: "batch", network: "back",  address: "10.61.2.20", colour: "red",  is_published: false },
];

/// All containers, the world and the host.
pub const ASKERS: usize = PLACES.len() + 2;

/// The addresses of the host, by where they are.
pub const ADDRESSES: [Asked<'static>; 5] = [
    ("front", host(10, 61, 1, 1)),
    ("back", host(10, 61, 2, 1)),
    ("docker0", host(172, 17, 0, 1)),
    ("lo", host(192, 0, 2, 1)),
    ("uplink", host(198, 51, 100, 1)),
];

/// The published port.
pub const PUBLISHED: Tried = &[(Protocol::Tcp(8080), 'T')];

/// What the router needs to know besides, so that the world gets to all of these addresses.
pub const OUTSIDE: &str = "route add 172.17.0.0/16 via 198.51.100.1\nroute add 192.0.2.1 via 198.51.100.1\n";

/// Two networks, by labels.
pub const POLICY: &str = r#"version = 1

[network.blue]
members = ["docker:label:enforcer.network=blue"]

[network.red]
members = ["docker:label:enforcer.network=red"]
"#;

/// Which rules there are besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// None.
    None,
    /// [`RULES`].
    Published,
}

/// Whoever asks at an address of the host has to be let to the host, and then to the container.
pub const RULES: &str = r#"
[[rule]]
name  = "red's port, from blue and from outside"
from  = ["blue", "world"]
to    = ["red"]
allow = ["tcp/5432"]

[[rule]]
name  = "blue may ask where it is published"
from  = ["blue"]
to    = ["host"]
allow = ["tcp/8080"]
"#;

impl Place {
    /// Runs the container with the label of a colour.
    pub fn run(&self, engine: &Engine, colour: &str) -> Container {
        let container = engine.container(self.name).at(self.network, self.address);
        let container = container.label(&format!("enforcer.network={colour}"));
        if self.is_published { container.publish("8080:5432").run() } else { container.run() }
    }

    /// Its label at first.
    pub fn label(&self) -> String {
        format!("enforcer.network={}", self.colour)
    }
}

const fn host(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}
