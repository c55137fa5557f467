//! What is kept with every packet of what its dependency descriptor says: enough to choose layers without a look at
//! the descriptor or the payload again.

use super::dependency_descriptor::{DependencyDescriptor, DescriptorError, Dtis, Structure};

/// One for each spatial layer is what encoders write.
pub const MAX_CHAINS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescribedFrame {
    pub number: u16,
    pub dtis: Dtis,
    /// For each chain, how many frames back its previous frame is; 0: the frame begins the chain.
    pub chain_diffs: [u8; MAX_CHAINS],
    /// The packet brings a structure: it begins a key frame.
    pub has_structure: bool,
    /// A bit for each decode target that is still sent, where the packet says so.
    pub active: Option<u32>,
    pub mask_at: u16,
    pub has_mask: bool,
    pub target_count: u8,
}

/// A frame's layers, and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    pub start_of_frame: bool,
    pub end_of_frame: bool,
    pub spatial_id: u8,
    pub temporal_id: u8,
    /// Of the highest spatial layer, with a structure that tells it.
    pub resolution: Option<(u16, u16)>,
    pub frame: DescribedFrame,
}

/// Reads the descriptors of one stream. Only a structure that differs from the one before allocates.
#[derive(Debug, Default)]
pub struct DescriptorReader {
    structure: Option<Box<Structure>>,
}

impl DescriptorReader {
    /// `None` where it is malformed, refers to a structure that was lost, or has more chains than [`MAX_CHAINS`].
    pub fn read(&mut self, descriptor: &[u8]) -> Option<Described> {
        let parsed = match DependencyDescriptor::parse(descriptor, self.structure.as_deref()) {
            Ok(parsed) => parsed,
            Err(DescriptorError::Malformed | DescriptorError::UnknownTemplate) => return None,
        };
        let has_structure = parsed.structure.is_some();
        if let Some(structure) = parsed.structure {
            self.structure = Some(structure);
        }
        let structure = self.structure.as_deref()?;
        let mut chain_diffs = [0; MAX_CHAINS];
        let told = parsed.frame.chain_diffs.as_slice();
        chain_diffs.get_mut(..told.len())?.copy_from_slice(told);
        Some(Described {
            start_of_frame: parsed.mandatory.start_of_frame,
            end_of_frame: parsed.mandatory.end_of_frame,
            spatial_id: parsed.frame.spatial_id,
            temporal_id: parsed.frame.temporal_id,
            resolution: structure.resolutions.last().copied().filter(|_| has_structure),
            frame: DescribedFrame {
                number: parsed.mandatory.frame_number,
                dtis: parsed.frame.dtis,
                chain_diffs,
                has_structure,
                active: parsed.active_decode_targets,
                mask_at: parsed.mask_at,
                has_mask: parsed.has_mask,
                target_count: structure.decode_targets.len() as u8,
            },
        })
    }
}
