//! Every limit of this room, named.

use std::time::Duration;

/// A batch of changes is committed this long after its first operation.
pub const BATCH_AGE_MAX: Duration = Duration::from_secs(1);
/// … or when its operations take this many bytes,
pub const BATCH_OPS_BYTES_MAX: usize = 256 * 1024;
/// How often it is looked whether anything is due, when nobody says so.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How often the store is asked for commits of others.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long what commits and checkpoints made superfluous stays where several homes write. A home that was away for
/// longer cannot put what it did on top of what others did.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long an object in the store may be named by nobody before it goes: it may be on its way.
pub const UNNAMED_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How far ahead of this home's clock another's may be for what it dates to be believed.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(24 * 3600);
/// How far the wall clock may go otherwise than the time since the machine started, between two looks, for ages to be believed.
pub const CLOCK_JUMP_MAX: Duration = Duration::from_secs(3600);
/// How long nothing goes by its age after more than that.
pub const CLOCK_HOLD: Duration = Duration::from_secs(24 * 3600);
/// How often such objects are looked for.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// How long homes that are there have to follow a purge before the log is stripped.
pub const PURGE_GRACE: Duration = Duration::from_secs(15);
/// How often the store is asked for newer checkpoints of others.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(60);
/// Commits of others that are taken in at a time.
pub const FOLLOW_COUNT_MAX: usize = 64;
/// Times that others may be first before a commit is left for later.
pub const LOST_RACES_MAX: u32 = 16;
/// Bytes of operations in one batch at which changes are refused: commits have failed for long. A body holds 32 MiB.
pub const BATCH_OPS_BYTES_LIMIT: usize = 24 << 20;
/// Things in the store that are asked to go at the same time.
pub const DELETES_AT_ONCE: usize = 32;
/// Pages of older checkpoints that are known from one collection to the next, each as often as a checkpoint names it.
pub const PAST_PAGES_MAX: usize = 1 << 20;
/// Objects that are deleted behind one commit, while the next one waits.
pub const DELETED_COUNT_MAX: usize = 2_000;
/// Objects that one commit lets go of; more wait for the next. 17 bytes each: a header holds 4 MiB.
pub const RELEASED_COUNT_MAX: usize = 100_000;
/// … or when it holds this many bytes of file data.
pub const BATCH_DATA_BYTES_MAX: u64 = 64 << 20;
/// Memory of unsealed bytes above which a writer seals its own file before it goes on.
pub const DIRTY_BYTES_MAX: u64 = 48 << 20;
/// Memory of unsealed bytes that a cut may seal while others wait.
pub const DIRTY_BYTES_AT_CUT: u64 = 4 << 20;
/// Bytes of staged, uncommitted objects above which writers wait for the commit.
pub const STAGED_BYTES_MAX: u64 = 512 << 20;
/// Longest wait of a request thread of the kernel door for a cut, which is short; whoever needs longer waits elsewhere.
pub const GATE_WAIT_MAX: Duration = Duration::from_millis(20);
/// Shortest write that is sealed straight into a staged object instead of the journal.
pub const DIRECT_LEN_MIN: usize = 64 * 1024;
/// Most plaintext bytes of a data object.
pub const OBJECT_PLAIN_BYTES_MAX: u64 = 8 << 20;
/// Most extents per `SetExtents` operation.
pub const EXTENTS_PER_OP_MAX: usize = 256;
/// Log bytes after which a checkpoint is written.
pub const CHECKPOINT_LOG_BYTES: u64 = 16 << 20;
/// … or after this many entries of the overlay, which bounds its memory.
pub const CHECKPOINT_OVERLAY_COUNT: usize = 128 * 1024;
/// Log bytes after which closing writes a checkpoint, so that the next mount is quick.
pub const CHECKPOINT_LOG_BYTES_AT_CLOSE: u64 = 1 << 20;
/// Entries of the overlay above which changes wait for the checkpoint under way.
pub const OVERLAY_COUNT_MAX: usize = 300_000;
/// Memory for opened manifest pages.
pub const PAGE_CACHE_BYTES: u64 = 80 << 20;
/// Memory for opened segments of files.
/// A few readers' worth: the kernel keeps what it was given, and ciphertext stays in its cache or ours.
pub const SEGMENT_CACHE_BYTES: u64 = 8 << 20;
/// Verified header parts kept, by number.
/// About 3 KiB each: 8 GiB of data are read without fetching one twice.
pub const HEADER_CACHE_COUNT: u64 = 8_192;
/// Free bytes below which data is refused: what is left is for names, deletions and the commit itself, so that a
/// full disk can be emptied again. More than one journal file.
pub const RESERVE_BYTES: u64 = 64 << 20;
/// Most names a file may have.
pub const LINK_COUNT_MAX: u32 = 65_000;
/// Most sub-folders of a folder count as links too; this is the kernel's own width.
pub const LISTING_COUNT_MAX: u32 = 4096;
/// Extents that go with one operation when a file is removed; a file with more goes in the background.
pub const EXTENTS_PER_REMOVAL_MAX: usize = 2048;
/// Pages that an operation is begun anew for. One that needs more fetches them on the spot, and others wait meanwhile.
pub const LOOK_TRIES_MAX: u32 = 256;
/// Tries of a read whose object went away under it (it was overwritten and collected meanwhile).
pub const READ_TRIES_MAX: u32 = 4;
/// Bytes of files that one round of compaction moves.
pub const COMPACT_BYTES_MAX: u64 = 64 << 20;
/// Extents that one round of compaction moves.
pub const COMPACT_EXTENTS_MAX: usize = 50_000;
/// Objects below this length are tiny,
pub const COMPACT_TINY_LEN: u64 = 512 * 1024;
/// … and joined when there are more of them than this.
pub const COMPACT_TINY_COUNT_MAX: usize = 256;
/// Part of a file that is looked at for fragments at a time.
pub const COMPACT_WINDOW_LEN: u64 = 64 << 20;
/// Such parts remembered for later rounds; more are forgotten until they change again.
pub const COMPACT_WINDOWS_MAX: usize = 16_384;
/// Such parts looked at in one round.
pub const COMPACT_WINDOWS_PER_ROUND: usize = 1024;
/// Sparse objects remembered for later rounds.
pub const COMPACT_CANDIDATES_MAX: usize = 100_000;
/// A part with no more extents than this is not fragmented,
pub const COMPACT_FRAGMENTS_MIN: usize = 16;
/// … nor one with no more than this many for each MiB it has.
pub const COMPACT_FRAGMENTS_PER_BLOCK: usize = 4;
/// An extent this long is no fragment.
pub const COMPACT_GOOD_LEN: u32 = 512 * 1024;
/// Bytes of one journal file.
pub const JOURNAL_FILE_LEN: u64 = 32 << 20;

/// The limits that a test makes small, so that everything that happens rarely happens often.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// See [`LOOK_INTERVAL`].
    pub look_interval: Duration,
    /// See [`POLL_INTERVAL`].
    pub poll_interval: Duration,
    /// See [`RETENTION`].
    pub retention: Duration,
    /// See [`PURGE_GRACE`].
    pub purge_grace: Duration,
    /// See [`UNNAMED_GRACE`].
    pub unnamed_grace: Duration,
    /// See [`RENEW_INTERVAL`].
    pub renew_interval: Duration,
    /// See [`BATCH_OPS_BYTES_MAX`].
    pub batch_ops_bytes: usize,
    /// See [`BATCH_OPS_BYTES_LIMIT`].
    pub batch_ops_bytes_limit: usize,
    /// See [`DELETED_COUNT_MAX`].
    pub deleted_count: usize,
    /// See [`RELEASED_COUNT_MAX`].
    pub released_count: usize,
    /// See [`BATCH_DATA_BYTES_MAX`].
    pub batch_data_bytes: u64,
    /// See [`DIRTY_BYTES_MAX`].
    pub dirty_bytes: u64,
    /// See [`DIRTY_BYTES_AT_CUT`].
    pub dirty_bytes_at_cut: u64,
    /// See [`STAGED_BYTES_MAX`].
    pub staged_bytes: u64,
    /// See [`OBJECT_PLAIN_BYTES_MAX`].
    pub object_plain_bytes: u64,
    /// See [`EXTENTS_PER_OP_MAX`].
    pub extents_per_op: usize,
    /// See [`EXTENTS_PER_REMOVAL_MAX`].
    pub extents_per_removal: usize,
    /// See [`CHECKPOINT_LOG_BYTES`].
    pub checkpoint_log_bytes: u64,
    /// See [`CHECKPOINT_LOG_BYTES_AT_CLOSE`].
    pub checkpoint_log_bytes_at_close: u64,
    /// See [`PAGE_CACHE_BYTES`].
    pub page_cache_bytes: u64,
    /// See [`SEGMENT_CACHE_BYTES`].
    pub segment_cache_bytes: u64,
    /// See [`JOURNAL_FILE_LEN`].
    pub journal_file_len: u64,
    /// See [`COMPACT_BYTES_MAX`]. 0: no compaction.
    pub compact_bytes: u64,
    /// See [`COMPACT_EXTENTS_MAX`].
    pub compact_extents: usize,
    /// See [`COMPACT_TINY_LEN`].
    pub compact_tiny_len: u64,
    /// See [`COMPACT_TINY_COUNT_MAX`].
    pub compact_tiny_count: usize,
    /// See [`RESERVE_BYTES`].
    pub reserve_bytes: u64,
    /// A step left out or in the wrong place, to show that tests notice. Never set outside of them.
    #[doc(hidden)]
    pub broken: Option<Broken>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            look_interval: LOOK_INTERVAL,
            poll_interval: POLL_INTERVAL,
            retention: RETENTION,
            purge_grace: PURGE_GRACE,
            unnamed_grace: UNNAMED_GRACE,
            renew_interval: RENEW_INTERVAL,
            reserve_bytes: RESERVE_BYTES,
            batch_ops_bytes: BATCH_OPS_BYTES_MAX,
            batch_ops_bytes_limit: BATCH_OPS_BYTES_LIMIT,
            deleted_count: DELETED_COUNT_MAX,
            released_count: RELEASED_COUNT_MAX,
            batch_data_bytes: BATCH_DATA_BYTES_MAX,
            dirty_bytes: DIRTY_BYTES_MAX,
            dirty_bytes_at_cut: DIRTY_BYTES_AT_CUT,
            staged_bytes: STAGED_BYTES_MAX,
            object_plain_bytes: OBJECT_PLAIN_BYTES_MAX,
            extents_per_op: EXTENTS_PER_OP_MAX,
            extents_per_removal: EXTENTS_PER_REMOVAL_MAX,
            checkpoint_log_bytes: CHECKPOINT_LOG_BYTES,
            checkpoint_log_bytes_at_close: CHECKPOINT_LOG_BYTES_AT_CLOSE,
            page_cache_bytes: PAGE_CACHE_BYTES,
            segment_cache_bytes: SEGMENT_CACHE_BYTES,
            journal_file_len: JOURNAL_FILE_LEN,
            compact_bytes: COMPACT_BYTES_MAX,
            compact_extents: COMPACT_EXTENTS_MAX,
            compact_tiny_len: COMPACT_TINY_LEN,
            compact_tiny_count: COMPACT_TINY_COUNT_MAX,
            broken: None,
        }
    }
}

/// Deliberate mistakes.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The commit is published before the objects it names are in the store.
    CommitBeforeObjects,
    /// The journal lets go of its records before the commit that covers them is published.
    ReleaseBeforeCommit,
    /// The log is cut before the checkpoint that covers it is written.
    CutLogBeforeCheckpoint,
    /// A sync of everything leaves out staged blocks.
    SyncWithoutStaging,
    /// An edit of a file that others have edited goes into the same file.
    SecondEditReplacesFirst,
    /// An edit of a file that others have removed is dropped.
    DeletionBeatsEdit,
    /// The journal does not say what its records are on top of.
    BaseNotJournaled,
    /// Collection removes what only snapshots need.
    SnapshotsNotKept,
    /// A purge leaves snapshots as they are.
    SnapshotsNotPurged,
    /// A purge leaves bodies of commits in the log.
    BodiesNotDropped,
    /// A name that others gave meanwhile loses what was under it.
    TakenNameIsTakenOver,
    /// What a home has seen is not compared with what the store shows it later.
    HeadNotRemembered,
    /// … only the newest commit is, which a checkpoint may have cut away.
    MarksNotCompared,
    /// A commit that is refused is remembered as seen.
    RefusedRemembered,
    /// A commit need not be made on top of the one before it.
    ParentNotCompared,
    /// A commit's signature is not verified.
    SignatureNotVerified,
    /// Who was removed may sign with a position from before, also after others have pinned the removal.
    PinsMayGoDown,
    /// The end of the organisation log that a home has seen is not remembered.
    OrganisationNotRemembered,
    /// The organisation log is not read on before a commit is sealed.
    OrganisationNotFollowed,
    /// A commit of this home's number is taken for the one that waits, whatever it holds.
    OwnCommitByNumber,
    /// What a store says it took is not read back before something else is let go of.
    PutBelieved,
    /// Pages are taken from wherever the store says they are.
    PageHashNotCompared,
    /// Nobody waits for the answers to puts that were begun before a commit.
    AnswersNotAwaited,
    /// Objects go to a far store before they are durable here.
    PutBeforeSync,
}
