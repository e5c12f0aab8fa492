# outside SCRIPT: an outside where all mounts are shared, and where the student may mount: a namespace of his. In it, `place` is a mount
# with two directories, and the student's program is run by `$LEAK place/inside COMMAND…`.
outside() {
  needs_user_namespaces
  mkdir place
  LEAK=$PROGRAM_FILE as_student unshare --user --map-root-user --mount --propagation shared sh -c "
    mount -t tmpfs none place && mkdir place/inside place/later || exit 3
    $1"
}

stays_inside() {
  local mark=0
  outside '"$LEAK" place/inside sh -c "touch place/inside/mine && grep -c place/inside /proc/self/mountinfo" >count || exit 4
    [ ! -e place/inside/mine ] || exit 5
    grep -q place/inside /proc/self/mountinfo && exit 6
    exit 0' || mark=$?
  case $mark in
    0) ;;
    3) unfit "no tmpfs could be mounted in a user namespace" "podling doctor says why" ;;
    4) wrong "the program was not started, or has nothing mounted on its directory" ;;
    5) wrong "what the program wrote into its tmpfs is seen outside: the mount was passed on through a shared one" ;;
    *) wrong "the mount of the program's directory is in /proc/self/mountinfo outside" ;;
  esac
  [ "$(cat count)" -ge 1 ] || wrong "nothing is mounted on the program's directory"
}

comes_in() {
  local mark=0
  outside 'mkfifo place/go
    "$LEAK" place/inside sh -c "echo >place/begun; read _ <place/go; test -e place/later/disk" &
    n=0
    until [ -e place/begun ]; do n=$((n + 1)); [ $n -lt 500 ] || exit 4; sleep 0.01; done
    mount -t tmpfs none place/later && touch place/later/disk || exit 3
    # A writer that opens before there is a reader would wait.
    exec 3<>place/go
    echo >&3
    wait $! || exit 5
    grep -q place/inside /proc/self/mountinfo && exit 6
    exit 0' || mark=$?
  case $mark in
    0) ;;
    3) unfit "no tmpfs could be mounted in a user namespace" "podling doctor says why" ;;
    4) wrong "the program was not started" ;;
    5) wrong "what was mounted outside later is not seen inside: your mounts do not listen any more" ;;
    *) wrong "what is mounted outside comes in, but what is mounted inside goes out as well" ;;
  esac
}
