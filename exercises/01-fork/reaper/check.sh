# start SCRIPT…: the program, and below it an orphan for each script. It ends with 7 when it is told to. Sets $program.
start() {
  local number=0 script orphans=
  mkfifo go
  for script; do
    number=$((number + 1))
    orphans+="(sh -c 'echo \$\$ >$number.new; mv $number.new orphan-$number; $script' &); "
  done
  "$PROGRAM" sh -c "$orphans read _ <go; exit 7" &
  program=$!
  while [ $number -gt 0 ]; do
    until_true 5 test -e orphan-$number || wrong "the program was not started"
    number=$((number - 1))
  done
}

# finish: lets the program end, and compares the exit status.
finish() {
  local got
  exec 3<>go
  echo >&3
  until_true 5 gone $program || wrong "the program has ended, and you have not: for whom do you wait?"
  wait $program
  got=$?
  [ $got != 3 ] || wrong "you ended as an orphan ended, with its exit status 3, and not as the program"
  [ $got != 137 ] || wrong "you ended as an orphan ended, which was killed, and not as the program"
  same "the exit status for a program that exits with 7" 7 $got
}

reaped() {
  local orphan
  orphan=$(cat "$1")
  until_true 5 gone "$orphan"
  until_true 2 test ! -e "/proc/$orphan" && return
  gone $program && finish
  [ "$(field PPid "$orphan")" = $program ] ||
    wrong "an orphan below you did not become your child, but that of process $(field PPid "$orphan")"
  wrong "an orphan has ended ($orphan, state $(field State "$orphan")), and stays a zombie: you do not wait for it"
}

own_status() {
  start 'exit 3'
  # Until somebody has asked for its end (or nobody does): while it is a zombie, the program's end might be told first.
  until_true 2 test ! -e "/proc/$(cat orphan-1)"
  finish
  same "the exit status for a program that SIGTERM ended" 143 "$(status "$PROGRAM" sh -c 'kill -TERM $$')"
}

no_zombies() {
  start 'exit 3' 'kill -KILL $$' 'exit 3'
  reaped orphan-1
  reaped orphan-2
  reaped orphan-3
  finish
}

does_not_stay() {
  start 'exit 3' 'exec sleep 1000'
  until_true 5 gone "$(cat orphan-1)"
  finish
  kill -KILL "$(cat orphan-2)"
  until_true 5 gone "$(cat orphan-2)"
}
