# tree OPTIONS SCRIPT: runs a script where `data` is a tmpfs mounted with these options, and `data/disk` another, both by somebody who is
# root of the user namespace *around* that in which the script runs. $READ_ONLY is the student's program.
tree() {
  needs_user_namespaces
  mkdir data view
  READ_ONLY=$PROGRAM_FILE SCRIPT=$2 as_student unshare --user --map-root-user --mount sh -c "
    mount -t tmpfs -o $1 none data && mkdir data/disk && mount -t tmpfs none data/disk && echo old >data/old &&
      echo old >data/disk/old && touch data/disk/mounted || exit 3
    exec unshare --user --map-root-user sh -c \"\$SCRIPT\""
}

# through OPTIONS WRITE: what comes of it, by the exit status of the last step that was reached.
through() {
  local mark=0
  tree "$1" "
    \"\$READ_ONLY\" data view true || exit 4
    \"\$READ_ONLY\" data view cat view/old >/dev/null || exit 5
    \"\$READ_ONLY\" data view test -e view/disk/mounted || exit 6
    \"\$READ_ONLY\" data view sh -c '$2' 2>/dev/null && exit 7
    \"\$READ_ONLY\" data view touch data/other || exit 8
    \"\$READ_ONLY\" data view touch data/disk/other || exit 8
    touch data/another || exit 8
    exit 0" || mark=$?
  case $mark in
    0) ;;
    3) unfit "no tmpfs could be mounted in a user namespace" "podling doctor says why" ;;
    4) wrong "the program was not started, where DIRECTORY is mounted with ${1:-no options}" ;;
    5) wrong "the files of DIRECTORY are not seen in VIEW" ;;
    6) wrong "what is mounted below DIRECTORY is not seen in VIEW" ;;
    8) wrong "DIRECTORY itself has become read-only: the file system is, and not only your view of it" ;;
    *) return 1 ;;
  esac
}

cannot_write() {
  through rw 'echo new >view/old' || wrong "the program has written into a file through VIEW"
}

locked() {
  through nosuid,nodev 'touch view/new' || wrong "the program has made a file through VIEW, where DIRECTORY is nosuid,nodev"
}

below() {
  through rw 'echo new >view/disk/old' || wrong "the program has written through VIEW into what is mounted below: read-only is the upper mount alone"
}
