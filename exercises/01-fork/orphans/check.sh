# one_of KEY WORD…: sets $said to the student's answer, which must be one of these words.
one_of() {
  local word key=$1
  said=$(answer "$key")
  shift
  for word; do [ "$said" != "$word" ] || return 0; done
  wrong "$key is '$said', and may be: $*"
}

zombies() {
  local parent zombie killed=no memory=no exists=no state
  # sleep does not wait for a child that it does not know to have.
  sh -c 'sh -c "echo \$\$ >new; mv new zombie; exec true" & exec sleep 1000' &
  parent=$!
  until_true 5 test -e zombie
  zombie=$(cat zombie)
  until_true 5 is_sleep $parent && until_true 5 gone "$zombie"
  kill -0 "$zombie" && exists=yes
  kill -KILL "$zombie"
  a_moment
  [ -e "/proc/$zombie" ] || killed=yes
  state=$(field State "$zombie")
  [ -n "$(field VmSize "$zombie")" ] && memory=yes
  kill -KILL $parent
  until_true 5 gone $parent
  one_of killed yes no
  [ "$said" = $killed ] || wrong "killed is '$said'; seen: after SIGKILL process $zombie was still there, in state $state"
  one_of memory yes no
  [ "$said" = $memory ] || wrong "memory is '$said'; seen: /proc/$zombie/status had no line VmSize any more"
  one_of kill_0 yes no
  [ "$said" = $exists ] || wrong "kill_0 is '$said'; seen: kill -0 $zombie succeeded, though the process had ended"
}
is_sleep() { [ "$(field Name "$1")" = sleep ]; }

# As long as a signal takes: a process is killed, and has ended.
a_moment() {
  sleep 1000 &
  kill -KILL $!
  wait $! 2>/dev/null
}

orphans() {
  local orphan parent told=no now
  # P makes Q and ends; Q goes on.
  sh -c 'sleep 1000 & echo $! >orphan' &
  parent=$!
  wait $parent
  orphan=$(cat orphan)
  a_moment
  gone "$orphan" && told=yes
  case $(field PPid "$orphan") in
    $$) now=shell ;;
    $PPID) now=podling-learn ;;
    0) now=nobody ;;
    *) now=$(field PPid "$orphan") ;;
  esac
  kill -KILL "$orphan"
  until_true 5 gone "$orphan"
  one_of new_parent shell podling-learn nobody
  [ "$said" = "$now" ] || wrong "new_parent is '$said'; seen: the parent of Q was $now: who asked for orphans, and no other ancestor"
  one_of told yes no
  [ "$said" = $told ] || wrong "told is '$said'; seen: after its parent's end process $orphan still ran"
}

statuses() {
  local said got
  said=$(answer status_263)
  got=$(status sh -c 'exit 263')
  [ "$said" != 263 ] || wrong "status_263 is 263; seen: $got. How many bits has the kernel for what a process gives to exit?"
  [ "$said" = "$got" ] || wrong "status_263 is '$said'; seen: $got"
}
