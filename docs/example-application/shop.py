"""A shop that keeps its customers and orders in Strongroom.

    python3 shop.py SOCKET TOKEN-FILE COMMAND < request.json

What identifies a customer comes from standard input, never from the command line.
"""

import json
import pathlib
import sys

from strongroom import Agent

SCHEMA = {"email": {"type": "email", "required": True, "lookup": True}, "name": {"type": "text"}}


def set_up(shop, _):
    """Once: what a profile looks like, and which jobs may ask for what."""
    shop.ask("PUT", "schema", body=SCHEMA)
    shop.ask("POST", "activities", key="newsletter", body={
        "name": "newsletter",
        "consumer": "letters-inc",
        "purpose": "marketing.email",
        "basis": "consent",
        "classes": ["identifiable"],
        "retention_days": 30,
        "notice": "We send your name and address to Letters Inc., who write to you once a month.",
    })
    shop.ask("POST", "activities", "newsletter", "approve")


def find(shop, request):
    """The customer of an address. There is no table: the agent knows keyed hashes, and forgets them with the person."""
    found = shop.ask("POST", "subjects", "find", body={"email": request["email"]})["subjects"]
    if not found:
        sys.exit("nobody has that address")
    return found[0]


def sign_up(shop, request):
    """A new customer. The same form sent again is the same customer: each form is given out with a random number."""
    profile = {"email": request["email"], "name": request["name"]}
    print(shop.ask("POST", "subjects", key="sign-up " + request["form"], body={"profile": profile})["subject"])


def order(shop, request):
    """Keeps an order with the customer's own data."""
    customer = find(shop, request)
    number = len(shop.ask("GET", "subjects", customer, "files", "owned")["files"]) + 1
    name = f"order-{number}.json"
    shop.ask("PUT", "subjects", customer, "files", "owned", name, body={"what": request["order"]})
    print(name)


def newsletter(shop, request):
    """What a customer answered: given, refused or withdrawn. In force when this returns."""
    place = ("subjects", find(shop, request), "consents", "newsletter")
    evidence = {"how": "form on the customer's page", "words": "Yes, write to me"}
    shop.ask("PUT", *place, body={"status": request["answer"], "evidence": evidence})


def everything(shop, request):
    """Everything about a customer, for the customer: a tar archive."""
    sys.stdout.buffer.write(shop.ask("POST", "subjects", find(shop, request), "export"))


def forget(shop, request):
    """Erases a customer; prints what the receipt promises."""
    print(shop.ask("POST", "subjects", find(shop, request), "erase")["statement"])


COMMANDS = {
    "set-up": set_up, "sign-up": sign_up, "order": order, "newsletter": newsletter,
    "everything": everything, "forget": forget,
}

if __name__ == "__main__":
    socket_path, token_file, command = sys.argv[1:]
    agent = Agent(socket_path, pathlib.Path(token_file).read_text().strip(), "shop")
    asked = {} if command == "set-up" else json.load(sys.stdin)
    COMMANDS[command](agent, asked)
