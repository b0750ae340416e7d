//! The line before the right to write to the applications of a place: those of one home have it in the order in which they came.
//!
//! ```text
//! enter ─▶ nobody waits? the lock ──────────────────────────────────────────┐
//!   └────▶ a number after the last, its file locked as long as one waits ─▶ first of those who live? the lock ─▶ the number goes
//! ```
//!
//! 1. The lock alone keeps writers apart. The line says who is next: whatever becomes of its files, nobody writes beside another.
//! 2. A number counts as long as its file is locked, which ends with the process, however that ends. Whoever finds one that does
//!    not count removes it.
//! 3. Whoever is first and does not come, since its process was stopped, holds nobody up: a lock that is found free time and again
//!    is taken by those behind.
//! 4. Other homes that share a folder are not in line: they meet at the lock.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strongroom_host::clock::Clock;
use strongroom_host::disk::Disk;

/// How often the first in line tries.
const PAUSE: Duration = Duration::from_millis(2);
/// How often those behind look whether they are first: who is before them works for longer than that.
const PAUSE_BEHIND: Duration = Duration::from_millis(10);
/// How often the lock is found free before somebody behind takes it.
const FREE_COUNT: u32 = 30;
/// Digits of a number, so that names are in their order.
const DIGIT_COUNT: usize = 20;

/// The right to write, until it is dropped.
pub type Entered = Box<dyn Send + Sync>;

/// Those who wait for a lock. Cheap to clone.
#[derive(Clone)]
pub struct Line {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    lock: PathBuf,
    /// Where the numbers are.
    folder: PathBuf,
}

/// Somebody who waits, until dropped.
pub struct Waiter {
    line: Line,
    number: u64,
    _counts: Box<dyn Send + Sync>,
    /// When to look again.
    next_look: Duration,
    /// Who was first, and how often the lock was free meanwhile.
    idle: (u64, u32),
}

impl Line {
    /// The line before a lock, kept in a folder of its own.
    pub fn new(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>, lock: PathBuf, folder: PathBuf) -> Self {
        Self { disk, clock, lock, folder }
    }

    /// Takes the right to write, if nobody has it and nobody waits for it. Never waits.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn try_enter(&self) -> io::Result<Option<Entered>> {
        match self.first()? {
            Some(_) => Ok(None),
            None => self.try_lock(),
        }
    }

    /// Takes it when it is one's turn.
    ///
    /// # Errors
    /// `TimedOut` when those before take longer than `limit`; those of the disk.
    pub fn enter(&self, limit: Duration) -> io::Result<Entered> {
        if let Some(entered) = self.try_enter()? {
            return Ok(entered);
        }
        let (mut waiter, end) = (self.wait()?, self.clock.since_boot() + limit);
        loop {
            if let Some(entered) = waiter.try_enter()? {
                return Ok(entered);
            }
            if self.clock.since_boot() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.clock.sleep(PAUSE);
        }
    }

    /// Lines up, behind all who wait.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn wait(&self) -> io::Result<Waiter> {
        self.disk.create_folder(&self.folder)?;
        loop {
            let next = self.numbers()?.last().map_or(0, |last| last.saturating_add(1));
            // By the clock where nobody waits, so that no number is given twice.
            let number = next.max(u64::try_from(self.clock.now_ns()).unwrap_or(0));
            match self.disk.lock(&self.path(number)) {
                Ok(counts) => {
                    let (line, next_look) = (self.clone(), Duration::ZERO);
                    return Ok(Waiter { line, number, _counts: counts, next_look, idle: (0, 0) });
                }
                // Somebody else came at the same moment, or looks whether this number counts.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn try_lock(&self) -> io::Result<Option<Entered>> {
        match self.disk.lock(&self.lock) {
            Ok(entered) => Ok(Some(entered)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The lowest number that counts. Those before it go.
    fn first(&self) -> io::Result<Option<u64>> {
        for number in self.numbers()? {
            match self.disk.lock(&self.path(number)) {
                Ok(_nobody_waits) => self.forget(number),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(number)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Numbers that were given and have not gone, ascending.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        match self.disk.list(&self.folder) {
            Ok(entries) => Ok(entries.iter().filter_map(|entry| entry.name.parse().ok()).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Somebody else may have removed it: what stays does not count.
    fn forget(&self, number: u64) {
        let _ = self.disk.remove(&self.path(number));
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:0DIGIT_COUNT$}"))
    }
}

impl Waiter {
    /// Takes the right to write, if nobody has it and nobody came before. Costs nothing where somebody did a moment ago.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn try_enter(&mut self) -> io::Result<Option<Entered>> {
        let now = self.line.clock.since_boot();
        if now < self.next_look {
            return Ok(None);
        }
        match self.line.first()? {
            Some(first) if first < self.number => {
                self.next_look = now + PAUSE_BEHIND;
                self.pass(first)
            }
            _ => self.line.try_lock(),
        }
    }

    /// Goes before somebody who does not come.
    fn pass(&mut self, first: u64) -> io::Result<Option<Entered>> {
        let entered = self.line.try_lock()?;
        let count = if self.idle.0 == first { self.idle.1 } else { 0 };
        self.idle = (first, entered.as_ref().map_or(0, |_| count + 1));
        Ok(entered.filter(|_| self.idle.1 >= FREE_COUNT))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.line.forget(self.number);
    }
}

#[cfg(test)]
mod tests;
