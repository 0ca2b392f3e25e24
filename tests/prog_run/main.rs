//! Packet + tables → verdict, reason, packet out and counters, through `BPF_PROG_TEST_RUN`: nothing is
//! attached, no traffic flows.
