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

#[test]
fn whose_task_is_interrupted_for_longer_than_patience_waits_for_it() {
    let mut town = by_hand();
    let of = |class, tokens| Wish { order: Order { class, ..wish(tokens).order }, ..wish(tokens) };
    town.ask(3, Ask::Work(of(Class::Batch, 64)));
    town.run(2);
    write(&mut town, 3, 32);
    town.ask(4, Ask::Work(of(Class::Realtime, 320)));
    town.run(2);
    for tokens in [32, 64] {
        write(&mut town, 4, tokens);
        town.run(6);
    }
    town.stuck = vec![];
    let key = *town.trades[1].guests.keys().find(|key| key.0 == keys(4).key()).unwrap();
    town.queue.push_back((1, Input::Worked(Worked::Ended { key, tokens: 64, end: End::Done })));
    town.run(5);
    let charges = town.events.iter().filter_map(|event| match event.1 {
        Event::Charged(charge) => Some((event.0, charge.lease.epoch, charge.from, charge.to)),
        _ => None,
    });
    assert_eq!(charges.collect::<Vec<_>>(), [(4, 1, 0, 64), (3, 1, 0, 64)], "nobody lost a lease");
}
