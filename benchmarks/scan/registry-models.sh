#!/usr/bin/env bash
# Fetches the packages of packages.txt, one after the other, unpacks them below
# the folder given, one folder each, and scans every file of them. A package
# that cannot be had is named and left out; one that is there is not fetched
# again. It runs pip and npm, never code of a package but the build description
# of the few that come as source only.
set -euo pipefail
[[ $# == 1 ]] || {
	echo "usage: $0 FOLDER" >&2
	exit 2
}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
echo 'setuptools<81' >"$work.constraint" # old build descriptions import pkg_resources
trap 'rm -rf "$work" "$work.constraint"' EXIT
export PIP_CONSTRAINT=$work.constraint

fetch() { # registry, name, version, folder: one archive
	case $1 in
	pypi) python3 -m pip download -q --no-deps -d "$4" "$2==$3" ;;
	npm) npm pack --silent --ignore-scripts --pack-destination "$4" "$2@$3" >/dev/null ;;
	esac
}

unpack() { # archive, folder
	case $1 in
	*.whl | *.zip) python3 -m zipfile -e "$1" "$2" ;;
	*) tar -xf "$1" -C "$2" ;;
	esac
}

while read -r registry name version; do
	[[ -n $registry && $registry != '#' ]] || continue
	folder=$out/$registry-${name//\//+}@$version
	[[ -d $folder ]] && continue
	rm -rf "${work:?}"/*
	mkdir "$work/archive" "$work/files"
	if fetch "$registry" "$name" "$version" "$work/archive" </dev/null && unpack "$work"/archive/* "$work/files"; then
		mv "$work/files" "$folder"
	else
		echo "not to be had: $registry $name $version" >&2
	fi
done <"$here/packages.txt"

cd "$here/../.."
go run ./benchmarks/scan/falsealarms -halves "$out"/*
