//! Takes everything of ours off this host, and proves it.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use aya::programs::loaded_programs;
use futures_util::TryStreamExt;
use netlink_packet_route::{
    link::{LinkAttribute, LinkXdp},
    tc::TcHandle,
};
use rtnetlink::Handle;

use super::{
    place::{Lock, Place},
    store::Store,
};
use crate::datapath::{
    attach::{self, FILTER_MINOR, UPLINK_FILTER_MINOR},
    bpf::{self, TcxHook},
    filters, gate,
    load::PROGRAMS,
    nft::NftError,
    pins::Pins,
};

/// Removes programs, tables, the saved policy and the socket; returns what was removed.
pub fn clean(bpffs: &Path, state_dir: &Path, socket: &Path) -> anyhow::Result<Vec<String>> {
    if !nix::unistd::geteuid().is_root() {
        bail!("`enforcer clean` needs root; try `sudo enforcer clean`");
    }
    let place = Place::take(socket, bpffs).context("stop the daemon first")?;
    let pins = Pins::new(bpffs.to_owned());
    let mut removed = Vec::new();
    // First: without the programs it would cut every workload.
    if unless_missing(gate::remove())?.unwrap_or_default() {
        removed.push("gate".to_owned());
    }
    for (ifindex, program, path) in pins.list_links()? {
        // By its last reference alone it would go, and be found, some time later.
        bpf::open_pin(&path)
            .and_then(bpf::detach_link)
            .with_context(|| format!("cannot detach {}", path.display()))?;
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        removed.push(format!("link of {program} on interface {ifindex}"));
    }
    removed.extend(block_on(clean_filters(&pins))?);
    if !pins.ours().is_empty() {
        pins.remove_all()?;
        removed.push(format!("tables at {}", bpffs.display()));
    }
    if Store::new(state_dir.to_owned()).remove_all()? {
        removed.push(format!("saved policies in {}", state_dir.display()));
    }
    if socket.exists() {
        fs::remove_file(socket)?;
        removed.push(format!("socket {}", socket.display()));
    }
    drop(place);
    drop(fs::remove_file(Lock::path(socket)));
    Ok(removed)
}

/// What of ours is still there; nothing when clean.
pub fn clean_check(bpffs: &Path, state_dir: &Path, socket: &Path) -> anyhow::Result<Vec<String>> {
    let mut left = Vec::new();
    left.extend(Pins::new(bpffs.to_owned()).ours().iter().map(|path| path.display().to_string()));
    let saved = Store::new(state_dir.to_owned()).files()?;
    left.extend(saved.iter().map(|name| format!("saved policy {}", state_dir.join(name).display())));
    for path in [socket.to_owned(), Lock::path(socket)] {
        if path.exists() {
            left.push(path.display().to_string());
        }
    }
    left.extend(unless_missing(gate::present())?.unwrap_or_default());
    left.extend(attached_programs()?);
    left.extend(block_on(find_guards())?);
    left.extend(block_on(find_filters())?.into_iter().map(|filter| filter.text()));
    Ok(left)
}

/// Without nft there is no gate.
fn unless_missing<T>(outcome: Result<T, NftError>) -> anyhow::Result<Option<T>> {
    match outcome {
        Err(NftError::Missing) => Ok(None),
        outcome => outcome.map(Some).context("cannot look for the gate"),
    }
}

/// Ids of our programs, in whatever namespace they run.
fn our_programs() -> Vec<u32> {
    loaded_programs()
        .filter_map(Result::ok)
        .filter(|program| program.name_as_str().is_some_and(|name| PROGRAMS.contains(&name)))
        .map(|program| program.id())
        .collect()
}

/// Our programs on the tcx hooks of this namespace's interfaces.
fn attached_programs() -> anyhow::Result<Vec<String>> {
    let ours = our_programs();
    let mut left = Vec::new();
    for (ifindex, name) in interfaces()? {
        for hook in [TcxHook::Ingress, TcxHook::Egress] {
            // Before 6.6 there is no such hook, and so nothing on it.
            let programs = bpf::tcx_programs(ifindex, hook).unwrap_or_default();
            let found = programs.iter().filter(|id| ours.contains(id)).count();
            if found > 0 {
                left.push(format!("{found} program(s) on {hook:?} of {name}"));
            }
        }
    }
    Ok(left)
}

/// Our XDP programs on this namespace's interfaces.
async fn find_guards() -> anyhow::Result<Vec<String>> {
    let ours = our_programs();
    let links = open_netlink()?.link().get().execute().try_collect::<Vec<_>>().await;
    let mut left = Vec::new();
    for link in links.context("cannot list interfaces")? {
        let xdp = link.attributes.iter().filter_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => Some(xdp),
            _ => None,
        });
        let is_ours = |xdp: &LinkXdp| matches!(xdp, LinkXdp::ProgId(id) if ours.contains(id));
        if xdp.flatten().any(is_ours) {
            left.push(format!("guard on interface {}", link.header.index));
        }
    }
    Ok(left)
}

fn interfaces() -> anyhow::Result<Vec<(u32, String)>> {
    let interfaces = nix::net::if_::if_nameindex().context("cannot list interfaces")?;
    let interfaces = interfaces.iter();
    Ok(interfaces.map(|found| (found.index(), found.name().to_string_lossy().into_owned())).collect())
}

/// One of our filters on a clsact qdisc.
struct Filter {
    ifindex: u32,
    name: String,
    program: &'static str,
}

impl Filter {
    fn text(&self) -> String {
        format!("filter {} on {}", self.program, self.name)
    }
}

async fn clean_filters(pins: &Pins) -> anyhow::Result<Vec<String>> {
    let filters = find_filters().await?;
    for filter in &filters {
        attach::detach_clsact(&filter.name);
    }
    let handle = open_netlink()?;
    let mut removed: Vec<String> = filters.iter().map(Filter::text).collect();
    for (ifindex, name) in interfaces()? {
        if pins.has_qdisc_mark(ifindex) && all_filters(&handle, ifindex).await.is_empty() {
            let mut request = handle.qdisc().del(ifindex as i32);
            request.message_mut().header.parent = TcHandle::CLSACT;
            request.message_mut().header.handle = TcHandle { major: 0xffff, minor: 0 };
            request.execute().await.with_context(|| format!("cannot remove the clsact qdisc of {name}"))?;
            removed.push(format!("clsact qdisc of {name}"));
        }
    }
    Ok(removed)
}

async fn find_filters() -> anyhow::Result<Vec<Filter>> {
    let handle = open_netlink()?;
    let mut filters = Vec::new();
    for (ifindex, name) in interfaces()? {
        for filter in all_filters(&handle, ifindex).await {
            let marked = [FILTER_MINOR, UPLINK_FILTER_MINOR].contains(&filter.minor);
            let is_ours = |name: &&str| marked && filter.name.starts_with(name);
            if let Some(program) = PROGRAMS.into_iter().find(is_ours) {
                filters.push(Filter { ifindex, name: name.clone(), program });
            }
        }
    }
    filters.sort_by_key(|filter| filter.ifindex);
    Ok(filters)
}

/// All bpf filters of an interface, both directions.
async fn all_filters(handle: &Handle, ifindex: u32) -> Vec<filters::Filter> {
    let mut found = filters::list(handle, ifindex, TcxHook::Ingress).await;
    found.extend(filters::list(handle, ifindex, TcxHook::Egress).await);
    found
}

fn open_netlink() -> anyhow::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
    tokio::spawn(connection);
    Ok(handle)
}

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
