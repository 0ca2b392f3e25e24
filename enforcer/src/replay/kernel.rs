//! The kernel's programs as a judge: loaded into a network namespace of their own, attached to nothing, and
//! run by `BPF_PROG_TEST_RUN`.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, bail};
use aya::programs::{ProgramError, TestRun as _, TestRunOptions};
use bytemuck::{Pod, Zeroable};
use enforcer_common::{
    control::{ControlWord, Generation},
    counter::Counter,
    endpoint::{AddressOwner, Endpoint, EndpointId},
    event::Hook,
    verdict::Verdict,
};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
};
use rtnetlink::{LinkVeth, new_connection};

use super::{Cast, Judge, Opinion, Sighting};
use crate::{
    datapath::load::{DEFAULT_MARK_MASK, Datapath, FROM_ENDPOINT, Options, TO_ENDPOINT},
    policy::{self, Capacity, Ids, Policy},
};

/// The kernel's `struct __sk_buff`, as far as a test run may set it; the rest must be zero.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SkBuff {
    before_mark: [u32; 2],
    mark: u32,
    before_ingress_ifindex: [u32; 6],
    ingress_ifindex: u32,
    ifindex: u32,
    after_ifindex: [u32; 32],
    end: [u32; 5],
}

const _: () = assert!(size_of::<SkBuff>() == 192);

/// What goes through no workload's interface enters here.
const UPLINK: &str = "uplink";

/// See the module.
pub struct KernelJudge {
    datapath: Datapath,
    interfaces: BTreeMap<String, u32>,
    endpoints: BTreeMap<String, Endpoint>,
    /// The reason counters behind the latest frame.
    counted: Vec<(Verdict, Counter)>,
}

impl KernelJudge {
    /// Loads everything into a fresh network namespace, which the calling thread lives in from now on: call
    /// it on a thread that does nothing else.
    pub fn in_this_thread(policy: &Policy, cast: &Cast) -> anyhow::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("failed to make a network namespace")?;
        let datapath = Datapath::open(&Options::default())?;
        let names = cast.endpoints().map(|(name, _)| name).chain([UPLINK]);
        let interfaces = interfaces(names)?;
        let counted = datapath.tables.verdicts()?;
        let mut judge = Self { datapath, interfaces, endpoints: BTreeMap::new(), counted };
        judge.apply(policy)?;
        judge.know(cast)?;
        Ok(judge)
    }

    fn apply(&mut self, policy: &Policy) -> anyhow::Result<()> {
        let ids = Ids::default().assign(policy)?;
        let tables = policy::compile(policy, &ids, Capacity::default())?;
        let word = ControlWord::new(1, 0);
        self.datapath.tables.build_bank(0, &tables)?;
        let record = Generation { number: word.generation(), ..tables.generation(policy.digest()) };
        self.datapath.tables.write_generation(word.slot(), record)?;
        self.datapath.tables.publish(word);
        Ok(())
    }

    fn know(&mut self, cast: &Cast) -> anyhow::Result<()> {
        for ((name, address), number) in cast.endpoints().zip(1..) {
            let (id, ifindex) = (EndpointId(number), self.interfaces[name]);
            let stamp = id.stamp(DEFAULT_MARK_MASK);
            let endpoint = Endpoint { id, stamp, flags: Endpoint::ADDRESSED, ..Endpoint::default() };
            self.datapath.tables.write_endpoint(ifindex, &endpoint)?;
            self.own(address, &AddressOwner { endpoint: id, ifindex, stamp, flags: 0 })?;
            self.endpoints.insert(name.to_owned(), endpoint);
        }
        cast.host().iter().try_for_each(|&address| self.own(address, &AddressOwner::HOST))?;
        self.datapath.tables.facts_changed();
        Ok(())
    }

    fn own(&mut self, address: IpAddr, owner: &AddressOwner) -> anyhow::Result<()> {
        Ok(self.datapath.tables.write_address(address.into(), 128, owner)?)
    }

    fn context(&self, sighting: &Sighting) -> SkBuff {
        let entered = match (sighting.hook, sighting.stamp) {
            _ if sighting.locally_generated => 0,
            (Hook::ToEndpoint, None) => self.interfaces[UPLINK],
            (Hook::ToEndpoint, Some(stamp)) => self.interfaces[stamp],
            (Hook::FromEndpoint | Hook::Guard | Hook::FromUplink, _) => self.interfaces[sighting.endpoint],
        };
        let mark = sighting.stamp.map_or(0, |name| self.endpoints[name].stamp);
        let ifindex = self.interfaces[sighting.endpoint];
        SkBuff { mark, ingress_ifindex: entered, ifindex, ..SkBuff::zeroed() }
    }

    /// From the one reason counter that moved. A pass that was counted at the sender moves none.
    fn opinion(&mut self, passes: bool) -> anyhow::Result<Opinion> {
        let after = self.datapath.tables.verdicts()?;
        let before = std::mem::replace(&mut self.counted, after);
        let moved = before.iter().zip(&self.counted).filter(|((_, before), (_, after))| before != after);
        match moved.map(|((verdict, _), _)| *verdict).collect::<Vec<_>>()[..] {
            [verdict] if verdict.is_pass() == passes => Ok(Opinion::exactly(verdict)),
            [] if passes => Ok(Opinion { verdict: "pass".to_owned(), reasons: Vec::new(), by: None }),
            ref moved => bail!("one packet moved these reason counters: {moved:?}"),
        }
    }
}

impl Judge for KernelJudge {
    fn judge(&mut self, sighting: &Sighting) -> anyhow::Result<Option<Opinion>> {
        let context = self.context(sighting);
        let name = match sighting.hook {
            Hook::FromEndpoint | Hook::Guard | Hook::FromUplink => FROM_ENDPOINT,
            Hook::ToEndpoint => TO_ENDPOINT,
        };
        let run = self.datapath.classifier(name)?.test_run(TestRunOptions {
            data_in: Some(sighting.frame),
            ctx_in: Some(bytemuck::bytes_of(&context)),
            ..TestRunOptions::default()
        });
        match run {
            // `TC_ACT_SHOT`; everything else goes on.
            Ok(run) => self.opinion(run.return_value != 2).map(Some),
            // A test run takes no frame beyond a page, none without an Ethernet header, and no IP packet
            // without an IP header.
            Err(ProgramError::SyscallError(error)) if is_refused(&error.io_error) => Ok(None),
            Err(error) => Err(error).context("the kernel runs no tests of programs"),
        }
    }
}

fn is_refused(error: &std::io::Error) -> bool {
    error
        .raw_os_error()
        .map(Errno::from_raw)
        .is_some_and(|errno| matches!(errno, Errno::EINVAL | Errno::E2BIG))
}

/// Makes a veth for each name in this thread's namespace; their indices.
fn interfaces<'a>(names: impl Iterator<Item = &'a str>) -> anyhow::Result<BTreeMap<String, u32>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = new_connection()?;
        tokio::spawn(connection);
        let mut interfaces = BTreeMap::new();
        for name in names {
            let veth = LinkVeth::new(name, &format!("{name}-peer")).build();
            handle.link().add(veth).execute().await.with_context(|| format!("failed to make veth {name}"))?;
            interfaces.insert(name.to_owned(), nix::net::if_::if_nametoindex(name)?);
        }
        Ok(interfaces)
    })
}
