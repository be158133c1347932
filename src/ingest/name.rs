//! Names that come from outside: made one line, bounded, never a path.

/// Longest name of a title or a file, characters: it stands in lists and logs.
pub const MAX_NAME_CHARS: usize = 200;

/// One line, not too long, never empty.
#[must_use]
pub fn line(name: &str) -> String {
    let line: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_NAME_CHARS).collect();
    let line = line.trim();
    if line.is_empty() { "untitled".to_owned() } else { line.to_owned() }
}

/// Whether a text can stand in lists as it is: one line with something in it, of at most `most` characters.
#[must_use]
pub fn is_line(text: &str, most: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= most && !text.contains(char::is_control)
}

/// The last part of a path of whatever system.
#[must_use]
pub fn file(path: &str) -> String {
    line(path.rsplit(['/', '\\']).find(|part| !matches!(*part, "" | "." | "..")).unwrap_or_default())
}

/// A title's name, after its file: without the ending.
#[must_use]
pub fn title(file: &str) -> String {
    match file.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => line(stem),
        _ => line(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_of_bounded_length() {
        assert_eq!(line("two\nlines\u{1b}[2J"), "two lines [2J");
        assert_eq!(line(" \t"), "untitled");
        assert_eq!(line(&"ü".repeat(999)).chars().count(), MAX_NAME_CHARS);
    }

    #[test]
    fn folders_do_not_stay_in_a_files_name() {
        for (path, name) in [
            ("film.mp4", "film.mp4"),
            ("../../etc/passwd", "passwd"),
            ("..", "untitled"),
            ("C:\\films\\film.mp4", "film.mp4"),
            ("/", "untitled"),
            ("", "untitled"),
            ("folder/", "folder"),
        ] {
            assert_eq!(file(path), name, "{path}");
        }
    }

    #[test]
    fn a_title_is_called_as_its_file_without_the_ending() {
        for (file, name) in
            [("Big Buck.Bunny.mp4", "Big Buck.Bunny"), ("film", "film"), (".mp4", ".mp4"), ("untitled", "untitled")]
        {
            assert_eq!(title(file), name, "{file}");
        }
    }
}
