# begin: the student's program, with one that stays. Sets $program and $inside.
begin() {
  local first
  needs_user_namespaces
  "$PROGRAM" sh -c 'echo $$ >new; mv new pid; exec sleep 1000' &
  program=$!
  until_true 5 eval 'test -e pid || gone $program' || wrong "the program was not started"
  [ -e pid ] || { wait $program; wrong "the program was not started: you ended before, with $?. A step came too late, or too early"; }
  inside=$(cat pid)
  until_true 5 is_sleep "$inside"
  [ "$(namespace user "$inside")" != "$(namespace user self)" ] || wrong "the program is in no new user namespace"
  read -r first _ <"/proc/$inside/uid_map"
  [ "$first" != 0 ] || wrong "the program is root inside: it was to stay user 1000"
}
is_sleep() { [ "$(field Name "$1")" = sleep ]; }

# CAP_NET_BIND_SERVICE.
KEPT=10

# has SET: whether the program's set has it.
has() { ((0x$(field "$1" "$inside") >> KEPT & 1)); }

# only SET: wrong if the program's set has others, or has it not.
only() {
  local value=$((0x$(field "$1" "$inside")))
  has "$1" || wrong "$1 of the program has no CAP_NET_BIND_SERVICE: it is $(field "$1" "$inside")"
  [ $value = $((1 << KEPT)) ] || wrong "$1 of the program has more than CAP_NET_BIND_SERVICE: it is $(field "$1" "$inside")"
}

has_it() {
  begin
  if ! has CapEff; then
    has CapAmb || ! has CapInh ||
      wrong "CapEff of the program is $(field CapEff "$inside"): it is inheritable, but execve gave it only to programs whose files ask for it"
    wrong "CapEff of the program is $(field CapEff "$inside"): execve took the capability away"
  fi
  end $program
}

no_more() {
  begin
  only CapEff
  only CapPrm
  only CapInh
  only CapAmb
  end $program
}

bounded() {
  begin
  only CapBnd
  has CapEff || wrong "the bounding set is right, but the program has no capability"
  end $program
}
