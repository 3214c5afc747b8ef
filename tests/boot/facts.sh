# What is true on a node. Every section must be the same whenever the node starts; `==` begins one.
section() { printf '\n== %s\n' "$*"; }
# Prints a command with what it says.
show() { printf '$ %s\n' "$*"; "$@" 2>&1; }

section state
show systemctl is-system-running
show systemctl list-units --failed --no-legend --plain
cloud-init status --long | grep -v last_update
journalctl --boot --priority err --quiet --no-pager --output cat
# A service that is restarted while the system starts cuts off whoever uses it.
sudo journalctl --boot _PID=1 --quiet --no-pager --output cat --grep '^Started (ssh|containerd)\.service' | sort
section identity
show hostname
show id
show sudo -n id -un
show timedatectl show --property Timezone
section root file system
for at in / /etc /var /home /opt /root /srv /tmp /var/lib/longhorn; do
  findmnt --noheadings --raw --output TARGET,SOURCE,FSTYPE,VFS-OPTIONS "$at" || echo "$at is not mounted"
done
sudo dmsetup table
sudo dmsetup status
for at in / /usr /etc /var /opt; do
  sudo touch "$at/probe" 2>&1 && echo "$at can be written" && sudo rm "$at/probe"
done
section disk
lsblk --noheadings --raw --output NAME,SIZE,PARTLABEL,FSTYPE /dev/vda
section time
# Nobody answers for it here: the wait has ended by itself, nothing has failed, and what waits for the time has started.
timedatectl show --property NTPSynchronized
systemctl show --property ActiveState --property Result systemd-time-wait-sync
show systemctl is-active time-sync.target
section network
ip -4 -brief address
ip -4 route
show resolvectl dns lan0
show resolvectl domain lan0
getent ahostsv4 "$(hostname)" | awk '$2 == "STREAM" {print $1, $3}'
section what network plugins and virtual addresses add stays
# As Cilium, Calico and kube-vip leave them: a device with an address, routes through it, through the node's network and
# into nowhere, a rule, and an address on the node's own interface.
sudo ip link add cilium_host type dummy
sudo ip link set cilium_host up
sudo ip address add 10.99.0.1/32 dev cilium_host
sudo ip route add 10.99.0.0/24 dev cilium_host proto bird
sudo ip route add 10.98.0.0/24 via 10.0.2.2 dev lan0 proto bird
sudo ip route add blackhole 10.97.0.0/24 proto bird
sudo ip rule add preference 9 fwmark 0x200/0xf00 lookup 2004
sudo ip address add 10.0.2.250/32 dev lan0
sudo systemctl restart systemd-networkd
sudo /usr/lib/systemd/systemd-networkd-wait-online --interface=lan0 --timeout=60
networkctl list --no-legend --no-pager cilium_host lan0 | awk '{print $2, $NF}'
ip -4 -brief address show cilium_host
ip -4 -brief address show lan0
ip -4 route show proto bird
ip -4 rule show preference 9
# A device made without an address of its own keeps the kernel's: 1 is random, 3 was given to it (NET_ADDR_* in
# include/uapi/linux/netdevice.h).
sudo ip link add vxlan.calico type vxlan id 4096 dstport 4789 dev lan0
sudo udevadm settle
cat /sys/class/net/vxlan.calico/addr_assign_type
sudo ip link delete vxlan.calico
sudo ip address delete 10.0.2.250/32 dev lan0
sudo ip rule delete preference 9
sudo ip route delete blackhole 10.97.0.0/24
sudo ip route delete 10.98.0.0/24
sudo ip link delete cilium_host
section open ports
# containerd's port for `kubectl exec` is another one at every start. UDP above 32767 is a question of resolved's or
# timesyncd's that waits for its answer (`net.ipv4.ip_local_port_range`).
ss -Hltun | awk '!($1 == "udp" && $5 ~ /:(3276[89]|327[7-9].|32[89]..|3[3-9]...|[456]....)$/) {print $1, $5}' | sed 's/ 127.0.0.1:[0-9]*$/ 127.0.0.1:[ANY]/; s/ \[fe80.*/ link-local/' | sort -u
section AppArmor
cat /sys/module/apparmor/parameters/enabled
show systemctl is-active apparmor
ls /sbin/apparmor_parser
section files of the cluster file
sudo stat --format '%a %U:%G %n' /var/lib/lab/token /opt/lab/written /etc/sysctl.d/99-lab.conf
sudo cat /var/lib/lab/token /opt/lab/written
cat /proc/sys/fs/inotify/max_user_instances
show command -v htop
section what is pruned is not loaded
lsmod | grep -E '^(cfg80211|bluetooth|snd) ' || echo none
section packages
dpkg-query --show --showformat '${Package} ${Status}\n' containerd systemd
findmnt --noheadings --raw --output TARGET,SOURCE,FSTYPE,VFS-OPTIONS /var/lib/dpkg
cmp /var/lib/dpkg/status /usr/lib/sysimage/dpkg/status && echo "scanners see what the image has"
sudo dpkg --install /dev/null 2>&1 | grep --only-matching 'Read-only file system$'
section host keys
sudo find /etc/ssh -name 'ssh_host_*' -printf '%m %u:%g %p\n' | sort
section what Kubernetes needs
for module in overlay br_netfilter ip_vs iscsi_tcp nfs rbd ceph dm_crypt vxlan wireguard; do
  sudo modprobe "$module" && echo "$module"
done
sudo sysctl net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.ipv6.conf.all.forwarding
sudo sysctl fs.protected_symlinks fs.protected_hardlinks fs.protected_fifos fs.protected_regular
sudo sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.default.rp_filter net.ipv4.conf.lan0.rp_filter
cat /proc/swaps | tail -n +2
grep --only-matching --word-regexp --extended-regexp 'cpuset|cpu|io|memory|pids' /sys/fs/cgroup/cgroup.controllers | xargs
show systemctl is-active containerd
systemctl show --property LimitNOFILE --property LimitNOFILESoft containerd
show sudo ctr version | grep -c Version:
