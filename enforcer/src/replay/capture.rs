//! Packets of a pcap or pcapng file, as Ethernet frames.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use pcap_file::{
    DataLink, PcapError,
    pcap::PcapParser,
    pcapng::{
        Block, PcapNgParser,
        blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
    },
};
use thiserror::Error;

/// One packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captured {
    /// When, since 1970.
    pub time: Duration,
    /// The Ethernet header and everything behind it.
    pub frame: Vec<u8>,
    /// The capture kept only the beginning.
    pub cut: bool,
}

/// Why a file is no capture; each message says what to do.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum CaptureError {
    /// The operating system says no.
    #[error("failed to read {path}")]
    Unreadable { path: PathBuf, source: io::Error },
    /// Neither of the formats.
    #[error("{path} is neither a pcap nor a pcapng file; write one with `tcpdump -w {path}`")]
    Unknown { path: PathBuf },
    /// A file that contradicts itself, or ends too early.
    #[error("{path} is damaged behind packet {packet}, at byte {offset}")]
    Damaged { path: PathBuf, packet: usize, offset: usize, source: PcapError },
    /// Frames of another kind.
    #[error(
        "packet {packet} of {path} has link type {link:?}; capture Ethernet or raw IP, on one interface instead of `any`"
    )]
    LinkType { path: PathBuf, packet: usize, link: DataLink },
}

/// First bytes of a pcapng file: a section header.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// First bytes of a pcap file, in both byte orders, with microseconds and with nanoseconds.
const PCAP: [[u8; 4]; 4] =
    [[0xa1, 0xb2, 0xc3, 0xd4], [0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d], [0x4d, 0x3c, 0xb2, 0xa1]];

/// All packets of a file.
pub fn read(path: &Path) -> Result<Vec<Captured>, CaptureError> {
    let bytes =
        fs::read(path).map_err(|source| CaptureError::Unreadable { path: path.to_owned(), source })?;
    let mut walk = Walk { path, bytes: &bytes, rest: &bytes, packets: Vec::new() };
    match bytes.first_chunk() {
        Some(start) if PCAP.contains(start) => walk.pcap()?,
        Some(start) if *start == PCAPNG => walk.pcapng()?,
        _ => return Err(CaptureError::Unknown { path: path.to_owned() }),
    }
    Ok(walk.packets)
}

/// A walk through one file.
struct Walk<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    rest: &'a [u8],
    packets: Vec<Captured>,
}

impl<'a> Walk<'a> {
    fn pcap(&mut self) -> Result<(), CaptureError> {
        let parser = self.step(PcapParser::new)?;
        let link = parser.header().datalink;
        while !self.rest.is_empty() {
            let packet = self.step(|rest| parser.next_packet(rest))?;
            self.packet(link, packet.timestamp, packet.orig_len, &packet.data)?;
        }
        Ok(())
    }

    fn pcapng(&mut self) -> Result<(), CaptureError> {
        let mut parser = self.step(PcapNgParser::new)?;
        while !self.rest.is_empty() {
            match self.step(|rest| parser.next_block(rest))? {
                Block::EnhancedPacket(packet) => {
                    // The crate takes every unit for a nanosecond.
                    let units = packet.timestamp.as_nanos() as u64;
                    let (link, time) = self.interface(&parser, packet.interface_id, units)?;
                    self.packet(link, time, packet.original_len, &packet.data)?;
                }
                Block::Packet(packet) => {
                    let (link, time) =
                        self.interface(&parser, packet.interface_id.into(), packet.timestamp)?;
                    self.packet(link, time, packet.original_len, &packet.data)?;
                }
                Block::SimplePacket(packet) => {
                    let (link, _) = self.interface(&parser, 0, 0)?;
                    let time = self.packets.last().map(|packet| packet.time).unwrap_or_default();
                    // The data are padded to a multiple of four bytes.
                    let length = packet.data.len().min(packet.original_len as usize);
                    self.packet(link, time, packet.original_len, &packet.data[..length])?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn step<T>(
        &mut self,
        parse: impl FnOnce(&'a [u8]) -> Result<(&'a [u8], T), PcapError>,
    ) -> Result<T, CaptureError> {
        let (rest, parsed) = parse(self.rest).map_err(|source| self.damaged(source))?;
        self.rest = rest;
        Ok(parsed)
    }

    fn damaged(&self, source: PcapError) -> CaptureError {
        let offset = self.bytes.len() - self.rest.len();
        CaptureError::Damaged { path: self.path.to_owned(), packet: self.packets.len(), offset, source }
    }

    /// What the interface of a packet says about its link, and about its time.
    fn interface(
        &self,
        parser: &PcapNgParser,
        id: u32,
        units: u64,
    ) -> Result<(DataLink, Duration), CaptureError> {
        let interface = parser.interfaces().get(id as usize);
        let interface = interface.ok_or_else(|| self.damaged(PcapError::InvalidInterfaceId(id)))?;
        Ok((interface.linktype, time(interface, units)))
    }

    fn packet(
        &mut self,
        link: DataLink,
        time: Duration,
        length: u32,
        data: &[u8],
    ) -> Result<(), CaptureError> {
        let header = match (link, data.first().map(|byte| byte >> 4)) {
            (DataLink::ETHERNET, _) => Vec::new(),
            (DataLink::IPV6, _) | (DataLink::RAW, Some(6)) => ethernet(0x86dd),
            (DataLink::IPV4 | DataLink::RAW, _) => ethernet(0x0800),
            (link, _) => {
                let packet = self.packets.len() + 1;
                return Err(CaptureError::LinkType { path: self.path.to_owned(), packet, link });
            }
        };
        let frame = [&header, data].concat();
        self.packets.push(Captured { time, frame, cut: data.len() < length as usize });
        Ok(())
    }
}

/// In front of a packet that was captured without; MACs of nobody.
fn ethernet(ethertype: u16) -> Vec<u8> {
    [&[0; 12][..], &ethertype.to_be_bytes()].concat()
}

/// Units are microseconds unless the interface says otherwise (pcapng §4.2, `if_tsresol`): a power of ten or,
/// with the highest bit set, of two.
fn time(interface: &InterfaceDescriptionBlock, units: u64) -> Duration {
    let resolution = interface.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
        _ => None,
    });
    let resolution = resolution.unwrap_or(6);
    let (base, exponent) = (if resolution & 0x80 == 0 { 10_u128 } else { 2 }, u32::from(resolution & 0x7f));
    let per_second = base.checked_pow(exponent).unwrap_or(u128::MAX);
    let nanoseconds = (u128::from(units) * 1_000_000_000) / per_second;
    Duration::from_nanos(nanoseconds.min(u64::MAX.into()) as u64)
}

#[cfg(test)]
mod tests {
    use pcap_file::{
        pcap::{PcapHeader, PcapPacket, PcapWriter},
        pcapng::{PcapNgWriter, blocks::enhanced_packet::EnhancedPacketBlock},
    };
    use tempfile::NamedTempFile;

    use super::*;

    fn file(bytes: &[u8]) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        file
    }

    fn pcap(link: DataLink, data: &[u8], length: u32) -> Vec<u8> {
        let header = PcapHeader { datalink: link, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
        let time = Duration::from_micros(1_700_000_000_000_250);
        writer.write_packet(&PcapPacket::new(time, length, data)).unwrap();
        writer.into_writer()
    }

    /// One packet at `units` of an interface with this `if_tsresol`.
    fn pcapng(resolution: Option<u8>, units: u64) -> Vec<u8> {
        let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
        interface.options.extend(resolution.map(InterfaceDescriptionOption::IfTsResol));
        let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
        writer.write_pcapng_block(interface).unwrap();
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(units),
            original_len: 3,
            data: (&[1, 2, 3][..]).into(),
            options: Vec::new(),
        };
        writer.write_pcapng_block(packet).unwrap();
        writer.into_inner()
    }

    #[test]
    fn ethernet_frames_come_as_they_are() {
        let packets = read(file(&pcap(DataLink::ETHERNET, &[1, 2, 3], 3)).path()).unwrap();
        let time = Duration::from_micros(1_700_000_000_000_250);
        assert_eq!(packets, [Captured { time, frame: vec![1, 2, 3], cut: false }]);
        let packets = read(file(&pcap(DataLink::ETHERNET, &[1, 2, 3], 60)).path()).unwrap();
        assert!(packets[0].cut);
    }

    #[test]
    fn raw_packets_get_a_header() {
        for (link, first, ethertype) in [
            (DataLink::RAW, 0x45, [8, 0]),
            (DataLink::RAW, 0x60, [0x86, 0xdd]),
            (DataLink::IPV4, 0x45, [8, 0]),
            (DataLink::IPV6, 0x60, [0x86, 0xdd]),
        ] {
            let packets = read(file(&pcap(link, &[first], 1)).path()).unwrap();
            assert_eq!((&packets[0].frame[12..14], &packets[0].frame[14..]), (&ethertype[..], &[first][..]));
        }
    }

    #[test]
    fn an_interface_says_what_its_units_are() {
        for (resolution, units) in
            [(None, 1_500_000), (Some(3), 1_500), (Some(9), 1_500_000_000), (Some(0x81), 3)]
        {
            let packets = read(file(&pcapng(resolution, units)).path()).unwrap();
            assert_eq!(packets[0].time, Duration::from_millis(1500), "{resolution:?}");
            assert_eq!(packets[0].frame, [1, 2, 3]);
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let message = |bytes: &[u8]| {
            let file = file(bytes);
            read(file.path()).unwrap_err().to_string().replace(file.path().to_str().unwrap(), "FILE")
        };
        assert_eq!(
            message(b"version = 1"),
            "FILE is neither a pcap nor a pcapng file; write one with `tcpdump -w FILE`"
        );
        let whole = pcap(DataLink::ETHERNET, &[1, 2, 3], 3);
        assert_eq!(message(&whole[..whole.len() - 1]), "FILE is damaged behind packet 0, at byte 24");
        assert!(
            message(&pcap(DataLink::LINUX_SLL, &[1], 1))
                .starts_with("packet 1 of FILE has link type LINUX_SLL;")
        );
    }
}
