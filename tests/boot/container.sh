# Makes a container image of two programs of the node itself, imports it and runs it.
set -e
cd "$(mktemp -d)"
mkdir -p root/bin
for program in /usr/bin/dash /usr/bin/cat; do
  cp --parents --dereference "$program" $(ldd "$program" | grep -o '/[^ ]*') root
done
cp root/usr/bin/dash root/bin/sh
tar --create --file layer.tar --directory root .
digest=$(sha256sum layer.tar | cut -d' ' -f1)
architecture=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
printf '{"architecture":"%s","os":"linux","config":{"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
  "$architecture" "$digest" > config.json
echo '[{"Config":"config.json","RepoTags":["lab.test/hello:1"],"Layers":["layer.tar"]}]' > manifest.json
tar --create --file image.tar manifest.json config.json layer.tar
sudo ctr images import image.tar > import.txt
sudo ctr run --rm lab.test/hello:1 hello /bin/sh -c \
  'echo "hello from process $$ on $(cat /proc/sys/kernel/hostname) with $(cat /proc/sys/kernel/ostype)"'
# The same under containerd's AppArmor profile, which it loads with the node's parser.
sudo ctr run --rm --apparmor-default-profile lab lab.test/hello:1 confined /bin/sh -c 'cat /proc/self/attr/current'
