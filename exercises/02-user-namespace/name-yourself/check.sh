# begin: the student's program, with one that says its pid and stays. Sets $program and $inside.
begin() {
  needs_user_namespaces
  "$PROGRAM" sh -c 'echo $$ >new; mv new pid; exec sleep 1000' &
  program=$!
  until_true 5 eval 'test -e pid || gone $program' || wrong "the program was not started"
  [ -e pid ] || { wait $program; wrong "the program was not started: you ended before, with $?. Was one of your writes refused?"; }
  inside=$(cat pid)
  [ "$(namespace user "$inside")" != "$(namespace user self)" ] || wrong "the program is in no new user namespace"
}

# mapped FILE NAME WANTED OUTSIDE: compares the one line of a map.
mapped() {
  local first outside count more
  read -r first outside count more <<<"$(tr '\n' ' ' <"/proc/$inside/$1")"
  [ -n "$first" ] || wrong "nothing is mapped in $1: inside, the program has no $2 and is shown as $(cat /proc/sys/kernel/overflowuid)"
  [ "$outside" = "$4" ] || wrong "$1 says that $first inside is $outside outside; you are $4 there"
  [ "$first" != 0 ] || [ "$3" = 0 ] || wrong "inside, the program's $2 is 0: that is root, and not $3"
  [ "$first" = "$3" ] || wrong "inside, the program's $2 is $first, and should be $3"
  [ "$count$more" = 1 ] || wrong "$1 maps more than one $2"
}

user() {
  begin
  mapped uid_map user 1000 "$(field Uid "$inside" | cut -f 2)"
  end $program
}

group() {
  begin
  mapped gid_map group 100 "$(field Gid "$inside" | cut -f 2)"
  end $program
}

given_up() {
  begin
  grep -q . "/proc/$inside/gid_map" || wrong "no group is mapped yet"
  same "/proc/PID/setgroups" deny "$(cat "/proc/$inside/setgroups")"
  end $program
}
