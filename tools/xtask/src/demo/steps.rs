//! The steps of the demo, in order. Each shows what it does and fails if the answer is not the right one.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::Demo;
use crate::{Outcome, machine};

/// Stands in a file's content and in its name; must not be found anywhere on the disk.
const CANARY: &str = "the-canary-sings-at-midnight";

/// Does the whole tour.
pub fn all(demo: &Demo) -> Outcome {
    clear(demo)?;
    let tree = real_files()?;
    step("create an encrypted workspace");
    show(demo, &["init", "STORE", "--passphrase-file", "PASSPHRASE"])?;
    step("mount it");
    mount(demo)?;
    step(&format!(
        "put {} real files through it (this repository), and one with a secret",
        tree.len()
    ));
    copy_in(demo, &tree)?;
    compare(demo, &tree)?;
    step("what the disk holds: ciphertext");
    machine::run(&mut demo.strongroom(&["sync", "--wait", &text(&demo.mountpoint())]))?;
    show_store(demo)?;
    refuse_canary(demo)?;
    step("unmount");
    show(demo, &["unmount", "DRIVE"])?;
    let left = fs::read_dir(demo.mountpoint()).map_err(|e| e.to_string())?.count();
    expect(left == 0, "the mountpoint is empty again")?;
    step("a wrong passphrase opens nothing");
    wrong_passphrase(demo)?;
    step("mount again: every byte is there");
    mount(demo)?;
    compare(demo, &tree)?;
    show(demo, &["unmount", "DRIVE"])?;
    step("verify everything that is stored");
    show(demo, &["check", "STORE", "--passphrase-file", "PASSPHRASE"])?;
    what_next(demo);
    Ok(())
}

/// Removes what an earlier run left, and makes the folder anew for this user alone.
fn clear(demo: &Demo) -> Outcome {
    if let Ok(found) = fs::symlink_metadata(&demo.folder) {
        let mine = fs::metadata("/proc/self").map_err(|e| e.to_string())?.uid();
        if !found.is_dir() || found.uid() != mine {
            return Err(format!("`{}` is somebody else's; remove it first", demo.folder.display()));
        }
        // Nothing mounted is the usual case and says so; only a mount that stays would be in the way.
        let _ = demo.strongroom(&["unmount", &text(&demo.mountpoint())]).output();
        fs::remove_dir_all(&demo.folder)
            .map_err(|error| format!("clearing `{}`: {error}", demo.folder.display()))?;
    }
    let make = || -> std::io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(&demo.folder)?;
        fs::create_dir(demo.mountpoint())?;
        let mut file =
            fs::File::options().write(true).create_new(true).mode(0o600).open(demo.passphrase())?;
        writeln!(file, "{}", random_words()?)
    };
    make().map_err(|error| format!("making `{}`: {error}", demo.folder.display()))
}

fn random_words() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Files that git knows here, or every file of the sources where there is no git.
fn real_files() -> Result<Vec<PathBuf>, String> {
    let listed = machine::output(
        Command::new("git").arg("-C").arg(machine::root()).args(["ls-files", "-z"]),
    );
    let files: Vec<PathBuf> = match listed {
        Ok(names) => names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect(),
        Err(_) => crate::tidy::files(&machine::root(), ""),
    };
    Ok(files.into_iter().filter(|file| machine::root().join(file).is_file()).collect())
}

fn mount(demo: &Demo) -> Outcome {
    show(demo, &["mount", "STORE", "DRIVE", "--background", "--passphrase-file", "PASSPHRASE"])
}

fn copy_in(demo: &Demo, tree: &[PathBuf]) -> Outcome {
    let began = Instant::now();
    let mut bytes = 0;
    for file in tree {
        let to = demo.mountpoint().join("project").join(file);
        let copied = to
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::copy(machine::root().join(file), &to));
        bytes += copied.map_err(|error| format!("copying `{}`: {error}", file.display()))?;
    }
    let secret = demo.mountpoint().join(format!("{CANARY}.txt"));
    fs::write(secret, format!("{CANARY}\n").repeat(100)).map_err(|error| error.to_string())?;
    let seconds = began.elapsed().as_secs_f64();
    println!("   {} files, {} KiB in {seconds:.2} s", tree.len() + 1, bytes / 1024);
    Ok(())
}

fn compare(demo: &Demo, tree: &[PathBuf]) -> Outcome {
    for file in tree {
        let read = |path: PathBuf| {
            fs::read(&path).map_err(|error| format!("reading `{}`: {error}", path.display()))
        };
        let (kept, original) = (
            read(demo.mountpoint().join("project").join(file))?,
            read(machine::root().join(file))?,
        );
        if kept != original {
            return Err(format!("`{}` came back different", file.display()));
        }
    }
    expect(true, &format!("{} files read back byte for byte", tree.len()))
}

/// The files of the store, and the first bytes of the largest.
fn show_store(demo: &Demo) -> Outcome {
    let mut files: Vec<(u64, PathBuf)> = crate::tidy::files(&demo.store(), "")
        .into_iter()
        .map(|file| (fs::metadata(demo.store().join(&file)).map_or(0, |found| found.len()), file))
        .collect();
    files.sort();
    for (len, file) in files.iter().rev().take(6) {
        println!("   {len:>9}  {}", file.display());
    }
    if files.len() > 6 {
        println!("              … {} files in all", files.len());
    }
    let Some((_, largest)) = files.last() else { return Err("the store is empty".to_owned()) };
    let bytes = fs::read(demo.store().join(largest)).map_err(|error| error.to_string())?;
    println!("   {} begins:", largest.display());
    for row in bytes.chunks(16).take(4) {
        let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
        println!("     {}  {}", hex.join(" "), row.iter().map(shown).collect::<String>());
    }
    Ok(())
}

/// Neither the secret's content nor its name stands in any file of the store or of the local state.
fn refuse_canary(demo: &Demo) -> Outcome {
    let mut searched = 0;
    for folder in [demo.store(), demo.folder.join("home")] {
        for file in crate::tidy::files(&folder, "") {
            let bytes = fs::read(folder.join(&file)).unwrap_or_default();
            searched += bytes.len();
            if contains(&bytes, CANARY.as_bytes()) || text(&file).contains(CANARY) {
                return Err(format!("plaintext found in `{}`", file.display()));
            }
        }
    }
    expect(
        true,
        &format!("no trace of `{CANARY}` in {} KiB of store and local state", searched / 1024),
    )
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn wrong_passphrase(demo: &Demo) -> Outcome {
    let wrong = demo.folder.join("wrong");
    fs::write(&wrong, "open sesame\n").map_err(|error| error.to_string())?;
    let (store, drive) = (text(&demo.store()), text(&demo.mountpoint()));
    let arguments = ["mount", &store, &drive, "--background", "--passphrase-file", &text(&wrong)];
    let out = demo.strongroom(&arguments).output().map_err(|error| error.to_string())?;
    print!("{}", indented(&String::from_utf8_lossy(&out.stderr)));
    expect(out.status.code() == Some(5), "refused with exit code 5")
}

fn what_next(demo: &Demo) {
    let program = demo.program.display();
    let folder = demo.folder.display();
    println!(
        "\nAll of it worked. Now yours:\n\n\
         \x20 export PATH={}:$PATH STRONGROOM_HOME={folder}/home\n\
         \x20 strongroom mount {folder}/store {folder}/drive --background --passphrase-file {folder}/passphrase\n\
         \x20 ls {folder}/drive\n\
         \x20 strongroom status {folder}/drive\n\
         \x20 strongroom unmount {folder}/drive\n\n\
         or, with a passphrase of your own and a store that stays:\n\n\
         \x20 unset STRONGROOM_HOME\n\
         \x20 strongroom init ~/work.strongroom\n\
         \x20 mkdir ~/work && strongroom mount ~/work.strongroom ~/work --background\n\n\
         The program is {program}.\n\
         It knows folders and Swift. With S3 and custody of personal data: cargo build --release --package strongroom",
        demo.program.parent().unwrap_or(Path::new("")).display(),
    );
}

/// Shows a command with short words for the long paths, and runs it.
fn show(demo: &Demo, words: &[&str]) -> Outcome {
    println!("   $ strongroom {}", words.join(" "));
    let filled: Vec<String> = words
        .iter()
        .map(|word| match *word {
            "STORE" => text(&demo.store()),
            "DRIVE" => text(&demo.mountpoint()),
            "PASSPHRASE" => text(&demo.passphrase()),
            other => other.to_owned(),
        })
        .collect();
    let filled: Vec<&str> = filled.iter().map(String::as_str).collect();
    let said = machine::output(&mut demo.strongroom(&filled))?;
    print!("{}", indented(&said));
    Ok(())
}

fn step(text: &str) {
    println!("\n-- {text}");
}

fn expect(holds: bool, what: &str) -> Outcome {
    if !holds {
        return Err(format!("not so: {what}"));
    }
    println!("   ok: {what}");
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
