//! Load, merge, check. What keys there are, and of which kind, is read off the built-in default.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::DeTable;
use toml::{Table, Value};

use super::Config;
use super::values::{SIZE_MUST, complaint, nearest, shown, size};

const PREFIX: &str = "MATINEE_";
/// Short names, in the environment without the prefix; they win over the long form.
const SHORT: [(&str, &str); 3] = [("LISTEN", "server.listen"), ("DATA", "data_dir"), ("LOG", "log.level")];

/// What the command line may say.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--data`
    pub data: Option<PathBuf>,
}

/// Where a value comes from, in the order problems are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of the file, counted from 1; 0 for the file as a whole.
    File(PathBuf, usize),
    /// A variable's name.
    Environment(String),
    /// A flag's name.
    Flag(&'static str),
    /// Nobody set it.
    Default,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it comes from.
    pub origin: Origin,
    /// One line.
    pub text: String,
}

/// All that is wrong, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

/// A value somebody set.
struct Setting {
    origin: Origin,
    key: String,
    value: Value,
}

struct Loader {
    defaults: Table,
    known: Vec<String>,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

/// The environment may be all the process has; what does not begin with the prefix is nobody's business here.
pub(super) fn load(flags: &Flags, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, Problems> {
    let environment: BTreeMap<String, String> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value)))
        .filter(|(name, value)| !value.is_empty() && !is_kubernetes(name))
        .collect();
    let mut loader = Loader::new();
    let in_environment = environment.get("CONFIG").map(PathBuf::from);
    let read = flags.config.as_ref().or(in_environment.as_ref()).is_none_or(|path| loader.file(path));
    loader.environment(&environment);
    loader.flags(flags);
    loader.finish(read)
}

impl Loader {
    fn new() -> Self {
        let defaults = Table::try_from(Config::default()).unwrap_or_default();
        let mut known = Vec::new();
        list_keys(&defaults, "", &mut known);
        Self { defaults, known, settings: Vec::new(), problems: Vec::new() }
    }

    /// False if the file could not be read as a whole.
    fn file(&mut self, path: &Path) -> bool {
        let problem = |line, text: String| Problem { origin: Origin::File(path.to_owned(), line), text };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.problems.push(problem(0, format!("cannot be read: {error}")));
                return false;
            }
        };
        let (lines, errors) = DeTable::parse_recoverable(&text);
        let mut errors: Vec<_> = errors.into_iter().collect();
        // Some values are well formed and still no value: an integer of 30 digits.
        let values = text.parse::<Table>();
        errors.extend(values.as_ref().err().filter(|_| errors.is_empty()).cloned());
        for error in &errors {
            let at = error.span().map_or(0, |span| line_of(&text, span.start));
            self.problems.push(problem(at, format!("not TOML: {}", error.message().replace('\n', " "))));
        }
        let (Ok(values), true) = (values, errors.is_empty()) else { return false };
        let defaults = self.defaults.clone();
        self.section(path, &text, "", lines.get_ref(), &values, &defaults);
        true
    }

    /// Takes a table of the file; `lines` and `values` are the same table, once with places and once with values.
    fn section(&mut self, path: &Path, text: &str, at: &str, lines: &DeTable, values: &Table, defaults: &Table) {
        for (name, place) in lines {
            let origin = Origin::File(path.to_owned(), line_of(text, name.span().start));
            let (key, name) = (join(at, name.get_ref()), name.get_ref().as_ref());
            match (values.get(name), defaults.get(name), place.get_ref().as_table()) {
                (Some(Value::Table(values)), Some(Value::Table(defaults)), Some(lines)) => {
                    self.section(path, text, &key, lines, values, defaults);
                }
                (Some(value), Some(_), _) => self.settings.push(Setting { origin, key, value: value.clone() }),
                _ => {
                    let meant = nearest(&key, &self.known).map(str::to_owned);
                    self.unknown(origin, &key, meant);
                }
            }
        }
    }

    fn environment(&mut self, environment: &BTreeMap<String, String>) {
        let mut short = Vec::new();
        for (name, text) in environment {
            let origin = Origin::Environment(format!("{PREFIX}{name}"));
            let key = name.to_lowercase().replace("__", ".");
            if name == "CONFIG" {
                continue;
            }
            if let Some((_, key)) = SHORT.iter().find(|(short, _)| short == name) {
                short.push(Setting { origin, key: (*key).into(), value: Value::String(text.clone()) });
            } else if let Some(default) = look_up(&self.defaults, &key) {
                let value = typed(text, default);
                self.settings.push(Setting { origin, key, value });
            } else {
                let variable = |key: &str| format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"));
                let short = SHORT.iter().map(|(short, _)| short.to_lowercase());
                let known: Vec<_> = self.known.iter().cloned().chain(short).collect();
                let meant = nearest(&key, &known).map(variable);
                self.unknown(origin, &key, meant);
            }
        }
        self.settings.append(&mut short);
    }

    fn flags(&mut self, flags: &Flags) {
        let mut set = |name, key: &str, value: String| {
            self.settings.push(Setting { origin: Origin::Flag(name), key: key.into(), value: Value::String(value) });
        };
        if let Some(listen) = &flags.listen {
            set("--listen", "server.listen", listen.clone());
        }
        match flags.data.as_ref().map(|data| (data, data.to_str())) {
            None => {}
            Some((_, Some(data))) => set("--data", "data_dir", data.to_owned()),
            Some((data, None)) => self.problems.push(Problem {
                origin: Origin::Flag("--data"),
                text: format!("data_dir = {data:?}: must be valid UTF-8"),
            }),
        }
    }

    /// Checks each setting by itself, so that one mistake hides no other, then the sum of them.
    fn finish(mut self, whole_file_read: bool) -> Result<Config, Problems> {
        let mut merged = self.defaults.clone();
        let mut origins = BTreeMap::new();
        for Setting { origin, key, mut value } in std::mem::take(&mut self.settings) {
            let wrong = self.check(&key, &mut value);
            if wrong.is_empty() {
                put(&mut merged, &key, value);
                origins.insert(key, origin);
            } else {
                self.problems.extend(wrong.into_iter().map(|text| Problem { origin: origin.clone(), text }));
            }
        }
        let config = match Config::deserialize(merged) {
            Ok(config) => config,
            Err(error) => {
                self.problems.push(Problem { origin: Origin::Default, text: complaint(error.message()) });
                return Err(Problems(self.problems));
            }
        };
        // Half a file would be blamed for what its other half says.
        if whole_file_read {
            for fault in config.problems() {
                let set = origins.iter().find(|(key, _)| is_within(&fault.key, key));
                let origin = set.map_or(Origin::Default, |(_, origin)| origin.clone());
                self.problems.push(Problem { origin, text: fault.text });
            }
        }
        self.problems.sort();
        if self.problems.is_empty() { Ok(config) } else { Err(Problems(self.problems)) }
    }

    /// What is wrong with one value; a size in text becomes a number.
    fn check(&self, key: &str, value: &mut Value) -> Vec<String> {
        let Some(default) = look_up(&self.defaults, key) else { return Vec::new() };
        if let (Value::Table(_), false) = (default, value.is_table()) {
            return vec![format!("{key} = {}: must be a section, [{key}]", shown(value))];
        }
        let is_size = key.ends_with("_bytes");
        if let Some(bytes) = value.as_str().filter(|_| is_size).and_then(size) {
            *value = Value::Integer(bytes);
        }
        // `name` and `item` are the key and its value, or one item of its list.
        let wrong = |name: &str, item: &Value, whole: Value| {
            let mut table = self.defaults.clone();
            put(&mut table, key, whole);
            let said = Config::deserialize(table).err()?;
            let must = if is_size { format!("must be {SIZE_MUST}") } else { complaint(said.message()) };
            Some(format!("{name} = {}: {must}", shown(item)))
        };
        match value.as_array().filter(|_| default.is_array()) {
            Some(items) => {
                let alone = |item: &Value| Value::Array(vec![item.clone()]);
                let each = items.iter().enumerate();
                each.filter_map(|(n, item)| wrong(&format!("{key}[{n}]"), item, alone(item))).collect()
            }
            None => wrong(key, value, value.clone()).into_iter().collect(),
        }
    }

    fn unknown(&mut self, origin: Origin, key: &str, meant: Option<String>) {
        let text = match meant {
            Some(meant) => format!("{key}: no such key; did you mean {meant}?"),
            None => format!("{key}: no such key"),
        };
        self.problems.push(Problem { origin, text });
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and names may be quoted text with anything in it; a problem is one line.
        f.write_str(&format!("{}: {}", self.origin, self.text).replace(char::is_control, " "))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, 0) => write!(f, "{}", path.display()),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
            Self::Default => f.write_str("built-in default"),
        }
    }
}

/// Kubernetes puts variables of each service into every container; for one named `matinee` they begin as ours do.
fn is_kubernetes(name: &str) -> bool {
    name == "PORT" || name.starts_with("PORT_") || name.starts_with("SERVICE_")
}

fn list_keys(table: &Table, at: &str, out: &mut Vec<String>) {
    for (name, value) in table {
        let key = join(at, name);
        if let Value::Table(below) = value {
            list_keys(below, &key, out);
        }
        out.push(key);
    }
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn look_up<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, rest)) => look_up(table.get(section)?.as_table()?, rest),
    }
}

fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((section, rest)) => {
            if let Some(Value::Table(below)) = table.get_mut(section) {
                put(below, rest, value);
            }
        }
    }
}

/// True if `key` is `set` or lies below it.
fn is_within(key: &str, set: &str) -> bool {
    key.strip_prefix(set).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A variable's text as the kind of value its key has: text needs no quotes, anything else is written as in TOML.
fn typed(text: &str, default: &Value) -> Value {
    let parsed = || format!("v = {text}").parse::<Table>().ok()?.remove("v");
    let text = || Value::String(text.to_owned());
    if default.is_str() { text() } else { parsed().unwrap_or_else(text) }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count()
}
