start_of() { sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20; }

# begin NAME: a pod whose holder has this name; sets $holder. `pod` is its file.
begin() {
  needs_user_namespaces
  [ -e "$1" ] || cp "$(command -v sleep)" "$1" && chmod 755 "$1"
  (exec $ORDINARY unshare --user --map-root-user --net --ipc --uts "./$1" 1000) &
  holder=$!
  until_true 5 is_named "$1" || unfit "a pod could not be made" "podling doctor says why"
  echo "$holder $(start_of $holder)" >pod
}
is_named() { [ "$(cat /proc/$holder/comm)" = "$1" ]; }

# act WORD…: the student's program, as an ordinary user in a directory where he may write; sets $got to its status.
act() {
  local own=$ORDINARY
  [ -x ./reused-pid ] || { cp "$PROGRAM_FILE" reused-pid && chmod 755 reused-pid; }
  $own timeout 5 ./reused-pid "$@"
  got=$?
}

# nobody_is_run MESSAGE
nobody_is_run() {
  act run pod sh -c 'echo here >ran'
  [ ! -e ran ] || wrong "$1 and run has started the program all the same"
  [ "$got" != 0 ] || wrong "$1 and run ends with 0"
}

joins() {
  local kind mine theirs
  mkdir -m 777 own && cd own || exit
  begin holder
  # The check's own words first: the number of a process that is not the holder any more.
  echo "$holder 1" >pod
  nobody_is_run "process $holder has another start time than the file says: it got the number later,"
  echo "1 $(start_of 1)" >pod
  nobody_is_run "the file names process 1, which is not yours,"
  end $holder
  echo "$holder 1" >pod
  nobody_is_run "nobody has the number $holder any more,"
  # A holder whose name is a trap for who counts words.
  begin 'a) Z 1 (b'
  act run pod sh -c 'for kind in user net ipc uts; do readlink /proc/$$/ns/$kind; done >seen'
  [ "$got" = 0 ] || wrong "the holder lives, its name is 'a) Z 1 (b', its start time is that of the file, and run fails with $got"
  for kind in user net ipc uts; do
    mine=$(grep "^$kind:" seen) theirs=$(namespace $kind $holder)
    [ "$mine" = "$theirs" ] || wrong "the program is in the namespace $mine, and the pod's holder in $theirs"
  done
  end $holder
}

is_zombie() { [ -s zombie ] && grep -q '^State:.*Z' "/proc/$(cat zombie)/status"; }

ends() {
  mkdir -m 777 own && cd own || exit
  begin holder
  echo "$holder 1" >pod
  act end pod
  ! gone $holder || wrong "process $holder has another start time than the file says: it got the number later; and end has ended it"
  [ "$got" != 0 ] || wrong "process $holder has another start time than the file says, and end ends with 0"
  echo "$holder $(start_of $holder)" >pod
  act end pod
  [ "$got" = 0 ] || wrong "the holder lives, its start time is that of the file, and end fails with $got"
  until_true 5 gone $holder || wrong "end ends with 0, and the holder still runs"
  # Ended, and not waited for: its number and its start time are still there.
  # It ends when its parent is a sleep, which does not know that it has a child.
  (exec $ORDINARY sh -c 'sh -c "echo \$\$ >new; mv new zombie; until grep -q sleep /proc/\$PPID/comm; do :; done" & exec sleep 1000') &
  holder=$!
  until_true 5 is_zombie || unfit "no zombie could be made" "try again"
  echo "$(cat zombie) $(start_of "$(cat zombie)")" >pod
  act end pod
  [ "$got" != 0 ] || wrong "the holder has ended already (it is a zombie), and end ends with 0, as if it had ended it"
  end $holder
}

holds_nothing() {
  local fd
  mkdir -m 777 own && cd own || exit
  begin holder
  act run pod sh -c '(ls -l /proc/$$/fd) >descriptors'
  [ "$got" = 0 ] || wrong "the holder lives, its start time is that of the file, and run fails with $got"
  fd=$(grep -o '[0-9]* -> \(user\|net\|ipc\|uts\):.*\|[0-9]* -> .*pidfd.*' descriptors | head -1)
  [ -z "$fd" ] || wrong "the program holds descriptor $fd: it keeps a namespace alive, or leads to it"
  end $holder
}
