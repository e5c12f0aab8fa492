# left: how many segments there are. (A line of headings, and a line for each.)
left() { in_ipc tail -n +2 /proc/sysvipc/shm | wc -l; }

# What a PROGRAM of ours does: says what it found, in the file `found`, and ends with 7.
# shellcheck disable=SC2016
LOOK='
  printf "%s %s\n" "${SEGMENT-}" "$(awk -v id="${SEGMENT-}" "\$2 == id { print \$4 }" /proc/sysvipc/shm)" >found
  [ -z "$(command -v perl)" ] || perl -e "shmread(\$ENV{SEGMENT}, \$it, 0, 5) or exit 1; print \$it" >text'

# usable: wrong unless our PROGRAM, which has ended, could use the segment.
usable() {
  local id size
  [ -e found ] || wrong "the program was not run: your program ended with ${1-} before"
  read -r id size <found
  [ -n "$id" ] || wrong "the program has no variable SEGMENT"
  [ -n "$size" ] || wrong "the program was told the segment $id, and there is none: it was gone before it ran"
  same "the segment's size" 4096 "$size"
  [ ! -e text ] || [ "$(cat text)" = hello ] || wrong "the segment does not begin with 'hello' when the program attaches it"
}

ended() {
  local got
  own_ipc
  got=$(status in_ipc "$PROGRAM_FILE" sh -c "$LOOK; exit 7")
  usable "$got"
  same "the exit status" 7 "$got"
  [ "$(left)" = 0 ] || wrong "the program has ended, and so have you, and the segment is still there"
}

missing() {
  local got
  own_ipc
  got=$(status in_ipc "$PROGRAM_FILE" ./missing)
  same "the exit status, with a program that is missing," 127 "$got"
  [ "$(left)" = 0 ] || wrong "you ended with $got, and the segment is still there"
}

killed() {
  local lend
  own_ipc
  (exec $IN_IPC "$PROGRAM_FILE" sh -c "$LOOK; echo \$\$ >new; mv new looked; exec sleep 1000") &
  lend=$!
  until_true 5 eval 'test -e looked || gone $lend'
  if [ ! -e looked ]; then wait $lend; usable $?; fi
  usable
  # The program lives on, but has nothing attached.
  kill -KILL $lend
  until_true 5 gone $lend
  [ "$(left)" = 0 ] || wrong "you were killed, and the segment is still there: nobody was left who would remove it"
  end "$(cat looked)" $lend
}
