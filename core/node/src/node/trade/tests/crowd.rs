//! What others can do to the queue of a worker, and what its clients hear of it.

use super::*;

/// Somebody of whom nobody in the town knows anything.
const STRANGER: usize = 30;

#[test]
fn a_stranger_takes_no_places_from_others_and_holds_up_nobody_for_long() {
    let mut town = Town::new(&config());
    town.run(3);
    let (stranger, client, worker) = (keys(STRANGER).key(), keys(5).key(), &mut town.trades[1]);
    let hear = |worker: &mut Trade<Identity>, from, message| {
        let mut out = vec![];
        worker.handle(Instant::from_millis(3_000), Input::Heard { from, message }, &mut out);
        out
    };
    let quoted = |out: &[Effect]| {
        out.iter().find_map(|effect| match effect {
            Effect::Send { message: Message::Quote { wait_ms, price, .. }, .. } => Some((*wait_ms, *price)),
            _ => None,
        })
    };
    let reserve = |task, tokens| Message::Reserve {
        task,
        model: MODEL,
        order: wish(tokens).order,
        price_max: if tokens == 1 { u32::MAX } else { 2_000_000 },
    };
    let kept = (0..128).filter(|task| quoted(&hear(worker, stranger, reserve(*task, 1))).is_some()).count();
    assert_eq!(kept, 17, "one is called, and an eighth of the class waits");
    let (wait_ms, price) = quoted(&hear(worker, client, reserve(1, 64))).expect("others have room");
    assert!(wait_ms >= 17 * 6_000 && price < 1_100_000, "{wait_ms} ms, for {price}");
    let steal = Message::Steal { room: 16, models: vec![MODEL] };
    assert_eq!(hear(worker, stranger, steal), [], "nothing is handed to whom nobody knows");
    // It was called, and says nothing.
    let mut out = vec![];
    worker.tick(Instant::from_millis(9_000), &mut out);
    let refused = out.iter().filter(|effect| matches!(effect, Effect::Send { message: Message::Refuse { .. }, .. }));
    assert_eq!(refused.count(), 16);
    assert!(out.contains(&Effect::Send { to: client, message: Message::Ready(1) }), "{out:?}");
}
