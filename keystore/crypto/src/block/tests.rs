use super::*;
use crate::usage::Usage;
use crate::vectors::sample_context;

struct Sealed {
    len: u64,
    plain: Vec<u8>,
    bytes: Vec<u8>,
    hash: [u8; 32],
}

fn key() -> BlockKey {
    BlockKey::from_bytes(&[5; 32])
}

fn sealed(len: u64) -> Sealed {
    let plain: Vec<u8> = (0..len).map(|i| (i ^ (i >> 8)).to_le_bytes()[0]).collect();
    let mut bytes = Vec::new();
    let hash = seal_block(&key(), &sample_context(Usage::Block), [9; 24], &plain, &mut bytes);
    Sealed { len, plain, bytes, hash }
}

impl Sealed {
    fn header(&self) -> &[u8] {
        &self.bytes[..to_usize(header_len(self.len))]
    }

    fn open(&self) -> OpenedHeader {
        let context = sample_context(Usage::Block);
        OpenedHeader::verify(self.header(), self.len, &self.hash, &key(), &context)
            .unwrap_or_else(|_| panic!("header refused"))
    }

    fn segment(&self, index: u64) -> &[u8] {
        let range = segment_range(self.len, index);
        &self.bytes[to_usize(range.start)..to_usize(range.end)]
    }

    fn verifies(&self, header: &[u8], len: u64, key: &BlockKey, usage: Usage) -> bool {
        let context = sample_context(usage);
        OpenedHeader::verify(header, len, &self.hash, key, &context).is_ok()
    }
}

#[test]
fn sizes_are_those_of_the_format() {
    assert_eq!(block_len(1 << 20), 1_051_720);
    assert_eq!(block_len(65_536), 65_536 + 264);
    assert_eq!(block_len(10_240), 10_240 + 104);
    assert_eq!(block_len(4_096), 4_096 + 104);
    assert_eq!((header_len(1 << 20), header_len(16_384), header_len(1)), (2_104, 88, 88));
    assert_eq!(segment_range(32_768, 0), 120..16_520);
    assert_eq!(segment_range(32_768, 1), 16_520..32_936);
    assert_eq!(segment_range(32_768, 2), 32_936..32_936);
    assert_eq!(
        (segment_len(16_385, 0), segment_len(16_385, 1), segment_len(16_385, 2)),
        (16_384, 1, 0)
    );
}

#[test]
fn segments_open_alone_in_any_order() {
    for len in [1, 16_383, 16_384, 65_535, 65_536, 65_537, 131_072, 200_000, 1 << 20] {
        let block = sealed(len);
        assert_eq!(u64::try_from(block.bytes.len()).unwrap(), block_len(len));
        let opened = block.open();
        for index in (0..segment_count(len)).rev() {
            let mut out = vec![0; to_usize(SEGMENT_LEN)];
            let read = opened.open_segment(index, block.segment(index), &mut out).unwrap();
            let start = to_usize(index * SEGMENT_LEN);
            assert!(out[..read] == block.plain[start..start + read], "{len} {index}");
            assert_eq!(u64::try_from(read).unwrap(), segment_len(len, index));
        }
    }
}

#[test]
fn sealing_appends_behind_what_is_there() {
    let mut out = b"before".to_vec();
    let block = sealed(70_000);
    seal_block(&key(), &sample_context(Usage::Block), [9; 24], &block.plain, &mut out);
    assert!(out[..6] == *b"before" && out[6..] == block.bytes);
}

#[test]
fn ranges_of_a_segment_open() {
    let block = sealed(30_000);
    let opened = block.open();
    for (start, end) in [(0, 0), (0, 1), (0, 13_616), (13_615, 13_616), (100, 5_000)] {
        let mut out = vec![0; end - start];
        opened.open_range(1, block.segment(1), start..end, &mut out).unwrap();
        assert!(out == block.plain[16_384 + start..16_384 + end], "{start}..{end}");
    }
}

#[test]
fn range_past_the_segment_is_refused() {
    let block = sealed(30_000);
    let mut out = vec![1; 2];
    let range = 13_615..13_617;
    assert!(block.open().open_range(1, block.segment(1), range, &mut out).is_err());
    assert_eq!(out, [0, 0]);
}

#[test]
fn changed_header_is_refused() {
    let block = sealed(17_000);
    assert!(block.verifies(block.header(), 17_000, &key(), Usage::Block));
    for bit in 0..block.header().len() * 8 {
        let mut bad = block.header().to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(!block.verifies(&bad, 17_000, &key(), Usage::Block), "bit {bit}");
    }
    for len in 0..block.header().len() {
        assert!(!block.verifies(&block.header()[..len], 17_000, &key(), Usage::Block));
    }
    for len in [0, 1, 16_384, 32_769, BLOCK_LEN_MAX + 1, u64::MAX] {
        assert!(!block.verifies(block.header(), len, &key(), Usage::Block), "{len}");
    }
    assert!(!block.verifies(block.header(), 17_000, &BlockKey::from_bytes(&[6; 32]), Usage::Block));
}

#[test]
fn header_of_another_compartment_is_refused() {
    let block = sealed(10);
    let place =
        crate::usage::Place { organisation: [0; 32], workspace: [0; 16], compartment: [1; 16] };
    let context = Context::block(&place);
    assert!(OpenedHeader::verify(block.header(), 10, &block.hash, &key(), &context).is_err());
}

#[test]
fn wrong_length_with_the_same_segment_count_is_refused() {
    let block = sealed(17_000);
    let context = sample_context(Usage::Block);
    let opened = OpenedHeader::verify(block.header(), 17_001, &block.hash, &key(), &context);
    let mut out = vec![0; 16_384];
    let result = opened.map(|opened| opened.open_segment(1, block.segment(1), &mut out));
    assert!(matches!(result, Ok(Err(OpenError))));
}

#[test]
fn changed_segment_is_refused_and_wiped() {
    let block = sealed(16_384 + 40);
    let opened = block.open();
    for bit in 0..block.segment(1).len() * 8 {
        let mut bad = block.segment(1).to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        let mut out = vec![0xee; 40];
        assert!(opened.open_segment(1, &bad, &mut out).is_err(), "bit {bit}");
        assert!(out.iter().all(|byte| *byte == 0));
    }
    for len in 0..block.segment(1).len() {
        assert!(opened.open_segment(1, &block.segment(1)[..len], &mut [0; 40]).is_err());
    }
}

#[test]
fn segment_at_another_index_is_refused() {
    let block = sealed(32_768 + 16_384);
    let opened = block.open();
    let mut out = vec![0; 16_384];
    assert!(opened.open_segment(0, block.segment(1), &mut out).is_err());
    assert!(opened.open_segment(3, block.segment(2), &mut out).is_err());
    assert!(opened.open_segment(u64::MAX, block.segment(2), &mut out).is_err());
}

#[test]
fn reader_with_the_key_cannot_forge_a_segment() {
    // mallory reads: she has the key and seals other bytes under the same key and salt.
    let block = sealed(17_000);
    let mut forged = Vec::new();
    let context = sample_context(Usage::Block);
    seal_block(&key(), &context, [9; 24], &vec![0x66; 17_000], &mut forged);
    let range = segment_range(17_000, 0);
    let segment = &forged[to_usize(range.start)..to_usize(range.end)];
    assert!(block.open().open_segment(0, segment, &mut vec![0; 16_384]).is_err());
}

#[test]
#[should_panic(expected = "a block has 1 byte to 1 MiB")]
fn empty_block_is_refused() {
    seal_block(&key(), &sample_context(Usage::Block), [0; 24], &[], &mut Vec::new());
}

/// Speed of both back ends; run with `--release --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn speed_of_blocks() {
    #[cfg(feature = "aws-lc")]
    measure::<crate::aead::AwsLc>("aws-lc");
    measure::<crate::aead::PureRust>("pure Rust");
}

fn measure<A: Aead>(name: &str) {
    let context = sample_context(Usage::Block);
    for len in [4_096_u64, 65_536, 1 << 20] {
        let plain = vec![7; to_usize(len)];
        let rounds = (1 << 29) / len;
        let mut out = Vec::with_capacity(to_usize(block_len(len)));
        let mut hash = [0; 32];
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            out.clear();
            hash = seal_block_by::<A>(&key(), &context, [9; 24], &plain, &mut out);
        }
        let sealing = start.elapsed().as_secs_f64();
        let header = &out[..to_usize(header_len(len))];
        let mut opened_bytes = vec![0; to_usize(SEGMENT_LEN)];
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            let opened = Opened::<A>::verify(header, len, &hash, &key(), &context);
            let opened = opened.unwrap_or_else(|_| panic!());
            for index in 0..segment_count(len) {
                let range = segment_range(len, index);
                let segment = &out[to_usize(range.start)..to_usize(range.end)];
                opened.open_segment(index, segment, &mut opened_bytes).unwrap();
            }
        }
        let opening = start.elapsed().as_secs_f64();
        let bytes = f64::from(u32::try_from(rounds * len).unwrap());
        println!(
            "{name:9} {len:>8} B: seal {:.2} GB/s, open {:.2} GB/s",
            bytes / sealing / 1e9,
            bytes / opening / 1e9
        );
    }
}
