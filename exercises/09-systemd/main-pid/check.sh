# begin COMMAND…: the student's program starts it, under a manager. Its first act is to write its number into `pid`.
begin() {
  mkfifo -m 666 go
  manager --notify "$PWD/notify" "$PROGRAM" sh -c "echo \$\$ >new; mv new pid; $1"
  until_true 5 eval 'test -e pid || has_ended "$service"' || wrong "the program was not started"
  [ -e pid ] || until_true 1 test -e pid || wrong "the program was not started: you ended with $(end_of "$service")"
  program=$(cat pid)
}
has_ended() { happened "ended $1 .*"; }
end_of() { sed -n "s/^ended $1 //p" "$EVENTS"; }
main_pid() { sed -n 's/^told [0-9]* MAINPID=//p' "$EVENTS" | tail -1; }
# The FIFO is opened for both directions: nobody blocks.
let_go() { echo >go & }

watched() {
  local main sender
  begin 'read -r _ <go; exit 7'
  until_true 5 has_main_pid || wrong "the manager was not told MAINPID"
  main=$(main_pid)
  [ "$main" != "$service" ] || wrong "MAINPID is $main: that is your first process, which is about to end. The program is $program"
  [ "$main" = "$program" ] || wrong "MAINPID is $main, and the program is process $program: who is $main?"
  for sender in $(sed -n 's/^told \([0-9]*\) .*/\1/p' "$EVENTS"); do
    [ "$sender" = "$service" ] || wrong "process $sender has told the manager something; it listens to the service's first, $service"
  done
  until_true 5 happened 'told [0-9]+ READY=1' || wrong "the manager was not told READY=1"
  until_true 5 has_ended "$service" || wrong "your first process has not ended: somebody waits for the program, which still runs"
  let_go
  until_true 5 has_ended "$program" || wrong "the program has ended, and the manager has not heard it: it was another's child"
  same "the exit status that the manager hears, of a program that exits with 7," 7 "$(end_of "$program")"
}
has_main_pid() { [ -n "$(main_pid)" ]; }

leaves() {
  begin 'read -r _ <go'
  until_true 5 has_ended "$service" || wrong "your first process has not ended: it waits for the program, which still runs"
  same "the exit status of your first process" 0 "$(end_of "$service")"
  ! gone "$program" || wrong "the program ended together with your first process"
  same "how many processes the manager has below it" 1 "$(wc -w <"/proc/$manager/task/$manager/children")"
  let_go
  until_true 5 gone "$manager"
}

cannot_start() {
  PATH=/usr/bin:/bin manager --notify "$PWD/notify" "$PROGRAM" no-such-program
  until_true 5 has_ended "$service" || wrong "the program is not there, and your first process has not ended"
  ! happened 'told [0-9]+ READY=1' || wrong "the program is not there, and the manager was told READY=1: say it when you know that it runs"
  same "your exit status for a program that is not there" 127 "$(end_of "$service")"
}

to_itself() {
  begin 'read -r _ <go'
  ! tr '\0' '\n' <"/proc/$program/environ" | grep -q '^NOTIFY_SOCKET=' ||
    wrong "NOTIFY_SOCKET is in the program's environment: it could speak as the service, and its readiness would be taken for yours"
  let_go
  until_true 5 gone "$manager" || end "$manager"
}
