# serve OPTION…: the student's server, started with the sockets that the options say. Its own, if it opens one, is `own`.
# shellcheck disable=SC2016
serve() {
  manager "$@" "$PROGRAM" own sh -c '
    tr "\0" "\n" <"/proc/$$/environ" | grep "^LISTEN_" >environment
    (ls -l "/proc/$$/fd") >descriptors
    echo hello'
}
clients=
has_ended() { happened "ended $service .*"; }

# answered SOCKET WHAT: wrong if a client gets no greeting there.
answered() {
  local got=got-$1
  (exec "$LEARN" play client "$1" >"$got" 2>&1) &
  clients+=" $!"
  until_true 5 eval '[ -s "$got" ] || has_ended || [ -e own ]' || wrong "nobody answers at $2"
  [ "$(cat "$got")" != hello ] || return 0
  ! has_ended || wrong "$2: your server has ended with $(sed -n "s/^ended $service //p" "$EVENTS"), and nobody was served"
  [ ! -e own ] || [ "$1" = own ] || wrong "$2, and your server has opened another one itself"
  until_true 5 eval '[ "$(cat "$got")" = hello ]' || wrong "nobody answers at $2: $(cat "$got")"
}

passed() {
  serve --socket public=given
  answered given "the socket that was passed, as descriptor 3 (LISTEN_FDS=1: one socket)"
  [ ! -e own ] || wrong "a socket was passed, and your server has opened another one itself"
  end $manager $clients
}

not_meant() {
  serve --socket public=given --listen-pid 1
  # Served where it must not be served, or waiting for ever.
  (exec "$LEARN" play client given >got-given 2>&1) &
  clients=$!
  until_true 5 eval 'has_ended || [ -e own ] || [ -s got-given ]' || wrong "it opened no socket"
  ! has_ended || wrong "the socket is for process 1, and your server has ended with $(sed -n "s/^ended $service //p" "$EVENTS"): it has to open its own"
  [ -e own ] || wrong "LISTEN_PID says that descriptor 3 is for process 1, and your server serves it all the same"
  answered own "the socket that it opened itself"
  [ "$(cat got-given)" != hello ] || wrong "it serves its own socket and the one that is for process 1"
  end $manager $clients
}

by_name() {
  serve --socket admin=admin --socket public=public
  # Who came first comes first, if both are served; and waits for ever, if not.
  (exec "$LEARN" play client admin >got-admin 2>&1) &
  clients=$!
  answered public "the socket that is named public, the second of two"
  [ "$(cat got-admin)" != hello ] || wrong "it serves the socket that is named admin"
  end $manager $clients
  rm -f admin public got-*
  serve --socket public=public --socket admin=admin
  answered public "the socket that is named public, the first of two"
  end $manager $clients
}

handlers() {
  serve --socket public=given --socket admin=admin
  answered given "the socket that is named public"
  [ ! -s environment ] || wrong "a handler finds $(head -1 environment) in its environment: it would take its own descriptor 3 for a socket"
  same "how many sockets a handler has, one of them its standard output," 1 "$(grep -c 'socket:' descriptors)"
  end $manager $clients
}
