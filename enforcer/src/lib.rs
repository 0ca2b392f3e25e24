//! `enforcer`: logical networks, enforced per packet on container hosts.
//!
//! A policy's way runs through [`policy`] (text → model → tables) and [`datapath`] (bank → publish).

pub mod config;
pub mod daemon;
pub mod datapath;
pub mod policy;
pub mod report;
pub mod view;
