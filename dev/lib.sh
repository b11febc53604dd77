# Shared by the tools in dev/ and bench/: how they speak, and how they become root or postgres.
# shellcheck shell=bash

# The name a tool gives itself in messages, and the top of the repository.
# shellcheck disable=SC2034 # read by the tools
tool="$(basename "$(dirname "$0")")/${0##*/}"
readonly tool
top="${BASH_SOURCE[0]%/*}/.."

# Standard output belongs to what a tool is for; everything else goes to standard error.
say() {
	printf '%s\n' "$*" >&2
}

die() {
	say "$tool: $*"
	exit 1
}

# The comment at the head of the calling script is its manual.
usage() {
	sed -n '2,${/^#/!q;s/^# \{0,1\}//p}' "$0"
}

# as_root runs a command as root: directly, or through passwordless sudo.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		command -v sudo >/dev/null || die "need root, or sudo without a password"
		sudo -n -- "$@"
	fi
}

# as_postgres runs a command as the OS user that owns a PostgreSQL server.
as_postgres() {
	if [ "$(id -un)" = postgres ]; then
		"$@"
	elif [ "$(id -u)" -eq 0 ]; then
		runuser -u postgres -- "$@"
	else
		command -v sudo >/dev/null || die "need root, the postgres user, or sudo without a password"
		sudo -n -u postgres -- "$@"
	fi
}

# postgres_bin prints where initdb, pg_ctl and psql of the server are.
postgres_bin() {
	"${PG_CONFIG:-pg_config}" --bindir
}
