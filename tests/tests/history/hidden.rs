//! Collection before a store that does not show, or shows wrongly, the checkpoint that everything stands on.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_store::over::Over;
use strongroom_store::{Body, Error, ErrorKind, Family, Key, Later, Store, Uploaded, wait};
use strongroom_tests::harness::files::save;
use strongroom_tests::harness::fleet::{Down, Fleet, new_store};
use strongroom_tests::harness::tree::read_tree;
use strongroom_tests::harness::world::small_tuning;

use super::{assert_same, content, live_on, snapshot, tree_at};

/// What is shown of the newest checkpoint, once it was shown to who wrote it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shown {
    /// Itself.
    Truth,
    /// That it is not there.
    Nothing,
    /// The oldest there is.
    Oldest,
}

struct Hiding {
    store: Arc<dyn Store>,
    shown: Mutex<Shown>,
    /// The newest one, and whether it was asked for.
    newest: Mutex<(u64, bool)>,
}

impl Over for Hiding {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn get<'a>(&'a self, key: Key, range: Option<Range<u64>>) -> Later<'a, Bytes> {
        let mut newest = self.newest.lock();
        let is_newest = key == Key::Checkpoint(newest.0);
        let is_confirmed = newest.1;
        newest.1 |= is_newest;
        let shown = *self.shown.lock();
        if !is_newest || !is_confirmed || shown == Shown::Truth {
            return self.store.get(key, range);
        }
        if shown == Shown::Nothing {
            let error = Error::new(ErrorKind::NotFound, "it is not there");
            return Box::pin(std::future::ready(Err(error)));
        }
        let all = wait(self.store.list(Family::Checkpoint, None)).unwrap();
        self.store.get(all[0].key, range)
    }

    fn put<'a>(&'a self, key: Key, body: Body) -> Later<'a, Uploaded> {
        if let Key::Checkpoint(seq) = key {
            *self.newest.lock() = (seq, false);
        }
        self.store.put(key, body)
    }
}

#[test]
fn a_checkpoint_that_is_not_shown_takes_no_page_along_that_it_needs() {
    for shown in [Shown::Nothing, Shown::Oldest] {
        let store = Arc::new(Hiding {
            store: new_store(),
            shown: Mutex::new(Shown::Truth),
            newest: Mutex::default(),
        });
        let mut fleet = Fleet::over(store.clone(), 7, 1, &small_tuning());
        fleet.homes[0].open().unwrap();
        let workspace = fleet.homes[0].workspace().unwrap().clone();
        workspace.make_snapshot("early").unwrap();
        let early = read_tree(&workspace).unwrap();
        // So many that a checkpoint takes over most pages of the one before.
        for number in 0..300 {
            save(&workspace, &format!("one of many, number {number}"), &content(number, 40))
                .unwrap();
        }
        workspace.commit().unwrap();
        live_on(&fleet, &workspace, 0, 10);
        *store.shown.lock() = shown;
        live_on(&fleet, &workspace, 100, 30);
        *store.shown.lock() = Shown::Truth;
        let before = read_tree(&workspace).unwrap();
        drop(workspace);
        fleet.homes[0].down(Down::Killed).unwrap();
        fleet.homes[0].open().unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        let workspace = fleet.homes[0].workspace().unwrap();
        let after = read_tree(workspace).unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert_same(&before, &after);
        assert_same(&early, &tree_at(workspace, snapshot("early")).unwrap());
    }
}
