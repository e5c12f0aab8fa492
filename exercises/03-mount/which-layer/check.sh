# Builds the layers, does everything, and writes down what was seen: a file for each answer.
look() {
  local mark=0
  needs_user_namespaces
  mkdir -m 777 seen place
  as_student unshare --user --map-root-user --mount sh -c '
    mount -t tmpfs none place && cd place && mkdir bottom top upper work work2 merged bottom/dir top/dir || exit 3
    echo bottom >bottom/both; echo top >top/both; echo >bottom/dir/b; echo >top/dir/t; echo >bottom/gone
    head -c 1048576 /dev/zero >bottom/big
    mount -t overlay -o userxattr,lowerdir=bottom,upperdir=top,workdir=work2 none merged || exit 3
    rm merged/gone && umount merged || exit 3
    mount -t overlay -o userxattr,lowerdir=top:bottom,upperdir=upper,workdir=work none merged || exit 3
    seen=../seen
    cat merged/both >$seen/both
    if [ -e merged/gone ]; then echo yes; else echo no; fi >$seen/gone
    ls merged/dir | wc -l >$seen/names
    chmod 600 merged/big
    if [ -e upper/big ]; then stat -c %s upper/big; else echo 0; fi >$seen/copied
    echo new >merged/both
    cat top/both >$seen/below
    rm merged/both
    case $(stat -c %F upper/both 2>/dev/null) in
      "") echo nothing ;;
      character*) echo device ;;
      symbolic*) echo link ;;
      *) echo "empty file" ;;
    esac >$seen/removed
    rm -r merged/dir && mkdir merged/dir || exit 3
    ls merged/dir | wc -l >$seen/anew' || mark=$?
  [ $mark = 0 ] || unfit "an ordinary user cannot mount an overlay here" "Linux 5.11 or newer; podling doctor says more"
}

reading() {
  look
  compare_noted both "(Lower layers are named from the upper to the lowest.)"
  compare_noted gone "(What one layer removed is not there for those above it.)"
  compare_noted names "(Directories of the same name are shown as one.)"
}

writing() {
  look
  compare_noted copied "(An overlay knows whole files only.)"
  compare_noted below "(What is below is never written.)"
}

removing() {
  look
  compare_noted removed "(Look with stat -c %F.)"
  compare_noted anew "(What was removed with the directory does not come back with its name.)"
}
