# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Raw connections of test_spoof. spoof.py third HOST FROM MODEL sends a request in the third
segment of the handshake. spoof.py blind HOST FROM MODEL sends one that acknowledges a wrong number
instead of the SYN-ACK's.
"""

import json
import os
import sys

from rawtcp import ACK, PSH, Client, Wire, request


def main():
    what, host, source, model = sys.argv[1:5]
    wire = Wire(os.environ["SL_CLIENT"], "c0", os.environ["SL_SERVER_MAC"])
    client = Client(wire, source, host)
    if what == "third":
        client.connect(data=request(model))
    else:
        client.connect()
        client = Client(wire, source, host)
        client.next, client.seq = 12345, client.first + 1
        client.emit(ACK | PSH, payload=request(model))
    client.pump(5, lambda: client.fin or client.rst or b'"choices"' in client.got)
    if what == "third" and not client.rst:
        client.close()
    got = client.got.decode("latin-1")
    print(json.dumps({"status": got[9:12], "fin": client.fin, "rst": client.rst, "bytes": len(got),
                      "whole": all(s.whole or s.partial for s in client.segments)}))


if __name__ == "__main__":
    main()
