//! Looks at the host's interfaces, addresses and routes, and at the addresses inside the workloads.
//!
//! Every change leads to one complete look, so that an event that was lost is made up for by the next
//! one; only a new interface is told at once, because it has to be closed at once, and glimpsed at alone, because its
//! workload waits. The workloads' namespaces are never entered: the kernel answers for them by namespace id, but only on
//! sockets with *strict checking*. Without it the kernel ignores the id and answers with the host's own addresses.

use std::{collections::BTreeSet, io, mem::take, pin::Pin, sync::Arc, time::Duration};

use futures_util::{FutureExt, Stream, StreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::SocketAddr;
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::{
    task::{JoinError, yield_now},
    time::{Instant, timeout_at},
};
use tracing::warn;

use super::event::Observation;
use crate::config::Config;

mod eyes;
mod link;
mod looks;
mod names;
mod route;
mod wire;

use eyes::Eyes;
use link::Link;
use looks::Looks;
pub use names::nsid_of;
pub use route::interface_towards;

/// How soon to look again while some workload has no address yet: nothing tells of changes inside it.
/// Doubles with every look in vain.
const IMPATIENT: Duration = Duration::from_millis(10);

/// How often to look when all is settled.
const PATIENT: Duration = Duration::from_secs(2);

/// At most so many newcomers are glimpsed at, one after the other; a larger crowd is seen sooner by a look.
const CROWD: usize = 8;

/// Why the host cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No netlink socket.
    #[error("failed to open a netlink socket")]
    Socket(#[source] io::Error),
    /// A look did not come to its end.
    #[error("a look at the host was abandoned")]
    Abandoned(#[source] JoinError),
    /// The kernel refused an answer.
    #[error("failed to list {what}")]
    List {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        source: rtnetlink::Error,
    },
}

/// What is told at once, before the look that it leads to.
#[derive(Debug)]
pub enum Wake {
    /// A wanted interface appeared.
    Appeared {
        /// Its index.
        ifindex: u32,
        /// Its name.
        name: String,
    },
    /// A wanted interface went.
    Vanished {
        /// Its index.
        ifindex: u32,
    },
    /// The kernel had more to tell than we could read: an interface may have gone and another have its index,
    /// which a look alone does not show.
    Overrun,
    /// The socket is dead: nothing will be told any more.
    Lost,
}

/// What there is to know.
#[derive(Debug)]
pub enum News {
    /// Something changed, or it was time to look; this much is known of it.
    Told(Vec<Wake>),
    /// A complete look was taken.
    Seen(Result<Observation, LinkError>),
}

/// The kernel's view of the host's links.
pub struct Links {
    messages: Messages,
    looks: Looks,
    /// Beside the looks, which may be under way.
    glimpses: Eyes,
    /// What there was to hear when the look under way had ended was heard.
    heard: bool,
}

impl Links {
    /// Opens the sockets and subscribes; needs a tokio runtime.
    pub fn open(config: Arc<Config>) -> Result<Self, LinkError> {
        let (looks, glimpses) = (Looks::new(config.clone()), Eyes::open(config.clone())?);
        Ok(Self { messages: Messages::open(config)?, looks, glimpses, heard: false })
    }

    /// Goes by another host file from now on.
    pub fn configure(&mut self, config: &Arc<Config>) {
        for known in [&mut self.messages.config, &mut self.looks.config, &mut self.glimpses.config] {
            known.clone_from(config);
        }
        self.looks.want();
    }

    /// A look is taken soon.
    pub fn want_look(&mut self) {
        self.looks.want();
    }

    /// Waits until something changed, until it is time to look, or until a look is complete; nothing is lost when the
    /// waiting is given up. `settled`: no workload is waited for. What came or went while a look was taken is told before
    /// what it saw, but a host on which something always happens is looked at, too.
    pub async fn next(&mut self, settled: bool) -> News {
        let is_over = self.looks.is_over();
        // Whoever reads the socket goes first.
        yield_now().await;
        let is_heard = take(&mut self.heard);
        tokio::select! {
            biased;
            wakes = self.messages.wake(settled), if !is_heard => {
                self.heard = is_over;
                self.heed(&wakes);
                self.looks.begin_if_due();
                News::Told(wakes)
            }
            outcome = self.looks.next() => {
                let Some(outcome) = outcome else { return News::Told(Vec::new()) };
                self.messages.know(&outcome);
                News::Seen(outcome)
            }
        }
    }

    /// A workload was given something that a look under way may not have seen.
    pub fn overtake(&mut self, ifindex: u32) {
        self.looks.overtake(ifindex);
    }

    /// A complete look, at this moment.
    pub async fn look(&mut self) -> Result<Observation, LinkError> {
        let outcome = self.looks.now().await;
        self.messages.know(&outcome);
        outcome
    }

    /// A look at these workloads alone: at all of them or, of a crowd, at none.
    pub async fn glimpse(&mut self, waiting: &[u32]) -> Observation {
        let seen = if waiting.len() <= CROWD { waiting } else { &[] };
        self.glimpses.glimpse(seen.iter().copied()).await
    }

    fn heed(&mut self, wakes: &[Wake]) {
        for wake in wakes {
            match wake {
                Wake::Appeared { ifindex, .. } | Wake::Vanished { ifindex } => self.looks.doubt(*ifindex),
                Wake::Overrun => self.looks.distrust(),
                Wake::Lost => {}
            }
        }
        self.looks.want();
    }
}

type Message = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);

/// What the kernel tells by itself.
struct Messages {
    config: Arc<Config>,
    stream: Pin<Box<dyn Stream<Item = Message> + Send + Sync>>,
    /// When it was last told or looked.
    last: Instant,
    patience: Duration,
    /// Wanted veths and uplinks that were told of already.
    announced: BTreeSet<u32>,
}

impl Messages {
    fn open(config: Arc<Config>) -> Result<Self, LinkError> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Nsid,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ];
        let (connection, _, messages) = new_multicast_connection(&groups).map_err(LinkError::Socket)?;
        tokio::spawn(connection);
        Ok(Self {
            config,
            stream: Box::pin(messages),
            last: Instant::now(),
            patience: IMPATIENT,
            announced: BTreeSet::new(),
        })
    }

    /// Waits for a message, or until it is time to look. All that has been told by now is in the answer, or will be in the
    /// look that follows: one look for each message would fall behind a busy host, and what it is behind with has to be
    /// kept.
    async fn wake(&mut self, settled: bool) -> Vec<Wake> {
        let patience = if settled { PATIENT } else { self.patience };
        let told = timeout_at(self.last + patience, self.stream.next()).await;
        self.last = Instant::now();
        let Ok(mut told) = told else {
            self.patience = (self.patience * 2).min(PATIENT);
            return Vec::new();
        };
        self.patience = IMPATIENT;
        let mut wakes = Vec::new();
        while let Some((message, _)) = told {
            wakes.extend(self.notable(&message));
            let Some(next) = self.stream.next().now_or_never() else { return wakes };
            told = next;
        }
        wakes.push(Wake::Lost);
        wakes
    }

    /// What a look has seen need not be told; what it is unsure of was.
    fn know(&mut self, outcome: &Result<Observation, LinkError>) {
        if let Ok(observation) = outcome {
            self.announced.retain(|ifindex| observation.unsure.contains(ifindex));
            self.announced.extend(observation.veths.keys().chain(observation.uplinks.keys()));
        }
    }

    fn notable(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<Wake> {
        match &message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                let link = Link::read(link);
                let is_new = link.is_veth
                    && self.config.attach.wants(&link.name)
                    && self.announced.insert(link.ifindex);
                is_new.then_some(Wake::Appeared { ifindex: link.ifindex, name: link.name })
            }
            // A port that leaves its bridge is told of in the same words, but for the family.
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                if link.header.interface_family == AddressFamily::Unspec =>
            {
                let ifindex = link.header.index;
                self.announced.remove(&ifindex).then_some(Wake::Vanished { ifindex })
            }
            NetlinkPayload::Overrun(_) => {
                warn!("the kernel told more changes than we could read; looking at everything again");
                Some(Wake::Overrun)
            }
            _ => None,
        }
    }
}
