//! The stage: packages, and hosts that run them.

use crate::layout::Devnet;
use crate::ports::free_port;
use crate::processes::{self, output, run};
use crate::raise;
use std::error::Error;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The product of the story.
pub(super) const PRODUCT: &str = "vendor-a/redis";
/// The package whose version is the installed one.
const PACKAGE: &str = "redis-server";
/// What the package that has the program itself is called.
const TOOLS: &str = "redis-tools_";
/// The service hosts run.
const SERVICE: &str = "redis-server";
/// How long one conversation with a redis-server may take.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a host that does not answer yet is asked.
const PING_INTERVAL: Duration = Duration::from_millis(50);

/// Debian packages of one version.
pub(super) struct Packages {
    pub(super) version: String,
    files: Vec<PathBuf>,
}

impl Packages {
    /// Finds packages in files and directories; the version is that of `redis-server`.
    pub(super) fn find(places: &[PathBuf]) -> Result<Self, Box<dyn Error>> {
        let mut files = Vec::new();
        for place in places {
            if !place.exists() {
                return Err(format!("{}: there is no such file or directory", place.display()).into());
            }
            if place.is_dir() {
                for entry in fs::read_dir(place)? {
                    files.push(entry?.path());
                }
            } else {
                files.push(place.clone());
            }
        }
        files.retain(|file| file.extension().is_some_and(|extension| extension == "deb"));
        files.sort();
        let name_of = |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned());
        let version = files.iter().filter_map(name_of).find_map(|name| {
            let rest = name.strip_prefix(PACKAGE)?.strip_prefix('_')?;
            Some(rest.split('_').next()?.replace("%3a", ":"))
        });
        let version = version.ok_or_else(|| {
            let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
            format!("no {PACKAGE}_VERSION_ARCH.deb in {}: the story updates {PACKAGE}", places.join(", "))
        })?;
        if !files.iter().filter_map(name_of).any(|name| name.starts_with(TOOLS)) {
            return Err(format!("no {TOOLS}VERSION_ARCH.deb beside {PACKAGE} {version}, which needs it").into());
        }
        Ok(Self { version, files })
    }

    /// Packs them as a patch; gives its id.
    pub(super) fn pack(&self, out: &Path) -> Result<String, Box<dyn Error>> {
        // The shared libraries lie in the tree too.
        let libraries = format!("LD_LIBRARY_PATH={{tree}}/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let ping = format!("/usr/bin/env {libraries} {{tree}}/usr/bin/redis-cli -p {{health_port}} PING");
        let installed = format!("{PACKAGE}={}", self.version);
        let out = out.display().to_string();
        let target = format!("os=linux,arch={}", std::env::consts::ARCH);
        let mut arguments = vec![
            "patch",
            "pack",
            "--product",
            PRODUCT,
            "--channel",
            "stable",
            "--version",
            &self.version,
            "--release",
            "1",
            "--class",
            "security",
            "--severity",
            "important",
            "--title",
            "redis-server security update",
            "--target",
            &target,
            "--service",
            SERVICE,
            "--health-command",
            &ping,
            "--expect",
            "PONG",
            "--health-package",
            &installed,
            "--probe-attempts",
            "10",
            "--probe-interval",
            "200",
            "--probe-timeout",
            "2000",
            "--out",
            &out,
            "-o",
            "json",
        ];
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        arguments.extend(files.iter().map(String::as_str));
        let printed = run("countersign", &arguments)?;
        let packed: serde_json::Value = serde_json::from_str(&printed)?;
        let patch = packed.get("patch").and_then(serde_json::Value::as_str).ok_or("pack names no patch")?;
        Ok(patch.to_owned())
    }
}

/// A host: an agent that keeps its own redis-server running.
pub(super) struct Host {
    pub(super) name: String,
    config: PathBuf,
    log: PathBuf,
    port: u16,
}

impl Host {
    /// Makes a host with a version installed, enrols it and starts its agent.
    pub(super) fn make(
        devnet: &mut Devnet,
        name: &str,
        wrong_health_port: bool,
        installed: Option<(&Packages, &Path)>,
    ) -> Result<Self, Box<dyn Error>> {
        let port = free_port()?;
        let health_port = if wrong_health_port { free_port()? } else { port };
        let mut agent = raise::make_agent(devnet, name, &configuration(port, health_port))?;
        if let Some((packages, packed)) = installed {
            let artifact = fs::read_dir(packed.join("artifacts"))?.next().ok_or("nothing packed")??.path();
            let (config, artifact) = (agent.config.display().to_string(), artifact.display().to_string());
            run(
                "countersign-agent",
                &[
                    "adopt",
                    "--config",
                    &config,
                    "--product",
                    PRODUCT,
                    "--channel",
                    "stable",
                    "--version",
                    &packages.version,
                    &artifact,
                ],
            )?;
        }
        processes::start_agent(&mut agent)?;
        let (config, log) = (agent.config.clone(), agent.log.clone());
        devnet.agents.push(agent);
        devnet.save()?;
        Ok(Self { name: name.to_owned(), config, log, port })
    }

    /// Asks the agent to apply a patch now; gives what it said.
    pub(super) fn ask_to_apply(&self, patch: &str, exit_code: i32) -> Result<String, Box<dyn Error>> {
        let config = self.config.display().to_string();
        let output = output("countersign-agent", &["apply", patch, "--config", &config])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.code() != Some(exit_code) {
            return Err(format!("expected exit code {exit_code}, got {}: {said}", output.status).into());
        }
        Ok(said)
    }

    /// Waits until its redis-server answers PONG.
    pub(super) async fn await_pong(&self, patience: Duration) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + patience;
        while !self.ping() {
            if Instant::now() > deadline {
                let (name, port, log) = (&self.name, self.port, self.log.display());
                let last = processes::last_words(&self.log);
                return Err(format!("{name}: no PONG on port {port}; the agent's last words: {last}; see {log}").into());
            }
            tokio::time::sleep(PING_INTERVAL).await;
        }
        Ok(())
    }

    fn ping(&self) -> bool {
        let attempt = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(PING_TIMEOUT))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 7];
            stream.read_exact(&mut answer)?;
            Ok(&answer == b"+PONG\r\n")
        };
        attempt().unwrap_or(false)
    }

    /// Checks which version the host's own status names.
    pub(super) fn expect_version(&self, version: &str) -> Result<(), Box<dyn Error>> {
        let config = self.config.display().to_string();
        let status = run("countersign-agent", &["status", "--config", &config, "-o", "json"])?;
        if status.contains(&format!("\"{version}\"")) {
            Ok(())
        } else {
            Err(format!("{}: version {version} is not the installed one: {status}", self.name).into())
        }
    }
}

fn configuration(port: u16, health_port: u16) -> String {
    let arch = std::env::consts::ARCH;
    format!(
        "\n[parameters]\nredis_port = \"{port}\"\nhealth_port = \"{health_port}\"\n\
         {subscriptions}\n\
         [services.{SERVICE}]\n\
         product = \"{PRODUCT}\"\nchannel = \"stable\"\n\
         command = [\"{{tree}}/usr/bin/redis-server\", \"--port\", \"{{redis_port}}\", \"--bind\", \"127.0.0.1\", \
         \"--save\", \"\", \"--appendonly\", \"no\", \"--daemonize\", \"no\"]\n\
         environment = {{ LD_LIBRARY_PATH = \"{{tree}}/usr/lib/{arch}-linux-gnu\" }}\n",
        subscriptions = raise::agent_subscriptions(&[PRODUCT.to_owned()]),
    )
}
