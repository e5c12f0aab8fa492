# Builds every case, in namespaces of its own, and writes down what was seen: a file for each answer.
look() {
  local mark=0
  needs_user_namespaces
  needs_program perl perl
  mkdir -m 777 seen place
  (cd place && as_student unshare --user --map-root-user --mount --ipc --net bash -c "$CASES" cases) || mark=$?
  [ $mark = 0 ] || unfit "a case could not be built here (step $mark)" "podling doctor says what is missing"
}

# shellcheck disable=SC2016
CASES='
  found() { if "${@:2}" >/dev/null 2>&1; then echo yes; else echo no; fi >../seen/$1; }
  # Answers at a path, or at a name that begins with @ and is no path.
  serve='\''use Socket; $at = shift; $at =~ s/^@/\0/; socket(S, AF_UNIX, SOCK_STREAM, 0) && bind(S, pack_sockaddr_un($at)) && listen(S, 9) or exit 1;
    open(F, ">", shift); close(F); sleep 1000'\''
  call='\''use Socket; $at = shift; $at =~ s/^@/\0/; socket(S, AF_UNIX, SOCK_STREAM, 0); exit(connect(S, pack_sockaddr_un($at)) ? 0 : 1)'\''
  ready() { for _ in {1..500}; do [ ! -e $1 ] || return 0; sleep 0.01; done; return 1; }

  id=$(ipcmk --shmem 4096 | grep -o "[0-9]*$") || exit 3
  found segment unshare --ipc grep -q "^ *-\?[0-9]* *$id " /proc/sysvipc/shm

  mkfifo go
  unshare --ipc sh -c "ipcmk --queue >new && mv new made && read -r _ <go" &
  ready made || exit 4
  exec 9</proc/$!/ns/ipc && echo >go && wait $! || exit 4
  found held nsenter --ipc=/proc/$$/fd/9 grep -q "^ *-\?[0-9]" /proc/sysvipc/msg

  mount -t tmpfs none /dev/shm && echo text >/dev/shm/name || exit 5
  found memory unshare --ipc test -e /dev/shm/name

  mkdir queues && mount -t mqueue none queues && : >queues/first || exit 6
  found window unshare --ipc test -e queues/first
  exec 3<queues/first
  found descriptor unshare --ipc grep -q QSIZE <&3

  perl -e "$serve" @whose-wall one &
  one=$!
  perl -e "$serve" ./socket two &
  two=$!
  ready one && ready two && perl -e "$call" @whose-wall && perl -e "$call" ./socket || exit 7
  found abstract_ipc unshare --ipc perl -e "$call" @whose-wall
  found abstract_net unshare --net perl -e "$call" @whose-wall
  found path_net unshare --net perl -e "$call" ./socket
  kill $one $two
  wait
  exit 0'

by_number() {
  look
  compare_noted segment "(An id is a number in a table. Which table?)"
  compare_noted held "(How long does a namespace live, and what keeps it?)"
}

by_file() {
  look
  compare_noted memory "(What is in /dev/shm is a file.)"
  compare_noted window "(A mount shows the namespace of whoever mounted it.)"
  compare_noted descriptor "(Names are looked up when something is opened.)"
}

by_socket() {
  look
  compare_noted abstract_ipc "(In which namespace is a socket's name?)"
  compare_noted abstract_net "(In which namespace is a socket's name?)"
  compare_noted path_net "(By what was it looked up: a name of the network, or a path?)"
}
