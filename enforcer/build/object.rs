//! What a kernel would refuse of the object on the user's machine is refused while it is built.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

use aya_obj::{Object, generated::bpf_insn};

/// Bytes of stack for all functions that are active at once, each rounded up to [`FRAME_UNIT`] (kernels before 6.8;
/// later ones round less: `check_max_stack_depth`).
const STACK_BYTES: usize = 512;
const FRAME_UNIT: usize = 32;

/// Why no kernel, or not every kernel, would load the object; `Ok` where all would.
pub(crate) fn examine(path: &Path) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut object =
        Object::parse(&bytes).map_err(|error| format!("{} is no eBPF object: {error}", path.display()))?;
    refuse_panics(&object)?;
    refuse_scattered(&object)?;
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    object.programs.iter().try_for_each(|(name, program)| {
        let frames = frames(&object.functions[&program.function_key()].instructions);
        let deepest = deepest(&frames, 0);
        let bytes: usize = deepest.iter().sum();
        if bytes <= STACK_BYTES {
            return Ok(());
        }
        Err(format!(
            "{name} needs {bytes} bytes of stack, {STACK_BYTES} are allowed: frames of {deepest:?} bytes"
        ))
    })
}

/// A panic needs code that the verifier refuses.
fn refuse_panics(object: &Object) -> Result<(), String> {
    let panics: Vec<&str> = object
        .functions
        .values()
        .map(|function| function.name.as_str())
        .filter(|name| ["panic", "unwrap_failed", "expect_failed"].iter().any(|bad| name.contains(bad)))
        .collect();
    if panics.is_empty() { Ok(()) } else { Err(format!("the eBPF object can panic: {}", panics.join(", "))) }
}

/// aya takes all functions that are called for those of one section, and calls others where they lie in two: the compiler
/// puts a `#[cold]` one into a section of its own.
fn refuse_scattered(object: &Object) -> Result<(), String> {
    let programs: HashSet<usize> = object.programs.values().map(|program| program.function_key().0).collect();
    let called = object.functions.iter().filter(|((section, _), _)| !programs.contains(section));
    let sections: BTreeMap<usize, &str> =
        called.map(|((section, _), function)| (*section, function.name.as_str())).collect();
    if sections.len() <= 1 {
        return Ok(());
    }
    let examples: Vec<&str> = sections.into_values().collect();
    Err(format!("the functions of the eBPF object lie in several sections: {}", examples.join(", ")))
}

/// A function of a program.
#[derive(Default)]
struct Frame {
    /// Its stack as the kernel counts it.
    bytes: usize,
    /// Where the functions that it calls begin.
    calls: Vec<usize>,
}

/// The functions of a program with all it calls, by where they begin.
fn frames(program: &[bpf_insn]) -> BTreeMap<usize, Frame> {
    let calls =
        program.iter().enumerate().filter_map(|(at, instruction)| Some((at, call(at, *instruction)?)));
    let calls: Vec<(usize, usize)> = calls.collect();
    let mut frames: BTreeMap<usize, Frame> =
        calls.iter().map(|(_, target)| (*target, Frame::default())).collect();
    frames.entry(0).or_default();
    let starts: Vec<usize> = frames.keys().copied().collect();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(program.len());
        let frame = frames.get_mut(start).expect("it was just made");
        frame.bytes = depth(&program[*start..end]).max(1).next_multiple_of(FRAME_UNIT);
        frame.calls = calls.iter().filter(|(at, _)| (*start..end).contains(at)).map(|call| call.1).collect();
    }
    frames
}

/// Where the function begins that an instruction calls.
fn call(at: usize, instruction: bpf_insn) -> Option<usize> {
    const CALL: u8 = 0x85;
    const TO_FUNCTION: u8 = 1;
    let calls = instruction.code == CALL && instruction.src_reg() == TO_FUNCTION;
    calls.then(|| at.checked_add_signed(instruction.imm as isize + 1)).flatten()
}

/// How far below the frame pointer a function reaches: by what it loads and stores there, and by the pointers that it
/// makes of it.
fn depth(function: &[bpf_insn]) -> usize {
    const FRAME_POINTER: u8 = 10;
    const MOVE: u8 = 0xbf;
    const ADD: u8 = 0x07;
    const CLASS: u8 = 0x07;
    const LOAD: u8 = 1;
    const STORES: [u8; 2] = [2, 3];
    let mut depth = 0;
    let mut pointers = HashSet::new();
    for instruction in function {
        let (code, to, from) = (instruction.code, instruction.dst_reg(), instruction.src_reg());
        let class = code & CLASS;
        let base = if class == LOAD { from } else { to };
        let below = match code {
            ADD if pointers.remove(&to) => instruction.imm,
            _ if (class == LOAD || STORES.contains(&class)) && base == FRAME_POINTER => {
                instruction.off.into()
            }
            _ => 0,
        };
        if code == MOVE && from == FRAME_POINTER {
            pointers.insert(to);
        }
        depth = depth.max(below.min(0).unsigned_abs() as usize);
    }
    depth
}

/// The frames of the chain of calls that takes most stack, from the function that begins at `start` on. The verifier
/// refuses recursion.
fn deepest(frames: &BTreeMap<usize, Frame>, start: usize) -> Vec<usize> {
    let frame = &frames[&start];
    let behind = frame.calls.iter().map(|call| deepest(frames, *call));
    let deepest = behind.max_by_key(|chain| chain.iter().sum::<usize>()).unwrap_or_default();
    [vec![frame.bytes], deepest].concat()
}
