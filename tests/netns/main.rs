//! Black-box tests over real interfaces and sockets. They need root.

mod lab;
