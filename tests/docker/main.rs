//! The real binary beside a real Docker engine. They need root, and Debian's packages docker.io and busybox-static.
#![allow(clippy::unwrap_used, reason = "a test that finds something missing has found something")]

mod isolation;
mod lab;
mod members;
mod outside;
mod published;
mod scene;
mod unseen;
