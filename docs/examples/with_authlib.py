"""The same by authlib, which renews by itself ahead of the end, as far as `expires_in` tells; what the gateway knows better
(a clock that is off, a token that was revoked) is still for the caller.

  API_URL=… TOKEN_ENDPOINT=… CLIENT_ID=… CLIENT_SECRET=… python with_authlib.py

Exit codes: 0 the answer is on standard output, 3 the token may not do this, 4 it is refused, 5 given up.
"""
import os, sys, time
from urllib.parse import urlsplit
from authlib.integrations.requests_client import OAuth2Session

if urlsplit(os.environ["TOKEN_ENDPOINT"]).hostname == "127.0.0.1":
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # a development issuer on this machine
TRIES = 4
WAIT_MAX = 60  # seconds, whatever somebody asks for


def wait(answer):
    """What Retry-After asks for; a date, or nothing, is five seconds."""
    seconds = answer.headers.get("retry-after", "")
    return min(int(seconds), WAIT_MAX) if seconds.isdecimal() else 5


with OAuth2Session(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"],
                   token_endpoint=os.environ["TOKEN_ENDPOINT"], grant_type="client_credentials") as session:
    session.fetch_token()
    renewed = False
    for _ in range(TRIES):
        answer = session.get(os.environ["API_URL"], timeout=30)
        is_problem = "problem+json" in answer.headers.get("content-type", "")
        told = answer.json() if is_problem else {}
        if answer.ok:
            print(answer.text)
            sys.exit(0)
        if answer.status_code == 401 and told.get("code") == "token_expired" and not renewed:
            session.fetch_token()
            renewed = True
        elif answer.status_code in (429, 503):
            time.sleep(wait(answer))
        else:
            print(told.get("code", answer.status_code), told.get("detail", ""), told.get("hint", ""),
                  told.get("instance", ""), file=sys.stderr)
            sys.exit(3 if answer.status_code == 403 else 4)
print("given up", file=sys.stderr)
sys.exit(5)
