# attack: a pod with the vault in it, and the student's program beside it; what it prints is in $one, $two, $three.
# shellcheck disable=SC2016
attack() {
  needs_user_namespaces
  cp "$(command -v sleep)" vault && chmod 755 vault
  mkdir -m 777 safe
  a=a$RANDOM$RANDOM b=b$RANDOM$RANDOM c=c$RANDOM$RANDOM
  # Process 1 ends last, and with it whatever else is in the pod.
  (exec ${STUDENT-} timeout 10 unshare --user --map-root-user --pid --fork --mount-proc sh -c '
    export HERE="$PWD"
    SECRET=$1 unshare --mount sh -c "
      mount -t tmpfs safe safe && cd safe && echo \"$2\" >secret && echo \"$3\" >deleted || exit
      exec 7<deleted && rm deleted && exec \"$HERE/vault\" 1000 >/dev/null 2>&1" &
    until [ "$(cat /proc/$!/comm)" = vault ]; do [ -e /proc/$! ] || exit 99; done
    unshare --mount "$PROGRAM_FILE"
    exit 0' pod $a $b $c >got) || unfit "the pod could not be made" "podling doctor says what is missing"
  { read -r one; read -r two; read -r three; } <got
  return 0
}

environment() {
  local a b c one two three
  attack
  [ -n "$one" ] || wrong "the first line is empty: the vault's environment was not found"
  same "the first line" "$a" "$one"
}

directory() {
  local a b c one two three
  attack
  [ -n "$two" ] || wrong "the second line is empty: the file in the vault's current directory was not found"
  same "the second line" "$b" "$two"
}

deleted() {
  local a b c one two three
  attack
  [ -n "$three" ] || wrong "the third line is empty: the deleted file was not found"
  same "the third line" "$c" "$three"
}
