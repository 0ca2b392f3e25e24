//! Harness of the tests.

pub mod packet;
pub mod prog_run;
