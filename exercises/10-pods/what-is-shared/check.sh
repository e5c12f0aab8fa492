TTL=/proc/sys/net/ipv4/ip_default_ttl

# pod: makes it; sets $holder, $a and $b: the numbers of the holder and of the two containers' first processes; and
# $launchers, who started the two.
pod() {
  needs_user_namespaces
  needs_program hostname hostname
  (exec ${STUDENT-} unshare --user --map-root-user --net --ipc --uts sleep 1000) &
  holder=$!
  until_true 5 is_sleep $holder || unfit "a pod could not be made" "podling doctor says why"
  launchers=
  container
  a=$started
  container
  b=$started
}
is_sleep() { [ "$(field Name "$1")" = sleep ]; }

# container: one more in the pod; its first process is $started.
container() {
  (exec ${STUDENT-} nsenter --target $holder --user --preserve-credentials --net --ipc --uts \
    unshare --mount --pid --fork sleep 1000) &
  launchers+=" $!"
  started=$(first_child $!) && until_true 5 is_sleep "$started" || unfit "a container could not be made" "podling doctor says why"
}

# in_it PID COMMAND…: runs it where that container is.
in_it() {
  local pid=$1
  shift
  as_student nsenter --target "$pid" --user --preserve-credentials --net --ipc --uts --mount --pid "$@"
}

# ttl PID: 77, or what the machine has.
ttl() {
  [ "$(in_it "$1" cat $TTL)" = 77 ] && echo 77 || echo old
}

together() {
  local holder launchers a b started localhost=no hostname=no segment=no id ttl
  pod
  ! in_it "$a" bash -c ': </dev/tcp/127.0.0.1/9' 2>&1 | grep -q refused || localhost=yes
  in_it "$a" hostname pod-of-mine
  [ "$(in_it "$b" cat /proc/sys/kernel/hostname)" != pod-of-mine ] || hostname=yes
  in_it "$a" sh -c "echo 77 >$TTL"
  ttl=$(ttl "$b")
  id=$(in_it "$a" ipcmk -M 4096 | sed 's/.*: //')
  ! in_it "$b" ipcs -m -i "$id" | grep -q 4096 || segment=yes
  end $launchers $holder
  compare localhost $localhost "A new network has one device, lo, and it is off until somebody turns it on"
  compare hostname $hostname "The hostname belongs to the UTS namespace"
  compare ttl "$ttl" "Most of what is in /proc/sys/net belongs to a network namespace"
  compare segment $segment "Segments belong to the IPC namespace"
}

apart() {
  local holder launchers a b started mount=no kill=no
  pod
  as_student touch /tmp/podling-learn-$$
  in_it "$a" mount -t tmpfs none /tmp || unfit "a tmpfs could not be mounted" "podling doctor"
  in_it "$b" test -e /tmp/podling-learn-$$ || mount=yes
  as_student rm -f /tmp/podling-learn-$$
  # By the number that it has outside; inside, the process may have none at all.
  ! in_it "$a" sh -c "kill -KILL $b" 2>/dev/null || kill=yes
  end $launchers $holder
  compare mount $mount "Each has a mount namespace of its own: a copy, in which only its own mounts appear"
  compare kill $kill "In A's pid namespace B has no number by which A could name it"
}

afterwards() {
  local holder launchers a b started still_run=no ttl through=nobody
  pod
  in_it "$a" sh -c "echo 77 >$TTL"
  kill -KILL $holder
  until_true 5 gone $holder
  gone "$a" || gone "$b" || still_run=yes
  ttl=$(ttl "$b")
  ! enters $holder || through=holder
  ! enters "$a" || through=a
  end $launchers
  compare still_run $still_run "Whoever held the namespaces is not the parent of those who are in them, and not their process 1"
  compare ttl_afterwards "$ttl" "A namespace is there as long as somebody is in it"
  compare joined_through $through "Every process that is in it is a door"
}
enters() { as_student nsenter --target "$1" --user --preserve-credentials --net true 2>/dev/null; }
