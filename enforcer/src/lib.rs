//! `enforcer`: logical networks, enforced per packet on container hosts.
//!
//! A policy's way runs through [`policy`] (text → model → tables) and [`datapath`] (bank → publish).
//! People meet it in [`cli`], which asks the [`daemon`] or reads the kernel itself ([`view`]), and shows
//! the [`report`] by [`render`]; [`replay`] judges captured packets.

pub mod adopt;
pub mod cli;
pub mod config;
pub mod conntrack;
pub mod daemon;
pub mod datapath;
pub mod foreign;
pub mod host_end;
pub mod netlink;
pub mod policy;
pub mod render;
pub mod replay;
pub mod report;
pub mod shortcut;
pub mod unenforced;
pub mod view;
