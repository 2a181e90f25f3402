#!/usr/bin/env bash
# Installs the system packages that Adze links against, when they are missing.
set -euo pipefail

packages=()
pkg-config --exists openblas 2>/dev/null || packages+=(libopenblas-dev)
pkg-config --exists libzstd 2>/dev/null || packages+=(libzstd-dev)
pkg-config --exists libpcre2-8 2>/dev/null || packages+=(libpcre2-dev)
command -v pkg-config >/dev/null || packages+=(pkg-config)
[ ${#packages[@]} -gt 0 ] || exit 0

echo "installing ${packages[*]}" >&2
run=()
[ "$(id -u)" = 0 ] || run=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${run[@]}" apt-get update -qq
"${run[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
