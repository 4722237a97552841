//! The envelope of everything that goes from node to node.
//!
//! | bytes | what |
//! |---|---|
//! | 0 to 1,094 | the body, in the language of its street |
//! | 1 | street: who reads the body |
//! | 1 | 1 if the signature names the receiver, 0 if the sender did not know whom it would reach |
//! | 8 | sequence number, the lowest byte first; a sender never repeats or lowers it |
//! | 32 | the sender's id |
//! | 64 | the sender's signature: receiver (if named), then everything above |
//! | 1 | version of this envelope: 1 |
//!
//! What is constant stands at the end, so that a body is sealed and opened where it lies. In postcard's terms the
//! envelope is a structure of fixed arrays after the body.
//!
//! **Upgrades.** Old and new nodes live in one network: an unknown street, message or gossip item is passed over; items
//! carry their length; records are kept and handed on byte for byte, and fields are only ever added behind the known
//! ones. Only what breaks this raises the version, and then a node refuses what it cannot read and says which it was.

use alloc::vec::Vec;
use core::fmt;

use crate::kit::{Domain, Fault, NodeId, Signature, Signer, Verifier, fault};

/// Bytes of a whole packet: what every path on the Internet carries unbroken, with room for a tunnel (RFC 8200 §5: 1,280).
pub const PACKET_MAX: usize = 1200;
/// Bytes that the envelope adds.
pub const ENVELOPE: usize = 107;
/// Bytes of a body.
pub const BODY_MAX: usize = PACKET_MAX - ENVELOPE;
/// The version that is written.
pub const VERSION: u8 = 1;

/// What the envelope says, before its signature was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who reads the body.
    pub street: u8,
    /// Whether the signature names the receiver.
    pub bound: bool,
    /// Ever higher, sender by sender.
    pub sequence: u64,
    /// Who says to have sent it.
    pub from: NodeId,
    signature: Signature,
}

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Too few or too many bytes.
    Size {
        /// So many came.
        bytes: usize,
    },
    /// A version that this node does not read.
    Version(u8),
    /// The sender did not sign it, or signed it for somebody else.
    Forged,
    /// It was here before, or is older than what was here.
    Replayed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { bytes } => write!(f, "{bytes} bytes are no packet of {ENVELOPE} to {PACKET_MAX}"),
            Self::Version(version) => write!(f, "packet version {version} is not {VERSION}"),
            Self::Forged => f.write_str("the sender did not sign this packet for this node"),
            Self::Replayed => f.write_str("the packet was here before"),
        }
    }
}

impl core::error::Error for Error {}

/// Puts `body` into an envelope, where it lies. `to` is the receiver, if it is known.
pub fn seal(body: &mut Vec<u8>, street: u8, sequence: u64, from: NodeId, to: Option<&NodeId>, signer: &impl Signer) {
    body.reserve_exact(ENVELOPE);
    body.push(street);
    body.push(u8::from(to.is_some()));
    body.extend_from_slice(&sequence.to_le_bytes());
    body.extend_from_slice(&from.0);
    let receiver = to.map_or(&[][..], |to| &to.0);
    let signature = signer.sign(Domain::Packet, &[receiver, body]);
    body.extend_from_slice(&signature.0);
    body.push(VERSION);
}

/// Reads the envelope of `packet`; the signature is for [`Envelope::check`].
///
/// # Errors
/// [`Error::Size`] and [`Error::Version`].
pub fn open(packet: &[u8]) -> Result<Envelope, Error> {
    let size = Error::Size { bytes: packet.len() };
    if packet.len() > PACKET_MAX {
        return Err(size);
    }
    let (_, tail) = packet.split_last_chunk::<ENVELOPE>().ok_or(size)?;
    let (version, tail) = tail.split_last().ok_or(size)?;
    if *version != VERSION {
        return Err(Error::Version(*version));
    }
    let (tail, signature) = tail.split_last_chunk().ok_or(size)?;
    let (tail, from) = tail.split_last_chunk().ok_or(size)?;
    let (tail, sequence) = tail.split_last_chunk().ok_or(size)?;
    let [street, bound @ (0 | 1)] = *tail else { return Err(size) };
    Ok(Envelope {
        street,
        bound: bound == 1,
        sequence: u64::from_le_bytes(*sequence),
        from: NodeId(*from),
        signature: Signature(*signature),
    })
}

impl Envelope {
    /// Checks that `key` signed `packet` for `me`, and cuts it down to its body.
    ///
    /// # Errors
    /// [`Error::Forged`]; `packet` is as it was.
    pub fn check(
        &self,
        packet: &mut Vec<u8>,
        key: &NodeId,
        me: &NodeId,
        verifier: &impl Verifier,
    ) -> Result<(), Error> {
        let signed = packet.len().checked_sub(65).ok_or(Error::Forged)?;
        let receiver = if self.bound { &me.0[..] } else { &[] };
        if !fault::on(Fault::PacketSignatureUnchecked)
            && !verifier.verify(key, Domain::Packet, &[receiver, &packet[..signed]], &self.signature)
        {
            return Err(Error::Forged);
        }
        packet.truncate(packet.len().saturating_sub(ENVELOPE));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::identity::Identity;

    fn ids() -> (Identity, Identity) {
        (Identity::new([1; 32]), Identity::new([2; 32]))
    }

    #[test]
    fn what_is_sealed_is_opened_by_its_receiver_alone() {
        let (alice, bob) = ids();
        let mut packet = b"hello".to_vec();
        seal(&mut packet, 3, 77, alice.key(), Some(&bob.key()), &alice);
        let envelope = open(&packet).unwrap();
        assert_eq!((envelope.street, envelope.sequence, envelope.from), (3, 77, alice.key()));
        let stranger = Identity::new([3; 32]).key();
        assert_eq!(envelope.check(&mut packet.clone(), &alice.key(), &stranger, &bob), Err(Error::Forged));
        assert_eq!(envelope.check(&mut packet, &alice.key(), &bob.key(), &bob), Ok(()));
        assert_eq!(packet, b"hello");
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let (alice, bob) = ids();
        let mut packet = b"hi".to_vec();
        seal(&mut packet, 1, 5, alice.key(), Some(&bob.key()), &alice);
        for bit in 0..packet.len() * 8 {
            let mut harmed = packet.clone();
            harmed[bit / 8] ^= 1 << (bit % 8);
            let taken = open(&harmed)
                .is_ok_and(|envelope| envelope.check(&mut harmed, &envelope.from, &bob.key(), &bob).is_ok());
            assert!(!taken, "bit {bit}");
        }
    }

    #[test]
    fn the_golden_packet_stays_as_it_is() {
        let (alice, bob) = ids();
        let mut packet = b"golden".to_vec();
        seal(&mut packet, 1, 0x0102, alice.key(), Some(&bob.key()), &alice);
        let hex: alloc::string::String = packet.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("../../tests/data/packet.hex").trim());
    }

    #[test]
    fn what_is_too_short_too_long_or_too_new_is_refused() {
        assert_eq!(open(&[]), Err(Error::Size { bytes: 0 }));
        assert_eq!(open(&[1; ENVELOPE - 1]), Err(Error::Size { bytes: 106 }));
        assert_eq!(open(&[1; PACKET_MAX + 1]), Err(Error::Size { bytes: 1201 }));
        assert_eq!(open(&[9; 200]), Err(Error::Version(9)));
    }
}
