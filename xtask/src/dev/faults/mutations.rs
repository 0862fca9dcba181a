//! The mutations of `cargo xtask faults --self-test`: ways to break the product, one line of
//! defence each, and the check that must notice it.

/// One way to break the product.
pub(super) struct Mutation {
    /// What is taken away, in words.
    pub removed: &'static str,
    /// The file, relative to the workspace.
    pub file: &'static str,
    /// Text that stands there exactly once.
    pub find: &'static str,
    /// What takes its place.
    pub replace: &'static str,
    /// What must fail.
    pub check: Check,
    /// Words that the failing check prints, so that no other failure counts.
    pub says: &'static str,
}

/// A check of the unmutated build that is run on the mutated programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// The order of durability in a clean run of a workload, and these of its points, and its
    /// states after a loss of power where they are named. The first part of each is the program.
    Faults(&'static [&'static str]),
    /// An end-to-end test.
    EndToEnd(&'static str),
}

/// All of them, by layer.
pub(super) const MUTATIONS: [Mutation; 18] = [
    Mutation {
        removed: "the sync of the copy's bytes",
        file: "layer1-prebackup/src/archive/append.rs",
        find: "        fs::sync_data(copy, path)?;\n        Ok(tree)",
        replace: "        Ok(tree)",
        check: Check::Faults(&["layer1/turn/pwrite64/EINTR/once/1"]),
        says: "a clean run acknowledges too early",
    },
    Mutation {
        removed: "the sync of the ledger",
        file: "layer1-prebackup/src/archive/ledger.rs",
        find: "    fs::sync_data(file, path)?;\n    Ok(())",
        replace: "    Ok(())",
        check: Check::Faults(&["layer1/turn/pwrite64/EINTR/once/1"]),
        says: "a clean run acknowledges too early",
    },
    Mutation {
        removed: "the sync of a directory after a rename",
        file: "layer1-prebackup/src/fs/dir.rs",
        find: "        self.rename_where_nothing_stands(name, to, to_name)?;\n        to.sync()\n",
        replace: "        self.rename_where_nothing_stands(name, to, to_name)\n",
        check: Check::Faults(&["layer1/first-copy/pwrite64/EINTR/once/1"]),
        says: "a clean run acknowledges too early",
    },
    Mutation {
        removed: "the sync of a directory after an older content was renamed",
        file: "layer1-prebackup/src/fs/dir.rs",
        find: "        to.sync()?;\n        if self.path == to.path",
        replace: "        if self.path == to.path",
        check: Check::Faults(&["layer1/generation/pwrite64/EINTR/once/1"]),
        says: "a clean run acknowledges too early",
    },
    Mutation {
        removed: "the sync of a folder that a killed run made",
        file: "layer1-prebackup/src/archive/synced_folders.rs",
        find: "                above.sync()?;\n",
        replace: "",
        // How many folders above the store changed lately is not ours to say.
        check: Check::Faults(&[
            "layer1/first-copy/fsync/KILL/once/6",
            "layer1/first-copy/fsync/KILL/once/7",
            "layer1/first-copy/fsync/KILL/once/8",
            "layer1/first-copy/fsync/KILL/once/9",
            "layer1/first-copy/fsync/KILL/once/10",
            "layer1/first-copy/fsync/KILL/once/11",
            "layer1/first-copy/fsync/KILL/once/12",
            "layer1/first-copy/fsync/KILL/once/13",
        ]),
        says: "swallowed: c: order:",
    },
    Mutation {
        removed: "the sync of a file that replaces another",
        file: "layer1-prebackup/src/fs/atomic.rs",
        find: "        offset += want as u64;\n    }\n    sync_data(file, path)\n",
        replace: "        offset += want as u64;\n    }\n    Ok(())\n",
        check: Check::Faults(&["layer1/first-copy/pwrite64/EINTR/once/1"]),
        says: "a clean run acknowledges too early",
    },
    Mutation {
        removed: "the read-back of what was appended",
        file: "layer1-prebackup/src/archive/append.rs",
        find: "        check_bytes(&again, before, &after, &range, path)?;\n        let windows = self.agreed_windows(&again, range.end, path)?;",
        replace: "        let _ = again;\n        let windows = windows_of(&self.file, range.end, self.source.path)?;",
        check: Check::Faults(&[
            "layer1/delta/pwrite64/FLIP/once/1",
            "layer1/delta/pwrite64/FLIP/once/2",
            "layer1/delta/pwrite64/LIE/once/1",
        ]),
        says: "c: silent, but",
    },
    Mutation {
        removed: "the lock of a session",
        file: "layer1-prebackup/src/fs/lock.rs",
        find: "let Some(substitute) = taken_now(&file, &path)? else {",
        replace: "let Some(substitute) = Some(None) else {",
        check: Check::EndToEnd("concurrency::a_session_that_another_writer_holds_is_left_alone_until_it_is_free"),
        says: "it wrote without the lock",
    },
    Mutation {
        removed: "the generation rule: an older content is replaced",
        file: "layer1-prebackup/src/archive/append.rs",
        find: "            self.saved.rotated = self.keep_as_generation()?;",
        replace: "            self.session.create_dir_of(&self.name)?.remove(&slot.file_name(Form::Plain))?;",
        check: Check::Faults(&["layer1/torn-rotation/pwrite64/EINTR/once/1"]),
        says: "acknowledged bytes are at none of",
    },
    Mutation {
        removed: "one `?`: the error of the ledger's sync",
        file: "layer1-prebackup/src/archive/ledger.rs",
        find: "    fs::sync_data(file, path)?;\n    Ok(())",
        replace: "    let _ = fs::sync_data(file, path);\n    Ok(())",
        check: Check::Faults(&["layer1/turn/fdatasync/EIO/once/1", "layer1/turn/fdatasync/EIO/once/2"]),
        says: "swallowed: c: order:",
    },
    Mutation {
        removed: "the sync of a commit that a killed run left",
        file: "layer1-prebackup/src/archive/recovery.rs",
        find: "        if !session.is_clean() {\n            session.sync_what_was_left()?;\n",
        replace: "        if !session.is_clean() {\n",
        check: Check::Faults(&["layer1/delta/fdatasync/KILL/once/1", "layer1/delta/fdatasync/KILL/once/2"]),
        says: "swallowed: c: order:",
    },
    Mutation {
        removed: "the end of the clean mark before a write",
        file: "layer1-prebackup/src/archive/session.rs",
        find: "            self.lock.lock.mark_unknown()?;\n",
        replace: "",
        check: Check::Faults(&["layer1/delta/fdatasync/KILL/once/1", "layer1/delta/fdatasync/KILL/once/2"]),
        says: "swallowed: c: order:",
    },
    Mutation {
        removed: "the look at `covered` in the receipt",
        file: "layer2-save-client/src/receipt.rs",
        find: "        if found.iter().any(|file| !file.covered) {",
        replace: "        if false {",
        check: Check::Faults(&["layer2/refused/fdatasync/EINTR/once/1"]),
        says: "the server covered nothing, but receipts are kept",
    },
    Mutation {
        removed: "the look at the sequence number of a job that goes",
        file: "layer2-save-client/src/outbox.rs",
        find: "            Some(job) if job.seq == seq => ",
        replace: "            Some(job) if job.seq >= seq => ",
        check: Check::EndToEnd("delivery::a_job_enqueued_again_during_its_delivery_is_not_lost"),
        says: "FAILED",
    },
    Mutation {
        removed: "the durable write of a job",
        file: "layer2-save-client/src/outbox.rs",
        find: "        marked(lock, || Ok(self.replace_file(Path::new(&name.file()), &bytes)?))",
        replace: "        std::fs::write(self.dir.join(name.file()), &bytes).expect(\"write a job\");\n        Ok(())",
        check: Check::Faults(&["layer2/enqueue/pwrite64/EINTR/once/1", "layer2/enqueue/write/EINTR/once/1"]),
        says: "a clean run acknowledges too early",
    },
    Mutation {
        removed: "one `?`: the error of keeping a receipt",
        file: "layer2-save-client/src/deliver.rs",
        find: "            self.outbox.keep_receipt(lock, &kept_as, &receipt)?;",
        replace: "            let _ = self.outbox.keep_receipt(lock, &kept_as, &receipt);",
        check: Check::Faults(&[
            "layer2/deliver/renameat/EIO/once/1",
            "layer2/deliver/renameat/EIO/once/2",
            "layer2/deliver/renameat/EIO/once/3",
        ]),
        says: "is saved, but no receipt is kept",
    },
    Mutation {
        removed: "the read-back before the receipt",
        file: "layer3-indexer/src/save/steps.rs",
        find: "        let covered = asked.iter().zip(answers).filter(|(_, covered)| *covered);",
        replace: "        let covered = asked.iter().zip(answers);",
        check: Check::EndToEnd("server::an_honest_save_gives_a_receipt_for_every_file"),
        says: "assertion `left == right` failed",
    },
    Mutation {
        removed: "the warning about metadata that could not be written",
        file: "layer3-indexer/src/save/after_save.rs",
        find: "            if let Err(error) = write_metadata(&index, archive, key) {\n                warnings.push(format!(\"stored but its metadata could not be written: {}\", chain(&error)));\n            }\n",
        replace: "            let _ = write_metadata(&index, archive, key);\n",
        check: Check::Faults(&[
            "layer3/save-first/renameat/EIO/once/1",
            "layer3/save-first/renameat/EIO/once/2",
            "layer3/save-first/renameat/EIO/once/3",
            "layer3/save-first/renameat/EIO/once/4",
            "layer3/save-first/renameat/EIO/once/5",
            "layer3/save-first/renameat/EIO/once/6",
        ]),
        says: "c: silent, but the metadata",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::workspace;

    #[test]
    fn the_text_of_every_mutation_stands_in_the_tree_exactly_once() {
        for mutation in &MUTATIONS {
            let text = std::fs::read_to_string(workspace().join(mutation.file)).expect(mutation.file);
            let found = text.matches(mutation.find).count();
            assert_eq!(found, 1, "{}: {} times in {}", mutation.removed, found, mutation.file);
        }
    }
}
