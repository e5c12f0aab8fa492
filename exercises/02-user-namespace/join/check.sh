# Root may join without the user namespace. So all is done as an ordinary user, in a directory where he may write.
as_ordinary_user() {
  needs_user_namespaces
  mkdir -m 777 own
  cp "$PROGRAM_FILE" own/join && chmod 755 own/join && cd own || exit
}

# begin: somebody to join, and the student's program, which joins him. Sets $holder, $program and $inside.
begin() {
  as_ordinary_user
  (exec $ORDINARY unshare --user --map-root-user --uts --net sleep 1000) &
  holder=$!
  until_true 5 is_sleep $holder || unfit "no network namespace could be made" "podling doctor says why"
  (exec $ORDINARY ./join $holder sh -c 'echo $$ >new; mv new pid; exec sleep 1000') &
  program=$!
  until_true 5 eval 'test -e pid || gone $program' || wrong "the program was not started"
  [ -e pid ] || { wait $program; wrong "the program was not started: you ended before, with $?. In which order do you enter?"; }
  inside=$(cat pid)
  until_true 5 is_sleep "$inside"
}
is_sleep() { [ "$(field Name "$1")" = sleep ]; }

# together KIND NAME: wrong if the program is elsewhere.
together() {
  local theirs
  theirs=$(namespace "$1" "$inside")
  [ "$theirs" = "$(namespace "$1" $holder)" ] && return
  [ "$theirs" != "$(namespace "$1" self)" ] || wrong "the program is still in the $2 namespace from which it came"
  wrong "the program is in a $2 namespace of its own: you made one, and did not join"
}

user() {
  begin
  together user user
  end $program $holder
}

others() {
  begin
  together uts UTS
  together net network
  end $program $holder
}

clean() {
  local fd
  begin
  together user user
  for fd in "/proc/$inside/fd/"*; do
    case $(readlink "$fd") in
      user:* | uts:* | net:* | mnt:* | *pidfd*)
        wrong "the program's descriptor ${fd##*/} is $(readlink "$fd"): it holds the namespace open, and leads to it"
        ;;
    esac
  done
  end $program $holder
}

refuses() {
  local got
  as_ordinary_user
  # Process 1 is root's, and lets nobody look into it.
  got=$(cd .. && status ordinary own/join 1 touch own/ran)
  [ ! -e ran ] || wrong "process 1 cannot be joined, and the program ran all the same, where you were"
  [ "$got" != 0 ] || wrong "process 1 cannot be joined, and your exit status is 0"
}
