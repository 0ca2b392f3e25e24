//! The names that people gave to namespaces, by the ids that the kernel gave to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::fd::AsRawFd,
};

use futures_util::StreamExt;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    nsid::{NsidAttribute, NsidMessage},
};
use rtnetlink::Handle;

/// Where `ip netns` and container runtimes name namespaces.
const DIRECTORY: &str = "/run/netns";

/// Names of namespaces, by their ids here. A namespace that has no id has no veth here either.
pub type Names = BTreeMap<i32, BTreeSet<String>>;

/// What is named at this moment. What cannot be opened or asked for has no name.
pub async fn netns_names(handle: &Handle) -> Names {
    let mut names = Names::new();
    for entry in fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        let (Ok(name), Ok(file)) = (entry.file_name().into_string(), File::open(entry.path())) else {
            continue;
        };
        if let Some(nsid) = nsid_of(handle, NsidAttribute::Fd(file.as_raw_fd() as u32)).await {
            names.entry(nsid).or_default().insert(name);
        }
    }
    names
}

/// The kernel's id here of a namespace that is named by a descriptor or by a process; `None` where it has none, so that
/// no veth here leads to it.
pub async fn nsid_of(handle: &Handle, namespace: NsidAttribute) -> Option<i32> {
    let mut message = NsidMessage::default();
    message.attributes.push(namespace);
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(message));
    request.header.flags = NLM_F_REQUEST;
    let mut answers = handle.clone().request(request).ok()?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) = answer.payload {
            let id = answer.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(id) => Some(*id),
                _ => None,
            });
            // Minus one: it has none.
            return id.filter(|id| *id >= 0);
        }
    }
    None
}
