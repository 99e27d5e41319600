"""Calls an API with a token of its own, by requests: renews it once when it has expired, stops where another token
would not help, and waits where the gateway asks it to.

  API_URL=… TOKEN_ENDPOINT=… CLIENT_ID=… CLIENT_SECRET=… python with_requests.py

Exit codes: 0 the answer is on standard output, 3 the token may not do this, 4 it is refused, 5 given up.
"""
import os, sys, time
import requests

TRIES = 4
WAIT_MAX = 60  # seconds, whatever somebody asks for


def wait(answer):
    """What Retry-After asks for; a date, or nothing, is five seconds."""
    seconds = answer.headers.get("retry-after", "")
    return min(int(seconds), WAIT_MAX) if seconds.isdecimal() else 5



def new_token(session):
    answer = session.post(os.environ["TOKEN_ENDPOINT"], data={"grant_type": "client_credentials"},
                          auth=(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]), timeout=10)
    answer.raise_for_status()
    return answer.json()["access_token"]


def problem(answer):
    """The body of a refusal; empty where somebody else has answered."""
    try:
        return answer.json() if "problem+json" in answer.headers.get("content-type", "") else {}
    except ValueError:
        return {}


def call(session, url):
    token, renewed = new_token(session), False
    for _ in range(TRIES):
        answer = session.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        told = problem(answer)
        if answer.ok:
            return answer
        if answer.status_code == 401 and told.get("code") == "token_expired" and not renewed:
            token, renewed = new_token(session), True
        elif answer.status_code in (429, 503):
            time.sleep(wait(answer))
        else:
            # Another token of the same kind will not help: say why, and stop.
            print(told.get("code", answer.status_code), told.get("detail", ""), told.get("hint", ""),
                  told.get("instance", ""), file=sys.stderr)
            sys.exit(3 if answer.status_code == 403 else 4)
    print("given up", file=sys.stderr)
    sys.exit(5)


with requests.Session() as session:
    print(call(session, os.environ["API_URL"]).text)
