//! Containers: what the engine is told of them, and how the lab gets into them.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::client::Client;
use super::engine::Engine;
use super::image;
use crate::echo::Echo;
use crate::netns::NetNs;
use crate::traffic::ECHO_PORT;
use crate::workload::INSIDE;

/// A container that is being described; [`run`](Self::run) creates it.
#[derive(Debug)]
#[must_use = "nothing exists before `run`"]
pub struct NewContainer<'e> {
    engine: &'e Engine,
    name: String,
    options: Vec<String>,
    more: Vec<[String; 2]>,
}

impl<'e> NewContainer<'e> {
    pub(super) fn of(engine: &'e Engine, name: &str) -> Self {
        Self { engine, name: name.to_owned(), options: Vec::new(), more: Vec::new() }
    }

    /// Puts it into a network; the engine chooses the address. In `bridge` unless told otherwise.
    pub fn on(self, network: &str) -> Self {
        self.option("--network", network)
    }

    /// Puts it into a network with this address.
    pub fn at(self, network: &str, address: &str) -> Self {
        self.option("--network", network).option("--ip", address)
    }

    /// Puts it into another network as well, with this address.
    pub fn also_at(mut self, network: &str, address: &str) -> Self {
        self.more.push([network.to_owned(), address.to_owned()]);
        self
    }

    /// Gives it a label, `key=value`.
    pub fn label(self, label: &str) -> Self {
        self.option("--label", label)
    }

    /// Publishes a port, as `docker run --publish` has it.
    pub fn publish(self, port: &str) -> Self {
        self.option("--publish", port)
    }

    /// Any option of `docker run`.
    pub fn option(mut self, option: &str, value: &str) -> Self {
        self.options.extend([option.to_owned(), value.to_owned()]);
        self
    }

    /// Runs it. Its echo server listens when this returns.
    #[track_caller]
    pub fn run(self) -> Container {
        let client = self.engine.client();
        let mut args = vec!["run", "--detach", "--name", &self.name, "--hostname", &self.name];
        // Its only process would not hear of anything gentler.
        args.extend(["--stop-signal", "SIGKILL"]);
        args.extend(self.options.iter().map(String::as_str));
        args.push(image::NAME);
        client.run(&[&args[..], &image::IDLE].concat());
        for [network, address] in &self.more {
            client.run(&["network", "connect", "--ip", address, network, &self.name]);
        }
        let host = Arc::clone(self.engine.netns());
        let mut container = Container { name: self.name, client: client.clone(), host, inside: None };
        container.inside = Some(container.enter());
        container
    }
}

/// A container with an echo server. It goes with its engine.
#[derive(Debug)]
pub struct Container {
    name: String,
    client: Client,
    host: Arc<NetNs>,
    inside: Option<Inside>,
}

/// What there is while a container runs.
#[derive(Debug)]
struct Inside {
    // Before the namespace: sockets would keep it alive.
    _echo: Option<Echo>,
    netns: NetNs,
}

impl Container {
    /// Starts it again, and its echo server. One that has the host's network has none.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.inside.is_none(), "{} runs already", self.name);
        self.client.run(&["start", &self.name]);
        self.inside = Some(self.enter());
    }

    /// Kills it.
    #[track_caller]
    pub fn stop(&mut self) {
        self.inside = None;
        self.client.run(&["stop", "--time", "0", &self.name]);
    }

    /// Stops and starts it.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Kills it and removes it: another one may have its name.
    #[track_caller]
    pub fn remove(mut self) {
        self.inside = None;
        self.client.run(&["rm", "--force", &self.name]);
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace, while it runs.
    #[track_caller]
    pub fn netns(&self) -> &NetNs {
        match &self.inside {
            Some(inside) => &inside.netns,
            None => panic!("{} does not run", self.name),
        }
    }

    /// Its first IPv4 address.
    #[track_caller]
    pub fn ipv4(&self) -> IpAddr {
        self.address("inet")
    }

    /// Its first IPv6 address that is not link-local.
    #[track_caller]
    pub fn ipv6(&self) -> IpAddr {
        self.address("inet6")
    }

    /// Its IPv4 address in a network of Docker's.
    #[track_caller]
    pub fn address_on(&self, network: &str) -> IpAddr {
        let format = format!("{{{{(index .NetworkSettings.Networks {network:?}).IPAddress}}}}");
        let told = self.client.run(&["inspect", "--format", &format, &self.name]);
        told.parse().unwrap_or_else(|_| panic!("{} has no address in {network}: {told}", self.name))
    }

    #[track_caller]
    fn address(&self, family: &str) -> IpAddr {
        let listed = listed(self.netns(), &["address", "show", "dev", INSIDE, "scope", "global"]);
        let found = listed.iter().flat_map(|link| link["addr_info"].as_array().into_iter().flatten());
        let mut found = found.filter(|address| address["family"] == family);
        let address = found.find_map(|address| address["local"].as_str()?.parse().ok());
        address.unwrap_or_else(|| panic!("{} has no {family} address: {listed:?}", self.name))
    }

    /// The host side of its first veth pair: the name of its endpoint. The engine invents one at every start.
    #[track_caller]
    pub fn interface(&self) -> String {
        let links = listed(self.netns(), &["link", "show", "dev", INSIDE]);
        let peer = &links.first().unwrap_or_else(|| panic!("{} has no {INSIDE}", self.name))["link_index"];
        let outside = listed(&self.host, &["link", "show", "type", "veth"]);
        let outside = outside.iter().find(|link| link["ifindex"] == *peer);
        let name = outside.and_then(|link| link["ifname"].as_str());
        name.unwrap_or_else(|| panic!("nothing on the host is the other end of {links:?}")).to_owned()
    }

    /// Gets into the namespace of its first process.
    #[track_caller]
    fn enter(&self) -> Inside {
        let told = self.client.run(&[
            "inspect",
            "--format",
            "{{.State.Pid}} {{.HostConfig.NetworkMode}}",
            &self.name,
        ]);
        let (pid, mode) = told.split_once(' ').unwrap_or_else(|| panic!("inspect {}: {told}", self.name));
        let pid = pid.parse().unwrap_or_else(|error| panic!("inspect {}: {told}: {error}", self.name));
        let netns = NetNs::of_process(&self.name, pid);
        let echo = (mode != "host").then(|| Echo::start(&netns, ECHO_PORT));
        Inside { _echo: echo, netns }
    }
}

impl AsRef<NetNs> for Container {
    fn as_ref(&self) -> &NetNs {
        self.netns()
    }
}

/// What `ip` lists.
#[track_caller]
fn listed(netns: &NetNs, args: &[&str]) -> Vec<Value> {
    let output = netns.run("ip", &[&["-json"], args].concat());
    assert!(output.status.success(), "ip {args:?} in {}: {output:?}", netns.name());
    // Nothing at all when there is nothing to list.
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}
