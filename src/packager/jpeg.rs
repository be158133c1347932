//! Is this the JPEG file that was asked for? Only its frame header is read: what a worker says is not believed, and what
//! it sends is not decoded here.

use crate::media::Picture;

/// Bytes are not the picture that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotThePicture {
    /// No JPEG file, or not all of one.
    #[error("{bytes} bytes that are no whole JPEG file")]
    NotJpeg {
        /// How many came.
        bytes: usize,
    },
    /// Another size.
    #[error("a picture of {}x{}, where {}x{} was asked for", found.0, found.1, asked.0, asked.1)]
    Size {
        /// What came, pixels.
        found: (u32, u32),
        /// What was wanted.
        asked: (u32, u32),
    },
    /// Too many bytes.
    #[error("a picture of {bytes} bytes, at most {most} are allowed")]
    TooLarge {
        /// How many came.
        bytes: usize,
        /// The bound.
        most: usize,
    },
}

/// Checks that a file is the picture. An empty one says that a file has no cover art.
///
/// # Errors
/// [`NotThePicture`].
pub fn check_jpeg(picture: &Picture, file: &[u8]) -> Result<(), NotThePicture> {
    if file.is_empty() && matches!(picture, Picture::Cover { .. }) {
        return Ok(());
    }
    let (bytes, most) = (file.len(), picture.most_bytes());
    if bytes > most {
        return Err(NotThePicture::TooLarge { bytes, most });
    }
    let found = size(file).ok_or(NotThePicture::NotJpeg { bytes })?;
    let asked = picture.size();
    let fits = match picture {
        Picture::Cover { .. } => (1..=asked.0).contains(&found.0) && (1..=asked.1).contains(&found.1),
        Picture::Poster { .. } | Picture::Sheet { .. } => found == asked,
    };
    if fits { Ok(()) } else { Err(NotThePicture::Size { found, asked }) }
}

/// Width and height by the frame header of a baseline file (ISO/IEC 10918-1 §B.2.2) that begins and ends as one does.
fn size(file: &[u8]) -> Option<(u32, u32)> {
    let mut rest = file.strip_prefix(&[0xFF, 0xD8])?.strip_suffix(&[0xFF, 0xD9])?;
    loop {
        let (&[0xFF, marker, high, low], after) = rest.split_first_chunk::<4>()? else { return None };
        // The length counts its own two bytes.
        let segment = after.get(..usize::from(u16::from_be_bytes([high, low])).checked_sub(2)?)?;
        match (marker, segment) {
            (0xC0, [_, h1, h0, w1, w0, ..]) => {
                return Some((u16::from_be_bytes([*w1, *w0]).into(), u16::from_be_bytes([*h1, *h0]).into()));
            }
            // Scan data before a frame header, or a frame that players need not know.
            (0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF | 0xDA, _) => return None,
            _ => rest = after.get(segment.len()..)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(width: u16, height: u16) -> Vec<u8> {
        let [w, h] = [width, height].map(u16::to_be_bytes);
        [
            &[0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xC0, 0, 11, 8][..],
            &h,
            &w,
            &[1, 1, 0x11, 0, 0xFF, 0xDA, 0, 2, 7, 7, 0xFF, 0xD9],
        ]
        .concat()
    }

    #[test]
    fn only_a_whole_file_of_the_size_asked_for_is_the_picture() {
        let poster = Picture::Poster { width: 640, height: 360 };
        let cover = Picture::Cover { width: 1280, height: 720 };
        assert_eq!(check_jpeg(&poster, &file(640, 360)), Ok(()));
        let size = NotThePicture::Size { found: (360, 640), asked: (640, 360) };
        assert_eq!(check_jpeg(&poster, &file(360, 640)), Err(size));
        assert_eq!(check_jpeg(&cover, &file(700, 700)), Ok(()));
        assert!(check_jpeg(&cover, &file(721, 721)).is_err());
        assert_eq!(check_jpeg(&cover, &[]), Ok(()));
        assert_eq!(check_jpeg(&poster, &[]), Err(NotThePicture::NotJpeg { bytes: 0 }));
        let cut = &file(640, 360)[..25];
        assert_eq!(check_jpeg(&poster, cut), Err(NotThePicture::NotJpeg { bytes: 25 }));
        let large = NotThePicture::TooLarge { bytes: 1_000_001, most: 1_000_000 };
        assert_eq!(check_jpeg(&poster, &vec![0; 1_000_001]), Err(large));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(middle in prop::collection::vec(prop_oneof![Just(0xFF_u8), Just(0xC0), Just(0), any::<u8>()], 0..60)) {
            let _ = size(&[&[0xFF, 0xD8][..], &middle, &[0xFF, 0xD9]].concat());
            let _ = size(&middle);
        }
    }
}
