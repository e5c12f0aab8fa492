//! Images put together by the tests: a few files become layers, layers an OCI image layout, the layout one tar.
//!
//! podling has code for this too, and the tests of images must not trust it; so this is a second, simpler writer.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A layer: the bytes of a tar archive, not compressed.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

impl Layer {
    pub fn new() -> Self {
        Self { tar: tar::Builder::new(Vec::new()) }
    }

    fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header
    }

    pub fn dir(mut self, path: &str, mode: u32) -> Self {
        let mut header = Self::header(tar::EntryType::Directory, mode, 0);
        self.tar.append_data(&mut header, path, std::io::empty()).expect("writing to memory");
        self
    }

    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.file_of(path, mode, 0, content)
    }

    /// A file that belongs to somebody.
    pub fn file_of(mut self, path: &str, mode: u32, uid: u64, content: impl AsRef<[u8]>) -> Self {
        let mut header = Self::header(tar::EntryType::Regular, mode, content.as_ref().len());
        header.set_uid(uid);
        header.set_gid(uid);
        self.tar.append_data(&mut header, path, content.as_ref()).expect("writing to memory");
        self
    }

    pub fn link(mut self, path: &str, target: &str) -> Self {
        let mut header = Self::header(tar::EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, path, target).expect("writing to memory");
        self
    }

    pub fn fifo(mut self, path: &str, mode: u32) -> Self {
        let mut header = Self::header(tar::EntryType::Fifo, mode, 0);
        self.tar.append_data(&mut header, path, std::io::empty()).expect("writing to memory");
        self
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.hard_link_of(path, target, 0o644, 0)
    }

    /// A hard link that says of its target what the target's own entry says: others than we believe it.
    pub fn hard_link_of(mut self, path: &str, target: &str, mode: u32, uid: u64) -> Self {
        let mut header = Self::header(tar::EntryType::Link, mode, 0);
        header.set_uid(uid);
        header.set_gid(uid);
        self.tar.append_link(&mut header, path, target).expect("writing to memory");
        self
    }

    /// Gives the next entry an extended attribute.
    pub fn attribute(mut self, name: &str, value: &[u8]) -> Self {
        let rest = [format!(" SCHILY.xattr.{name}=").as_bytes(), value, b"\n"].concat();
        // The length counts its own digits: two, for all that tests write.
        let record = [(rest.len() + 2).to_string().as_bytes(), &rest].concat();
        let mut header = Self::header(tar::EntryType::XHeader, 0o644, record.len());
        self.tar.append_data(&mut header, "attributes", &record[..]).expect("writing to memory");
        self
    }

    /// An entry whose header is the caller's, for archives that no sound program writes.
    #[allow(dead_code)]
    pub fn raw(mut self, header: &tar::Header, content: &[u8]) -> Self {
        self.tar.append(header, content).expect("writing to memory");
        self
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.tar.into_inner().expect("writing to memory")
    }
}

/// An OCI image layout in memory.
pub struct Layout {
    blobs: HashMap<String, Vec<u8>>,
    /// The descriptor that a name will point at: a manifest, or an index of them.
    pub root: Value,
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// The machine's architecture in OCI's (Go's) words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Layout {
    /// One image: these layers, bottom first, and this `config` (Entrypoint, Cmd, Env, …).
    pub fn new(layers: Vec<Layer>, config: &Value) -> Self {
        Self::for_architecture(architecture(), layers, config)
    }

    fn for_architecture(architecture: &str, layers: Vec<Layer>, config: &Value) -> Self {
        let mut layout = Self { blobs: HashMap::new(), root: Value::Null };
        let mut diff_ids = Vec::new();
        let mut descriptors = Vec::new();
        let mut history = Vec::new();
        for (number, layer) in layers.into_iter().enumerate() {
            let tar = layer.into_bytes();
            diff_ids.push(digest(&tar));
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&tar).expect("writing to memory");
            let gzip = gzip.finish().expect("writing to memory");
            descriptors.push(layout.put("application/vnd.oci.image.layer.v1.tar+gzip", gzip));
            history.push(json!({"created": "2026-11-23T00:00:00Z", "created_by": format!("layer {number}")}));
        }
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2026-11-23T00:00:00Z", "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
        });
        let config = layout.put("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": descriptors});
        layout.root = layout.put(kind, manifest.to_string().into_bytes());
        layout
    }

    /// Keeps a blob and returns its descriptor.
    pub fn put(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        self.blobs.insert(digest, bytes);
        descriptor
    }

    /// An index of this image and the same for an architecture that no machine has.
    fn with_another_architecture(mut self, layers: Vec<Layer>, config: &Value) -> Self {
        let other = Self::for_architecture("vax", layers, config);
        self.blobs.extend(other.blobs);
        let for_platform = |mut descriptor: Value, architecture: &str| {
            descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
            descriptor
        };
        let manifests = [for_platform(other.root, "vax"), for_platform(self.root.clone(), architecture())];
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
        self.root = self.put(kind, index.to_string().into_bytes());
        self
    }

    /// A blob of it.
    pub fn blob(&self, digest: &str) -> &[u8] {
        self.blobs.get(digest).map_or(&[], Vec::as_slice)
    }

    /// Writes the layout as one tar: what `podling load` and skopeo's `oci-archive:` read.
    pub fn write_archive(&self, path: &Path, name: &str) {
        let mut root = self.root.clone();
        root["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        let index = json!({"schemaVersion": 2, "manifests": [root]}).to_string();
        let mut archive = Layer::new()
            .file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("index.json", 0o644, index)
            .dir("blobs", 0o755)
            .dir("blobs/sha256", 0o755);
        for (digest, bytes) in &self.blobs {
            archive = archive.file(&format!("blobs/{}", digest.replace(':', "/")), 0o644, bytes);
        }
        // By rename: another test may look for it.
        let temporary = path.with_extension("new");
        fs::write(&temporary, archive.into_bytes()).unwrap_or_else(|e| panic!("writing {}: {e}", path.display()));
        fs::rename(&temporary, path).expect("the same directory");
    }
}

/// The images that the set-up knows by name.
pub fn stock(name: &str) -> Layout {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let witness = json!({"Entrypoint": ["/witness"], "Cmd": ["true"], "Env": [path]});
    match name {
        // The witness alone. Containers make /proc, /dev, … themselves.
        "witness" => Layout::new(vec![witness_layer()], &witness),
        "every" => {
            Layout::new(vec![witness_layer()], &witness).with_another_architecture(vec![witness_layer()], &witness)
        }
        "busybox" => Layout::new(vec![busybox_layer()], &json!({"Cmd": ["sh"], "Env": [path]})),
        // What a whiteout of each kind must do: /gone is deleted, /replaced has only what the upper layer gives it.
        "layers" => {
            let lower = witness_layer()
                .file("gone", 0o644, "lower\n")
                .file("changed", 0o644, "lower\n")
                .dir("replaced", 0o755)
                .file("replaced/old", 0o644, "lower\n")
                .dir("merged", 0o755)
                .file("merged/old", 0o644, "lower\n");
            let middle = Layer::new()
                .file(".wh.gone", 0o644, "")
                .file("changed", 0o644, "middle\n")
                .dir("replaced", 0o755)
                .file("replaced/.wh..wh..opq", 0o644, "")
                .file("replaced/new", 0o644, "middle\n")
                .dir("merged", 0o755)
                .file("merged/new", 0o644, "middle\n");
            let upper = Layer::new().file("top", 0o600, "upper\n").link("link", "top");
            Layout::new(vec![lower, middle, upper], &witness)
        }
        // Layers with no entry for directories in which they change something.
        "implied" => {
            let lower = busybox_layer().dir("sticky", 0o1777).dir("private", 0o700).dir("gone", 0o700);
            let middle = Layer::new().file("sticky/new", 0o644, "").file("private/sub/new", 0o644, "");
            let middle = middle.file(".wh.gone", 0o644, "");
            let upper = Layer::new().file("gone/back", 0o644, "").file("private/more", 0o644, "");
            Layout::new(vec![lower, middle, upper], &json!({"Cmd": ["sh"], "Env": [path]}))
        }
        // Files of several owners, in two layers; what a change of owners must not lose.
        "owners" => {
            let witness = fs::read(witness_program()).expect("it was compiled");
            let lower = busybox_layer()
                .dir("data", 0o755)
                .file_of("data/one", 0o644, 1, "one\n")
                .file_of("data/thousand", 0o640, 1000, "thousand\n")
                .hard_link("data/link", "data/thousand")
                .file_of("data/changed", 0o644, 7, "lower\n")
                .file("data/gone", 0o644, "")
                .dir("hidden", 0o755)
                .file("hidden/old", 0o644, "")
                .dir("set-uid", 0o755)
                .file_of("set-uid/status", 0o4755, 1, &witness)
                .dir("capable", 0o755)
                .attribute("security.capability", &net_bind_service())
                .file("capable/status", 0o755, &witness);
            let upper = Layer::new()
                .dir("data", 0o755)
                .file_of("data/changed", 0o600, 3000, "upper\n")
                .file("data/.wh.gone", 0o644, "")
                .dir("hidden", 0o755)
                .file("hidden/.wh..wh..opq", 0o644, "")
                .file_of("hidden/new", 0o644, 8, "");
            Layout::new(vec![lower, upper], &json!({"Cmd": ["sh"], "Env": [path]}))
        }
        // What only a careful hand carries over: `sh /look` tells of it.
        "difficult" => {
            let (long, deep) = ("n".repeat(150), ["d"; 3].map(|letter| letter.repeat(90)));
            let longer = deep.join("/");
            let lower = busybox_layer()
                .file("look", 0o755, LOOK)
                .file("witness", 0o755, fs::read(witness_program()).expect("it was compiled"))
                .dir("data", 0o750)
                .file_of("data/thousand", 0o640, 1000, "thousand\n")
                .hard_link_of("data/linked", "data/thousand", 0o640, 1000)
                .file_of("data/set-uid", 0o4755, 1, "set-uid\n")
                .dir("data/sticky", 0o1777)
                .attribute("user.note", b"kept")
                .file("data/noted", 0o644, "")
                .attribute("security.capability", &net_bind_service())
                .file("data/capable", 0o755, "capable\n")
                .file(&format!("data/{long}"), 0o644, "long\n")
                .dir(&format!("data/{}", deep[0]), 0o755)
                .dir(&format!("data/{}", deep[..2].join("/")), 0o755)
                .file(&format!("data/{longer}"), 0o644, "longer\n")
                .link("data/far", &longer)
                .file("data/größe", 0o644, "öl\n")
                .fifo("data/fifo", 0o600)
                .file("data/gone", 0o644, "")
                .dir("data/gone-too", 0o755)
                .file("data/gone-too/deep", 0o644, "")
                .file("data/was-file", 0o644, "")
                .dir("data/was-dir", 0o755)
                .file("data/was-dir/deep", 0o644, "")
                .dir("data/replaced", 0o755)
                .file("data/replaced/old", 0o644, "");
            let upper = Layer::new()
                .dir("data", 0o755)
                .file("data/.wh.gone", 0o644, "")
                .file("data/.wh.gone-too", 0o644, "")
                .dir("data/was-file", 0o700)
                .file("data/was-file/new", 0o644, "")
                .file("data/was-dir", 0o600, "a file\n")
                .dir("data/replaced", 0o711)
                .file("data/replaced/.wh..wh..opq", 0o644, "")
                .file_of("data/replaced/new", 0o644, 3000, "new\n");
            Layout::new(vec![lower, upper], &json!({"Cmd": ["sh", "/look"], "Env": [path]}))
        }
        other => panic!("no stock image is called {other}"),
    }
}

/// A script that tells all that is to be known of `/data`.
const LOOK: &str = "cd /data && find . | sort | while read -r name; do
  stat -c '%n: %F %a %u:%g %Y' \"$name\"
  [ ! -f \"$name\" ] || { stat -c '  %h names, %s bytes' \"$name\"; md5sum < \"$name\"; }
  [ ! -L \"$name\" ] || readlink \"$name\"
done
/witness attribute noted user.note
/witness attribute capable security.capability
";

/// struct vfs_cap_data, version 2: effective, and `CAP_NET_BIND_SERVICE` (10) permitted.
fn net_bind_service() -> Vec<u8> {
    [0x0200_0001_u32, 1 << 10, 0, 0, 0].map(u32::to_le_bytes).concat()
}

fn witness_layer() -> Layer {
    let program = fs::read(witness_program()).expect("it was compiled");
    let root = Layer::new().dir("tmp", 0o1777).dir("etc", 0o755).dir("root", 0o700);
    root.file("etc/passwd", 0o644, "root:x:0:0:root:/root:/witness\nsomebody:x:1000:1000::/home:/witness\n")
        .file("etc/group", 0o644, "root:x:0:\nsomebody:x:1000:\nfriends:x:2000:somebody\n")
        .file("witness", 0o755, program)
}

/// Debian's static busybox.
pub fn busybox() -> &'static Path {
    let busybox = ["/bin/busybox", "/usr/sbin/busybox", "/sbin/busybox"].map(Path::new);
    let busybox = busybox.into_iter().find(|path| path.exists());
    busybox.expect("a static busybox is installed (./test installs what the tests need)")
}

/// The same with a link for each of its programs.
fn busybox_layer() -> Layer {
    let busybox = busybox();
    let list = Command::new(busybox).arg("--list").output().expect("busybox runs");
    let mut layer = Layer::new().dir("bin", 0o755).dir("tmp", 0o1777).dir("etc", 0o755).dir("root", 0o700);
    layer =
        layer.dir("var", 0o755).dir("home", 0o755).file("bin/busybox", 0o755, fs::read(busybox).expect("a program"));
    for name in String::from_utf8_lossy(&list.stdout).lines().filter(|name| *name != "busybox") {
        layer = layer.link(&format!("bin/{name}"), "busybox");
    }
    layer.file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nsomebody:x:1000:1000::/home:/bin/sh\n").file(
        "etc/group",
        0o644,
        "root:x:0:\nsomebody:x:1000:\n",
    )
}

/// The witness.
pub fn witness_program() -> PathBuf {
    if let Some(elsewhere) = crate::setup::elsewhere() {
        return elsewhere.join("witness");
    }
    let flags = ["-Cpanic=abort", "-Ctarget-feature=+crt-static"];
    compiled("witness", include_str!("../witness/witness.rs"), &flags)
}

/// A program (or library) of one file, compiled unless this very source has been compiled before.
pub fn compiled(name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let key = &digest(source.as_bytes())["sha256:".len()..][..16];
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{key}"));
    if !program.exists() {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo's directory for tests");
        let (from, to) = (dir.path().join(format!("{name}.rs")), dir.path().join(name));
        fs::write(&from, source).expect("our own directory");
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(compiler);
        command.args(["--edition=2024", "-Copt-level=s", "-Cstrip=symbols"]).args(flags);
        let made = command.arg("-o").arg(&to).arg(&from).status();
        assert!(made.is_ok_and(|status| status.success()), "compiling {name}");
        fs::rename(&to, &program).expect("the same directory");
    }
    program
}
