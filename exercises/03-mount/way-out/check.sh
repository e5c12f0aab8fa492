# break_out KIND: a secret, and the student's program in a container. Compares what it prints.
break_out() {
  local secret got mark=0
  needs_user_namespaces
  PATH=$PATH:/usr/sbin:/sbin
  needs_program pivot_root util-linux
  secret=secret-$RANDOM$RANDOM
  mkdir -m 777 outside root
  echo $secret >outside/file
  got=$(KIND=$1 as_student unshare --user --map-root-user --mount sh -c "$CONTAINER" container "$PWD/outside/file" 2>errors) || mark=$?
  cat errors
  [ $mark != 99 ] || unfit "a root could not be put together for the container" "podling doctor says what is missing"
  [ -n "$got" ] || wrong "$2"
  same "what your program printed" "$secret" "$got"
}

# A root of this machine's programs, and a container in it.
# shellcheck disable=SC2016
CONTAINER='
  mount -t tmpfs none root && cd root && mkdir usr old || exit 99
  for name in bin lib lib32 lib64 sbin; do
    if [ -L /$name ]; then cp -P /$name $name
    elif [ -d /$name ]; then mkdir $name && mount --rbind /$name $name
    fi || exit 99
  done
  mount --rbind /usr usr && cp "$PROGRAM_FILE" way-out || exit 99
  case $KIND in
    descriptor)
      exec 7<../outside
      # umount asks /proc, which only the old root has.
      mount -o remount,bind,ro . && pivot_root . old && cd / && chroot /old umount --lazy / || exit 99
      exec /way-out "$1"
      ;;
    cover)
      pivot_root . old && cd / && mount -t tmpfs none /old && exec /way-out "$1"
      ;;
    chroot)
      mount -o remount,bind,ro . && exec chroot . /way-out "$1"
      ;;
  esac
  exit 99'

by_descriptor() {
  break_out descriptor "in the container with a forgotten descriptor your program did not find the file"
}

by_cover() {
  break_out cover "in the container whose old root is covered your program did not find the file"
}

by_chroot() {
  break_out chroot "in the container made by chroot your program did not find the file"
}
