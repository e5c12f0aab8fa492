# say TEXT: begins to say it. Its pid is $!.
say() { (exec $IN_IPC "$PROGRAM_FILE" say "$1") & }

# said TEXT: says it, at once.
said() {
  say "$1"
  until_true 5 gone $! || wrong "${2:-the mailbox is empty, and 'say $1' does not end}"
  wait $! || wrong "'say $1' ended with $?, though the mailbox was empty"
}

# hear: what is heard now.
hear() { in_ipc timeout 3 "$PROGRAM_FILE" hear || wrong "${1:-a text was said, and nobody can hear it}"; }

# full TEXT: says TEXT while the mailbox holds another; it must wait. Its pid is $waiting.
full() {
  local pid got
  say "$1"
  pid=$! waiting=$!
  until_true 3 eval 'gone $pid || in_semop $pid' ||
    wrong "who finds the mailbox full waits, but it does not sleep: it looks again and again"
  gone $pid || return 0
  wait $pid
  got=$?
  [ $got = 0 ] || wrong "what was said while the mailbox was full has ended with $got: it is to wait"
  wrong "the mailbox was full, and 'say $1' has ended at once: $2"
}
# in_semop PID: whether the program sleeps, and in a call on semaphores. (Who may not know in which sees 0.)
in_semop() {
  [ "$(readlink "/proc/$1/exe")" = "$PROGRAM_FILE" ] && [ "$(field State "$1")" = "S (sleeping)" ] && grep -q 'sem\|^0$' "/proc/$1/wchan"
}

waits() {
  own_ipc
  said first
  full second "it was written over the first"
  same "what is heard first" first "$(hear)"
  until_true 5 gone $waiting || wrong "the first text was heard, and whoever waits to say the second still waits"
  same "what is heard then" second "$(hear)"
  said third
  full fourth "after some texts the mailbox takes two"
  same "what is heard third" third "$(hear)"
  until_true 5 gone $waiting || wrong "the third text was heard, and whoever waits to say the fourth still waits"
  same "what is heard last" fourth "$(hear)"
}

crowd() {
  local text number pids=()
  own_ipc
  text=$(printf 'x%.0s' {1..3000})
  for number in {1..10}; do
    say "$number $text $number"
    pids+=($!)
  done
  for number in {1..10}; do
    hear "ten texts were said, and only $((number - 1)) can be heard" >>all
  done
  until_true 5 all_gone "${pids[@]}" || wrong "all ten texts were heard, and somebody still waits to say his"
  sort -n all | while read -r number text other; do
    [ "$number" = "$other" ] || wrong "a text is a mixture of those of writers $number and $other"
    echo "$number"
  done | uniq >numbers
  same "how many of ten texts were heard" 10 "$(wc -l <numbers)"
}
all_gone() {
  local pid
  for pid; do gone "$pid" || return 1; done
}

impatient() {
  own_ipc
  said first
  full second "it was written over the first"
  kill -KILL $waiting
  until_true 5 gone $waiting
  same "what is heard, when somebody was killed who waited," first "$(hear)"
  said third "the mailbox is empty, but who was killed while he waited is still counted: nobody can say anything"
  same "what is heard afterwards" third "$(hear)"
}
