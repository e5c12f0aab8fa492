told() { happened 'told [0-9]+ READY=1'; }
has_ended() { happened "ended $service .*"; }
opened() { readlink "/proc/$service/fd/"* 2>/dev/null | grep -q '/greeting$'; }

# ready: waits until it is told; wrong if it is not.
ready() {
  until_true 5 eval 'told || has_ended || grep -q "^told .*READY" "$EVENTS" || [ "$(client socket 2>&1)" = hello ]'
  until_true 1 told && return
  ! has_ended || wrong "it ended with $(sed -n "s/^ended $service //p" "$EVENTS"), and had not said that it was ready"
  ! grep -q '^told .*READY' "$EVENTS" || wrong "the manager was told '$(sed -n 's/^told [0-9]* //p' "$EVENTS")', and not READY=1"
  [ "$(client socket 2>&1)" = hello ] || wrong "it neither serves nor says that it is ready"
  wrong "it serves, and has not told its manager READY=1"
}

says_so() {
  local sender
  echo hello >greeting
  manager --notify "$PWD/notify" "$PROGRAM" socket greeting
  ready
  sender=$(sed -n 's/^told \([0-9]*\) READY=1/\1/p' "$EVENTS" | head -1)
  [ "$sender" = "$service" ] || wrong "READY=1 came from process $sender, and the service is process $service: systemd listens to nobody else"
  same "what a client is told when the service is ready" hello "$(client socket 2>&1)"
  end $manager
}

not_before() {
  # A greeting that is slow to come: somebody has to write it first.
  mkfifo -m 666 greeting
  exec 3<>greeting
  manager --notify "$PWD/notify" "$PROGRAM" socket greeting
  until_true 5 eval 'opened || has_ended'
  heard
  ! told || wrong "it has said READY=1, and still waits for its greeting: nobody can connect yet"
  echo hello >&3
  exec 3>&-
  ready
  end $manager
  rm -f socket
  # And a socket that cannot be opened.
  rm greeting && echo hello >greeting
  manager --notify "$PWD/notify" "$PROGRAM" no-directory/socket greeting
  until_true 5 has_ended || wrong "its socket cannot be opened, since there is no such directory, and it goes on"
  ! told || wrong "it has said READY=1, and then could not open its socket: say it when that is done"
  ! happened "ended $service 0" || wrong "its socket cannot be opened, and its exit status is 0"
}

abstract_address() {
  echo hello >greeting
  manager --notify "@podling-learn-$$" "$PROGRAM" socket greeting
  ready
  end $manager
}

by_hand() {
  echo hello >greeting
  manager "$PROGRAM" socket greeting
  until_true 5 eval 'has_ended || [ "$(client socket 2>&1)" = hello ]'
  ! has_ended || wrong "without NOTIFY_SOCKET it does not serve, but ends with $(sed -n "s/^ended $service //p" "$EVENTS")"
  end $manager
}
