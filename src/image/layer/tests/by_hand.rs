//! Tar files made by hand, so that they may be as wrong as a stranger's: a header of 512 bytes, data, and zeros to the next
//! multiple of 512.

use std::io::Write;

/// A tar file in the making.
#[derive(Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// Adds an entry as root's, of mode 0644 (0755 for a directory), with mtime 1,700,000,000.
    pub fn add(&mut self, kind: u8, path: &str, link: &str, data: &[u8]) -> &mut Self {
        self.add_as(kind, path, link, data, if kind == b'5' { 0o755 } else { 0o644 }, 0)
    }

    pub fn add_as(&mut self, kind: u8, path: &str, link: &str, data: &[u8], mode: u32, id: u32) -> &mut Self {
        let mut block = [0; 512];
        let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, path);
        put(100, &format!("{mode:07o}"));
        put(108, &format!("{id:07o}"));
        put(116, &format!("{id:07o}"));
        put(124, &format!("{:011o}", data.len()));
        put(136, &format!("{:011o}", 1_700_000_000));
        put(157, link);
        put(257, "ustar\x0000");
        block[156] = kind;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend(block);
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(&mut self, path: &str, data: &[u8]) -> &mut Self {
        self.add(b'0', path, "", data)
    }

    pub fn pax(&mut self, records: &[(&str, &[u8])]) -> &mut Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let length = (body + 1..body + 8).find(|l| l.to_string().len() + body == *l).expect("a length");
            write!(bytes, "{length} {key}=").expect("writes");
            bytes.extend(*value);
            bytes.push(b'\n');
        }
        self.add(b'x', "PaxHeaders/x", "", &bytes)
    }

    pub fn bytes(&self) -> Vec<u8> {
        [&self.0[..], &[0; 1024]].concat()
    }
}
