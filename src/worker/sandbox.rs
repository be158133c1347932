//! What a bound worker may still do: read its libraries and one file, compute, and talk over what is already open. It has read
//! its index before.
//!
//! Landlock decides about files, TCP and signals, seccomp about system calls, rlimits about amounts. Landlock binds the
//! calling thread and the threads it starts later, and nothing can bind a thread that exists already. So
//! [`close`] wants to be called by the only thread of the process, and refuses otherwise: GLib keeps a thread that
//! starts all others, and if that one stayed outside, so would every pipeline.
//!
//! The process count is not limited by `RLIMIT_NPROC`: it counts a user's threads on the whole machine. Seccomp lets no
//! process start, and threads end at the memory limit, which their stacks count towards.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::config::Sandbox;
use super::protocol::{Binding, Unbound};

/// Readable, with everything below: libraries and plugins that are loaded late, their data, and the machine's shape.
const READABLE: [&str; 9] = [
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/usr/share",
    "/etc/ld.so.cache",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
];

/// Readable as well if there are devices: how their drivers find out what they drive.
const READABLE_WITH_DEVICES: [&str; 4] = ["/sys/dev/char", "/sys/devices", "/sys/class/drm", "/proc/driver"];

/// Variables that name more folders with libraries.
pub(super) const LIBRARY_VARIABLES: [&str; 5] = [
    "LD_LIBRARY_PATH",
    "GST_PLUGIN_PATH",
    "GST_PLUGIN_PATH_1_0",
    "GST_PLUGIN_SYSTEM_PATH",
    "GST_PLUGIN_SYSTEM_PATH_1_0",
];

/// Requests that `libc` does not name (`asm-generic/sockios.h`).
const FIOSETOWN: libc::Ioctl = 0x8901;
const SIOCSPGRP: libc::Ioctl = 0x8902;

/// Open files of a worker: a source, devices, and three descriptors for each of a few dozen elements.
const MAX_OPEN_FILES: u64 = 256;

/// Closes the sandbox around the whole process, for ever.
///
/// # Errors
/// [`Unbound::Source`] if the source is not there or cannot be read from inside; [`Unbound::Sandbox`] if a layer is
/// missing and `binding.sandbox` requires it. The process is of no use then: a part of the layers may be closed.
pub fn close(binding: &Binding) -> Result<(), Unbound> {
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return Err(Unbound::Sandbox(format!(
            "the worker has {threads} threads before it is bound, and those cannot be confined any more; warming up must \
             not run a pipeline, and /proc must be mounted"
        )));
    }
    let source = PathFd::new(&binding.source).map_err(|e| cannot_open(&binding.source, &e))?;
    let mut layers = vec![("Landlock", confine_files(source, binding)), ("capabilities", drop_capabilities())];
    layers.push(("limits", limit(binding.memory_bytes)));
    layers.push(("seccomp", filter_calls(!binding.devices.is_empty())));
    for (layer, outcome) in layers {
        match (outcome, binding.sandbox) {
            (Ok(()), _) => {}
            (Err(why), Sandbox::BestEffort) => eprintln!("sandbox: {layer} is not in force: {why}"),
            (Err(why), Sandbox::Required) => {
                return Err(Unbound::Sandbox(format!(
                    "{layer} cannot be enforced: {why}. Run on Linux 5.13 or later with Landlock and seccomp allowed \
                     (`lsm=` on the kernel's command line, the container's security profile), or accept the risk with \
                     `worker.sandbox = \"best-effort\"`"
                )));
            }
        }
    }
    File::open(&binding.source).map(drop).map_err(|e| cannot_open(&binding.source, &e))
}

pub(super) fn cannot_open(path: &Path, error: &dyn std::error::Error) -> Unbound {
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    Unbound::Source(format!("cannot open {}: {cause}", path.display()))
}

/// The first version of Landlock decides about opening, creating and removing, and is required. What later versions
/// add (truncation, TCP, device ioctls, signals, abstract sockets) is taken where the kernel has it. Seccomp refuses the
/// same by itself, [`opens`] and [`descriptors`] included, but for the ioctls of devices that were configured.
fn confine_files(source: PathFd, binding: &Binding) -> Result<(), String> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let variables = LIBRARY_VARIABLES.iter().filter_map(env::var_os);
    let more: Vec<PathBuf> = variables.flat_map(|v| env::split_paths(&v).collect::<Vec<_>>()).collect();
    let for_devices: &[&str] = if binding.devices.is_empty() { &[] } else { &READABLE_WITH_DEVICES };
    let build = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V5))?
            .handle_access(AccessNet::from_all(ABI::V5))?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .add_rules(path_beneath_rules(READABLE, read))?
            .add_rules(path_beneath_rules(for_devices, read))?
            .add_rules(path_beneath_rules(more.iter().filter(|p| p.is_absolute()), read))?
            .add_rules(path_beneath_rules(&binding.devices, device))?
            .add_rule(PathBeneath::new(source, AccessFs::ReadFile))?
            .restrict_self()
    };
    build().map(drop).map_err(|e: landlock::RulesetError| e.to_string())
}

/// Root's powers, where the server runs as root, but for reading files whatever their mode: which file, Landlock says.
fn drop_capabilities() -> Result<(), String> {
    let mine = capabilities(None).map_err(|e| e.to_string())?;
    let keep = mine.permitted & CapabilitySet::DAC_READ_SEARCH;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(|e| e.to_string())?;
    set_no_new_privs(true).map_err(|e| e.to_string())
}

fn limit(memory_bytes: u64) -> Result<(), String> {
    for (resource, most) in
        [(Resource::Core, 0), (Resource::Fsize, 0), (Resource::Nofile, MAX_OPEN_FILES), (Resource::Data, memory_bytes)]
    {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(|e| format!("{resource:?}: {e}"))?;
    }
    Ok(())
}

fn filter_calls(devices: bool) -> Result<(), String> {
    let own_pid = u64::from(std::process::id());
    let error = |e: &dyn std::error::Error| e.to_string();
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let once = [
        // A thread, not a process.
        (libc::SYS_clone, vec![(0, masked(libc::CLONE_THREAD), libc::CLONE_THREAD as u64)]),
        // A stream pair cannot be addressed to anyone else, a datagram pair can.
        (libc::SYS_socketpair, vec![(0, Is::Eq, libc::AF_UNIX as u64), (1, masked(0xf), libc::SOCK_STREAM as u64)]),
        // To abort, and for no other process.
        (libc::SYS_tgkill, vec![(0, Is::Eq, own_pid)]),
        (libc::SYS_prlimit64, vec![(0, Is::Eq, 0)]),
        (libc::SYS_prctl, vec![(0, Is::Eq, libc::PR_SET_NAME as u64)]),
    ];
    for (call, conditions) in once.into_iter().chain(opens()).chain(descriptors(devices)) {
        let conditions: Result<Vec<_>, _> = conditions
            .into_iter()
            .map(|(argument, is, value)| SeccompCondition::new(argument, Width::Dword, is, value))
            .collect();
        let rule = SeccompRule::new(conditions.map_err(|e| error(&e))?).map_err(|e| error(&e))?;
        rules.entry(call).or_default().push(rule);
    }
    // The C library makes threads with `clone3`, whose flags are out of a filter's sight, and falls back to `clone` if
    // the kernel does not know it. Of two filters the stricter answer holds, so the other one may allow it.
    rules.insert(libc::SYS_clone3, Vec::new());
    let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
    for (rules, otherwise, matched) in
        [(no_clone3, SeccompAction::Allow, unknown), (rules, refuse, SeccompAction::Allow)]
    {
        let target: TargetArch = env::consts::ARCH.try_into().map_err(|e: seccompiler::BackendError| error(&e))?;
        let filter = SeccompFilter::new(rules, otherwise, matched, target).map_err(|e| error(&e))?;
        let program: BpfProgram = filter.try_into().map_err(|e: seccompiler::BackendError| error(&e))?;
        apply_filter_all_threads(&program).map_err(|e| error(&e))?;
    }
    Ok(())
}

/// A call, and what must hold of its arguments.
type Conditional = (i64, Vec<(u8, Is, u64)>);

/// Opening shortens no file: `O_TRUNC` works on one that is opened for reading, and Landlock knows of it only from its third
/// version (Linux 6.2) on. `openat2`, whose flags are out of a filter's sight, is not allowed at all.
fn opens() -> Vec<Conditional> {
    let keeps = |flags| vec![(flags, masked(libc::O_TRUNC), 0)];
    vec![
        (libc::SYS_openat, keeps(2)),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, keeps(1)),
    ]
}

/// What may be asked of a descriptor. Not that it signals a process when it moves, which any process of this user may be
/// made the target of, and Landlock knows of signals only from its sixth version (Linux 6.12) on; nor a lock on a file.
fn descriptors(devices: bool) -> Vec<Conditional> {
    let commands = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];
    let mut calls: Vec<_> =
        commands.map(|command| (libc::SYS_fcntl, vec![(1, Is::Eq, command as u64)])).into_iter().collect();
    calls.push((libc::SYS_fcntl, vec![(1, Is::Eq, libc::F_SETFL as u64), (2, masked(libc::O_ASYNC), 0)]));
    if devices {
        // Drivers have requests of their own, without end.
        let signals = [libc::FIOASYNC, FIOSETOWN, SIOCSPGRP];
        calls.push((libc::SYS_ioctl, signals.map(|request| (1, Is::Ne, request)).to_vec()));
    }
    calls
}

fn masked(bits: i32) -> Is {
    Is::MaskedEq(bits as u64)
}

/// What decoding, encoding and the C library under them need. Everything else meets `EPERM`: sockets, programs,
/// tracing, other processes, mounts, keys, modules, `io_uring`, `bpf`, `userfaultfd`, changes to files by path.
/// `sched_setattr` is refused because it could slow the server's threads; GLib notices and does without.
const ALLOWED: &[i64] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_membarrier,
    // Threads and time.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_getpriority,
    libc::SYS_getcpu,
    libc::SYS_get_mempolicy,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrusage,
    libc::SYS_restart_syscall,
    // Signals to itself.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_sigaltstack,
    // Files: which, Landlock says, and how they are opened, `opens`. No mode is changed, nothing is renamed, linked or
    // removed.
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_dup,
    libc::SYS_dup3,
    // What is open already, and pipes to itself.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    // About itself and the machine.
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    // The older names of some of these, which only this architecture has.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getrlimit,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
];

/// The error as the sandbox's refusal, or `None` if it is another fault.
pub(super) fn refusal(error: &io::Error) -> Option<String> {
    (error.kind() == io::ErrorKind::PermissionDenied).then(|| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_process_with_a_second_thread_is_not_bound_because_that_one_would_stay_outside() {
        let (release, hold) = mpsc::sync_channel::<()>(1);
        let second = thread::spawn(move || hold.recv());
        let binding = Binding {
            source: "/dev/null".into(),
            index: None,
            memory_bytes: 1 << 30,
            sandbox: Sandbox::BestEffort,
            devices: vec![],
        };
        let Err(Unbound::Sandbox(why)) = close(&binding) else { panic!("it was bound, and so is this test") };
        assert!(why.contains("threads before it is bound"), "{why}");
        drop(release);
        second.join().unwrap().unwrap_err();
    }
}
