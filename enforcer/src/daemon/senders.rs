//! Whom a stamp stands for where NAT hides the sender: a part of the pure step.
//!
//! A stamp that two endpoints share stands for neither, and an endpoint with several addresses of a family
//! has none there that the policy would know it by.

use std::collections::BTreeMap;

use enforcer_common::{address::Address, endpoint::MaskedSender};

use super::{
    claims::Origin,
    op::{Op, Owned},
    step::{EndpointState, State},
};

/// By stamp.
pub type Senders = BTreeMap<u32, MaskedSender>;

impl State {
    /// Tells the kernel what follows for masked senders from what the step did. What stands for nobody any
    /// more goes before anything else: its address may be somebody else's next.
    pub(super) fn follow_senders(&mut self, ops: &mut Vec<Op>) {
        let wanted = self.senders_wanted();
        if wanted == self.senders {
            return;
        }
        let is_gone = |stamp: &u32, sender: &MaskedSender| wanted.get(stamp) != Some(sender);
        let gone = self.senders.iter().filter(|(stamp, sender)| is_gone(stamp, sender));
        let mut all: Vec<Op> = gone.map(|(stamp, _)| Op::RemoveSender { stamp: *stamp }).collect();
        let new = wanted.iter().filter(|(stamp, sender)| self.senders.get(stamp) != Some(sender));
        let new: Vec<Op> =
            new.map(|(stamp, sender)| Op::WriteSender { stamp: *stamp, sender: *sender }).collect();
        let last = ops.iter().position(|op| *op == Op::FactsChanged).unwrap_or(ops.len());
        let after = ops.split_off(last);
        all.append(ops);
        all.extend(new);
        all.extend(after);
        *ops = all;
        self.senders = wanted;
    }

    /// Every stamp that is one endpoint's, if that can be known by one address.
    fn senders_wanted(&self) -> Senders {
        let mut holders: BTreeMap<u32, Option<(u32, &EndpointState)>> = BTreeMap::new();
        for (ifindex, endpoint) in &self.endpoints {
            let holder = holders.entry(endpoint.record.stamp);
            holder.and_modify(|holder| *holder = None).or_insert(Some((*ifindex, endpoint)));
        }
        let senders = holders.into_iter().filter_map(|(stamp, holder)| {
            let (ifindex, endpoint) = holder?;
            Some((stamp, sender(ifindex, endpoint)?))
        });
        senders.collect()
    }
}

fn sender(ifindex: u32, endpoint: &EndpointState) -> Option<MaskedSender> {
    let [v4, v6] = [true, false].map(|v4| sole(&endpoint.owned, v4));
    (v4.is_some() || v6.is_some()).then(|| MaskedSender {
        v4: v4.unwrap_or_default(),
        v6: v6.unwrap_or_default(),
        endpoint: endpoint.id,
        ifindex,
    })
}

/// The only thing owned of a family, if that is an address.
fn sole(owned: &BTreeMap<Owned, Origin>, v4: bool) -> Option<Address> {
    let mut family = owned.keys().filter(|network| network.address.is_v4() == v4);
    let only = family.next().filter(|network| network.bits == 128)?;
    family.next().is_none().then_some(only.address)
}
