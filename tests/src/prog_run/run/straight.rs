//! Frames that go straight into their receiver's interface, or to the outside.

use enforcer::shortcut::Kinds;
use enforcer_common::{event::Hook, shortcut::Shortcut};

use super::{
    super::{Lab, context::SkBuff, outcome::NEXT_PROGRAM},
    FOREIGN_MARK, Run,
};

/// `TC_ACT_REDIRECT`.
const REDIRECT: i32 = 7;

impl Lab {
    /// How an endpoint may be reached; its interface is its own.
    pub fn shortcut(&mut self, endpoint: &str, shortcut: Shortcut) {
        let (ifindex, id) = (self.interface(endpoint), self.endpoint_named(endpoint).id.0);
        let shortcut = Shortcut { ifindex, ..shortcut };
        self.datapath.shortcuts.write(id, shortcut).expect("the table has a place for each endpoint");
    }

    /// Shortcuts of these kinds may be taken for a while, which begins when the program is loaded: that takes longer on
    /// a slow machine.
    pub fn lease(&mut self, kinds: Kinds) {
        self.classifier(Hook::FromEndpoint);
        self.datapath.shortcuts.lease(kinds).expect("the table has a place for it");
    }

    /// Shortcuts of these kinds lead through an interface to the outside.
    pub fn outside(&mut self, interface: &str, kinds: Kinds) {
        let ifindex = self.interface(interface);
        self.classifier(Hook::FromUplink);
        self.datapath.shortcuts.write_outside(ifindex, kinds).expect("the table has a place for it");
    }

    /// Packets that an endpoint was given.
    pub fn received(&self, endpoint: &str) -> u64 {
        let id = self.endpoint_named(endpoint).id;
        self.datapath.tables.endpoint_counters(id).expect("the counters are readable").received.packets
    }
}

impl Run<'_> {
    /// The frame as it goes straight; `None` where it goes on to the stack, which gets it as it was.
    #[track_caller]
    pub fn straight(self) -> Option<Vec<u8>> {
        self.redirected(0)
    }

    /// The same to the outside, where an uplink's hook asks for the stamp.
    #[track_caller]
    pub fn straight_out(self) -> Option<Vec<u8>> {
        let stamp = self.lab.stamp_of(&self.endpoint);
        self.redirected(stamp)
    }

    #[track_caller]
    fn redirected(mut self, stamp: u32) -> Option<Vec<u8>> {
        self.lab.counted = None;
        let ifindex = self.lab.interface(&self.endpoint);
        let context = SkBuff::new(FOREIGN_MARK, self.ingress_ifindex, ifindex).segmented(self.segments);
        let (code, mark, frame) = self.execute(context);
        if code == REDIRECT {
            assert_eq!(mark, FOREIGN_MARK | stamp, "the mark of {}", self.packet);
            return Some(frame);
        }
        assert_eq!(code, NEXT_PROGRAM, "{} goes neither straight nor by the stack", self.packet);
        assert_eq!(frame, self.packet.bytes(), "{} goes by the stack, and was changed", self.packet);
        None
    }
}
