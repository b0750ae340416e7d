"""A mailing job: sees who agreed, and of them only what it declared.

    python3 newsletter.py SOCKET TOKEN-FILE
"""

import json
import pathlib
import sys

from strongroom import Agent, Refused


def recipients(job):
    """Names and profiles of everybody who agreed, a page at a time."""
    query = "?count=256"
    while query is not None:
        page = job.ask("GET", "jobs", "newsletter", "subjects", query=query)
        for person in page["subjects"]:
            place = ("jobs", "newsletter", "subjects", person["subject"], "files", "identifiable")
            try:
                yield json.loads(job.ask("GET", *place, "profile.json"))
            except Refused as refused:
                # Withdrawn since the list was made: not an error, and no letter.
                if refused.kind != "denied":
                    raise
        query = f"?count=256&from={page['next']}" if page["next"] else None


if __name__ == "__main__":
    socket_path, token_file = sys.argv[1:]
    agent = Agent(socket_path, pathlib.Path(token_file).read_text().strip(), "shop")
    for profile in recipients(agent):
        print(f"Dear {profile['name']} <{profile['email']}>")
