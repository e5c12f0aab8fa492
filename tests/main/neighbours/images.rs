//! Images both ways: what podling stores is taken by Podman, Buildah and containerd, what these store by podling, in every
//! archive and through a registry; and a container of it sees the same files, whoever unpacked them.

use crate::podman::Podman;
use crate::world::World;

use super::buildah::Buildah;
use super::containerd::Containerd;

/// An image with all that is easily lost, and what a container of ours sees of it.
struct Difficult<'a> {
    world: &'a World,
    id: String,
    seen: String,
}

impl<'a> Difficult<'a> {
    fn new(world: &'a World) -> Self {
        let image = world.image("difficult");
        let id = world.podling(["images", "-q", "--no-trunc"]).ok().to_owned();
        let seen = world.podling(["run", "--rm", "--network=none", image]).ok().to_owned();
        Self { world, id, seen }
    }

    /// A path in this world for an archive.
    fn path(&self, name: &str) -> String {
        self.world.dir.join(name).display().to_string()
    }

    /// Saves it to an archive or directory; its path.
    fn save(&self, format: &str) -> String {
        let path = self.path(&format!("ours-{format}"));
        self.world.podling(["save", "-q", "--format", format, "-o", &path, "localhost/difficult"]).ok();
        path
    }

    /// Forgets it, has `bring` bring it back under a name, and compares.
    fn comes_back(&self, how: &str, name: &str, bring: impl FnOnce()) {
        self.world.podling(["rmi", "-a"]).ok();
        bring();
        assert_eq!(self.world.podling(["images", "-q", "--no-trunc"]).ok(), self.id, "{how}");
        self.is_seen(how, self.world.podling(["run", "--rm", "--network=none", name]).ok());
    }

    #[track_caller]
    fn is_seen(&self, how: &str, by_another: &str) {
        assert_eq!(by_another, self.seen, "{how}");
    }

    /// Has containerd run it under this name, and compares.
    #[track_caller]
    fn is_seen_with(&self, how: &str, containerd: &Containerd, name: &str) {
        let out = self.world.directory("out");
        let mount = format!("--mount=type=bind,src={},dst=/out,options=rbind:rw", out.display());
        let look = ["sh", "-c", "sh /look > /out/seen"];
        containerd.call(&Containerd::run_words(&["--rm", &mount], name, "box", &look)).ok();
        let seen = std::fs::read_to_string(out.join("seen")).expect("written by the container");
        self.is_seen(how, seen.trim_end());
    }
}

const FORMATS: [(&str, &str); 3] =
    [("docker-archive", "docker-archive"), ("oci-archive", "oci-archive"), ("oci-dir", "oci")];

both!(archives_go_to_podman_and_back_whole, |world| {
    let (image, podman) = (Difficult::new(world), Podman::new(world));
    for (format, _) in FORMATS {
        let (ours, theirs) = (image.save(format), image.path(&format!("theirs-{format}")));
        // It names a directory's image after the directory.
        let loaded = podman.call(&["load", "-q", "-i", &ours]);
        let name = loaded.ok().rsplit(' ').next().expect("a name");
        image.is_seen(format, podman.call(&["run", "--rm", "--network=none", name]).ok());
        podman.call(&["tag", name, "localhost/difficult"]).ok();
        podman.call(&["save", "-q", "--format", format, "-o", &theirs, "localhost/difficult"]).ok();
        podman.call(&["rmi", "-af"]).ok();
        image.comes_back(format, "localhost/difficult", || drop(world.podling(["load", "-q", "-i", &theirs])));
    }
});

both!(archives_go_to_buildah_and_back_whole, |world| {
    let (image, buildah) = (Difficult::new(world), Buildah::new(world));
    for (format, transport) in FORMATS {
        let (ours, theirs) = (image.save(format), image.path(&format!("theirs-{format}")));
        let name = if format == "oci-dir" { ":localhost/difficult:latest" } else { "" };
        let pulled = buildah.call(&["pull", "-q", &format!("{transport}:{ours}{name}")]);
        let container = buildah.from(pulled.ok());
        image.is_seen(format, buildah.run(&[], &container, &["sh", "/look"]).ok());
        let to = format!("{transport}:{theirs}:localhost/difficult:latest");
        buildah.call(&["push", "-q", pulled.ok(), &to]).ok();
        buildah.call(&["rm", &container]).ok();
        buildah.call(&["rmi", "-af"]).ok();
        image.comes_back(format, "localhost/difficult", || drop(world.podling(["load", "-q", "-i", &theirs])));
    }
});

both!(archives_go_to_containerd_and_back_whole, |world| {
    let image = Difficult::new(world);
    let Some(containerd) = Containerd::start(world) else { return };
    for format in ["docker-archive", "oci-archive"] {
        let (ours, theirs) = (image.save(format), image.path(&format!("theirs-{format}")));
        containerd.call(&["images", "import", &ours]).ok();
        // Docker's short form of this name would be `difficult:1`, which with us is one of localhost's.
        let name = "docker.io/library/difficult:1";
        containerd.call(&["images", "tag", "localhost/difficult:latest", name]).ok();
        image.is_seen_with(format, &containerd, name);
        containerd.call(&["images", "export", &theirs, name]).ok();
        containerd.call(&["images", "rm", "localhost/difficult:latest", name]).ok();
        image.comes_back(format, name, || drop(world.podling(["load", "-q", "-i", &theirs])));
        world.podling(["tag", name, "localhost/difficult"]).ok();
    }
});

// A registry is what all have in common: what one has pushed another pulls, in each form that we push.
both!(what_one_pushes_to_a_registry_another_pulls, |world| {
    let (image, podman, buildah) = (Difficult::new(world), Podman::new(world), Buildah::new(world));
    let Some(containerd) = Containerd::start(world) else { return };
    let registry = world.registry();
    let name = |by: &str| format!("{registry}/difficult-for-{:?}:{by}", world.who).to_lowercase();
    let forms: [(&str, &[&str]); 3] =
        [("gzip", &[]), ("zstd", &["--compression-format=zstd"]), ("docker", &["--format=v2s2"])];
    for (form, flags) in forms {
        let (ours, by_podman, by_buildah, by_ctr) = (
            name(&format!("podling-{form}")),
            name(&format!("podman-{form}")),
            name(&format!("buildah-{form}")),
            name(&format!("ctr-{form}")),
        );
        world.podling([&["push", "-q"], flags, &["localhost/difficult", &ours]].concat()).ok();
        podman.call(&["pull", "-q", "--tls-verify=false", &ours]).ok();
        image.is_seen(form, podman.call(&["run", "--rm", "--network=none", &ours]).ok());
        podman.call(&[&["push", "-q", "--tls-verify=false"], flags, &[&ours, &by_podman]].concat()).ok();
        buildah.call(&["pull", "-q", "--tls-verify=false", &ours]).ok();
        let container = buildah.from(&ours);
        image.is_seen(form, buildah.run(&[], &container, &["sh", "/look"]).ok());
        buildah.call(&["push", "-q", "--tls-verify=false", &ours, &by_buildah]).ok();
        containerd.call(&["images", "pull", "--plain-http", &ours]).ok();
        image.is_seen_with(form, &containerd, &ours);
        containerd.call(&["images", "push", "--plain-http", &by_ctr, &ours]).ok();
        for theirs in [by_podman, by_buildah, by_ctr] {
            image.comes_back(&theirs, &theirs, || drop(world.podling(["pull", "-q", &theirs])));
        }
        world.podling(["tag", &name(&format!("ctr-{form}")), "localhost/difficult"]).ok();
    }
});

both!(what_skopeo_compresses_anew_is_the_same_image, |world| {
    let image = Difficult::new(world);
    let from = format!("oci:{}:localhost/difficult:latest", image.save("oci-dir"));
    for format in ["gzip", "zstd"] {
        let theirs = image.path(&format!("theirs-{format}"));
        let compress = format!("--dest-compress-format={format}");
        let to = format!("oci-archive:{theirs}:localhost/difficult:latest");
        world.program("skopeo", ["--insecure-policy", "copy", "-q", &compress, &from, &to]).ok();
        image.comes_back(format, "localhost/difficult", || drop(world.podling(["load", "-q", "-i", &theirs])));
        let layers =
            world.podling(["save", "-q", "--format=oci-dir", "-o", &image.path(format), "localhost/difficult"]);
        layers.ok();
        let blobs = std::fs::read_dir(image.path(&format!("{format}/blobs/sha256"))).expect("a layout");
        let magic: &[u8] = if format == "zstd" { &[0x28, 0xb5, 0x2f, 0xfd] } else { &[0x1f, 0x8b] };
        let compressed = blobs.filter(|blob| {
            let path = blob.as_ref().expect("readable").path();
            std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(magic))
        });
        assert_eq!(compressed.count(), 2, "{format}");
    }
});
