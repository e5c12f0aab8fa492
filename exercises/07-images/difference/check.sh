# OLD and NEW are made by the test, in old/ and new/. differ: runs the program on them. Both are the student's to read.
differ() {
  local got
  mkdir layer
  chmod 777 layer
  got=$(status "$PROGRAM" old new layer)
  same "the exit status" 0 "$got"
}

# listing DIR: what is in it, as far as a layer has to say it: a line each.
listing() {
  (cd "$1" && find . -mindepth 1 \( -type l -printf '%P link %l\n' \) -o -type d -printf '%P directory %m\n' -o -type f -printf '%P file %m ' -exec sh -c 'sha256sum <"$1" | cut -c1-16' sh {} \;) |
    sort
}

# applied: OLD with the layer applied must be NEW.
applied() {
  local path name
  cp -a old got
  (cd layer && find . -name '.wh.*' -printf '%P\n') | while read -r path; do
    name=${path##*/}
    [ -f "layer/$path" ] && [ ! -s "layer/$path" ] || wrong "the whiteout $path is no empty file"
    (cd got && cd "$(dirname "$path")" 2>/dev/null && rm -rf "./${name#.wh.}")
  done
  (cd layer && find . -mindepth 1 ! -name '.wh.*' -printf '%P\n') | while read -r path; do
    if [ ! -d "layer/$path" ] || [ -L "layer/$path" ] || [ ! -d "got/$path" ] || [ -L "got/$path" ]; then rm -rf "got/$path"; fi
    if [ -d "layer/$path" ] && [ ! -L "layer/$path" ]; then
      mkdir -p "got/$path"
      chmod "$(stat -c %a "layer/$path")" "got/$path"
    else
      cp -a "layer/$path" "got/$path"
    fi
  done
  listing got >got.list
  listing new >new.list
  while IFS= read -r path; do
    name=${path#? }
    case $path in
      '< '*' '*) wrong "with the layer applied there is '$name', which is not so in NEW" ;;
      '> '*) wrong "with the layer applied this is missing: '$name'" ;;
    esac
  done < <(diff got.list new.list | grep '^[<>]' | sort -r)
}

# both TEXT FILE: puts it into both.
both() {
  echo "$1" | tee "old/$2" >"new/$2"
}

brings() {
  mkdir -p old/etc new/etc/deep/er old/bin new/bin old/quiet new/quiet
  both same etc/same
  echo one >old/etc/text
  echo two >new/etc/text
  touch --date=@1 old/etc/text new/etc/text
  both program bin/program
  chmod 4755 new/bin/program
  echo new >new/etc/deep/er/file
  ln -s same old/etc/link
  ln -s text new/etc/link
  ln -s nowhere new/etc/dangling
  chmod 705 new/bin new/quiet
  differ
  [ -e layer/etc/text ] || wrong "etc/text has other bytes (as many, and the same time), and is not in the layer"
  [ "$(stat -c %a layer/bin/program 2>/dev/null)" = 4755 ] || wrong "bin/program has another mode, and the layer does not say so"
  [ "$(readlink layer/etc/link)" = text ] || wrong "the symlink etc/link leads elsewhere now, and the layer does not say so"
  applied
}

takes() {
  mkdir -p old/etc/gone/deep new/etc old/file-now new/directory-now new/link-before/in old/behind new/behind
  echo gone | tee old/etc/file old/etc/gone/deep/file old/file-now/inside >old/directory-now
  echo new | tee new/file-now new/directory-now/inside >new/link-before/in/file
  ln -s behind old/link-before
  both same behind/file
  both other etc/stays
  ln -s nowhere old/etc/dangling
  differ
  [ -e layer/etc/.wh.file ] || wrong "etc/file has gone, and the layer does not say so"
  [ -e layer/etc/.wh.dangling ] || wrong "etc/dangling, a symlink that leads nowhere, has gone, and the layer does not say so"
  [ -e layer/etc/.wh.gone ] || wrong "the directory etc/gone has gone, and the layer does not say so"
  [ ! -e layer/etc/gone ] || wrong "the directory etc/gone has gone, and is in the layer"
  [ -f layer/file-now ] || wrong "file-now was a directory and is a file, and the layer does not say so"
  [ -d layer/link-before ] && [ ! -L layer/link-before ] || wrong "link-before was a symlink to a directory and is a directory, and the layer does not say so"
  applied
}

no_more() {
  local path
  mkdir -p old/usr/share/doc new/usr/share/doc old/etc new/etc
  for path in usr/same usr/share/same usr/share/doc/same etc/same; do both same $path; done
  touch --date=@1 old/etc/same
  ln -s same old/etc/link
  ln -s same new/etc/link
  echo new >new/etc/new
  differ
  [ -e layer/etc/new ] || wrong "etc/new is not in the layer"
  for path in etc/same etc/link usr/same; do
    [ ! -e layer/$path ] && [ ! -L layer/$path ] || wrong "$path is as it was (but perhaps for its time), and is in the layer"
  done
  [ ! -e layer/usr ] || wrong "there is nothing new in usr, and the directory is in the layer"
  same "what is in the layer" "etc etc/new" "$(cd layer && find . -mindepth 1 -printf '%P\n' | sort | xargs)"
}

honest() {
  local got
  mkdir -p old new/etc layer
  chmod 777 layer
  echo text >new/etc/.wh.passwd
  got=$(status "$PROGRAM" old new layer)
  [ "$got" != 0 ] || wrong "NEW has a file etc/.wh.passwd. You put it into the layer, and whoever applies that removes his etc/passwd"
}
