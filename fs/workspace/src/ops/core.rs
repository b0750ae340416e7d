//! The door's trait on a workspace: forwards to the files beside this one.

use std::sync::mpsc::Receiver;

use bytes::Bytes;

use crate::door::{
    AllocateMode, Answer, Attributes, Caller, Change, Core, FolderEntry, Folding, HandleId, Ino,
    ListDetail, NewNode, OpenOptions, Opened, RenameMode, SeekTarget, SetAttributes, Space,
    SyncLevel, SyncScope, WriteMode, XattrMode,
};
use crate::workspace::Workspace;

impl Core for Workspace {
    fn lookup(&self, folder: Ino, name: &[u8], folding: Folding) -> Answer<Attributes> {
        self.0.lookup(folder, name, folding)
    }

    fn forget(&self, counts: &[(Ino, u64)]) {
        self.0.forget(counts);
    }

    fn remember(&self, inos: &[Ino]) {
        let mut state = self.0.state.lock();
        for ino in inos {
            state.count_lookup(*ino);
        }
    }

    fn attributes(&self, ino: Ino) -> Answer<Attributes> {
        self.0.attributes(ino)
    }

    fn set_attributes(&self, ino: Ino, changes: SetAttributes) -> Answer<Attributes> {
        self.0.set_attributes(ino, changes)
    }

    fn read_link(&self, ino: Ino) -> Answer<Vec<u8>> {
        self.0.read_link(ino)
    }

    fn create(
        &self,
        caller: Caller,
        folder: Ino,
        name: &[u8],
        node: NewNode,
    ) -> Answer<Attributes> {
        self.0.create(caller, folder, name, node)
    }

    fn create_open(
        &self,
        caller: Caller,
        folder: Ino,
        name: &[u8],
        mode: u16,
        options: OpenOptions,
    ) -> Answer<(Attributes, Opened)> {
        self.0.create_open(caller, folder, name, mode, options)
    }

    fn link(&self, ino: Ino, folder: Ino, name: &[u8]) -> Answer<Attributes> {
        self.0.link(ino, folder, name)
    }

    fn unlink(&self, folder: Ino, name: &[u8]) -> Answer<()> {
        self.0.unlink(folder, name)
    }

    fn remove_folder(&self, folder: Ino, name: &[u8]) -> Answer<()> {
        self.0.remove_folder(folder, name)
    }

    fn rename(&self, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Answer<()> {
        self.0.rename(from, to, mode)
    }

    fn open(&self, ino: Ino, options: OpenOptions) -> Answer<Opened> {
        self.0.open(ino, options)
    }

    fn release(&self, handle: HandleId) {
        self.0.release(handle);
    }

    fn read(&self, handle: HandleId, offset: u64, len: u32) -> Answer<Bytes> {
        self.0.read(handle, offset, len)
    }

    fn write(
        &self,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        mode: WriteMode,
        drop_set_id: bool,
    ) -> Answer<u32> {
        self.0.write(handle, offset, data, mode, drop_set_id)
    }

    fn allocate(&self, handle: HandleId, mode: AllocateMode, offset: u64, len: u64) -> Answer<()> {
        self.0.allocate(handle, mode, offset, len)
    }

    fn seek(&self, handle: HandleId, target: SeekTarget, offset: u64) -> Answer<u64> {
        self.0.seek(handle, target, offset)
    }

    fn copy_range(&self, from: (HandleId, u64), to: (HandleId, u64), len: u64) -> Answer<u64> {
        self.0.copy_range(from, to, len)
    }

    fn read_folder(
        &self,
        folder: Ino,
        cookie: u64,
        count_max: u32,
        detail: ListDetail,
    ) -> Answer<Vec<FolderEntry>> {
        self.0.read_folder(folder, cookie, count_max, detail)
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Vec<u8>> {
        self.0.xattr(ino, name)
    }

    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        self.0.xattr_names(ino)
    }

    fn set_xattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Answer<()> {
        self.0.set_xattr(ino, name, value, mode)
    }

    fn remove_xattr(&self, ino: Ino, name: &[u8]) -> Answer<()> {
        self.0.remove_xattr(ino, name)
    }

    fn sync(&self, scope: SyncScope, level: SyncLevel) -> Answer<()> {
        self.0.sync(scope, level)
    }

    fn space(&self) -> Space {
        self.0.space()
    }

    fn changes(&self) -> Option<Receiver<Change>> {
        self.0.changes.lock().take()
    }
}
