//! Kernel modules: which files, and in which order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt;

/// What the tests use beyond what is built in. What a kernel has no file for is built in, or missed by a test.
const WANTED: [&str; 45] = [
    "veth",
    "sch_ingress",
    "cls_bpf",
    "act_bpf",
    "act_gact",
    "cls_matchall",
    "cls_flower",
    "cls_u32",
    "vxlan",
    "bridge",
    "br_netfilter",
    "8021q",
    "ipip",
    "ip6_tunnel",
    "sit",
    "ip_gre",
    "ip6_gre",
    "geneve",
    "ipvlan",
    "macvlan",
    "dummy",
    "tun",
    "nf_tables",
    "nft_counter",
    "nft_meta_bridge",
    "nft_limit",
    "nft_ct",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_compat",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "ip_tables",
    "ip6_tables",
    "iptable_filter",
    "iptable_nat",
    "xt_MASQUERADE",
    "xt_conntrack",
    "sch_fq",
    "pktgen",
    "virtio_pci",
    "nft_reject_inet",
    "nft_log",
];

/// A module and what it is made of.
pub struct Module {
    /// The name of its file, uncompressed.
    pub file: String,
    /// The module.
    pub bytes: Vec<u8>,
}

/// The wanted modules of a kernel, each after those that it needs.
pub fn wanted(directory: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(directory, &mut files)?;
    let mut collected = Collected { files, done: Vec::new(), modules: Vec::new() };
    for name in WANTED {
        collected.add(name)?;
    }
    Ok(collected.modules)
}

struct Collected {
    files: BTreeMap<String, PathBuf>,
    done: Vec<String>,
    modules: Vec<Module>,
}

impl Collected {
    fn add(&mut self, name: &str) -> Result<()> {
        let name = canonical(name);
        let Some(path) = self.files.get(&name).cloned() else { return Ok(()) };
        if self.done.contains(&name) {
            return Ok(());
        }
        self.done.push(name.clone());
        let bytes = read(&path)?;
        for needed in needs(&bytes) {
            self.add(&needed)?;
        }
        self.modules.push(Module { file: format!("{name}.ko"), bytes });
        Ok(())
    }
}

/// In the names of modules both signs are the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn index(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("no modules in {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if entry.file_type()?.is_dir() {
            index(&path, files)?;
        } else if let Some(module) = name.strip_suffix(".ko.xz").or(name.strip_suffix(".ko")) {
            files.insert(canonical(module), path);
        }
    }
    Ok(())
}

/// Not every kernel can decompress its modules itself.
fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        Ok(apt::run(Command::new("xz").arg("-dc").arg(path))?.stdout)
    } else {
        fs::read(path).with_context(|| format!("failed to read {}", path.display()))
    }
}

/// The modules that this one says it depends on, in its `.modinfo` section: strings that end with a zero.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        assert_eq!(needs(b"ELF\0license=GPL\0depends=nf_tables,x-y\0retpoline=Y\0"), ["nf_tables", "x-y"]);
        assert!(needs(b"ELF\0depends=\0").is_empty());
        assert!(needs(b"ELF").is_empty());
    }
}
