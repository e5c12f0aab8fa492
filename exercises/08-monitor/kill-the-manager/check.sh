# begin COMMAND…: starts it by the student's program, in the directory `d`; wrong if it does not return.
begin() {
  timeout 5 "$PROGRAM" d "$@" >begun 2>&1 </dev/null
  case $? in
    0) ;;
    124) wrong "it did not return within 5 seconds: it waits for the program itself" ;;
    *) wrong "starting a program failed: $(tail -1 begun)" ;;
  esac
}

# the_end: the exit file's content, when it is there.
the_end() {
  until_true 5 test -s d/exit || wrong "the program has ended, and there is no d/exit: nobody waited for it"
  cat d/exit
}

returns() {
  local pid
  mkfifo go
  begin sh -c 'read -r _ <go; exit 7'
  [ -s d/pid ] || wrong "start has returned, and there is no d/pid yet"
  pid=$(cat d/pid)
  grep -qa 'read -r _' "/proc/$pid/cmdline" 2>/dev/null || wrong "d/pid says $pid, and that is not the program"
  [ ! -e d/exit ] || wrong "d/exit is there, and the program still runs"
  echo >go
  the_end >/dev/null
}

remembers() {
  begin sh -c 'exit 7'
  same "d/exit for a program that exits with 7" 7 "$(the_end)"
  rm -r d
  begin sh -c 'kill -KILL $$'
  [ "$(the_end)" != 0 ] || wrong "a program that SIGKILL ended is remembered as a success"
  same "d/exit for a program that SIGKILL ended" 137 "$(cat d/exit)"
}

keeps_the_log() {
  mkfifo go
  begin sh -c 'echo early; read -r _ <go; echo late; echo error >&2'
  ! grep -q early begun || wrong "the program writes to the command's own output: who reads that waits for ever"
  echo >go
  the_end >/dev/null
  [ -e d/log ] || wrong "there is no d/log"
  same "d/log" "early late error" "$(tr '\n' ' ' <d/log | sed 's/ $//')"
}

survives_the_manager() {
  local pid session
  mkfifo go
  # A session of its own, as a terminal has; all in it are killed.
  setsid sh -c 'echo $$ >session; timeout 5 "$PROGRAM" d sh -c "trap \"\" HUP; read -r _ <go; exit 7" >begun 2>&1; : >returned; sleep 1000' &
  until_true 8 test -e returned || wrong "start did not return"
  [ -s d/pid ] || wrong "start has returned, and there is no d/pid yet: $(tail -1 begun)"
  session=$(cat session) pid=$(cat d/pid)
  kill -KILL $(in_session "$session") 2>/dev/null
  until_true 5 gone "$session"
  ! gone "$pid" || wrong "the program died with the session that it was started in"
  echo >go
  until_true 3 test -s d/exit || wrong "the monitor died with the session that it was started in: nobody has written d/exit"
  same "d/exit" 7 "$(cat d/exit)"
}

# in_session SESSION: the numbers of its processes.
in_session() {
  local stat
  for stat in /proc/[0-9]*/stat; do
    # After the name, which may hold anything: state, parent, group, session.
    sed -n "s/^\([0-9]*\) (.*) [A-Z] [0-9]* [0-9]* $1 .*/\1/p" "$stat" 2>/dev/null
  done
}

tells_what_cannot_start() {
  local got
  got=$(PATH=/usr/bin:/bin status timeout 5 "$PROGRAM" d no-such-program)
  [ "$got" != 0 ] || wrong "a program that is not there was started with success: the command left before anybody knew"
  same "the exit status for a program that is not there" 127 "$got"
  [ ! -e d/pid ] || wrong "there is no program, but a d/pid"
}
