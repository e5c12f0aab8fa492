# listen WAY MISSED: the student's program in a container on a machine where somebody has a secret. Compares what it prints.
listen() {
  local secret got mark=0
  needs_user_namespaces
  needs_program perl perl
  secret=secret-$RANDOM$RANDOM
  mkdir -m 777 place
  got=$(cd place && as_student env WAY="$1" SECRET=$secret unshare --user --map-root-user --mount --ipc --net bash -c "$MACHINE" machine 2>errors) || mark=$?
  cat place/errors
  [ $mark != 99 ] || unfit "the machine of this exercise could not be built" "podling doctor says what is missing"
  [ -n "$got" ] || wrong "$2"
  [ "$got" = $secret ] || [[ "$got" != decoy* ]] || wrong "your program printed what somebody else says: '$got'"
  same "what your program printed" $secret "$got"
}

# A machine in namespaces of its own, so that nothing of the real one is heard. Those who talk; then a container.
# shellcheck disable=SC2016
MACHINE='
  mount -t tmpfs none /dev/shm || exit 99
  decoy="decoy, not to be printed"
  key=$((RANDOM + 1))
  segment() { perl -e "\$id = shmget($((key += 7)), 4096, 0600 | 01000); defined \$id && shmwrite(\$id, shift, 0, 4096) or exit 1" "$1" || exit 99; }
  serve='\''use Socket; ($name, $text, $ready) = @ARGV; socket(S, AF_UNIX, SOCK_STREAM, 0) && bind(S, pack_sockaddr_un("\0$name")) && listen(S, 9) or exit 1;
    open(F, ">", $ready); close(F); for (;;) { accept(C, S); syswrite(C, "$text\n"); close(C) if $text }'\''
  talk() { # NAME TEXT: a server
    perl -e "$serve" "$1" "$2" "ready-$1" >/dev/null &
    servers+=($!)
    for _ in {1..500}; do [ -e "ready-$1" ] && return; sleep 0.01; done
    exit 99
  }
  servers=()
  apart=(--user --map-root-user --mount)
  own=true
  case $WAY in
    memory) segment "$decoy"; segment $SECRET; segment "$decoy"; apart+=(--net) ;;
    file) echo "$decoy" >/dev/shm/a; echo $SECRET >/dev/shm/m-$RANDOM; mkdir /dev/shm/b; echo "$decoy" >/dev/shm/z; apart+=(--net --ipc); own=false ;;
    socket) talk a "$decoy"; talk m-$RANDOM $SECRET; talk z "$decoy"; apart+=(--ipc) ;;
  esac
  # /proc/net is that of the process that reads it, by way of /proc/self.
  unshare "${apart[@]}" sh -c "! $own || mount -t tmpfs none /dev/shm || exit 99; exec \"\$PROGRAM_FILE\"" container
  status=$?
  [ ${#servers[@]} = 0 ] || { kill "${servers[@]}"; wait; } 2>/dev/null
  exit $status'

by_memory() {
  listen memory "in the container without an IPC namespace your program heard nothing"
}

by_file() {
  listen file "in the container with somebody else's /dev/shm your program heard nothing"
}

by_socket() {
  listen socket "in the container with the machine's network your program heard nothing"
}
