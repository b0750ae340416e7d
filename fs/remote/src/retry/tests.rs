use std::cell::Cell;
use std::future::pending;

use strongroom_host::entropy::MachineEntropy;

use super::*;
use crate::timer::simulated::{SimulatedTimer, join};

/// The real patience, in time that is simulated.
struct Scene {
    timer: SimulatedTimer,
    retry: Retry,
    turns: Turns,
}

fn scene() -> Scene {
    scene_from(Duration::ZERO)
}

fn scene_from(start: Duration) -> Scene {
    let timer = SimulatedTimer::default();
    timer.run(timer.sleep(start));
    let retry = Retry::new(Patience::DEFAULT, Arc::new(timer.clone()), Arc::new(MachineEntropy));
    Scene { timer, retry, turns: Turns::new(8) }
}

const MIB: usize = 1 << 20;
const PIECE: usize = 8 << 10;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl Scene {
    fn persist<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        act: Act,
        attempt: impl FnMut(Meter) -> F,
    ) -> Tried<T> {
        self.timer.run(self.retry.persist(act, &self.turns, attempt))
    }

    /// A body that moves at so many bytes a second, until `len` have, or for ever silent from `stuck_at` on.
    async fn flow(
        &self,
        meter: Meter,
        len: usize,
        speed: usize,
        stuck_at: usize,
    ) -> Result<usize, Fault> {
        let piece_time = Duration::from_secs_f64(PIECE as f64 / speed as f64);
        for moved in (0..len).step_by(PIECE) {
            if moved >= stuck_at {
                pending::<()>().await;
            }
            self.timer.sleep(piece_time).await;
            meter.moved(PIECE);
        }
        Ok(len)
    }

    fn count(&self, name: &str) -> u64 {
        self.retry.counts.named().into_iter().find(|(n, _)| *n == name).unwrap().1
    }
}

fn kind<T>(tried: Tried<T>) -> Option<FaultKind> {
    tried.result.err().map(|fault| fault.kind)
}

#[test]
fn what_is_slow_and_moves_is_waited_for() {
    for (act, len) in [(Act::Put, 8 * MIB), (Act::Get, 32 * MIB), (Act::List, MIB)] {
        let scene = scene();
        let tried = scene.persist(act, |meter| scene.flow(meter, len, 16 << 10, usize::MAX));
        assert_eq!(tried.result, Ok(len), "{act:?}");
        // Longer than anything may be silent, and asked for once.
        assert!(scene.timer.now() > seconds(60), "{:?}", scene.timer.now());
        assert_eq!((scene.count("store_retries"), scene.count("store_hedges")), (0, 0));
    }
}

#[test]
fn eight_bodies_on_a_line_of_a_tenth_of_a_megabyte_a_second_arrive() {
    let scene = scene();
    let body = || {
        scene.retry.persist(Act::Put, &scene.turns, |meter| {
            scene.flow(meter, 8 * MIB, 100_000 / 8, usize::MAX)
        })
    };
    let all = scene.timer.run(join((0..8).map(|_| body()).collect()));
    assert!(all.into_iter().all(|tried| tried.result.is_ok()));
    assert!(scene.timer.now() > seconds(600));
}

#[test]
fn who_waits_for_a_turn_waits_while_others_get_on() {
    let scene = scene();
    let body = |_| {
        scene.retry.persist(Act::Put, &scene.turns, |meter| {
            scene.flow(meter, 8 * MIB, 100_000, usize::MAX)
        })
    };
    let all = scene.timer.run(join((0..32).map(body).collect()));
    assert!(all.into_iter().all(|tried| tried.result.is_ok()));
}

#[test]
fn a_black_hole_ends_everybody_as_soon_as_before() {
    for (act, taken, limit, limit_of_all) in [
        (Act::Get, 0, 45, 60),
        (Act::Head, 0, 45, 60),
        (Act::Put, 0, 45, 60),
        (Act::Put, 8 * MIB, 110, 180),
    ] {
        let scene = scene();
        let one = |_| {
            scene.retry.persist(act, &scene.turns, |meter| {
                // The machine's own buffers take some at once.
                meter.moved(taken);
                pending::<Result<(), Fault>>()
            })
        };
        let all = scene.timer.run(join((0..50).map(one).collect()));
        assert!(all.into_iter().all(|tried| kind(tried) == Some(FaultKind::Broken)));
        // Those that wait for their turn hear of it a little later.
        let end = scene.timer.now();
        assert!(end <= seconds(limit_of_all), "{act:?} with {taken} taken: {end:?}");
        let scene = self::scene();
        let tried = scene.persist(act, |meter| {
            meter.moved(taken);
            pending::<Result<(), Fault>>()
        });
        assert!(kind(tried) == Some(FaultKind::Broken) && scene.timer.now() <= seconds(limit));
    }
}

#[test]
fn a_body_that_stands_still_half_way_is_given_up_and_sent_again() {
    let scene = scene();
    let tries = Cell::new(0);
    let tried = scene.persist(Act::Put, |meter| {
        tries.set(tries.get() + 1);
        let stuck_at = if tries.get() == 1 { 4 * MIB } else { usize::MAX };
        scene.flow(meter, 8 * MIB, MIB, stuck_at)
    });
    assert_eq!((tried.result, tries.get()), (Ok(8 * MIB), 2));
    // Four seconds, the silence that is allowed for what may lie in buffers, eight seconds.
    assert!(scene.timer.now() < seconds(4 + 15 + 16 + 1 + 8 + 1), "{:?}", scene.timer.now());
}

#[test]
fn a_read_that_stands_still_half_way_is_asked_for_again_beside_it() {
    let scene = scene();
    let tries = Cell::new(0);
    let tried = scene.persist(Act::Get, |meter| {
        tries.set(tries.get() + 1);
        let stuck_at = if tries.get() == 1 { 2 * MIB } else { usize::MAX };
        scene.flow(meter, 4 * MIB, MIB, stuck_at)
    });
    assert_eq!((tried.result, tries.get()), (Ok(4 * MIB), 2));
    assert!(scene.timer.now() < seconds(8), "{:?}", scene.timer.now());
    assert_eq!((scene.count("store_retries"), scene.count("store_hedges")), (0, 1));
}

#[test]
fn of_two_reads_the_one_that_has_brought_nothing_is_dropped() {
    // The first begins after two seconds, just after it was asked for again.
    let scene = scene();
    let (begun, dropped) = (Cell::new(0), Cell::new(0));
    struct Dropped<'a>(&'a Cell<usize>);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let tried = scene.persist(Act::Get, |meter| {
        begun.set(begun.get() + 1);
        let number = begun.get();
        let (scene, dropped) = (&scene, Dropped(&dropped));
        async move {
            let dropped = dropped;
            scene.timer.sleep(seconds(2)).await;
            let got = scene.flow(meter, 4 * MIB, MIB / 8, usize::MAX).await;
            assert_eq!(dropped.0.get(), 1, "the other one is gone");
            got.map(|_| number)
        }
    });
    assert_eq!((tried.result, begun.get(), dropped.get()), (Ok(1), 2, 2));
}

#[test]
fn what_moves_for_ever_ends_all_the_same() {
    let scene = scene();
    let tried = scene.persist(Act::Get, |meter| scene.flow(meter, usize::MAX, PIECE, usize::MAX));
    assert_eq!(kind(tried), Some(FaultKind::Broken));
    assert_eq!(scene.timer.now(), OPERATION_LIMIT);
}

#[test]
fn bodies_that_starve_beside_each_other_go_on_with_fewer() {
    // A line that carries three bodies at a time, and lets all others starve.
    let scene = scene();
    let active = Cell::new(0_usize);
    let body = |_| {
        scene.retry.persist(Act::Put, &scene.turns, |meter| {
            let (scene, active) = (&scene, &active);
            async move {
                struct Place<'a>(&'a Cell<usize>);
                impl Drop for Place<'_> {
                    fn drop(&mut self) {
                        self.0.set(self.0.get() - 1);
                    }
                }
                active.set(active.get() + 1);
                let _place = Place(active);
                if active.get() > 3 {
                    pending::<()>().await;
                }
                scene.flow(meter, 8 * MIB, 200_000, usize::MAX).await
            }
        })
    };
    let all = scene.timer.run(join((0..12).map(body).collect()));
    let arrived = all.iter().filter(|tried| tried.result.is_ok()).count();
    assert_eq!(arrived, 12, "after {:?}", scene.timer.now());
}

#[test]
fn a_fault_that_passes_is_tried_again_and_counted() {
    let scene = scene();
    let tries = Cell::new(0);
    let tried = scene.persist(Act::Put, |_| {
        tries.set(tries.get() + 1);
        let done = tries.get() == 4;
        async move { if done { Ok(7) } else { Err(Fault::of_status(503, Some("SlowDown"))) } }
    });
    assert_eq!((tried.result, tried.is_doubtful, tries.get()), (Ok(7), false, 4));
    assert_eq!((scene.count("store_puts"), scene.count("store_retries")), (4, 3));
}

#[test]
fn a_fault_that_stays_is_not_tried_again() {
    let tried: Tried<()> =
        scene().persist(Act::Get, |_| async { Err(Fault::of_status(403, None)) });
    assert_eq!(kind(tried), Some(FaultKind::Denied));
}

#[test]
fn a_read_that_hangs_is_asked_for_again_beside_it_and_a_write_is_not() {
    for (act, took, asked) in [(Act::Get, 2, (2, 0)), (Act::Put, 17, (2, 1))] {
        let scene = scene();
        let tries = Cell::new(0);
        let tried = scene.persist(act, |_| {
            tries.set(tries.get() + 1);
            let hangs = tries.get() == 1;
            async move { if hangs { pending().await } else { Ok(()) } }
        });
        assert!(tried.result.is_ok() && scene.timer.now() < seconds(took), "{act:?}");
        assert_eq!((tries.get(), scene.count("store_retries")), asked, "{act:?}");
        assert_eq!(tried.is_doubtful, act == Act::Put);
    }
}

#[test]
fn a_store_known_to_be_away_is_asked_briefly_until_it_answers() {
    let scene = scene_from(seconds(5));
    scene.retry.is_away.store(true, Ordering::Relaxed);
    let tried: Tried<()> = scene.persist(Act::Get, |_| pending());
    assert!(kind(tried).is_some() && scene.timer.now() <= seconds(5) + AWAY_LIMIT);
    scene.persist(Act::Get, |_| async { Ok(()) }).result.unwrap();
    assert_eq!(scene.retry.patience(), Patience::DEFAULT);
}

#[test]
fn an_empty_budget_ends_retries_and_successes_fill_it() {
    let scene = scene();
    *scene.retry.budget.lock() = RETRY_COST;
    let fails = |_| async { Err::<(), _>(Fault::of_status(500, None)) };
    scene.persist(Act::Get, fails);
    assert_eq!((scene.count("store_gets"), scene.count("store_failures")), (2, 1));
    for _ in 0..RETRY_COST {
        scene.persist(Act::Get, |_| async { Ok(()) }).result.unwrap();
    }
    assert_eq!(*scene.retry.budget.lock(), RETRY_COST);
}
