user() { systemctl --user --quiet "$@"; }
show() { systemctl --user show --value --property="$1" "$2"; }
is() { [ "$(show "$1" "$2")" = "$3" ]; }

# service NAME OPTION… -- PROGRAM…: as the student would try it. $unit is its name, which nobody else's is.
service() {
  unit=podling-learn-$1-$$
  shift
  systemd-run --user --quiet --unit="$unit" "$@" || unfit "systemd did not start a service" "systemctl --user status"
}

# after_signal SIGNAL: sets $found to whether the service is started again after it.
after_signal() {
  local main
  until_true 10 running
  main=$(show MainPID "$unit")
  kill -"$1" "$main"
  # Another one runs, or none is wanted: the unit of a service that has ended well is forgotten.
  until_true 10 eval 'is NRestarts "$unit" 1 && running || is LoadState "$unit" not-found' ||
    unfit "systemd did not decide within ten seconds" "try again"
  found=no
  ! is NRestarts "$unit" 1 || found=yes
  user stop "$unit"
}
running() { is SubState "$unit" running; }

ends() {
  local unit found sigterm sigkill status_143 restarts
  needs_systemd
  service term -p Restart=on-failure sleep 1000
  after_signal TERM
  sigterm=$found
  service kill -p Restart=on-failure sleep 1000
  after_signal KILL
  sigkill=$found
  # The shell must have its handler before the signal comes: a service that is ready when it says so.
  service trap -p Restart=on-failure -p Type=forking -p PIDFile="$PWD/pid" -- sh -c '
    sh -c "trap \"kill %1; exit 143\" TERM; echo \$\$ >\"$0.new\"; mv \"$0.new\" \"$0\"; sleep 1000 & wait" &
    until [ -s "$0" ]; do sleep 0.02; done' "$PWD/pid"
  after_signal TERM
  status_143=$found
  user reset-failed "$unit" 2>/dev/null
  service false -p Restart=on-failure -p StartLimitBurst=3 -p StartLimitIntervalSec=60 -p RestartSec=20ms false
  until_true 20 is ActiveState "$unit" failed || unfit "systemd did not give up within twenty seconds" "try again"
  restarts=$(show NRestarts "$unit")
  user reset-failed "$unit"
  compare sigterm "$sigterm" "What does somebody want who sends SIGTERM?"
  compare sigkill "$sigkill" "Is this how a program ends that was asked to?"
  compare status_143 "$status_143" "It has not ended by a signal: it had a handler, and its status is not 0"
  compare restarts_of_false "$restarts" "StartLimitBurst counts starts, and the one too many was refused"
}

orders() {
  local unit stopped=no enabled=no disabled=no file
  needs_systemd
  service stop -p Restart=always sleep 1000
  until_true 10 running
  user stop "$unit"
  [ "$(show NRestarts "$unit")" != 1 ] && ! running || stopped=yes
  unit=podling-learn-file-$$.service file=$XDG_RUNTIME_DIR/systemd/user/podling-learn-file-$$.service
  mkdir -p "${file%/*}"
  printf '[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=default.target\n' >"$file"
  user daemon-reload
  user enable --runtime "$unit"
  ! is ActiveState "$unit" active || enabled=yes
  user start "$unit"
  user disable --runtime "$unit"
  ! is ActiveState "$unit" active || disabled=yes
  user stop "$unit"
  rm "$file"
  user daemon-reload
  compare stopped $stopped "Restart= is for ends that nobody has ordered"
  compare enabled $enabled "Enabling makes a link, for the next time that its target is started"
  compare disabled $disabled "Disabling removes a link; who wants both says --now"
}
