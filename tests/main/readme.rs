//! The README's transcript, held true as the book's are: its commands are run, and what they print must be what it shows.

use crate::book::page::Page;
use crate::book::transcript;

both!(the_transcript_is_true, |world| {
    transcript::check(world, &Page::read("README.md"));
});
