# Words of the recipes. Each recipe runs in an empty folder of its own; "$disk" is what it makes.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TZ=UTC E2FSPROGS_FAKE_TIME=1700000000 SOURCE_DATE_EPOCH=1700000000
umask 022

# A disk of this size with nothing on it.
new() { truncate -s "$1" "$disk"; }
# Something of labels.py on the disk.
label() { verb=$1; shift; python3 "$gallery/labels.py" "$verb" "$disk" "$@"; }
# An image file at an offset of the disk.
put() { label put "$1" "$2"; }
# A partition table from sfdisk's own words, on standard input.
table() { sfdisk --quiet --no-reread --no-tell-kernel --wipe never --wipe-partitions never "$disk"; }
# In the golden text this value, which a tool draws by lot, is a question mark.
mask() { [ -z "$1" ] || echo "$1" >>"$disk.masks"; }
# ... the one that blkid finds in a file under this name.
lot() { mask "$(blkid -p -o value -s "$2" "$1")"; }

# ext FILE SIZE UUID LABEL [FOLDER [OPTIONS...]]: ext4, with a folder's files.
ext() {
  truncate -s "$2" "$1"
  file=$1 uuid=$3 name=$4 from=${5:-}
  [ $# -lt 5 ] && shift 4 || shift 5
  mke2fs -q -F -t ext4 -U "$uuid" -L "$name" -E "hash_seed=$uuid,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0" \
    ${from:+-d "$from"} "$@" "$file"
}
# xfs FILE SIZE UUID LABEL
xfs() { truncate -s "$2" "$1"; mkfs.xfs -q -m "uuid=$3" ${4:+-L "$4"} "$1"; }
# fat FILE SIZE WIDTH ID LABEL [OPTIONS...]
fat() {
  truncate -s "$2" "$1"
  file=$1 width=$3 id=$4 name=$5
  shift 5
  mkfs.vfat --invariant -F "$width" -i "$id" -n "$name" "$@" "$file" >/dev/null
}
# Files of a folder into a FAT image.
fill() { for entry in "$2"/*; do mcopy -s -m -i "$1" "$entry" ::; done; }
# ntfs FILE SIZE SERIAL LABEL
ntfs() {
  truncate -s "$2" "$1"
  mkfs.ntfs -q -F -Q -L "$4" "$1" >/dev/null 2>&1
  ntfslabel --new-serial="$3" "$1" >/dev/null 2>&1
}
# luks FILE SIZE TYPE UUID
luks() {
  truncate -s "$2" "$1"
  printf secret | cryptsetup luksFormat --batch-mode --type "$3" --uuid "$4" --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$1" -
}
# text PATH WORDS: a file with a line, and the folders above it.
text() { mkdir -p "$(dirname "$1")"; printf '%s\n' "$2" >"$1"; }
# A root file system's /etc/os-release.
system() { text "$1/etc/os-release" "PRETTY_NAME=\"$2\"
NAME=\"$3\"
ID=$4
VERSION_ID=\"$5\""; mkdir -p "$1/usr/bin" "$1/var/lib" "$1/home"; text "$1/etc/hostname" old; }
# What Longhorn keeps in a folder of its own: one replica of one volume.
longhorn() {
  text "$1/longhorn-disk.cfg" '{"diskName":"default-disk","diskUUID":"99999999-9999-4999-8999-999999999999","diskDriver":""}'
  text "$1/replicas/pvc-0a1b2c3d-1111/volume.meta" '{"Size":2147483648,"Head":"volume-head-000.img","Dirty":true}'
  text "$1/replicas/pvc-0a1b2c3d-1111/volume-head-000.img" "someone's data"
}
