# Sourced by ../try and ../test: brings a fresh Debian, Ubuntu or Fedora to what they need, after saying so.

# missing PROGRAM:DEB:RPM…: prints the packages of the programs that are not there (or of the files, if it is a path).
missing() {
  local entry program deb rpm
  for entry; do
    IFS=: read -r program deb rpm <<<"$entry"
    case $program in
      /*) [ ! -e "$program" ] || continue ;;
      *) ! PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || continue ;;
    esac
    if command -v apt-get >/dev/null; then echo "$deb"; else echo "${rpm:-$deb}"; fi
  done
}

# What compiles and links, besides Rust; and whom cargo may believe to be crates.io.
building=(cc:gcc:gcc ld:binutils:binutils /usr/include/stdio.h:libc6-dev:glibc-devel)
[ -d /etc/pki/ca-trust ] || building+=(/etc/ssl/certs/ca-certificates.crt:ca-certificates:ca-certificates)

# needs WHY PROGRAM:DEB:RPM…: installs the packages of the programs that are missing, after saying so.
#
# Twice if need be: a package may push another one out that the list also names (Debian 12's QEMU does so with the qemu-utils
# of its backports), and only a second look sees it.
needs() {
  local why=$1 packages round
  shift
  for round in 1 2 3; do
    mapfile -t packages < <(missing "$@")
    [ ${#packages[@]} -gt 0 ] || return 0
    [ $round -lt 3 ] || break
    install_packages "$why" "${packages[@]}" || return 1
  done
  echo "Still missing of $why: ${packages[*]}" >&2
  return 1
}

# install_packages WHY PACKAGE…: by apt or dnf; with sudo if we are not root. Who may not install hears whom to ask for what.
install_packages() {
  local why=$1 line manager=apt-get sudo=()
  shift
  command -v apt-get >/dev/null || manager=dnf
  line="$manager install $*"
  if ! command -v $manager >/dev/null; then
    echo "Please install $why, by your distribution's names for: $*" >&2
    return 1
  fi
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Missing: $why. You are not root, and there is no sudo. Please ask whoever administers this machine for: $line" >&2
      return 1
    fi
    sudo=(sudo)
  fi
  echo "Installing $why: ${sudo[*]:+sudo }$line" >&2
  refresh
  if [ $manager = apt-get ]; then
    # A fresh Ubuntu updates itself in its first minutes, and locks the rest out.
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@" \
      </dev/null >/dev/null && return
  else
    "${sudo[@]}" dnf -q -y install "$@" </dev/null && return
  fi
  echo "That failed. If you may not install, please ask whoever administers this machine for: $line" >&2
  return 1
}

# Reads the lists of packages anew, once. One of somebody's many sources may be broken: the old lists do for the others.
refresh() {
  [ -z "${refreshed:-}" ] || return 0
  refreshed=yes
  ! command -v apt-get >/dev/null || "${sudo[@]}" apt-get -qq update || echo "Going on with the lists of packages that are here." >&2
}

# offered PACKAGE: the version that the distribution offers, if any.
offered() {
  if command -v apt-get >/dev/null; then
    LC_ALL=C apt-cache policy "$1" | sed -n 's/^  Candidate: \([0-9][0-9.]*\).*/\1/p'
  elif command -v dnf >/dev/null; then
    dnf -q repoquery --latest-limit=1 --qf '%{version}\n' "$1" 2>/dev/null | head -1 || true
  fi
}

# Whether version $1 is there and no older than $2.
at_least() { [ -n "$1" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -1)" = "$2" ]; }

# Rust of at least the version that Cargo.toml names: what is here, else the distribution's own, else by the distribution's
# rustup; and what links its programs.
needs_rust() {
  local wanted have
  [ ! -f "$HOME/.cargo/env" ] || . "$HOME/.cargo/env"
  needs "what links Rust programs" "${building[@]}" || return 1
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  rust_here() { { cargo --version 2>/dev/null || true; } | cut -d' ' -f2; }
  have=$(rust_here)
  ! at_least "$have" "$wanted" || return 0
  echo "podling needs Rust $wanted or newer; here is ${have:-none}." >&2
  if at_least "$(offered cargo)" "$wanted" && ! command -v rustup >/dev/null; then
    install_packages Rust cargo || true
  elif command -v rustup >/dev/null || command -v rustup-init >/dev/null; then
    use_rustup || true
  elif [ -n "$(offered rustup)" ]; then
    install_packages "Rust's installer" rustup && use_rustup || true
  fi
  hash -r
  ! at_least "$(rust_here)" "$wanted" || return 0
  echo "Install Rust as https://rustup.rs says (it needs no administrator), then try again." >&2
  return 1
}

# The newest stable Rust, for this command only if another is the default already.
use_rustup() {
  if ! command -v rustup >/dev/null; then
    rustup-init -y -q && . "$HOME/.cargo/env"
  elif rustup default >/dev/null 2>&1; then
    rustup toolchain install --no-self-update stable && export RUSTUP_TOOLCHAIN=stable
  else
    rustup default stable
  fi
}

# Docker's programs, and containerd's client, into target/docker, for the tests. They are unpacked, not installed: nobody's
# machine gets a daemon for it. Where there is no apt the tests say what they skip.
unpack_docker() {
  local dir package packages=()
  [ ! -x target/docker/ctr ] || return 0
  command -v apt-get >/dev/null || { echo "no apt-get: without Docker"; return 0; }
  for package in docker.io docker-cli containerd; do # Debian 12 has the client in docker.io
    ! apt-cache show $package >/dev/null 2>&1 || packages+=($package)
  done
  dir=$(mktemp -d) && (cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}") || return 1
  for package in "$dir"/*.deb; do dpkg-deb --extract "$package" "$dir"; done
  mkdir -p target/docker
  mv "$dir"/usr/bin/{docker,containerd,containerd-shim-runc-v2,ctr} "$dir"/usr/sbin/dockerd target/docker/
  rm -rf "$dir"
}
