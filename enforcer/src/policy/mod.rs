//! A policy's way, from text to tables.
