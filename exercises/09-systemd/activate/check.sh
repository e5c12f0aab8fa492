# begin COMMAND…: the student's program; it shall start `play server` when the shell commands have run.
# shellcheck disable=SC2016
begin() {
  # By a manager that leaves no descriptor open but 0 to 2.
  manager "$PROGRAM" door sh -c "echo x >>starts; ${1}"' exec "$LEARN" play server "$0"' "$2" 2>errors
  until_true 5 test -S door || wrong "there is no socket: $(tail -1 errors)"
}
starts() { [ ! -e starts ] || wc -l <starts; }

# visit NAME: a client, in the background; what it is told is in got-NAME.
visit() {
  (exec timeout 10 "$LEARN" play client door >"got-$1" 2>&1) &
}
served() { grep -qx 'served by [0-9]*' "got-$1"; }

# is_served NAME WHO: wrong if he is not.
is_served() {
  until_true 5 served_or_refused "$1" && served "$1" && return
  ! refused || wrong "$2 is not served. The program you have started says: $(tail -1 errors)"
  [ -e starts ] || wrong "$2 waits, and the program was not started"
  wrong "$2 is not served, though the program was started $(starts) times. Who has accepted the connection?"
}
served_or_refused() { served "$1" || refused; }
refused() { grep -q '^Error\|LISTEN\|descriptor' errors; }

not_before() {
  begin '' 1
  until_true 5 eval '[ -e starts ] || { asleep && ! has_child $service; }' || true
  [ ! -e starts ] || wrong "nobody has connected yet, and the program was started"
  visit first
  is_served first "the first client"
  end $manager
}
# Whether your program sleeps: in poll, or until its child ends.
asleep() { grep -q '^State:.*S' "/proc/$service/status"; }

first_client() {
  local who
  begin '' 1
  for who in first second third; do
    visit $who
    is_served $who "the $who client"
  done
  # The program serves one client and ends.
  same "how many programs three clients were served by" 3 "$(cat got-* | sort -u | wc -l)"
  end $manager
}

one_at_a_time() {
  mkfifo go
  exec 3<>go
  begin 'read -r _ <go;' 2
  visit first
  visit second
  until_true 5 test -e starts || wrong "two clients wait, and the program was not started"
  # Who does not wait for it starts the next at once, and the next.
  until_true 5 eval '[ "$(starts)" -gt 1 ] || asleep'
  [ "$(starts)" = 1 ] || wrong "two clients wait, and $(starts) programs were started for them: the first has not had the time to accept anybody"
  echo >&3
  is_served first "the first client"
  is_served second "the second client"
  same "how many programs were started for two clients that one program serves" 1 "$(starts)"
  exec 3>&-
  end $manager
}

only_the_socket() {
  local fd
  begin '(ls -l "/proc/$$/fd") >descriptors; echo "$LISTEN_FDS" >count;' 1
  visit first
  is_served first "the first client"
  for fd in $(sed -n 's/.* \([0-9]*\) -> .*/\1/p' descriptors); do
    [ "$fd" -le 3 ] || wrong "the program has descriptor $fd: $(sed -n "s/.* $fd -> //p" descriptors). It should have 0 to 3"
  done
  same "LISTEN_FDS" 1 "$(cat count)"
  end $manager
}
