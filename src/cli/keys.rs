//! `bearward keys generate`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::Outcome;
use super::output::{Code, Failure, say};
use crate::signing::SigningKey;

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key pair: a private key, and a JWK set with its public half.
    #[command(after_help = "Example: bearward keys generate --alg ES256 --out dev-keys")]
    Generate {
        /// The signature algorithm.
        #[arg(long, default_value = "ES256")]
        alg: String,
        /// The key id.
        #[arg(long, default_value = "development")]
        kid: String,
        /// The folder for the files; made if it is not there.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
}

pub(super) fn keys(command: &KeysCommand) -> Outcome {
    let KeysCommand::Generate { alg, kid, out } = command;
    let key =
        SigningKey::generate(alg, Some(kid)).map_err(|error| Failure::new(Code::Usage, error))?;
    std::fs::create_dir_all(out).map_err(|error| {
        Failure::new(
            Code::Usage,
            format!("{} cannot be made: {error}", out.display()),
        )
    })?;
    match key.jwk() {
        Some(jwk) => {
            write_new(&out.join("private.pem"), &key.private_file(), OWNER_ONLY)?;
            let set = serde_json::json!({ "keys": [jwk] });
            write_new(
                &out.join("jwks.json"),
                format!("{set:#}\n").as_bytes(),
                EVERYBODY,
            )?;
        }
        None => write_new(&out.join("secret"), &key.private_file(), OWNER_ONLY)?,
    }
    say("These keys are for development: nobody has kept them safe.");
    Ok(ExitCode::SUCCESS)
}

/// Who may read a file.
const OWNER_ONLY: u32 = 0o600;
const EVERYBODY: u32 = 0o644;

/// Writes a file; never over one that is there.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    file.and_then(|mut file| file.write_all(bytes))
        .map_err(|error| {
            Failure::new(
                Code::Usage,
                format!("{} cannot be written: {error}", path.display()),
            )
        })?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}
