# image [SETTING=VALUE…]: makes an image and says its five digests, a line each. The settings are what somebody changes.
image() {
  local level=9 lower=old time=1 order="lower upper" cmd=sh note='' name=first
  local layer blob mediatype config manifest diff=() ids=() chain='' layers=''
  local "$@"
  rm -rf image && mkdir -p image/blobs image/lower image/upper
  echo $lower >image/lower/file
  seq 5000 >image/upper/text
  find image/lower image/upper -exec touch --date=@1 {} +
  touch --date=@"$time" image/upper/text
  for layer in $order; do
    tar --format=ustar --owner=0 --group=0 --numeric-owner --mode=644 --sort=name -cf image/$layer.tar -C image/$layer .
    ids+=("$(digest image/$layer.tar)")
    blob=image/$layer.blob mediatype=layer.v1.tar+gzip
    if [ $layer = upper ] && [ $level = 0 ]; then
      cp image/$layer.tar $blob
      mediatype=layer.v1.tar
    elif [ $layer = upper ]; then
      gzip -n -$level <image/$layer.tar >$blob
    else
      gzip -n <image/$layer.tar >$blob
    fi
    layers+=${layers:+,}$(describe $mediatype $blob)
    diff+=("\"${ids[-1]}\"")
    if [ -z "$chain" ]; then chain=${ids[-1]}; else chain=$(printf '%s %s' "$chain" "${ids[-1]}" | digest -); fi
  done
  config=image/config
  printf '{"os":"linux","architecture":"amd64","config":{"Cmd":["%s"]},"rootfs":{"type":"layers","diff_ids":[%s,%s]}}' $cmd "${diff[@]}" >$config
  manifest=image/manifest
  printf '{"schemaVersion":2,"config":%s,"layers":[%s]%s}' "$(describe config.v1+json $config)" "$layers" "$note" >$manifest
  printf '{"schemaVersion":2,"manifests":[%s],"name":"%s"}' "$(describe manifest.v1+json $manifest)" $name >image/index.json
  printf '%s %s\n' L "$(digest image/upper.blob)" D "$(digest image/upper.tar)" I "$(digest $config)" M "$(digest $manifest)" C "$chain"
}
digest() { echo "sha256:$(sha256sum "$@" | cut -d' ' -f1)"; }
describe() { printf '{"mediaType":"application/vnd.oci.image.%s","digest":"%s","size":%s}' "$1" "$(digest "$2")" "$(stat -c %s "$2")"; }

# compare KEY SETTING=VALUE: the student's answer, against what changes then.
compare() {
  local said seen letter missing='' extra=''
  said=$(answer "$1")
  [ -e before ] || image >before
  image "$2" >after
  seen=$(diff before after | sed -n 's/^> \(.\) .*/\1/p' | tr -d '\n')
  seen=${seen:-none}
  [ "$said" != "$seen" ] || return 0
  [[ "$said" =~ ^([LDIMC]+|none)$ ]] || wrong "$1 is '$said': letters of L, D, I, M and C are wanted, or none"
  for letter in L D I M C; do
    case "${said/none/} ${seen/none/}" in
      *$letter*\ *$letter*) ;;
      *$letter*\ *) extra+=$letter ;;
      *\ *$letter*) missing+=$letter ;;
    esac
  done
  [ -z "$missing" ] || wrong "$1 is '$said', and ${missing:0:1} changes, too. ($(why "${missing:0:1}"))"
  [ -z "$extra" ] || wrong "$1 is '$said', but ${extra:0:1} does not change. ($(why "${extra:0:1}"))"
  wrong "$1 is '$said': write the letters in the order L, D, I, M, C, and each once"
}
why() {
  case $1 in
    L) echo "It is the digest of the blob as it travels." ;;
    D) echo "It is the digest of the tar file, before it is compressed." ;;
    I) echo "In the configuration stand the diff ids, in their order, and what is to be run." ;;
    M) echo "In the manifest stand the digests of the configuration and of the blobs." ;;
    C) echo "It is made of the diff ids of the stack, from the lowest on." ;;
  esac
}

travel() {
  compare compressed level=1
  compare plain level=0
}

content() {
  compare lower lower=new
  compare touched time=2
  compare swapped "order=upper lower"
}

wishes() {
  compare cmd cmd=ash
  compare annotation 'note=,"annotations":{"note":"yes"}'
  compare name name=second
}
