# The program under test is bash: it ends with 3 at SIGNAL, but not before it is let (the file `go`).
arrives() {
  local signal
  for signal in TERM INT HUP; do
    rm -f ready got go
    start bash -c "trap 'echo >got; until test -e go; do sleep 0.02; done; kill \$!; wait \$!; exit 3' $signal
      sleep 1000 & echo >ready; wait"
    unblocked $signal
    kill -$signal $program
    until_true 5 eval 'test -e got || gone $program' ||
      wrong "you did not pass SIG$signal on"
    gone $program && [ ! -e got ] && wrong "SIG$signal ended you, and not the program, which lives on without a parent"
    still_there $signal
    touch go
    ends_with 3 "a program that exits with 3 when SIG$signal comes"
  done
}

goes_on() {
  local count
  start bash -c "trap 'echo >>got' USR1; trap 'kill \$!; wait \$!; exit 3' TERM
    sleep 1000 & echo >ready; until ! test -e ready; do wait \$!; done"
  unblocked USR1
  for count in 1 2 3; do
    kill -USR1 $program
    until_true 5 eval 'came $count || gone $program'
    gone $program && wrong "you ended at SIGUSR1 number $count, and the program had not"
    came $count || wrong "SIGUSR1 number $count did not arrive at the program"
  done
  until_true 5 asleep || wrong "you never sleep: while nothing happens, you use the processor all the time"
  kill -TERM $program
  ends_with 3 "a program that exits with 3 when SIGTERM comes"
}
came() { [ -e got ] && [ "$(wc -l <got)" -ge "$1" ]; }

# Sleeping at all of many looks: a look may fall upon a moment of work.
asleep() {
  local look
  for look in {1..50}; do [[ "$(field State $program)" = S* ]] || return; done
}

ends_too() {
  local signal child
  for signal in TERM HUP; do
    start sleep 1000
    child=$(first_child $program)
    until_true 5 is_sleep "$child"
    unblocked $signal
    kill -$signal $program
    until_true 5 gone $program || wrong "SIG$signal did not end the program, or you wait on after its end"
    gone "$child" || wrong "SIG$signal ended you, and the program (process $child) lives on"
    ends_with $((128 + $(kill -l $signal))) "a program that SIG$signal ended"
  done
}
is_sleep() { [ "$(field Name "$1")" = sleep ]; }

# start COMMAND…: the student's program with it. Bash would let it ignore SIGINT. Sets $program.
start() {
  env --default-signal=INT "$PROGRAM" "$@" &
  program=$!
  [ "$1" = sleep ] || until_true 5 test -e ready || wrong "the program was not started"
  first_child $program >/dev/null || wrong "the program is no child of yours"
}

# unblocked SIGNAL: wrong if the program cannot hear it.
unblocked() {
  local child
  child=$(first_child $program)
  until_true 2 hears "$child" "$(kill -l "$1")" ||
    wrong "the program was born with SIG$1 blocked: execve keeps the mask of the process that calls it"
}
hears() { ! ((0x$(field SigBlk "$1") >> ($2 - 1) & 1)); }

# still_there SIGNAL: wrong if the student's program has ended, or ends within many looks, before the program.
still_there() {
  local look
  for look in {1..50}; do
    gone $program && wrong "you passed SIG$1 on and ended, before the program had made anything of it"
  done
}

# ends_with STATUS WHAT
ends_with() {
  local got
  until_true 5 gone $program || wrong "the program has ended, and you have not"
  wait $program
  got=$?
  same "the exit status for $2" "$1" $got
}
