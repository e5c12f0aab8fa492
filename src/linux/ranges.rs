//! Lists of processors and memory nodes as the kernel and people write them: `0-3,7`.

use std::collections::BTreeSet;

/// No machine has more; whoever writes a larger number would fill our memory.
const MOST: usize = 8191;

/// The numbers of a list; `None` if it is none. An empty list has none.
pub fn parse(list: &str) -> Option<BTreeSet<usize>> {
    let mut numbers = BTreeSet::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// As a bit mask of 64-bit words, lowest first, which is how system calls take it.
pub fn words(numbers: &BTreeSet<usize>) -> Vec<u64> {
    let mut words = vec![0; numbers.last().map_or(0, |last| last / 64 + 1)];
    for number in numbers {
        words[number / 64] |= 1 << (number % 64);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_the_kernel_reads_it() {
        assert_eq!(parse("0-2,5\n").map(|found| found.into_iter().collect::<Vec<_>>()), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse(""), Some(BTreeSet::new()));
        for wrong in ["a", "3-1", "0-99999999", "-1", "1-", "1;2"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(words(&BTreeSet::from([0, 1, 64])), [3, 1]);
    }
}
