//! Pulling and unpacking a large image of many layers from a registry on loopback.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::command::succeed;
use crate::contender::Engine;
use crate::measure::Report;
use crate::stage::Stage;
use crate::{is_installed, skip};

/// In each layer: small files as in a package, and one large file of half-compressible content.
const LAYERS: u32 = 40;
const FILES: u32 = 400;
const LARGE: usize = 8 << 20;

/// Times `pull` of the image by each engine; the image is removed before each round.
pub fn compare(stage: &Stage, report: &Report, engines: &[Engine]) -> Result<()> {
    for program in ["skopeo", "docker-registry"] {
        if !is_installed(program) {
            skip("pull", &format!("{program} is not installed"));
            return Ok(());
        }
    }
    let registry = Registry::start(&stage.dir.join("registry"))?;
    let reference = format!("127.0.0.1:{}/large:latest", registry.port);
    let layout = large_image(&stage.dir.join("large"))?;
    succeed({
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]);
        skopeo.arg(format!("dir:{}", layout.display())).arg(format!("docker://{reference}"));
        skopeo
    })?;
    let megabytes = u64::from(LAYERS) * LARGE as u64 / 1_000_000;
    let title = format!("pull and unpack {LAYERS} layers, {} files, over {megabytes} MB (rootless)", LAYERS * FILES);
    report.compare_prepared(
        &title,
        3,
        Engine::stores(engines),
        |engine| {
            // The first time it is not there.
            let _ = succeed(engine.command(&["rmi", "--force", &reference]));
            Ok(())
        },
        |engine| succeed(engine.command(&["pull", "--quiet", "--tls-verify=false", &reference])),
    )
}

/// A docker-registry that ends with this value.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    fn start(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = dir.join("config.yml");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
                dir.join("data").display()
            ),
        )?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting docker-registry")?;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Ok(Self { child, port })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the image as skopeo's `dir:` form: manifest.json, and the blobs by their digests.
fn large_image(dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for layer in 0..LAYERS {
        let plain = layer_tar(layer)?;
        diff_ids.push(format!("sha256:{}", digest(&plain)));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        gzip.write_all(&plain)?;
        layers.push(blob(dir, "application/vnd.oci.image.layer.v1.tar+gzip", &gzip.finish()?)?);
    }
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = blob(dir, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers,
    });
    std::fs::write(dir.join("manifest.json"), manifest.to_string())?;
    std::fs::write(dir.join("version"), "Directory Transport Version: 1.1\n")?;
    Ok(dir.to_owned())
}

fn layer_tar(layer: u32) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: String, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, path, content)
    };
    for file in 0..FILES {
        let text = format!("layer {layer}, file {file}\n").repeat(40 + (file as usize % 7) * 20);
        add(format!("usr/share/layer{layer}/part{}/file{file}", file % 20), text.as_bytes())?;
    }
    // A linear congruential generator's high bytes do not compress; every second byte is made to.
    let mut state = u64::from(layer) + 1;
    let large: Vec<u8> = (0..LARGE)
        .map(|index| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if index % 2 == 0 { (state >> 56) as u8 } else { b'x' }
        })
        .collect();
    add(format!("usr/lib/large{layer}.so"), &large)?;
    Ok(builder.into_inner()?)
}

fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    format!("{:x}", Sha256::digest(bytes))
}

/// Stores a blob under its digest and returns its descriptor.
fn blob(dir: &Path, media_type: &str, bytes: &[u8]) -> Result<serde_json::Value> {
    let digest = digest(bytes);
    std::fs::write(dir.join(&digest), bytes)?;
    Ok(serde_json::json!({"mediaType": media_type, "size": bytes.len(), "digest": format!("sha256:{digest}")}))
}
