//! The configuration `init` writes: every field, with what it means.

use keyring::SecretPlace;
use std::path::{Path, PathBuf};

/// What `init` knows.
#[derive(Clone, Debug)]
pub struct Template<'a> {
    /// What people call the host.
    pub name: &'a str,
    /// Addresses of nodes.
    pub nodes: &'a [String],
    /// File with TLS roots.
    pub ca: Option<&'a Path>,
    /// Genesis file.
    pub genesis: Option<&'a Path>,
    /// Addresses of mirrors.
    pub mirrors: &'a [String],
    /// Directories with artifacts.
    pub directories: &'a [PathBuf],
    /// Where the secret is that opens the key, if it is sealed.
    pub unseal: Option<&'a SecretPlace>,
}

impl Template<'_> {
    /// The text of `agent.toml`. Sections that are optional stand in comments, so that they can be
    /// appended, too.
    #[must_use]
    pub fn text(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(|node| format!("    {},\n", quoted(node))).collect();
        let path = |field: &str, path: Option<&Path>| match path {
            Some(path) => format!("{field} = {}", quoted(&path.to_string_lossy())),
            None => format!("# {field} = \"{field}.file\""),
        };
        let mirror = |url: &String| format!("[[sources]]\nkind = \"mirror\"\nurl = {}\n\n", quoted(url));
        let directory = |path: &PathBuf| {
            format!("[[sources]]\nkind = \"directory\"\npath = {}\n\n", quoted(&path.to_string_lossy()))
        };
        let sources: String = self.directories.iter().map(directory).chain(self.mirrors.iter().map(mirror)).collect();
        let unseal = match self.unseal {
            Some(SecretPlace::Credential(name)) => format!("unseal = {{ credential = {} }}", quoted(&name.to_string())),
            Some(SecretPlace::File(path)) => format!("unseal = {{ file = {} }}", quoted(&path.to_string_lossy())),
            None => "# unseal = { credential = \"countersign-unseal\" }".to_owned(),
        };
        TEXT.replace("@SOURCES@", &sources)
            .replace("@UNSEAL@", &unseal)
            .replace("@NAME@", &quoted(self.name))
            .replace("@NODES@", &nodes.concat())
            .replace("@CA@", &path("ca", self.ca))
            .replace("@GENESIS@", &path("genesis", self.genesis))
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

const TEXT: &str = r#"# Countersign agent: keeps this host patched, and believes nobody but the ledger.
# Relative paths are relative to this file. Unknown fields are errors.

# Where the agent keeps everything: installed trees, downloads, receipts, its journal.
data_dir = "data"
# This host's key. It signs what is said of this host: receipts and inventories; and nothing else.
key = "endpoint.key"
# Where the secret is that opens the key, if it is sealed (`countersign-agent key seal`): a credential of systemd, or a file
# that only the agent's user can read.
@UNSEAL@

[ledger]
# Nodes to follow and to fetch from. One is enough to work, two or more to notice when one lies or
# is cut off.
nodes = [
@NODES@]
# The roots that the nodes' TLS certificates lead to, PEM.
@CA@
# The genesis file: the trust root. Take it from somebody you trust, not from a node.
@GENESIS@
# The name in the nodes' certificates, when it is not the host of their address.
# server_name = "node.example"
# How old the newest proof of the ledger may be before nothing is applied any more (default: a day).
# max_age_ms = 86400000
# How often to ask when nothing is heard, and by how much to stray from that.
# poll_interval_ms = 60000
# poll_jitter_percent = 20

[host]
# What people call this host.
name = @NAME@
# What target selectors are matched against, besides operating system and architecture. (Of which group it is the ledger
# says, by its enrolment.)
# labels = { site = "hamburg" }
# hardware = ["board-7"]

# What this host follows. Nothing else is ever installed.
# [[subscriptions]]
# product = "acme/valkey"
# channel = "stable"

# Services the agent keeps running, and restarts when their product is patched. {tree} is the
# installed tree; other names are parameters.
# [services.valkey]
# product = "acme/valkey"            # may be left out while there is one subscription
# channel = "stable"                 # likewise
# command = ["{tree}/usr/bin/valkey-server", "--port", "{port}"]
# environment = { TZ = "UTC" }       # nothing is inherited
# container = false                  # true: it is run in a container of the installed image, by crun; then the command
#                                    # is one of the image, and may be left out: the image names one
# stop_timeout_ms = 10000            # then it is killed; 45 s at most
# ready_wait_ms = 300                # it must stay up this long to count as started; ten minutes at most
# A service that systemd runs: it is restarted by systemctl when its product is patched, and must be up then.
# [services.valkey-exporter]
# product = "acme/valkey"
# unit = "valkey-exporter.service"

# Values for {name} in service commands and health probes.
# [parameters]
# port = 6379

@SOURCES@# Where artifacts come from: in this order, who disappointed lately last. The nodes above come after all others, unless
# one of these is of kind "node". Nobody is believed: every piece is checked against what the vendor signed.
# [[sources]]
# kind = "directory"                 # a stick, a share, anything mounted
# path = "/media/patches"
# [[sources]]
# kind = "mirror"                    # a web server with artifacts by digest, or the cache of another agent
# url = "https://mirror.example/countersign"
# ca = "mirror-roots.pem"            # the roots its certificate leads to; without, the system's
# proxy = "http://proxy.example:3128" # without, none is used, whatever the environment says
# redirects_to = ["cdn.example"]     # hosts it may send the agent on to, beside its own
# minimum_bytes_per_s = 65536        # of this source; without, that of [download]
# [[sources]]
# kind = "node"                      # the nodes of [ledger], in turn

# What this host has verified, for others of its site: they take it for a mirror, as http://THIS-HOST:7480.
# [cache]
# listen = "192.0.2.7:7480"
# disk_mb = 4096                     # mebibytes; the oldest go first
# connections_max = 32

# When a source of an artifact is left for the next one: when it is slower than this for so long; and
# when a download is given up, over all sources.
# [download]
# minimum_bytes_per_s = 4096
# patience_ms = 10000
# deadline_ms = 3600000
# bytes_per_s_max = 1000000          # for all downloads together; without, as much as comes
# delta_memory_mb = 128              # mebibytes for making a payload out of a delta; 0: all is fetched whole

# Kinds of patches beside directory trees; `status` says which this host offers, and what it lacks for
# those that are asked for here. Debian and RPM packages are offered when they are enabled here, and need dpkg or rpm, and root; file sets
# need directories they may put files into, which nobody but root and the agent's user may write to; image slots are
# offered when they are enabled here, both slots can be written, and the kernel was told which of them it runs from;
# container images and scripts when they are enabled here.
# [installers]
# prepare_deadline_ms = 3600000      # for making everything ready; then nothing is changed
# put_deadline_ms = 3600000          # for putting it in place; then it is taken back
# [installers.debian]
# enabled = false
# root = "/"                         # whose packages are changed
# lock_wait_ms = 120000              # for others who work with packages
# deadline_ms = 1800000              # for one call of dpkg
# [installers.rpm]
# enabled = false
# root = "/"
# database = "/var/lib/rpm"          # where rpm keeps it, as from the root
# lock_wait_ms = 120000
# deadline_ms = 1800000              # for one call of rpm
# [installers.file-set]
# root = "/"
# directories = ["/etc/acme"]        # and nowhere else
# [installers.images]                # see docs/guide/image-slots.md; a patch needs a restart: [reboot]
# enabled = false
# slot_a = "/dev/disk/by-partlabel/slot-a" # block devices, or files of a fixed size, with a squashfs image each;
# slot_b = "/dev/disk/by-partlabel/slot-b" # the one that does not run is written
# environment = "/boot/countersign.env" # a GRUB environment block: which slot the boot loader starts, and tries
# command_line = "/proc/cmdline"     # of the kernel that runs, in which
# key = "countersign.slot"           # =a or =b says from which slot
# tries = 3                          # starts of a new image, before the boot loader goes back by itself; 1 to 9
# root = "/"                         # where the image that runs is mounted: {tree}
# [installers.containers]            # see docs/guide/containers.md; needs crun, unshare, and root
# enabled = false
# directories = { "/var/lib/acme" = "/srv/acme" } # what containers may write to: their path = the host's
# [installers.scripts]               # see docs/guide/scripts.md; needs crun, unshare, and root
# enabled = false
# root = "/"
# directories = ["/etc/acme"]        # what a script may change: it works on copies of these
# deadline_ms = 60000                # for one script; then it is killed, and nothing is changed
# memory_mb = 512                    # mebibytes, of one of its processes
# disk_mb = 1024                     # mebibytes, of the directories together, with what it makes in them

# What is asked after every update, beside what its manifest asks; what fails is rolled back. Between updates the same
# is asked now and then, and what fails is said: here (status), and to this organisation's nodes. A check is
# one of command (with expect), tcp, http (of this host; with status and contains), unit, package with
# version, disk with free_mb, memory_free_mb.
# [health]
# soak = "2m"                        # everything must go on passing for so long; 30m at most
# interval = "10s"                   # and is asked so often meanwhile
# watch = "1m"                       # between updates, everything is asked so often; "0s": never
# systemctl = "systemctl"            # what is asked for units
# manifest_commands = true           # false: patches that bring commands to be judged by are refused, but for
#                                    # container images, in which they run
# [[health.checks]]
# name = "front page"
# http = "http://127.0.0.1:8080/health"
# status = 200
# contains = "ok"
# timeout = "5s"                     # of one attempt
# attempts = 3                       # one of them must pass
# interval = "2s"                    # between two
# [[health.checks]]
# name = "proxy"
# unit = "nginx.service"
# [[health.checks]]
# name = "room"
# disk = "/var"
# free_mb = 500                      # millions of bytes
# [[health.checks]]
# name = "memory"
# memory_free_mb = 100               # millions of bytes

# Whether this host is restarted for a patch that says it needs that, always or if the host asks for it
# (run/reboot-required). Such a patch is judged afterwards; nothing else is installed before that.
# [reboot]
# when = "window"                    # "never": a patch that always needs it is refused; "window": while a
#                                    # window is open, however urgent it is; "now": at once. A patch that always
#                                    # needs it is begun only where the next window opens before the deadline
# command = ["systemctl", "reboot"]
# root = "/"                         # of run/reboot-required, proc/uptime and proc/sys/kernel/random/boot_id
# patience = "10m"                   # for the host to go down, before it is asked again
# deadline = "7d"                    # for a patch to be judged; then it is taken back
# up_after = "2m"                    # how long the host must have run before it is judged

# Whether this agent updates itself, and from which product: like everything else by proof, and back to the program
# before when the new one does not come up. Off unless a product is named; it is followed then.
# [self]
# product = "acme/countersign-agent"
# channel = "stable"
# program = "countersign-agent"      # where it is in the trees of that product
# deadline = "5m"                    # for a new program to be healthy, longer than health.soak; then the one before runs
#                                    # again. Without it, two minutes

# What this host says is on it, to its nodes: `countersign-agent inventory` shows it.
# [inventory]
# enabled = true
# every = "1h"                       # and when the agent begins, and when an update ended
# jitter_percent = 20
# gather = ["packages", "services", "hardware", "addresses"] # beside what system it is
# root = "/"                         # beneath which it looks
# nodes = []                         # of ledger.nodes, who is told: those of this organisation; without, the first

# House law. While paused, nothing is applied.
# [policy]
# paused = true
# paused_until_ms = 1767225600000    # without it, until somebody changes this file
# reason = "stock-taking"

# When something may be changed: while a window is open, and no blackout covers the day. Without any
# window, at any hour. What waits is shown by `status`, with its moment.
# [[windows]]
# name = "patch-tuesday"
# rrule = "FREQ=MONTHLY;BYDAY=2TU"   # days, as RFC 5545 has them (no hours: they are said by start)
# start = "22:00"                    # a window begins at the first moment the clock on the wall shows that
# duration = "3h"                    # of time that passes, also when clocks are changed; 1m to 7d
# time_zone = "Europe/Berlin"        # of this window; otherwise the schedule's
# from = "2026-01-13"                # first day; INTERVAL and COUNT count from it
# [[windows]]
# name = "sundays"
# cron = "0 4 * * SUN"               # minute hour day month weekday: instead of rrule and start
# duration = "1h 30m"
# [schedule]
# time_zone = "Europe/Berlin"        # of blackouts, of windows that have none, and of what is shown; else UTC
# blackout = ["2026-11-27/2026-11-30", "12-20/01-06"]  # days, the last one too; without a year: every year
# missed = "next"                    # a window the host slept through: "next" waits for the next one,
#                                    # "catch-up" opens one as long when it wakes, "as-soon-as-possible"
#                                    # waits for none any more
# urgent = ["critical", "emergency"] # waits for no window: severities; what an emergency rule approved
# urgent_in_blackout = false         # nor for a blackout
# deadline = { critical = "1d", important = "14d", moderate = "30d", low = "90d" } # then without a window
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, SourcePlace};

    #[test]
    fn the_template_is_a_configuration_with_and_without_its_comments() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.toml");
        let nodes = ["https://127.0.0.1:1/".to_owned(), "https://127.0.0.1:2".to_owned()];
        let (ca, genesis) = (Path::new("ca.pem"), Path::new("a \"b\"\\c"));
        let (mirrors, directories) = (["http://127.0.0.1:3/a".to_owned()], [PathBuf::from("stick")]);
        let (ca, genesis) = (Some(ca), Some(genesis));
        let template = Template {
            name: "edge-1",
            nodes: &nodes,
            ca,
            genesis,
            mirrors: &mirrors,
            directories: &directories,
            unseal: None,
        };

        std::fs::write(&path, template.text()).unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!(config.ledger.nodes, ["https://127.0.0.1:1", "https://127.0.0.1:2"]);
        assert_eq!(config.ledger.genesis, directory.path().join(genesis.unwrap()));
        assert_eq!(config.sources[0].place, SourcePlace::Directory(directory.path().join("stick")));
        assert_eq!(config.sources.len(), 3, "the nodes come last");
        assert_eq!(config.data_dir, directory.path().join("data"));

        let is_field = |line: &str| line.starts_with("# [") || line.contains(" = ");
        let lines = template.text();
        let uncommented = lines.lines().map(|line| match line.strip_prefix("# ") {
            Some(field) if is_field(line) => field,
            _ => line,
        });
        std::fs::write(&path, uncommented.collect::<Vec<_>>().join("\n")).unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!(config.services[0].command.len(), 3);
        assert_eq!(config.services[1].unit.as_deref(), Some("valkey-exporter.service"));
        assert_eq!(config.policy.pause.as_ref().unwrap().reason, "stock-taking");
        assert_eq!(config.policy.schedule.windows.len(), 2);
        assert_eq!((config.sources.len(), config.cache.is_some()), (5, true));
        assert_eq!((config.health.checks.len(), config.health.soak.as_secs()), (4, 120));
        assert_eq!(config.policy.schedule.deadlines_ms.len(), 4);
        assert_eq!((config.policy.restart, config.reboot.command.len()), (policy::Restart::Window, 2));
        let own = config.own_program.as_ref().unwrap();
        assert!(config.subscriptions().any(|of| *of == own.of) && own.deadline.as_secs() == 300);
        assert_eq!(crate::config::own_program::data_dir(&path), Some(config.data_dir.clone()));

        // What is printed is a configuration again, and the same.
        std::fs::write(&path, config.toml()).unwrap();
        assert_eq!(Config::read(&path).unwrap().toml(), config.toml());
    }
}
