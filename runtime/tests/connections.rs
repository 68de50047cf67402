//! What a port has received and not decoded: connections that come and go within a frame, and more
//! than is taken in.

use xsplice_abi::channel::{CALL_INFO, CALL_TEST};
use xsplice_runtime::channel::{ENCODED_BYTES_MAX, Frame, FrameError, Intake, Overrun, PREAMBLE};

/// As many pieces are told apart.
const RECENT_MAX: usize = 128;

/// A request of some size.
fn sample() -> Frame {
    Frame::request(CALL_TEST, 7, (0..100).collect()).unwrap()
}

fn frames_of(intake: &mut Intake) -> Vec<Result<Frame, FrameError>> {
    core::iter::from_fn(|| intake.next_frame()).collect()
}

/// What a client sends first, with a request numbered `sequence`.
fn first_bytes(sequence: u32) -> Vec<u8> {
    let request = Frame::request(CALL_INFO, sequence, Vec::new()).unwrap();
    [PREAMBLE.as_slice(), &request.encode().unwrap()].concat()
}

fn sequences(intake: &mut Intake) -> Vec<u32> {
    let frames = frames_of(intake).into_iter().filter_map(Result::ok);
    frames.map(|frame| frame.sequence()).collect()
}

#[test]
fn clients_one_after_the_other_are_each_heard() {
    let mut intake = Intake::new(ENCODED_BYTES_MAX);
    for sequence in 1..200 {
        // Told of before the bytes, after them, or both.
        if sequence % 3 != 0 {
            intake.begin();
            intake.settle();
        }
        for piece in first_bytes(sequence).chunks(if sequence % 2 == 0 { 1 } else { 4096 }) {
            intake.take_in(piece).unwrap();
        }
        if sequence % 3 != 1 {
            // The end of the one before and the beginning of this one.
            intake.begin();
            intake.begin();
        }
        intake.settle();
        assert_eq!(sequences(&mut intake), [sequence]);
    }
}

#[test]
fn requests_of_a_client_that_left_are_not_heard_once_another_has_begun() {
    let mut intake = Intake::new(ENCODED_BYTES_MAX);
    let many: Vec<u8> = (10..20).flat_map(first_bytes).collect();
    intake.take_in(&many).unwrap();
    intake.take_in(&sample().encode().unwrap()[..40]).unwrap();
    intake.take_in(&first_bytes(2)).unwrap();
    intake.begin();
    assert_eq!(sequences(&mut intake), [2]);
    // Known to be this connection's: heard, although it looks like the start of another.
    intake.take_in(&first_bytes(3)).unwrap();
    intake.settle();
    assert_eq!(sequences(&mut intake), [3]);
}

#[test]
fn too_much_behind_an_answer_drops_that_connection_and_no_other() {
    let mut intake = Intake::new(1000);
    let piece = [1; 600];
    assert_eq!(intake.take_in(&piece), Ok(()));
    assert!(intake.take_in(&piece).is_err());
    assert_eq!(intake.take_in(&piece), Ok(()), "said once");
    intake.take_in(&first_bytes(1)).unwrap();
    assert_eq!(
        sequences(&mut intake),
        [1],
        "a connection that nobody told of"
    );
    assert!(intake.take_in(&[1; 1001]).is_err());
    intake.begin();
    intake.take_in(&first_bytes(2)).unwrap();
    assert_eq!(sequences(&mut intake), [2]);
}

#[test]
fn as_much_is_taken_in_as_was_said_and_no_byte_more() {
    let mut intake = Intake::new(1000);
    assert_eq!(intake.take_in(&[1; 400]), Ok(()));
    assert_eq!(intake.take_in(&[1; 600]), Ok(()));
    assert_eq!(intake.take_in(&[1]), Err(Overrun { bytes: 1000 }));
}

#[test]
fn what_follows_an_overrun_is_not_heard_before_the_next_connection() {
    let mut intake = Intake::new(1000);
    assert!(intake.take_in(&[1; 1001]).is_err());
    let request = Frame::request(CALL_INFO, 1, Vec::new()).unwrap();
    intake.take_in(&[0]).unwrap();
    intake.take_in(&request.encode().unwrap()).unwrap();
    assert_eq!(frames_of(&mut intake), []);
    intake.take_in(&first_bytes(2)).unwrap();
    assert_eq!(sequences(&mut intake), [2]);
    // One that is told of is heard from its first byte on, however slowly it begins.
    assert!(intake.take_in(&[1; 1001]).is_err());
    intake.begin();
    for byte in first_bytes(3) {
        intake.take_in(&[byte]).unwrap();
    }
    assert_eq!(sequences(&mut intake), [3]);
}

#[test]
fn nothing_of_before_an_overrun_is_left_for_the_next_connection() {
    let mut intake = Intake::new(1000);
    let start = first_bytes(1);
    let good = |frames: &[Result<Frame, FrameError>]| match frames {
        [Ok(one)] => Some(one.sequence()),
        _ => None,
    };
    // The start of a frame is in the decoder.
    intake.take_in(&start[..start.len() / 2]).unwrap();
    assert_eq!(frames_of(&mut intake), []);
    assert!(intake.take_in(&[1; 1001]).is_err());
    intake.take_in(&first_bytes(2)).unwrap();
    assert_eq!(good(&frames_of(&mut intake)), Some(2), "and no error");
    // As many pieces as are told apart are not in it.
    intake.settle();
    let piece = [1; 7];
    for _ in 0..RECENT_MAX {
        intake.take_in(&piece).unwrap();
    }
    assert!(intake.take_in(&[1; 1001]).is_err());
    assert_ne!(first_bytes(3).len() % piece.len(), 0, "none began here");
    for sequence in [3, 4] {
        intake.take_in(&first_bytes(sequence)).unwrap();
    }
    intake.begin();
    assert_eq!(good(&frames_of(&mut intake)), Some(4), "and no error");
}

#[test]
fn no_half_of_a_frame_is_completed_by_another_connection() {
    let wire = sample().encode().unwrap();
    for cut in 1..wire.len() {
        let mut intake = Intake::new(ENCODED_BYTES_MAX);
        intake.begin();
        intake.take_in(&PREAMBLE).unwrap();
        intake.take_in(&wire[..cut]).unwrap();
        intake.settle();
        assert_eq!(frames_of(&mut intake), []);
        intake.begin();
        intake.take_in(&wire[cut..]).unwrap();
        intake.settle();
        assert_eq!(frames_of(&mut intake), [], "cut at {cut}");
    }
}

/// Requests are decoded one at a time, and more arrives in between.
#[test]
fn what_arrives_behind_a_frame_that_was_taken_out_is_in_its_place() {
    let mut intake = Intake::new(ENCODED_BYTES_MAX);
    let next = |intake: &mut Intake| intake.next_frame().unwrap().map(|frame| frame.sequence());
    let two = [first_bytes(1), first_bytes(2)].concat();
    intake.begin();
    intake.take_in(&two).unwrap();
    intake.settle();
    assert_eq!(next(&mut intake), Ok(1));
    intake.take_in(&first_bytes(3)).unwrap();
    assert_eq!(next(&mut intake), Err(FrameError::Stuffing), "its preamble");
    assert_eq!(next(&mut intake), Ok(2));
    intake.take_in(&first_bytes(4)).unwrap();
    assert_eq!(sequences(&mut intake), [3, 4]);

    // A new connection begins when the first request of the last one has been taken out.
    intake.settle();
    intake.take_in(&two).unwrap();
    intake.take_in(&first_bytes(5)).unwrap();
    assert_eq!(next(&mut intake), Err(FrameError::Stuffing), "its preamble");
    assert_eq!(next(&mut intake), Ok(1));
    intake.take_in(b"more").unwrap();
    intake.begin();
    assert_eq!(sequences(&mut intake), [5]);
    intake.take_in(&two).unwrap();
    intake.settle();
    assert_eq!(next(&mut intake), Err(FrameError::Stuffing), "more");
    assert_eq!(next(&mut intake), Ok(1));
    intake.begin();
    intake.take_in(&first_bytes(6)).unwrap();
    assert_eq!(sequences(&mut intake), [6]);
}

#[test]
fn the_last_of_many_connections_is_heard_although_nothing_was_settled() {
    let mut intake = Intake::new(ENCODED_BYTES_MAX);
    let last = 3 * RECENT_MAX;
    for number in 1..=last {
        let sequence = u32::try_from(number).unwrap();
        // Each of another length.
        let request = Frame::request(CALL_TEST, sequence, [1].repeat(number)).unwrap();
        let piece = [PREAMBLE.as_slice(), &request.encode().unwrap()].concat();
        intake.take_in(&piece).unwrap();
        intake.begin();
        intake.begin();
    }
    assert_eq!(sequences(&mut intake), [u32::try_from(last).unwrap()]);
}

#[test]
fn what_was_settled_is_not_heard_once_another_has_begun() {
    let mut intake = Intake::new(ENCODED_BYTES_MAX);
    intake.take_in(&first_bytes(1)).unwrap();
    intake.settle();
    intake.begin();
    assert_eq!(sequences(&mut intake), []);
}

/// The preamble of the third comes in two pieces, and a change is told of between them.
#[test]
fn where_pieces_begin_is_known_after_older_ones_are_gone() {
    let mut intake = Intake::new(ENCODED_BYTES_MAX);
    let third = first_bytes(3);
    intake.take_in(&[1; 10]).unwrap();
    intake.take_in(&first_bytes(2)).unwrap();
    intake.take_in(&third[..1]).unwrap();
    intake.begin();
    intake.take_in(&third[1..]).unwrap();
    intake.begin();
    assert_eq!(sequences(&mut intake), [3]);
}
