//! The name of an image: what can be read is printed so that it reads as the same, fits itself, and leads nowhere but to a
//! registry's paths.

use podling::image::Reference;
use podling::image::platform::Platform;
use podling::image::reference::{LOCALHOST, is_short};

/// A name; after a newline, perhaps, what a person types to find it.
pub fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (name, typed) = text.split_once('\n').unwrap_or((text, text));
    for read in [name.parse::<Reference>(), Reference::in_registry(LOCALHOST, name)].into_iter().flatten() {
        let printed = read.to_string();
        assert_eq!(printed.parse::<Reference>().ok().as_ref(), Some(&read), "{printed}");
        assert!(!is_short(&printed), "{printed} leaves its registry open");
        assert_eq!(read.fits(&printed), Some(0), "{printed} does not fit itself");
        let parts = || read.registry.split('/').chain(read.repository.split('/'));
        assert!(parts().all(|part| !part.is_empty() && part != "." && part != ".."), "{printed} leads elsewhere");
        assert!(read.version().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'), "{printed}");
        if read.fits(typed) == Some(0) {
            assert!(!is_short(typed), "{typed:?} says no registry, and is said to say all");
        }
    }
    if let Ok(platform) = name.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().ok(), Some(platform));
    }
}
