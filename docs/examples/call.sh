#!/usr/bin/env bash
# Calls an API with a token of its own: renews it once when it has expired, stops where another token would not help,
# and waits where the gateway asks it to. Needs curl and jq.
#
#   API_URL=… TOKEN_ENDPOINT=… CLIENT_ID=… CLIENT_SECRET=… call.sh
#
# Exit codes: 0 the answer is on standard output, 3 the token may not do this, 4 it is refused, 5 given up.
set -euo pipefail
: "${API_URL:?}" "${TOKEN_ENDPOINT:?}" "${CLIENT_ID:?}" "${CLIENT_SECRET:?}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

new_token() { # into a file that curl reads: arguments are seen by every user of the machine
    local login token
    login=$(printf '%s:%s' "$CLIENT_ID" "$CLIENT_SECRET" | base64 -w 0)
    printf 'Authorization: Basic %s\n' "$login" > "$work/login"
    token=$(curl -sS --fail -H "@$work/login" -d grant_type=client_credentials "$TOKEN_ENDPOINT" | jq -r .access_token)
    # An issuer's word is no line of ours (RFC 6750 section 2.1).
    [[ $token =~ ^[A-Za-z0-9._~+/-]+=*$ ]] || { echo "the issuer gave no token" >&2; exit 4; }
    printf 'Authorization: Bearer %s\n' "$token" > "$work/token"
}

new_token
renewed=no
for _ in 1 2 3 4; do
    status=$(curl -sS -H "@$work/token" -D "$work/head" -o "$work/body" -w '%{http_code}' "$API_URL")
    code=$(jq -r '.code // empty' "$work/body" 2> /dev/null || true)
    case "$status:$code" in
        2*) cat "$work/body"; exit 0 ;;
        401:token_expired)
            [ "$renewed" = no ] || { echo "refused again after a renewal" >&2; exit 4; }
            renewed=yes
            new_token ;;
        429:* | 503:*)
            seconds=$(sed -n 's/^[Rr]etry-[Aa]fter: *\([0-9]\{1,6\}\)[^0-9]*$/\1/p' "$work/head")
            # A date, or none, is five seconds; nobody waits for longer than a minute.
            seconds=${seconds:-5}
            sleep "$((seconds > 60 ? 60 : seconds))" ;;
        *)
            jq -r '"\(.code): \(.detail) \(.hint) (\(.instance))"' "$work/body" >&2 2> /dev/null || echo "status $status" >&2
            [ "$status" = 403 ] && exit 3
            exit 4 ;;
    esac
done
echo "given up" >&2
exit 5
