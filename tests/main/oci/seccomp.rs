//! The seccomp section: what a filter answers, and the agent outside that is asked.

use std::io::IoSliceMut;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::thread;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

use crate::runtime::{bundle, create, id, run, state};
use crate::second_opinion;
use crate::world::World;

const GETPPID: &str = if cfg!(target_arch = "aarch64") { "173" } else { "110" };

fn rule(action: &str) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["getppid"], "action": action }] })
}

/// An agent that takes one message, and goes away with the descriptor: the kernel then answers ENOSYS (38) for it.
fn agent(world: &World) -> (std::path::PathBuf, thread::JoinHandle<Value>) {
    let path = world.dir.join("agent");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("our own directory");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("our own socket");
    let answer = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut text = vec![0; 65536];
        let mut space = nix::cmsg_space!([i32; 1]);
        let mut parts = [IoSliceMut::new(&mut text)];
        let message =
            recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).expect("heard");
        let fds: Vec<i32> = message
            .cmsgs()
            .expect("complete")
            .flat_map(|control| if let ControlMessageOwned::ScmRights(fds) = control { fds } else { vec![] })
            .collect();
        let length = message.bytes;
        let told: Value = serde_json::from_slice(&text[..length]).expect("JSON");
        assert_eq!(fds.len(), told["fds"].as_array().expect("names").len());
        for fd in fds {
            nix::unistd::close(fd).expect("ours");
        }
        told
    });
    (path, answer)
}

both!(an_agent_outside_is_asked_about_a_call, |world| {
    if second_opinion::is("runc") {
        return; // 1.1.5 ends in a nil pointer
    }
    for no_new_privileges in [true, false] {
        let (path, answer) = agent(world);
        let output = run(world, &["syscall", GETPPID], |config| {
            config["process"]["noNewPrivileges"] = no_new_privileges.into();
            config["annotations"] = json!({ "colour": "blue" });
            config["linux"]["seccomp"] = rule("SCMP_ACT_NOTIFY");
            config["linux"]["seccomp"]["listenerPath"] = json!(path);
            config["linux"]["seccomp"]["listenerMetadata"] = json!("for you");
        });
        assert_eq!(output.ok(), "38");
        let told = answer.join().expect("the agent was told");
        assert_eq!((&told["fds"], &told["metadata"]), (&json!(["seccompFd"]), &json!("for you")));
        assert_eq!(told["state"]["id"], json!(id(world)));
        assert_eq!(told["state"]["annotations"]["colour"], "blue");
        assert!(told["pid"].as_i64().is_some_and(|pid| pid > 1), "{told}");
    }
});

both!(each_action_is_the_kernel_s_answer, |world| {
    let answer = |change: &dyn Fn(&mut Value)| {
        run(world, &["syscall", GETPPID], |config| {
            config["linux"]["seccomp"] = rule("SCMP_ACT_ERRNO");
            change(&mut config["linux"]["seccomp"]);
        })
    };
    let action = |name: &'static str| answer(&|seccomp| seccomp["syscalls"][0]["action"] = name.into());
    assert_eq!(action("SCMP_ACT_ALLOW").ok(), "0");
    assert_eq!(action("SCMP_ACT_LOG").ok(), "0");
    assert_eq!(action("SCMP_ACT_ERRNO").ok(), "1");
    // Without a tracer there is no such call.
    assert_eq!(action("SCMP_ACT_TRACE").ok(), "38");
    for killer in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        assert_eq!(action(killer).status, 128 + 31, "{killer}");
    }
    assert_eq!(answer(&|seccomp| seccomp["syscalls"][0]["errnoRet"] = 42.into()).ok(), "42");
    let several = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    assert_eq!(answer(&|seccomp| seccomp["architectures"] = several.clone()).ok(), "1");
    if !second_opinion::is("runc") {
        // 1.1.5 knows none.
        assert_eq!(answer(&|seccomp| seccomp["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG"])).ok(), "1");
    }
});

/// Our own words; what else the others take.
mod only_ours {
    use super::*;

    both!(an_agent_hears_though_the_filter_forbids_to_send, |world| {
        let (path, answer) = agent(world);
        let bundle = bundle(world, &["sleep-forever"], |config| {
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"],
                "syscalls": [
                    { "names": ["sendmsg", "sendto", "sendmmsg"], "action": "SCMP_ACT_ERRNO" },
                    { "names": ["getppid"], "action": "SCMP_ACT_NOTIFY" },
                ],
            });
            // crun's way to name the agent.
            config["annotations"] = json!({ "run.oci.seccomp.receiver": path });
        });
        create(world, &bundle);
        world.runtime(["start", &id(world)]).ok();
        let told = answer.join().expect("the agent was told");
        assert_eq!(told["pid"], state(world)["pid"]);

        // An exec has a filter, and so a question, of its own.
        let (_, answer) = agent(world);
        assert_eq!(world.runtime(["exec", &id(world), "/witness", "syscall", GETPPID]).ok(), "38");
        let told = answer.join().expect("the agent was told");
        assert_eq!(told["state"]["pid"], state(world)["pid"]);
        assert_ne!(told["pid"], state(world)["pid"]);
        world.runtime(["delete", "--force", &id(world)]).ok();
    });

    both!(an_agent_that_cannot_be_asked_is_an_error, |world| {
        let refused = |change: &dyn Fn(&mut Value)| {
            let output = run(world, &["true"], |config| {
                config["linux"]["seccomp"] = rule("SCMP_ACT_NOTIFY");
                config["linux"]["seccomp"]["listenerPath"] = json!(world.dir.join("nobody"));
                change(&mut config["linux"]["seccomp"]);
            });
            output.fails(1);
            output.stderr.clone()
        };
        let said = refused(&|_| {});
        assert!(said.contains("the seccomp agent's socket") && said.contains("nobody"), "{said}");
        let said = refused(&|seccomp| drop(seccomp.as_object_mut().expect("an object").remove("listenerPath")));
        assert!(said.contains("SCMP_ACT_NOTIFY needs a listenerPath"), "{said}");
        let said = refused(&|seccomp| seccomp["defaultAction"] = "SCMP_ACT_NOTIFY".into());
        assert!(said.contains("SCMP_ACT_NOTIFY for sendmsg"), "{said}");
        let said = refused(&|seccomp| seccomp["syscalls"][0]["errnoRet"] = 3.into());
        assert!(said.contains("SCMP_ACT_NOTIFY has no errnoRet"), "{said}");
    });
}
