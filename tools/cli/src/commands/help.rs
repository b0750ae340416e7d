//! `strongroom completions` and `strongroom man`: made from the command line's own definition.

use std::fs;
use std::path::Path;

use clap::CommandFactory;

use crate::args::{Arguments, Completions, Man};
use crate::exit::{Exit, Failure, Result};
use crate::ui;

/// Prints the completions of a shell.
///
/// # Errors
/// Standard output refuses.
pub fn completions(options: &Completions) -> Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "strongroom", &mut text);
    ui::write_out(&text)?;
    Ok(Exit::Done)
}

/// Prints `strongroom(1)`, or writes it and a page for each verb into a folder.
///
/// # Errors
/// The folder cannot be written.
pub fn man(options: &Man) -> Result<Exit> {
    let Some(folder) = &options.folder else {
        ui::write_out(&page(Arguments::command())?)?;
        return Ok(Exit::Done);
    };
    write_page(folder, "strongroom", Arguments::command())?;
    write_pages(folder, "strongroom", &Arguments::command())?;
    Ok(Exit::Done)
}

/// A page for each verb below a command, and for what is below the verb.
fn write_pages(folder: &Path, above: &str, command: &clap::Command) -> Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let spoken = format!("{above} {}", verb.get_name());
        let name = spoken.replace(' ', "-");
        let own = verb.clone().display_name(name.clone()).bin_name(spoken.clone());
        write_page(folder, &name, own)?;
        write_pages(folder, &spoken, verb)?;
    }
    Ok(())
}

fn write_page(folder: &Path, name: &str, command: clap::Command) -> Result<()> {
    let path = folder.join(format!("{name}.1"));
    fs::write(&path, page(command)?)
        .map_err(|error| Failure::io(format!("writing `{}`", path.display()), &error))
}

fn page(command: clap::Command) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    // No date: the page says the same whenever it is made.
    clap_mangen::Man::new(command)
        .date("")
        .render(&mut text)
        .map_err(|error| Failure::io("writing the manual", &error))?;
    Ok(text)
}
