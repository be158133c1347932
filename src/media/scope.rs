//! What the holder of a key may do.

use std::fmt;
use std::str::FromStr;

/// A part of the management API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Looking.
    Read,
    /// Adding films and saying what they are.
    Upload,
    /// Everything, removal and keys included.
    Admin,
}

/// The parts somebody may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    read: bool,
    upload: bool,
    admin: bool,
}

impl Scope {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Upload, Self::Admin];

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Upload => "upload",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is none of read, upload, admin"))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Scopes {
    /// Whether this is among them. `admin` is everything; a key that may upload need not see what others uploaded.
    #[must_use]
    pub fn allow(self, scope: Scope) -> bool {
        self.admin
            || match scope {
                Scope::Read => self.read,
                Scope::Upload => self.upload,
                Scope::Admin => false,
            }
    }

    /// One by one, the least first.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        let has = [(Scope::Read, self.read), (Scope::Upload, self.upload), (Scope::Admin, self.admin)];
        has.into_iter().filter(|(_, has)| *has).map(|(scope, _)| scope)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::default(), |mut all, scope| {
            match scope {
                Scope::Read => all.read = true,
                Scope::Upload => all.upload = true,
                Scope::Admin => all.admin = true,
            }
            all
        })
    }
}

/// The words with commas between them; [`Scopes::from_str`] reads it.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Scope::as_str).collect();
        f.write_str(&words.join(","))
    }
}

impl FromStr for Scopes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').filter(|word| !word.is_empty()).map(Scope::from_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_is_everything_and_upload_is_not_read() {
        let scopes = |text: &str| text.parse::<Scopes>().unwrap();
        assert!(Scope::ALL.into_iter().all(|scope| scopes("admin").allow(scope)));
        assert!(scopes("upload").allow(Scope::Upload) && !scopes("upload").allow(Scope::Read));
        assert!(Scope::ALL.into_iter().all(|scope| !scopes("").allow(scope)));
        assert!("write".parse::<Scopes>().is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["", "read", "read,upload", "read,upload,admin"] {
            assert_eq!(text.parse::<Scopes>().unwrap().to_string(), text);
        }
    }
}
