//! Where containers are asked for.

use std::path::PathBuf;

use serde::Deserialize;

use super::Mistake;

/// Where containers are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Docker {
    /// The socket of its API; `None` for never. Where there is no such file there is no Docker.
    pub socket: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DockerTable {
    socket: String,
}

impl Default for DockerTable {
    fn default() -> Self {
        Self { socket: "/var/run/docker.sock".to_owned() }
    }
}

impl DockerTable {
    pub(super) fn check(self) -> Result<Docker, Mistake> {
        match &*self.socket {
            "off" => Ok(Docker { socket: None }),
            path if path.starts_with('/') => Ok(Docker { socket: Some(path.into()) }),
            _ => {
                let fix = "write the absolute path of its socket, or \"off\"";
                Err(Mistake::new("docker.socket", self.socket, fix))
            }
        }
    }
}
