//! A network of a test's own: a namespace for each host, and one with the bridge they all hang on, in which
//! the test itself runs. Nothing of this machine's network is touched, and all of it is gone with the test,
//! however that ends: a namespace lives as long as somebody is in it.

use super::faults::{Fault, rules};
use super::relay::Relays;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Threads of a test in its network.
const THREADS: usize = 2;

/// A network namespace, held by a process that waits for us to end.
pub(crate) struct Namespace {
    holder: Child,
    link: File,
}

impl Namespace {
    fn make() -> io::Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sh", "-c", "echo here; exec cat"]);
        let mut holder = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(missing("unshare"))?;
        let mut word = String::new();
        BufReader::new(holder.stdout.take().expect("it is a pipe")).read_line(&mut word)?;
        if word != "here\n" {
            let output = holder.wait_with_output()?;
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let link = File::open(format!("/proc/{}/ns/net", holder.id()))?;
        Ok(Self { holder, link })
    }

    /// Moves this thread into it: whatever socket it makes from now on is of this network, and so is every
    /// program it starts.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.link.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// What a program is started through to be in it.
    pub(crate) fn starter(&self) -> Vec<String> {
        ["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.holder.id()), "--".to_owned()].into()
    }

    /// Runs a tool in it that reads what is to be done.
    fn tell(&self, tool: &[&str], lines: &str) -> io::Result<()> {
        let mut words = self.starter();
        words.extend(tool.iter().map(|word| (*word).to_owned()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(missing(&words[0]))?;
        child.stdin.take().expect("it is a pipe").write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(io::Error::other(format!("{}: {}", tool[0], said.trim()))) }
    }

    fn ip(&self, lines: &str) -> io::Result<()> {
        self.tell(&["ip", "-batch", "-"], lines)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may be gone already; nothing is left to do then.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn missing(tool: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{tool}: {error}"))
}

/// Hosts on a bridge.
pub(crate) struct Net {
    pub(crate) hosts: Vec<Namespace>,
    /// They hold back what passes, where nodes speak through them.
    relays: Relays,
    /// Last: the bridge ends after everything that hangs on it.
    hub: Namespace,
}

impl Net {
    fn make(hosts: usize) -> io::Result<Self> {
        let hub = Namespace::make()?;
        hub.ip(&format!(
            "link set lo up\nlink add bridge0 type bridge\naddress add {}/24 dev bridge0\nlink set bridge0 up\n",
            Self::address(usize::from(u8::MAX) - 2)
        ))?;
        let mut net = Self { hosts: Vec::new(), relays: Relays::default(), hub };
        for place in 0..hosts {
            let host = Namespace::make()?;
            let (bridge, address) = (net.hub.holder.id(), Self::address(place));
            host.ip(&format!(
                "link set lo up\nlink add wire0 type veth peer name port{place} netns {bridge}\n\
                 address add {address}/24 dev wire0\nlink set wire0 up\n"
            ))?;
            net.hub.ip(&format!("link set port{place} master bridge0 up\n"))?;
            // Where faults are put: everything that comes to this host passes here.
            host.tell(
                &["nft", "-f", "-"],
                "add table inet faults\nadd chain inet faults arriving { type filter hook input priority 0; }\n",
            )?;
            net.hosts.push(host);
        }
        Ok(net)
    }

    /// Where a host is.
    pub(crate) fn address(place: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, u8::try_from(place + 1).expect("a few hosts"))
    }

    /// Where hosts are, in their order.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        (0..self.hosts.len()).map(Self::address).collect()
    }

    /// Exactly these faults from now on, on packets as the kernel sees them.
    pub(crate) fn impose(&self, faults: &[Fault]) {
        for (place, host) in self.hosts.iter().enumerate() {
            let lines = rules(faults, place, self.hosts.len());
            host.tell(&["nft", "-f", "-"], &lines).unwrap_or_else(|error| panic!("{lines}: {error}"));
        }
        self.relays.set_delay(faults.iter().find_map(Fault::delay).unwrap_or_default());
    }

    /// All is well again.
    pub(crate) fn heal(&self) {
        self.impose(&[]);
    }

    /// Opens relays on a host to these addresses elsewhere; where each is found there.
    pub(crate) fn open_relays(&mut self, place: usize, targets: &[SocketAddr]) -> Vec<SocketAddr> {
        self.relays.open(&self.hosts[place], targets)
    }
}

/// Runs a test in a network of so many hosts. Says why, and does nothing, where no network can be made.
pub(crate) fn in_a_network(hosts: usize, test: impl AsyncFnOnce(&mut Net) + Send) {
    let mut net = match Net::make(hosts) {
        Ok(net) => net,
        Err(error) => {
            let why = format!("no network namespaces here (root, iproute2 and nftables are needed): {error}");
            tests::left_out(&["networks"], &why);
            return;
        }
    };
    let link = Arc::new(net.hub.link.try_clone().unwrap());
    let enter = move || move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    // A thread of its own: the one that runs tests stays where it is.
    let ended = std::thread::scope(|scope| {
        let body = scope.spawn(|| {
            enter();
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(THREADS).on_thread_start(enter.clone()).enable_all().build().unwrap();
            runtime.block_on(test(&mut net));
        });
        body.join()
    });
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}
