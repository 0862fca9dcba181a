//! `ping`: which server a delivery would reach, and whether it answers. `doctor` reads what it says.

use std::io::Write;

use layer1_prebackup::log::in_one_line;
use layer1_prebackup::wire::shown::in_json;
use serde_json::json;

use crate::call_error::CallError;
use crate::client;
use crate::error::{Error, failed};
use crate::interrupt::Interrupt;
use crate::settings::Settings;

/// Writes `{"server": "…", "tools": […]}`, or `{"error": "…"}` and gives `false`. Waits for the server
/// as long as a delivery does, stops it, and writes nothing to any store.
pub(crate) fn run(settings: &Settings, out: &mut impl Write) -> Result<bool, Error> {
    let interrupt = Interrupt::listen_or_not();
    let answer = ask(settings, &interrupt);
    let line = match &answer {
        Ok((server, tools)) => json!({ "server": server, "tools": tools }),
        Err(error) => json!({ "error": in_one_line(error) }),
    };
    writeln!(out, "{}", in_json(line.to_string())).and_then(|()| out.flush()).map_err(failed("write to stdout"))?;
    Ok(answer.is_ok())
}

fn ask(settings: &Settings, interrupt: &Interrupt) -> Result<(String, Vec<String>), CallError> {
    let (command, timeout) = (settings.server_command(&[]), settings.timeout);
    let connection = client::connect(&command, &settings.child_env, timeout, interrupt)?;
    match connection.tools(timeout, interrupt) {
        Ok(tools) => {
            let server = connection.server().to_owned();
            connection.stop();
            Ok((server, tools))
        }
        Err(error) => Err(connection.abandon(error)),
    }
}
