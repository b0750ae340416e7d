//! Memory for long-lived secrets, and what a process can do to keep secrets off the disk.
//!
//! An arena of pages that are locked (never swapped), left out of core images and wiped in forked
//! children. Holds the few KiB of device, member and epoch keys; plaintext is too much for it. When the
//! machine's limit for locked memory (commonly 8 MiB) is reached, pages are handed out unlocked and
//! [`arena`] says so: keeping a program from starting would protect nobody.

use std::io;
use std::ptr::NonNull;

use parking_lot::Mutex;
use zeroize::Zeroize;

/// Bytes in one slot; a secret takes as few neighbouring slots as it needs.
const SLOT: usize = 64;
/// Bytes mapped at a time.
const REGION: usize = 64 * 1024;
const SLOTS: usize = REGION / SLOT;
/// LIMIT: regions in all; more would mean that something else than long-lived keys is kept here.
const REGION_COUNT_MAX: usize = 64;

static ARENA: Mutex<Vec<Region>> = Mutex::new(Vec::new());

/// A secret of `N` bytes in locked memory; wiped when dropped. No Debug, Clone or Copy on purpose.
pub struct Locked<const N: usize> {
    place: Place,
}

/// How the arena stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaStatus {
    /// Bytes mapped.
    pub mapped_bytes: usize,
    /// Bytes of these that the machine agreed to lock.
    pub locked_bytes: usize,
}

enum Place {
    Arena { region: usize, slot: usize, start: NonNull<u8> },
    // The arena is full or could not be mapped.
    Heap(NonNull<u8>),
}

struct Region {
    start: NonNull<u8>,
    used: [bool; SLOTS],
    is_locked: bool,
}

#[expect(unsafe_code, reason = "the pointers are owned and never shared")]
// SAFETY: a place is owned by one `Locked`, whose methods give shared access behind `&` only.
unsafe impl Send for Place {}
#[expect(unsafe_code, reason = "the pointers are owned and never shared")]
// SAFETY: nothing is changed through `&Place`.
unsafe impl Sync for Place {}
#[expect(unsafe_code, reason = "the mapping is never moved or unmapped")]
// SAFETY: the mapping lives as long as the process, regions are changed under the mutex only.
unsafe impl Send for Region {}

impl<const N: usize> Locked<N> {
    /// Moves a secret in and wipes where it came from.
    pub fn take(secret: &mut [u8; N]) -> Self {
        let mut locked = Locked { place: Place::reserve(N) };
        locked.bytes_mut().copy_from_slice(secret);
        secret.zeroize();
        locked
    }

    /// The secret.
    #[expect(unsafe_code, reason = "reads the arena")]
    pub fn bytes(&self) -> &[u8; N] {
        // SAFETY: the place holds N initialised bytes and belongs to self alone.
        unsafe { &*self.place.start().as_ptr().cast::<[u8; N]>() }
    }

    #[expect(unsafe_code, reason = "writes the arena")]
    fn bytes_mut(&mut self) -> &mut [u8; N] {
        // SAFETY: as in `bytes`, and self is borrowed exclusively.
        unsafe { &mut *self.place.start().as_ptr().cast::<[u8; N]>() }
    }
}

impl<const N: usize> Drop for Locked<N> {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        self.place.release(N);
    }
}

/// Tells how much of the arena is really locked.
pub fn arena() -> ArenaStatus {
    let regions = ARENA.lock();
    ArenaStatus {
        mapped_bytes: regions.len() * REGION,
        locked_bytes: regions.iter().filter(|region| region.is_locked).count() * REGION,
    }
}

/// Forbids core images and tracing by processes of the same user, for this process and for good.
///
/// What is below `/proc/<pid>` then belongs to root: neither debuggers nor other processes of the same user can look
/// into this one, and it cannot open its own `/proc/self/mem`. Its own open files, its list of mounts, and
/// `fusermount3` started by it (with `auto_unmount` too) work as before: tried on Linux 6 as a normal user, so this
/// may be called before mounting.
///
/// # Errors
/// Those of `setrlimit` and `prctl`; neither happens on a common Linux.
#[expect(unsafe_code, reason = "prctl and setrlimit have no safe wrapper here")]
pub fn harden() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: takes a valid structure by reference.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes integers only.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Keeps a descriptor from programs that this process starts: something secret was read from it.
///
/// # Errors
/// Those of `fcntl`: there is no such descriptor.
#[expect(unsafe_code, reason = "the descriptor is known by its number alone")]
pub fn keep_from_programs(descriptor: u32) -> io::Result<()> {
    let number = libc::c_int::try_from(descriptor).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: takes integers only; a flag of a descriptor is no memory.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

impl Place {
    fn reserve(len: usize) -> Self {
        let count = len.div_ceil(SLOT).max(1);
        let mut regions = ARENA.lock();
        for (index, region) in regions.iter_mut().enumerate() {
            if let Some(place) = region.reserve(index, count) {
                return place;
            }
        }
        if count <= SLOTS
            && regions.len() < REGION_COUNT_MAX
            && let Some(mut region) = Region::map()
            && let Some(place) = region.reserve(regions.len(), count)
        {
            regions.push(region);
            return place;
        }
        let heap = Box::leak(vec![0_u8; count * SLOT].into_boxed_slice());
        Place::Heap(NonNull::from(heap).cast())
    }

    fn start(&self) -> NonNull<u8> {
        match self {
            Place::Arena { start, .. } | Place::Heap(start) => *start,
        }
    }

    #[expect(unsafe_code, reason = "gives leaked memory back")]
    fn release(&mut self, len: usize) {
        let count = len.div_ceil(SLOT).max(1);
        match self {
            Place::Arena { region, slot, .. } => {
                ARENA.lock()[*region].used[*slot..*slot + count].fill(false);
            }
            Place::Heap(start) => {
                let slice = std::ptr::slice_from_raw_parts_mut(start.as_ptr(), count * SLOT);
                // SAFETY: this very slice was leaked in `reserve`, and release is called once, by drop.
                drop(unsafe { Box::from_raw(slice) });
            }
        }
    }
}

impl Region {
    #[expect(unsafe_code, reason = "mmap, mlock and madvise have no safe wrapper")]
    fn map() -> Option<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping at an address the kernel chooses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), REGION, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the range was mapped just above and belongs to nobody else.
        let is_locked = unsafe {
            libc::madvise(start, REGION, libc::MADV_DONTDUMP);
            libc::madvise(start, REGION, libc::MADV_WIPEONFORK);
            libc::mlock(start, REGION) == 0
        };
        Some(Region { start: NonNull::new(start.cast())?, used: [false; SLOTS], is_locked })
    }

    #[expect(unsafe_code, reason = "pointer arithmetic inside the mapping")]
    fn reserve(&mut self, region: usize, count: usize) -> Option<Place> {
        let slot = self.used.windows(count).position(|slots| !slots.contains(&true))?;
        self.used[slot..slot + count].fill(true);
        // SAFETY: slot is below SLOTS, so the result stays inside the mapping.
        let start = unsafe { self.start.add(slot * SLOT) };
        Some(Place::Arena { region, slot, start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_moves_in_and_its_source_is_wiped() {
        let mut secret = [7; 32];
        let locked = Locked::take(&mut secret);
        assert_eq!(secret, [0; 32]);
        assert_eq!(locked.bytes(), &[7; 32]);
    }

    #[test]
    fn many_secrets_keep_their_own_bytes() {
        let all: Vec<Locked<100>> =
            (0..2000_u32).map(|n| Locked::take(&mut [n.to_le_bytes()[0]; 100])).collect();
        for (n, locked) in (0..2000_u32).zip(&all) {
            assert_eq!(locked.bytes(), &[n.to_le_bytes()[0]; 100]);
        }
        assert!(arena().mapped_bytes >= 2000 * 128);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_arena_is_left_out_of_core_images_and_wiped_in_children() {
        let locked = Locked::take(&mut [7; 32]);
        let address = locked.bytes().as_ptr() as usize;
        let map = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let flags = map.lines().find(|line| {
            if let Some((start, rest)) = line.split_once('-')
                && let Ok(start) = usize::from_str_radix(start, 16)
                && let Some((end, _)) = rest.split_once(' ')
            {
                let end = usize::from_str_radix(end, 16).unwrap();
                inside = (start..end).contains(&address);
            }
            inside && line.starts_with("VmFlags:")
        });
        let flags: Vec<&str> = flags.unwrap().split_whitespace().collect();
        assert!(flags.contains(&"dd") && flags.contains(&"wf"), "{flags:?}");
        let status = arena();
        assert!(flags.contains(&"lo") || status.locked_bytes < status.mapped_bytes);
    }

    #[test]
    fn a_secret_larger_than_a_region_lives_on_the_heap() {
        let locked = Locked::take(&mut [9; 70_000]);
        assert_eq!(locked.bytes()[69_999], 9);
    }
}
