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

# needs WHY PROGRAM:DEB:RPM…: installs the packages of the programs that are missing, by apt or dnf, with sudo if we are not
# root. Without a known package manager it names what is missing, and ends.
#
# Twice if need be: a package may push another one out that the list also names (Debian 12's QEMU does so with the qemu-utils
# of its backports), and only a second look sees it.
needs() {
  local why=$1 packages sudo=() round
  shift
  for round in 1 2 3; do
    mapfile -t packages < <(missing "$@")
    [ ${#packages[@]} -gt 0 ] || return 0
    [ $round -lt 3 ] || break
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    if command -v apt-get >/dev/null; then
      echo "Installing $why: ${sudo[*]} apt-get install ${packages[*]}" >&2
      "${sudo[@]}" apt-get -qq update
      "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${packages[@]}" </dev/null >/dev/null || break
    elif command -v dnf >/dev/null; then
      echo "Installing $why: ${sudo[*]} dnf install ${packages[*]}" >&2
      "${sudo[@]}" dnf -q -y install "${packages[@]}" </dev/null || break
    else
      break
    fi
  done
  echo "Please install $why: ${packages[*]}" >&2
  return 1
}

# Rust of at least the version that Cargo.toml names, from the distribution's rustup, and the C toolchain that links.
needs_rust() {
  local wanted have
  [ ! -f "$HOME/.cargo/env" ] || . "$HOME/.cargo/env"
  needs "a C compiler, which links Rust programs" cc:gcc:gcc ld:binutils:binutils
  needs "the C library's headers" /usr/include/stdio.h:libc6-dev:glibc-devel
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  have=$(cargo --version 2>/dev/null | cut -d' ' -f2)
  [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -1)" = "$wanted" ] && [ -n "$have" ] && return 0
  echo "podling needs Rust $wanted; here is ${have:-none}." >&2
  command -v rustup >/dev/null || command -v rustup-init >/dev/null || needs "Rust's installer" rustup:rustup:rustup || {
    echo "Install Rust as https://rustup.rs says, then try again." >&2
    return 1
  }
  if command -v rustup >/dev/null; then rustup default stable; else rustup-init -y -q && . "$HOME/.cargo/env"; fi
}

# Docker's programs, with which the tests compare, into target/docker. They are unpacked, not installed: nobody's machine gets
# a daemon for it. Where there is no apt the tests say what they skip.
unpack_docker() {
  local dir package packages=()
  [ ! -x target/docker/dockerd ] || return 0
  command -v apt-get >/dev/null || { echo "no apt-get: without Docker"; return 0; }
  for package in docker.io docker-cli containerd; do # Debian 12 has the client in docker.io
    ! apt-cache show $package >/dev/null 2>&1 || packages+=($package)
  done
  dir=$(mktemp -d) && (cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}") || return 1
  for package in "$dir"/*.deb; do dpkg-deb --extract "$package" "$dir"; done
  mkdir -p target/docker
  mv "$dir"/usr/bin/{docker,containerd,containerd-shim-runc-v2} "$dir"/usr/sbin/dockerd target/docker/
  rm -rf "$dir"
}
