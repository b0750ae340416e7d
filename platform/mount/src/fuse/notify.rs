//! Telling the kernel what changed without its doing.
//!
//! One OS thread of its own that holds no lock: `inval_entry` waits for a lookup in flight in the same folder,
//! `inval_inode` with pages waits for reads in flight, and both are answered by other threads. The core
//! publishes the new state before it sends the change, and decides whether pages go (not while a file is open,
//! unless access was lost); it leaves out what the kernel does not know.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use fuser::{INodeNo, Notifier};
use strongroom_workspace::door::{Change, Ino};

/// Changes told in one go.
const BATCH_COUNT: usize = 64;
/// Pause between two full batches, so that requests get through.
const BATCH_PAUSE: Duration = Duration::from_millis(1);
/// Offset that means attributes only.
const ATTRIBUTES_ONLY: i64 = -1;

/// Where notifications go: the kernel, or a test.
pub(crate) trait Kernel: Send + 'static {
    fn forget_name(&self, folder: Ino, name: &[u8]) -> io::Result<()>;
    fn forget_attributes(&self, ino: Ino) -> io::Result<()>;
    fn forget_content(&self, ino: Ino) -> io::Result<()>;
}

impl Kernel for Notifier {
    fn forget_name(&self, folder: Ino, name: &[u8]) -> io::Result<()> {
        self.inval_entry(INodeNo(folder.0), OsStr::from_bytes(name))
    }

    fn forget_attributes(&self, ino: Ino) -> io::Result<()> {
        self.inval_inode(INodeNo(ino.0), ATTRIBUTES_ONLY, 0)
    }

    fn forget_content(&self, ino: Ino) -> io::Result<()> {
        self.inval_inode(INodeNo(ino.0), 0, 0)
    }
}

/// Starts the thread. It ends when the core is gone, the mount is gone, or `stop` is set and one more change
/// arrives.
pub(crate) fn spawn(
    changes: Receiver<Change>,
    kernel: impl Kernel,
    stop: Arc<AtomicBool>,
) -> io::Result<()> {
    std::thread::Builder::new()
        .name("mount-notify".into())
        .spawn(move || drain(&changes, &kernel, &stop))?;
    Ok(())
}

fn drain(changes: &Receiver<Change>, kernel: &impl Kernel, stop: &AtomicBool) {
    while let Ok(first) = changes.recv() {
        let mut batch = vec![first];
        batch.extend(changes.try_iter().take(BATCH_COUNT - 1));
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if tell(&batch, kernel).is_err() {
            return;
        }
        if batch.len() == BATCH_COUNT {
            std::thread::sleep(BATCH_PAUSE);
        }
    }
}

/// A changed name also drops the folder's cached listing, once for all names of a batch.
fn tell(batch: &[Change], kernel: &impl Kernel) -> io::Result<()> {
    let mut folders = HashSet::new();
    for change in batch {
        match change {
            Change::Inode { ino, content: true } => unless_gone(kernel.forget_content(*ino))?,
            Change::Inode { ino, content: false } => unless_gone(kernel.forget_attributes(*ino))?,
            Change::Name { folder, name } => {
                if folders.insert(*folder) {
                    unless_gone(kernel.forget_content(*folder))?;
                }
                unless_gone(kernel.forget_name(*folder, name))?;
            }
            Change::Mark(_) => {}
        }
    }
    Ok(())
}

/// Only the loss of the connection ends the work; anything else concerns one inode.
fn unless_gone(told: io::Result<()>) -> io::Result<()> {
    match told {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Err(error),
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::{Mutex, mpsc};

    use strongroom_workspace::door::{Mark, Passing};

    use super::*;

    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<String>>>, Option<i32>);

    impl Recorder {
        fn note(&self, line: String) -> io::Result<()> {
            self.0.lock().unwrap().push(line);
            self.1.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
        }
    }

    impl Kernel for Recorder {
        fn forget_name(&self, folder: Ino, name: &[u8]) -> io::Result<()> {
            self.note(format!("name {} {}", folder.0, String::from_utf8_lossy(name)))
        }

        fn forget_attributes(&self, ino: Ino) -> io::Result<()> {
            self.note(format!("attributes {}", ino.0))
        }

        fn forget_content(&self, ino: Ino) -> io::Result<()> {
            self.note(format!("content {}", ino.0))
        }
    }

    fn run(kernel: Recorder, changes: &[Change]) -> Vec<String> {
        let (sender, receiver) = mpsc::channel();
        changes.iter().for_each(|change| sender.send(change.clone()).unwrap());
        drop(sender);
        drain(&receiver, &kernel, &AtomicBool::new(false));
        kernel.0.lock().unwrap().clone()
    }

    fn name(folder: u64, name: &str) -> Change {
        Change::Name { folder: Ino(folder), name: name.into() }
    }

    #[test]
    fn listing_is_dropped_once_for_many_names_of_a_folder() {
        let lines = run(Recorder::default(), &[name(1, "a"), name(1, "b"), name(9, "c")]);
        assert_eq!(lines, ["content 1", "name 1 a", "name 1 b", "content 9", "name 9 c"]);
    }

    #[test]
    fn content_goes_only_when_the_core_says_so() {
        let lines = run(
            Recorder::default(),
            &[
                Change::Inode { ino: Ino(5), content: false },
                Change::Inode { ino: Ino(6), content: true },
            ],
        );
        assert_eq!(lines, ["attributes 5", "content 6"]);
    }

    #[test]
    fn a_mark_passes_once_what_stands_before_it_is_told_or_nobody_listens() {
        use std::task::{Context, Waker};
        let is_passed = |passing: &mut Passing| {
            let mut context = Context::from_waker(Waker::noop());
            Pin::new(passing).poll(&mut context).is_ready()
        };
        let (sender, receiver) = mpsc::channel();
        let (mark, mut passing) = Mark::new();
        sender.send(name(1, "a")).unwrap();
        sender.send(Change::Mark(mark)).unwrap();
        assert!(!is_passed(&mut passing));
        let (last, mut unheard) = Mark::new();
        let kernel = Recorder::default();
        drop(sender);
        drain(&receiver, &kernel, &AtomicBool::new(false));
        assert!(is_passed(&mut passing) && !kernel.0.lock().unwrap().is_empty());
        let (sender, receiver) = mpsc::channel();
        sender.send(Change::Mark(last)).unwrap();
        drop(receiver);
        assert!(is_passed(&mut unheard));
    }

    #[test]
    fn inode_that_the_kernel_refuses_does_not_stop_the_rest() {
        let kernel = Recorder(Arc::default(), Some(libc::EBUSY));
        assert_eq!(
            run(kernel, &[name(1, "a"), Change::Inode { ino: Ino(5), content: false }]).len(),
            3
        );
    }

    #[test]
    fn lost_connection_ends_the_work() {
        let kernel = Recorder(Arc::default(), Some(libc::ENODEV));
        let changes = [Change::Inode { ino: Ino(5), content: false }, name(1, "a")];
        assert_eq!(run(kernel, &changes), ["attributes 5"]);
    }
}
