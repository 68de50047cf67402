use super::{
    Decoder, ENCODED_BYTES_MAX, Encoder, FRAME_BYTES_MAX, Frame, FrameError, FrameKind, PREAMBLE,
    written_bytes,
};
use alloc::vec;
use alloc::vec::Vec;
use xsplice_abi::channel::{
    AREA_BYTES_MAX, CALL_DUMP, CALL_INFO, CALL_SYSCTL, CALL_TEST, FrameHeader,
};
use xsplice_abi::hypercall::{Get, List, Name, OP_GET, OP_LIST, Operation, Status};
use zerocopy::byteorder::little_endian::{U16, U32, U64};

fn operation() -> Operation {
    let get = Get {
        name: Name {
            name_handle: U64::new(0x1100),
            size: U16::new(17),
            pad: [U16::ZERO; 3],
        },
        ..Get::default()
    };
    Operation::with(OP_GET, &get)
}

/// Bytes without a pattern that COBS blocks could hide behind, zeros among them.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}

fn sample() -> Frame {
    Frame::sysctl(7, operation(), noise(40), 64).unwrap()
}

fn all(stream: &[u8]) -> Vec<Result<Frame, FrameError>> {
    let mut decoder = Decoder::new();
    let mut input = stream;
    core::iter::from_fn(|| decoder.next(&mut input)).collect()
}

/// A frame whose checksum is right, whatever else is wrong with it.
fn sealed(mut plain: Vec<u8>) -> Vec<u8> {
    let crc = super::CRC.checksum(&plain);
    plain.extend_from_slice(&crc.to_le_bytes());
    let mut wire = vec![0; cobs::max_encoding_length(plain.len()) + 1];
    let written = cobs::encode(&plain, &mut wire);
    wire.truncate(written + 1);
    wire[written] = 0;
    wire
}

#[test]
fn every_kind_of_frame_comes_back_as_it_was_sent() {
    let request = sample();
    let frames = [
        request.clone(),
        Frame::request(CALL_INFO, 1, Vec::new()).unwrap(),
        Frame::request(CALL_TEST, u32::MAX, b"stall 3".to_vec()).unwrap(),
        request.answer_sysctl(-16, operation(), noise(64)).unwrap(),
        Frame::request(CALL_DUMP, 2, Vec::new())
            .unwrap()
            .answer(0, b"text".to_vec())
            .unwrap(),
    ];
    let stream: Vec<u8> = frames.iter().flat_map(|f| f.encode().unwrap()).collect();
    let back: Vec<Frame> = all(&stream).into_iter().map(Result::unwrap).collect();
    assert_eq!(back, frames);
}

#[test]
fn data_of_every_length_around_a_block_comes_back() {
    for length in 0..600 {
        for data in [vec![0x55; length], vec![0; length], noise(length)] {
            let frame = Frame::request(CALL_TEST, 3, data).unwrap();
            let wire = frame.encode().unwrap();
            assert_eq!(wire.iter().filter(|byte| **byte == 0).count(), 1);
            assert_eq!(all(&wire), [Ok(frame)], "length {length}");
        }
    }
}

#[test]
fn the_largest_area_fits_and_one_byte_more_is_refused() {
    let frame = Frame::sysctl(1, operation(), vec![0xaa; AREA_BYTES_MAX], AREA_BYTES_MAX).unwrap();
    let wire = frame.encode().unwrap();
    assert!(wire.len() - 1 <= ENCODED_BYTES_MAX);
    assert_eq!(all(&wire), [Ok(frame)]);
    assert_eq!(
        Frame::sysctl(1, operation(), Vec::new(), AREA_BYTES_MAX + 1),
        Err(FrameError::Area {
            area: AREA_BYTES_MAX + 1,
            data: 0
        })
    );
    assert!(Frame::sysctl(1, operation(), vec![1, 2], 1).is_err());
    let most = Frame::request(CALL_TEST, 1, vec![0; AREA_BYTES_MAX]).unwrap();
    let bytes = AREA_BYTES_MAX + 1;
    let refused = Err(FrameError::Area {
        area: bytes,
        data: bytes,
    });
    assert_eq!(Frame::request(CALL_TEST, 1, vec![0; bytes]), refused);
    assert!(most.answer(0, vec![0; AREA_BYTES_MAX]).is_ok());
    assert_eq!(most.answer(0, vec![0; bytes]), refused);
}

#[test]
fn the_area_is_the_data_and_then_zeros() {
    let mut frame = sample();
    let area = frame.take_area().unwrap();
    assert_eq!(area.len(), 64);
    assert_eq!(area[..40], noise(40));
    assert_eq!(area[40..], [0; 24]);
    let answer = frame.answer_sysctl(0, operation(), area).unwrap();
    assert_eq!(answer.data().len(), 64);
    assert_eq!(answer.sequence(), 7);
    assert_eq!(answer.into_data()[..40], noise(40));
}

#[test]
fn an_answer_has_the_operation_as_the_call_left_it() {
    let left = Operation::with(OP_LIST, &List::default());
    assert_ne!(left, operation());
    let answer = sample().answer_sysctl(0, left, Vec::new()).unwrap();
    assert_eq!(answer.operation(), Some(&left));
}

#[test]
fn bytes_arriving_one_by_one_give_the_same_frames() {
    let wire = sample().encode().unwrap();
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    for byte in wire.iter().chain(&wire) {
        let mut input = core::slice::from_ref(byte);
        found.extend(decoder.next(&mut input));
        assert!(input.is_empty());
    }
    assert_eq!(found, [Ok(sample()), Ok(sample())]);
}

#[test]
fn a_frame_cut_anywhere_is_an_error_and_the_next_one_is_read() {
    let wire = sample().encode().unwrap();
    for cut in 1..wire.len() - 1 {
        let mut stream = wire[..cut].to_vec();
        stream.push(0);
        stream.extend_from_slice(&wire);
        let found = all(&stream);
        assert_eq!(found.len(), 2, "cut at {cut}");
        assert!(found[0].is_err(), "cut at {cut}: {:?}", found[0]);
        assert_eq!(found[1], Ok(sample()), "cut at {cut}");
    }
}

#[test]
fn without_its_end_a_frame_is_neither_given_nor_refused() {
    let wire = sample().encode().unwrap();
    assert_eq!(all(&wire[..wire.len() - 1]), []);
}

#[test]
fn any_flipped_bit_loses_that_frame_alone() {
    let wire = sample().encode().unwrap();
    // The zero byte that ends it is left alone: without it there are two frames in one.
    for at in 0..wire.len() - 1 {
        for bit in 0..8 {
            let mut stream = wire.clone();
            stream[at] ^= 1 << bit;
            stream.extend_from_slice(&wire);
            let found = all(&stream);
            assert!(
                !found[..found.len() - 1].contains(&Ok(sample())),
                "byte {at}"
            );
            let good: Vec<_> = found.iter().filter(|frame| frame.is_ok()).collect();
            assert_eq!(good, [&Ok(sample())], "byte {at} bit {bit}");
            assert_eq!(found.last(), Some(&Ok(sample())), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn a_lost_end_loses_both_frames_and_no_more() {
    let wire = sample().encode().unwrap();
    let mut stream = wire[..wire.len() - 1].to_vec();
    stream.extend_from_slice(&wire);
    stream.extend_from_slice(&wire);
    let found = all(&stream);
    assert_eq!(found.len(), 2);
    assert!(found[0].is_err());
    assert_eq!(found[1], Ok(sample()));
}

#[test]
fn what_another_has_begun_is_not_ended_by_whoever_comes_next() {
    let wire = sample().encode().unwrap();
    // A part of the other's frame, up to all but its end.
    for cut in 0..wire.len() {
        let stream = [&PREAMBLE, &wire[..cut], &PREAMBLE, &wire].concat();
        let mut decoder = Decoder::in_the_middle();
        let mut input = stream.as_slice();
        let frames = core::iter::from_fn(|| decoder.next(&mut input));
        let good: Vec<Frame> = frames.filter_map(Result::ok).collect();
        assert_eq!(good, [sample()], "cut at {cut}");
    }
}

#[test]
fn a_new_connection_drops_nothing_of_its_own_and_says_nothing() {
    let stream = [PREAMBLE.as_slice(), &sample().encode().unwrap()].concat();
    let mut decoder = Decoder::in_the_middle();
    let mut input = stream.as_slice();
    assert_eq!(decoder.next(&mut input), Some(Ok(sample())));
    assert_eq!(decoder.next(&mut input), None);
}

#[test]
fn garbage_between_frames_is_reported_once_and_skipped() {
    let wire = sample().encode().unwrap();
    let mut stream = vec![0, 0, 0];
    stream.extend_from_slice(&wire);
    stream.extend_from_slice(b"login: ");
    stream.push(0);
    stream.extend_from_slice(&wire);
    let found = all(&stream);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], Ok(sample()));
    assert_eq!(found[1], Err(FrameError::Stuffing));
    assert_eq!(found[2], Ok(sample()));
}

#[test]
fn an_endless_frame_is_dropped_at_the_bound_and_the_next_one_is_read() {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    let chunk = vec![1_u8; 64 * 1024];
    for _ in 0..(2 * ENCODED_BYTES_MAX / chunk.len()) {
        let mut input = chunk.as_slice();
        while let Some(frame) = decoder.next(&mut input) {
            found.push(frame);
        }
        assert!(decoder.held.len() <= ENCODED_BYTES_MAX);
    }
    let mut wire: &[u8] = &[&[0], &sample().encode().unwrap()[..]].concat();
    while let Some(frame) = decoder.next(&mut wire) {
        found.push(frame);
    }
    assert_eq!(found, [Err(FrameError::TooLong), Ok(sample())]);
}

#[test]
fn a_header_that_lies_is_refused_though_its_checksum_is_right() {
    let plain = {
        let mut bytes = sample().encode().unwrap();
        bytes.pop();
        let length = cobs::decode_in_place(&mut bytes).unwrap();
        bytes.truncate(length - 4);
        bytes
    };
    assert_eq!(all(&sealed(plain.clone())), [Ok(sample())], "the premise");
    let word = |at: usize, value: u32| {
        let mut bytes = plain.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        all(&sealed(bytes)).remove(0)
    };
    assert_eq!(
        word(0, u32::from_le_bytes(*b"XSPx")),
        Err(FrameError::Magic { magic: *b"XSPx" })
    );
    assert_eq!(
        word(4, CALL_INFO),
        Err(FrameError::OperationSize {
            call: CALL_INFO,
            length: 72
        })
    );
    assert_eq!(
        word(12, 9),
        Err(FrameError::NotZero {
            field: "result",
            value: 9
        })
    );
    assert_eq!(
        word(16, 0),
        Err(FrameError::OperationSize {
            call: CALL_SYSCTL,
            length: 0
        })
    );
    assert_eq!(
        word(20, u32::MAX),
        Err(FrameError::Sizes {
            length: plain.len() + 4,
            data: u32::MAX
        })
    );
    assert_eq!(
        word(24, u32::MAX),
        Err(FrameError::Area {
            area: 0xffff_ffff,
            data: 40
        })
    );
    assert_eq!(word(24, 39), Err(FrameError::Area { area: 39, data: 40 }));
    assert_eq!(
        word(28, 1),
        Err(FrameError::NotZero {
            field: "pad",
            value: 1
        })
    );
    let answer = sample().answer_sysctl(0, operation(), Vec::new()).unwrap();
    let mut answer = answer.encode().unwrap();
    answer.pop();
    let length = cobs::decode_in_place(&mut answer).unwrap();
    answer.truncate(length - 4);
    answer[core::mem::offset_of!(FrameHeader, area_bytes)] = 3;
    assert_eq!(
        all(&sealed(answer)),
        [Err(FrameError::NotZero {
            field: "area_bytes",
            value: 3
        })]
    );
    let header_alone = plain[..32].to_vec();
    assert!(matches!(
        all(&sealed(header_alone))[0],
        Err(FrameError::TooShort { .. })
    ));
    assert!(matches!(
        all(&sealed(plain[..31].to_vec()))[0],
        Err(FrameError::TooShort { length: 35 })
    ));
}

#[test]
fn an_answer_carries_no_area_and_an_operation_only_for_an_operation() {
    let info = Frame::request(CALL_INFO, 5, Vec::new()).unwrap();
    assert!(info.answer_sysctl(0, operation(), Vec::new()).is_err());
    assert!(Frame::request(CALL_SYSCTL, 5, Vec::new()).is_err());
    let answer = info.answer(-1, b"no".to_vec()).unwrap();
    assert_eq!(answer.kind(), FrameKind::Answer { result: -1 });
    assert_eq!((answer.call(), answer.operation()), (CALL_INFO, None));
}

#[test]
fn an_encoder_gives_the_same_bytes_in_whatever_room() {
    for length in [0, 1, 250, 251, 252, 253, 254, 255, 508, 5000, 20_000] {
        for data in [vec![0x55; length], vec![0; length], noise(length)] {
            let frame = Frame::request(CALL_TEST, 3, data).unwrap();
            let whole = frame.encode().unwrap();
            for room in [Encoder::<Vec<u8>>::ROOM_BYTES, 300, 4096, 100_000] {
                let mut encoder = frame.clone().into_encoder().unwrap();
                let mut bytes = Vec::new();
                let mut buffer = vec![0xee; room];
                loop {
                    let written = encoder.next(&mut buffer);
                    if written == 0 {
                        break;
                    }
                    bytes.extend_from_slice(&buffer[..written]);
                }
                assert_eq!(bytes, whole, "{length} bytes, room of {room}");
            }
        }
    }
}

#[test]
fn what_is_encoded_is_what_other_encoders_make() {
    for length in [0, 1, 200, 218, 219, 220, 254, 255, 1000, 70_000] {
        let frame = Frame::request(CALL_TEST, 3, noise(length)).unwrap();
        let wire = frame.encode().unwrap();
        let mut plain = wire[..wire.len() - 1].to_vec();
        let count = cobs::decode_in_place(&mut plain).unwrap();
        let (content, crc) = plain[..count].split_last_chunk::<4>().unwrap();
        let reference = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
        assert_eq!(u32::from_le_bytes(*crc), reference.checksum(content));
    }
}

#[test]
fn a_request_that_finds_no_memory_is_known_by_its_start() {
    let request = Frame::sysctl(77, operation(), noise(3000), 4000).unwrap();
    let wire = request.encode().unwrap();
    for start in [108, 150, 400, 3000] {
        let mut decoder = Decoder::new();
        let mut input = &wire[..start];
        assert_eq!(decoder.next(&mut input), None);
        let begun = decoder.begun(&[]).unwrap();
        assert_eq!((begun.call(), begun.sequence()), (CALL_SYSCTL, 77));
        assert_eq!(begun.operation(), Some(&operation()), "{start}");
        assert!(begun.data().is_empty());
    }
    for start in 0..50 {
        let mut decoder = Decoder::new();
        let mut input = &wire[..start];
        assert_eq!(decoder.next(&mut input), None);
        assert_eq!(decoder.begun(&[]), None, "{start}");
    }
}

#[test]
fn the_largest_frame_is_as_long_as_it_is_said_to_be() {
    let largest = Frame::sysctl(1, operation(), vec![7; AREA_BYTES_MAX], AREA_BYTES_MAX);
    let wire = largest.unwrap().encode().unwrap();
    // The zero byte that ends it is not counted; a block may end with the frame.
    let limits = ENCODED_BYTES_MAX - 1..=ENCODED_BYTES_MAX + 1;
    assert!(limits.contains(&wire.len()), "{}", wire.len());
    assert_eq!(FRAME_BYTES_MAX, 32 + 72 + AREA_BYTES_MAX + 4);
}

#[test]
fn an_answer_carries_as_much_of_the_area_as_a_list_may_have_written() {
    let area = [0; 1000];
    let written = |change: fn(&mut List)| {
        let mut list = List {
            nr: U32::new(3),
            ..List::default()
        };
        change(&mut list);
        written_bytes(&Operation::with(OP_LIST, &list), &area)
    };
    let of_status = 3 * size_of::<Status>();
    assert_eq!(written(|_| {}), of_status);
    assert_eq!(
        written(|list| list.status_handle = U64::new(10)),
        10 + of_status
    );
    assert_eq!(written(|list| list.len_handle = U64::new(500)), 512);
    assert_eq!(
        written(|list| list.metadata_len_handle = U64::new(600)),
        612
    );
    assert_eq!(
        written(|list| {
            list.name_handle = U64::new(700);
            list.name_total_size = U32::new(50);
        }),
        750
    );
    assert_eq!(
        written(|list| {
            list.metadata_handle = U64::new(800);
            list.metadata_total_size = U32::new(60);
        }),
        860
    );
    assert_eq!(
        written(|list| list.len_handle = U64::new(u64::MAX)),
        area.len()
    );
    let none = written(|list| {
        list.nr = U32::ZERO;
        list.name_handle = U64::new(700);
        list.name_total_size = U32::new(50);
    });
    assert_eq!(none, 0);
    let get = Operation::with(OP_GET, &Get::default());
    assert_eq!(written_bytes(&get, &area), 0);
}
