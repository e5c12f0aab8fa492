passes_on() {
  local wanted got
  for wanted in 0 1 7 255; do
    got=$(status "$PROGRAM" sh -c "exit $wanted")
    [ "$got" != 42 ] || wrong "whatever the program ends with, you end with 42"
    same "the exit status for a program that exits with $wanted" "$wanted" "$got"
  done
}

signals() {
  local got
  got=$(status "$PROGRAM" sh -c 'kill -KILL $$')
  [ "$got" != 0 ] || wrong "a killed program is told as a success"
  [ "$got" != 9 ] || wrong "signal 9 is told as exit status 9: a shell could not tell it from exit(9)"
  same "the exit status for a program that SIGKILL ended" 137 "$got"
  same "the exit status for a program that SIGTERM ended" 143 "$(status "$PROGRAM" sh -c 'kill -TERM $$')"
}

not_there() {
  local got
  got=$(status env PATH=/usr/bin:/bin "$PROGRAM" no-such-program)
  [ "$got" != 126 ] || wrong "you say 126 (there, and cannot be run) of a program that is not there"
  same "the exit status for a program that is not there" 127 "$got"
  touch not-executable
  same "the exit status for a file that may not be executed" 126 "$(status "$PROGRAM" ./not-executable)"
}
