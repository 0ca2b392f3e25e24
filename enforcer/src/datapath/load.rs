//! Loads the object: checks pinned tables before they are reused, sets the constants, loads the programs.

use std::{io::Write, path::PathBuf};

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::{MapData, MapInfo, RingBuf},
    programs::{Program, ProgramError, SchedClassifier, Xdp},
};

use aya_obj::Object;

use super::{
    migrate::{self, MigrateError},
    pins::{PinError, Pins},
    probe,
    shortcuts::Shortcuts,
    sizes::{SIZED, Sizes, TableKind},
    tables::{NAMES, TableError, Tables},
};

/// The datapath, compiled for the kernel.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/enforcer"));

/// The programs, by the hook they are for.
pub const PROGRAMS: [&str; 4] = [FROM_ENDPOINT, TO_ENDPOINT, GUARD, FROM_UPLINK];
/// What runs where endpoints send.
pub const FROM_ENDPOINT: &str = "from_endpoint";
/// What runs where it is delivered to them.
pub const TO_ENDPOINT: &str = "to_endpoint";
/// What runs at uplinks.
pub const FROM_UPLINK: &str = "from_uplink";
/// The early guard.
pub const GUARD: &str = "xdp_guard";

/// Lines of a verifier log worth showing; the whole goes to a file.
const VERIFIER_LINES: usize = 25;

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to pin, and what to reuse; `None` keeps everything in this process.
    pub pins: Option<Pins>,
    /// Bits of the packet mark that carry stamps.
    pub mark_mask: u32,
    /// Whether every packet is traced through `aya-log`; off leaves no instruction of it.
    pub trace: bool,
    /// Whether the exact clock is read also where ticks would do.
    pub exact_clock: bool,
    /// How large the tables are.
    pub sizes: Sizes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pins: None,
            mark_mask: DEFAULT_MARK_MASK,
            trace: false,
            exact_clock: false,
            sizes: Sizes::default(),
        }
    }
}

/// Bits of the packet mark that carry stamps unless the host file says otherwise.
pub const DEFAULT_MARK_MASK: u32 = 0x0ff0_0000;

/// Why the datapath cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// This kernel is older than everything tested.
    #[error(
        "kernel {found} is too old: enforcer needs {}.{} or newer. Boot a newer one: Debian has had it since 11, \
         Ubuntu since 22.04, RHEL since 9; nothing was changed on this host",
        probe::FLOOR.0,
        probe::FLOOR.1
    )]
    OldKernel {
        /// The running kernel's release.
        found: String,
    },
    /// This kernel lets one packet interrupt another one.
    #[error(
        "kernel {found} is built for real time (PREEMPT_RT), where a packet may interrupt another one in the middle of its \
         judgement. Boot one that is not; nothing was changed on this host"
    )]
    RealtimeKernel {
        /// The running kernel's release.
        found: String,
    },
    /// The mask leaves no room for a stamp.
    #[error("mark mask {0:#010x} is not a run of at least two bits, such as 0x0ff00000")]
    MarkMask(u32),
    /// The pins cannot be used.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The tables of another version cannot be taken over.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// A pinned table was made by another version.
    #[error(
        "pinned table {path} has another layout ({found}) than this version's ({wanted}); \
         remove it with `enforcer clean`"
    )]
    Layout {
        /// The pin.
        path: PathBuf,
        /// What lies there.
        found: String,
        /// What should.
        wanted: String,
    },
    /// The kernel refused the object or a map.
    #[error("the kernel refused the datapath")]
    Object(#[from] EbpfError),
    /// The embedded object cannot be read.
    #[error("the embedded datapath cannot be read: {0}")]
    Parse(String),
    /// The verifier refused a program.
    #[error("the kernel refused program {program}: {reason}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The end of the verifier's log, and where all of it is.
        reason: String,
    },
    /// A table could not be opened.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// A loaded datapath.
pub struct Datapath {
    pub(super) ebpf: Ebpf,
    /// Its tables.
    pub tables: Tables,
    /// Ways straight into endpoints.
    pub shortcuts: Shortcuts,
    /// The ABI version whose tables were taken over; its programs run on until they are replaced.
    pub migrated_from: Option<u32>,
    /// The programs that still run may look into other tables than ours.
    pub replaces_others: bool,
}

impl Datapath {
    /// Creates the tables or takes over the pinned ones, and loads the programs of endpoints.
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let mut datapath = Self::open(options)?;
        for program in [FROM_ENDPOINT, TO_ENDPOINT] {
            datapath.classifier(program)?;
        }
        Ok(datapath)
    }

    /// The same, but each program is loaded when it is asked for first.
    pub fn open(options: &Options) -> Result<Self, LoadError> {
        check_kernel()?;
        check_mask(options.mark_mask)?;
        let mut loader = EbpfLoader::new();
        let (mut migrated_from, mut replaces_others, mut sizes) = (None, false, options.sizes);
        if let Some(pins) = &options.pins {
            pins.prepare()?;
            let object = object()?;
            migrated_from = migrate::upgrade(pins, &object)?;
            pins.prepare_maps()?;
            check_layouts(pins, &object)?;
            replaces_others = migrated_from.is_some() | complete_banks(pins, sizes)?;
            sizes = sizes.settle(pins, &object)?;
            for name in NAMES {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let ticks = probe::ticks().filter(|_| !options.exact_clock).unwrap_or_default();
        let log_level: u8 = if options.trace { aya_log::Level::Debug as u8 } else { 0 };
        for (name, entries) in sizes.entries() {
            loader.map_max_entries(name, entries);
        }
        let kernel_tables = u32::from(sizes.tables == TableKind::Kernel);
        let (flow_sets, denied_sets, state_sets) =
            (sizes.flow_sets(), sizes.denied_sets(), sizes.state_sets());
        let measures_pieces = u32::from(probe::measured_pieces());
        loader
            .override_global("MARK_MASK", &options.mark_mask, true)
            .override_global("TICK", &ticks.length, true)
            .override_global("TICKS_FROM", &ticks.from, true)
            .override_global(aya_log::LEVEL, &log_level, true)
            .override_global("KERNEL_TABLES", &kernel_tables, true)
            .override_global("FLOW_SETS", &flow_sets, true)
            .override_global("DENIED_SETS_PER_CPU", &denied_sets, true)
            .override_global("STATE_SETS", &state_sets, true)
            .override_global("MEASURES_PIECES", &measures_pieces, true)
            .verifier_log_level(VerifierLogLevel::DEBUG | VerifierLogLevel::STATS);
        let mut ebpf = loader.load(OBJECT)?;
        let mut tables = Tables::collect(|name| ebpf.take_map(name).ok_or(TableError::Missing(name)), true)?;
        tables.seed()?;
        tables.both = replaces_others;
        tables.introduce_host()?;
        let shortcuts = Shortcuts::collect(|name| ebpf.take_map(name).ok_or(TableError::Missing(name)))?;
        Ok(Self { ebpf, tables, shortcuts, migrated_from, replaces_others })
    }

    /// The program of a hook, loaded or not.
    pub(super) fn program(&mut self, name: &'static str) -> Result<&mut SchedClassifier, ProgramError> {
        self.ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
    }

    /// The program of a tc hook, loaded. Few hosts name their uplinks, and so need that of uplinks.
    pub fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, LoadError> {
        self.late(name)
    }

    /// The program of the early guard. Few hosts want one, so it is loaded when it is asked for first.
    pub fn guard(&mut self) -> Result<&mut Xdp, LoadError> {
        self.late(GUARD)
    }

    fn late<'a, T>(&'a mut self, name: &'static str) -> Result<&'a mut T, LoadError>
    where
        &'a mut T: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let refused = |error: ProgramError| LoadError::Program { program: name, reason: error.to_string() };
        let loaded = self.ebpf.program(name).is_some_and(|program| program.fd().is_ok());
        if !loaded {
            load_program(&mut self.ebpf, name)?;
        }
        let program = self.ebpf.program_mut(name).ok_or(ProgramError::NotLoaded).map_err(refused)?;
        program.try_into().map_err(refused)
    }

    /// The ring of drop events; it can be taken once.
    pub fn take_events(&mut self) -> Result<RingBuf<MapData>, TableError> {
        let map = self.ebpf.take_map("EVENTS").ok_or(TableError::Missing("EVENTS"))?;
        RingBuf::try_from(map).map_err(|source| TableError::Map { name: "EVENTS", source })
    }

    /// The object, for `aya-log`'s reader.
    pub const fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}

/// Refuses a kernel that the programs are not written for.
pub fn check_kernel() -> Result<(), LoadError> {
    let found = probe::release();
    if probe::is_below_floor(&found) {
        return Err(LoadError::OldKernel { found });
    }
    if probe::is_realtime(&probe::build()) { Err(LoadError::RealtimeKernel { found }) } else { Ok(()) }
}

fn check_mask(mask: u32) -> Result<(), LoadError> {
    let run = mask >> mask.trailing_zeros().min(31);
    if run < 3 || run & run.wrapping_add(1) != 0 { Err(LoadError::MarkMask(mask)) } else { Ok(()) }
}

/// The embedded object, as it is written.
pub fn object() -> Result<Object, LoadError> {
    Object::parse(OBJECT).map_err(|error| LoadError::Parse(error.to_string()))
}

/// Before anything says that tables are of another kind. Returns whether there were any.
fn complete_banks(pins: &Pins, sizes: Sizes) -> Result<bool, LoadError> {
    if NAMES.iter().any(|name| !pins.map(name).exists()) {
        return Ok(false);
    }
    let mut tables = Tables::open_writable(pins)?;
    tables.kind = sizes.tables;
    tables.complete_banks().map_err(|error| match error {
        TableError::Io { source, .. } if source.raw_os_error() == Some(libc::EPERM) => {
            MigrateError::Privileges.into()
        }
        error => LoadError::Table(error),
    })
}

/// aya reuses a pinned map of the right name whatever it is, so compare first.
fn check_layouts(pins: &Pins, object: &Object) -> Result<(), LoadError> {
    for name in NAMES {
        let path = pins.map(name);
        let Some(wanted) = object.maps.get(name).filter(|_| path.exists()) else { continue };
        let found = MapInfo::from_pin(&path).map_err(|source| TableError::Map { name, source })?;
        let describe = |kind: u32, key, value, entries: u32, flags: u32| {
            let entries = if SIZED.contains(&name) { "any".to_owned() } else { entries.to_string() };
            format!("type {kind}, {key} -> {value} bytes, {entries} entries, flags {flags:#x}")
        };
        let kind = found.map_type().map_or(0, |kind| kind as u32);
        let found =
            describe(kind, found.key_size(), found.value_size(), found.max_entries(), found.map_flags());
        let wanted = describe(
            wanted.map_type(),
            wanted.key_size(),
            wanted.value_size(),
            wanted.max_entries(),
            wanted.map_flags(),
        );
        if found != wanted {
            return Err(LoadError::Layout { path, found, wanted });
        }
    }
    Ok(())
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let refused = |reason: String| LoadError::Program { program: name, reason };
    let program = ebpf.program_mut(name).ok_or_else(|| refused("it is not in the object".to_owned()))?;
    let loaded = match program {
        Program::SchedClassifier(classifier) => classifier.load(),
        Program::Xdp(guard) => guard.load(),
        _ => return Err(refused("it is of no type that is known".to_owned())),
    };
    loaded.map_err(|error| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            refused(format!("{io_error}\n{}", shorten(name, &verifier_log.to_string())))
        }
        other => refused(other.to_string()),
    })
}

/// The end of a verifier log says why; the rest is for whoever mends the program.
fn shorten(program: &str, log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let end = lines[lines.len().saturating_sub(VERIFIER_LINES)..].join("\n");
    let file = tempfile::Builder::new().prefix(&format!("enforcer-{program}-")).suffix(".log").tempfile();
    let kept = file.and_then(|mut file| {
        file.write_all(log.as_bytes())?;
        Ok(file.keep()?.1)
    });
    match kept {
        Ok(path) => format!("{end}\n(whole log: {})", path.display()),
        Err(_) => end,
    }
}
