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
section network
ip -4 -brief address
ip -4 route
show resolvectl dns lan0
show resolvectl domain lan0
getent ahostsv4 "$(hostname)" | awk '$2 == "STREAM" {print $1, $3}'
section open ports
# containerd's port for `kubectl exec` is another one at every start. UDP above 32767 is a question of resolved's or
# timesyncd's that waits for its answer (`net.ipv4.ip_local_port_range`).
ss -Hltun | awk '!($1 == "udp" && $5 ~ /:(3276[89]|327[7-9].|32[89]..|3[3-9]...|[456]....)$/) {print $1, $5}' | sed 's/ 127.0.0.1:[0-9]*$/ 127.0.0.1:[ANY]/; s/ \[fe80.*/ link-local/' | sort -u
section files of the cluster file
sudo stat --format '%a %U:%G %n' /var/lib/lab/token /opt/lab/written /etc/sysctl.d/99-lab.conf
sudo cat /var/lib/lab/token /opt/lab/written
cat /proc/sys/fs/inotify/max_user_instances
show command -v htop
section host keys
sudo find /etc/ssh -name 'ssh_host_*' -printf '%m %u:%g %p\n' | sort
section what Kubernetes needs
for module in overlay br_netfilter ip_vs iscsi_tcp nfs rbd ceph dm_crypt vxlan wireguard; do
  sudo modprobe "$module" && echo "$module"
done
sudo sysctl net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.ipv6.conf.all.forwarding
cat /proc/swaps | tail -n +2
grep --only-matching --word-regexp --extended-regexp 'cpuset|cpu|io|memory|pids' /sys/fs/cgroup/cgroup.controllers | xargs
show systemctl is-active containerd
show sudo ctr version | grep -c Version:
