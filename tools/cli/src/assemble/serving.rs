//! A mount that serves, and how it ends.
//!
//! ```text
//! thread "signals"   SIGINT, SIGTERM, SIGHUP ─┐   (before anything is mounted they end the process at once)
//! thread "serving"   unmounted by somebody ───┴─▶ this thread: unmount, commit everything, end
//! ```
//!
//! ORDER: the mount goes first, so that nothing is written after the last commit. A second signal ends the process at once;
//! the journal keeps what was acknowledged.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;
use strongroom_host::signals::Signals;
use strongroom_host::thread;
use strongroom_mount::session::LINGER;
use strongroom_mount::{Mount, MountOptions, Unmounted, Unmounter};
use strongroom_workspace::Workspace;
use strongroom_workspace::door::Core;

use crate::exit::{Exit, Failure, Result};
use crate::ui;

const KEPT: &str = "it is kept in the journal on this device and committed at the next mount";
/// What a view has not put on record is nowhere.
pub const NOT_KEPT: &str = "files of people are kept on no device: write them again";

/// What is behind a mount.
pub enum Served {
    /// The files of a workspace.
    Workspace(Workspace),
    /// What an activity may see of people's data.
    #[cfg(feature = "custody")]
    View(strongroom_view::View),
}

impl Served {
    fn core(&self) -> Arc<dyn Core> {
        match self {
            Served::Workspace(workspace) => Arc::new(workspace.clone()),
            #[cfg(feature = "custody")]
            Served::View(view) => Arc::new(view.clone()),
        }
    }

    /// Commits everything; a view tells what was opened, and puts what was written on record.
    fn close(&self) -> strongroom_workspace::error::Result<()> {
        match self {
            Served::Workspace(workspace) => workspace.close(),
            #[cfg(feature = "custody")]
            Served::View(view) => view.close(),
        }
    }

    /// Where what was written is, if not in the store.
    fn elsewhere(&self) -> &'static str {
        match self {
            Served::Workspace(_) => KEPT,
            #[cfg(feature = "custody")]
            Served::View(_) => NOT_KEPT,
        }
    }
}

/// A mount that serves.
pub struct Serving {
    served: Served,
    unmounter: Unmounter,
    news: Receiver<News>,
}

/// What listens to signals from before the workspace is opened, which may take as long as a store does not answer.
pub struct Listening(Arc<Mutex<Option<Sender<News>>>>);

impl Listening {
    /// Takes over the signals that end the program.
    ///
    /// # Errors
    /// The machine refuses.
    pub fn start(signals: Signals) -> std::io::Result<Self> {
        let serving = Arc::<Mutex<Option<Sender<News>>>>::default();
        let listener = serving.clone();
        thread::spawn("signals", move || listen(signals, &listener))?;
        Ok(Self(serving))
    }
}

/// Why the mount should end, or has.
enum News {
    /// Somebody asked by a signal.
    Asked,
    /// It is gone from the kernel.
    Gone(strongroom_mount::Result<()>),
}

impl Serving {
    /// Mounts and serves from threads. On return the mount answers.
    ///
    /// # Errors
    /// Those of mounting; the workspace is then closed again.
    pub fn start(
        served: Served,
        mountpoint: &Path,
        mut options: MountOptions,
        signals: Option<Listening>,
    ) -> strongroom_mount::Result<Self> {
        options.report = Some(Arc::new(ui::log));
        let (sender, news) = channel();
        if let Some(Listening(serving)) = signals {
            // From here on a mount may have to be taken away first.
            *serving.lock() = Some(sender.clone());
        }
        let mount = Mount::start(served.core(), mountpoint, options).inspect_err(|_| {
            // Nothing was written; the error of mounting is the one to tell.
            let _ = served.close();
        })?;
        let unmounter = mount.unmounter();
        // The receiver lives until the process ends; a send that fails has nobody to tell.
        let serving = thread::spawn("serving", move || drop(sender.send(News::Gone(mount.wait()))));
        serving.expect("a thread at the start of a process");
        Ok(Self { served, unmounter, news })
    }

    /// Serves until unmounted or told to stop; then everything is committed.
    ///
    /// # Errors
    /// Not everything could be committed; it stays in the journal.
    pub fn until_unmounted(self) -> Result<()> {
        let gone = match self.news.recv() {
            Ok(News::Asked) | Err(_) => self.unmount(),
            Ok(News::Gone(gone)) => gone,
        };
        self.close(gone)
    }

    /// Unmounts now; then everything is committed.
    ///
    /// # Errors
    /// As [`Serving::until_unmounted`].
    pub fn end(self) -> Result<()> {
        let gone = self.unmount();
        self.close(gone)
    }

    fn close(self, gone: strongroom_mount::Result<()>) -> Result<()> {
        let closed = self.served.close();
        gone.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        closed.map_err(|error| {
            let failure =
                Failure::workspace("unmounted, but not everything is in the store", &error);
            Failure { exit: Exit::Partial, ..failure }.hint(self.served.elsewhere())
        })
    }

    /// Programs that have files open get a moment; then their files fail.
    fn unmount(&self) -> strongroom_mount::Result<()> {
        match self.unmounter.unmount()? {
            Unmounted::Clean | Unmounted::WhileBusy => drop(self.news.recv_timeout(LINGER)),
        }
        Ok(())
    }
}

fn listen(mut signals: Signals, serving: &Mutex<Option<Sender<News>>>) {
    let mut count = 0;
    while signals.wait().is_ok() {
        let serving = serving.lock();
        let Some(sender) = &*serving else {
            interrupted(Failure::new(Exit::Interrupted, "ended before it was mounted"));
        };
        count += 1;
        if count > 1 {
            interrupted(
                Failure::new(Exit::Interrupted, "ended before everything was committed")
                    .hint(format!("{KEPT}; what a view had not put on record is not")),
            );
        }
        // As above.
        let _ = sender.send(News::Asked);
    }
}

fn interrupted(failure: Failure) -> ! {
    #[cfg(feature = "custody")]
    super::custody::quorum::end_asking();
    ui::report(&failure);
    std::process::exit(i32::from(Exit::Interrupted.code()))
}
