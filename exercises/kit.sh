# What the tests of the exercises are written with. Each test is a shell function in its exercise's check.sh, run by bash in
# an empty directory that is removed afterwards; everything that it starts is killed when it is over.
#
#   $PROGRAM        runs the student's program, as the student        $ANSWER   the directory of his files
#   $PROGRAM_FILE   the compiled file itself, for what is already run by as_student
#   $LEARN          podling-learn, which also plays the other side: "$LEARN" play manager|server|client (src/play.rs)
#
# A test passes by returning, and says `wrong` or `unfit` otherwise. Test facts that can be observed from outside; give each
# mistake that you can think of its own message, about the mistake and not about the test.

set -u

# wrong MESSAGE…: the answer is wrong, for this reason. Ends the test; in a subshell, too.
wrong() { verdict wrong "$*"; }

# unfit LACK CURE: this machine cannot tell. Ends the test; it is no fault of the student's.
unfit() { verdict unfit "$1" "${2-}"; }

# The first word counts. $$ is the test's own shell, also in a subshell.
verdict() {
  [ -s "$VERDICT" ] || printf '%s\n' "$@" >"$VERDICT"
  [ $BASHPID = $$ ] || kill -TERM $$
  exit 1
}

# same WHAT WANTED GOT: wrong unless they are the same.
same() { [ "$2" = "$3" ] || wrong "$1 is '$3', and should be '$2'"; }

# answer KEY: what the student wrote into answers.toml, without quotes. Wrong if he wrote nothing.
answer() {
  local line
  line=$(sed -n "s/^ *$1 *= *//p" "$ANSWER/answers.toml" | tail -1 | sed 's/ *#.*//; s/^"\(.*\)" *$/\1/; s/ *$//')
  [ -n "$line" ] && [ "$line" != "?" ] || wrong "answers.toml has no answer for $1"
  printf '%s\n' "$line"
}

# compare KEY TRUTH WHY [HOW]: the student's answer, against what was seen (or measured) just now.
compare() {
  local said
  said=$(answer "$1")
  [ "$said" = "$2" ] || wrong "$1 is '$said'; ${4:-seen}: $2. $3"
}

# compare_noted KEY WHY [HOW]: the same, where the check has noted the truth in the file seen/KEY.
compare_noted() { compare "$1" "$(cat "seen/$1")" "$2" "${3-}"; }

# until_true SECONDS COMMAND…: runs the command until it succeeds; fails when the time is over.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.02
  done
}

# first_child PID: the first child of a process, once it has one.
first_child() {
  local children
  until_true 5 has_child "$1" || return 1
  children=$(cat "/proc/$1/task/$1/children") && echo "${children%% *}"
}
has_child() { [ -n "$(cat "/proc/$1/task/$1/children" 2>/dev/null)" ]; }

# end PID…: kills these, and all that descend from them, and waits until they are gone. For what a test itself has started.
end() {
  local pid
  for pid; do
    # shellcheck disable=SC2046
    set -- $(cat "/proc/$pid/task/$pid/children")
    kill -KILL "$pid"
    [ $# = 0 ] || end "$@"
    wait "$pid"
    until_true 5 gone "$pid"
  done
} 2>/dev/null # the shell would say "Killed", as if the student's program had

# gone PID: whether the process has ended; a zombie has.
gone() { ! [ -e "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null; }

# namespace KIND PID: the number of a process's namespace.
namespace() { readlink "/proc/$2/ns/$1"; }

# status COMMAND…: runs it, its output into the file `output`, and prints its exit status.
status() {
  "$@" >output 2>&1
  echo $?
}

# needs_user_namespaces: unfit where an ordinary user may not make one.
needs_user_namespaces() {
  as_student unshare --user --map-root-user true 2>/dev/null && return
  if [ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null)" = 1 ]; then
    unfit "AppArmor forbids user namespaces to ordinary users" "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
  fi
  unfit "an ordinary user may not make a user namespace" "podling doctor says which setting it is"
}

# needs_program NAME PACKAGE: unfit where it is not installed.
needs_program() { command -v "$1" >/dev/null || unfit "there is no program $1" "install the package $2"; }

# as_student COMMAND…: runs it as the student's program is run. (Where answers are graded he is another user than the check.)
# In the background $! would be a shell's: write `(exec ${STUDENT-} COMMAND…) &` there.
as_student() { ${STUDENT-} "$@"; }

# ordinary COMMAND…: runs it as somebody who is not root, whoever checks. In the background: `(exec $ORDINARY COMMAND…) &`.
ordinary() { $ORDINARY "$@"; }
ORDINARY=${STUDENT-}
[ -n "$ORDINARY" ] || [ "$(id -u)" != 0 ] || ORDINARY="setpriv --reuid=29999 --regid=29999 --clear-groups"

# field NAME PID: a line of /proc/PID/status, without its name. Nothing, if there is no such process.
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$2/status" 2>/dev/null; }

# manager [OPTION…] PROGRAM…: starts it as systemd starts a service, in the background; sets $manager, and $service to its number.
# What happens from then on is in $EVENTS, a line each: told PID NAME=VALUE, ended PID STATUS.
manager() {
  rm -f "$EVENTS" notify
  "$LEARN" play manager "$EVENTS" "$@" &
  manager=$!
  until_true 5 test -s "$EVENTS" || unfit "a service could not be started" "look at the messages above"
  service=$(sed -n 's/^began //p' "$EVENTS")
}
# Beside the student's own directory, in which he could write it.
EVENTS=${VERDICT%/*}/events

# happened PATTERN: whether a line of $EVENTS is so.
happened() { grep -qxE "$1" "$EVENTS"; }

# heard: returns when the manager has written down all that it was told at `notify` before.
heard() { "$LEARN" play tell notify HEARD=all && until_true 5 happened "told .* HEARD=all"; }

# client SOCKET: connects to it, and prints what is said there.
client() { "$LEARN" play client "$1"; }

# needs_systemd: unfit where no systemd of the user's own answers.
needs_systemd() {
  systemctl --user show --property=Version >/dev/null 2>&1 ||
    unfit "no systemd of yours answers" "log in at the console or by ssh, and not with su"
}

# own_ipc: makes an IPC namespace for this test alone, so that nothing can be left behind on the machine. After it,
# in_ipc COMMAND… runs a command there, as the student; in the background: `(exec $IN_IPC COMMAND…) &`.
own_ipc() {
  needs_user_namespaces
  (exec ${STUDENT-} unshare --user --map-root-user --ipc sleep 1000) &
  # shellcheck disable=SC2064
  trap "end $!" EXIT
  until_true 5 sleeps $! || unfit "no IPC namespace could be made" "podling doctor says why"
  IN_IPC="${STUDENT-} nsenter --user --ipc --preserve-credentials --target $!"
}
in_ipc() { $IN_IPC "$@"; }

# sleeps PID: whether it has become the program sleep.
sleeps() { [ "$(field Name "$1")" = sleep ]; }
