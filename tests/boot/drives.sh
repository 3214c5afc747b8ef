# What prejoin makes of drives behind real drivers: one $part of it, as root, on a node; `==` begins a section.
# A disk has the program, the cluster file, and the images of node `server` for both sector sizes.
by=/dev/disk/by-id
small=$by/nvme-QEMU_NVMe_Ctrl_SMALL large=$by/nvme-QEMU_NVMe_Ctrl_LARGE mapped=$by/virtio-MAPPED
stick=$by/usb-QEMU_QEMU_HARDDISK_STICK-0:0
mountpoint --quiet /run/lab || { mkdir /run/lab && mount -o ro $by/virtio-LAB /run/lab; }
cd /run/lab || exit

section() { printf '\n== %s\n' "$*"; }
# Prints a command with what it says and how it ends.
show() { printf '$ %s\n' "$*"; "$@" 2>&1; echo "exit code $?"; }
prejoin() { timeout 300 ./prejoin "$@"; }
# Which NVMe drive the kernel finds first differs from start to start.
named() { sed "s/$(basename "$(readlink $small)")/nvmeSn1/g; s/$(basename "$(readlink $large)")/nvmeLn1/g"; }
# Looks at a disk and, if that may be confirmed, flashes it unattended.
flash() {
  said=$(show prejoin flash server "$@" --dry-run)
  echo "$said"
  token=$(sed -n 's/^Token: //p' <<<"$said")
  # What is shown before the writing was shown. Amounts and times differ from run to run.
  [ -z "$token" ] || show prejoin flash server "$@" --save /run/saved --confirm "$token" | sed '2,/^Token: /d; /^  /d'
}

look() {
  section disks
  show prejoin disk list | named | sort
  for disk in "$small" "$large" /dev/vda; do
    show prejoin disk inspect "$disk" | sed -n '1,3p; /^\(In use\|Health\)/,$p'
  done
  section the disk that runs
  show prejoin flash server /dev/vda --dry-run
}

# Drives of both sector sizes, and what the kernel sees on them afterwards.
nvme() {
  section sectors of 512 bytes
  flash "$small"
  seen "$small"
  system=$(sed -n 's/.*"system": "\(.*\)".*/\1/p' out/server.manifest.json)
  hash=$(sed -n 's/.*"root_hash": "\(.*\)".*/\1/p' "out/systems/$system.json")
  show veritysetup verify "$small-part2" "$small-part3" "$hash"
  section sectors of 4096 bytes
  flash "$large"
  flash "$large" --out out-4096 --accept DV-SMARTCRIT
  seen "$large"
  show cmp --bytes 512M "$small-part2" "$large-part2"
  show cmp "$small-part3" "$large-part3"
}
seen() {
  udevadm settle
  show lsblk --noheadings --raw --output NAME,SIZE,PHY-SEC,PARTLABEL,FSTYPE "$1"
  show sfdisk --verify "$1" | grep -v 'unused'
  for number in 1 6; do
    show fsck.vfat -n "$1-part$number" | grep -v 'fsck.fat\|clusters'
    show mount -o ro "$1-part$number" /mnt
    find /mnt -type f | sort
    umount /mnt
  done
}

# A disk with somebody's partition behind the image, on which device-mapper makes some of the image's place bad.
mapper() {
  M=2048 # sectors of a MiB
  bad 'all bad' dead 0 "$(blockdev --getsz "$mapped")" error
  bad 'bad at the start' start 0 $((1 * M)) error
  bad 'bad in the middle' middle $((768 * M)) $((64 * M)) error
  bad 'bad where nobody looks before writing' sector $((540 * M + 24)) 8 error
  bad 'only to be read' worn 0 "$(blockdev --getsz "$mapped")" 'flakey @ 0 1 1 error_writes'
  bad 'keeps nothing that is written' fake 0 "$(blockdev --getsz "$mapped")" 'flakey @ 0 1 1 drop_writes'
  bad 'keeps nothing in one place' hole $((640 * M)) $((20 * M)) 'flakey @ 0 1 1 drop_writes'
  section nothing bad any more
  flash "$mapped"
}
# Flashes a disk like $mapped, but for some sectors, which have a rule of their own.
bad() {
  section "$1"
  name=$2 start=$3 length=$4 rule=${5/@/$mapped $3} end=$(($3 + $4)) all=$(blockdev --getsz "$mapped")
  {
    [ "$start" = 0 ] || echo "0 $start linear $mapped 0"
    echo "$start $length $rule"
    [ "$end" = "$all" ] || echo "$end $((all - end)) linear $mapped $end"
  } | dmsetup create "$name"
  before=$(changed)
  flash "/dev/mapper/$name"
  [ "$before" != "$(changed)" ] || echo 'not one sector was written or discarded'
  udevadm settle
  dmsetup remove --retry "$name"
}
# Sectors written and discarded so far (Documentation/block/stat.rst).
changed() { awk '{print $7, $14}' "/sys/block/$(basename "$(readlink "$mapped")")/stat"; }

# Somebody pulls the stick out meanwhile.
unplug() {
  section unplugged while it is written
  # What is under way fails in another way than what comes after, and how far it has come depends on the machine.
  flash "$stick" |
    sed -E 's/^(error: [^:]*: writing): .*: the device (is gone|reports an input.output error)$/\1: [WHERE]: [GONE]/' |
    sed '/^hint: the disk/d; /^  the kernel /d'
}

"$part" 2>&1 | named
