# Dependencies of the build, the quickstart and the tests, and how to install them. Sourced by bash scripts.
#
# SPDX-License-Identifier: GPL-2.0-or-later

# Debian and Ubuntu package names.
build_packages=(
  gcc libc6-dev meson ninja-build pkg-config python3
  libblkid-dev libglib2.0-dev libgnutls28-dev libiscsi-dev libjson-c-dev libkeyutils-dev libnbd-dev
  liburing-dev nettle-dev
)
# Libraries of drivers for storage on servers. The programs can be built without them.
driver_packages=(librbd-dev)
# Independent programs to check ours against.
witness_packages=(cryptsetup-bin qemu-utils)
test_packages=(
  btrfs-progs busybox-static ceph-common ceph-mon ceph-osd cpio debhelper dpkg-dev e2fsprogs fdisk fio fish gdb
  keyutils libc6-dbg libnbd-bin libtasn1-6-dev libvirt-clients libvirt-daemon nbdkit openssl procps python3-libnbd
  python3-pytest python3-pytest-xdist qemu-block-extra qemu-system-x86 socat systemd tgt util-linux valgrind xfsprogs zsh
)

# For systems without apt: programs and pkg-config modules to look for.
build_programs=(cc meson ninja pkg-config python3)
build_modules=(glib-2.0 gnutls json-c nettle)
witness_programs=(cryptsetup qemu-img)
test_programs=(ceph ceph-mon ceph-osd fio gdb keyctl nbdinfo nbdkit openssl rbd socat tgtd unshare valgrind)

# missing_packages PACKAGE...: print those that are not installed.
missing_packages() {
  local package
  for package; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

# install_packages PACKAGE...: install those that are missing, or print an error and return 1.
install_packages() {
  local missing sudo=()
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "These packages are missing; as root, run: apt-get install ${missing[*]}" >&2
      return 1
    fi
    sudo=(sudo)
  fi
  echo "Installing with apt-get: ${missing[*]}"
  "${sudo[@]}" apt-get -qq update &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
      -o Dpkg::Use-Pty=0 "${missing[@]}" >/dev/null
}

# check_programs PROGRAM... -- MODULE...: list what is missing, for systems without apt.
check_programs() {
  local missing=() name
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    command -v "$1" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || missing+=("$1")
    shift
  done
  [ $# -eq 0 ] || shift
  for name; do
    pkg-config --exists "$name" 2>/dev/null || missing+=("the library $name with its headers")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  echo "Please install, with your system's package manager:" >&2
  printf '  %s\n' "${missing[@]}" >&2
  return 1
}

have_apt() {
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null
}
