//! What programs do that write through a view, and a store that takes its time.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use strongroom_records::ids::SubjectId;
use strongroom_steward::ErrorKind as StewardKind;
use strongroom_view::View;
use strongroom_workspace::door::{
    Access, Caller, Core, HandleId, OpenOptions, RenameMode, WriteMode,
};
use strongroom_workspace::error::Result;

use super::world::own;
use super::{Shop, look, now};

pub const ME: Caller = Caller { uid: 7, gid: 7 };
/// Longer than what goes to the store with its record.
pub const LONG: usize = 300_000;
/// Nobody waits for as long who does not wait for the store.
pub const PATIENCE: Duration = Duration::from_secs(20);

fn options(access: Access, truncate: bool) -> OpenOptions {
    OpenOptions { access, truncate, synchronous: false, drop_set_id: false }
}

pub fn create(view: &View, folder: &str, name: &str) -> Result<HandleId> {
    let folder = look(view, folder)?.ino;
    let made = view.create_open(ME, folder, name.as_bytes(), 0o644, options(Access::Write, false));
    Ok(now(made)?.1.handle)
}

pub fn open(view: &View, path: &str, access: Access, truncate: bool) -> Result<HandleId> {
    let ino = look(view, path)?.ino;
    Ok(now(view.open(ino, options(access, truncate)))?.handle)
}

pub fn write(view: &View, handle: HandleId, offset: u64, bytes: &[u8]) -> Result<u32> {
    now(view.write(handle, offset, bytes, WriteMode::At, true))
}

/// As `close` does.
pub fn close(view: &View, handle: HandleId) -> Result<()> {
    let flushed = now(view.flush(handle));
    view.release(handle);
    flushed
}

/// As `echo … > path` does.
pub fn save(view: &View, folder: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let handle = match look(view, &format!("{folder}/{name}")) {
        Ok(_) => open(view, &format!("{folder}/{name}"), Access::Write, true)?,
        Err(_) => create(view, folder, name)?,
    };
    let written = write(view, handle, 0, bytes);
    let closed = close(view, handle);
    written?;
    closed
}

pub fn rename(view: &View, folder: &str, from: &str, to: &str, mode: RenameMode) -> Result<()> {
    let folder = look(view, folder)?.ino;
    now(view.rename((folder, from.as_bytes()), (folder, to.as_bytes()), mode))
}

pub fn remove(view: &View, folder: &str, name: &str) -> Result<()> {
    now(view.unlink(look(view, folder)?.ino, name.as_bytes()))
}

pub fn stored(shop: &mut Shop, subject: SubjectId, class: &str, name: &str) -> Option<Vec<u8>> {
    let read = shop.act(|shop| shop.read_file(&own(subject, class), name));
    match read {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == StewardKind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}

/// The next file waits on its way to the store, for a while at most: whoever hears of it says when it goes on.
pub fn slow_store(shop: &Shop) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let ((say, heard), (go, waits)) = (mpsc::channel(), mpsc::channel());
    shop.world.store.while_sent(move || {
        // Whoever listened may have given up.
        let _ = say.send(());
        let _ = waits.recv_timeout(PATIENCE);
    });
    (heard, go)
}

/// A thread that saves a long file.
pub fn saving(view: &View, folder: String) -> JoinHandle<Result<()>> {
    let view = view.clone();
    thread::spawn(move || save(&view, &folder, "long", &vec![b'l'; LONG]))
}
