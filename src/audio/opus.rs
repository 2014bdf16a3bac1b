//! Opus for symphonia, which extracts Opus packets from Ogg, WebM/Matroska and MP4 but has no decoder for them.
//!
//! Always 48 kHz, whatever the rate of the recording. [`decode`] cuts off the samples before the sound (pre-skip) and after it (padding);
//! it knows the container. Samples over full scale are clipped to it, as where libopus writes 16 bits.
//!
//! Not supported: 2.5 ms frames, which the decoder crate decodes differently from libopus (20 dB off in stereo, where
//! all longer frames are within the rounding of libopus's 16 bits), and channel mappings other than RFC 7845's 0 and 1.
//! `decode` then uses ffmpeg.
//!
//! Source: RFC 6716 (packets), RFC 7845 (header, channel order, gain).
//!
//! [`decode`]: super::decode

use opus_rs::multistream::{ChannelMappingTable, MultistreamDecoder};
use symphonia::core::audio::{
    AsGenericAudioBufferRef, AudioBuffer, AudioSpec, Channels, GenericAudioBufferRef, Position,
};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, FinalizeResult};
use symphonia::core::errors::{Error, Result, decode_error, unsupported_error};
use symphonia::core::packet::PacketRef;

/// Every Opus decoder's output rate, in Hz.
const RATE: u32 = 48000;
/// Samples of the longest packet, 120 ms.
const LONGEST: usize = 5760;
/// A channel without a stream.
const SILENT: u8 = 255;
/// Most streams in a packet: the number of channels with a known position.
const MOST_STREAMS: u8 = 8;

const INFO: CodecInfo = CodecInfo { short_name: "opus", long_name: "Opus", profiles: &[] };

/// The channels of mapping family 1 (Vorbis's), by number of channels, in the file's order.
const PLACES: [&[Position]; 8] = {
    use Position as P;
    const L: Position = P::FRONT_LEFT;
    const R: Position = P::FRONT_RIGHT;
    const C: Position = P::FRONT_CENTER;
    const BACK: [Position; 3] = [P::REAR_LEFT, P::REAR_RIGHT, P::REAR_CENTER];
    const SIDE: [Position; 2] = [P::SIDE_LEFT, P::SIDE_RIGHT];
    [
        &[L],
        &[L, R],
        &[L, C, R],
        &[L, R, BACK[0], BACK[1]],
        &[L, C, R, BACK[0], BACK[1]],
        &[L, C, R, BACK[0], BACK[1], P::LFE1],
        &[L, C, R, SIDE[0], SIDE[1], BACK[2], P::LFE1],
        &[L, C, R, SIDE[0], SIDE[1], BACK[0], BACK[1], P::LFE1],
    ]
};

/// The stream's parameters from the file.
#[derive(Debug, PartialEq)]
pub(super) struct Head {
    /// Samples of run-in.
    pub pre_skip: u16,
    /// Linear gain.
    gain: f32,
    channels: Channels,
    table: ChannelMappingTable,
}

impl Head {
    /// Reads an identification header, "OpusHead" and what follows.
    ///
    /// Errors: `Unsupported` for what RFC 7845 does not define or assigns no position to (families 2, 3, 255); `DecodeError`
    /// for a header that contradicts itself.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let Some((head, tail)) = bytes.strip_prefix(b"OpusHead").and_then(<[u8]>::split_first_chunk::<11>) else {
            return unsupported_error("opus: there is no identification header");
        };
        let &[version, count, skip_0, skip_1, _, _, _, _, gain_0, gain_1, family] = head;
        // MP4's dOps box is the same in big-endian, with version 0; symphonia puts "OpusHead" before it.
        let (pre_skip, gain) = match version {
            0 => (u16::from_be_bytes([skip_0, skip_1]), i16::from_be_bytes([gain_0, gain_1])),
            1..=15 => (u16::from_le_bytes([skip_0, skip_1]), i16::from_le_bytes([gain_0, gain_1])),
            _ => return unsupported_error("opus: its header has an unknown version"),
        };
        let (streams, coupled, mapping) = match (family, tail) {
            (0, _) => (1, count.saturating_sub(1), &[0, 1][..usize::from(count.min(2))]),
            (1, &[streams, coupled, ref mapping @ ..]) => (streams, coupled, mapping),
            (1, _) => return decode_error("opus: its header is cut off"),
            _ => return unsupported_error("opus: its channels have no known positions"),
        };
        let most = if family == 0 { 2 } else { PLACES.len() };
        let Some(places) = PLACES[..most].get(usize::from(count).wrapping_sub(1)) else {
            return decode_error("opus: its header has an impossible number of channels");
        };
        if streams == 0 || streams > MOST_STREAMS || coupled > streams || mapping.len() < places.len() {
            return decode_error("opus: its header has an impossible number of streams");
        }
        // symphonia's buffers are in the order of the position bits.
        let all = places.iter().fold(Position::empty(), |all, place| all | *place);
        let stream_of = |place: Position| places.iter().position(|p| *p == place).map(|i| mapping[i]);
        let mapping: Vec<u8> = all.iter().filter_map(stream_of).collect();
        if mapping.iter().any(|channel| *channel != SILENT && *channel >= streams + coupled) {
            return decode_error("opus: its header has a channel without a stream");
        }
        Ok(Self {
            pre_skip,
            // Decibels in units of 1/256.
            gain: 10f32.powf(f32::from(gain) / (20.0 * 256.0)),
            channels: Channels::Positioned(all),
            table: ChannelMappingTable { channels: count, stream_count: streams, coupled_count: coupled, mapping },
        })
    }
}

/// Decodes the packets of one track.
pub(super) struct Decoder {
    parameters: AudioCodecParameters,
    head: Head,
    streams: MultistreamDecoder,
    interleaved: Vec<f32>,
    buffer: AudioBuffer<f32>,
}

impl Decoder {
    /// Errors: as [`Head::read`].
    pub fn new(parameters: &AudioCodecParameters) -> Result<Self> {
        let head = Head::read(parameters.extra_data.as_deref().unwrap_or_default())?;
        let buffer = AudioBuffer::new(AudioSpec::new(RATE, head.channels.clone()), LONGEST);
        let interleaved = vec![0.0; LONGEST * head.channels.count()];
        Ok(Self { parameters: parameters.clone(), streams: streams(&head)?, head, interleaved, buffer })
    }

    fn decode_packet(&mut self, packet: &[u8]) -> Result<()> {
        self.buffer.clear();
        let Some(kind) = packet.first() else { return decode_error("opus: a packet is empty") };
        // Configurations 16, 20, 24 and 28 of the table in RFC 6716, 3.1.
        if kind & 0b1001_1000 == 0b1000_0000 {
            return unsupported_error("opus: its frames are 2.5 ms long");
        }
        let count = self.streams.decode(packet, LONGEST, &mut self.interleaved).map_err(Error::DecodeError)?;
        self.buffer.render_uninit(Some(count));
        let channels = self.head.channels.count();
        for channel in 0..channels {
            let samples = self.interleaved[channel..].iter().step_by(channels);
            self.buffer[channel].iter_mut().zip(samples).for_each(|(to, x)| *to = x * self.head.gain);
        }
        Ok(())
    }
}

fn streams(head: &Head) -> Result<MultistreamDecoder> {
    MultistreamDecoder::new(RATE as i32, head.table.clone()).map_err(Error::DecodeError)
}

impl AudioDecoder for Decoder {
    fn reset(&mut self) {
        // A header that was valid once is valid again.
        if let Ok(streams) = streams(&self.head) {
            self.streams = streams;
        }
    }

    fn codec_info(&self) -> &CodecInfo {
        &INFO
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.parameters
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
        self.decode_packet(packet.data)?;
        Ok(self.buffer.as_generic_audio_buffer_ref())
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.buffer.as_generic_audio_buffer_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: u8, count: u8, family: u8, tail: &[u8]) -> Vec<u8> {
        let fields = [version, count, 0x38, 0x01, 0x80, 0xbb, 0, 0, 0x00, 0xfa, family];
        [&b"OpusHead"[..], &fields, tail].concat()
    }

    #[test]
    fn the_header_gives_run_in_gain_and_channels_by_position() {
        let stereo = Head::read(&head(1, 2, 0, &[])).unwrap();
        assert_eq!((stereo.pre_skip, stereo.table.coupled_count, stereo.table.mapping), (312, 1, vec![0, 1]));
        // -1536 / 256 = -6 dB.
        assert!((stereo.gain - 0.501_187).abs() < 1e-5);
        // 5.1: L C R RL RR LFE in the file, L R C LFE RL RR by position.
        let surround = Head::read(&head(1, 6, 1, &[4, 2, 0, 4, 1, 2, 3, 5])).unwrap();
        assert_eq!(surround.table.mapping, [0, 1, 4, 5, 2, 3]);
        assert_eq!(Head::read(&head(0, 1, 0, &[])).unwrap().pre_skip, 0x3801, "MP4's are big-endian");
    }

    #[test]
    fn impossible_headers_are_refused() {
        let wrong = |bytes: &[u8]| matches!(Head::read(bytes), Err(Error::DecodeError(_)));
        let unknown = |bytes: &[u8]| matches!(Head::read(bytes), Err(Error::Unsupported(_)));
        assert!(wrong(&head(1, 0, 0, &[])) && wrong(&head(1, 3, 0, &[])) && wrong(&head(1, 9, 1, &[1, 1, 0, 1])));
        assert!(
            wrong(&head(1, 2, 1, &[])) && wrong(&head(1, 2, 1, &[0, 0, 0, 0])) && wrong(&head(1, 2, 1, &[1, 2, 0, 1]))
        );
        assert!(wrong(&head(1, 2, 1, &[1, 0, 0, 1])) && wrong(&head(1, 2, 1, &[200, 0, 0, 1])));
        assert!(unknown(b"") && unknown(&head(16, 2, 0, &[])) && unknown(&head(1, 4, 2, &[4, 0, 0, 1, 2, 3])));
        let whole = head(1, 6, 1, &[4, 2, 0, 4, 1, 2, 3, 5]);
        assert!((0..whole.len()).all(|length| Head::read(&whole[..length]).is_err()));
    }
}
