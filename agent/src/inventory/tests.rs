//! A host out of files: what is seen of it, and what is bounded.

use super::*;
use crate::config::Part;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

/// A host of files beneath a directory, and the configuration of an agent that looks there.
struct Host {
    directory: TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { directory: tempfile::tempdir().unwrap() };
        let dpkg = "Package: curl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7.88.1-10\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n\
                    Package: held\nStatus: hold ok installed\nArchitecture: all\nVersion: 2:3-1\n";
        host.put("root/var/lib/dpkg/status", dpkg);
        host.put("root/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n");
        host.put("root/proc/cpuinfo", "processor : 0\nmodel name : Some CPU\nprocessor : 1\nmodel name : Some CPU\n");
        host.put("root/sys/class/dmi/id/sys_vendor", "QEMU\n");
        host.put("root/sys/block/vda/size", "2048\n");
        host.put("root/sys/block/vda/device/model", "Disk\n");
        host.put("root/sys/block/sr0/size", "2048\n");
        host.put("root/sys/block/sr0/removable", "1\n");
        host.put("root/sys/block/sr0/device/model", "CD\n");
        host.put("root/sys/block/loop0/size", "2048\n");
        host
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn config(&self, more: &str) -> Config {
        let text = format!(
            "data_dir = \"data\"\n[ledger]\nnodes = [\"https://127.0.0.1:1\"]\nca = \"ca\"\ngenesis = \"genesis\"\n\
             [host]\nname = \"edge-1\"\n[health]\nsystemctl = {:?}\n[inventory]\nroot = {:?}\n{more}\n",
            self.path("systemctl"),
            self.path("root")
        );
        self.put("agent.toml", &text);
        Config::read(&self.path("agent.toml")).unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn look(&self) -> Gathered {
        let config = self.config("gather = [\"packages\", \"services\", \"hardware\"]");
        gather(&config, config.inventory.as_ref().unwrap())
    }
}

fn names(inventory: &Inventory) -> Vec<&str> {
    inventory.packages.iter().map(|package| package.name.as_str()).collect()
}

#[test]
fn what_is_on_a_host_is_seen_and_time_alone_changes_none_of_it() {
    let host = Host::new();
    let Gathered { inventory, readings } = host.look();
    assert_eq!(inventory.system.os_name.as_str(), "Debian GNU/Linux 12");
    assert_eq!(inventory.system.kernel.as_str(), rustix::system::uname().release().to_str().unwrap());
    assert_eq!(names(&inventory), ["curl", "held"]);
    let details: Vec<_> = inventory.packages.iter().map(|package| package.detail.as_str()).collect();
    assert_eq!(details, ["", "hold ok installed"]);
    let hardware = &inventory.hardware;
    assert_eq!((hardware.processor.as_str(), hardware.processors, hardware.vendor.as_str()), ("Some CPU", 2, "QEMU"));
    let disks: Vec<_> = hardware.disks.iter().map(|disk| (disk.name.as_str(), disk.bytes)).collect();
    assert_eq!(disks, [("vda", 1 << 20)], "what can be taken out, and what is no device, is no disk of the host");
    assert!(hardware.memory_mib > 0 && readings.uptime_ms > 0 && inventory.unread.is_empty(), "{inventory:?}");
    // Another look sees the same, whatever the readings are; a package more is another inventory.
    assert_eq!(host.look().inventory.digest(), inventory.digest());
    let status = fs::read_to_string(host.path("root/var/lib/dpkg/status")).unwrap();
    host.put(
        "root/var/lib/dpkg/status",
        &format!("{status}\nPackage: jq\nStatus: install ok installed\nVersion: 1.6\n"),
    );
    let now = host.look().inventory;
    assert_ne!(now.digest(), inventory.digest());
    let changes = ledger::inventory::changes(&inventory, &now);
    assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["+ package dpkg jq  1.6"]);
}

#[test]
fn services_are_asked_of_systemd_where_it_runs_the_host() {
    let host = Host::new();
    assert!(host.look().inventory.services.is_empty(), "without systemd nobody is asked");
    fs::create_dir_all(host.path("root/run/systemd/system")).unwrap();
    let script = "#!/bin/sh\ncase $1 in\n  list-unit-files) echo 'cron.service enabled enabled';;\n\
                  list-units) echo 'cron.service loaded active running x'; echo 'bad.service loaded failed failed x';;\nesac\n";
    host.put("systemctl", script);
    fs::set_permissions(host.path("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let Gathered { inventory, readings } = host.look();
    let services: Vec<_> = inventory.services.iter().map(|of| (of.name.as_str(), of.state.as_str())).collect();
    assert_eq!(services, [("cron.service", "enabled")]);
    assert_eq!((readings.services_running, readings.services_failed[0].as_str()), (1, "bad.service"));
    // What does not answer is named, and hides nothing else.
    host.put("systemctl", "#!/bin/sh\nexit 3\n");
    let inventory = host.look().inventory;
    assert_eq!(inventory.unread[0].what.as_str(), "systemd");
    assert_eq!(names(&inventory), ["curl", "held"]);
}

#[test]
fn only_what_is_wanted_is_looked_at() {
    let host = Host::new();
    let config = host.config("gather = []");
    let inventory = gather(&config, config.inventory.as_ref().unwrap()).inventory;
    assert_eq!(inventory.system.os.as_str(), "debian");
    assert!(inventory.packages.is_empty() && inventory.addresses.is_empty());
    assert_eq!(inventory.hardware, Hardware::default());
    assert!(host.config("enabled = false").inventory.is_none());
    let all = host.config("").inventory.unwrap().parts;
    assert_eq!(all, [Part::Packages, Part::Services, Part::Hardware, Part::Addresses].into());
}

#[test]
fn a_hostile_database_is_bounded_and_its_words_are_plain() {
    let host = Host::new();
    let long = "x".repeat(100_000);
    let hostile = format!(
        "Package: evil\u{1b}[2J\nStatus: install ok installed\nVersion: 1\u{7}\nDescription: {long}\n Version: 9\n\n\
         Package: {long}\nVersion: {long}\n\nVersion: 1\n\n\u{0}\n\nPackage: plain\nVersion: 2\n"
    );
    host.put("root/var/lib/dpkg/status", &hostile);
    let inventory = host.look().inventory;
    assert!(names(&inventory).contains(&"plain") && names(&inventory).contains(&"evil [2J"), "{:?}", names(&inventory));
    let bytes = encode(&inventory);
    assert_eq!(Inventory::of_bytes(&bytes, inventory.digest()).unwrap(), inventory, "it can be read again");

    // More than there is room for.
    let many: String = (0..20_000)
        .map(|number| format!("Package: p{number:05}-{}\nVersion: {}\n\n", "n".repeat(150), "1".repeat(150)))
        .collect();
    host.put("root/var/lib/dpkg/status", &many);
    let inventory = host.look().inventory;
    let bytes = encode(&inventory);
    assert!(bytes.len() <= limits::INVENTORY_BYTES_MAX && inventory.packages.len() > 1_000, "{}", bytes.len());
    assert_eq!(inventory.packages.len() + inventory.left_out as usize, 20_000);
    assert_eq!(Inventory::of_bytes(&bytes, inventory.digest()).unwrap(), inventory);
}

#[test]
fn a_database_that_cannot_be_read_is_named() {
    let host = Host::new();
    fs::remove_file(host.path("root/var/lib/dpkg/status")).unwrap();
    assert_eq!((names(&host.look().inventory).len(), host.look().inventory.unread.len()), (0, 0), "there is none");
    fs::create_dir(host.path("root/var/lib/dpkg/status")).unwrap();
    assert_eq!(host.look().inventory.unread[0].what.as_str(), "dpkg");
}

#[test]
fn the_configuration_is_checked() {
    let host = Host::new();
    for wrong in [
        "every = \"10ms\"",
        "every = \"8d\"",
        "jitter_percent = 101",
        "gather = [\"secrets\"]",
        "nodes = [\"https://127.0.0.1:2\"]",
        "often = true",
    ] {
        let text = format!("{}{wrong}\n", fs::read_to_string(host.config_path()).unwrap_or_default());
        fs::write(host.path("wrong.toml"), text).unwrap();
        assert!(Config::read(&host.path("wrong.toml")).is_err(), "{wrong}");
    }
    let named = host.config("nodes = [\"https://127.0.0.1:1/\"]").inventory.unwrap();
    assert_eq!(named.nodes, ["https://127.0.0.1:1"]);
}

impl Host {
    /// A configuration to add to.
    fn config_path(&self) -> std::path::PathBuf {
        let _ = self.config("");
        self.path("agent.toml")
    }
}
