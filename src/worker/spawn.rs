//! Starting a worker's process, watching over it, and its last words.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;
use std::{env, thread};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, setpriority_pgrp};
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::exit::{Death, Exit};
use super::sandbox::LIBRARY_VARIABLES;
use super::stand_in::Tied;

/// Tells a worker which process it belongs to.
pub(super) const PARENT_VARIABLE: &str = "MATINEE_PARENT";

/// This very program even if the file at its path has been replaced by a newer one, which would speak another protocol.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// A worker's home: none, so that plugins come from the system and from `GST_PLUGIN_PATH` alone. If it were not set,
/// GLib would look up the user's.
const NO_HOME: &str = "/nonexistent";

/// How glibc's `malloc` serves workers (its manual, "Tunables"; other C libraries ignore this). Every group of pictures has an
/// encoder of its own, and so allocates and frees a hundred megabytes. By default they go back to the kernel each time and come
/// back as pages to be cleared, which is a tenth of a segment's processor time. One arena, because what is freed in one of
/// many is of no use to a thread in another; up to 32 MiB (the most glibc takes), so that a picture is not mapped by itself;
/// and as much is kept free as an encoder of large pictures needs.
const ALLOCATOR: &str =
    "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=134217728";

/// Variables a worker inherits besides [`LIBRARY_VARIABLES`]; the rest, secrets among it, is none of its business.
const INHERITED: [&str; 8] = [
    "PATH",
    "GST_DEBUG",
    "GST_PLUGIN_SCANNER",
    "GST_PLUGIN_SCANNER_1_0",
    "LIBVA_DRIVER_NAME",
    "LIBVA_DRIVERS_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
];

/// Standard error kept for the report of a death, bytes.
const LAST_WORDS_BYTES: usize = 4 << 10;

/// Longest line of standard error, bytes; the rest of a longer one is dropped, so that a worker cannot fill the log.
const MAX_LINE_BYTES: usize = 1 << 10;

/// How long the last words may take after a death. Nothing of the group is left to write any, so this only guards
/// against a descriptor that leaked.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(500);

/// Starts processes, all on one thread of its own: the parent-death signal is tied to the *thread* that started a
/// process, and a runtime's threads come and go. The thread lives as long as this, or any process it started.
#[derive(Clone, Debug)]
pub(super) struct Spawner {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
struct Order {
    command: Command,
    reply: oneshot::Sender<io::Result<(Process, ChildStderr)>>,
    spawner: Spawner,
}

/// A worker's process group. Dropping it kills the group and reaps the process.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    /// `None` once reaped, when the number may belong to a stranger.
    child: Mutex<Option<Child>>,
    /// What is told instead, if it is none.
    stand_in: Option<Arc<Tied>>,
    /// Why we killed it, if we did.
    fate: OnceLock<Exit>,
    _spawner: Spawner,
}

/// A process that has just been started.
#[derive(Debug)]
pub(super) struct Started {
    pub process: Process,
    pub socket: UnixStream,
    pub stderr: ChildStderr,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's.
    pub fn start() -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "an order per worker, of which the pool bounds the number")]
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            for mut order in inbox {
                let started = order.command.spawn().and_then(|mut child| {
                    let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
                    let pid = Pid::from_child(&child);
                    let child = Mutex::new(Some(child));
                    Ok((Process { pid, child, stand_in: None, fate: OnceLock::new(), _spawner: order.spawner }, stderr))
                });
                // If nobody waits any more, the process dies with the answer.
                let _ = order.reply.send(started);
            }
        })?;
        Ok(Self { orders })
    }

    /// Starts a worker.
    ///
    /// # Errors
    /// The system's: no such program, too many processes or open files.
    pub async fn spawn(&self, program: Option<&Path>, registry: &Path, scan: bool) -> io::Result<Started> {
        let (ours, theirs) = UnixStream::pair()?;
        let command = command(program, registry, scan, theirs.into());
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts workers is gone");
        self.orders.send(Order { command, reply, spawner: self.clone() }).map_err(|_| gone())?;
        let (process, stderr) = answer.await.map_err(|_| gone())??;
        Ok(Started { process, socket: ours, stderr })
    }
}

fn command(program: Option<&Path>, registry: &Path, scan: bool, socket: OwnedFd) -> Command {
    let mut command = Command::new(program.map_or(OsStr::new(OWN_PROGRAM), Path::as_os_str));
    command.arg0("matinee").arg("work").current_dir("/").process_group(0);
    command.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::piped());
    command.env_clear().env("LANG", "C.UTF-8").env("GST_DEBUG_NO_COLOR", "1").env("HOME", NO_HOME);
    command.env("GLIBC_TUNABLES", ALLOCATOR);
    let inherited = INHERITED.iter().chain(&LIBRARY_VARIABLES);
    command.envs(inherited.filter_map(|name| Some((name, env::var_os(name)?))));
    command.env(PARENT_VARIABLE, std::process::id().to_string());
    command.env("GST_REGISTRY", registry).env("GST_REGISTRY_UPDATE", if scan { "yes" } else { "no" });
    command
}

impl Process {
    /// For what stands in for one.
    pub fn none(tied: Arc<Tied>, spawner: Spawner) -> Self {
        let stand_in = Some(tied);
        Self {
            pid: rustix::process::getpid(),
            child: Mutex::new(None),
            stand_in,
            fate: OnceLock::new(),
            _spawner: spawner,
        }
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Kills the group and remembers why; the first reason counts. Nothing happens if it is dead already.
    pub fn condemn(&self, exit: Exit) {
        let child = self.child();
        if child.is_some() {
            let _ = self.fate.set(exit);
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        if let Some(tied) = &self.stand_in {
            tied.kill();
        }
    }

    /// Stops all its threads, as long as nothing kills or resumes it.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(tied) = &self.stand_in {
            tied.pause(signal == Signal::STOP);
        }
        let child = self.child();
        if child.is_some() {
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Sets the nice level of all its threads. Without privileges it can only be raised.
    pub fn set_nice(&self, level: i32) -> io::Result<()> {
        if let Some(tied) = &self.stand_in {
            tied.set_nice(level);
        }
        let child = self.child();
        if child.is_some() { Ok(setpriority_pgrp(Some(self.pid), level)?) } else { Ok(()) }
    }

    /// Sees it to its end: logs its standard error, waits, kills what is left of its group, reaps it.
    pub async fn attend(&self, stderr: ChildStderr) -> Death {
        let mut words = Words::default();
        let ended = async {
            let pidfd = pidfd_open(self.pid, PidfdFlags::empty())?;
            #[expect(deprecated, reason = "its replacement is unsafe for types that may lend a foreign descriptor")]
            let pidfd = AsyncFd::new(pidfd)?;
            pidfd.readable().await.map(drop)
        };
        let status = match pipe::Receiver::from_owned_fd(OwnedFd::from(stderr)) {
            Ok(mut pipe) => {
                tokio::select! {
                    _ = ended => {}
                    never = words.listen(&mut pipe, self.pid()) => match never {},
                }
                let status = self.reap();
                let _ = timeout(LAST_WORDS_WAIT, words.listen_to_the_end(&mut pipe, self.pid())).await;
                status
            }
            Err(_) => {
                let _ = ended.await;
                self.reap()
            }
        };
        let last_words = words.last();
        let exit = match (self.fate.get(), status) {
            (Some(fate), _) => fate.clone().condemned(&last_words),
            (None, Some(status)) => Exit::classify(status, &last_words),
            (None, None) => Exit::Dismissed,
        };
        Death { pid: self.pid(), exit, last_words }
    }

    /// Ends the group if it has not ended yet, and forgets it.
    fn reap(&self) -> Option<ExitStatus> {
        let mut child = self.child();
        let mut dead = child.take()?;
        // Its number is still taken, by itself as a zombie: the signal reaches no stranger.
        let _ = kill_process_group(self.pid, Signal::KILL);
        dead.wait().ok()
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.reap();
    }
}

/// Standard error, line by line into the log, the end of it kept.
#[derive(Debug, Default)]
struct Words {
    line: Vec<u8>,
    last: VecDeque<u8>,
}

impl Words {
    /// Listens for ever; cancelling loses nothing.
    async fn listen(&mut self, pipe: &mut pipe::Receiver, pid: i32) -> std::convert::Infallible {
        self.listen_to_the_end(pipe, pid).await;
        std::future::pending().await
    }

    async fn listen_to_the_end(&mut self, pipe: &mut pipe::Receiver, pid: i32) {
        let mut bytes = [0; MAX_LINE_BYTES];
        while let Ok(read @ 1..) = pipe.read(&mut bytes).await {
            self.hear(&bytes[..read], pid);
        }
        self.end_line(pid);
    }

    fn hear(&mut self, bytes: &[u8], pid: i32) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(pid),
                _ if self.line.len() >= MAX_LINE_BYTES => {}
                // Control characters would let a worker write what looks like another's line.
                _ => self.line.push(if byte.is_ascii_control() { b' ' } else { *byte }),
            }
        }
    }

    fn end_line(&mut self, pid: i32) {
        if !self.line.is_empty() {
            tracing::debug!(pid, line = %String::from_utf8_lossy(&self.line), "worker");
            self.last.extend(self.line.drain(..).chain([b'\n']));
            let surplus = self.last.len().saturating_sub(LAST_WORDS_BYTES);
            self.last.drain(..surplus);
        }
    }

    fn last(&self) -> String {
        let (front, back) = self.last.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_bounded_and_hold_no_control_characters() {
        let mut words = Words::default();
        words.hear(&b"x".repeat(100_000), 1);
        words.hear(b"\n\x1b[31mred\r\n", 1);
        assert_eq!(words.last().len(), MAX_LINE_BYTES + 1 + "  [31mred ".len());
        assert!(words.last().ends_with("\n [31mred \n"));
        for n in 0..10_000 {
            words.hear(format!("line {n}\n").as_bytes(), 1);
        }
        assert_eq!(words.last().len(), LAST_WORDS_BYTES);
        assert!(words.last().ends_with("line 9999\n"));
    }

    #[test]
    fn a_worker_inherits_no_variable_that_is_not_listed() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let command = command(None, Path::new("/registry"), false, socket.into());
        let ours = [
            "LANG",
            "GST_DEBUG_NO_COLOR",
            "HOME",
            "GLIBC_TUNABLES",
            PARENT_VARIABLE,
            "GST_REGISTRY",
            "GST_REGISTRY_UPDATE",
        ];
        for (name, value) in command.get_envs() {
            let name = name.to_str().unwrap();
            let listed = ours.contains(&name) || INHERITED.contains(&name) || LIBRARY_VARIABLES.contains(&name);
            assert!(listed, "{name}");
            assert!(name != "HOME" || value == Some(OsStr::new(NO_HOME)), "the user's folder is the user's");
        }
    }
}
