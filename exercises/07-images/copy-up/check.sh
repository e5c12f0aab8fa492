# Measures everything, and writes it down: a file for each answer.
measure() {
  local mark=0
  needs_user_namespaces
  mkdir -m 777 seen place
  (cd place && as_student unshare --user --map-root-user --mount bash -c "$MEASURE" measure) || mark=$?
  [ $mark = 0 ] || unfit "an ordinary user cannot mount an overlay here" "Linux 5.11 or newer; podling doctor says more"
}

# shellcheck disable=SC2016
MEASURE='
  mount -t tmpfs none . && cd "$PWD" || exit 3
  # fresh: a new overlay, with an empty upper.
  fresh() {
    ! mountpoint -q merged || umount merged || exit 3
    rm -rf lower upper work merged
    mkdir -p lower/dir upper work merged
    head -c 1048576 /dev/zero | tee lower/big >lower/dir/big
    echo old >lower/one; ln lower/one lower/two
    mount -t overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work none merged || exit 3
  }
  bytes() { find upper -type f -printf "%i %s\n" | sort -u | awk "{ sum += \$2 } END { print sum + 0 }" >../seen/$1; }
  fresh; cat merged/big >/dev/null; bytes read
  fresh; exec 5>>merged/big; bytes opened; exec 5>&-
  fresh; touch merged/big; bytes touched
  fresh; ln merged/big merged/other && bytes linked
  fresh; mv merged/big merged/other && bytes renamed
  fresh; mv merged/dir merged/elsewhere && bytes moved
  fresh; exec 6<merged/one; echo new >merged/one; cat <&6 >../seen/held; exec 6<&-; cat merged/two >../seen/twin
  umount merged'

looks() {
  measure
  compare_noted read "(Who only reads is given the file below.)" measured
  compare_noted opened "(When does overlay know that something may be written?)" measured
  compare_noted touched "(Where are a file's times?)" measured
}

names() {
  measure
  compare_noted linked "(A link counts in the file to which it leads. And a file is counted once.)" measured
  compare_noted renamed "(The new name is in the upper layer. What does it name?)" measured
  compare_noted moved "(See what rename answers: strace -e renameat2 mv …)" measured
}

twofold() {
  measure
  compare_noted held "(The descriptor is of a file of overlay. Who asks which file that is, and when?)" measured
  compare_noted twin "(How many files are there now, and which name has which?)" measured
}
