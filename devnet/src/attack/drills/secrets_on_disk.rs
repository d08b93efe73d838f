//! Secrets: whoever has a host's disk, and what its agent logged, looks for its secret key. It is in its file and nowhere
//! else; sealed, it is nowhere, and without what opens it nobody signs with it.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::forge;
use crate::attack::host::{Host, Kind};
use crate::attack::judge::{Ending, Promise};
use crate::attack::report::Played;
use crate::attack::stage::Stage;
use crate::attack::tool::{self, text};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ledger::key::SecretKey;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const DRILL: Drill = Drill {
    name: "secrets-on-disk",
    attack: "A host's disk and log are searched for its secret key.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/secrets-on-disk";
const LOCKED: Promise = Promise::RefusedBy(&["key-file"]);

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    let [secret, other] = ["machine.secret", "other.secret"].map(|name| stage.place(name));
    for file in [&secret, &other] {
        tool::answer("countersign", &["key", "secret", "--out", &file.display().to_string(), "-o", "json"]).await?;
    }
    let kind = Kind { products: &[PRODUCT], ..Kind::default() };
    let (mut plain, mut sealed) = (stage.host(kind)?, stage.host(kind)?);
    let [in_the_open, hidden] = [key_of(&plain)?, key_of(&sealed)?];
    let unlocked = fs::read_to_string(&sealed.agent.config).map_err(AttackError::io("cannot read agent.toml"))?;
    opened_by(&sealed, &unlocked, &secret)?;
    played.control("a key, sealed", said(&sealed, &["key", "seal"]).await?);

    for host in [&mut plain, &mut sealed] {
        // By hand, and then as an agent that runs for a while: it applies by itself what it finds.
        let ending = host.apply(&patch).await?;
        stage.start(host).await?;
        stage.stop(host)?;
        played.control(format!("a patch, on {}", host.agent.name), ending);
    }
    let (in_its_file, elsewhere): (Vec<_>, Vec<_>) =
        holding(&plain, in_the_open.seed().as_slice())?.into_iter().partition(|path| *path == plain.agent.key_file);
    let found = match in_its_file.as_slice() {
        [file] => Ending::Done { what: format!("{} has it", file.display()) },
        _ => Ending::Neither { what: "the search does not find what is there".to_owned() },
    };
    played.control("a search for a key that is not sealed", found);
    played.measured("other files with it", elsewhere.len() as u64, 0);
    played.measured("files with a sealed key", holding(&sealed, hidden.seed().as_slice())?.len() as u64, 0);
    let opens = fs::read_to_string(&secret).map_err(AttackError::io("cannot read a machine's secret"))?;
    played.measured("files with what opens it", holding(&sealed, opens.trim_end().as_bytes())?.len() as u64, 0);

    let apply = ["apply", patch.as_str()];
    fs::write(&sealed.agent.config, &unlocked).map_err(AttackError::io("cannot write agent.toml"))?;
    played.tried("its disk, without what opens it", LOCKED, said(&sealed, &apply).await?);
    opened_by(&sealed, &unlocked, &other)?;
    played.tried("its disk, with the secret of another host", LOCKED, said(&sealed, &apply).await?);
    Ok(played)
}

/// The key of a host that is not sealed yet.
fn key_of(host: &Host) -> Result<SecretKey, AttackError> {
    Ok(forge::steal(&host.agent.key_file)?.0)
}

/// Says in a host's configuration what opens its key.
fn opened_by(host: &Host, config: &str, secret: &Path) -> Result<(), AttackError> {
    let config = format!("unseal = {{ file = {:?} }}\n{config}", secret.display().to_string());
    fs::write(&host.agent.config, config).map_err(AttackError::io("cannot write agent.toml"))
}

/// What came of something that needs a host's key.
async fn said(host: &Host, command: &[&str]) -> Result<Ending, AttackError> {
    let (code, answer, said) = host.ask(command).await?;
    let answer = answer?;
    Ok(match (code, answer.get("error")) {
        (Some(0), _) => Ending::Done { what: answer.to_string() },
        (_, Some(error)) => Ending::Refused { check: text(error, "code"), detail: text(error, "message") },
        (_, None) => Ending::Neither { what: said },
    })
}

/// Files of a host that have a secret in them: its directory, and what it logged.
fn holding(host: &Host, secret: &[u8]) -> Result<Vec<PathBuf>, AttackError> {
    let directory = host.agent.config.parent().unwrap_or(&host.agent.data_dir);
    let (shapes, mut found) = (shapes(secret), Vec::new());
    let (mut looked_at, mut waiting) = (0, vec![directory.to_owned(), host.agent.log.clone()]);
    while let Some(path) = waiting.pop() {
        let failed = || AttackError::io(format!("cannot search {}", path.display()));
        let metadata = fs::symlink_metadata(&path).map_err(failed())?;
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).map_err(failed())? {
                waiting.push(entry.map_err(failed())?.path());
            }
        } else if metadata.is_file() {
            looked_at += 1;
            let bytes = fs::read(&path).map_err(failed())?;
            if shapes.iter().any(|shape| bytes.windows(shape.len()).any(|part| part == shape)) {
                found.push(path);
            }
        }
    }
    // The key, the configuration, the log, what is installed, and what is remembered of it.
    match looked_at {
        5.. => Ok(found),
        few => Err(AttackError::Stage(format!("{few} files were searched only"))),
    }
}

/// What a secret may have been written as: raw, in hexadecimal digits, and in both alphabets of base64 at each of the
/// three places it may begin at.
fn shapes(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut shapes = vec![secret.to_vec(), hex::encode(secret).into_bytes(), hex::encode_upper(secret).into_bytes()];
    for before in 0..3 {
        let shifted = [&[0; 2][..before], secret].concat();
        // Of the digits at both ends some bits are the neighbours'.
        let (from, to) = (usize::from(before > 0) * 4, shifted.len() / 3 * 4);
        for text in [BASE64_STANDARD.encode(&shifted), BASE64_URL_SAFE_NO_PAD.encode(&shifted)] {
            shapes.push(text.as_bytes()[from..to].to_vec());
        }
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A search that is blind finds nothing, either.
    #[test]
    fn a_secret_is_found_in_whatever_it_is_written_in() {
        let secret: Vec<u8> = (100..132).collect();
        let holds = |bytes: &[u8]| shapes(&secret).iter().any(|it| bytes.windows(it.len()).any(|part| part == it));
        assert!(holds(&[&b"key "[..], secret.as_slice(), b"."].concat()));
        assert!(holds(format!("key = \"{}\"", hex::encode(&secret)).as_bytes()));
        for before in ["", "a", "ab", "abc"] {
            let among = [before.as_bytes(), secret.as_slice(), b"and more"].concat();
            assert!(holds(BASE64_STANDARD.encode(&among).as_bytes()), "{before}");
            assert!(holds(BASE64_URL_SAFE_NO_PAD.encode(&among).as_bytes()), "{before}");
        }
        assert!(!holds(hex::encode(&secret[..31]).as_bytes()));
    }
}
