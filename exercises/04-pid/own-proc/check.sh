is_one() {
  local number
  needs_user_namespaces
  number=$("$PROGRAM" sh -c 'echo $$')
  [ -n "$number" ] || wrong "a program that prints its number printed nothing"
  [ "$number" != 2 ] || wrong "the program is process 2: something else is process 1. Who?"
  [ "$number" = 1 ] || wrong "the program's number is $number, as if there were no new pid namespace: unshare changed it for the next child only"
}

own_proc() {
  local before after self seen
  needs_user_namespaces
  before=$(cat /proc/self/mountinfo)
  self=$("$PROGRAM" readlink /proc/self)
  seen=$("$PROGRAM" sh -c 'cd /proc; set -- [0-9]*; echo $#')
  after=$(cat /proc/self/mountinfo)
  [ "$before" = "$after" ] || wrong "your mount can be seen outside: it was not made in a mount namespace of its own"
  [ "$self" = 1 ] || wrong "/proc/self is '$self' in a program that is process 1: that /proc shows another pid namespace than the program's"
  [ "$seen" -le 2 ] || wrong "/proc shows $seen processes, but there is only one in the namespace"
}

ends_as_it() {
  needs_user_namespaces
  same "the exit status for a program that exits with 7" 7 "$(status "$PROGRAM" sh -c 'exit 7')"
  same "the exit status for a program that is not there" 127 "$(status env PATH=/usr/bin:/bin "$PROGRAM" no-such-program)"
}
