//! The sender's reactions to what a kernel may answer, with the kernel played by a closure.

use super::*;

/// Per message handed over: true where it asks for segmentation.
type Seen = Vec<Vec<bool>>;

fn batch(runs: &[(usize, usize)]) -> SendBatch {
    let mut batch = SendBatch::with_capacity(1 << 20);
    for (index, &(segments, size)) in runs.iter().enumerate() {
        for _ in 0..segments {
            let path = Path::udp(([127, 0, 0, 1], 1000 + index as u16).into());
            assert!(batch.push(path, &vec![1; size]));
        }
    }
    batch
}

/// Sends `batch` with a kernel that answers from `answers` and then takes everything.
fn send(sender: &mut Sender, batch: &SendBatch, answers: &[Result<usize, i32>]) -> (SendReport, Seen) {
    let mut seen = Seen::new();
    let mut answers = answers.iter();
    let report = sender.send_with(&LocalAddrs::default(), batch, |headers: &mut [mmsghdr]| {
        seen.push(headers.iter().map(|h| h.msg_hdr.msg_controllen > 0).collect());
        match answers.next() {
            Some(Ok(sent)) => Ok(*sent),
            Some(Err(code)) => Err(io::Error::from_raw_os_error(*code)),
            None => Ok(headers.len()),
        }
    });
    (report, seen)
}

fn sent(datagrams: usize, bytes: usize) -> SendReport {
    SendReport {
        datagrams,
        bytes,
        ..Default::default()
    }
}

#[test]
fn a_run_is_one_message_with_offload_and_one_per_datagram_without() {
    let batch = batch(&[(3, 100), (1, 50)]);
    let (report, seen) = send(&mut Sender::new(false, true), &batch, &[]);
    assert_eq!((report, seen), (sent(4, 350), vec![vec![true, false]]));
    let (report, seen) = send(&mut Sender::new(false, false), &batch, &[]);
    assert_eq!((report, seen), (sent(4, 350), vec![vec![false; 4]]));
}

#[test]
fn what_the_kernel_left_is_offered_again() {
    let (report, seen) = send(
        &mut Sender::new(false, true),
        &batch(&[(1, 9); 3]),
        &[Ok(1), Err(libc::EINTR)],
    );
    assert_eq!(report, sent(3, 27));
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2, 2]);
}

#[test]
fn more_runs_than_one_call_takes() {
    let batch = batch(&[(2, 9); 150]);
    let (report, seen) = send(&mut Sender::new(false, true), &batch, &[]);
    assert_eq!(report, sent(300, 2700));
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 22]);
    let (report, seen) = send(&mut Sender::new(false, false), &batch, &[]);
    assert_eq!(report, sent(300, 2700));
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 64, 64, 44]);
}

#[test]
fn a_full_buffer_drops_the_rest_and_counts_datagrams() {
    for (offload, answers, taken, dropped) in [
        (true, &[Err(libc::EAGAIN)][..], (0, 0), 6),
        (true, &[Ok(1), Err(libc::EAGAIN)], (3, 300), 3),
        (false, &[Ok(2), Err(libc::EAGAIN)], (2, 200), 4),
        (false, &[Ok(4), Err(libc::ENOBUFS)], (4, 400), 2),
    ] {
        let (report, _) = send(&mut Sender::new(false, offload), &batch(&[(3, 100), (3, 100)]), answers);
        assert_eq!(
            report,
            SendReport {
                buffer_full: dropped,
                ..sent(taken.0, taken.1)
            },
            "{offload} {answers:?}"
        );
    }
}

#[test]
fn a_card_without_checksum_offload_ends_segmentation_and_loses_nothing() {
    for code in [libc::EIO, libc::EOPNOTSUPP, libc::ENOPROTOOPT] {
        let mut sender = Sender::new(false, true);
        let (report, seen) = send(&mut sender, &batch(&[(1, 9), (2, 100), (2, 100)]), &[Ok(1), Err(code)]);
        assert_eq!(report, sent(5, 409));
        assert_eq!(seen.last(), Some(&vec![false; 4]));
        assert!(!sender.is_offloading());
    }
}

#[test]
fn one_path_with_a_small_mtu_falls_back_alone() {
    let mut sender = Sender::new(false, true);
    let (report, seen) = send(&mut sender, &batch(&[(2, 100), (2, 100)]), &[Err(libc::EINVAL)]);
    assert_eq!(report, sent(4, 400));
    assert_eq!(seen, [vec![true, true], vec![false, false, true]]);
    assert!(sender.is_offloading());
}

#[test]
fn segmentation_that_is_always_refused_is_given_up() {
    let mut sender = Sender::new(false, true);
    for _ in 0..MAX_REFUSALS {
        assert!(sender.is_offloading());
        let (report, _) = send(&mut sender, &batch(&[(2, 100)]), &[Err(libc::EINVAL)]);
        assert_eq!(report, sent(2, 200));
    }
    assert!(!sender.is_offloading());
}

#[test]
fn an_unreachable_destination_does_not_hold_up_the_others() {
    for code in [libc::ENETUNREACH, libc::ECONNREFUSED, libc::EPERM] {
        let (report, _) = send(
            &mut Sender::new(false, true),
            &batch(&[(1, 9), (3, 100), (1, 9)]),
            &[Ok(1), Err(code)],
        );
        assert_eq!(
            report,
            SendReport {
                failed: 3,
                ..sent(2, 18)
            }
        );
    }
}

#[test]
fn an_ipv6_destination_fails_on_an_ipv4_socket() {
    let mut batch = SendBatch::with_capacity(1000);
    assert!(batch.push(Path::udp("[2001:db8::1]:9".parse().expect("an address")), &[1; 10]));
    let (report, seen) = send(&mut Sender::new(false, true), &batch, &[]);
    assert_eq!((report.failed, seen.len()), (1, 0));
}
