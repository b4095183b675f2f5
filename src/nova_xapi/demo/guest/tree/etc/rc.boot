#!/bin/sh
# Second stage, run once by init before the login prompts: devices, config drive, ssh, user data.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
# to the serial line and to the screen; either may be absent
say() { echo "$*" | tee /dev/tty0 2>/dev/null >/dev/ttyS0; }

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
ip link set lo up
while read -r module; do insmod "/lib/modules/$module" 2>/dev/null; done </lib/modules/load
# built by an ordinary user, files may belong to an unknown one
chown -R root:root /root /etc /var
chown -R demo:demo /home/demo
hostname "$(cat /etc/hostname)"

config-drive
say "demo guest: $(hostname), kernel $(uname -r), up $(cut -d' ' -f1 /proc/uptime) s"
for nic in /sys/class/net/e*; do
  [ -e "$nic" ] || continue
  say "demo guest: ${nic##*/} $(cat "$nic/address") $(ip -4 -o addr show "${nic##*/}" | awk '{print $4}')"
done

acpid -l /dev/null 2>/dev/null
[ -e /etc/dropbear/dropbear_ed25519_host_key ] ||
  dropbearkey -t ed25519 -f /etc/dropbear/dropbear_ed25519_host_key >/dev/null 2>&1
dropbear -r /etc/dropbear/dropbear_ed25519_host_key -s 2>/dev/null

if [ "$(head -c 2 /run/config/user_data 2>/dev/null)" = '#!' ]; then
  cp /run/config/user_data /var/lib/demo/user_data
  chmod 700 /var/lib/demo/user_data
  # at each boot, so that what it prints can be seen after each boot
  /var/lib/demo/user_data 2>&1 | while IFS= read -r line; do say "$line"; done
fi
say "demo guest: ready"
