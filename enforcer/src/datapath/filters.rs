//! The bpf filters on the clsact qdiscs of interfaces, as netlink lists them.

use std::{io, thread};

use futures_util::TryStreamExt;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption};
use rtnetlink::Handle;

use super::bpf::TcxHook;

/// A bpf filter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// The minor number of its handle.
    pub minor: u16,
    /// Name of its program.
    pub name: String,
    /// Id of its program; 0 if the kernel does not say.
    pub program_id: u32,
}

/// All filters of one interface's hook; none where there is no qdisc.
pub async fn list(handle: &Handle, ifindex: u32, hook: TcxHook) -> Vec<Filter> {
    let mut filters = handle.traffic_filter(ifindex as i32);
    let request = match hook {
        TcxHook::Ingress => filters.get().ingress(),
        TcxHook::Egress => filters.get().egress(),
    };
    // An interface without a qdisc refuses the question.
    let messages = request.execute().try_collect::<Vec<_>>().await.unwrap_or_default();
    messages.iter().filter(|message| message.header.handle.minor != 0).map(filter).collect()
}

fn filter(message: &TcMessage) -> Filter {
    let mut filter = Filter { minor: message.header.handle.minor, ..Filter::default() };
    let options = message.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    for option in options.flatten() {
        match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => filter.name.clone_from(name),
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program_id = *id,
            _ => {}
        }
    }
    filter
}

/// The filters with this minor number on both hooks of each interface, ingress first. Waits for the kernel,
/// and may be called where asynchronous code runs: it asks on a thread of its own.
pub fn with_minor(minor: u16, interfaces: &[u32]) -> io::Result<Vec<[Option<Filter>; 2]>> {
    let ask = async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let mut found = Vec::with_capacity(interfaces.len());
        for ifindex in interfaces {
            let mut pair = [None, None];
            for (filter, hook) in pair.iter_mut().zip([TcxHook::Ingress, TcxHook::Egress]) {
                *filter =
                    list(&handle, *ifindex, hook).await.into_iter().find(|filter| filter.minor == minor);
            }
            found.push(pair);
        }
        Ok(found)
    };
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(ask);
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
