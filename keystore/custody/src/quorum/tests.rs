use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use strongroom_crypto::sign::SigningKey;
use strongroom_host::real_disk::RealDisk;
use strongroom_host::sim::{SimClock, SimDisk};

use super::*;
use crate::conformance::{conformance, out_of_reach, place, seeded};

const FOLDER: &str = "/quorum";
const START_NS: i64 = 1_700_000_000_000_000_000;

struct Device {
    number: u8,
    kem: KemKey,
    signing: SigningKey,
}

impl Device {
    fn new(number: u8) -> Self {
        let seed = |what: u8| Secret::from_bytes(&[number ^ what; 32]);
        Self {
            number,
            kem: KemKey::from_seed(seed(0x40)),
            signing: SigningKey::from_seed(seed(0x80)),
        }
    }

    fn id(number: u8) -> DeviceId {
        Self::new(number).device()
    }
}

impl Member for Device {
    fn device(&self) -> DeviceId {
        DeviceId([self.number; 16])
    }

    fn unwrap(&self, context: &Context, wrapped: &[u8]) -> Option<SecretBytes> {
        self.kem.unwrap(context, wrapped).ok()
    }

    fn sign_request(&self, record: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.signing.sign(Usage::SignQuorumRequest, record)
    }
}

/// Devices 1 to 9 are certified.
fn trust(device: &DeviceId) -> Option<VerifyingKey> {
    let number = device.0[0];
    (1..=9).contains(&number).then(|| Device::new(number).signing.verifying_key().clone())
}

/// Time in which some holders say yes to everything that is asked.
struct Willing {
    time: SimClock,
    meetings: Vec<Meeting>,
}

impl Clock for Willing {
    fn now_ns(&self) -> i64 {
        self.time.now_ns()
    }

    fn elapsed(&self) -> Duration {
        self.time.elapsed()
    }

    fn sleep(&self, time: Duration) {
        self.time.advance(time);
        for meeting in &self.meetings {
            for request in meeting.requests(&trust).unwrap() {
                meeting.approve(&request, &trust).unwrap();
            }
        }
    }
}

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_folder(Path::new(FOLDER)).unwrap();
    disk
}

fn meeting(disk: &SimDisk, number: u8, clock: Arc<dyn Clock>) -> Meeting {
    Meeting {
        disk: Arc::new(disk.clone()),
        folder: FOLDER.into(),
        organisation: place(1, 1).organisation,
        member: Arc::new(Device::new(number)),
        entropy: Arc::new(seeded(u64::from(number) + disk_mark(disk))),
        clock,
    }
}

/// Another seed for each opening, as chance would be.
fn disk_mark(disk: &SimDisk) -> u64 {
    100 * disk.list(Path::new(FOLDER)).unwrap().len() as u64
}

fn still() -> Arc<dyn Clock> {
    Arc::new(SimClock::new(START_NS))
}

/// Whoever waits does so until it has looked that often whether to.
struct Looks(AtomicU32);

impl Looks {
    fn few(count: u32) -> Box<Self> {
        Box::new(Self(AtomicU32::new(count)))
    }

    fn many() -> Box<Self> {
        Self::few(u32::MAX)
    }
}

impl Waits for Looks {
    fn begin(&self, _: &Request) {}

    fn is_over(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) == 0
    }

    fn end(&self) {}
}

/// A quorum whose holders are asked whenever its key is used.
struct Asked(Quorum);

impl Custody for Asked {
    fn describe(&self) -> Description {
        self.0.describe()
    }

    fn create(&self, place: &KeyPlace, entropy: &dyn Entropy) -> Result<()> {
        self.0.create(place, entropy)
    }

    fn wrap(&self, place: &KeyPlace, key: &Secret<32>, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        self.0.obtain(place)?;
        self.0.wrap(place, key, entropy)
    }

    fn unwrap(&self, place: &KeyPlace, wrap: &[u8]) -> Result<Secret<32>> {
        self.0.obtain(place)?;
        self.0.unwrap(place, wrap)
    }

    fn destroy(&self, application: &ApplicationId, key: &KeyId) -> Result<()> {
        self.0.destroy(application, key)
    }

    fn list(&self, application: &ApplicationId) -> Result<Vec<KeyId>> {
        self.0.list(application)
    }
}

/// A device opens a quorum of two of 1, 2 and 3, while some of them are willing.
fn opened(disk: &SimDisk, asker: u8, willing: &[u8]) -> Asked {
    opened_with(kems(None), disk, asker, willing)
}

/// Public keys of all devices but one that was removed.
fn kems(removed: Option<u8>) -> Kems {
    let kem = move |device: &DeviceId| {
        let number = device.0[0];
        (Some(number) != removed).then(|| Device::new(number).kem.public().clone())
    };
    Arc::new(move |devices| Ok(devices.iter().map(kem).collect()))
}

fn opened_with(kems: Kems, disk: &SimDisk, asker: u8, willing: &[u8]) -> Asked {
    let meetings = willing.iter().map(|number| meeting(disk, *number, still())).collect();
    let clock = Arc::new(Willing { time: SimClock::new(START_NS), meetings });
    let terms = Terms { enough: 2, holders: [1, 2, 3].map(Device::id).into(), kems };
    Asked(within(meeting(disk, asker, clock), terms, Duration::from_secs(2), Looks::many()))
}

fn within(meeting: Meeting, terms: Terms, patience: Duration, waits: Box<dyn Waits>) -> Quorum {
    Quorum::new(meeting, terms, patience, waits).unwrap()
}

fn two_of_three() -> Terms {
    Terms { enough: 2, holders: [1, 2, 3].map(Device::id).into(), kems: kems(None) }
}

#[test]
fn a_quorum_conforms() {
    let disk = disk();
    conformance(&|| Box::new(opened(&disk, 1, &[3])));
}

#[test]
fn a_quorum_whose_folder_is_away_says_so() {
    let disk = disk();
    let away = |away| {
        let (from, to) = if away { (FOLDER, "/away") } else { ("/away", FOLDER) };
        disk.rename(Path::new(from), Path::new(to)).unwrap();
    };
    out_of_reach(&opened(&disk, 1, &[3]), &away);
}

#[test]
fn each_group_that_is_enough_opens_and_none_that_is_smaller() {
    for count in 2..=5_usize {
        for enough in 2..=count {
            let key = Secret::from_bytes(&[77; 32]);
            let cut = split(&key, count, enough, &seeded(9));
            for some in 0..1_u32 << count {
                let shares: BTreeMap<usize, SecretBytes> = (0..count)
                    .filter(|at| is_in(some, *at))
                    .map(|at| (at, SecretBytes::new(cut[at].expose().to_vec())))
                    .collect();
                let joined = join(&shares, count, enough);
                let is_enough = some.count_ones() as usize >= enough;
                assert_eq!(joined.is_some_and(|joined| joined == key), is_enough, "{some:b}");
            }
        }
    }
}

/// What too few hold fits every key equally well: with other chance in the pieces they lack, it is a share of another.
#[test]
fn too_few_shares_say_nothing_of_the_key() {
    let (count, enough) = (4, 3);
    let key = Secret::from_bytes(&[1; 32]);
    let cut = split(&key, count, enough, &seeded(5));
    for few in groups(count, enough - 1) {
        for group in groups(count, enough) {
            let lacking = (0..count).filter(|at| is_in(group, *at) && !is_in(few, *at));
            assert!(lacking.count() >= 1, "a group that {few:b} has all pieces of");
        }
    }
    let pieces: BTreeSet<Vec<u8>> =
        cut.iter().flat_map(|share| share.expose().chunks(32)).map(<[u8]>::to_vec).collect();
    assert_eq!(pieces.len(), 3 * groups(count, enough).count(), "no piece is in two groups");
}

#[test]
fn a_holder_alone_opens_nothing_and_what_it_asked_for_is_gone() {
    let disk = disk();
    let maker = opened(&disk, 1, &[]);
    maker.create(&place(1, 1), &seeded(1)).unwrap();
    let wrap = maker.wrap(&place(1, 1), &Secret::from_bytes(&[5; 32]), &seeded(2)).unwrap();
    for (asker, willing) in [(1, &[][..]), (2, &[]), (9, &[]), (9, &[3])] {
        let refused = opened(&disk, asker, willing).unwrap(&place(1, 1), &wrap).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{asker}");
        let left = disk.list(Path::new(FOLDER)).unwrap();
        assert_eq!(left.len(), 1, "{left:?}");
    }
    // Who holds no share has it from two who do.
    assert!(opened(&disk, 9, &[2, 3]).unwrap(&place(1, 1), &wrap).is_ok());
    assert!(opened(&disk, 2, &[1]).unwrap(&place(1, 1), &wrap).is_ok());
}

/// A real folder, and what its owner has elsewhere.
struct Shared {
    folder: tempfile::TempDir,
    diary: PathBuf,
}

impl Shared {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("quorum")).unwrap();
        let diary = folder.path().join("diary");
        std::fs::write(&diary, DIARY).unwrap();
        Self { folder, diary }
    }

    fn meeting(&self) -> Meeting {
        let folder = self.folder.path().join("quorum");
        Meeting { disk: Arc::new(RealDisk), folder, ..meeting(&disk(), 1, still()) }
    }

    fn quorum(&self) -> Quorum {
        within(self.meeting(), two_of_three(), Duration::ZERO, Looks::many())
    }

    #[track_caller]
    fn check(&self, how: &str) {
        assert!(std::fs::read(&self.diary).unwrap() == DIARY, "{how}");
    }
}

const DIARY: &[u8] = b"dear diary";

#[test]
fn whoever_may_write_to_the_folder_has_nothing_overwritten_that_lies_elsewhere() {
    let shared = Shared::new();
    let (quorum, meeting) = (shared.quorum(), shared.meeting());
    let [one, two] = [1, 2].map(|key| place(1, key));
    let path = |place: &KeyPlace| meeting.key_path(&place.application, &place.key);
    symlink(&shared.diary, path(&one).with_extension("key.new")).unwrap();
    quorum.create(&one, &seeded(1)).unwrap();
    shared.check("a link where a key is written first");
    quorum.destroy(&one.application, &one.key).unwrap();
    for (how, link) in [("a link", symlink as fn(_, _) -> _), ("a second name", std::fs::hard_link)]
    {
        link(shared.diary.clone(), path(&two)).unwrap();
        assert_eq!(quorum.list(&two.application).unwrap(), [two.key]);
        quorum.destroy(&two.application, &two.key).unwrap();
        shared.check(how);
        assert_eq!(quorum.list(&two.application).unwrap(), [], "{how}");
    }
}

#[test]
fn a_pipe_in_the_folder_keeps_nobody_waiting_and_is_nothing_of_ours() {
    let shared = Shared::new();
    let (quorum, meeting) = (shared.quorum(), shared.meeting());
    let key = place(1, 1);
    let paths = [meeting.request_path(&key.key), meeting.key_path(&key.application, &key.key)];
    for path in paths {
        mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    }
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let found = meeting.requests(&trust).map(|requests| requests.len());
        said.send((found, quorum.obtain(&key), quorum.destroy(&key.application, &key.key)))
    });
    let (found, obtained, destroyed) = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((found.unwrap(), obtained.unwrap_err().kind()), (0, ErrorKind::Invalid));
    destroyed.unwrap();
}

/// What a device asks for.
fn asked(number: u8) -> Request {
    let once = KemKey::from_seed(Secret::from_bytes(&[number; 32]));
    Request {
        organisation: place(1, 1).organisation,
        application: place(1, 1).application,
        key: place(1, 1).key,
        id: KeyId([number; 16]),
        device: DeviceId([number; 16]),
        time: START_NS,
        public: once.public().as_bytes().to_vec(),
    }
}

/// The same, signed by the device that it names.
fn signed(request: &Request) -> Vec<u8> {
    let record = cbor::encode(request);
    let signature = Device::new(request.device.0[0]).sign_request(&record);
    Signed::build(MAGIC, &record, &signature, &[])
}

#[test]
fn a_holder_who_is_gone_closes_nothing_that_the_others_can_open_and_gets_no_share_of_a_new_key() {
    let disk = disk();
    let maker = opened(&disk, 1, &[]);
    maker.create(&place(1, 1), &seeded(1)).unwrap();
    let wanted = Secret::from_bytes(&[5; 32]);
    let wrap = maker.wrap(&place(1, 1), &wanted, &seeded(2)).unwrap();
    let quorum = opened_with(kems(Some(3)), &disk, 1, &[2]);
    assert!(quorum.unwrap(&place(1, 1), &wrap).is_ok_and(|key| key == wanted));
    let refused = quorum.create(&place(1, 2), &seeded(3)).err().unwrap();
    assert_eq!(
        (refused.kind(), disk.list(Path::new(FOLDER)).unwrap().len()),
        (ErrorKind::Invalid, 1)
    );
}

#[test]
fn who_is_removed_while_a_quorum_is_open_gets_no_share_of_a_new_key() {
    let (disk, removed) = (disk(), Arc::new(Mutex::new(None)));
    let now = Arc::clone(&removed);
    let all: Kems = Arc::new(move |devices| kems(*now.lock().unwrap())(devices));
    let quorum = opened_with(all, &disk, 1, &[]);
    quorum.create(&place(1, 1), &seeded(1)).unwrap();
    *removed.lock().unwrap() = Some(3);
    let refused = quorum.create(&place(1, 2), &seeded(2)).err().unwrap();
    assert_eq!(
        (refused.kind(), disk.list(Path::new(FOLDER)).unwrap().len()),
        (ErrorKind::Invalid, 1)
    );
}

#[test]
fn only_a_holder_answers_and_only_what_a_certified_device_asked_unchanged() {
    let disk = disk();
    opened(&disk, 1, &[]).create(&place(1, 1), &seeded(1)).unwrap();
    let asking = |number| signed(&asked(number));
    let holder = meeting(&disk, 2, still());
    let put = |number: u8, bytes: &[u8]| {
        holder.write(&holder.request_path(&KeyId([number; 16])), bytes).unwrap();
        holder.approve(&asked(number), &trust).map_err(|error| error.kind())
    };
    assert!(put(4, &asking(4)).is_ok());
    let stranger = meeting(&disk, 5, still()).approve(&asked(4), &trust);
    assert_eq!(stranger.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(put(77, &asking(77)), Err(ErrorKind::NotFound), "nobody certified it");
    let whole = asking(4);
    for at in (0..whole.len()).step_by(11) {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        assert_eq!(put(4, &bad), Err(ErrorKind::NotFound), "byte {at}");
    }
    holder.write(&holder.request_path(&KeyId([4; 16])), &whole).unwrap();
    // One that is over, and one that is dated ahead as if never to be over.
    for time in [START_NS + REQUEST_LIFE_NS, START_NS - REQUEST_LIFE_NS] {
        let clock = Arc::new(SimClock::new(time));
        assert!(meeting(&disk, 2, clock).requests(&trust).unwrap().is_empty());
    }
}

/// While a person reads what is asked for, somebody who may write to the folder puts another request in its place.
#[test]
fn what_a_holder_was_not_shown_gets_no_share() {
    let disk = disk();
    opened(&disk, 1, &[]).create(&place(1, 1), &seeded(1)).unwrap();
    let holder = meeting(&disk, 2, still());
    let (shown, path) = (asked(3), holder.request_path(&KeyId([3; 16])));
    let write = |request: &Request| holder.write(&path, &signed(request)).unwrap();
    for exchanged in [
        Request { device: DeviceId([4; 16]), ..shown.clone() },
        Request { application: place(2, 1).application, ..shown.clone() },
        Request { key: place(1, 2).key, ..shown.clone() },
        Request { public: asked(5).public, ..shown.clone() },
    ] {
        write(&shown);
        assert_eq!(holder.requests(&trust).unwrap(), std::slice::from_ref(&shown));
        write(&exchanged);
        let refused = holder.approve(&shown, &trust).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::NotFound), "{exchanged:?}");
        let left = disk.list(Path::new(FOLDER)).unwrap();
        assert!(left.iter().all(|entry| !entry.name.ends_with(".share")), "{left:?}");
    }
    write(&shown);
    assert!(holder.approve(&shown, &trust).is_ok());
}

#[test]
fn a_key_put_together_from_a_bad_share_is_not_kept() {
    let disk = disk();
    let (place, wanted) = (place(1, 1), Secret::from_bytes(&[5; 32]));
    let maker = opened(&disk, 1, &[]);
    maker.create(&place, &seeded(1)).unwrap();
    let wrap = maker.wrap(&place, &wanted, &seeded(2)).unwrap();
    let own = meeting(&disk, 1, still());
    let path = own.key_path(&place.application, &place.key);
    let good = own.find(&path).unwrap().unwrap();
    let mut kept: Kept = cbor::decode_canonical(&good).unwrap();
    let third = Device::new(3);
    let context = own.share_context(&place.application, &place.key, &third.device());
    let kem = third.kem.public();
    kept.shares[2].share = kem.wrap(&context, seeded(4).bytes(), &[7; 64]).unwrap();
    own.write(&path, &cbor::encode(&kept)).unwrap();
    let quorum = opened(&disk, 1, &[3]);
    assert!(quorum.unwrap(&place, &wrap).is_err());
    own.write(&path, &good).unwrap();
    assert!(quorum.unwrap(&place, &wrap).is_ok_and(|key| key == wanted));
}

#[test]
fn terms_that_make_no_quorum_are_refused() {
    let disk = disk();
    for (enough, holders) in [
        (1, vec![1, 2]),
        (3, vec![1, 2]),
        (2, vec![1, 1]),
        (2, vec![]),
        (2, vec![1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ] {
        let holders = holders.into_iter().map(Device::id).collect();
        let terms = Terms { enough, holders, kems: kems(None) };
        let meeting = meeting(&disk, 1, still());
        let made = Quorum::new(meeting, terms, Duration::ZERO, Looks::many());
        assert_eq!(made.err().map(|error| error.kind()), Some(ErrorKind::Invalid));
    }
}

#[test]
fn a_key_is_used_without_asking_anybody_and_obtained_apart() {
    let disk = disk();
    let (place, wanted) = (place(1, 1), Secret::from_bytes(&[5; 32]));
    let maker = opened(&disk, 1, &[]);
    maker.create(&place, &seeded(1)).unwrap();
    let wrap = maker.wrap(&place, &wanted, &seeded(2)).unwrap();
    let Asked(quorum) = opened(&disk, 1, &[3]);
    let used = quorum.unwrap(&place, &wrap).err().unwrap();
    assert_eq!((used.kind(), quorum.is_at_hand(&place)), (ErrorKind::Unavailable, false));
    assert_eq!(quorum.meeting.clock.elapsed(), Duration::ZERO, "nobody waited");
    quorum.obtain(&place).unwrap();
    assert!(quorum.is_at_hand(&place));
    assert!(quorum.unwrap(&place, &wrap).is_ok_and(|key| key == wanted));
    let asked = quorum.meeting.clock.elapsed();
    quorum.obtain(&place).unwrap();
    assert_eq!(quorum.meeting.clock.elapsed(), asked, "once is enough");
}

/// An erasure that another process carries out ends a key for this one, too, as soon as it has any other.
#[test]
fn a_key_that_another_process_ended_stays_in_no_memory() {
    let disk = disk();
    let (other, first, next, last) =
        (opened(&disk, 1, &[2]), place(1, 1), place(1, 2), place(1, 3));
    other.create(&first, &seeded(1)).unwrap();
    let agent = opened(&disk, 3, &[2]).0;
    agent.obtain(&first).unwrap();
    other.create(&next, &seeded(2)).unwrap();
    other.destroy(&first.application, &first.key).unwrap();
    agent.obtain(&next).unwrap();
    assert_eq!((agent.is_at_hand(&first), agent.is_at_hand(&next)), (false, true));
    other.destroy(&next.application, &next.key).unwrap();
    agent.create(&last, &seeded(3)).unwrap();
    assert_eq!((agent.is_at_hand(&next), agent.is_at_hand(&last)), (false, true));
}

#[test]
fn who_waits_no_longer_leaves_nothing_to_answer() {
    let disk = disk();
    opened(&disk, 1, &[]).create(&place(1, 1), &seeded(1)).unwrap();
    let clock = Arc::new(SimClock::new(START_NS));
    let own = meeting(&disk, 1, Arc::clone(&clock) as Arc<dyn Clock>);
    let forever = Duration::from_secs(u64::MAX);
    let quorum = within(own, two_of_three(), forever, Looks::few(3));
    assert_eq!(quorum.obtain(&place(1, 1)).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(clock.elapsed(), 3 * POLL);
    assert_eq!(disk.list(Path::new(FOLDER)).unwrap().len(), 1);
}

/// Time in which a holder comes late, and agrees to what it finds.
struct Late(SimClock, SimDisk, Duration);

impl Clock for Late {
    fn now_ns(&self) -> i64 {
        self.0.now_ns()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        self.0.advance(time);
        if self.0.elapsed() >= self.2 {
            let now = Arc::new(SimClock::new(self.0.now_ns()));
            let holder = meeting(&self.1, 2, now);
            for request in holder.requests(&trust).unwrap() {
                holder.approve(&request, &trust).unwrap();
            }
        }
    }
}

#[test]
fn a_request_is_good_as_long_as_somebody_waits_and_for_minutes_once_nobody_does() {
    let disk = disk();
    opened(&disk, 1, &[]).create(&place(1, 1), &seeded(1)).unwrap();
    let late = Late(SimClock::new(START_NS), disk.clone(), Duration::from_secs(2_400));
    let own = meeting(&disk, 1, Arc::new(late));
    let quorum = within(own, two_of_three(), Duration::from_secs(3_600), Looks::many());
    quorum.obtain(&place(1, 1)).unwrap();
    assert!(quorum.meeting.clock.elapsed() < Duration::from_secs(2_401));
    // Somebody was killed over theirs: it is dated anew by nobody.
    let holder = |after: i64| meeting(&disk, 2, Arc::new(SimClock::new(START_NS + after)));
    let path = holder(0).request_path(&KeyId([4; 16]));
    holder(0).write(&path, &signed(&asked(4))).unwrap();
    let minutes = |count: i64| holder(count * 60_000_000_000).requests(&trust).unwrap().len();
    assert_eq!([0, 4, 5].map(minutes), [1, 1, 0]);
    // What was dated anew while it was shown is what was shown.
    let anew = Request { time: START_NS + 60_000_000_000, ..asked(4) };
    holder(0).write(&path, &signed(&anew)).unwrap();
    assert!(holder(0).approve(&asked(4), &trust).is_ok());
}
