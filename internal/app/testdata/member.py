"""A member process for the tests: for each line on stdin it prints which units are served the candidate, as JSON."""

import json
import sys

import sluice

url, token, instance = sys.argv[1:]
client = sluice.Client(url, "scorer", token=token, instance=instance, drain_bound=0.2, timeout=60)
price = client.flag("price")
print("ready", flush=True)
for line in sys.stdin:
    served = []
    for i in range(500):
        with client.begin(f"account-{i}") as req:
            if price.string("none") == "v2":
                served.append(i)
    print(json.dumps(served), flush=True)
client.close()
