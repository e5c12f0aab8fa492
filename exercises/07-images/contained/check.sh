# A directory with ROOT in it and what is outside, and room for layers. All is the student's, so that he could spoil it.
place() {
  needs_user_namespaces
  mkdir -m 777 place && cd place || exit
  # Whoever checks as root unpacks as somebody else: an answer that is wrong would write to the machine.
  cp "$PROGRAM_FILE" ../contained && chmod 755 ../contained
  ordinary mkdir root outside
  echo precious | ordinary tee outside/file >outside.was
  ordinary chmod 600 outside/file
  echo stranger >loot
}

# pack NAME [LINK]: adds an entry to layer.tar: the file loot, or a symlink that leads to LINK.
pack() {
  local what=loot
  [ $# = 1 ] || { ln -sfn "$2" link; what=link; }
  tar --format=ustar --owner=0 --group=0 --no-recursion -rPf layer.tar --transform "flags=r;s,.*,$1," $what
}

# unpack: runs the program; its exit status is in $got.
unpack() {
  got=$(status ordinary ../contained root <layer.tar)
  rm layer.tar
}

# untouched HOW: wrong if anything outside is another.
untouched() {
  [ ! -e outside/new ] && [ ! -e new ] || wrong "a layer has written a file outside of ROOT, $1"
  [ "$(cat outside/file)" = precious ] || wrong "a layer has written to a file that is outside of ROOT, $1"
}

# content FILE TEXT: of a file in ROOT.
content() { [ -f "root/$1" ] && [ ! -L "root/$1" ] && [ "$(cat "root/$1")" = "$2" ]; }

honest() {
  local got
  place
  mkdir -p usr/bin usr/lib
  chmod 755 usr/bin && chmod 750 usr/lib
  echo program >usr/bin/sh
  chmod 755 usr/bin/sh
  ln usr/bin/sh usr/bin/dash
  tar --format=ustar -cf layer.tar usr
  pack bin usr/bin
  pack lib /usr/lib
  pack bin/loot
  pack lib/loot
  pack usr/bin/ash sh
  unpack
  [ "$got" = 0 ] || wrong "an honest layer is refused: the exit status is $got"
  content usr/bin/sh program || wrong "an honest layer: usr/bin/sh is not what the layer has"
  same "the mode of usr/bin/sh" 755 "$(stat -c %a root/usr/bin/sh)"
  same "the mode of the directory usr/lib" 750 "$(stat -c %a root/usr/lib)"
  same "how many names usr/bin/sh has, which has a hard link," 2 "$(stat -c %h root/usr/bin/sh)"
  [ "$(readlink root/bin) $(readlink root/lib)" = "usr/bin /usr/lib" ] || wrong "the symlinks bin and lib are not as the layer has them"
  content usr/bin/loot stranger || wrong "bin leads to usr/bin, and the entry bin/loot is not usr/bin/loot"
  content usr/lib/loot stranger || wrong "lib leads to /usr/lib of the container, and the entry lib/loot is not usr/lib/loot below ROOT"
  # A later layer.
  pack usr/bin/ash
  unpack
  content usr/bin/ash stranger || wrong "a file in the place of a symlink is not that file"
  content usr/bin/sh program || wrong "a file in the place of a symlink was written to where the link leads"
}

names() {
  local got
  place
  pack ../outside/new
  unpack
  untouched "by .."
  pack usr/../../new
  unpack
  untouched "by .. in the middle of a name"
  pack "$PWD/outside/new"
  unpack
  untouched "by an absolute name"
}

links() {
  local got
  place
  pack way ../outside
  pack way/new
  unpack
  untouched "by way of a symlink"
  pack far "$PWD/outside"
  pack far/new
  unpack
  untouched "by way of an absolute symlink"
  pack one two
  pack two ../outside
  pack one/new
  unpack
  untouched "by way of two symlinks"
  pack file ../outside/file
  pack file
  unpack
  untouched "by way of a symlink with the file's own name"
  # One that an earlier layer has left.
  ordinary ln -s ../outside root/before
  pack before/new
  unpack
  untouched "by way of a symlink that was there before"
}

hard_links() {
  local got target
  place
  for target in ../outside/file "$PWD/outside/file"; do
    # tar names a hard link's target as it named the first of the two.
    ln outside/file stolen
    tar --format=ustar -cPf layer.tar --transform "flags=rh;s,^outside/file\$,$target," outside/file stolen 2>errors || unfit "tar cannot make such a layer: $(cat errors)" "install GNU tar"
    rm stolen
    tar --format=ustar -Pf layer.tar --delete "$target"
    unpack
    [ ! root/stolen -ef outside/file ] || wrong "into ROOT a file was linked that is outside: whoever may write there writes it"
    untouched "by a hard link"
    rm -f root/stolen
  done
  # And to have it as a file of its own would be as bad: it could be read.
  ! grep -rqs precious root || wrong "what is in a file outside is now in ROOT"
}
