//! What a bound worker must not be able to do, tried for real. `matinee doctor` and the tests show the outcome.
//!
//! Every attempt is harmless should it succeed: nothing is run, written or signalled that anyone would notice.

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, fcntl_lock, fcntl_setfl};
use rustix::process::{getppid, test_kill_process};

use super::protocol::Attempt;
use super::sandbox;

/// Such a lock keeps nobody from reading, and ends with its descriptor.
const LOCK: FlockOperation = FlockOperation::NonBlockingLockShared;

/// Tries everything, from inside the worker bound to `source`; `neighbour` is another file that the server can read.
pub fn all(source: &Path, neighbour: &Path) -> Vec<Attempt> {
    let folder = source.parent().unwrap_or(Path::new("/"));
    let fresh = folder.join(format!(".matinee-attempt-{}", std::process::id()));
    let temporary = std::env::temp_dir().join(format!("matinee-attempt-{}", std::process::id()));
    let parent = getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
    vec![
        attempt("open /etc/passwd", File::open("/etc/passwd")),
        attempt("list the source's folder", fs::read_dir(folder)),
        attempt("open another file", File::open(neighbour)),
        attempt("open the source for writing", File::options().append(true).open(source)),
        attempt("shorten the source", shorten(source)),
        attempt("lock the source", File::open(source).and_then(|file| Ok(fcntl_lock(file, LOCK)?))),
        attempt("create a file beside the source", create(&fresh)),
        attempt("create a file in the temporary folder", create(&temporary)),
        attempt("create a folder beside the source", fs::create_dir(&fresh).and_then(|()| fs::remove_dir(&fresh))),
        attempt("rename the source", fs::rename(source, source)),
        attempt(
            "change the source's mode",
            fs::metadata(source).and_then(|m| fs::set_permissions(source, m.permissions())),
        ),
        attempt("read the server's environment", File::open(format!("/proc/{parent}/environ"))),
        attempt("open the server's memory", File::open(format!("/proc/{parent}/mem"))),
        attempt("list processes", fs::read_dir("/proc")),
        attempt("signal the server", getppid().map_or(Ok(()), test_kill_process).map_err(Into::into)),
        attempt("have a socket signal its owner", signal_owner()),
        attempt("listen on TCP", TcpListener::bind("127.0.0.1:0")),
        attempt("connect over TCP", TcpStream::connect("127.0.0.1:9")),
        attempt("open a UDP socket", UdpSocket::bind("127.0.0.1:0")),
        attempt("open a Unix socket", UnixDatagram::unbound()),
        attempt("open a Unix datagram pair", UnixDatagram::pair()),
        attempt("listen on a Unix socket", UnixListener::bind(&fresh).and_then(|_| fs::remove_file(&fresh))),
        attempt("connect to a Unix socket", UnixStream::connect("/run/systemd/notify")),
        attempt("start a process", start()),
    ]
}

/// Tries to become a program that is not there: without a sandbox the answer is that it is missing, not that it is
/// refused. Apart because it resets how the process takes `SIGPIPE`, so it is for a worker that is done with.
pub fn become_another() -> Attempt {
    attempt("become another program", Err::<(), _>(Command::new("/nonexistent/program").exec()))
}

fn attempt<T>(act: &str, outcome: io::Result<T>) -> Attempt {
    let refused = outcome.err().as_ref().and_then(|error| {
        let refused = sandbox::refusal(error);
        if refused.is_none() {
            eprintln!("self-test: {act}: not refused, but {error}");
        }
        refused
    });
    Attempt { act: act.to_owned(), refused }
}

fn create(path: &Path) -> io::Result<()> {
    File::create_new(path)?;
    fs::remove_file(path)
}

/// As it is no folder, the kernel would stop before it empties it.
fn shorten(path: &Path) -> io::Result<()> {
    let flags = OFlags::TRUNC | OFlags::DIRECTORY;
    File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path).map(drop)
}

/// It has no owner, so nobody is signalled.
fn signal_owner() -> io::Result<()> {
    let (socket, _other) = UnixStream::pair()?;
    let flags = fcntl_getfl(&socket)? | OFlags::from_bits_retain(libc::O_ASYNC.cast_unsigned());
    Ok(fcntl_setfl(&socket, flags)?)
}

fn start() -> io::Result<()> {
    Command::new("/bin/true").spawn()?.wait().map(drop)
}
