//! A mount that serves, and how it ends.
//!
//! ```text
//! thread "signals"   SIGINT, SIGTERM, SIGHUP ─┐
//! thread "serving"   unmounted by somebody ───┴─▶ this thread: unmount, commit everything, end
//! ```
//!
//! ORDER: the mount goes first, so that nothing is written after the last commit. A second signal ends the process at once;
//! the journal keeps what was acknowledged.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use strongroom_host::signals::Signals;
use strongroom_host::thread;
use strongroom_mount::session::LINGER;
use strongroom_mount::{Mount, MountOptions, Unmounted, Unmounter};
use strongroom_workspace::Workspace;

use crate::exit::{Exit, Failure, Result};
use crate::ui;

/// A mount that serves.
pub struct Serving {
    workspace: Workspace,
    unmounter: Unmounter,
    news: Receiver<News>,
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
        workspace: Workspace,
        mountpoint: &Path,
        mut options: MountOptions,
        signals: Signals,
    ) -> strongroom_mount::Result<Self> {
        options.report = Some(Arc::new(ui::log));
        let mount =
            Mount::start(Arc::new(workspace.clone()), mountpoint, options).inspect_err(|_| {
                // Nothing was written; the error of mounting is the one to tell.
                let _ = workspace.close();
            })?;
        let unmounter = mount.unmounter();
        let (sender, news) = channel();
        let gone = sender.clone();
        // The receiver lives until the process ends; a send that fails has nobody to tell.
        let serving = thread::spawn("serving", move || drop(gone.send(News::Gone(mount.wait()))));
        let listening = thread::spawn("signals", move || listen(signals, &sender));
        serving.and(listening).expect("two threads at the start of a process");
        Ok(Self { workspace, unmounter, news })
    }

    /// Serves until unmounted or told to stop; then everything is committed.
    ///
    /// # Errors
    /// Not everything could be committed; it stays in the journal.
    pub fn until_unmounted(self) -> Result<()> {
        let served = match self.news.recv() {
            Ok(News::Asked) | Err(_) => self.unmount(),
            Ok(News::Gone(served)) => served,
        };
        let closed = self.workspace.close();
        served.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        closed.map_err(|error| {
            let failure =
                Failure::workspace("unmounted, but not everything is in the store", &error);
            Failure { exit: Exit::Partial, ..failure }
                .hint("it is kept in the journal on this device and committed at the next mount")
        })
    }

    /// Programs that have files open get a moment; then their files fail.
    fn unmount(&self) -> strongroom_mount::Result<()> {
        let how = self.unmounter.unmount()?;
        match how {
            Unmounted::Clean => self.news.recv().ok(),
            Unmounted::WhileBusy => self.news.recv_timeout(LINGER).ok(),
        };
        Ok(())
    }
}

fn listen(mut signals: Signals, sender: &Sender<News>) {
    let mut count = 0;
    while signals.wait().is_ok() {
        count += 1;
        if count > 1 {
            ui::report(
                &Failure::new(Exit::Interrupted, "ended before everything was committed").hint(
                    "it is kept in the journal on this device and committed at the next mount",
                ),
            );
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        // As above.
        let _ = sender.send(News::Asked);
    }
}
