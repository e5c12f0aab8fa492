# pod: a holder with a tmpfs of its own on /dev/shm, whose mounts others could see, if they were shared; sets $holder.
pod() {
  needs_user_namespaces
  (exec ${STUDENT-} unshare --user --map-root-user --net --ipc --uts --mount sh -c '
    mount -t tmpfs shm /dev/shm && mount --make-rshared / && exec sleep 1000') &
  holder=$!
  until_true 5 is_sleep $holder || unfit "a pod could not be made" "podling doctor says why"
}
is_sleep() { [ "$(field Name "$1")" = sleep ]; }

# member COMMAND…: in the pod, by the student's program, until its end. Sets $said.
member() {
  said=$(timeout 5 "$PROGRAM" $holder sh -c "$1" 2>errors) || wrong "a member of the pod could not do this: $1. $(tail -1 errors)"
}

shared() {
  local holder first said name=podling-learn-$$
  pod
  member "echo hello >/dev/shm/$name; pwd"
  if [ -e /dev/shm/$name ]; then
    as_student rm -f /dev/shm/$name
    wrong "what a member writes into /dev/shm is in the machine's /dev/shm"
  fi
  [ "$said" = "$PWD" ] || wrong "the program begins in $said, and not where it was called"
  member "cat /dev/shm/$name 2>/dev/null || echo nothing"
  same "what a second member finds in the file that the first has written into /dev/shm" hello "$said"
  same "what the holder's /dev/shm has" hello "$(cat /proc/$holder/root/dev/shm/$name 2>/dev/null || echo nothing)"
  first=$holder
  pod
  member "cat /dev/shm/$name 2>/dev/null || echo nothing"
  same "what a member of another pod finds of it" nothing "$said"
  end $first $holder
}

own_mounts() {
  local holder said waiting place=/dev/shm/place
  pod
  mkdir -m 777 place
  touch place/outside
  mkfifo -m 666 go
  member 'mount -t tmpfs mine place && ls place'
  [ -z "$said" ] || wrong "a member has mounted an empty file system on \`place\`, and \`ls place\` shows it $said: is its current directory in its own mount namespace?"
  [ -e place/outside ] || wrong "what a member has mounted can be seen on the machine"
  # One stays, with its mount.
  member "mkdir $place && touch $place/below"
  "$PROGRAM" $holder sh -c "mount -t tmpfs mine $place && echo >mounted && read -r _ <go" &
  waiting=$!
  until_true 5 eval '[ -e mounted ] || gone $waiting' && [ -e mounted ] || wrong "a member could not mount anything"
  member "ls $place"
  [ "$said" = below ] || wrong "what one member has mounted another sees: they are in one mount namespace, or what is mounted spreads"
  ! grep -q " $place " "/proc/$holder/mountinfo" || wrong "what a member has mounted the holder sees: it spreads from a copy to where it was copied from"
  echo >go
  wait $waiting
  end $holder
}
