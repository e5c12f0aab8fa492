reaps() {
  local outer init
  needs_user_namespaces
  # Each `(true &)` leaves an orphan, which ends at once.
  "$PROGRAM" sh -c 'for n in 1 2 3 4 5; do (true &); done; : >made; exec sleep 1000' &
  outer=$!
  until_true 5 made_or_gone $outer
  [ -e made ] || wrong "it ended before the program could: process 1 must end with the program, and not with an orphan"
  init=$(first_child $outer) || wrong "there is no process 1: your program has no child"
  has_child "$init" || wrong "process 1 ended, or became the program itself: then nobody reaps"
  until_true 2 no_zombies "$init" || wrong "$(zombies "$init") zombies are left, children of process 1: nobody has waited for them"
  end $outer
}
made_or_gone() { [ -e made ] || gone "$1"; }

zombies() {
  local child count=0
  for child in $(cat "/proc/$1/task/$1/children"); do
    ! grep -q '^State:.*Z' "/proc/$child/status" 2>/dev/null || count=$((count + 1))
  done
  echo $count
}
no_zombies() { [ "$(zombies "$1")" = 0 ]; }

waits_for_the_program() {
  local got
  needs_user_namespaces
  # An orphan ends first, with another status. The program waits until it is gone, for a while.
  mkfifo orphan
  got=$(status "$PROGRAM" sh -c '(sh -c "echo \$\$; exit 9" >orphan &); read -r pid <orphan; n=0
    while [ $n -lt 100000 ] && kill -0 "$pid" 2>/dev/null; do n=$((n + 1)); done; exit 5')
  [ "$got" != 9 ] || wrong "an orphan that ended with 9 was taken for the program"
  same "the exit status for a program that exits with 5 after an orphan did with 9" 5 "$got"
  got=$(status "$PROGRAM" sh -c 'kill -KILL $$')
  [ "$got" != 0 ] || wrong "a program that SIGKILL ended is told as a success"
  same "the exit status for a program that SIGKILL ended" 137 "$got"
}
