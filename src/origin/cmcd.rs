//! What a player tells of itself: Common Media Client Data (CTA-5004), in the query `CMCD=` or in the four request headers.
//! hls.js, Shaka and dash.js send it if they are told to.
//!
//! It is a hint and never trusted: it moves an order in the queue and look-ahead to another place, within what any viewer
//! may have. A key that cannot be understood is passed over, as the specification asks of servers. Nothing of it
//! reaches the name of an object, so no cache sees two where there is one.

use std::time::Duration;

use http::request;

/// Bytes of it that are read; a player sends about two hundred.
const MAX_BYTES: usize = 2048;
/// Pairs that are read; the specification knows 19 keys.
const MAX_PAIRS: usize = 32;
/// Longest session id (CTA-5004, 3.1) and, being a path, next object.
const MAX_ID_BYTES: usize = 64;
const MAX_NEXT_BYTES: usize = 256;
/// The request headers; which key stands in which does not matter here.
const HEADERS: [&str; 4] = ["cmcd-request", "cmcd-object", "cmcd-status", "cmcd-session"];

/// What of it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cmcd {
    /// `sid`: one player's visit to one title.
    pub session: Option<String>,
    /// `br`: the encoded rate of what is asked for, kbit/s.
    pub bitrate_kbps: Option<u32>,
    /// `bl`: what the player has left to play, milliseconds.
    pub buffer_ms: Option<u32>,
    /// `dl`: when the player will run out if this does not come, milliseconds.
    pub deadline_ms: Option<u32>,
    /// `d`: how long what is asked for plays, milliseconds.
    pub duration_ms: Option<u32>,
    /// `bs`: the player ran out since its last request.
    pub starved: bool,
    /// `su`: needed at once, at the start, after a seek or after running out.
    pub startup: bool,
    /// `ot` is video, with sound or without.
    pub is_video: bool,
    /// `nor`: what will be asked for next, as a path relative to this request.
    pub next: Option<String>,
}

impl Cmcd {
    /// `None` if the player tells nothing. Costs a look at query and headers then.
    pub(super) fn of(parts: &request::Parts) -> Option<Self> {
        let mut found: Option<Self> = None;
        let query = parts.uri.query().into_iter().flat_map(|query| query.split('&'));
        for text in query.filter_map(|pair| pair.strip_prefix("CMCD=")).take(1) {
            let text = decoded(text.get(..MAX_BYTES).unwrap_or(text));
            found.get_or_insert_default().read(&text);
        }
        for header in HEADERS.into_iter().filter_map(|name| parts.headers.get(name)) {
            // Keys and values are of ASCII.
            let text = header.to_str().unwrap_or_default();
            found.get_or_insert_default().read(text.get(..MAX_BYTES).unwrap_or(text));
        }
        found
    }

    /// When the viewer runs out of what to play, from now.
    pub(super) fn due_in(&self) -> Option<Duration> {
        if self.startup || self.starved {
            return Some(Duration::ZERO);
        }
        let ms = self.deadline_ms.into_iter().chain(self.buffer_ms).min()?;
        Some(Duration::from_millis(ms.into()))
    }

    /// The path that comes next, as a URL path: `nor` resolved against this request's (RFC 3986, 5.2.4). `None` if there
    /// is none or it leads to another place.
    pub(super) fn next_path(&self, path: &str) -> Option<String> {
        let next = decoded(self.next.as_deref()?);
        let next = next.split(['?', '#']).next()?;
        if next.is_empty() || next.contains("//") {
            return None;
        }
        let mut parts: Vec<&str> = if next.starts_with('/') { Vec::new() } else { path.split('/').collect() };
        parts.pop();
        for part in next.split('/') {
            match part {
                ".." => drop(parts.pop()),
                "." => {}
                part => parts.push(part),
            }
        }
        Some(parts.join("/"))
    }

    fn read(&mut self, text: &str) {
        for pair in pairs(text).take(MAX_PAIRS) {
            let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
            let truth = value.is_none_or(|value| value == "true");
            match key.trim() {
                "sid" => self.session = value.and_then(|value| quoted(value, MAX_ID_BYTES)),
                "nor" => self.next = value.and_then(|value| quoted(value, MAX_NEXT_BYTES)),
                "br" => self.bitrate_kbps = value.and_then(number),
                "bl" => self.buffer_ms = value.and_then(number),
                "dl" => self.deadline_ms = value.and_then(number),
                "d" => self.duration_ms = value.and_then(number),
                "bs" => self.starved = truth,
                "su" => self.startup = truth,
                "ot" => self.is_video = matches!(value, Some("v" | "av")),
                _ => {}
            }
        }
    }
}

/// Splits at commas that are not within quotation marks.
fn pairs(text: &str) -> impl Iterator<Item = &str> {
    let (mut within, mut escaped) = (false, false);
    text.split(move |c| {
        let at = c == ',' && !within;
        within ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        at
    })
}

/// A string between quotation marks; in it a backslash stands before a quotation mark or another backslash.
fn quoted(value: &str, max: usize) -> Option<String> {
    let inner = value.trim().strip_prefix('"')?.strip_suffix('"')?;
    let mut escaped = false;
    let text: String = inner
        .chars()
        .filter(|c| {
            escaped = *c == '\\' && !escaped;
            !escaped
        })
        .collect();
    (!text.is_empty() && text.len() <= max).then_some(text)
}

/// A whole number; what some players put behind the point does not matter.
fn number(value: &str) -> Option<u32> {
    value.trim().split('.').next()?.parse().ok()
}

/// Undoes percent-encoding; what is not text then is left out.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let hex = |at: usize| others.get(at).and_then(|c| char::from(*c).to_digit(16));
        (bytes, rest) = match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                (bytes, &others[2..])
            }
            _ => {
                bytes.push(*first);
                (bytes, others)
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let request = http::Request::get(uri);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn query_and_headers_say_the_same() {
        // An example in the manner of CTA-5004, section 6.
        let query = "/v/x/7.m4s?a=1&CMCD=bl%3D21300%2Cbr%3D3200%2Cbs%2Cd%3D4004%2Cdl%3D18500%2Cmtp%3D48100%2C\
            nor%3D%22..%252F720p%252F8.m4s%22%2Cot%3Dv%2Crtp%3D12000%2Csf%3Dh%2Csid%3D%226e2fb550-c457%22%2Csu%2Cst%3Dv";
        let headers = [
            ("CMCD-Request", "bl=21300,dl=18500,mtp=48100,nor=\"..%2F720p%2F8.m4s\",su"),
            ("CMCD-Object", "br=3200,d=4004,ot=v"),
            ("CMCD-Status", "bs,rtp=12000"),
            ("CMCD-Session", "sf=h,sid=\"6e2fb550-c457\",st=v"),
        ];
        let by_query = Cmcd::of(&asked(query, &[])).unwrap();
        assert_eq!(Cmcd::of(&asked("/v/x/7.m4s", &headers)).unwrap(), by_query);
        let expected = Cmcd {
            session: Some("6e2fb550-c457".into()),
            bitrate_kbps: Some(3200),
            buffer_ms: Some(21300),
            deadline_ms: Some(18500),
            duration_ms: Some(4004),
            starved: true,
            startup: true,
            is_video: true,
            next: Some("..%2F720p%2F8.m4s".into()),
        };
        assert_eq!(by_query, expected);
        assert_eq!(by_query.next_path("/v/x/480p/7.m4s").unwrap(), "/v/x/720p/8.m4s");
        assert_eq!(by_query.due_in(), Some(Duration::ZERO));
    }

    #[test]
    fn a_player_that_tells_nothing_costs_nothing() {
        assert_eq!(Cmcd::of(&asked("/v/x/7.m4s?cmcd=bs&x=CMCD=bs", &[("accept", "*/*")])), None);
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        let text = "bl=soon,br=-1,sid=unquoted,nor=\"\",d=99999999999,su=false,bs=1,=,,\"";
        let told = Cmcd::of(&asked("/", &[("CMCD-Request", text)])).unwrap();
        assert_eq!(told, Cmcd::default());
        assert_eq!(told.due_in(), None);
        let told = Cmcd::of(&asked("/", &[("CMCD-Session", "sid=\"a,b\\\"c\",bl=5")])).unwrap();
        assert_eq!((told.session.as_deref(), told.buffer_ms), (Some("a,b\"c"), Some(5)));
    }

    #[test]
    fn a_next_object_stays_a_path_of_this_server() {
        let path = |next: &str| Cmcd { next: Some(next.into()), ..Cmcd::default() }.next_path("/v/x/480p/7.m4s");
        assert_eq!(path("8.m4s?CMCD=bs").unwrap(), "/v/x/480p/8.m4s");
        assert_eq!(path("/v/y/8.m4s").unwrap(), "/v/y/8.m4s");
        assert_eq!(path("../../../../../../etc").unwrap(), "etc");
        for elsewhere in ["https://example.org/8.m4s", "//example.org/8.m4s", "", "?x"] {
            assert_eq!(path(elsewhere), None, "{elsewhere}");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_client_sends_panics_or_grows(text in "(\\PC|[,=\"%\\\\]|sid=\"|nor=\"|%22|%2F){0,400}") {
            let mut told = Cmcd::default();
            told.read(&decoded(&text));
            told.read(&text);
            prop_assert!(told.session.iter().all(|sid| sid.len() <= MAX_ID_BYTES));
            prop_assert!(told.next.iter().all(|next| next.len() <= MAX_NEXT_BYTES));
            let _ = (told.due_in(), told.next_path("/v/a/b/c/1.m4s"), told.next_path(""));
        }

        #[test]
        fn whatever_is_percent_encoded_is_read_as_it_was(sid in "[ -~]{1,64}") {
            let escaped = sid.replace('\\', "\\\\").replace('"', "\\\"");
            let query: String = format!("sid=\"{escaped}\"").bytes().map(|b| format!("%{b:02X}")).collect();
            let told = Cmcd::of(&asked(&format!("/?CMCD={query}"), &[])).unwrap();
            prop_assert_eq!(told.session, Some(sid));
        }
    }
}
