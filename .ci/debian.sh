# Sourced by steps: `debian_packages NAME...` installs the packages that are not there yet.

debian_packages() {
    local name missing=()
    for name in "$@"; do
        dpkg-query -W -f='${Status}\n' "$name" 2>/dev/null | grep -q '^install ok installed$' \
            || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    echo "installing ${missing[*]}"
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
    if [ -z "$(find /var/lib/apt/lists -name '*_Packages*' -mmin -1440 -print -quit 2>/dev/null)" ]
    then
        "${as_root[@]}" apt-get update -q
    fi
    "${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
}
