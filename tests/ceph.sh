#!/usr/bin/env bash
# A Ceph cluster for tests of the rbd driver: one monitor and one OSD on
# 127.0.0.1, a pool 'rbd' of size 1 and in it an image 'test' (CEPH_IMAGE_SIZE,
# default 64M).  No manager daemon, no kernel module, no root.
#
#   ceph.sh start DIR   start it, or whichever daemon is down; print how to reach it
#   ceph.sh stop DIR    kill the daemons and delete DIR/ceph, data included
#
# Packages: ceph-mon ceph-osd ceph-common
#
# CEPH_STORE=memstore   (default) data in the OSD's memory; if the OSD was killed,
#                       'start' makes a new, empty cluster
# CEPH_STORE=bluestore  data in a sparse file of CEPH_STORE_SIZE (default 4G bytes);
#                       survives kill -9 of a daemon, 'start' brings it back
#
# CEPH_AUTH=none        (default) clients need no key
# CEPH_AUTH=cephx       they do; DIR/ceph/keyring has that of client.admin
#
# Everything is in DIR/ceph: ceph.conf, *.pid, *.asok (admin sockets), *.log.
#
# SPDX-License-Identifier: GPL-2.0-or-later
set -euo pipefail

die() { echo "ceph.sh: $*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "no $1: install the Debian package $2"; }

[[ $# -eq 2 && $1 =~ ^(start|stop)$ ]] || die "usage: ceph.sh start|stop DIR"
[[ $1 == start || -d $2 ]] || exit 0
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)
d=$dir/ceph
[[ $d != *[[:space:]\;:@,]* ]] || die "the path must not have spaces or any of ; : @ ,"
[[ ${#d} -le 90 ]] || die "the path is too long for unix sockets: $d"
exec 9<"$dir"; flock 9                          # one start or stop per DIR at a time
unset CEPH_ARGS

alive() { [[ -s $d/$1.pid ]] && grep -qaF "$d/" "/proc/$(<"$d/$1.pid")/cmdline" 2>/dev/null; }

spawn() {  # NAME CMD...: detached, with none of our file descriptors
  local name=$1; shift
  ( for fd in /proc/self/fd/*; do fd=${fd##*/}; ((fd <= 2)) || eval "exec $fd>&-"; done
    exec setsid "$@" ) </dev/null >>"$d/$name.log" 2>&1 &
  echo $! >"$d/$name.pid"
  disown $!
}

kill_all() {
  local name
  for name in osd mon; do
    for _ in {1..500}; do alive "$name" || break; kill -9 "$(<"$d/$name.pid")" || :; sleep 0.02; done
    ! alive "$name" || die "cannot end the process of $d/$name.pid"
    rm -f "$d/$name.pid"
  done
}

fail() { tail -n 15 "$d"/{mon,osd,cmd}.log >&2 2>/dev/null || :; kill_all; die "$*"; }

free_port() {
  local p
  while p=$((20000 + RANDOM % 12000)); (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; do :; done
  echo "$p"
}

write_conf() {  # PORT
  local auth=${CEPH_AUTH:-none} keyring=/dev/null
  [[ $auth == none ]] || keyring=$d/keyring
  cat >"$d/ceph.conf" <<CONF
[global]
fsid = $(</proc/sys/kernel/random/uuid)
mon host = v2:127.0.0.1:$1
public addr = 127.0.0.1
ms bind msgr1 = false
auth cluster required = $auth
auth service required = $auth
auth client required = $auth
keyring = $keyring
run dir = $d
osd heartbeat interval = 1
osd heartbeat grace = 2
crash dir = $d
[mon]
mon data = $d/mon
log file = $d/mon.log
mon cluster log file = $d/cluster.log
admin socket = $d/mon.asok
paxos propose interval = 0.05
paxos min wait = 0.01
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
mon data avail crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
[osd]
osd data = $d/osd
log file = $d/osd.log
admin socket = $d/osd.asok
debug rocksdb = 0/0
osd crush initial weight = 1
osd objectstore = ${CEPH_STORE:-memstore}
memstore device bytes = ${CEPH_STORE_SIZE:-4G}
bluestore block size = ${CEPH_STORE_SIZE:-4G}
bluestore cache autotune = false
bluestore cache size = 32M
bluestore debug inject read err = true
CONF
}

write_keyring() {  # keys of the daemons and of client.admin
  local name
  for name in mon. osd.0 client.admin; do
    ceph-authtool -C "$d/$name.key" --gen-key -n "$name" --cap mon 'allow *' --cap osd 'allow *'
    cat "$d/$name.key" >>"$d/keyring"; rm "$d/$name.key"
  done >>"$d/cmd.log" 2>&1
}

c() { timeout 60 "$1" -c "$d/ceph.conf" "${@:2}" >>"$d/cmd.log" 2>&1; }

start_mon() {  # false when it cannot run, say for a port that was taken meanwhile
  alive mon || spawn mon ceph-mon -c "$d/ceph.conf" -i a -f
  local fsid; fsid=$(sed -n 's/^fsid = //p' "$d/ceph.conf")
  for _ in {1..30}; do
    sleep 0.1
    alive mon || return 1
    [[ $(timeout 20 ceph -c "$d/ceph.conf" --connect-timeout 2 fsid 2>>"$d/cmd.log") != "$fsid" ]] || return 0
  done
  return 1
}

start_osd() {  # clients that come before it is up wait for long, so this waits first
  alive osd || spawn osd ceph-osd -c "$d/ceph.conf" -i 0 -f
  for _ in {1..200}; do
    sleep 0.1
    alive osd || return 1
    ! timeout 20 ceph --admin-daemon "$d/osd.asok" status 2>/dev/null |
      grep -q '"state": "active"' || return 0
  done
  return 1
}

create() {
  local uuid port ok=
  for _ in {1..5}; do
    kill_all; rm -rf "$d"; mkdir "$d" "$d/mon" "$d/osd"
    port=$(free_port); write_conf "$port"
    monmaptool --create --fsid "$(sed -n 's/^fsid = //p' "$d/ceph.conf")" \
      --addv a "[v2:127.0.0.1:$port]" "$d/monmap" >>"$d/cmd.log" 2>&1 || fail "no monitor map"
    write_keyring || fail "no keys"
    c ceph-mon -i a --mkfs --monmap "$d/monmap" --keyring "$d/keyring" || fail "the monitor's store cannot be made"
    ! start_mon || { ok=1; break; }
  done
  [[ $ok ]] || fail "the monitor does not start"
  uuid=$(</proc/sys/kernel/random/uuid)
  c ceph osd new "$uuid" || fail "no OSD id"
  c ceph-osd -i 0 --mkfs --osd-uuid "$uuid" || fail "the OSD's store cannot be made"
  start_osd || fail "the OSD does not start"
  c ceph osd pool create rbd 8 || fail "no pool"
  c rbd pool init rbd || fail "the pool does not become active"     # waits for its first I/O
  c rbd create test --size "${CEPH_IMAGE_SIZE:-64M}" || fail "no image"
  touch "$d/created"
}

start() {
  need ceph-mon ceph-mon; need ceph-osd ceph-osd; need ceph ceph-common; need rbd ceph-common
  if ! [[ -e $d/created ]]; then
    create
  elif ! alive osd && grep -q 'objectstore = memstore' "$d/ceph.conf"; then
    create
  elif ! alive mon || ! alive osd; then
    start_mon || fail "the monitor does not start again"
    start_osd || fail "the OSD does not start again"
    c rbd ls || fail "the pool does not come back"
  fi
  echo "CEPH_CONF=$d/ceph.conf"
  echo "RBD_POOL=rbd"
  echo "RBD_IMAGE=test"
  echo "RBD_URI=rbd:rbd/test:conf=$d/ceph.conf"
  echo "CEPH_OSD_ASOK=$d/osd.asok"
  echo "CEPH_MON_PID=$(<"$d/mon.pid")"
  echo "CEPH_OSD_PID=$(<"$d/osd.pid")"
}

case $1 in
  start) start ;;
  stop) kill_all; rm -rf "$d" ;;
esac
