//! `enforcer`: logical networks, enforced per packet on container hosts.
//!
//! A policy's way runs through [`policy`] (text → model → tables).

pub mod policy;
