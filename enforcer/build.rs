//! Builds `../enforcer-ebpf` for `bpfel-unknown-none` and leaves the object in `OUT_DIR`.
//!
//! Where the compiler comes from, first hit wins:
//! 1. `ENFORCER_EBPF_PREBUILT=DIR`: no compiler, a ready-made object `DIR/enforcer`;
//! 2. `ENFORCER_EBPF_RUSTC` and `ENFORCER_EBPF_CARGO`: these two programs;
//! 3. `ENFORCER_EBPF_TOOLCHAIN=NAME`: `rustup run NAME`;
//! 4. the toolchain that builds this crate, then rustup's `nightly`, if they have `rust-src`;
//! 5. Debian's packages in `/usr/bin`.
//!
//! A compiler that is not a nightly gets `RUSTC_BOOTSTRAP=1`, for the eBPF build only.

#[path = "build/object.rs"]
mod object;

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

const OBJECT: &str = "enforcer";
const TARGET: &str = "bpfel-unknown-none";
/// What aya-ebpf 0.2 asks for.
const OLDEST_RUSTC: u32 = 87;
const HOW_TO: &str = "to fix it, one of:
  cargo xtask setup                    (Debian and Ubuntu, as root: installs all that is needed)
  rustup component add rust-src        (and `cargo install bpf-linker --version 0.13.0`)
  ENFORCER_EBPF_PREBUILT=DIR           (a directory with a ready-made object named `enforcer`)";

fn main() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let object = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join(OBJECT);
    declare_inputs(&workspace);
    match env::var_os("ENFORCER_EBPF_PREBUILT") {
        Some(directory) => copy(&Path::new(&directory).join(OBJECT), &object),
        None => build(&workspace, &object),
    }
    object::examine(&object).unwrap_or_else(|why| fail(&why));
}

fn declare_inputs(workspace: &Path) {
    for variable in ["PREBUILT", "RUSTC", "CARGO", "TOOLCHAIN", "LINKER"] {
        println!("cargo::rerun-if-env-changed=ENFORCER_EBPF_{variable}");
    }
    for path in
        ["enforcer-ebpf/src", "enforcer-ebpf/Cargo.toml", "enforcer-ebpf/Cargo.lock", "enforcer-common/src"]
    {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
}

fn build(workspace: &Path, object: &Path) {
    let linker = linker(workspace);
    let compiler = compiler();
    // One cache for all profiles and features of the outer build, with a lock of its own.
    let target =
        object.ancestors().nth(5).expect("OUT_DIR lies five levels below the target directory").join("ebpf");
    let mut cargo = compiler.cargo();
    cargo.current_dir(workspace.join("enforcer-ebpf"));
    cargo.args(["build", "--release", "--locked", "--bins", "--target", TARGET, "--target-dir"]).arg(&target);
    if compiler.needs_core {
        cargo.arg("-Zbuild-std=core");
    }
    forget_outer_build(&mut cargo);
    compiler.prepare(&mut cargo);
    let flags = [
        format!("-Clinker={}", linker.display()),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // Instructions on halves of registers (kernel 5.1): without them each number of 32 bits costs two shifts.
        "-Ctarget-cpu=v3".to_owned(),
        // A station reaches the journey through its table while who called it holds a reference to it.
        "-Zmutable-noalias=no".to_owned(),
        // Constant-size memset and memcpy become stores instead of calls to a byte loop.
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let output = cargo.output().unwrap_or_else(|error| fail(&format!("cannot run {cargo:?}: {error}")));
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        fail(&format!("the eBPF build with {} failed:\n{errors}", compiler.name));
    }
    copy(&target.join(TARGET).join("release").join(OBJECT), object);
}

/// Nothing of the outer build may leak in: clippy's wrapper, its flags, its target.
fn forget_outer_build(cargo: &mut Command) {
    const KEPT: [&str; 5] = ["CARGO_HOME", "CARGO_NET", "CARGO_REGISTR", "CARGO_HTTP", "CARGO_TERM_COLOR"];
    const FOREIGN: [&str; 9] = [
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTC_BOOTSTRAP",
        "TARGET",
        "HOST",
        "OUT_DIR",
        "PROFILE",
        "OPT_LEVEL",
    ];
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let of_cargo = name.starts_with("CARGO_") && !KEPT.iter().any(|kept| name.starts_with(kept));
        if of_cargo || name.starts_with("RUSTC_W") || FOREIGN.contains(&&*name) {
            cargo.env_remove(&*name);
        }
    }
}

/// A compiler that can build for eBPF.
struct Compiler {
    name: String,
    /// `rustup run NAME`, or nothing.
    toolchain: Option<String>,
    rustc: PathBuf,
    cargo: PathBuf,
    nightly: bool,
    /// It has the sources of `core` but no compiled `core` for the target.
    needs_core: bool,
}

impl Compiler {
    fn cargo(&self) -> Command {
        self.command(&self.cargo)
    }

    fn command(&self, program: &Path) -> Command {
        match &self.toolchain {
            None => Command::new(program),
            Some(toolchain) => {
                let mut command = Command::new("rustup");
                command.env("RUSTUP_AUTO_INSTALL", "0").args(["run", toolchain]).arg(program);
                command
            }
        }
    }

    fn prepare(&self, cargo: &mut Command) {
        cargo.env_remove("RUSTUP_TOOLCHAIN");
        if self.toolchain.is_none() {
            cargo.env("RUSTC", &self.rustc);
        }
        if !self.nightly {
            cargo.env("RUSTC_BOOTSTRAP", "1");
        }
    }

    /// The compiler if it can do it, else why not.
    fn examined(mut self) -> Result<Self, String> {
        let version = self.ask(&["--version"]).map_err(|why| format!("{}: {why}", self.name))?;
        let minor: u32 = version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0);
        if minor < OLDEST_RUSTC {
            return Err(format!("{}: {version} is older than 1.{OLDEST_RUSTC}", self.name));
        }
        let sysroot = self.ask(&["--print", "sysroot"]).map_err(|why| format!("{}: {why}", self.name))?;
        let library = Path::new(&sysroot).join("lib/rustlib");
        let has_core = library.join(TARGET).join("lib").is_dir();
        let has_source = library.join("src/rust/library/core/Cargo.toml").is_file();
        if !has_core && !has_source {
            return Err(format!("{}: {version} has neither rust-src nor a core for {TARGET}", self.name));
        }
        self.nightly = version.contains("nightly");
        self.needs_core = !has_core;
        Ok(self)
    }

    fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.command(&self.rustc);
        command.env_remove("RUSTC_WRAPPER").args(arguments);
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            let first = String::from_utf8_lossy(&output.stderr);
            return Err(first.lines().next().unwrap_or("does not run").to_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

fn compiler() -> Compiler {
    let at = |name: &str, toolchain: Option<&str>, rustc: PathBuf, cargo: PathBuf| Compiler {
        name: name.to_owned(),
        toolchain: toolchain.map(ToOwned::to_owned),
        rustc,
        cargo,
        nightly: false,
        needs_core: false,
    };
    let rustup = |name: &str| at(&format!("rustup's {name}"), Some(name), "rustc".into(), "cargo".into());
    if let (Some(rustc), Some(cargo)) =
        (env::var_os("ENFORCER_EBPF_RUSTC"), env::var_os("ENFORCER_EBPF_CARGO"))
    {
        let chosen = at("ENFORCER_EBPF_RUSTC", None, rustc.into(), cargo.into());
        return chosen.examined().unwrap_or_else(|why| fail(&format!("{why}\n{HOW_TO}")));
    }
    if let Ok(toolchain) = env::var("ENFORCER_EBPF_TOOLCHAIN") {
        return rustup(&toolchain).examined().unwrap_or_else(|why| fail(&format!("{why}\n{HOW_TO}")));
    }
    let own = |name| PathBuf::from(env::var_os(name).expect("cargo sets it for build scripts"));
    let candidates = [
        at("the toolchain that builds this crate", None, own("RUSTC"), own("CARGO")),
        rustup("nightly"),
        at("Debian's /usr/bin/rustc", None, "/usr/bin/rustc".into(), "/usr/bin/cargo".into()),
    ];
    let mut refused = String::new();
    for candidate in candidates {
        match candidate.examined() {
            Ok(compiler) => return compiler,
            Err(why) => writeln!(refused, "  {why}").expect("a string takes it"),
        }
    }
    fail(&format!("no Rust toolchain here can build for eBPF:\n{refused}{HOW_TO}"))
}

fn linker(workspace: &Path) -> PathBuf {
    if let Some(linker) = env::var_os("ENFORCER_EBPF_LINKER") {
        return linker.into();
    }
    let mut directories = vec![workspace.join(".tools/bin")];
    directories.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    directories.extend(env::var_os("CARGO_HOME").map(|home| Path::new(&home).join("bin")));
    let found =
        directories.into_iter().map(|directory| directory.join("bpf-linker")).find(|path| path.is_file());
    let found =
        found.unwrap_or_else(|| fail(&format!("bpf-linker is neither in .tools/bin nor in PATH\n{HOW_TO}")));
    fs::canonicalize(&found).unwrap_or(found)
}

fn copy(from: &Path, to: &Path) {
    if let Err(error) = fs::copy(from, to) {
        fail(&format!("cannot copy {} to {}: {error}", from.display(), to.display()));
    }
}

fn fail(message: &str) -> ! {
    for line in message.lines() {
        println!("cargo::error={line}");
    }
    exit(1)
}
