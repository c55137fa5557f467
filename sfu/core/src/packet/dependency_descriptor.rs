//! The dependency descriptor header extension (RTP Payload Format For AV1, appendix A): which
//! layers a frame belongs to and who needs it, without a look into the payload.

use arrayvec::ArrayVec;

use super::bits::BitReader;
use super::bytes::u16_at;

const MAX_TEMPLATES: usize = 64;
const MAX_DECODE_TARGETS: usize = 32;
/// `spatial_id` goes up by one from template to template; two bits are what AV1 and VP9 use.
const MAX_SPATIAL_LAYERS: usize = 8;
const MAX_TEMPORAL_ID: u8 = 7;

/// The fields that every descriptor has; a descriptor of three bytes has nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mandatory {
    /// First and last packet of a frame.
    pub start_of_frame: bool,
    pub end_of_frame: bool,
    pub template_id: u8,
    pub frame_number: u16,
}

impl Mandatory {
    /// `None` below three bytes.
    pub fn parse(descriptor: &[u8]) -> Option<Self> {
        let first = *descriptor.first()?;
        Some(Self {
            start_of_frame: first & 0x80 != 0,
            end_of_frame: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number: u16_at(descriptor, 1)?,
        })
    }
}

/// Decode target indication: what a frame is to a decode target (appendix A.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dti {
    NotPresent,
    /// Not needed by later frames of the target.
    Discardable,
    /// A target may be switched to at this frame.
    Switch,
    Required,
}

/// A value for each decode target, two bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dtis(u64);

impl Dtis {
    fn read(reader: &mut BitReader<'_>, count: usize) -> Option<Self> {
        (0..count).try_fold(Self(0), |dtis, target| {
            Some(Self(dtis.0 | u64::from(reader.bits(2)?) << (2 * target)))
        })
    }

    /// All values, for another node.
    pub fn bits(self) -> u64 {
        self.0
    }

    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Present where one of both is.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// [`Dti::NotPresent`] for a target that there is not.
    pub fn of(self, decode_target: usize) -> Dti {
        let shift = 2 * decode_target.min(MAX_DECODE_TARGETS) as u32;
        match self.0.checked_shr(shift).unwrap_or(0) & 3 {
            0 => Dti::NotPresent,
            1 => Dti::Discardable,
            2 => Dti::Switch,
            _ => Dti::Required,
        }
    }
}

/// For each chain, how many frames back its previous frame is; 0: the frame begins the chain.
pub type ChainDiffs = ArrayVec<u8, MAX_DECODE_TARGETS>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub spatial_id: u8,
    pub temporal_id: u8,
    pub dtis: Dtis,
    pub chain_diffs: ChainDiffs,
}

/// A selection of layers that a receiver may decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeTarget {
    /// The highest layers in it.
    pub spatial_id: u8,
    pub temporal_id: u8,
    /// The chain that has to be whole for the target to be decodable.
    pub chain: Option<u8>,
}

/// Comes with the first packet of a key frame and holds until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    template_id_offset: u8,
    pub templates: Vec<Template>,
    pub decode_targets: ArrayVec<DecodeTarget, MAX_DECODE_TARGETS>,
    pub chain_count: u8,
    /// Width and height of each spatial layer, where told.
    pub resolutions: ArrayVec<(u16, u16), MAX_SPATIAL_LAYERS>,
}

impl Structure {
    fn template(&self, template_id: u8) -> Option<&Template> {
        self.templates
            .get(usize::from(template_id.wrapping_sub(self.template_id_offset) & 0x3f))
    }

    /// Every frame of decode target `part` is one of `whole` too, as far as templates tell.
    pub fn includes(&self, whole: usize, part: usize) -> bool {
        let present = |template: &Template, target| template.dtis.of(target) != Dti::NotPresent;
        let mut templates = self.templates.iter();
        templates.all(|template| present(template, whole) || !present(template, part))
    }

    /// Bits for all decode targets.
    pub fn all_decode_targets(&self) -> u32 {
        match self.decode_targets.len() {
            0 => 0,
            count => u32::MAX >> (32 - count),
        }
    }
}

/// What a descriptor tells of its frame by a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameDependency {
    pub spatial_id: u8,
    pub temporal_id: u8,
    pub dtis: Dtis,
    pub chain_diffs: ChainDiffs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyDescriptor {
    pub mandatory: Mandatory,
    /// How many bits behind the start `active_decode_targets_bitmask` is, or would be; 24 in a descriptor of three
    /// bytes, which has not even the flags.
    pub mask_at: u16,
    /// The bitmask is written out.
    pub has_mask: bool,
    /// A new structure: the packet begins a key frame.
    pub structure: Option<Box<Structure>>,
    /// A bit for each decode target that the sender still sends; all with a new structure.
    pub active_decode_targets: Option<u32>,
    pub frame: FrameDependency,
}

/// Why a descriptor cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    #[error("cut off or out of range")]
    Malformed,
    /// The structure that it refers to was lost.
    #[error("no structure, or none with this template")]
    UnknownTemplate,
}

impl DependencyDescriptor {
    /// `current` is the structure of the stream's last key frame; one that the descriptor brings
    /// itself goes first. Only that allocates.
    pub fn parse(descriptor: &[u8], current: Option<&Structure>) -> Result<Self, DescriptorError> {
        let mandatory = Mandatory::parse(descriptor).ok_or(DescriptorError::Malformed)?;
        let mut reader = BitReader::new(&descriptor[3..]);
        let flags = Flags::parse(&descriptor[3..], &mut reader).ok_or(DescriptorError::Malformed)?;
        let structure = match flags.structure {
            true => Some(Box::new(read_structure(&mut reader).ok_or(DescriptorError::Malformed)?)),
            false => None,
        };
        let valid = structure
            .as_deref()
            .or(current)
            .ok_or(DescriptorError::UnknownTemplate)?;
        let template = valid
            .template(mandatory.template_id)
            .ok_or(DescriptorError::UnknownTemplate)?;
        let mask_at = 24 + reader.position() as u16;
        let (active, frame) = read_frame(&mut reader, flags, valid, template).ok_or(DescriptorError::Malformed)?;
        let all = flags.structure.then(|| valid.all_decode_targets());
        Ok(Self {
            mandatory,
            mask_at,
            has_mask: flags.active_decode_targets,
            active_decode_targets: active.or(all),
            frame,
            structure,
        })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    structure: bool,
    active_decode_targets: bool,
    custom_dtis: bool,
    custom_frame_diffs: bool,
    custom_chains: bool,
}

impl Flags {
    /// `extended` is what follows the mandatory fields; without it no flag is set.
    fn parse(extended: &[u8], reader: &mut BitReader<'_>) -> Option<Self> {
        if extended.is_empty() {
            return Some(Self::default());
        }
        Some(Self {
            structure: reader.bit()?,
            active_decode_targets: reader.bit()?,
            custom_dtis: reader.bit()?,
            custom_frame_diffs: reader.bit()?,
            custom_chains: reader.bit()?,
        })
    }
}

/// Active decode targets and `frame_dependency_definition()`.
fn read_frame(
    reader: &mut BitReader<'_>,
    flags: Flags,
    structure: &Structure,
    template: &Template,
) -> Option<(Option<u32>, FrameDependency)> {
    let mut active = None;
    if flags.active_decode_targets {
        active = Some(reader.bits(structure.decode_targets.len() as u32)?);
    }
    let mut frame = FrameDependency {
        spatial_id: template.spatial_id,
        temporal_id: template.temporal_id,
        dtis: template.dtis,
        chain_diffs: template.chain_diffs.clone(),
    };
    if flags.custom_dtis {
        frame.dtis = Dtis::read(reader, structure.decode_targets.len())?;
    }
    if flags.custom_frame_diffs {
        // Which frames it refers to is for decoders; chains tell a forwarder enough.
        loop {
            match reader.bits(2)? {
                0 => break,
                size => reader.skip(4 * size)?,
            }
        }
    }
    if flags.custom_chains {
        frame.chain_diffs = read_chain_diffs(reader, structure.chain_count, 8)?;
    }
    Some((active, frame))
}

/// `template_dependency_structure()`.
fn read_structure(reader: &mut BitReader<'_>) -> Option<Structure> {
    let template_id_offset = reader.bits(6)? as u8;
    let target_count = reader.bits(5)? as usize + 1;
    let mut templates = read_layers(reader)?;
    for template in &mut templates {
        template.dtis = Dtis::read(reader, target_count)?;
    }
    for _ in &templates {
        while reader.bit()? {
            // A frame difference, for decoders.
            reader.skip(4)?;
        }
    }
    let mut decode_targets: ArrayVec<_, MAX_DECODE_TARGETS> = (0..target_count)
        .map(|target| highest_layers(&templates, target))
        .collect();
    let chain_count = reader.non_symmetric(target_count as u32 + 1)? as u8;
    if chain_count > 0 {
        for target in &mut decode_targets {
            target.chain = Some(reader.non_symmetric(chain_count.into())? as u8);
        }
        for template in &mut templates {
            template.chain_diffs = read_chain_diffs(reader, chain_count, 4)?;
        }
    }
    let mut resolutions = ArrayVec::new();
    if reader.bit()? {
        let max_spatial_id = templates.last()?.spatial_id;
        for _ in 0..=max_spatial_id {
            // Minus one in the descriptor; 65,536 is taken for 65,535.
            let mut side = || Some((reader.bits(16)? as u16).saturating_add(1));
            resolutions.push((side()?, side()?));
        }
    }
    Some(Structure {
        template_id_offset,
        templates,
        decode_targets,
        chain_count,
        resolutions,
    })
}

/// `template_layers()`.
fn read_layers(reader: &mut BitReader<'_>) -> Option<Vec<Template>> {
    let mut templates = Vec::new();
    let (mut spatial_id, mut temporal_id) = (0, 0);
    loop {
        if templates.len() == MAX_TEMPLATES {
            return None;
        }
        templates.push(Template {
            spatial_id,
            temporal_id,
            dtis: Dtis::default(),
            chain_diffs: ChainDiffs::new(),
        });
        match reader.bits(2)? {
            0 => {}
            1 => temporal_id += 1,
            2 => {
                temporal_id = 0;
                spatial_id += 1;
            }
            _ => return Some(templates),
        }
        if temporal_id > MAX_TEMPORAL_ID || usize::from(spatial_id) >= MAX_SPATIAL_LAYERS {
            return None;
        }
    }
}

/// `decode_target_layers()`.
fn highest_layers(templates: &[Template], target: usize) -> DecodeTarget {
    let within = templates
        .iter()
        .filter(|template| template.dtis.of(target) != Dti::NotPresent);
    within.fold(DecodeTarget::default(), |highest, template| DecodeTarget {
        spatial_id: highest.spatial_id.max(template.spatial_id),
        temporal_id: highest.temporal_id.max(template.temporal_id),
        chain: None,
    })
}

fn read_chain_diffs(reader: &mut BitReader<'_>, count: u8, bits: u32) -> Option<ChainDiffs> {
    let mut diffs = ChainDiffs::new();
    for _ in 0..count {
        diffs.try_push(reader.bits(bits)? as u8).ok()?;
    }
    Some(diffs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits
            .bytes()
            .filter(|byte| *byte != b' ')
            .map(|byte| byte - b'0')
            .collect();
        bits.chunks(8)
            .map(|byte| byte.iter().enumerate().map(|(index, bit)| bit << (7 - index)).sum())
            .collect()
    }

    /// L1T2 as libwebrtc's structure for it: targets T0 and T0–1, one chain, 640×360. Frame 5,
    /// first and last packet, template 3, with an offset of 3.
    fn l1t2() -> Vec<u8> {
        bytes(concat!(
            "1 1 000011 0000000000000101",         // mandatory
            "1 0 0 0 0",                           // flags
            "000011 00001",                        // offset 3, two targets
            "00 01 00 11",                         // four templates: T0 T0 T1 T1
            "10 10 11 11 00 01 00 01",             // DTIs: SS RR -D -D
            "0 1 0001 0 1 0000 0 1 0000 1 0010 0", // frame differences: none; 2; 1; 1, 3
            "10 ",                                 // ns(3): one chain
            "",                                    // protected by: ns(1) twice, no bits
            "0000 0010 0001 0001",                 // chain differences
            "1 0000001001111111 0000000101100111", // 640×360
        ))
    }

    #[test]
    fn structure_of_a_key_frame() {
        let read = DependencyDescriptor::parse(&l1t2(), None).unwrap();
        assert_eq!(
            read.mandatory,
            Mandatory {
                start_of_frame: true,
                end_of_frame: true,
                template_id: 3,
                frame_number: 5
            }
        );
        assert_eq!(read.active_decode_targets, Some(0b11));
        assert_eq!((read.frame.spatial_id, read.frame.temporal_id), (0, 0));
        assert_eq!(
            (read.frame.dtis.of(0), read.frame.dtis.of(1)),
            (Dti::Switch, Dti::Switch)
        );
        assert_eq!(read.frame.chain_diffs[..], [0]);
        let structure = read.structure.unwrap();
        let temporal: Vec<_> = structure
            .templates
            .iter()
            .map(|template| template.temporal_id)
            .collect();
        assert_eq!(temporal, [0, 0, 1, 1]);
        let target = |temporal_id| DecodeTarget {
            spatial_id: 0,
            temporal_id,
            chain: Some(0),
        };
        assert_eq!(structure.decode_targets[..], [target(0), target(1)]);
        assert_eq!(structure.resolutions[..], [(640, 360)]);
    }

    #[test]
    fn frames_by_a_known_structure() {
        let structure = DependencyDescriptor::parse(&l1t2(), None).unwrap().structure.unwrap();
        let current = Some(&*structure);
        // Template 6 is the fourth: T1, not needed by others and not in the first target.
        let short = [0x86, 0x00, 0x06];
        let read = DependencyDescriptor::parse(&short, current).unwrap();
        assert_eq!((read.mandatory.frame_number, read.frame.temporal_id), (6, 1));
        assert_eq!(
            (read.frame.dtis.of(0), read.frame.dtis.of(1)),
            (Dti::NotPresent, Dti::Discardable)
        );
        assert_eq!(read.frame.dtis.of(2), Dti::NotPresent);
        assert_eq!(read.frame.dtis.of(900), Dti::NotPresent);
        assert_eq!((read.structure, read.active_decode_targets), (None, None));

        // All that may be custom: targets 10, DTIs, a frame difference, a chain difference of 9.
        let custom = bytes("0 1 000100 0000000000000111 0 1 1 1 1  10  00 11  01 0010 00  00001001");
        let read = DependencyDescriptor::parse(&custom, current).unwrap();
        assert_eq!(read.active_decode_targets, Some(0b10));
        assert_eq!(
            (read.frame.dtis.of(0), read.frame.dtis.of(1)),
            (Dti::NotPresent, Dti::Required)
        );
        assert_eq!(read.frame.chain_diffs[..], [9]);
    }

    #[test]
    fn what_cannot_be_read() {
        let structure = DependencyDescriptor::parse(&l1t2(), None).unwrap().structure.unwrap();
        let current = Some(&*structure);
        use DescriptorError::{Malformed, UnknownTemplate};
        for (name, descriptor, current, expected) in [
            ("two bytes", &[0x83, 0][..], current, Malformed),
            ("no structure yet", &[0x83, 0, 1], None, UnknownTemplate),
            ("template before the first", &[0x82, 0, 1], current, UnknownTemplate),
            ("template behind the last", &[0x87, 0, 1], current, UnknownTemplate),
            ("custom DTIs cut off", &[0x83, 0, 1, 0b0111_1000], current, Malformed),
        ] {
            assert_eq!(
                DependencyDescriptor::parse(descriptor, current),
                Err(expected),
                "{name}"
            );
        }
        let whole = l1t2();
        for len in 4..whole.len() - 1 {
            assert!(DependencyDescriptor::parse(&whole[..len], None).is_err(), "{len}");
        }
        // Templates without end.
        assert_eq!(
            DependencyDescriptor::parse(&[[0x80, 0, 1, 0x80].as_slice(), &[0; 100]].concat(), None),
            Err(Malformed)
        );
    }
}
