//! A subject's files of one class: the folder that names them, and their bytes.

mod removal;

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use strongroom_audit::Grant;
use strongroom_audit::shelves::Shelves;
use strongroom_authorizer::Action;
use strongroom_crypto::hash::sha256;
use strongroom_crypto::seal;
use strongroom_crypto::secret::{ClassKey, SubjectKey};
use strongroom_crypto::usage::{Context, Usage, Value};
use strongroom_format::cbor;
use strongroom_format::ids::OrganisationId;
use strongroom_records::ids::{ApplicationId, ClassId, FileId, Hash, SubjectId};
use strongroom_records::subject::{
    ClassCell, FILE_COUNT_MAX, FILE_NAME_LEN_MAX, File, Folder, Given, OlderKey, SubjectCell,
};
use strongroom_store::Shelf;

use crate::access::Asked;
use crate::custodian::Custodian;
use crate::error::{Error, ErrorKind, Result};
use crate::joint::LentJoint;
use crate::leases::Released;
use crate::register::{Register, Transaction};
use crate::schema::Schema;
use crate::times::time_text;

/// LIMIT: bytes of one file, which is sealed and opened in memory.
const FILE_LEN_MAX: usize = 64 << 20;
/// The profile's name, by convention.
pub(crate) const PROFILE: &str = "profile.json";

/// A file in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLine {
    /// Name.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// When it was written.
    pub written: i64,
    /// Whom else it is about, as whoever asks knows them.
    pub with: Vec<String>,
}

/// A file of a list, as agents and commands answer it.
pub fn file_json(file: &FileLine) -> Json {
    let mut line = json!({"name": file.name, "size": file.len, "written": time_text(file.written)});
    if !file.with.is_empty() {
        line["with"] = Json::from(file.with.clone());
    }
    line
}

/// A class of a subject, its key at hand.
pub(crate) struct OpenFolder {
    class: ClassId,
    generation: u64,
    version: u64,
    key: ClassKey,
    wrap: Vec<u8>,
    older: Vec<(OlderKey, ClassKey)>,
    pub folder: Folder,
}

impl OpenFolder {
    /// The folder a grant releases; a new and empty one, with a fresh key, if there is none yet.
    pub fn open(
        register: &Register,
        grant: &Grant,
        subject_key: &SubjectKey,
        cell: &SubjectCell,
    ) -> Result<Self> {
        let class = grant.class();
        let Some(own) = cell.classes.iter().find(|own| own.class == class) else {
            return Self::fresh(register, subject_key, &cell.subject, class);
        };
        let now = register.services().clock.now_ns();
        // Nothing of the class is opened without the grant: the newest key and those on their way out, or the names alone.
        if grant.gives_key() {
            strongroom_tree::release(register.keystore(), grant, subject_key, own, now)?;
        } else if !grant.is_good(class, now) {
            return Err(Error::denied());
        }
        Self::reopened(register, subject_key, &cell.subject, own)
    }

    /// A folder that is there, for the register's own work on it.
    pub fn reopened(
        register: &Register,
        subject_key: &SubjectKey,
        subject: &SubjectId,
        own: &ClassCell,
    ) -> Result<Self> {
        let open = |generation, wrap: &[u8]| {
            let key = register.unwrap_class(subject_key, subject, own.class, generation, wrap)?;
            Ok::<_, Error>(ClassKey::from(key))
        };
        let key = open(own.generation, &own.wrap)?;
        let mut folder = read_folder(register, subject, own, &key)?;
        settle_given(&mut folder);
        let mut older = Vec::new();
        for old in &own.older {
            older.push((old.clone(), open(old.generation, &old.wrap)?));
        }
        let (class, generation, version) = (own.class, own.generation, own.version);
        Ok(Self { class, generation, version, key, wrap: own.wrap.clone(), older, folder })
    }

    /// Which class it is of.
    pub fn class(&self) -> ClassId {
        self.class
    }

    /// Takes a fresh class key; the present one goes on its way out.
    pub fn renew(&mut self, register: &Register, subject_key: &SubjectKey, subject: &SubjectId) {
        let keystore = register.keystore();
        let secret = keystore.generate();
        let generation = self.generation + 1;
        let wrap = keystore.wrap_class(subject_key, &subject.0, self.class.0, generation, &secret);
        let key = std::mem::replace(&mut self.key, ClassKey::from(secret));
        let wrap = std::mem::replace(&mut self.wrap, wrap);
        self.older.push((OlderKey { generation: self.generation, wrap }, key));
        self.generation = generation;
    }

    /// Names of files that are not sealed under the newest key.
    pub fn outdated(&self) -> Vec<String> {
        let is_old = |file: &&File| file.generation != self.generation;
        self.folder.files.iter().filter(is_old).map(|file| file.name.clone()).collect()
    }

    /// Files that were written before a moment.
    pub fn written_before(&self, moment: i64) -> Vec<FileId> {
        let files = self.folder.files.iter();
        files.filter(|file| file.written < moment).map(|file| file.id).collect()
    }

    /// Takes a file out of the folder.
    pub fn remove(&mut self, id: FileId) {
        self.folder.files.retain(|file| file.id != id);
    }

    /// Gives a file another name, which no other has.
    pub fn rename(&mut self, id: &FileId, name: &str) {
        if let Some(file) = self.folder.files.iter_mut().find(|file| file.id == *id) {
            name.clone_into(&mut file.name);
        }
        self.folder.files.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// A row leads here no longer. What its bucket was before still has it, and opens with the bucket's key.
    pub fn note_former(&mut self, hash: &Hash) {
        let number = Register::bucket_number(hash);
        if let Err(at) = self.folder.former.binary_search(&number) {
            self.folder.former.insert(at, number);
        }
    }

    /// Generations of keys that files are sealed under.
    pub fn generations(&self) -> BTreeSet<u64> {
        self.folder.files.iter().map(|file| file.generation).collect()
    }

    /// The folder of a class for the register's own work on it; a new and empty one, with a fresh key, if there is none yet.
    pub fn of_class(
        register: &Register,
        subject_key: &SubjectKey,
        cell: &SubjectCell,
        class: ClassId,
    ) -> Result<Self> {
        match cell.classes.iter().find(|own| own.class == class) {
            Some(own) => Self::reopened(register, subject_key, &cell.subject, own),
            None => Self::fresh(register, subject_key, &cell.subject, class),
        }
    }

    /// The first folder of a subject that is being created: nothing is released by it.
    pub fn identifiable(
        register: &Register,
        subject_key: &SubjectKey,
        cell: &SubjectCell,
    ) -> Result<Self> {
        Self::fresh(register, subject_key, &cell.subject, ClassId::IDENTIFIABLE)
    }

    fn fresh(
        register: &Register,
        subject_key: &SubjectKey,
        subject: &SubjectId,
        class: ClassId,
    ) -> Result<Self> {
        let keystore = register.keystore();
        let secret = keystore.generate();
        let wrap = keystore.wrap_class(subject_key, &subject.0, class.0, 1, &secret);
        Ok(Self::empty(class, ClassKey::from(secret), wrap))
    }

    /// A new and empty one with a key that was made for it before; none where the subject's key is another one by now.
    pub fn begun(
        register: &Register,
        subject_key: &SubjectKey,
        subject: &SubjectId,
        class: ClassId,
        wrap: &[u8],
    ) -> Option<Self> {
        let key = register.unwrap_class(subject_key, subject, class, 1, wrap).ok()?;
        Some(Self::empty(class, ClassKey::from(key), wrap.to_vec()))
    }

    fn empty(class: ClassId, key: ClassKey, wrap: Vec<u8>) -> Self {
        let (older, folder) = (Vec::new(), Folder::default());
        Self { class, generation: 1, version: 0, key, wrap, older, folder }
    }

    /// Seals the folder into the subject's cell.
    pub fn close(self, register: &Register, cell: &mut SubjectCell) {
        let version = self.version + 1;
        let context = folder_context(register, &cell.subject, self.class, version);
        let salt = register.services().entropy.array();
        let objects = self.objects();
        let own = ClassCell {
            class: self.class,
            generation: self.generation,
            wrap: self.wrap,
            version,
            folder: seal::seal(&self.key, &context, salt, &self.folder.encoded()),
            objects,
            older: self.older.into_iter().map(|(older, _)| older).collect(),
        };
        match cell.classes.binary_search_by_key(&self.class, |class| class.class) {
            Ok(at) => cell.classes[at] = own,
            Err(at) => cell.classes.insert(at, own),
        }
    }

    /// Objects of all files, those that are about others as well last.
    pub fn objects(&self) -> Vec<FileId> {
        let joint = self.folder.joint.iter().map(|joint| joint.file.id);
        self.folder.files.iter().map(|file| file.id).chain(joint).collect()
    }

    /// Seals a file under the class key and puts it into the folder; returns the one it replaces.
    pub fn write(
        &mut self,
        register: &Register,
        subject: &SubjectId,
        name: &str,
        plain: &[u8],
        now: i64,
    ) -> Result<(FileId, Vec<u8>, Option<FileId>)> {
        check_file(name, plain)?;
        self.replaced_by(name)?;
        let id = FileId(register.services().entropy.array());
        let (file, sealed) = self.sealed(register, subject, (id, name), plain, now);
        Ok((id, sealed, self.place(file)?))
    }

    /// Seals a file under the class key, in no folder yet.
    pub fn sealed(
        &self,
        register: &Register,
        subject: &SubjectId,
        (id, name): (FileId, &str),
        plain: &[u8],
        now: i64,
    ) -> (File, Vec<u8>) {
        let context = FileHome::new(register, subject).context(self.class, &id);
        let salt = register.services().entropy.array();
        let sealed = seal::seal(&self.key, &context, salt, plain);
        let file = File {
            name: name.to_owned(),
            id,
            len: plain.len() as u64,
            hash: Hash(sha256(&sealed)),
            written: now,
            generation: self.generation,
        };
        (file, sealed)
    }

    /// The file that one of a name would take the place of.
    ///
    /// # Errors
    /// `Exists` where that is about several people; `Invalid` where nothing more goes into the folder.
    pub fn replaced_by(&self, name: &str) -> Result<Option<FileId>> {
        self.check_not_joint(name)?;
        match self.find(name) {
            Some(file) => Ok(Some(file.id)),
            None if self.is_full() => Err(full()),
            None => Ok(None),
        }
    }

    /// Puts a sealed file into the folder; returns the one it replaces.
    ///
    /// # Errors
    /// As [`OpenFolder::replaced_by`].
    pub fn place(&mut self, file: File) -> Result<Option<FileId>> {
        let before = self.replaced_by(&file.name)?;
        let files = &mut self.folder.files;
        match files.binary_search_by(|other| other.name.cmp(&file.name)) {
            Ok(at) => files[at] = file,
            Err(at) => files.insert(at, file),
        }
        Ok(before)
    }

    /// Its newest key, as it is kept.
    pub fn wrap(&self) -> &[u8] {
        &self.wrap
    }

    /// Whether nothing more goes into it.
    pub fn is_full(&self) -> bool {
        self.folder.files.len() + self.folder.joint.len() >= FILE_COUNT_MAX
    }

    /// Generation of the newest key.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn find(&self, name: &str) -> Option<&File> {
        let files = &self.folder.files;
        let at = files.binary_search_by(|other| other.name.as_str().cmp(name)).ok()?;
        files.get(at)
    }

    /// What a grant gives of it: the files by name, and the keys where it is one for contents.
    pub fn into_released(self, grant: &Grant) -> Released {
        let older = self.older.into_iter().map(|(older, key)| (older.generation, key));
        let keys = std::iter::once((self.generation, self.key)).chain(older);
        let keys = keys.filter(|_| grant.gives_key()).collect();
        let Folder { files, joint, .. } = self.folder;
        let joint = joint.into_iter().map(|joint| LentJoint::new(joint, grant)).collect();
        Released { class: self.class, keys, files, joint, version: self.version }
    }

    /// Reads a file.
    pub fn read(&self, register: &Register, subject: &SubjectId, file: &File) -> Result<Vec<u8>> {
        let sealed = sealed(register.log().shelves(), file)?;
        let context = self.context(register, subject, file);
        let plain = seal::open(self.key_of(file)?, &context, &sealed).map_err(|_| damaged())?;
        Ok(plain.into_vec())
    }

    /// What a file in it is bound to.
    pub fn context(&self, register: &Register, subject: &SubjectId, file: &File) -> Context {
        FileHome::new(register, subject).context(self.class, &file.id)
    }

    /// The key that a file in it is sealed under.
    ///
    /// # Errors
    /// `Corrupt` where it is gone.
    pub fn key_of(&self, file: &File) -> Result<&ClassKey> {
        if file.generation == self.generation {
            return Ok(&self.key);
        }
        let mut older = self.older.iter();
        let found = older.find(|(older, _)| older.generation == file.generation);
        let lost = || Error::corrupt("a subject's file is sealed under a key that is gone");
        found.map(|(_, key)| key).ok_or_else(lost)
    }
}

impl Custodian {
    /// Gives a file of a subject another name in its class, for an activity that may write. What had that name is replaced.
    ///
    /// # Errors
    /// `Denied`; `NotFound` when the subject has no such file; `Invalid` for a name that is none, or a profile; `Held` while a
    /// hold keeps what would be replaced.
    pub fn rename_file(&mut self, asked: &Asked, from: &str, to: &str) -> Result<()> {
        check_file_name(to)?;
        let (own, grant) = self.ask(asked, Action::Write)?;
        let (register, subject) = (self.register(), own.cell.subject);
        let mut transaction = Transaction::new(register);
        let subject_key = register.subject_key(&own.cell)?.ok_or_else(Error::denied)?;
        let mut folder = OpenFolder::open(register, &grant, &subject_key, &own.cell)?;
        let file = folder.find(from).ok_or_else(no_such_file)?.clone();
        folder.check_not_joint(to)?;
        if from == to {
            return Ok(());
        }
        let is_identifiable = grant.class() == ClassId::IDENTIFIABLE;
        let lookups = match (is_identifiable, from == PROFILE, to == PROFILE) {
            (true, _, true) => Some(self.check_profile(&folder.read(register, &subject, &file)?)?),
            (true, true, false) => Some(Vec::new()),
            _ => None,
        };
        if let Some(replaced) = folder.find(to).map(|file| file.id) {
            own.check_replaceable(grant.class(), transaction.now)?;
            folder.remove(replaced);
            transaction.drop_object(replaced);
        }
        folder.rename(&file.id, to);
        let seq = transaction.seq();
        let put = self.put_folder(transaction, own, folder, lookups);
        self.as_recorded(seq, put)
    }

    /// Files of a subject, for an activity that may see them.
    ///
    /// # Errors
    /// `Denied`.
    pub fn files(&mut self, asked: &Asked) -> Result<Vec<FileLine>> {
        let (own, grant) = self.ask(asked, Action::List)?;
        let register = self.register();
        let subject_key = register.subject_key(&own.cell)?.ok_or_else(Error::denied)?;
        let folder = OpenFolder::open(register, &grant, &subject_key, &own.cell)?;
        let line = |file: &File| FileLine {
            name: file.name.clone(),
            len: file.len,
            written: file.written,
            with: Vec::new(),
        };
        let mut lines: Vec<FileLine> = folder.folder.files.iter().map(line).collect();
        if !folder.folder.joint.is_empty() {
            lines.extend(self.joint_lines(asked, &grant, &folder)?);
            lines.sort_by(|one, other| one.name.cmp(&other.name));
        }
        Ok(lines)
    }

    pub(crate) fn check_profile(&self, plain: &[u8]) -> Result<Vec<(String, String)>> {
        said_by(&self.schema()?, plain)
    }
}

/// What a profile says that its subject is looked up by, if it fits the schema.
pub(crate) fn said_by(schema: &Schema, plain: &[u8]) -> Result<Vec<(String, String)>> {
    let no_json = |_| Error::invalid("a profile is a JSON object");
    let profile: Json = serde_json::from_slice(plain).map_err(no_json)?;
    schema.check(&profile)?;
    Ok(schema.lookups(&profile))
}

/// A folder from before it was written down what a subject was given itself to be found by: where there is no profile, all.
fn settle_given(folder: &mut Folder) {
    let has_profile = folder.files.iter().any(|file| file.name == PROFILE);
    if folder.given.is_none() && !folder.lookups.is_empty() && !has_profile {
        let given = |hash: &Hash| Given { name: String::new(), hash: *hash };
        folder.given = Some(folder.lookups.iter().map(given).collect());
    }
}

/// Opens the folder of a class under its key.
pub(crate) fn read_folder(
    register: &Register,
    subject: &SubjectId,
    cell: &ClassCell,
    key: &ClassKey,
) -> Result<Folder> {
    let context = folder_context(register, subject, cell.class, cell.version);
    let damaged = |_| Error::corrupt("the list of a subject's files is damaged");
    let plain = seal::open(key, &context, &cell.folder).map_err(damaged)?;
    Ok(cbor::decode_canonical(plain.expose())?)
}

fn folder_context(
    register: &Register,
    subject: &SubjectId,
    class: ClassId,
    version: u64,
) -> Context {
    let application = register.application();
    let fields = [
        Value::Bytes(&application.0),
        Value::Bytes(&subject.0),
        Value::Uint(u64::from(class.0)),
        Value::Uint(version),
    ];
    Context::new(Usage::SubjectFolder, &register.services().keys.organisation().0, &fields)
}

/// Whose a file is: what its seal is bound to, but class and id.
#[derive(Clone)]
pub struct FileHome {
    /// Organisation.
    pub organisation: OrganisationId,
    /// Application.
    pub application: ApplicationId,
    /// Subject.
    pub subject: SubjectId,
}

impl FileHome {
    pub(crate) fn new(register: &Register, subject: &SubjectId) -> Self {
        let organisation = register.services().keys.organisation();
        Self { organisation, application: register.application(), subject: *subject }
    }

    pub(crate) fn context(&self, class: ClassId, id: &FileId) -> Context {
        let fields = [
            Value::Bytes(&self.application.0),
            Value::Bytes(&self.subject.0),
            Value::Uint(u64::from(class.0)),
            Value::Bytes(&id.0),
        ];
        Context::new(Usage::SubjectFile, &self.organisation.0, &fields)
    }
}

/// The bytes of a file as they are stored.
pub(crate) fn sealed(shelves: &Shelves, file: &File) -> Result<bytes::Bytes> {
    let name = u128::from_be_bytes(file.id.0);
    let sealed = shelves.find(Shelf::Object, name)?.ok_or_else(damaged)?;
    if sha256(&sealed) != file.hash.0 {
        return Err(damaged());
    }
    Ok(sealed)
}

/// What everybody hears who may not know of a file, or where there is none.
pub(crate) fn no_such_file() -> Error {
    Error::new(ErrorKind::NotFound, "the subject has no such file")
}

pub(crate) fn damaged() -> Error {
    Error::corrupt("a subject's file is damaged or missing")
}

pub(crate) fn full() -> Error {
    Error::invalid("a class of a subject has 10,000 files at most")
}

/// Whether a file may be written under a name.
pub(crate) fn check_file(name: &str, plain: &[u8]) -> Result<()> {
    check_file_name(name)?;
    match plain.len() {
        0..=FILE_LEN_MAX => Ok(()),
        _ => Err(Error::invalid("a file is larger than 64 MiB")),
    }
}

fn check_file_name(name: &str) -> Result<()> {
    let is_bad = name.is_empty()
        || name.len() > FILE_NAME_LEN_MAX
        || name == "."
        || name == ".."
        || name.contains(['/', '\0']);
    if is_bad { Err(Error::invalid("a file's name is a name, at most 255 bytes")) } else { Ok(()) }
}
