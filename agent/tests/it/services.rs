//! Services: they run from the version that is installed, and from nothing else.

use crate::crash::child;
use crate::following::Daemon;
use crate::support::archive::{Archive, tree_of};
use crate::support::endpoint::{Endpoint, PROGRAM, approved, says};
use crate::support::eventually;
use crate::support::node::World;
use agent::control::{Answer, Request, ask};
use agent::data::DataDir;
use agent::services::{Phase, ServiceView};
use agent::site::Site;
use ledger::bounded::{List, Name, SortedList, Text};
use ledger::patch::{HealthCheck, PatchManifest, Probe};
use ledger::receipt::{Outcome, ReasonCode};
use std::path::PathBuf;
use std::process::Stdio;

pub(crate) const SERVICE: &str =
    "[services.widget]\ncommand = [\"{tree}/bin/serve\"]\nready_wait_ms = 100\nstop_timeout_ms = 2000";

fn view(site: &Site) -> ServiceView {
    site.installer.services().views().remove(0)
}

/// The tree a process runs from, as the kernel knows it.
fn directory_of(pid: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap()
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state stands after the name; a zombie is dead, and only not buried yet.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn of_widget(manifest: &mut PatchManifest) {
    manifest.services = SortedList::new(vec![Name::new("widget").unwrap()]).unwrap();
}

#[tokio::test]
async fn a_service_runs_from_the_new_tree_after_an_update_and_from_the_old_one_after_a_rollback() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], SERVICE);
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let mut worker = endpoint.worker().await;
    let first = view(worker.site()).pid.unwrap();
    assert_eq!(directory_of(first), endpoint.installed().unwrap().tree);

    let good = approved(&world, 2, tree_of("1.0.2"), of_widget);
    assert_eq!(worker.apply(&good.to_string(), None).await.unwrap().outcome, Outcome::Applied);
    let second = view(worker.site()).pid.unwrap();
    assert!(!is_alive(first) && is_alive(second));
    assert_eq!(directory_of(second), endpoint.installed().unwrap().tree);

    let sick = approved(&world, 3, tree_of("1.0.3"), |manifest| {
        of_widget(manifest);
        manifest.health = List::new(vec![says("{tree}/bin/version", "x")]).unwrap();
    });
    assert_eq!(worker.apply(&sick.to_string(), None).await.unwrap().outcome, Outcome::RolledBack);
    let third = view(worker.site()).pid.unwrap();
    assert!(!is_alive(second) && is_alive(third));
    assert_eq!(endpoint.version().as_deref(), Some("1.0.2"));
    assert_eq!(directory_of(third), endpoint.installed().unwrap().tree);
    worker.site().installer.services().stop_all().await;
    assert!(!is_alive(third));
}

#[tokio::test]
async fn a_service_that_does_not_stay_up_rolls_the_patch_back() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], SERVICE);
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let mut worker = endpoint.worker().await;
    let dies_at_once = Archive::new().program("bin/serve", "#!/bin/sh\nexit 3\n").bytes();
    let dies_when_asked = Archive::new()
        .program("bin/serve", "#!/bin/sh\nwhile [ ! -e killed ]; do sleep 0.02; done\nexit 4\n")
        .program("bin/kill", "#!/bin/sh\n: > killed\nsleep 0.3\n");
    for (release, archive, probe, evidence) in [
        (2, dies_at_once, None, "widget: ended with status 3"),
        (3, dies_when_asked.bytes(), Some("{tree}/bin/kill"), "widget: ended with status 4"),
        (4, Archive::new().file("empty", "").bytes(), None, "widget: ended with status 127"),
    ] {
        let patch = approved(&world, release, archive, |manifest| {
            let checks = probe.map(|command| says(command, "")).into_iter().collect();
            manifest.health = List::new(checks).unwrap();
        });
        let settled = worker.apply(&patch.to_string(), None).await.unwrap();
        let reason = settled.reason.unwrap();
        assert_eq!((settled.outcome, reason.code), (Outcome::RolledBack, ReasonCode::ServiceFailed), "{reason}");
        assert!(reason.detail.as_str().contains(evidence), "{reason}");
        assert_eq!(view(worker.site()).phase, Phase::Running, "the old one runs again");
    }
    worker.site().installer.services().stop_all().await;
}

/// A systemd of one unit, in some files: what its unit serves is what was installed when it was started last.
struct Systemd {
    directory: PathBuf,
}

impl Systemd {
    /// It runs the one service that the host is configured with.
    fn of(endpoint: &Endpoint) -> Self {
        let systemd = Self { directory: endpoint.path("systemd") };
        std::fs::create_dir(&systemd.directory).unwrap();
        ["starts 1", "restarts 0", "state active", "serving 1.0.1"].into_iter().for_each(|word| systemd.has(word));
        // Each trouble happens once.
        let script = r#"
            cd @DIR || exit 1
            once() { [ -e $1 ] && rm $1; }
            case $1 in
            restart)
                once refuses && exit 1
                once ignores && exit 0
                echo $(($(cat starts) + 1)) > starts
                if [ -e @CURRENT ]; then @CURRENT/bin/version; else echo nothing; fi > serving
                if once breaks; then echo failed; else echo active; fi > state;;
            show)
                echo ActiveState=$(cat state)
                echo InvocationID=i$(cat starts)
                echo MainPID=1
                echo NRestarts=$(cat restarts);;
            esac"#;
        let current = endpoint.data().join("installs/acme/widget/stable/current");
        let script = script.replace("@DIR", &systemd.directory.display().to_string());
        let script = script.replace("@CURRENT", &current.display().to_string());
        crate::house::script(&systemd.directory.join("systemctl"), &script);
        systemd.configure(endpoint, "");
        systemd
    }

    /// The host's configuration, with this about health.
    fn configure(&self, endpoint: &Endpoint, health: &str) {
        let unit = "[services.widget]\nunit = \"widget.service\"\nready_wait_ms = 50\n";
        let systemctl = self.directory.join("systemctl");
        endpoint.configure(&format!("{unit}[health]\nsystemctl = {systemctl:?}\n{health}"));
    }

    /// A name and what is in its file from now on.
    fn has(&self, word: &str) {
        let (name, value) = word.split_once(' ').unwrap();
        std::fs::write(self.directory.join(name), format!("{value}\n")).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).unwrap().trim().to_owned()
    }

    fn starts(&self) -> String {
        self.read("starts")
    }

    /// What runs says of itself.
    fn served(&self) -> String {
        self.read("serving")
    }

    fn serves(&self, version: &str) -> List<HealthCheck, { ledger::limits::HEALTH_CHECKS_MAX }> {
        let serving = self.directory.join("serving");
        List::new(vec![says(&format!("/bin/cat {}", serving.display()), version)]).unwrap()
    }
}

#[tokio::test]
async fn a_service_that_systemd_runs_is_restarted_by_it_and_judged_then() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let systemd = Systemd::of(&endpoint);
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let mut worker = endpoint.worker().await;
    let runs = async || Some(view(worker.site())).filter(|view| view.phase == Phase::Running);
    assert_eq!(eventually("the unit", runs).await.pid, Some(1));
    assert_eq!(systemd.starts(), "1", "whatever runs is left alone");

    let good = approved(&world, 2, tree_of("1.0.2"), |manifest| manifest.health = systemd.serves("1.0.2"));
    let settled = worker.apply(&good.to_string(), None).await.unwrap();
    assert_eq!((settled.outcome, settled.reason), (Outcome::Applied, None));
    assert_eq!(systemd.starts(), "2");

    // Whatever keeps the old process running, it is not what was to be judged.
    let refused = [
        ("refuses", "systemctl restart -- widget.service: exit status: 1", "3"),
        ("ignores", "unit widget.service was not started anew by systemctl restart", "4"),
        ("breaks", "unit widget.service is \"failed\" after systemctl restart", "6"),
    ];
    for (release, (trouble, evidence, starts)) in (3..).zip(refused) {
        systemd.has(&format!("{trouble} once"));
        let patch = approved(&world, release, tree_of("1.0.3"), |_| {});
        let settled = worker.apply(&patch.to_string(), None).await.unwrap();
        let reason = settled.reason.unwrap();
        assert_eq!((settled.outcome, reason.code), (Outcome::RolledBack, ReasonCode::ServiceFailed), "{reason}");
        assert!(reason.detail.as_str().contains(evidence), "{evidence:?} in {reason}");
        assert_eq!(systemd.starts(), starts, "{trouble}");
    }

    // One that dies while it is judged, and that systemd starts again at once.
    let dies = approved(&world, 6, tree_of("1.0.4"), |manifest| {
        let dies = format!("/bin/cp {0}/starts {0}/restarts", systemd.directory.display());
        manifest.health = List::new(vec![says(&dies, "")]).unwrap();
    });
    let settled = worker.apply(&dies.to_string(), None).await.unwrap();
    let reason = settled.reason.unwrap();
    assert_eq!((settled.outcome, reason.code), (Outcome::RolledBack, ReasonCode::ServiceFailed), "{reason}");
    assert!(reason.detail.as_str().contains("died and was started again by systemd"), "{reason}");
    assert_eq!(endpoint.version().as_deref(), Some("1.0.2"));
    assert_eq!(systemd.served(), "1.0.2", "it was restarted on the way back, too");
    let starts = systemd.starts();
    worker.site().installer.services().stop_all().await;
    drop(worker);
    // An agent that begins says nothing of it that nobody has seen.
    systemd.configure(&endpoint, "watch = \"1h\"\n");
    let daemon = Daemon::start(&endpoint);
    let looked = async || {
        let answer = ask(&DataDir::at(endpoint.data()), &Request::Status {}).await.ok()??;
        let Answer::Status(status) = answer else { return None };
        status.health.into_iter().next()
    };
    assert_eq!(eventually("a look", looked).await.trouble, None);
    daemon.stop().await;
    assert_eq!(systemd.starts(), starts, "whatever runs goes on without the agent");
}

/// What came first is gone again, and so is what ran of it.
#[tokio::test]
async fn a_unit_is_restarted_on_the_way_back_to_nothing_and_after_an_agent_that_died_on_it() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let systemd = Systemd::of(&endpoint);
    let sick = approved(&world, 1, tree_of("1.0.1"), |manifest| manifest.health = systemd.serves("never"));
    assert_eq!(endpoint.apply(sick).await.outcome, Outcome::RolledBack);
    assert_eq!((systemd.starts().as_str(), endpoint.version()), ("3", None));

    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let sick = approved(&world, 2, tree_of("1.0.2"), |manifest| manifest.health = systemd.serves("never"));
    // It is back, and its agent dies before it comes to the services.
    let restored = 10;
    let before: u32 = systemd.starts().parse().unwrap();
    assert!(child(&endpoint, Some(sick), restored).await);
    assert_eq!(endpoint.version().as_deref(), Some("1.0.1"));
    assert_eq!(systemd.starts(), (before + 1).to_string(), "it runs what is gone");
    assert_eq!(systemd.served(), "1.0.2");
    let mut site = endpoint.open();
    assert_eq!(site.recover().await.unwrap().unwrap().outcome, Outcome::RolledBack);
    assert_eq!(systemd.served(), "1.0.1");
}

#[tokio::test]
async fn a_service_that_dies_is_started_again() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], SERVICE);
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let worker = endpoint.worker().await;
    let first = view(worker.site()).pid.unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let again = async || Some(view(worker.site())).filter(|view| view.deaths == 1 && view.pid.is_some());
    let again = eventually("the service again", again).await;
    assert_eq!(again.last_end.as_deref(), Some("ended by signal 9"));
    assert!(is_alive(again.pid.unwrap()));
    worker.site().installer.services().stop_all().await;
}

#[tokio::test]
async fn stopping_leaves_nothing_of_a_service_behind() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], SERVICE);
    // It does not end when asked, and has a child that would not either.
    let stubborn = "#!/bin/sh\ntrap '' TERM\nsh -c \"trap '' TERM; echo \\$\\$ > child; while :; do sleep 0.05; done\" &\nwhile :; do sleep 0.05; done\n";
    endpoint.adopt("1.0.1", 1, &Archive::new().program("bin/serve", stubborn).bytes());
    endpoint.configure("");
    let worker = endpoint.worker().await;
    let service = view(worker.site());
    let child = service.tree.as_ref().unwrap().join("child");
    let child = async || std::fs::read_to_string(&child).ok()?.trim().parse::<u32>().ok();
    let child = eventually("the service's child", child).await;
    worker.site().installer.services().stop_all().await;
    assert!(!is_alive(service.pid.unwrap()) && !is_alive(child));
}

#[tokio::test]
async fn an_agent_that_is_killed_leaves_nothing_that_holds_the_port() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], SERVICE);
    let parent = "#!/bin/sh\nsh -c 'echo $$ > child; while :; do sleep 0.05; done' &\nexec sleep 1000\n";
    endpoint.adopt("1.0.1", 1, &Archive::new().program("bin/serve", parent).bytes());
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(endpoint.config_path()).stderr(Stdio::null()).kill_on_drop(true);
    let mut agent = command.spawn().unwrap();
    let child = endpoint.installed().unwrap().tree.join("child");
    let child = async || std::fs::read_to_string(&child).ok()?.trim().parse::<u32>().ok();
    let child = eventually("the service's child", child).await;
    let group = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap().parse::<u32>().unwrap()
    };
    let service = group(child);
    assert!(is_alive(service) && service != child);

    agent.kill().await.unwrap();
    eventually("the service's end", async || (!is_alive(service)).then_some(())).await;
    // The kernel kills the service; its child is found by the next agent.
    let site = endpoint.open();
    assert!(!is_alive(child));
    drop(site);
}

#[tokio::test]
async fn a_port_is_waited_for() {
    let world = World::new();
    let node = world.node().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let number = port.local_addr().unwrap().port();
    let endpoint = Endpoint::new(&world, &[&node], &format!("[parameters]\nport = {number}"));
    let tcp = |attempts| {
        let probe = Probe::Tcp { port: Text::new("{port}").unwrap() };
        HealthCheck { probe, timeout_ms: 1_000, attempts, interval_ms: 10 }
    };
    let listening = approved(&world, 1, tree_of("1"), |manifest| manifest.health = List::new(vec![tcp(1)]).unwrap());
    assert_eq!(endpoint.apply(listening).await.outcome, Outcome::Applied);
    drop(port);
    let closed = approved(&world, 2, tree_of("2"), |manifest| manifest.health = List::new(vec![tcp(3)]).unwrap());
    let reason = endpoint.apply(closed).await.reason.unwrap();
    assert!(reason.detail.as_str().contains("refused") && reason.detail.as_str().contains("3 attempts"), "{reason}");
}

/// Whoever gets the data directory takes what still carries the agent's mark for nobody's, and kills it: so nobody gets it
/// while an agent is waiting for a service that takes its time to end.
#[tokio::test]
async fn an_agent_that_ends_keeps_its_directory_until_the_last_service_has_ended() {
    let world = World::new();
    let node = world.node().await;
    let slow = "[services.widget]\ncommand = [\"{tree}/bin/serve\"]\nready_wait_ms = 100\nstop_timeout_ms = 20000";
    let endpoint = Endpoint::new(&world, &[&node], slow);
    let [pid, end] = ["pid", "end"].map(|name| endpoint.path(name));
    let (pid_shown, end_shown) = (pid.display(), end.display());
    let serve = format!(
        "#!/bin/sh\ntrap 'while [ ! -e {end_shown} ]; do sleep 0.02; done; exit 0' TERM\necho $$ > {pid_shown}\n\
         while :; do sleep 0.02; done\n"
    );
    endpoint.adopt("1.0.1", 1, &Archive::new().program("bin/serve", &serve).bytes());
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(endpoint.config_path()).stdin(Stdio::null()).stderr(Stdio::null());
    let mut agent = command.kill_on_drop(true).spawn().unwrap();
    let read = async || std::fs::read_to_string(&pid).ok()?.trim().parse::<u32>().ok();
    let service = eventually("a service", read).await;
    let data = DataDir::at(endpoint.data());
    eventually("an agent that answers", async || ask(&data, &Request::Status {}).await.ok().flatten()).await;
    let to = rustix::process::Pid::from_raw(agent.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(to, rustix::process::Signal::TERM).unwrap();
    // Nobody answers any more; from then on whoever asks would try to do it himself.
    eventually("nobody answers", async || matches!(ask(&data, &Request::Status {}).await, Ok(None)).then_some(()))
        .await;
    assert!(data.lock().is_err() && is_alive(service), "the agent waits for its service");
    std::fs::write(&end, "").unwrap();
    assert!(agent.wait().await.unwrap().success());
    assert!(data.lock().is_ok() && !is_alive(service));
}

/// Whoever starts the agent need not know that somebody does something by hand just now.
#[tokio::test]
async fn an_agent_that_is_started_beside_somebody_at_the_host_waits_for_him_and_a_second_agent_does_not() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let data = DataDir::at(endpoint.data());
    let run = || {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(["run", "--config"]).arg(endpoint.config_path()).stdin(Stdio::null()).stderr(Stdio::null());
        command.kill_on_drop(true).spawn().unwrap()
    };
    let by_hand = data.lock().unwrap();
    let agent = run();
    let waits = async || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", agent.id()?)).ok()?.flatten();
        let mut files = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        files.any(|file| file == endpoint.data().join("lock")).then_some(())
    };
    eventually("it waits", waits).await;
    drop(by_hand);
    eventually("it runs", async || ask(&data, &Request::Status {}).await.ok().flatten()).await;
    assert_eq!(run().wait().await.unwrap().code(), Some(3));
}
