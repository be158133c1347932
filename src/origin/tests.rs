//! The flow over real sockets, with an encoder that does what the test says.

mod http1;
mod iframes;
mod limits;
mod media;
mod pictures;
mod playlists;
mod sites;
mod support;
mod transport;
