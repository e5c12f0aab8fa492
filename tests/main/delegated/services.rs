//! `podling run` as a service of a real systemd: the machine's for root, his own for a user.

use super::{in_session, limits_can_be_set};
use crate::running::{Input, Output, Running, until};
use crate::setup::setup;
use crate::world::{Who, World};

/// A transient service under a name which no other test has.
struct Service<'a> {
    world: &'a World,
    name: String,
}

impl<'a> Service<'a> {
    /// `podling run --name=box WORDS…` with these properties; systemd-run waits until it is active. When it is stopped, the
    /// monitor alone is told, and what it starts to clean up is left in peace (`KillMode=mixed`), as in Podman's units.
    fn start(world: &'a World, properties: &[&str], words: &[&str]) -> Self {
        let service = Self { world, name: world.tag() + "service" };
        let podling = world.command(setup().bin("podling"));
        let variables = podling.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut command = service.command("systemd-run");
        command.args(["--quiet", "--unit", &service.name, "--property=NotifyAccess=all", "--property=KillMode=mixed"]);
        command.args(properties.iter().map(|property| format!("--property={property}")));
        command.args(variables.map(|(name, value)| format!("--setenv={}={}", name.display(), value.display())));
        command.arg(podling.get_program()).args(["run", "--name=box", "--network=none"]).args(words);
        Running::start(command, Input::Empty).wait().ok();
        service
    }

    fn command(&self, program: &str) -> std::process::Command {
        let mut command = in_session(self.world, program);
        command.arg(if self.world.who == Who::Root { "--system" } else { "--user" });
        command
    }

    fn systemctl(&self, words: &[&str]) -> Output {
        let mut command = self.command("systemctl");
        command.args(words);
        Running::start(command, Input::Empty).wait()
    }

    fn show(&self, property: &str) -> String {
        self.systemctl(&["show", "--value", "--property", property, &self.name]).ok().to_owned()
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.systemctl(&["stop", &self.name]);
        }
    }
}

fn inspect(world: &World, what: &str) -> String {
    world.podling(["inspect", "--format", what, "box"]).ok().to_owned()
}

both!(the_monitor_is_its_main_process_and_tells_its_end, |world| {
    if limits_can_be_set() {
        let image = world.image("witness");
        let words = ["-d", "--rm", "--sdnotify=conmon", image, "until-term", "3"];
        let service = Service::start(world, &["Type=notify"], &words);
        assert_eq!(service.show("ActiveState"), "active");
        assert_eq!(service.show("MainPID"), inspect(world, "{{.State.ConmonPid}}"));
        assert_ne!(inspect(world, "{{.State.Pid}}"), "0");
        // Whoever ends the container ends the service, with its status.
        world.podling(["kill", "--signal=TERM", "box"]).ok();
        until("it has ended", || (service.show("ActiveState") == "failed").then_some(()));
        assert_eq!(["Result", "ExecMainStatus"].map(|it| service.show(it)), ["exit-code", "3"]);
        service.systemctl(&["reset-failed", &service.name]).ok();
        assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
    }
});

both!(whoever_stops_the_service_stops_the_container, |world| {
    if limits_can_be_set() {
        let image = world.image("witness");
        let words = ["-d", "--rm", "--sdnotify=conmon", image, "until-term", "0"];
        let service = Service::start(world, &["Type=notify"], &words);
        service.systemctl(&["stop", &service.name]).ok();
        assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
    }
});

both!(the_program_inside_says_when_it_is_ready, |world| {
    if limits_can_be_set() {
        let image = world.image("busybox");
        let witness = format!("{}:/witness:ro", crate::images::witness_program().display());
        let script = "/witness notify READY=1; exec sleep 1000";
        let words = ["-d", "--rm", "--init", "-v", &witness, image, "sh", "-c", script];
        // systemd-run has waited for the word.
        let service = Service::start(world, &["Type=notify"], &words);
        assert_eq!(service.show("ActiveState"), "active");
        assert_eq!(service.show("MainPID"), inspect(world, "{{.State.ConmonPid}}"));
        service.systemctl(&["stop", &service.name]).ok();
        assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
    }
});
