# inside FLAGS SCRIPT: runs a script as root of a new user namespace, made by an ordinary user, in a directory of his.
inside() {
  [ -d own ] || { mkdir -m 777 own && (cd own && ordinary mkdir dir && cd dir && ordinary touch mine && ordinary chmod 000 mine); }
  # shellcheck disable=SC2086
  (cd own/dir && ordinary unshare --user --map-root-user $1 sh -c "$2") 2>&1
}

# try KEY FLAGS SCRIPT: the student's answer, against what happens.
try() {
  local said seen=no words
  said=$(answer "$1")
  [[ "$said" = yes || "$said" = no ]] || wrong "$1 is '$said', and may be: yes no"
  words=$(inside "$2" "$3") && seen=yes
  words=$(tail -1 <<<"$words")
  [ "$said" = $seen ] || wrong "$1 is '$said'; seen: \`$3\` $([ $seen = yes ] && echo "succeeded" || echo "was refused ($words)")"
}

allowed() {
  needs_user_namespaces
  needs_program hostname hostname
  try tmpfs --mount 'mkdir -p here && mount -t tmpfs none here'
  try hostname_uts --uts 'hostname other'
  try mode_000 '' 'cat mine'
}

refused() {
  needs_user_namespaces
  needs_program hostname hostname
  try hostname '' 'hostname other'
  try chown_1 '' 'chown 1 mine'
  try device '' 'mknod null c 1 3'
  try environ_1 '' 'cat /proc/1/environ >/dev/null'
}

names() {
  local said seen
  needs_user_namespaces
  said=$(answer owner)
  seen=$(inside '' 'stat -c %u /proc/1')
  [ "$said" != 0 ] || wrong "owner is 0; seen: $seen. 0 inside is you, and process 1 is not yours"
  same "owner" "$seen" "$said"
}
