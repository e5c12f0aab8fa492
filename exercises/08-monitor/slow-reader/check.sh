# much: a program that writes more than any pipe holds (200,000 bytes), then ends with 7.
much='head -c 200000 /dev/zero | tr "\0" x; exit 7'

# logged OUTER: wrong unless all of it is in the log, and the exit status is the program's.
logged() {
  wait "$1"
  same "the exit status" 7 $?
  same "the length of the log, in bytes" 200000 "$(stat -c %s d/log)"
}

# in_time PID WHO: wrong if it does not end.
in_time() {
  until_true 3 gone "$1" && return
  wrong "the program hangs: $2"
}

nobody_attached() {
  "$PROGRAM" d sh -c "$much" &
  in_time $! "nobody is attached, and your loop waits for somebody to open the fifo"
  logged $!
}

attached_and_gone() {
  local outer
  mkfifo go
  "$PROGRAM" d sh -c "echo hello; read -r _ <go; echo again; read -r _ <go; $much" &
  outer=$!
  until_true 5 test -p d/attach || wrong "there is no d/attach"
  until_true 5 grep -qs hello d/log || wrong "the first line is not in the log while the program runs"
  exec 4<>go
  timeout 5 head -n 1 d/attach >seen &
  # The reader counts once head sleeps in its open; only then the next line.
  until_true 5 seen_or_waits $!
  [ ! -s seen ] || wrong "somebody attaches, and gets '$(cat seen)', which was written before he came: your loop had waited for him"
  waits_in_open $! || unfit "the reader did not start" "try again"
  echo >&4
  wait $!
  same "what a reader saw that was attached when it was written" again "$(cat seen)"
  # He has left.
  echo >&4
  in_time $outer "somebody was attached and has left"
  wait $outer
  same "the exit status, after somebody has left" 7 $?
}
seen_or_waits() { [ -s seen ] || waits_in_open "$1"; }
# waits_in_open PID: whether its child (`timeout` has one) is head, and asleep.
waits_in_open() { grep -q '^[0-9]* (head) S' "/proc/$(first_child "$1")/stat" 2>/dev/null; }

attached_and_asleep() {
  local outer
  mkfifo go
  "$PROGRAM" d sh -c "read -r _ <go; $much" &
  outer=$!
  until_true 5 test -p d/attach || wrong "there is no d/attach"
  sh -c 'exec 3<d/attach; exec sleep 1000' &
  until_true 5 asleep $! || unfit "the reader did not start" "try again"
  exec 4<>go
  echo >&4
  in_time $outer "somebody is attached and does not read"
  logged $outer
  end $!
}
asleep() { grep -Eq '^[0-9]+ \((sh|sleep)\) S' "/proc/$1/stat" 2>/dev/null; }
