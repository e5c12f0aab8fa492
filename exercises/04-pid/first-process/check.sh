first() { unshare --user --map-root-user --pid --fork "$@"; }

numbers() {
  local own parent
  needs_user_namespaces
  own=$(answer own) parent=$(answer parent)
  [ "$parent" != 1 ] || wrong "the parent of process 1 is not process 1 itself: who is outside has no number in here"
  [ "$own" != 2 ] || wrong "the first program is no child of process 1: it is process 1 (unshare's own child)"
  same "the number of the first process" "$(first sh -c 'echo $$')" "$own"
  same "the number of its parent, seen from inside" "$(first sh -c 'echo $PPID')" "$parent"
}

protected() {
  local inside outside found=no
  needs_user_namespaces
  inside=$(answer survives_kill_from_inside) outside=$(answer survives_kill_from_outside)
  # A shell that is still there to answer.
  [ "$(first sh -c 'sh -c "kill -KILL 1"; echo here' 2>/dev/null)" != here ] || found=yes
  [ "$inside" = "$found" ] || wrong "a child sent SIGKILL to process 1, and you say '$inside': from inside, process 1 gets no signal that it has no handler for"
  # Not by the function: the shell's copy of itself would stand between.
  unshare --user --map-root-user --pid --fork sleep 1000 &
  local holder=$! one
  one=$(first_child $holder) || unfit "the first process did not start" "try again"
  kill -KILL "$one"
  found=no
  ! until_true 5 gone "$one" && found=yes
  end $holder
  same "whether it survives SIGKILL from outside (it is an ordinary process of yours)" $found "$outside"
}

the_end() {
  local said found=no
  needs_user_namespaces
  said=$(answer child_sleeps_on)
  mkfifo alive
  # The child holds the pipe's end open for as long as it lives.
  first sh -c 'exec sleep 1000 >alive & until [ -e started ]; do :; done' 2>/dev/null &
  exec 3<alive && touch started
  wait $!
  read -r -t 5 _ <&3
  [ $? -le 128 ] || found=yes
  same "whether the child sleeps on when process 1 has ended" $found "$said"
}
